"""Words of every layer: which frames are a word's, the two slices, and a cache that changes no number."""

import json
import math
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from laminal import cache as codes_cache
from laminal import features, word_shards
from laminal.codecs.base import Codec
from laminal.corpora.base import Corpus, Interval
from laminal.errors import DataError, RequestError
from laminal.features import word_features
from laminal.words import Token, frame_spans, tokens
from oracle_pairs import FakeCodec, noise_corpus

FIXTURES = json.loads((Path(__file__).parent / "fixtures" / "misc.json").read_text())


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return noise_corpus(tmp_path_factory.mktemp("noise"), speakers=3, utterances=2)


def span(start: float, end: float, rate: float, count: int) -> tuple[int, int, bool]:
    first, stop, empty = frame_spans(np.array([start]), np.array([end]), float(rate), count)
    return int(first[0]), int(stop[0]), bool(empty[0])


@pytest.mark.parametrize("case", FIXTURES["frame_slicing"]["cases"])
def test_frames_of_the_fixture(case):
    first, stop, empty = span(case["onset"], case["offset"], case["rate_hz"], 1000)
    if case["n"]:
        assert (first, stop - 1, empty) == (case["first"], case["last_inclusive"], False)
    else:  # nearest centre to the middle
        middle = (case["onset"] + case["offset"]) / 2
        assert empty and stop == first + 1
        assert first == min(range(1000), key=lambda k: abs((k + 0.5) / case["rate_hz"] - middle))


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 3_000_000), st.integers(100, 1500), st.sampled_from(["12.5", "25", "50", "75", "86.1328125"]))
def test_frames_in_exact_arithmetic(start_ms, length_ms, rate):
    start, end, exact = Fraction(start_ms, 1000), Fraction(start_ms + length_ms, 1000), Fraction(rate)
    inside_first = math.ceil(start * exact - Fraction(1, 2))
    inside_last = math.floor(end * exact - Fraction(1, 2))
    first, stop, empty = span(start_ms / 1000, (start_ms + length_ms) / 1000, float(rate), 10**7)
    if inside_first <= inside_last:
        assert (first, stop - 1, empty) == (max(inside_first, 0), inside_last, False)
    else:
        assert empty and stop == first + 1


def test_frames_stay_within_the_utterance():
    assert span(0.9, 1.3, 50, 50) == (45, 50, False)
    assert span(1.2, 1.3, 50, 50) == (49, 50, True)  # past the end: the last frame
    assert span(0.0, 0.005, 50, 50) == (0, 1, True)


def test_tokens_are_alphabetic_known_and_of_some_length(corpus):
    utterance = corpus[0]
    words = (
        Interval("cat", 0.0, 0.1), Interval("cat", 0.2, 0.299), Interval("cat", 0.3, 1.8), Interval("cat", 2.0, 3.51),
        Interval("don't", 4.0, 4.3), Interval("xqzzt", 5.0, 5.3), Interval("oyster", 6.1, 6.2),
    )  # fmt: skip
    found = tokens(Corpus("x", (replace(utterance, words=words),)))
    assert [(t.word, t.start) for t in found] == [("cat", 0.0), ("cat", 0.3), ("oyster", 6.1)]
    assert found[1].name == f"{utterance.id}:0.3000-1.8000" and found[1].speaker == utterance.speaker


def slow(codec, corpus, token, slice):
    """One word at a time: sums over its frames in plain loops."""
    utterance = next(u for u in corpus if u.id == token.utterance_id)
    wav = corpus.wav(utterance, codec.sample_rate)
    if slice == "audio":
        first = round(token.start * codec.sample_rate)
        wav = wav[first : first + round((token.end - token.start) * codec.sample_rate)]
        start, end = 0.0, len(wav) / codec.sample_rate
    else:
        start, end = token.start, token.end
    layers = codec.layers(wav[None])
    rows = []
    for layer in layers.values():
        inside = [layer[0, k].double() for k in range(layer.shape[1]) if start - 1e-9 <= (k + 0.5) / codec.frame_rate <= end + 1e-9]
        rows.append(sum(inside) / len(inside))
    return list(layers), torch.stack(rows).numpy()


@pytest.mark.parametrize("slice", ["audio", "features"])
def test_equals_one_word_at_a_time(corpus, slice):
    codec = FakeCodec()
    assert isinstance(codec, Codec)
    chosen = tokens(corpus)[::7]
    found = word_features(codec, corpus, chosen, slice)
    assert found.layers == ("latent", "1", "2", "3") and found.values.dtype == np.float32 and found.ok.all()
    for row, token in enumerate(chosen):
        names, values = slow(codec, corpus, token, slice)
        assert names == list(found.layers)
        np.testing.assert_allclose(found.values[row], values, atol=2e-5)
    assert found.empty == 0


def test_slices_differ(corpus):
    chosen = tokens(corpus)[:20]
    audio, frames = (word_features(FakeCodec(), corpus, chosen, slice).values for slice in ("audio", "features"))
    assert np.abs(audio - frames).max() > 0.1


@pytest.mark.parametrize("slice", ["audio", "features"])
def test_order_and_company_change_nothing(corpus, slice):
    codec = FakeCodec()
    every = tokens(corpus)[:60]
    order = np.random.default_rng(0).permutation(60)
    whole = word_features(codec, corpus, every, slice).values
    shuffled = word_features(codec, corpus, [every[i] for i in order], slice).values
    np.testing.assert_allclose(shuffled, whole[order], atol=1e-5)
    alone = np.concatenate([word_features(codec, corpus, [token], slice).values for token in every[:8]])
    np.testing.assert_allclose(alone, whole[:8], atol=1e-5)
    np.testing.assert_array_equal(word_features(codec, corpus, every, slice).values, whole)


def test_equal_lengths_share_a_batch_and_nothing_is_padded(corpus):
    codec = FakeCodec()
    chosen = tokens(corpus)
    word_features(codec, corpus, chosen, "audio")
    lengths = {round((t.end - t.start) * 100) * 160 for t in chosen}
    assert len(codec.encoded) == len(lengths) and {shape[1] for shape in codec.encoded} == lengths
    codec.encoded.clear()
    word_features(codec, corpus, chosen, "features")
    assert len(codec.encoded) == len(corpus)


def test_small_blocks_and_batches_give_the_same(corpus, monkeypatch):
    chosen = tokens(corpus)
    whole = [word_features(FakeCodec(), corpus, chosen, slice) for slice in ("audio", "features")]
    small = {"cpu": 0.5, "cuda": 0.5}
    for place, name, value in ((word_shards, "BLOCK_TOKENS", 5), (word_shards, "BATCH_SECONDS", small), (features, "LOOKUP_FRAMES", 7)):
        monkeypatch.setattr(place, name, value)
    for slice, before in zip(("audio", "features"), whole, strict=True):
        np.testing.assert_allclose(word_features(FakeCodec(), corpus, chosen, slice).values, before.values, atol=1e-5)


def test_threads_side_by_side_give_the_same(corpus, monkeypatch):
    chosen = tokens(corpus)
    whole = features.features_by_slice(FakeCodec(), corpus, chosen, ("audio", "features"))
    monkeypatch.setattr(FakeCodec, "concurrent", True, raising=False)
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        beside = features.features_by_slice(FakeCodec(), corpus, chosen, ("audio", "features"))
    finally:
        torch.set_num_threads(before)
    for slice, found in beside.items():
        assert np.array_equal(found.values, whole[slice].values) and found.ok.all()


def test_processes_share_few_words_and_equal_cuts_stay_together(corpus, monkeypatch):
    chosen = tokens(corpus)
    monkeypatch.setattr(word_shards, "PART_TOKENS", len(chosen) // 6)
    ((audio, *features_parts),) = word_shards.parts_of(corpus, chosen, ("audio", "features"))
    assert [part.slice for part in (audio, *features_parts)] == ["audio"] + ["features"] * len(features_parts) and len(features_parts) > 3
    in_parts = [held for part in features_parts for held in part.block]
    assert in_parts == list(audio.block) and sorted(row for _, rows in in_parts for row in rows) == list(range(len(chosen)))
    read = []
    real = Corpus.wav
    monkeypatch.setattr(Corpus, "wav", lambda self, utterance, rate: read.append(utterance.id) or real(self, utterance, rate))
    features.features_by_slice(FakeCodec(), corpus, chosen, ("audio", "features"))
    assert sorted(read) == sorted(utterance.id for utterance in corpus)  # once each


def test_two_utterances_of_one_name_are_refused(corpus):
    twice = Corpus("x", (corpus[0], replace(corpus[1], id=corpus[0].id)))
    with pytest.raises(RequestError, match=f"two utterances '{corpus[0].id}'"):
        word_features(FakeCodec(), twice, tokens(twice), "audio")


def test_modes_are_differences_of_cumulative_layers(corpus):
    codec = FakeCodec()
    found = word_features(codec, corpus, tokens(corpus)[:9], "features")
    single, residual = found.in_mode("single"), found.in_mode("residual")
    assert found.in_mode("cumulative") is found
    assert single.layers == ("1", "2", "3") and residual.layers == ("2", "3")
    np.testing.assert_allclose(single.values.cumsum(1), found.values[:, 1:], atol=1e-5)
    np.testing.assert_allclose(residual.values, single.values[:, 1:].cumsum(1), atol=1e-5)


def test_codecs_without_a_common_pass_or_codes(corpus):
    class TwoPasses(FakeCodec):
        codes_and_latent = property()  # hasattr: no

    chosen = tokens(corpus)[:30]
    for slice in ("audio", "features"):
        np.testing.assert_allclose(
            word_features(TwoPasses(), corpus, chosen, slice).values, word_features(FakeCodec(), corpus, chosen, slice).values, atol=1e-5
        )

    class Encoder(TwoPasses):
        def layers(self, wav):
            latent = self.latent(wav)
            return {"0": latent, "1": latent * 2}

    encoder = Encoder()
    encoder.codebooks = 0
    found = word_features(encoder, corpus, chosen, "audio")
    assert found.layers == ("0", "1")
    np.testing.assert_array_equal(found.values[:, 1], 2 * found.values[:, 0])


def test_short_words_take_the_nearest_frame_and_are_counted(corpus):
    codec = FakeCodec()
    codec.frame_rate = 2.0  # as if frames were half a second apart
    utterance = corpus[0]
    chosen = [Token("cat", utterance.id, utterance.speaker, 0.30, 0.42), Token("hat", utterance.id, utterance.speaker, 0.6, 0.9)]
    found = word_features(codec, corpus, chosen, "features")
    assert found.empty == 1
    latent = codec.layers(corpus.wav(utterance, 16_000)[None])["latent"][0]
    np.testing.assert_allclose(found.values[0, 0], latent[0], atol=1e-5)
    np.testing.assert_allclose(found.values[1, 0], latent[1], atol=1e-5)


def test_a_bad_file_is_left_out_and_many_fail(corpus, tmp_path):
    utterances = [replace(corpus[0], id=f"u{number:02d}") for number in range(30)]
    utterances[3] = replace(utterances[3], path=tmp_path / "gone.wav")
    one_bad = Corpus("x", tuple(utterances))
    chosen = [Token("cat", u.id, u.speaker, 0.1, 0.3) for u in utterances]
    found = word_features(FakeCodec(), one_bad, chosen, "audio", codes_cache.open_cache(tmp_path / "cache"))
    assert [name for name, _ in found.failed] == ["u03"] and "gone.wav" in found.failed[0][1]
    assert np.isnan(found.values[3]).all() and not found.ok[3] and found.ok.sum() == 29
    kept = codes_cache.open_cache(tmp_path / "cache")
    codec = FakeCodec()
    again = word_features(codec, one_bad, chosen, "audio", kept)
    assert codec.encoded == [] and kept.hits == 1 and again.failed == found.failed  # what could be read is kept
    np.testing.assert_array_equal(again.values, found.values)
    utterances[4] = replace(utterances[4], path=tmp_path / "gone too.wav")
    with pytest.raises(DataError, match="2 of 30 utterances are unusable, over 5 %"):
        word_features(FakeCodec(), Corpus("x", tuple(utterances)), chosen, "audio")


def test_a_file_that_can_be_decoded_later_is_encoded_then(corpus, tmp_path, monkeypatch):
    utterances = [replace(corpus[0], id=f"u{number:02d}") for number in range(30)]
    same = Corpus("x", tuple(utterances))
    chosen = [Token("cat", u.id, u.speaker, 0.1, 0.3) for u in utterances]
    real = Corpus.wav

    def undecodable(self, utterance, rate):
        if utterance.id == "u03":
            raise DataError("no decoder")
        return real(self, utterance, rate)

    monkeypatch.setattr(Corpus, "wav", undecodable)
    found = word_features(FakeCodec(), same, chosen, "audio", codes_cache.open_cache(tmp_path / "cache"))
    assert [name for name, _ in found.failed] == ["u03"]
    monkeypatch.undo()
    for encodes in (True, False):  # then it is kept
        codec = FakeCodec()
        again = word_features(codec, same, chosen, "audio", codes_cache.open_cache(tmp_path / "cache"))
        assert not again.failed and again.ok.all() and bool(codec.encoded) is encodes


def test_words_past_the_end_of_the_audio_are_a_bad_file(corpus):
    utterance = corpus[0]
    late = [Token("cat", utterance.id, "s0", utterance.seconds, utterance.seconds + 0.3)]
    with pytest.raises(DataError, match="align it again"):
        word_features(FakeCodec(), corpus, late, "features")


def test_tokens_of_another_corpus_are_refused(corpus):
    with pytest.raises(RequestError, match="'elsewhere', which is not in corpus noise"):
        word_features(FakeCodec(), corpus, [Token("cat", "elsewhere", "s", 0.1, 0.4)], "audio")


def test_no_token_and_the_generators(corpus):
    state = torch.get_rng_state()
    assert len(word_features(FakeCodec(), corpus, [], "audio").values) == 0
    word_features(FakeCodec(), corpus, tokens(corpus)[:5], "audio")
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("slice", ["audio", "features"])
@pytest.mark.parametrize("codebooks", [2, 0])
def test_the_cache_gives_the_same_bytes_without_the_encoder(corpus, tmp_path, slice, codebooks, monkeypatch):
    for name in ("BLOCK_TOKENS", "PART_TOKENS"):
        monkeypatch.setattr(word_shards, name, 40)
    codec = FakeCodec()
    codec.codebooks = codebooks or codec.codebooks
    if not codebooks:
        codec.codes_and_latent = None
        monkeypatch.delattr(FakeCodec, "codes_and_latent")
        del codec.codes_and_latent
    chosen = tokens(corpus)
    plain = word_features(codec, corpus, chosen, slice)
    kept = codes_cache.open_cache(tmp_path)
    cold = word_features(codec, corpus, chosen, slice, kept)
    codec.encoded.clear()
    warm = word_features(codec, corpus, chosen, slice, kept)
    assert codec.encoded == [] and kept.hits == kept.misses > 1
    for other in (cold, warm):
        assert other.values.tobytes() == plain.values.tobytes() and other.empty == plain.empty and other.layers == plain.layers


def test_codes_are_kept_in_the_smallest_integers(corpus, tmp_path):
    word_features(FakeCodec(), corpus, tokens(corpus)[:20], "audio", codes_cache.open_cache(tmp_path))
    (path,) = tmp_path.rglob("*.npz")
    with np.load(path) as held:
        assert held["codes"].dtype == np.uint8 and held["direct"].dtype == np.float32
    sizes = {2: np.uint8, 256: np.uint8, 257: np.uint16, 65536: np.uint16, 65537: np.uint32}
    assert all(codes_cache.smallest_integer(size) == kind for size, kind in sizes.items())


@pytest.mark.parametrize("damage", ["truncate", "flip", "empty", "text", "other"])
def test_a_broken_shard_is_found_and_made_anew(corpus, tmp_path, damage):
    codec, chosen = FakeCodec(), tokens(corpus)[:50]
    cold = word_features(codec, corpus, chosen, "audio", codes_cache.open_cache(tmp_path))
    (path,) = tmp_path.rglob("*.npz")
    whole = path.read_bytes()
    middle = len(whole) // 2
    damaged = {
        "truncate": whole[:middle],
        "flip": whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :],
        "empty": b"",
        "text": b"codes\n",
        "other": whole,
    }[damage]
    path.write_bytes(damaged)
    if damage == "other":  # a whole shard under the name of another
        word_features(codec, corpus, chosen, "features", codes_cache.open_cache(tmp_path))
        (other,) = set(tmp_path.rglob("*.npz")) - {path}
        path.write_bytes(other.read_bytes())
        other.unlink()
    again = codes_cache.open_cache(tmp_path)
    with pytest.warns(UserWarning, match="is broken"):
        mended = word_features(codec, corpus, chosen, "audio", again)
    assert mended.values.tobytes() == cold.values.tobytes() and again.corrupt == [path.name]
    assert path.read_bytes() == whole


def test_another_codec_slice_or_audio_is_another_shard(corpus, tmp_path):
    chosen = [token for token in tokens(corpus) if token.utterance_id == corpus[0].id]
    kept = codes_cache.open_cache(tmp_path / "cache")
    word_features(FakeCodec(), corpus, chosen, "audio", kept)
    word_features(FakeCodec(), corpus, chosen, "features", kept)
    word_features(FakeCodec(seed=1), corpus, chosen, "audio", kept)
    other = tmp_path / "other.wav"
    other.write_bytes(corpus[1].path.read_bytes())
    changed = Corpus("x", (replace(corpus[0], path=other),))
    shorter = [token for token in chosen if token.end < corpus[1].seconds]
    word_features(FakeCodec(), changed, shorter, "audio", kept)
    assert kept.hits == 0 and kept.misses == 4 and len(list((tmp_path / "cache").rglob("*.npz"))) == 4
    moved = tmp_path / "moved.wav"
    moved.write_bytes(corpus[0].path.read_bytes())
    word_features(FakeCodec(), Corpus("y", (replace(corpus[0], path=moved),)), chosen, "audio", kept)
    assert kept.hits == 1  # the same audio elsewhere is the same audio


def test_a_disk_that_refuses_warns_once_and_changes_nothing(corpus, tmp_path, monkeypatch):
    for name in ("BLOCK_TOKENS", "PART_TOKENS"):
        monkeypatch.setattr(word_shards, name, 20)
    (tmp_path / "file").write_text("no folder")
    with pytest.warns(UserWarning, match="cannot be written") as caught:
        found = word_features(FakeCodec(), corpus, tokens(corpus), "audio", codes_cache.open_cache(tmp_path / "file"))
    assert len([w for w in caught if "cannot be written" in str(w.message)]) == 1 and found.ok.all()


def test_cache_off():
    assert codes_cache.open_cache("off") is None and codes_cache.open_cache(None) is None
