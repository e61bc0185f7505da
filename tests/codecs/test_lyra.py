"""The real Lyra V2 on real speech: the contract, and the numbers of its own three networks."""

import shutil

import codec_contract as contract
import numpy as np
import pytest
import torch

from laminal import audio
from laminal.codecs.load import load_codec
from laminal.codecs.lyra import LyraCodec
from laminal.corpora.base import Corpus
from laminal.corpora.librispeech import librispeech
from laminal.errors import RequestError

pytestmark = pytest.mark.data
interpreter = pytest.importorskip("ai_edge_litert.interpreter")


@pytest.fixture(scope="module")
def codec(lyra_v2):
    return load_codec("lyra", path=str(lyra_v2))


@pytest.fixture(scope="module")
def speech(librispeech_mini):
    """Three stretches of 1 s by different speakers."""
    paths = sorted(librispeech_mini.rglob("*.flac"))[::60][:3]
    return torch.from_numpy(np.stack([audio.read(path, 16000, 0.7, 1.0) for path in paths]))


def test_the_contract(codec):
    assert (codec.sample_rate, codec.frame_rate, codec.codebooks, codec.codebook_size) == (16000, 50.0, 46, 16)
    contract.it_is_a_codec(codec)
    contract.a_frame_for_every_hop_begun(codec)
    contract.a_batch_is_its_rows(codec)
    contract.nothing_is_drawn_and_nothing_changes(codec)
    contract.layers_come_from_codes(codec)
    contract.a_causal_codec_hears_no_future(codec)
    contract.the_delay_is_told(codec, frames=1)


def test_words_of_real_speech(codec, librispeech_mini):
    contract.probes_can_read_words(codec, Corpus("one", librispeech(librispeech_mini).utterances[:1]))


def test_codes_sums_and_audio_are_its_own(codec, speech, lyra_v2):
    """`encode`, `decode` of its quantizer and its decoder network, frame by frame: codes equal, difference 0."""
    quantizer = interpreter.Interpreter(str(lyra_v2 / "quantizer.tflite"), num_threads=1)
    encode, decode = quantizer.get_signature_runner("encode"), quantizer.get_signature_runner("decode")
    codes, latent = codec.codes_and_latent(speech)
    layers = codec.layers(codes)
    for row in range(len(speech)):
        network = interpreter.Interpreter(str(lyra_v2 / "lyragan.tflite"), num_threads=1)
        into, out = (detail[0]["index"] for detail in (network.get_input_details(), network.get_output_details()))
        network.allocate_tensors()
        sound = []
        for frame in range(codes.shape[2]):
            found = encode(input_frames=latent[row, frame].numpy()[None, None], num_quantizers=np.int32(46))["output_0"]
            assert np.array_equal(np.ravel(found), codes[row, :, frame].numpy())
            total = decode(encoding_indices=codes[row, :, frame].int().numpy()[:, None, None])["output_0"]
            assert np.array_equal(np.ravel(total), layers["46"][row, frame].numpy())
            network.set_tensor(into, total)
            network.invoke()
            sound.append(network.get_tensor(out)[0].copy())
        assert np.array_equal(np.concatenate(sound), codec.decode(codes)[row].numpy())


def test_more_codebooks_leave_less(codec, speech):
    """Residual energy as measured when the weights were fetched (0.44, 0.40, 0.33, 0.27, 0.18, 0.06 on other speech)."""
    layers = codec.layers(speech)
    left = [float((layers["latent"] - layers[str(k)]).square().sum() / layers["latent"].square().sum()) for k in (1, 2, 4, 8, 16, 46)]
    assert left == sorted(left, reverse=True) and left[0] < 0.6 and left[-1] < 0.1


def test_a_random_copy(codec, speech, lyra_v2):
    """Same seed, same copy; no layer like the published one's, all codes in use."""
    first, again, other = (LyraCodec(lyra_v2, random_weights=seed) for seed in (1, 1, 2))
    assert first.revision == again.revision and len({first.revision, other.revision, codec.revision}) == 3
    layers = first.layers(speech)
    assert torch.equal(layers["46"], again.layers(speech)["46"]) and not torch.equal(layers["46"], other.layers(speech)["46"])
    assert len(first.encode(speech)[:, 0].unique()) > 4 and torch.isfinite(first.decode(first.encode(speech))).all()
    assert not torch.allclose(layers["latent"], codec.layers(speech)["latent"], atol=0.1)


def test_what_is_wrong_is_said(codec, lyra_v2, tmp_path):
    for name in ("soundstream_encoder", "quantizer", "lyragan"):
        shutil.copyfile(lyra_v2 / f"{name}.tflite", tmp_path / f"{name}.tflite")
    whole = (tmp_path / "lyragan.tflite").read_bytes()
    cases = {
        "is no LiteRT network": lambda: (tmp_path / "lyragan.tflite").write_bytes(b"nothing"),
        "are not Lyra V2's": lambda: shutil.copyfile(lyra_v2 / "soundstream_encoder.tflite", tmp_path / "lyragan.tflite"),
        "codebooks of width 64, not 46": lambda: ((tmp_path / "lyragan.tflite").write_bytes(whole),
                                                   (tmp_path / "quantizer.tflite").write_bytes(whole)),
        "lacks quantizer.tflite": lambda: (tmp_path / "quantizer.tflite").unlink(),
    }  # fmt: skip
    for said, spoil in cases.items():
        spoil()
        with pytest.raises(RequestError, match=said) as error:
            load_codec("lyra", path=str(tmp_path))
        assert "\n" not in str(error.value)
    with pytest.raises(RequestError, match="47 codebooks"):
        codec.decode(torch.zeros(1, 47, 2, dtype=torch.int64))
