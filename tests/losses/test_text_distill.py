"""Text distillation: values, words that are unknown or held out, empty batches; the real MiniLM reads a word in its sentence."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from laminal.corpora import vocabulary
from laminal.corpora.base import Corpus, Interval
from laminal.corpora.crops import Crops
from laminal.corpora.folder import folder
from laminal.corpora.split import make_split
from laminal.errors import RequestError
from laminal.losses.text_distill import TextDistillLoss
from laminal.teachers.base import WordTeacher
from laminal.teachers.sentences import SentenceTeacher
from oracle_losses import Sentences, SpellingTeacher, ToneTeacher, batch, output


def made(teacher=None, words=("big", "zzz", "dog"), width=8) -> TextDistillLoss:
    torch.manual_seed(0)
    loss = TextDistillLoss(teacher or SpellingTeacher(), width=width)
    loss._sentences = (Sentences(*words),)
    return loss


SPANS = [(0, 0.02, 0.08), (0, 0.1, 0.15), (1, 0.0, 0.1)]


def test_equals_loops_and_leaves_out_what_is_unknown():
    loss, out, crops = made(), output(), batch(spans=SPANS)
    target = SpellingTeacher().vectors(("big", "zzz", "dog"))[0].numpy()
    with torch.no_grad():
        frames = loss.projection(out.z_1).numpy()  # linear: the mean may come after
    centres = (np.arange(10) + 0.5) / 50
    cosines, constants = [], []
    middle = target.sum(0)
    for number, (row, start, end) in enumerate(SPANS):
        span = frames[row][(centres >= start) & (centres <= end)].mean(0)
        cosines.append(span @ target[number] / np.linalg.norm(span) / max(np.linalg.norm(target[number]), 1e-9))
        constants.append(middle @ target[number] / np.linalg.norm(middle) / max(np.linalg.norm(target[number]), 1e-9))
    kept = [0, 2]
    assert loss(out, crops).item() == pytest.approx(np.mean([1 - cosines[k] for k in kept]), abs=1e-5)
    assert loss.logged["cosine"].item() == pytest.approx(np.mean([cosines[k] for k in kept]), abs=1e-5)
    assert loss.logged["constant"].item() == pytest.approx(np.mean([constants[k] for k in kept]), abs=1e-5)
    noisy = crops.span_start.clone(), crops.span_end.clone()
    noisy[0][1], noisy[1][1] = 0.0, 0.2
    assert loss(out, replace(crops, span_start=noisy[0], span_end=noisy[1])).item() == loss(out, crops).item()


def test_no_words_cost_nothing_and_every_parameter_takes_part():
    loss, out, crops = made(), output(), batch()
    value = loss(out, crops)
    value.backward()
    assert value.item() == 0 and all(p.grad is not None and (p.grad == 0).all() for p in loss.parameters())
    assert loss(out, batch(spans=SPANS[1:2])).isfinite()


def test_gradcheck():
    loss, out = made().double(), output(dtype=torch.float64, frames=6)
    crops = batch(spans=SPANS, dtype=torch.float64)
    z_1 = out.z_1.detach().clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda z_1: loss(replace(out, z_1=z_1), crops), z_1)


def test_it_must_be_told_of_its_sentences():
    loss = TextDistillLoss(SpellingTeacher(), width=8)
    with pytest.raises(RequestError, match="attend"):
        loss(output(), batch(spans=SPANS))


def test_held_out_types_enter_neither_as_a_span_nor_as_a_neighbour(tiny_corpus):
    """Whatever the held-out words of every sentence are called, the loss is the same to the last bit; a training word changes it."""
    corpus = folder(tiny_corpus)
    split = make_split(corpus, 0, speakers=0.34, types=0.34)
    given = {"sample_rate": 16000, "seconds": 2.0, "batch": 4, "pairs": 0.0, "synonyms": 0.0, "seed": 0, "cache_bytes": 0}
    crops = Crops(corpus, split, **given)
    held = {word.label for each in corpus for word in each.words if not split.trains(word.label)}
    trained = {word.label for each in corpus for word in each.words} - held
    assert held and trained and set(crops.words) == trained
    step = crops[0]
    assert len(step.span_token) > 4
    out = output(rows=4, frames=100)
    loss = made()

    def value(rename) -> float:
        words = tuple(
            replace(each, words=tuple(Interval(rename(word.label), word.start, word.end) for word in each.words))
            for each in corpus.subset(split.train_speakers)
        )
        loss.attend(vocabulary.Sentences(Corpus("renamed", words), crops._tokens, split))
        assert all(None in loss._sentences[0].words(number) for number in range(len(words)))
        return loss(out, step).item()

    plain = value(lambda word: word)
    assert value(lambda word: "xylophone" if word in held else word) == plain
    assert value(lambda word: "xylophone" if word in trained else word) != plain
    loss.attend(crops.sentences)
    assert loss(out, step).item() == plain
    for token, number in zip(step.span_token.tolist(), step.span_word.tolist(), strict=True):
        utterance, place = crops.sentences.place(token)
        assert crops.sentences.words(utterance)[place] == crops.words[number]


@pytest.fixture(scope="module")
def minilm() -> SentenceTeacher:
    return SentenceTeacher("minilm")


def test_minilm_reads_a_word_in_its_sentence(minilm):
    assert isinstance(minilm, WordTeacher) and minilm.width == 384
    sentences = [["she", "sat", "on", "the", "river", "bank"], ["he", "robbed", "the", "bank"], ["the", "bank", "lent", "him", "money"]]
    (river, _), (robbed, _), (lent, _) = (minilm.vectors(sentence) for sentence in sentences)
    cosine = torch.nn.functional.cosine_similarity
    assert cosine(robbed[3], lent[1], dim=0) > cosine(river[5], lent[1], dim=0)
    again = SentenceTeacher("minilm")
    again.vectors(sentences[2])
    assert torch.equal(again.vectors(sentences[0])[0], river), "whatever was read before"
    assert torch.equal(minilm.vectors(sentences[0])[0], river)


def test_minilm_means_sub_tokens_masks_and_splits(minilm):
    vectors, known = minilm.vectors(["a", "xylophonist", None, "plays"])
    assert known.tolist() == [True, True, False, True] and (vectors[2] == 0).all()
    encoded = minilm._words(["a", "xylophonist", "[MASK]", "plays"], is_split_into_words=True, return_tensors="pt")
    with torch.no_grad():
        states = minilm._networks[0](**encoded).last_hidden_state[0]
    own = [position for position, owner in enumerate(encoded.word_ids(0)) if owner == 1]
    assert len(own) > 1
    torch.testing.assert_close(vectors[1], states[own].mean(0))
    long, there = minilm.vectors(["word"] * 1200)
    assert long.shape == (1200, 384) and there.all() and minilm.vectors([])[0].shape == (0, 384)


def test_refusals(tmp_path, monkeypatch):
    with pytest.raises(RequestError, match="ToneTeacher gives no vectors of words"):
        made(ToneTeacher())
    with pytest.raises(RequestError, match="no folder"):
        SentenceTeacher(tmp_path / "nothing")
    monkeypatch.setattr("importlib.util.find_spec", lambda *_: None)
    with pytest.raises(RequestError, match="laminal\\[text\\]"):
        SentenceTeacher("minilm")
