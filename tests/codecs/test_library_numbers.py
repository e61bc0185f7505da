"""Adapters give the library's own codes, decoder input, audio and hidden states."""

import json
import shutil

import codec_contract as contract
import pytest
import torch
import transformers
from small_models import noise

from laminal.codecs.log_mel import LogMel
from laminal.codecs.ssl import SslCodec
from laminal.codecs.whisper_encoder import WhisperEncoderCodec

with_codes = pytest.mark.parametrize("codec", ("dac", "mimi", "xcodec", "higgs"), indirect=True)


def heard_by(module):
    """List that fills with what is given to `module`."""
    given = []
    module.register_forward_pre_hook(lambda _, arguments: given.append(arguments[0]))
    return given


def alone(model, layer, codes):
    """What codebook `layer` adds, by the library's modules: (b, d, n)."""
    quantizer = model.quantizer
    if isinstance(model, transformers.DacModel):
        return quantizer.quantizers[layer].out_proj(quantizer.quantizers[layer].codebook(codes).transpose(1, 2))
    if isinstance(model, transformers.MimiModel):
        half = quantizer.acoustic_residual_vector_quantizer if layer else quantizer.semantic_residual_vector_quantizer
        return half.output_proj(half.layers[max(0, layer - 1)].decode(codes))
    return quantizer.quantizers[layer].decode(codes)


@with_codes
@torch.no_grad()
def test_codes_audio_and_decoder_input_are_the_librarys(codec, folders, request):
    name = request.node.callspec.params["codec"]
    kinds = {"dac": "DacModel", "mimi": "MimiModel", "xcodec": "XcodecModel", "higgs": "HiggsAudioV2TokenizerModel"}
    model = getattr(transformers, kinds[name]).from_pretrained(folders[name]).eval()
    given = heard_by(model.fc2 if name in ("xcodec", "higgs") else model.decoder)
    hop = round(codec.sample_rate / codec.frame_rate)
    wav = noise(7, 2, 9 * hop + 77)
    whole = wav if name == "mimi" else torch.nn.functional.pad(wav, (0, hop - 77))  # as the feature extractors pad
    codes = model.encode(whole[:, None]).audio_codes
    assert torch.equal(codes, codec.encode(wav))
    layers, before = codec.layers(codes), 0.0
    for count in range(1, codec.codebooks + 1):
        decoded = (model.decode(audio_codes=codes[:, :count]).audio_values).reshape(2, -1)
        ours = codec.decode(codes[:, :count])
        assert torch.equal(ours[:, : decoded.shape[1]], decoded) and not ours[:, decoded.shape[1] :].any()
        library = given[-1] if name in ("xcodec", "higgs") else given[-1].transpose(1, 2)
        assert torch.equal(library, layers[str(count)])  # difference 0
        added = alone(model, count - 1, codes[:, count - 1]).transpose(1, 2)
        assert contract.close(layers[str(count)] - before, added), count
        before = layers[str(count)]


@pytest.mark.parametrize("name", ["hubert", "wavlm", "wav2vec2"])
@torch.no_grad()
def test_hidden_states_are_the_librarys(name, folders, codecs):
    model = transformers.AutoModel.from_pretrained(folders[name]).eval()
    extractor = transformers.Wav2Vec2FeatureExtractor(do_normalize=True)
    wav = noise(8, 1, 6400) + 0.02
    normal = extractor(wav[0].numpy(), sampling_rate=16000, return_tensors="pt").input_values
    library = model(torch.nn.functional.pad(normal, (40, 40)), output_hidden_states=True)
    layers = codecs[name].layers(wav)
    assert list(layers) == ["latent", "1", "2", "3"] and layers["3"].shape[1] == 20
    assert all(contract.close(ours, theirs) for ours, theirs in zip(list(layers.values())[:-1], library.hidden_states[:-1], strict=True))
    assert contract.close(layers["3"], library.last_hidden_state)


def test_normalising_is_the_folders_choice(folders, tmp_path):
    shutil.copytree(folders["hubert"], tmp_path / "plain")
    (tmp_path / "plain" / "preprocessor_config.json").write_text(json.dumps({"do_normalize": False}))
    plain, normal = (SslCodec(folder, device="cpu") for folder in (tmp_path / "plain", folders["hubert"]))
    quiet, loud = noise(9, 1, 3200), 10 * noise(9, 1, 3200)
    assert contract.close(normal.layers(quiet)["3"], normal.layers(loud)["3"])
    assert not contract.close(plain.layers(quiet)["3"], normal.layers(quiet)["3"]) and plain.revision != normal.revision


@torch.no_grad()
def test_whisper_states_are_the_librarys(folders, codecs):
    """Whole windows: the library's numbers. Crops of a whole window's length hear the same but for what follows them."""
    model = transformers.WhisperModel.from_pretrained(folders["whisper"]).eval()
    extractor = transformers.WhisperFeatureExtractor(chunk_length=1)
    wav = noise(10, 1, 16000)
    mel = extractor(torch.nn.functional.pad(wav, (0, 160))[0, 160:].numpy(), sampling_rate=16000, return_tensors="pt").input_features
    library = model.encoder(mel, output_hidden_states=True).hidden_states
    whole = WhisperEncoderCodec(folders["whisper"], "whole", device="cpu")
    for codec, kept in ((whole, 50), (codecs["whisper"], 49)):
        layers = codec.layers(wav)
        assert list(layers) == ["latent", "1", "2", "3"] and layers["latent"].shape == (1, 50, 32)
        assert float((layers["latent"] - library[0])[:, :kept].abs().max()) < 1e-3
    assert (
        contract.close(whole.layers(wav)["3"], model.encoder(mel).last_hidden_state)
        or float((whole.layers(wav)["3"] - model.encoder(mel).last_hidden_state).abs().max()) < 1e-3
    )
    assert whole.revision != codecs["whisper"].revision


def test_long_audio_is_heard_in_windows(codecs):
    codec = codecs["whisper"]  # whose window is 1 s
    wav = noise(11, 1, 40000)
    layers = codec.layers(wav)["3"]
    assert layers.shape == (1, 125, 32)
    part = codec.layers(wav[:, : 42 * 320])["3"]
    assert torch.equal(layers[:, :42], part)


def test_log_mel_follows_its_definition():
    codec, wav = LogMel(16000, 160, 400, 40), noise(12, 1, 1000)
    from laminal.compat import torchaudio

    bank = torchaudio().functional.melscale_fbanks(201, 0.0, 8000.0, 40, 16000, norm="slaney", mel_scale="slaney")
    padded = torch.cat([torch.zeros(120), wav[0], torch.zeros(1000)]).double()
    for frame in (0, 3, 6):
        window = torch.tensor([0.5 - 0.5 * torch.cos(torch.tensor(2 * torch.pi * n / 400)) for n in range(400)]).double()
        spectrum = torch.fft.rfft(padded[160 * frame : 160 * frame + 400] * window).abs()
        assert torch.allclose(codec.layers(wav)["1"][0, frame].double(), (spectrum @ bank.double()).clamp(min=1e-5).log(), atol=1e-4)
