import pytest
from omegaconf import OmegaConf

from laminal import config
from laminal.errors import RequestError


@pytest.fixture
def shelf(tmp_path, monkeypatch):
    """A little configs/ folder: a base, an experiment, two corpora, one loss and one probe."""
    files = {
        "base.yaml": "seed: 0\nrun: null\ncorpus: small\nlosses: {}\nprobes: {words: words}\ntrainer: {epochs: 8, lr: 0.1, amp: false}\n"
        "data: parts/data.yaml\nname: ${corpus.root}/x\nlayers: [1, 2]\n",
        "parts/data.yaml": "seconds: 1.0\nbatch: 4\n",
        "exp.yaml": "base: base.yaml\ntrainer: {epochs: 9}\nlosses:\n  mel: {weight: 15.0}\n",
        "corpora/small.yaml": "_target_: x.small\nroot: a\n",
        "corpora/large.yaml": "_target_: x.large\nroot: ???\nalign: null\n",
        "losses/mel.yaml": "_target_: x.Mel\nweight: 1.0\nbins: 64\n",
        "probes/words.yaml": "_target_: x.Words\npairs: 300\n",
    }
    for name, text in files.items():
        path = tmp_path / "configs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.setattr(config, "folders", lambda: [tmp_path / "configs"])
    return tmp_path / "configs"


def test_base_include_and_twins(shelf):
    loaded = config.load(["exp"])
    assert loaded.trainer.epochs == 9 and loaded.trainer.lr == 0.1
    assert loaded.data.batch == 4
    assert loaded.corpus._target_ == "x.small" and loaded.probes.words.pairs == 300
    assert loaded.losses.mel == {"_target_": "x.Mel", "weight": 15.0, "bins": 64}


def test_a_named_corpus_resolves_before_other_overrides_in_any_order(shelf):
    for words in (["corpus=large", "corpus.root=/data"], ["corpus.root=/data", "corpus=large"]):
        loaded = config.load(["exp.yaml"], words)
        assert loaded.corpus._target_ == "x.large" and loaded.corpus.root == "/data" and loaded.name == "/data/x"


def test_repeated_configs_merge_left_to_right(shelf):
    (shelf / "more.yaml").write_text("trainer: {epochs: 10}\nseed: 3\n")
    loaded = config.load(["exp", "more"], ["seed=4"])
    assert loaded.trainer.epochs == 10 and loaded.seed == 4


def test_values_are_read_as_yaml(shelf):
    loaded = config.load(["exp"], ["trainer.lr=1e-4", "run=runs/epoch=3-step=10.ckpt", "trainer.amp=true", "layers=[3,4]"])
    assert loaded.trainer.lr == 1e-4 and loaded.run == "runs/epoch=3-step=10.ckpt" and loaded.trainer.amp is True
    assert loaded.layers == [3, 4]


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("trainer.epoch=3", "unknown key 'trainer.epoch'.*did you mean epochs"),
        ("sed=3", "did you mean seed"),
        ("losses.nel.weight=3", "unknown key 'losses.nel'"),
        ("corpus=lagre", "did you mean large"),
        ("trainer.epochs=many", "int"),
        ("trainer.epochs=1.5", "int"),
        ("trainer.amp=3", "bool"),
        ("trainer=3", "section"),
        ("epochs", "not key=value"),
        ("corpus.rot=x", "did you mean root"),
        ("data.batch={a: 1}", "batch"),
    ],
)
def test_a_wrong_override_is_named(shelf, word, says):
    with pytest.raises(RequestError, match=says):
        config.load(["exp"], [word])


def test_an_unknown_key_in_an_experiment_file_is_named(shelf):
    (shelf / "bad.yaml").write_text("base: base\ntrianer: {epochs: 3}\n")
    with pytest.raises(RequestError, match="trianer.*did you mean trainer"):
        config.load(["bad"])


def test_a_whole_number_for_a_fraction_stays_a_fraction(shelf):
    assert isinstance(config.load(["exp"], ["losses.mel.weight=2"]).losses.mel.weight, float)


def test_a_new_loss_comes_from_its_twin(shelf):
    assert config.load(["base"], ["losses.mel.weight=2"]).losses.mel.bins == 64
    assert config.load(["base"], ["losses.mel=mel"]).losses.mel.weight == 1.0


def test_a_section_can_be_switched_off(shelf):
    assert config.load(["exp"], ["losses.mel=null"]).losses.mel is None


def test_broken_yaml_and_missing_file(shelf):
    (shelf / "broken.yaml").write_text("a: [1\n")
    with pytest.raises(RequestError, match="not readable YAML"):
        config.load(["broken"])
    with pytest.raises(RequestError, match="did you mean exp"):
        config.load(["expp"])


def test_resolved_config_reads_back(shelf, tmp_path):
    loaded = config.load(["exp"])
    OmegaConf.save(loaded, tmp_path / "c.yaml", resolve=True)
    assert OmegaConf.load(tmp_path / "c.yaml").name == "a/x"
