"""push=: the card says what the run's files say and its example runs; nothing is sent without a token, and what fails is one line."""

import json
import re
import shutil
import types

import huggingface_hub
import pytest
import torch

from laminal import cli
from laminal.codecs.load import load_codec
from laminal.report.headlines import headlines
from laminal.report.selection import checkpoints
from laminal.results import read_table
from oracle_commands import command, refusal
from oracle_training import settings, train

TOKEN = "hf_not_a_token"


@pytest.fixture(scope="module")
def run(tiny_corpus, tmp_path_factory):
    """A finished run with scores of both of its steps."""
    folder = tmp_path_factory.mktemp("push") / "tiny"
    words = ("trainer.steps_per_epoch=1", "trainer.epochs=2", "probes.word_pairs=null", "checkpoint.monitor=probe/units/usage/L01")
    train(settings(tiny_corpus, *words, "checkpoint.mode=max", "data.validation_crops=1", "optimizer.ema=0.9"), folder)
    return folder


class Hub:
    """As much of HfApi: it keeps what it was sent, or fails as it is told to."""

    def __init__(self, error=None):
        self.error, self.calls, self.sent = error, [], {}

    def __call__(self, token):
        self.calls.append(("token", token))
        return self

    def create_repo(self, repo, private, exist_ok):
        self.calls.append(("create", repo, private, exist_ok))
        if self.error is not None:
            raise self.error

    def create_commit(self, repo, operations, commit_message):
        self.calls.append(("commit", repo, commit_message))
        self.sent = {each.path_in_repo: open(each.path_or_fileobj, "rb").read() for each in operations}  # noqa: SIM115, PTH123
        return types.SimpleNamespace(commit_url=f"hub/{repo}/commit/1")


@pytest.fixture
def hub(monkeypatch):
    made = Hub()
    monkeypatch.setattr(huggingface_hub, "HfApi", made)
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: TOKEN)
    return made


def pushed(run, *words):
    return cli.outcome(command("probe"), [f"push={run}", *words])


def card(run):
    return (run / "README.md").read_text(encoding="utf-8")


def test_the_card_says_what_the_run_measured(run, capsys, tiny_corpus):
    assert pushed(run) == 0
    said, text = capsys.readouterr().out, card(run)
    assert "nothing was sent" in said and str(run / "README.md") in said
    scores = read_table(run / "scores.parquet")
    point = checkpoints(scores[scores.step == 2])[-1]
    table = [line.split("|") for line in text.splitlines() if line.count("|") == 7]
    rows = {cells[1].strip(): [cell.strip() for cell in cells[2:-1]] for cells in table}
    shown = headlines([point])
    assert len(shown) > 2 and rows.keys() == {"score", "---", *(each.label for each in shown)}
    for each in shown:
        assert rows[each.label] == [each.value(each.last), each.interval, each.chance, f"{each.last.n:,d}", each.verdict]
    manifest = json.loads((run / "manifest.json").read_text())
    size = "16000 Hz mono, 50 frames/s, 2 codebooks of 16"
    for fact in ("generator step 2", manifest["corpus_sha256"][:16], "their mean, decay 0.9", size):
        assert fact in text, fact
    assert "licence" in text.lower() and "Apache-2.0" in text and re.search(r"^- corpus \w+: ", text, flags=re.MULTILINE)
    assert str(tiny_corpus) not in text and str(run.parent) not in text  # folders of this machine are nobody's business
    assert text.startswith("---\nlibrary_name: transformers\n")


def test_its_example_runs_without_laminal(run, tmp_path):
    pushed(run)
    (code,) = re.findall(r"^```python\n(.*?)^```", card(run), flags=re.MULTILINE | re.DOTALL)
    assert "laminal" not in code
    found = {}
    exec(compile(code.replace("OWNER/tiny", str(run / "tokenizer")), "README.md", "exec"), found)
    assert found["codes"].shape[-2] == 2 and found["audio"].shape[-1] >= 16000
    codec = load_codec(str(run / "tokenizer"))
    assert torch.equal(codec.encode(torch.from_numpy(found["wav"])[None]), found["codes"][0])


def test_the_export_goes_with_its_card_in_one_commit(run, hub, capsys):
    assert pushed(run, "repo=me/tiny") == 0
    assert hub.calls == [("token", TOKEN), ("create", "me/tiny", True, True), ("commit", "me/tiny", "tiny, exported by laminal")]
    assert hub.sent.keys() == {"README.md", *(path.name for path in (run / "tokenizer").iterdir())}
    assert all(hub.sent[path.name] == path.read_bytes() for path in (run / "tokenizer").iterdir())
    assert b'from_pretrained("me/tiny")' in hub.sent["README.md"]
    assert TOKEN.encode() not in b"".join(hub.sent.values()) and "hub/me/tiny/commit/1" in capsys.readouterr().out
    pushed(run, "repo=me/tiny", "private=false")
    assert ("create", "me/tiny", False, True) in hub.calls


def test_the_best_checkpoint_has_a_card_of_its_own_scores(run, hub):
    best = json.loads((run / "manifest.json").read_text())["best"]
    step = int(re.findall(r"\d+", best["checkpoint"])[0])
    assert pushed(run / "tokenizer-best") == 0 and f"generator step {step}:" in card(run)


def test_without_a_token_nothing_is_sent(run, hub, capsys, monkeypatch):
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: None)
    said = refusal(capsys, "probe", f"push={run}", "repo=me/tiny")
    assert "no token for the hub" in said and "hf auth login" in said and hub.calls == []


@pytest.mark.parametrize("repo", ["tiny", "me/tiny/er", "me/ti ny", "-"])
def test_a_name_that_the_hub_does_not_take_is_one_line(run, hub, capsys, repo):
    assert "give OWNER/NAME" in refusal(capsys, "probe", f"push={run}", f"repo={repo}") and hub.calls == []


def test_without_a_network_it_is_one_line(run, capsys, monkeypatch):
    """The real client, which the tests' HF_HUB_OFFLINE keeps from the network."""
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: TOKEN)
    assert pushed(run, "repo=me/tiny") == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and said.startswith("error: repo=me/tiny: the hub was not reached") and "Traceback" not in said
    assert TOKEN not in said and card(run)


@pytest.mark.parametrize(("status", "code", "says"), [(403, 2, "refused the token (403)"), (503, 1, "the hub answered 503")])
def test_what_the_hub_says_is_one_line(run, hub, capsys, status, code, says):
    from huggingface_hub.errors import HfHubHTTPError

    error = HfHubHTTPError.__new__(HfHubHTTPError)
    Exception.__init__(error, "said\nmore")
    error.response = types.SimpleNamespace(status_code=status)
    hub.error = error
    assert pushed(run, "repo=me/tiny") == code
    said = capsys.readouterr().err
    assert says in said and said.count("\n") == 1 and hub.sent == {}


def test_what_cannot_be_published_is_one_line(run, capsys, tmp_path):
    assert "does not exist" in refusal(capsys, "probe", f"push={tmp_path / 'none'}")
    bare = tmp_path / "bare"
    shutil.copytree(run, bare)
    shutil.rmtree(bare / "tokenizer")
    assert "is no export" in refusal(capsys, "probe", f"push={bare}")
    shutil.copytree(run / "tokenizer", bare / "tokenizer")
    (bare / "README.md").unlink(missing_ok=True)
    scores = read_table(bare / "scores.parquet")
    scores.loc[:, "ckpt_sha256"] = "0" * 64
    scores.to_parquet(bare / "scores.parquet")
    assert "are of other weights than its export" in refusal(capsys, "probe", f"push={bare}")
    (bare / "scores.parquet").unlink()
    assert "a card is made of scores" in refusal(capsys, "probe", f"push={bare}") and not (bare / "README.md").exists()


def test_the_licence_of_other_weights_is_not_claimed():
    from laminal.report.card import _teachers

    target = "laminal.teachers.hubert.HubertTeacher"
    paths = ("shipped/hubert-small", "/elsewhere/mine")
    shipped, other = (dict(_teachers({"semantic": {"_target_": target, "path": path}}))["semantic"] for path in paths)
    assert "small HuBERT-shaped teacher in the package (Apache-2.0" in shipped
    assert other == f"{target}, weights mine: licence not known here; say it"
