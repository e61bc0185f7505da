"""The one path of probing: an encoder without codes is known as one."""

from omegaconf import OmegaConf

from laminal import probing
from laminal.corpora.base import Corpus
from laminal.probes.run import run_probes
from laminal.probes.word_pairs import WordPairs
from laminal.report.selection import checkpoints
from laminal.results import Context, Score, read_table
from oracle_pairs import FakeCodec, noise_corpus

SECTION = dict(
    style="matched", slices=["audio"], distances=["cosine"], modes=["cumulative"], maximum=300, tier_maximum=300, token_pairs=2, randoms=2,
    draws=1000, items=[], seed=0,
)  # fmt: skip


class Encoder:
    """Layers, and no codes."""

    name, sample_rate, frame_rate, codebooks, codebook_size, revision = "encoder", 16_000, 50.0, 0, 1, "1"

    def layers(self, wav):
        return FakeCodec().layers(wav)

    def encode(self, wav):
        raise NotImplementedError

    decode = encode


class Halves:
    """A section of a probe that measures one slice."""

    name, version = "halves", 1

    def __init__(self, slice):
        self.slice = slice

    def run(self, codec):
        for layer in ("1", "2"):
            yield Score(
                probe="halves", metric="size", value=1.0, low=0.0, high=2.0, n=9, clusters=9, chance=0.0, higher_is_better=None, unit="",
                layer=layer, slice=self.slice,
            )  # fmt: skip


def test_reports_call_an_encoders_layers_layers(tmp_path):
    corpus = noise_corpus(tmp_path / "noise", speakers=6, utterances=2)
    context = Context(run="encoder", codec="encoder", revision="1", corpus="noise")
    probe = {"word_pairs": WordPairs(corpus, None, **SECTION)}
    found = run_probes(Encoder(), probe, context)
    (point,) = checkpoints(found.score_table())
    assert point.hidden and point.named("2") == "hidden layer 2" and point.axis == "layer"
    (point,) = checkpoints(run_probes(FakeCodec(), probe, context).score_table())
    assert not point.hidden and point.named("2") == "codebook 2" and point.axis == "codebooks accumulated"


def test_two_sections_of_a_probe_say_once_that_there_are_no_codebooks(tmp_path):
    context = Context(run="encoder", codec="encoder", revision="1", corpus="noise")
    probes = {slice: Halves(slice) for slice in ("audio", "features")}
    for found in (run_probes(Encoder(), probes, context), probed(Encoder(), probes, tmp_path)):
        table = found.score_table()  # raises where two rows share a key
        assert (table.metric == "codebooks").sum() == 1 and len(table) == 5
    assert len(read_table(tmp_path / "scores.parquet")) == 5


def probed(codec, probes, folder):
    config = OmegaConf.create({"probes": {name: {} for name in probes}})
    target = probing.Target(codec, Context(run="encoder", codec="encoder", revision="1"), folder)
    return probing.probe(target, probing.Ground(config, Corpus("noise", ()), None, probes))
