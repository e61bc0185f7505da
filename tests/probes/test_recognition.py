import json

import numpy as np
import pytest
import torch

from laminal.errors import RequestError
from laminal.probes.recognition import Recogniser, spoken_words, word_error_rate
from laminal.probes.reconstruction import Reconstruction
from laminal.results import Score
from oracle_codec import Pcm, voices
from oracle_signal import word_errors


def test_words_without_case_and_marks():
    assert spoken_words("Don\u2019t stop, Mr. O'Neil -- 3 times_over!") == ["don't", "stop", "mr", "o'neil", "3", "times", "over"]


def test_errors_are_those_of_the_table_and_of_jiwer():
    rng = np.random.default_rng(0)
    for _ in range(20):
        a, b = (" ".join(rng.choice(["one", "two", "three"], size)) for size in (rng.integers(1, 8), rng.integers(0, 8)))
        rate = word_error_rate(a, b)
        assert rate == word_errors(a.split(), b.split()) / len(a.split())
        jiwer = pytest.importorskip("jiwer", reason="extra quality")
        assert rate == pytest.approx(jiwer.wer(a, b))


@pytest.fixture(scope="module")
def spelling_model(tmp_path_factory):
    """A tiny wav2vec 2.0 that spells, random, in the published format."""
    from laminal import compat

    compat.torchaudio()
    from transformers import Wav2Vec2Config, Wav2Vec2CTCTokenizer, Wav2Vec2FeatureExtractor, Wav2Vec2ForCTC, Wav2Vec2Processor

    folder = tmp_path_factory.mktemp("asr")
    letters = ["<pad>", "<s>", "</s>", "<unk>", "|", *"ABCDEFGHIJKLMNOPQRSTUVWXYZ'"]
    (folder / "vocab.json").write_text(json.dumps({letter: place for place, letter in enumerate(letters)}))
    tokenizer = Wav2Vec2CTCTokenizer(folder / "vocab.json")
    extractor = Wav2Vec2FeatureExtractor(return_attention_mask=False)
    Wav2Vec2Processor(feature_extractor=extractor, tokenizer=tokenizer).save_pretrained(folder)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = Wav2Vec2Config(
            hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, vocab_size=len(letters), pad_token_id=0,
            conv_dim=(16,) * 7, num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=2,
        )  # fmt: skip
        Wav2Vec2ForCTC(config).save_pretrained(folder)
    return str(folder)


def test_a_spelling_model_is_heard_and_scored(spelling_model, tmp_path):
    corpus = voices(tmp_path)
    before = torch.get_rng_state()
    heard = Recogniser(spelling_model)
    assert torch.equal(before, torch.get_rng_state())
    wav = corpus.wav(corpus[0], 16000).numpy()
    with torch.no_grad():
        inputs = (wav - wav.mean()) / np.sqrt(wav.var() + 1e-7)
        best = heard.model(torch.from_numpy(inputs)[None]).logits.argmax(-1)[0].tolist()
    letters = [each for place, each in enumerate(best) if each and (place == 0 or best[place - 1] != each)]
    expected = "".join(heard.processor.tokenizer.convert_ids_to_tokens(letters)).replace("|", " ")
    assert heard(wav).replace(" ", "") == expected.replace(" ", "")
    settings = {"utterances": 6, "seconds": 2.0, "pesq_codebooks": [], "speaker": None, "draws": 1000, "seed": 0}
    found = list(Reconstruction(corpus, None, codebooks=[4], asr=spelling_model, **settings).run(Pcm()))
    scores = {(each.setting, each.layer): each for each in found if isinstance(each, Score) and each.metric == "wer"}
    assert set(scores) == {("original", ""), ("", "4")} and all(score.n == 6 for score in scores.values())
    assert scores["", "4"].value > 0.5  # it knows no words


def test_what_is_no_recogniser_is_refused(tmp_path):
    with pytest.raises(RequestError, match="asr="):
        Recogniser(str(tmp_path))
