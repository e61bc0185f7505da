"""`data.precomputed`: what the losses' teachers hear of whole recordings, made before the first step."""

from collections.abc import Iterable

import lightning
from omegaconf import DictConfig

from laminal import progress
from laminal.cache import CodesCache
from laminal.corpora.base import Corpus
from laminal.errors import RequestError
from laminal.task import TokenizerTask
from laminal.teachers.recorded import Recorded
from laminal.usual_folder import usual_folder


def recorded(config: DictConfig, task: TokenizerTask, corpus: Corpus) -> dict[str, Recorded]:
    """Give what the teachers hear of whole recordings, by their names in a batch, where `data.precomputed` asks for that.

    Raises RequestError where no loss can take it.
    """
    where = config.data.get("precomputed")
    if not where:
        return {}
    if not task.objective.teachers:
        raise RequestError(
            f"data.precomputed={where}: of the losses here none hears recordings (semantic_distill and acoustic_align do; "
            "reconstruct_match compares crop with crop); say data.precomputed=null"
        )
    cache = CodesCache(usual_folder("teachers", None if where is True else str(where)))
    return {name: Recorded(teacher, corpus, cache) for name, teacher in task.objective.teachers.items()}


def hear(recorded: Iterable[Recorded], trainer: lightning.Trainer) -> None:
    """Make what is missing: processes that were started together begin at other recordings, of Lightning's launcher the first does all."""
    for each in recorded:
        with progress.shown(trainer.is_global_zero):
            each.fill(trainer.strategy.root_device, trainer.global_rank * len(each.corpus) // trainer.world_size)
