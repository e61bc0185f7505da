"""docs/codecs.md: its example is a codec, short enough, and its table names every twin."""

import re
from pathlib import Path

import codec_contract as contract
import torch

from laminal import config
from laminal.codecs.load import load_codec
from oracle_codec import voices

PAGE = (Path(__file__).parents[2] / "docs" / "codecs.md").read_text(encoding="utf-8")


def test_the_example_keeps_the_contract(tmp_path):
    code = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)[0]
    assert len([line for line in code.splitlines() if line.strip()]) <= 20
    (tmp_path / "mine.py").write_text(code)
    codec = load_codec(f"{tmp_path}/mine.py:MyCodec")
    contract.a_frame_for_every_hop_begun(codec)
    contract.a_batch_is_its_rows(codec)
    contract.nothing_is_drawn_and_nothing_changes(codec)
    contract.the_delay_is_told(codec, frames=0.6)
    contract.probes_can_read_words(codec, voices(tmp_path, speakers=2, each=1, seconds=1.8))
    ramp = torch.linspace(-1, 1, 40 * 320)[None]
    contract_layers = codec.layers(ramp)
    assert list(contract_layers) == ["latent", "1", "2"]
    assert float((contract_layers["2"] - contract_layers["latent"]).abs().max()) <= 1 / 128 + 1e-6
    assert torch.equal(codec.decode(codec.encode(ramp))[:, ::320], contract_layers["2"][..., 0])


def test_the_table_names_every_codec():
    named = set(re.findall(r"^\| `(\w+)` \|", PAGE, flags=re.MULTILINE))
    missing = set(config.names("codecs")) - named
    assert not missing, f"docs/codecs.md lacks {missing}"
    for name in named & set(config.names("codecs")):
        path = config.twin("codecs", name).get("path")
        assert path is None or path in PAGE
