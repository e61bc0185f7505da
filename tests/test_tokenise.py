"""Codes of a folder tree: what is in them, that stops, processes, pieces and formats change none of them, and the way back to audio."""

import json
import re
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from laminal import audio, codesfile, jobs, longaudio, tokenise
from laminal.codecs.load import load_codec
from laminal.errors import DataError, RequestError
from laminal.longaudio import Encoder
from oracle_tokenise import CODEC, ROOT, command, noises, run, tree


@pytest.fixture
def mine(tmp_path):
    (tmp_path / "mine.py").write_text(CODEC)
    return f"{tmp_path}/mine.py:Mine"


@pytest.fixture
def speech(tmp_path):
    return noises(tmp_path / "speech")


def lines(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / "files.jsonl").read_text(encoding="utf-8").splitlines()]


def manifest(out: Path) -> dict:
    return json.loads((out / "manifest.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("kind", ["npz", "safetensors"])
def test_codes_are_those_of_the_codec_in_the_smallest_integers(mine, speech, tmp_path, kind):
    out = tmp_path / "codes"
    assert tokenise.main([f"in={speech}", f"out={out}", f"codec={mine}", f"format={kind}"]) == 0
    codec = load_codec(mine)
    told = lines(out)
    assert [each["audio"] for each in told] == sorted(path.relative_to(speech).as_posix() for path in speech.rglob("u*"))
    for each in told:
        codes, about = codesfile.read(out / each["codes"])
        wav = audio.read(speech / each["audio"], 16_000)
        np.testing.assert_array_equal(codes, codec.encode(torch.from_numpy(wav)[None])[0].numpy())
        assert codes.dtype == np.uint16 and codes.shape == (2, -(-len(wav) // 320)) == (2, each["frames"])
        assert about.samples == len(wav) and about.audio == each["audio"] and each["seconds"] == len(wav) / 16_000
        assert about.frame_rate == 50.0 and about.codebook_size == 300 and about.revision == "1"
    head = manifest(out)
    assert head["codec"] == "mine" and head["revision"] == "1" and head["frame_rate"] == 50.0 and head["dtype"] == "uint16"
    assert head["good"] == 6 and head["failed"] == [] and head["complete"] and head["bits_per_second"] == pytest.approx(100 * np.log2(300))


def test_what_is_there_and_whole_is_skipped_and_what_is_not_is_made_anew(mine, speech, tmp_path):
    out, log = tmp_path / "codes", tmp_path / "log"
    words = [f"in={speech}", f"out={out}", f"codec={mine}", f"codec.log={log}"]
    tokenise.main(words)
    whole = tree(out, ".npz")
    first = (out / "files.jsonl").read_bytes()
    log.unlink()
    tokenise.main(words)
    assert not log.exists() and tree(out, ".npz") == whole and (out / "files.jsonl").read_bytes() == first
    names = list(whole)
    (out / names[0]).unlink()
    (out / names[1]).write_bytes(whole[names[1]][:-100])
    middle = len(whole[names[2]]) // 3
    (out / names[2]).write_bytes(whole[names[2]][:middle] + bytes([whole[names[2]][middle] ^ 1]) + whole[names[2]][middle + 1 :])
    (out / names[3]).write_bytes(whole[names[4]])  # whole, but of another recording
    tokenise.main(words)
    assert len(log.read_text().splitlines()) == 4 and tree(out, ".npz") == whole and manifest(out)["made_by_the_last_run"] == 4
    changed = next(iter(sorted(speech.rglob("*.wav"))))
    wav = audio.read(changed, audio.info(changed).sample_rate)
    audio.write(changed, -wav, audio.info(changed).sample_rate)  # the same length and size
    log.unlink()
    tokenise.main(words)
    assert len(log.read_text().splitlines()) == 1


@pytest.mark.parametrize("kind", ["npz", "safetensors"])
def test_any_flipped_byte_of_the_codes_is_found(tmp_path, kind):
    about = codesfile.About("c", "r", 16_000, 50.0, 300, 3200, "a.wav", "0" * 64)
    path = tmp_path / f"a.{kind}"
    codes = np.arange(20, dtype=np.uint16).reshape(2, 10)
    codesfile.write(path, codes, about)
    whole = path.read_bytes()
    place = whole.index(codes.tobytes()) + 7
    path.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
    with pytest.raises(DataError, match="run laminal.tokenise again"):
        codesfile.read(path)
    path.write_bytes(whole)
    assert codesfile.read(path)[0].tolist() == codes.tolist()


def test_audio_comes_back(mine, speech, tmp_path):
    codes, back = tmp_path / "codes", tmp_path / "back"
    tokenise.main([f"in={speech}", f"out={codes}", f"codec={mine}"])
    for kind in ("wav", "flac"):
        words = [f"in={codes}", f"out={back}-{kind}", f"codec={mine}", "decode=true", f"format={kind}"]
        assert tokenise.main(words) == 0
        codec = load_codec(mine)
        for each in lines(codes):
            wav = audio.read(speech / each["audio"], 16_000)
            heard = audio.read((Path(f"{back}-{kind}") / each["audio"]).with_suffix(f".{kind}"), 16_000)
            expected = codec.decode(codec.encode(torch.from_numpy(wav)[None]))[0, : len(wav)].numpy()
            assert len(heard) == len(wav)
            np.testing.assert_allclose(heard, expected, atol=1 / 32767)
        assert tokenise.main(words) == 0 and manifest(Path(f"{back}-{kind}"))["made_by_the_last_run"] == 0
        cut = sorted(Path(f"{back}-{kind}").rglob(f"*.{kind}"))[0]
        cut.write_bytes(cut.read_bytes()[:-200])
        assert tokenise.main(words) == 0 and manifest(Path(f"{back}-{kind}"))["made_by_the_last_run"] == 1
        audio.check(cut)


def test_a_published_format_model_there_and_back(tmp_path, speech):
    from transformers import EncodecConfig, EncodecModel

    torch.manual_seed(0)
    EncodecModel(EncodecConfig(
        sampling_rate=16_000, target_bandwidths=[1.5], num_filters=4, hidden_size=16, codebook_size=64, codebook_dim=16,
        upsampling_ratios=[8, 5, 4, 2],
    )).save_pretrained(tmp_path / "model")  # fmt: skip
    words = [f"codec={tmp_path / 'model'}"]
    assert tokenise.main([f"in={speech}", f"out={tmp_path / 'codes'}", *words]) == 0
    assert tokenise.main([f"in={tmp_path / 'codes'}", f"out={tmp_path / 'back'}", *words, "decode=true"]) == 0
    first = lines(tmp_path / "codes")[0]
    codes, about = codesfile.read(tmp_path / "codes" / first["codes"])
    assert codes.dtype == np.uint8 and manifest(tmp_path / "codes")["in_pieces_above_seconds"] is None
    assert audio.info((tmp_path / "back" / first["codes"]).with_suffix(".wav")).frames == about.samples


def test_bad_files_are_listed_and_many_fail(mine, tmp_path, capsys):
    speech, out = noises(tmp_path / "speech", 21), tmp_path / "codes"
    (speech / "empty.wav").write_bytes(b"")
    words = [f"in={speech}", f"out={out}", f"codec={mine}"]
    assert tokenise.main(words) == 0  # 1 of 22
    assert "1 failed" in capsys.readouterr().out
    ((name, reason),) = manifest(out)["failed"]
    assert name == "empty.wav" and "0 bytes" in reason
    (speech / "speaker 1" / "u1.wav").write_bytes(b"nonsense")  # u1.flac is there
    with pytest.raises(DataError, match="2 of 23 files are bad, at most 5% may be"):
        tokenise.main(words)
    assert "the same name" in str(manifest(out)["failed"]) and manifest(out)["good"] == 21


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["in={speech}", "codec={mine}"], "out= is missing"),
        (["in={speech}/none", "out={out}", "codec={mine}"], "is no folder"),
        (["in={speech}", "out={out}", "codec={mine}", "decode=true"], "holds no file"),
        (["in={speech}", "out={out}"], "0 codecs are named"),
        (["in={speech}", "out={out}", "codec={mine}", "ckpt=x"], "2 codecs are named"),
        (["in={speech}", "out={out}", "codec={mine}", "format=wav"], "npz or safetensors without decode=true"),
        (["in={speech}", "out={out}", "codec={mine}", "process=2"], "did you mean processes="),
        (["in={speech}", "out={out}", "codec={mine}", "processes=0"], "at least 1"),
        (["in={speech}", "out={out}", "codec=minne"], "known here|did you mean"),
        (["in={speech}", "out={out}", "codec={mine}", "--config", "x"], "--config is not read"),
    ],
)  # fmt: skip
def test_wrong_requests(mine, speech, tmp_path, words, says):
    filled = [word.format(speech=speech, out=tmp_path / "none" / "out", mine=mine) for word in words]
    (tmp_path / "none").mkdir()
    with pytest.raises(RequestError, match=says):
        tokenise.main(filled)
    assert not (tmp_path / "none" / "out").exists()


def test_a_folder_of_another_codec_is_refused(mine, speech, tmp_path):
    out = tmp_path / "codes"
    tokenise.main([f"in={speech}", f"out={out}", f"codec={mine}"])
    before = tree(out, ".npz")
    with pytest.raises(RequestError, match="give another out="):
        tokenise.main([f"in={speech}", f"out={out}", f"codec={mine}", "codec.revision=b"])
    with pytest.raises(RequestError, match="holds format=npz"):
        tokenise.main([f"in={speech}", f"out={out}", f"codec={mine}", "format=safetensors"])
    with pytest.raises(RequestError, match="give the codec that made it"):
        tokenise.main([f"in={out}", f"out={tmp_path / 'back'}", f"codec={mine}", "codec.revision=b", "decode=true"])
    assert tree(out, ".npz") == before


def test_a_codec_without_codes_is_refused(speech, tmp_path):
    (tmp_path / "ssl.py").write_text(CODEC.replace("50.0, 2, 300", "50.0, 0, 0"))
    with pytest.raises(RequestError, match="has no codes"):
        tokenise.main([f"in={speech}", f"out={tmp_path / 'o'}", f"codec={tmp_path}/ssl.py:Mine"])


@pytest.mark.parametrize("length", [0.9, 1.0, 7.003, 12.0])
@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_pieces_give_the_codes_of_the_whole(mine, tmp_path, length, rate, monkeypatch):
    monkeypatch.setattr(longaudio, "PIECE", 1.0)
    monkeypatch.setattr(audio, "BLOCK", 5000)
    wav = 0.1 * np.random.default_rng(1).standard_normal(round(length * rate)).astype(np.float32)
    audio.write(tmp_path / "a.wav", wav, rate)
    in_pieces, whole = Encoder(load_codec(mine)), Encoder(load_codec(mine, context=False))
    sizes = []
    encode = in_pieces.codec.encode
    in_pieces.codec.encode = lambda wav: (sizes.append(wav.shape[1]), encode(wav))[1]
    codes, samples = in_pieces(tmp_path / "a.wav")
    expected, count = whole(tmp_path / "a.wav")
    np.testing.assert_array_equal(codes, expected)
    assert samples == count
    if length > 1:
        assert max(sizes[-3:]) <= 2 * 16_000 + 2 * 320  # the trial comes first


def test_a_context_that_is_too_small_is_found_out(mine, tmp_path, monkeypatch):
    monkeypatch.setattr(longaudio, "PIECE", 1.0)
    audio.write(tmp_path / "a.wav", 0.1 * np.random.default_rng(1).standard_normal(160_000).astype(np.float32), 16_000)
    encoder = Encoder(load_codec(mine))
    encoder.context = (0, 0)
    with pytest.warns(UserWarning, match="pieces give other codes"):
        codes, _ = encoder(tmp_path / "a.wav")
    np.testing.assert_array_equal(codes, Encoder(load_codec(mine, context=False))(tmp_path / "a.wav")[0])


def test_streamed_audio_is_the_audio(tmp_path, monkeypatch):
    monkeypatch.setattr(audio, "BLOCK", 3000)
    wav = 0.1 * np.random.default_rng(1).standard_normal((44_100, 2)).astype(np.float32)
    import soundfile

    soundfile.write(tmp_path / "a.wav", wav, 44_100)
    for rate in (44_100, 16_000, 24_000):
        np.testing.assert_array_equal(np.concatenate(list(audio.stream(tmp_path / "a.wav", rate))), audio.read(tmp_path / "a.wav", rate))


def test_the_numpy_lines_of_the_docs(mine, speech, tmp_path, monkeypatch):
    tokenise.main([f"in={speech}", f"out={tmp_path / 'codes'}", f"codec={mine}"])
    code = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "tokenise.md").read_text(encoding="utf-8"), flags=re.DOTALL)[0]
    assert len([line for line in code.splitlines() if line.strip() and not line.startswith("import")]) <= 5
    monkeypatch.chdir(tmp_path)
    held: dict = {}
    exec(code.replace("speaker/utterance", "speaker 0/u0"), held)
    assert held["codes"].shape == (2, 25) and held["seconds"][0] == 0.01


def _double(number):
    return 2 * number


def _make():
    return _double


@pytest.mark.slow
def test_jobs_give_every_result_once():
    for processes in (1, 2):
        assert sorted(jobs.done(_make, range(30), processes)) == [2 * number for number in range(30)]


@pytest.mark.slow
def test_processes_and_ranks_make_the_same_files(mine, speech, tmp_path):
    for name, words in {
        "one": ["-m", "laminal.tokenise"],
        "pool": ["-m", "laminal.tokenise", "processes=2"],
        "ranks": ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "laminal.tokenise"],
    }.items():
        log = tmp_path / f"{name}.log"
        done = run(*words, f"in={speech}", f"out={tmp_path / name}", f"codec={mine}", f"codec.log={log}", "codec.wait=0.2")
        assert done.returncode == 0, done.stderr[-3000:]
        encoded = [line.split() for line in log.read_text().splitlines()]
        assert len(encoded) == 6 and len({process for process, _ in encoded}) == (1 if name == "one" else 2)
    assert tree(tmp_path / "one", ".npz") == tree(tmp_path / "pool", ".npz") == tree(tmp_path / "ranks", ".npz")
    assert len({(tmp_path / name / "files.jsonl").read_bytes() for name in ("one", "pool", "ranks")}) == 1


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_a_killed_run_goes_on(mine, tmp_path, processes):
    speech, out, log = noises(tmp_path / "speech", 12), tmp_path / "codes", tmp_path / "log"
    words = ["-m", "laminal.tokenise", f"in={speech}", f"out={out}", f"codec={mine}", f"codec.log={log}", f"processes={processes}"]
    line, environment = command(*words, "codec.wait=0.5")
    running = subprocess.Popen(line, env=environment, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until = time.monotonic() + 120
    while len(list(out.rglob("u*.npz"))) < 4 and time.monotonic() < until and running.poll() is None:
        time.sleep(0.02)
    running.send_signal(signal.SIGKILL)
    running.wait()
    time.sleep(1.5)  # the processes of the pool notice and end
    begun = len(log.read_text().splitlines())
    time.sleep(1.0)
    assert len(log.read_text().splitlines()) == begun < 12  # nobody works on
    there = list(out.rglob("u*.npz"))
    assert 4 <= len(there) < 12 and not manifest(out)["complete"]
    log.unlink()
    done = run(*words)
    assert done.returncode == 0, done.stderr[-3000:]
    assert len(log.read_text().splitlines()) == 12 - len(there) and manifest(out)["good"] == 12 and manifest(out)["complete"]
    clean = tmp_path / "clean"
    tokenise.main([f"in={speech}", f"out={clean}", f"codec={mine}"])
    whole = tree(clean, ".npz")
    assert {name: content for name, content in tree(out, ".npz").items() if name in whole} == whole


@pytest.mark.slow
def test_the_command_line_has_the_exit_codes_of_the_others(mine, tmp_path):
    done = run("-m", "laminal.tokenise", f"in={tmp_path}/none", f"out={tmp_path}/o", f"codec={mine}")
    assert done.returncode == 2 and done.stderr.startswith("error:") and "Traceback" not in done.stderr
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "a.wav").write_bytes(b"no audio")
    done = run("-m", "laminal.tokenise", f"in={tmp_path}/bad", f"out={tmp_path}/o", f"codec={mine}")
    assert done.returncode == 1 and "1 of 1 files are bad" in done.stderr and "Traceback" not in done.stderr
