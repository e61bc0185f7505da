"""Figures of word pairs in the cache: the same to the bit, and under another name as soon as anything they depend on is another."""

import shutil
from dataclasses import replace

import numpy as np
import pytest

from laminal.cache import CodesCache
from laminal.corpora.base import Corpus
from laminal.corpora.split import make_split
from laminal.features import WordFeatures
from laminal.probes import pair_figures
from laminal.probes.pair_figures import Measured, figures
from laminal.probes.pair_sampling import sample_pairs
from laminal.probes.word_pairs import WordPairs
from oracle_pairs import FakeCodec, noise_corpus

SIZES = dict(maximum=300, tier_maximum=300, token_pairs=2, randoms=2)
PROBE = dict(style="matched", slices=["audio", "features"], distances=["cosine", "scaled"], items=["cosine"], draws=1000, seed=0) | SIZES
MODES = ["cumulative", "single", "residual"]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return noise_corpus(tmp_path_factory.mktemp("noise"), speakers=8, utterances=3)


@pytest.fixture(scope="module")
def split(corpus):
    return make_split(corpus, seed=0, speakers=0.5)


@pytest.fixture(scope="module")
def measured(corpus, split):
    sample = sample_pairs(corpus, split, 0, **SIZES)
    values = np.random.default_rng(0).standard_normal((len(sample.tokens), 3, 4), np.float32)
    for name in ("synonym_core", "near_homophone"):  # closer than random: PhonSem is defined
        values[sample.sets[name].first] = values[sample.sets[name].second] + 0.1
    words = {"audio": WordFeatures(("latent", "1", "2"), values, np.ones(len(values), bool), 0)}
    return Measured(sample, words, ("cumulative", "single"), ("euclidean", "cosine"), ("cosine",), 1000, 0)


def probe(corpus, split, cache, **changes):
    return WordPairs(corpus, split, **(PROBE | {"modes": MODES} | changes), cache=None if cache is None else str(cache))


def told(measure, codec):
    return whole([(type(each).__name__, each) for each in measure.run(codec)])


def whole(found):
    with np.printoptions(threshold=10**9, floatmode="unique", precision=17):
        return repr(found)


@pytest.mark.parametrize("style,utterances", [("matched", 3), ("choi", 3), ("matched", 1)])
def test_a_second_probing_computes_nothing_and_says_the_same(corpus, split, tmp_path, monkeypatch, style, utterances):
    fewer = Corpus("noise", tuple(each for number, each in enumerate(corpus) if number % 3 < utterances))
    asked = split if style == "matched" else None
    plain = probe(fewer, asked, None, style=style)
    kept = probe(fewer, asked, tmp_path, style=style)
    expected = told(plain, FakeCodec())
    assert told(kept, FakeCodec()) == expected and not kept.recalled and not plain.recalled
    monkeypatch.setattr(Measured, "compute", lambda self: pytest.fail("computed again"))
    again = probe(fewer, asked, tmp_path, style=style)
    assert told(again, FakeCodec()) == expected and again.recalled == len(again.seeds)
    assert ("fewer than 10 type pairs" in expected) == (utterances == 1 or style == "matched")


def test_other_layers_of_the_same_codes_are_other_figures(corpus, tmp_path):
    class Mended(FakeCodec):  # the same name, revision and codes: only what is looked up from them differs
        def layers(self, wav_or_codes):
            return {name: layer * 2 if name == "2" else layer for name, layer in super().layers(wav_or_codes).items()}

    kept = probe(corpus, None, tmp_path, modes=["cumulative"], distances=["euclidean"], items=[])
    before, after = told(kept, FakeCodec()), told(kept, Mended())
    assert not kept.recalled and before != after == told(
        probe(corpus, None, None, modes=["cumulative"], distances=["euclidean"], items=[]), Mended()
    )


def test_the_name_holds_all_that_figures_depend_on(measured, monkeypatch):
    sample, words = measured.sample, measured.words["audio"]
    one = sample.sets["same_word"]
    values, ok = words.values.copy(), words.ok.copy()
    values[3, 1, 2] += 1e-6
    ok[5] = False
    member = {name: ~inside for name, inside in one.member.items()}
    sets = {
        "first": replace(one, first=np.roll(one.first, 1)),
        "second": replace(one, second=np.roll(one.second, 1)),
        "group": replace(one, group=np.roll(one.group, 1)),
        "types": replace(one, types=one.types[::-1]),
        "member": replace(one, member=member),
    }
    others = {
        "values": replace(measured, words={"audio": replace(words, values=values)}),
        "ok": replace(measured, words={"audio": replace(words, ok=ok)}),
        "slice": replace(measured, words={"features": words}),
        "layers": replace(measured, words={"audio": replace(words, layers=("latent", "1", "3"))}),
        "modes": replace(measured, modes=("cumulative",)),
        "distances": replace(measured, distances=("cosine", "euclidean")),
        "items": replace(measured, items=()),
        "draws": replace(measured, draws=1001),
        "seed": replace(measured, seed=1),
        "words": replace(measured, sample=replace(sample, words=(*sample.words, "zyzzyva"))),
        "splits": replace(measured, sample=replace(sample, splits=sample.splits[:2])),
        "randoms": replace(measured, sample=replace(sample, randoms=sample.randoms | {"synonym": "random_for_same_word"})),
        **{name: replace(measured, sample=replace(sample, sets=sample.sets | {"same_word": each})) for name, each in sets.items()},
    }
    keys = {name: each.key() for name, each in others.items()} | {"as it is": measured.key()}
    for name, target, attribute in (
        ("code", pair_figures, "SOURCE"),
        ("numpy", np, "__version__"),
        ("torch", pair_figures.torch, "__version__"),
    ):
        with monkeypatch.context() as patched:
            patched.setattr(target, attribute, "another")
            keys[name] = measured.key()
    assert len(set(keys.values())) == len(keys)
    assert keys["as it is"] == replace(measured, words={"audio": replace(words, values=words.values.copy(), empty=7)}).key()


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A copy of the source that is hashed in place of the installed one."""
    copy = tmp_path / "laminal"
    shutil.copytree(pair_figures.PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__", "data", "weights", "tract_table"))
    monkeypatch.setattr(pair_figures, "PACKAGE", copy)
    monkeypatch.setattr(pair_figures, "__file__", str(copy / "probes" / "pair_figures.py"))
    return copy


def test_every_line_of_the_source_is_in_the_name(package):
    assert pair_figures.source_sha256() == pair_figures.SOURCE
    (package / ".#auc.py").symlink_to("gone")  # as an editor leaves it
    assert pair_figures.source_sha256() == pair_figures.SOURCE
    with (package / "measures" / "auc.py").open("a") as file:
        file.write("\n")
    edited = pair_figures.source_sha256()
    (package / "measures" / "auc.py").rename(package / "measures" / "area.py")
    assert len({pair_figures.SOURCE, edited, pair_figures.source_sha256()}) == 3


@pytest.mark.parametrize("change", ["edited", "without source", "unreadable"])
def test_code_without_a_name_keeps_nothing_and_takes_nothing(measured, package, tmp_path, monkeypatch, change):
    cache = CodesCache(tmp_path / "codes")
    figures(measured, cache)
    if change == "edited":
        (package / "measures" / "auc.py").write_text("")
    elif change == "unreadable":
        (package / "x.py").mkdir()
    else:
        shutil.rmtree(package)
        monkeypatch.setattr(pair_figures, "SOURCE", pair_figures.source_sha256())
    assert not figures(measured, cache).recalled and len(list((tmp_path / "codes").rglob("*.npz"))) == 1


def test_a_broken_entry_is_made_again(measured, tmp_path):
    cache = CodesCache(tmp_path)
    expected = figures(measured, cache)
    assert not expected.recalled and any(each.phonsem and each.phonsem[1].any() for each in expected.splits.values())
    (path,) = tmp_path.rglob("*.npz")
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.warns(UserWarning, match="broken"):
        found = figures(measured, cache)
    again = figures(measured, cache)
    assert not found.recalled and again.recalled
    assert whole(found) == whole(expected) == whole(replace(again, recalled=False))


def test_columns_are_those_of_the_modes(measured):
    assert [column.layer for column in measured.columns if column.distance == "cosine"] == ["latent", "1", "2", "1", "2"]
    found = measured.compute()
    for split in found.splits.values():
        for name, each in split.sets.items():
            assert found.listed[name].shape == (len(measured.sample.sets[name].first), 5)
            assert each is None or (each.level.shape == (10,) and each.kept.max() < len(found.listed[name]))
