import json

import numpy as np
import soundfile

from laminal.probes.listening import write_listening
from oracle_codec import Pcm, voices


def test_originals_and_every_k(tmp_path):
    corpus = voices(tmp_path, 2, 2)
    index = json.loads(write_listening(Pcm(), corpus, None, tmp_path / "run", 3, 1.5).read_text())
    assert index["codebooks"] == [1, 2, 4] and index["sample_rate"] == 16000
    assert [each["id"] for each in index["utterances"]] == ["s0-0", "s0-1", "s1-0"]
    place = tmp_path / "run" / "listening"
    for entry in index["utterances"]:
        original, rate = soundfile.read(place / entry["original"])
        assert rate == 16000 and len(original) == 24000 and list(entry["decoded"]) == ["1", "2", "4"]
        errors = [np.abs(soundfile.read(place / file)[0] - original).max() for file in entry["decoded"].values()]
        assert errors[0] > errors[1] > errors[2] and errors[2] < 1e-4
        whole = corpus.wav(next(each for each in corpus if each.id == entry["id"]), 16000).numpy()
        first = round(entry["start"] * 16000)
        assert np.abs(original - whole[first : first + 24000]).max() < 1e-4
        assert entry["text"] == "one"
    assert len(list(place.iterdir())) == 3 * 4 + 1


def test_later_samples_take_the_place_of_earlier_ones(tmp_path):
    corpus = voices(tmp_path, 1, 1)
    first = write_listening(Pcm(), corpus, None, tmp_path, 1, 1.5)
    names = sorted(path.name for path in first.parent.iterdir())
    write_listening(Pcm(lambda wav: wav * float("nan")), corpus, None, tmp_path, 1, 1.5)
    assert sorted(path.name for path in first.parent.iterdir()) == names
    assert not soundfile.read(next(first.parent.glob("*.4.flac")))[0].any()
