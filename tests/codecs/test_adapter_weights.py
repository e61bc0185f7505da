"""Adapters and weights: all of them and no others, the revision, random copies, names that are wrong."""

import json
import shutil

import codec_contract as contract
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from small_models import noise

from laminal.codecs.load import load_codec
from laminal.codecs.mimi import MimiCodec
from laminal.codecs.transformers_codec import TransformersCodec
from laminal.errors import RequestError

SUMMED = ("dac", "mimi", "xcodec", "higgs")
ENCODERS = ("hubert", "wavlm", "wav2vec2", "whisper")


@pytest.mark.parametrize("name", [*SUMMED, *ENCODERS])
def test_a_random_copy(name, adapter, folders, codecs):
    """From config.json alone: reproducible by its seed, with codes in use where there are codebooks, and different from the published."""
    state = torch.get_rng_state()
    first, again, other = (adapter(name, folders[name], random_weights=seed) for seed in (1, 1, 2))
    assert torch.equal(state, torch.get_rng_state())
    assert first.revision == again.revision and len({first.revision, other.revision, codecs[name].revision}) == 3
    wav = noise(13, 1, 24000)
    last = list(first.layers(wav))[-1]
    assert torch.equal(first.layers(wav)[last], again.layers(wav)[last])
    assert not torch.equal(first.layers(wav)[last], other.layers(wav)[last])
    if name in SUMMED:
        contract.layers_come_from_codes(first)


@pytest.mark.parametrize("name", [*SUMMED, *ENCODERS])
def test_weights_must_fit_and_count(name, adapter, folders, codecs, tmp_path):
    """Another weight is another revision; a missing or an extra one is named; so is a folder of another architecture."""
    folder = tmp_path / "changed"
    shutil.copytree(folders[name], folder)
    weights = load_file(folder / "model.safetensors")
    key = next(key for key in sorted(weights) if key.startswith(("encoder.", "acoustic_encoder.")) and weights[key].ndim > 1)

    def refused(changed, *said):
        save_file(changed, folder / "model.safetensors", metadata={"format": "pt"})
        with pytest.raises(RequestError) as error:
            adapter(name, folder)
        assert all(each in str(error.value) for each in said) and "\n" not in str(error.value)

    shown = key.removeprefix("encoder.")  # Mimi's names change on loading
    refused({each: value for each, value in weights.items() if each != key}, "1 missing", shown)
    refused(weights | {"stray.weight": torch.zeros(2)}, "1 extra", "stray.weight")
    refused(weights | {key: torch.zeros(3, 1, 1)}, "another shape")
    save_file(weights | {key: weights[key] + 1e-3}, folder / "model.safetensors", metadata={"format": "pt"})
    assert adapter(name, folder).revision != codecs[name].revision
    assert adapter(name, folders[name]).revision == codecs[name].revision
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "bert"}))
    with pytest.raises(RequestError, match="bert"):
        adapter(name, folder)


@pytest.mark.parametrize("name", [*SUMMED, *ENCODERS])
def test_a_folder_finds_its_codec(name, folders, codecs):
    assert load_codec(str(folders[name])).revision == codecs[name].revision


def test_names_paths_and_keys_that_are_wrong(folders):
    cases = {
        ("dac", "path", "descript/dac_24khz"): "models/dac_24khz",  # HF_HUB_OFFLINE is set in tests
        ("mimi", "path", "./nowhere"): "no folder",
        ("hubert", "path", "nowhere"): "OWNER/NAME",
        ("hubert", "path", str(folders["dac"])): "'dac'",
        ("transformers_codec", "path", str(folders["mimi"])): "codec=mimi",
        ("mimi", "codebooks", 99): "1 to 6",
        ("dac", "model", "x"): "unknown key 'model'",
        ("dca", "path", "x"): "did you mean dac",
        ("lyra", "path", str(folders["dac"])): "quantizer.tflite",
    }
    for (codec, key, value), said in cases.items():
        with pytest.raises(RequestError) as error:
            load_codec(codec, **({"path": str(folders["mimi"])} if codec == "mimi" else {}) | {key: value})
        assert said in str(error.value) and "\n" not in str(error.value), error.value


def test_the_first_codebooks_of_mimi(folders, codecs):
    few = MimiCodec(folders["mimi"], device="cpu", codebooks=3)
    wav = noise(14, 1, 9000)
    assert torch.equal(few.encode(wav), codecs["mimi"].encode(wav)[:, :3]) and list(few.layers(wav)) == ["latent", "1", "2", "3"]
    assert torch.equal(few.layers(wav)["3"], codecs["mimi"].layers(wav)["3"]) and few.revision != codecs["mimi"].revision


def test_models_whose_layers_cannot_be_summed(tmp_path):
    """A tokenizer with one finite scalar codebook has no list of codebooks."""
    config = transformers.Xcodec2Config.from_dict({"model_type": "xcodec2"})
    (tmp_path / "config.json").write_text(config.to_json_string())
    small = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
    given = json.loads((tmp_path / "config.json").read_text())
    given |= {"hidden_size": 32, "num_hidden_layers": 1, "intermediate_size": 8, "num_attention_heads": 1, "encoder_hidden_size": 2}
    given["semantic_model_config"] = given["semantic_model_config"] | small
    (tmp_path / "config.json").write_text(json.dumps(given))
    with pytest.raises(RequestError, match="no list of codebooks"):
        TransformersCodec(tmp_path, device="cpu", random_weights=0)
