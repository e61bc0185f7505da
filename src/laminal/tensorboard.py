"""TensorBoard: training curves over the generator step, scores over the epoch; on when `log.logger` says tensorboard."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from laminal import audio
from laminal.results import Results
from laminal.sinks import Fresh, Guard, code_use, drawn, layer_curves


class TensorBoard:
    """A sink that writes `tensorboard/training` (over steps) and `tensorboard/probes` (over epochs) in the run folder.

    Two folders, because a resumed run takes back what lies after its start, and steps and epochs count differently. `late`: scores of
    epochs that are past, measured after the training; nothing is taken back, and the folder's sounds and pictures are of its end.
    """

    def __init__(self, folder: Path, late: bool = False):
        self.folder, self.late = folder, late
        self._guard, self._drawing = Guard("TensorBoard"), Guard("The picture of the layer curves")
        self._writers: dict[str, Any] = {}
        self._sounds, self._pictures = Fresh(folder / "listening", "flac"), Fresh(folder / "plots", "png")

    def scalars(self, step: int, epoch: int, values: Mapping[str, float]) -> None:
        """Write training numbers of a generator step."""

        def work() -> None:
            writer = self._writer("training", step)
            for name, value in values.items():
                writer.add_scalar(name, value, step)

        self._guard(work)

    def probe(self, results: Results) -> None:
        """Write scores, code use, and whatever sounds and pictures are new, of an epoch."""
        if not self.late:
            self._drawing(lambda: layer_curves(self.folder, results))
        self._guard(lambda: self._probe(results))

    def close(self) -> None:
        """Close the files."""
        for writer in self._writers.values():
            self._guard(writer.close)
        self._writers = {}

    def _writer(self, name: str, start: int) -> Any:
        if name not in self._writers:
            from torch.utils.tensorboard import SummaryWriter

            # purge_step: what a killed training wrote from here on is not shown
            purge = None if self.late else start
            self._writers[name] = SummaryWriter(str(self.folder / "tensorboard" / name), purge_step=purge)
        return self._writers[name]

    def _probe(self, results: Results) -> None:
        epoch = results.context.epoch
        writer = self._writer("probes", epoch)
        for name, value in drawn(results).items():
            writer.add_scalar(name, value, epoch)
        for codebook, (counts, edges) in code_use(results).items():
            frames, middles = np.array(counts), (np.array(edges[:-1]) + np.array(edges[1:])) / 2
            writer.add_histogram_raw(
                f"codes/L{codebook:02d}", min=edges[0], max=edges[-1], num=frames.sum(), sum=(frames * middles).sum(),
                sum_squares=(frames * middles**2).sum(), bucket_limits=edges[1:], bucket_counts=counts, global_step=epoch,
            )  # fmt: skip
        for name, path in self._sounds() if not self.late else ():
            rate = audio.info(path).sample_rate
            writer.add_audio(f"listening/{name}", audio.read(path, rate)[None], epoch, sample_rate=rate)
        for name, path in self._pictures() if not self.late else ():
            from PIL import Image

            with Image.open(path) as picture:
                writer.add_image(f"plots/{name}", np.asarray(picture.convert("RGB")), epoch, dataformats="HWC")
        writer.flush()
