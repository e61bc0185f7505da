"""The tokenizer: shapes, masks, weights at the start, and an export that transformers alone reads."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from laminal.errors import RequestError
from laminal.nn.export import export
from laminal.nn.tokenizer import Tokenizer, bandwidths
from oracle_tokenizer import speech, stepped, whole

TINY = {
    "sample_rate": 16000, "ratios": [8, 5, 4, 2], "filters": 4, "dim": 16, "codebooks": 8, "codebook_size": 64, "lstm_layers": 1,
    "residual_layers": 1, "causal": True, "norm": "weight_norm", "dropout": 0.0, "seed": 5, "quantizer": {"kmeans_frames": 128},
}  # fmt: skip
SHAPES = {"causal": {}, "two-sided, one LSTM more": {"causal": False, "lstm_layers": 2}, "25 Hz": {"ratios": [8, 5, 4, 4], "codebooks": 3},
          "group norm": {"norm": "time_group_norm"}}  # fmt: skip


def trained(steps: int = 2, **changes) -> Tokenizer:
    return stepped(Tokenizer(**(TINY | changes)), steps, batches=200, samples=8000)


LOADER = """
import sys
from pathlib import Path
import numpy as np, torch
torch.set_num_threads(1)
from transformers import EncodecModel
wav = torch.from_numpy(np.load(sys.argv[1]))[:, None]
for folder in map(Path, sys.argv[2:]):
    model, found = EncodecModel.from_pretrained(folder).eval(), {}
    with torch.no_grad():
        for bandwidth in model.config.target_bandwidths:
            coded = model.encode(wav, bandwidth=bandwidth)
            found[f"codes{bandwidth}"] = coded.audio_codes[0].numpy()
            decoded = model.decode(coded.audio_codes, coded.audio_scales, padding_mask=wav[:, 0])
            found[f"audio{bandwidth}"] = decoded.audio_values[:, 0].numpy()
    np.savez(folder / "out.npz", rate=model.config.sampling_rate, bandwidths=model.config.target_bandwidths, **found)
assert not any(name.split(".")[0] == "laminal" for name in sys.modules)
"""


def test_transformers_alone_gives_identical_codes_and_audio(tmp_path):
    tokenizers = {name: trained(**changes) for name, changes in SHAPES.items()}
    wav = speech(7, batch=3, samples=8123)
    np.save(tmp_path / "wav.npy", wav.numpy())
    for name, tokenizer in tokenizers.items():
        export(tokenizer, tmp_path / name)
    command = [sys.executable, "-c", LOADER, str(tmp_path / "wav.npy"), *(str(tmp_path / name) for name in tokenizers)]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    for name, tokenizer in tokenizers.items():
        agree(tokenizer, wav, np.load(tmp_path / name / "out.npz"))


@torch.no_grad()
def agree(tokenizer: Tokenizer, wav: torch.Tensor, stock: np.lib.npyio.NpzFile) -> None:
    out = tokenizer(wav, whole(wav))
    codebooks, counts = out.codes.shape[1], [stock[f"codes{bandwidth}"].shape[1] for bandwidth in stock["bandwidths"]]
    assert stock["rate"] == 16000 and counts == [b for b in (1, 2, 4, 8) if b < codebooks] + [codebooks]
    for count, bandwidth in zip(counts, stock["bandwidths"]):
        assert np.array_equal(stock[f"codes{bandwidth}"], out.codes[:, :count].numpy())
        audio = tokenizer.decoder(out.sums[count - 1].transpose(1, 2))[:, 0, : wav.shape[1]]
        assert np.array_equal(stock[f"audio{bandwidth}"], audio.numpy()), bandwidth
    assert np.array_equal(audio.numpy(), out.audio.numpy())
    assert len(out.codes.unique()) > 8  # codes that say something


def test_export_replaces_a_folder_whole_and_leaves_nothing_beside_it(tmp_path, monkeypatch):
    tokenizer = trained(steps=0)
    folder = tmp_path / "run" / "tokenizer"
    export(tokenizer, folder)
    names = {path.name for path in folder.iterdir()}
    assert names == {"config.json", "model.safetensors", "preprocessor_config.json"}
    (folder / "old").write_text("of the last export")
    before = (folder / "model.safetensors").read_bytes()

    def full_disk(*_, **__):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("transformers.modeling_utils.safe_save_file", full_disk)
        with pytest.raises(OSError, match="No space"):
            export(tokenizer, folder)
    assert (folder / "old").exists() and (folder / "model.safetensors").read_bytes() == before
    export(tokenizer, folder)
    assert {path.name for path in folder.iterdir()} == names and [path.name for path in folder.parent.iterdir()] == ["tokenizer"]


def test_an_export_disturbs_nothing(tmp_path):
    tokenizer = trained().train()
    before = {name: value.clone() for name, value in tokenizer.state_dict().items()}
    generator = torch.get_rng_state()
    export(tokenizer, tmp_path / "tokenizer")
    assert tokenizer.training and tokenizer.encoder.training
    assert torch.equal(generator, torch.get_rng_state())
    assert all(torch.equal(before[name], value) for name, value in tokenizer.state_dict().items())


def test_weights_depend_on_the_seed_alone():
    generator = torch.get_rng_state()
    first = Tokenizer(**TINY)
    assert torch.equal(generator, torch.get_rng_state())
    torch.manual_seed(99)
    second, other = Tokenizer(**TINY), Tokenizer(**(TINY | {"seed": 6}))
    torch.set_rng_state(generator)
    one, two, three = (torch.nn.utils.parameters_to_vector(t.parameters()) for t in (first, second, other))
    assert torch.equal(one, two) and not torch.equal(one, three)


@pytest.mark.parametrize("norm", ["weight_norm", "time_group_norm"])
def test_speech_reaches_the_latent_and_the_audio_at_the_start(norm):
    tokenizer = Tokenizer(**(TINY | {"filters": 8, "dim": 64, "norm": norm}))
    wav = speech(0, batch=4, samples=16000)
    with torch.no_grad():
        latent, _ = tokenizer.latent(wav, whole(wav))
        out = tokenizer.decoder(latent.transpose(1, 2))
    frames = latent.flatten(0, 1)
    assert frames.std(0).mean() > frames.mean(0).abs().mean()  # transformers' own start gives 0.03
    assert 0.2 < out.std() / wav.std() < 30
    if norm == "weight_norm":  # group norm has a level of its own
        assert 0.5 < (0.05 / wav.std()) ** 2 * frames.var(0).mean() < 10, "commitment is a mean square: in the papers' units near 1"


def test_padding_is_silence_and_its_frames_count_nowhere():
    tokenizer = trained()
    wav = speech(3)
    mask = whole(wav)
    mask[1, 4001:] = False  # 12.5 frames and one sample: the 13th holds a real one
    louder = torch.where(mask, wav, 5.0)
    with torch.no_grad():
        a, b = tokenizer(wav * mask, mask), tokenizer(louder, mask)
        alone = tokenizer(wav[1:, :4001], mask[1:, :4001])
    assert torch.equal(a.audio, b.audio) and torch.equal(a.codes, b.codes) and torch.equal(a.commitment, b.commitment)
    assert a.frame_mask.sum(1).tolist() == [25, 13] == [25, alone.codes.shape[2]]
    assert torch.equal(a.codes[1, :, :12], alone.codes[0, :, :12])


def test_shapes_times_and_gradients():
    tokenizer = trained().train()
    wav = speech(1, samples=8100)  # 25.3 frames
    out = tokenizer(wav, whole(wav))
    assert out.audio.shape == wav.shape and out.codes.shape == (2, 8, 26) and out.latent.shape == (2, 26, 16)
    assert (out.sample_rate, out.frame_rate) == (16000, 50.0)
    for features in (out.through(3), out.z, out.z_rest):
        latent_gradient = torch.autograd.grad(features.sum(), out.latent, retain_graph=True)[0]
        assert torch.equal(latent_gradient, torch.ones_like(latent_gradient))
    assert torch.equal(out.through(3).detach(), out.sums[2]) and torch.equal(out.through(8).detach(), out.z.detach())
    out.audio.square().sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in tokenizer.parameters())


def test_a_causal_frame_ends_with_its_hop():
    tokenizer = trained()
    wav, hop = speech(2, batch=1, samples=320 * 40), 320
    with torch.no_grad():
        before = tokenizer.latent(wav, whole(wav))[0][0]
        for frame in (15, 30):  # past the reflection at the beginning
            for sample, first in (((frame + 1) * hop - 1, frame), ((frame + 1) * hop, frame + 1)):
                moved = wav.clone()
                moved[0, sample] += 1.0
                after = tokenizer.latent(moved, whole(wav))[0][0]
                assert (after - before).abs().amax(1).nonzero()[0].item() == first


def test_training_goes_on_exactly_from_its_state():
    changes = {"dropout": 0.5, "quantizer": {"kmeans_frames": 90}}
    original = Tokenizer(**(TINY | changes))

    def step(tokenizer: Tokenizer, number: int) -> torch.Tensor:
        wav = speech(number)
        out = tokenizer(wav, whole(wav))
        (gradient,) = torch.autograd.grad((out.audio - wav).square().mean() + out.commitment.mean(), [next(tokenizer.parameters())])
        return gradient

    for number in range(3):
        step(original, number)
    resumed = Tokenizer(**(TINY | changes | {"seed": 5}))
    resumed.load_state_dict(original.state_dict())
    for number in range(3, 8):
        assert torch.equal(step(original, number), step(resumed, number))
    assert all(torch.equal(value, resumed.state_dict()[name]) for name, value in original.state_dict().items())


def test_bandwidths_and_what_cannot_be_written():
    assert bandwidths(16000, 320, 8, 1024) == [0.5, 1.0, 2.0, 4.0]
    assert bandwidths(24000, 320, 32, 1024)[-1] == 24.0
    with pytest.raises(RequestError, match="power of 2"):
        Tokenizer(**(TINY | {"codebook_size": 1000}))


@pytest.mark.data
@pytest.mark.slow
def test_real_speech_is_learned(librispeech_mini: Path):
    """30 steps on real speech: the error falls, and no codebook collapses to a few entries."""
    from laminal import audio

    files = sorted(librispeech_mini.rglob("*.flac"))[:12]
    wavs = torch.stack([torch.from_numpy(audio.read(path, 16000, 1.0, 1.0)) for path in files])
    tokenizer = Tokenizer(**(TINY | {"filters": 8, "dim": 32, "codebook_size": 256, "quantizer": {"kmeans_frames": 512}}))
    rounds = (wavs[[i % 12, (i + 5) % 12, (i + 7) % 12]] for i in range(1000))
    tokenizer.initialise((wav, whole(wav)) for wav in rounds)
    optimizer = torch.optim.Adam(tokenizer.parameters(), lr=2e-3)
    losses = []
    for step in range(30):
        wav = wavs[[step % 12, (step + 3) % 12, (step + 6) % 12]]
        out = tokenizer(wav, whole(wav))
        loss = (out.audio - wav).square().mean() / wav.square().mean()
        (loss + out.commitment.mean()).backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert np.mean(losses[-5:]) < 0.9 * losses[0]
    assert tokenizer.quantizer.health().perplexity.min() > 10
