"""init=: codes and audio of the tokenizer are the library's before training, sizes that differ are one line, and a step trains."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from laminal import compat, config, experiment, training
from laminal.errors import RequestError
from laminal.nn.recipes import tokenizer_of
from laminal.nn.start_from import start_from
from oracle_commands import refusal
from oracle_training import settings, small, train

ENCODEC = {
    "sample_rate": 24000, "ratios": [8, 5, 4, 2], "filters": 4, "dim": 16, "codebooks": 4, "codebook_size": 32, "lstm_layers": 1,
    "residual_layers": 1, "causal": True, "norm": "weight_norm", "dropout": 0.0, "seed": 7,
}  # fmt: skip
MIMI = {
    "_target_": "laminal.nn.split_tokenizer.SplitTokenizer", "sample_rate": 24000, "frame_rate": 12.5, "filters": 4, "dim": 16,
    "codebook_dim": 8, "codebooks": 4, "codebook_size": 32, "residual_layers": 1, "transformer_layers": 1, "heads": 2,
    "order": "parallel", "dropout": 0.0, "seed": 7,
}  # fmt: skip
RECIPES = {"encodec": ENCODEC, "mimi": MIMI}


def noise(seed, samples=24000):
    return 0.1 * torch.randn(2, samples, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """Small models as their own classes save them; EnCodec with the old names of weight norm, Mimi with `frame_rate` and `rope_theta`."""
    compat.torchaudio()
    from transformers import EncodecConfig, EncodecModel, MimiConfig, MimiModel

    root = tmp_path_factory.mktemp("published")
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.default_generator.manual_seed(1)
        model = EncodecModel(
            EncodecConfig(num_filters=4, hidden_size=16, codebook_size=32, num_lstm_layers=1, target_bandwidths=[0.75, 1.5])
        ).eval()
        latent = model.encoder(noise(0)[:, None])
        spread = latent.std((0, 2))  # about a mean that is far larger: the library's own start
        for number, layer in enumerate(model.quantizer.layers):
            layer.codebook.embed.copy_(spread * torch.randn(32, 16) + (latent.mean((0, 2)) if number == 0 else 0))
            layer.codebook.cluster_size.copy_(20 * torch.rand(32) + 5)
        model.save_pretrained(root / "encodec")
        file = root / "encodec" / "model.safetensors"
        old = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}
        weights = load_file(file)
        save_file({_renamed(name, old): each for name, each in weights.items()}, file, metadata={"format": "pt"})
        model = MimiModel(
            MimiConfig(num_filters=4, hidden_size=16, codebook_dim=8, vector_quantization_hidden_dimension=8, codebook_size=32,
                       num_quantizers=4, num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=2, intermediate_size=64,
                       upsample_groups=16, layer_scale_initial_scale=0.5)
        ).eval()  # fmt: skip
        latent = model.encoder(noise(0)[:, None]).latents
        for half in (model.quantizer.semantic_residual_vector_quantizer, model.quantizer.acoustic_residual_vector_quantizer):
            inner = half.input_proj(latent)
            for layer in half.layers:
                layer.codebook.cluster_usage.copy_(20 * torch.rand(32) + 5)
                entries = inner.mean((0, 2)) + inner.std() * torch.randn(32, 8)
                layer.codebook.embed_sum.copy_(entries * layer.codebook.cluster_usage[:, None])
        model.save_pretrained(root / "mimi")
        file = root / "mimi" / "config.json"
        said = json.loads(file.read_text())
        said.pop("rope_parameters", None)
        file.write_text(json.dumps(said | {"rope_theta": 10000.0, "frame_rate": 12.5}))
    return root


def _renamed(name, old):
    for new, before in old.items():
        name = name.replace(new, before)
    return name


def library(root, kind, wav):
    """Codes and audio of the published class itself."""
    from transformers import EncodecModel, MimiModel

    with torch.no_grad():
        if kind == "encodec":
            model = EncodecModel.from_pretrained(root / kind).eval()
            codes = model.encode(wav[:, None], bandwidth=1.5)
            return codes.audio_codes[0], model.decode(codes.audio_codes, [None]).audio_values[:, 0]
        model = MimiModel.from_pretrained(root / kind).eval()
        codes = model.encode(wav[:, None]).audio_codes
        return codes, model.decode(codes).audio_values[:, 0]


@pytest.mark.parametrize("kind", ["encodec", "mimi"])
def test_codes_and_audio_are_the_librarys(published, kind):
    recipe = RECIPES[kind]
    tokenizer = tokenizer_of(recipe)
    before = torch.random.get_rng_state()
    digest = start_from(tokenizer, str(published / kind))
    assert len(digest) == 64 and torch.equal(before, torch.random.get_rng_state())
    wav = noise(3)
    codes, audio = library(published, kind, wav)
    tokenizer.eval()
    with torch.no_grad():
        out = tokenizer(wav, torch.ones_like(wav, dtype=torch.bool))
    assert torch.equal(out.codes, codes) and len(codes.unique()) > 8
    assert torch.equal(out.audio, audio[:, : wav.shape[1]]) and float(out.audio.std()) > 0
    assert bool(tokenizer.quantizer.ready.all()) and all(p.requires_grad for p in tokenizer.parameters())


@pytest.mark.parametrize("kind", ["encodec", "mimi"])
def test_one_forward_in_training_moves_the_codebooks_a_little(published, kind):
    """The statistics are those of the file: a hundredth of the way at most, not a new codebook."""
    recipe = RECIPES[kind]
    tokenizer = tokenizer_of(recipe)
    start_from(tokenizer, str(published / kind))
    embed = {name: value.clone() for name, value in tokenizer.named_buffers() if name.endswith("embed")}
    wav = noise(4)
    tokenizer.train()(wav, torch.ones_like(wav, dtype=torch.bool))
    for name, value in tokenizer.named_buffers():
        if name.endswith("embed"):
            moved = (value - embed[name]).norm() / embed[name].norm()
            assert 0 < moved < 0.2, (name, moved)
    usage = [value for name, value in tokenizer.named_buffers() if name.endswith("cluster_size")]
    assert all(float(each.min()) > 5 * 0.99 * 0.9 for each in usage)  # of 5 to 25 in the file


def words(published, kind, tiny_corpus, **changed):
    recipe = RECIPES[kind] | changed
    given = [
        f"tokenizer.{key}={str(value).lower() if isinstance(value, bool) else value}" for key, value in recipe.items() if key[0] != "_"
    ]
    short = ["trainer.epochs=1", "trainer.steps_per_epoch=1", "probing.every_epochs=null", "data.validation_crops=1"]
    return [*small(tiny_corpus), *given, *short, f"init={published / kind}"]


@pytest.mark.parametrize("kind", ["encodec", "mimi"])
def test_a_recipe_trains_a_step_and_exports(published, tiny_corpus, tmp_path, kind):
    """configs/finetune_*.yaml at small size: all of its losses, and the weights move away from the published ones."""
    name = f"finetune_{kind}"
    made = experiment.resolved(config.load([name], words(published, kind, tiny_corpus)))
    made.losses.adversarial.n_ffts, made.data.seconds = [128, 64], 1.0
    task = train(made, tmp_path)
    assert task.generator_step == 1 and set(task.objective.weights) >= {"synonym_contrast", "reconstruct_match"}
    start = tokenizer_of(task.recipe)
    digest = start_from(start, str(published / kind))
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert manifest["init"] == {"codec": str(published / kind), "sha256": digest}
    moved = [not torch.equal(a, b) for a, b in zip(start.parameters(), task.tokenizer.parameters())]
    assert sum(moved) > 0.8 * len(moved)
    assert all(float((a - b).detach().abs().max()) < 1e-3 for a, b in zip(start.parameters(), task.tokenizer.parameters()))  # lr 1e-4
    assert (tmp_path / "tokenizer" / "config.json").is_file()
    made.init = str(tmp_path / "gone")  # a resume needs the published codec no more
    made.trainer.epochs = 2
    assert train(made, tmp_path, resume=True).generator_step == 2


@pytest.mark.parametrize(
    ("kind", "changed", "says"),
    [
        ("encodec", {"filters": 8, "dim": 32}, "(filters 4 there and 8 here, dim 16 there and 32 here); give tokenizer.filters=4 token"),
        ("encodec", {"codebooks": 8}, "(codebooks 4 there and 8 here); give tokenizer.codebooks=4"),
        ("encodec", {"ratios": [5, 4, 4, 2]}, "ratios [8,5,4,2] there and [5,4,4,2] here"),
        ("encodec", {"causal": False}, "causal true there and false here); give tokenizer.causal=true"),
        ("mimi", {"frame_rate": 25.0}, "frame_rate 12.5 there and 25.0 here); give tokenizer.frame_rate=12.5"),
        ("mimi", {"codebook_dim": 4}, "codebook_dim 8 there and 4 here); give tokenizer.codebook_dim=8"),
        ("mimi", {"order": "serial"}, "tokenizer.order=serial: Mimi's codebooks were trained in parallel"),
    ],
)  # fmt: skip
def test_other_sizes_are_one_line(published, kind, changed, says):
    recipe = RECIPES[kind] | changed
    with pytest.raises(RequestError) as error:
        start_from(tokenizer_of(recipe), str(published / kind))
    assert says in str(error.value) and "\n" not in str(error.value)


def test_the_command_refuses_with_one_line_and_leaves_no_folder(published, tiny_corpus, tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("LAMINAL_RUN_FOLDER", raising=False)
    sizes = words(published, "encodec", tiny_corpus, filters=8)
    said = refusal(capsys, "train", "--config", "plain_rvq", *sizes, f"out={tmp_path}", "run=other")
    assert "its sizes are not the tokenizer's (filters 4 there and 8 here); give tokenizer.filters=4" in said
    assert not (tmp_path / "other").exists()


def test_what_is_no_such_codec_is_one_line(published, tmp_path, monkeypatch):
    tokenizer = tokenizer_of(ENCODEC)
    with pytest.raises(RequestError, match=r"holds a MimiModel, this tokenizer exports as EncodecModel: take --config finetune_mimi.yaml"):
        start_from(tokenizer, str(published / "mimi"))
    with pytest.raises(RequestError, match=r"init=\S+ is no folder, and no hub name"):
        start_from(tokenizer, str(tmp_path / "nowhere"))
    with pytest.raises(RequestError, match=r"init=laminal-test/none is no folder, and the hub did not give it"):
        start_from(tokenizer, "laminal-test/none")  # HF_HUB_OFFLINE is set in tests
    shutil.copytree(published / "encodec", tmp_path / "kernel")
    said = json.loads((tmp_path / "kernel" / "config.json").read_text())
    (tmp_path / "kernel" / "config.json").write_text(json.dumps(said | {"kernel_size": 5}))
    with pytest.raises(RequestError, match=r"built otherwise than any tokenizer of ours \(kernel_size 5 there and 7 here\)"):
        start_from(tokenizer, str(tmp_path / "kernel"))


def test_without_init_nothing_is_read(tiny_corpus, monkeypatch):
    monkeypatch.setattr(training, "start_from", lambda *_: pytest.fail("init is null"))
    made = settings(tiny_corpus)
    assert training.task_of(made).origin is None
    del made["init"]
    assert training.task_of(made).origin is None
