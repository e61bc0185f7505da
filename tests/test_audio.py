"""Audio files good and bad: any format, rate and number of channels; every way to be broken is a DataError."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from laminal import audio
from laminal.errors import DataError


def tone(seconds: float = 1.0, rate: int = 16_000, hertz: float = 440.0) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def saved(path: Path, wav: np.ndarray, rate: int = 16_000, subtype: str | None = None) -> Path:
    soundfile.write(str(path), wav, rate, subtype=subtype)
    return path


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3", "aiff"])
@pytest.mark.parametrize("rate", [8_000, 22_050, 48_000])
def test_any_format_and_rate_keeps_its_tone(tmp_path: Path, suffix: str, rate: int) -> None:
    path = saved(tmp_path / f"a.{suffix}", tone(rate=rate), rate)
    header = audio.check(path)
    assert (header.sample_rate, header.channels) == (rate, 1) and header == audio.info(path)
    assert abs(header.seconds - 1.0) < 0.01
    wav = audio.read(path, 16_000)
    assert wav.dtype == np.float32 and abs(len(wav) - 16_000) <= 160
    peak = np.abs(np.fft.rfft(wav[:16_000], 16_000)).argmax()
    assert abs(peak - 440) <= 1


def test_channels_are_averaged(tmp_path: Path) -> None:
    eight = np.stack([np.full(4_000, level / 16, np.float32) for level in range(8)], axis=1)
    path = saved(tmp_path / "eight.wav", eight, subtype="FLOAT")
    assert audio.check(path).channels == 8
    np.testing.assert_allclose(audio.read(path, 16_000), np.full(4_000, 3.5 / 16), atol=1e-7)


def test_parts_are_the_parts_of_the_whole(tmp_path: Path) -> None:
    wav = np.random.default_rng(0).uniform(-0.5, 0.5, 16_000).astype(np.float32)
    path = saved(tmp_path / "a.flac", wav)
    whole = audio.read(path, 16_000)
    np.testing.assert_array_equal(audio.read(path, 16_000, 0.25, 0.5), whole[4_000:12_000])
    np.testing.assert_array_equal(audio.read(path, 16_000, 0.75, 9.0), whole[12_000:])  # shorter where the recording ends
    with pytest.raises(DataError, match=r"start 1.000 s lies outside its 1.000 s"):
        audio.read(path, 16_000, 1.0)
    with pytest.raises(DataError, match="outside"):
        audio.read(path, 16_000, -0.1)


def test_one_sample_is_one_sample(tmp_path: Path) -> None:
    path = saved(tmp_path / "one.wav", np.array([0.25], np.float32), subtype="FLOAT")
    assert audio.check(path).frames == 1
    np.testing.assert_array_equal(audio.read(path, 16_000), [0.25])


def test_empty_and_unreadable_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "zero.flac").write_bytes(b"")
    (tmp_path / "text.wav").write_text("this is no audio")
    (tmp_path / "folder.wav").mkdir()
    saved(tmp_path / "header.wav", np.zeros(0, np.float32))
    for name, says in [("zero.flac", "empty audio"), ("text.wav", "unreadable"), ("folder.wav", "unreadable"), ("none.wav", "unreadable"),
                       ("header.wav", "empty audio")]:  # fmt: skip
        for use in (audio.info, audio.check, lambda path: audio.read(path, 16_000)):
            with pytest.raises(DataError, match=says) as caught:
                use(tmp_path / name)
            assert str(tmp_path / name) in str(caught.value)


@pytest.mark.parametrize("suffix", ["wav", "flac", "mp3", "aiff", "au"])
def test_truncated_files_are_refused(tmp_path: Path, suffix: str) -> None:
    whole = saved(tmp_path / f"whole.{suffix}", np.random.default_rng(0).normal(0, 0.1, 48_000).astype(np.float32))
    audio.check(whole)
    raw = whole.read_bytes()
    for share in (0.3, 0.9):
        cut = tmp_path / f"cut{share}.{suffix}"
        cut.write_bytes(raw[: int(share * len(raw))])
        with pytest.raises(DataError, match="truncated"):
            audio.check(cut)


def test_a_wav_written_to_a_pipe_is_no_truncated_one(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.wav", tone())
    raw = bytearray(path.read_bytes())
    at = raw.index(b"data") + 4
    raw[at : at + 4] = b"\xff\xff\xff\xff"  # as ffmpeg leaves the length where it cannot go back
    path.write_bytes(raw)
    assert audio.check(path).frames == 16_000


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("subtype", ["FLOAT", "DOUBLE"])
def test_nan_is_found_anywhere_and_in_any_channel(tmp_path: Path, value: float, subtype: str) -> None:
    wav = np.zeros((audio.BLOCK + 100, 2))
    wav[audio.BLOCK + 50, 1] = value
    path = saved(tmp_path / "nan.wav", wav, subtype=subtype)
    for use in (audio.check, lambda path: audio.read(path, 16_000)):
        with pytest.raises(DataError, match="NaN or infinite"):
            use(path)
    assert np.isfinite(audio.read(path, 16_000, 0.0, 1.0)).all()  # the good part can still be read


def test_written_audio_reads_back_within_16_bits_and_clips(tmp_path: Path) -> None:
    wav = np.array([0.0, 0.5, -0.5, 2.0, -2.0], np.float32)
    audio.write(tmp_path / "a.wav", wav, 16_000)
    np.testing.assert_allclose(audio.read(tmp_path / "a.wav", 16_000), np.clip(wav, -1, 1), atol=2**-15)
    assert [path.name for path in tmp_path.iterdir()] == ["a.wav"]
