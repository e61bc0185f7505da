"""One training run: from a configuration to a run folder that holds everything to go on, to probe and to publish."""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import lightning
from lightning.pytorch.callbacks import TQDMProgressBar
from lightning.pytorch.utilities.exceptions import MisconfigurationException, SIGTERMException
from omegaconf import DictConfig

from laminal import experiment, runfolder
from laminal.atomic import write_text
from laminal.callback import ProbeCallback
from laminal.checkpoints import AtomicFiles, Checkpoints, SaveOnTerm, Start, last_checkpoint
from laminal.codecs.load import codec_of
from laminal.config import plain
from laminal.corpora.base import Corpus
from laminal.corpora.crops import Batch, Crops, evaluation_crops, loader
from laminal.corpora.split import Split
from laminal.dashboard import checkpoint_facts, sinks_of
from laminal.errors import RequestError
from laminal.lexicon.pairs import near_homophones, pair_hash, synonyms, synonyms_core
from laminal.losses.objective import build as build_objective
from laminal.metrics import Metrics, Sink
from laminal.nn import compiled
from laminal.nn.balancer import Balancer
from laminal.nn.export import export
from laminal.nn.recipes import tokenizer_of
from laminal.nn.start_from import start_from
from laminal.precomputed import hear, recorded
from laminal.probes.listening import write_listening
from laminal.results import Results
from laminal.stopping import Stopping
from laminal.stored import material
from laminal.task import OptimizerSettings, TokenizerTask
from laminal.teachers.recorded import Recorded
from laminal.words import tokens

log = logging.getLogger("laminal")
TERMINATED = 128 + 15  # exit code of a process that SIGTERM ended
START_UP = 1_000_000_000  # batches from here on belong to no training step


class Data(lightning.LightningDataModule):
    """Training crops by step and fixed validation crops; a resumed training starts at its own step."""

    def __init__(self, config: DictConfig, corpus: Corpus, split: Split):
        super().__init__()
        self.config, self.corpus, self.split = config, corpus, split
        self.sample_rate = int(config.tokenizer.sample_rate)
        self.recorded: dict[str, Recorded] = {}

    def crops(self, rank: int = 0, ranks: int = 1) -> Crops:
        """Training crops of one rank."""
        data = self.config.data
        return Crops(
            self.corpus, self.split, sample_rate=self.sample_rate, seconds=data.seconds, batch=data.batch, pairs=data.pairs,
            synonyms=data.synonyms, seed=self.config.seed, cache_bytes=data.cache_bytes, rank=rank, ranks=ranks,
            recorded=self.recorded,
        )  # fmt: skip

    def start_up(self) -> Iterator[Batch]:
        """Give batches that no training step uses, the same on every rank."""
        crops, step = self.crops(), START_UP
        while True:
            yield crops[step]
            step += 1

    def train_dataloader(self) -> "EpochLoader":
        """Give the batches of an epoch, from the step that the task stands at."""
        assert self.trainer is not None
        crops = self.crops(self.trainer.global_rank, self.trainer.world_size)
        epoch = self.config.trainer.steps_per_epoch * self.config.trainer.accumulate
        task = self.trainer.lightning_module
        assert isinstance(task, TokenizerTask)
        return EpochLoader(crops, epoch, lambda: task.batches, self.config.data.workers)

    def val_dataloader(self) -> "FixedBatches":
        """Give fixed crops of held-out speakers."""
        data = self.config.data
        held = evaluation_crops(
            self.corpus, self.split.test_speakers, data.validation_crops, data.seconds, self.sample_rate, self.config.seed, data.batch
        )
        return FixedBatches(held)


@dataclass(frozen=True, slots=True)
class FixedBatches:
    """The same batches at every pass; Lightning would take a bare list for several loaders."""

    batches: Sequence[Batch]

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Batch]:
        return iter(self.batches)


class EpochLoader:
    """Batches up to the end of the epoch that `position` lies in; its length is that of a whole epoch, as Lightning counts."""

    def __init__(self, crops: Crops, epoch: int, position: Callable[[], int], workers: int):
        self.crops, self.epoch, self.position, self.workers = crops, epoch, position, workers

    def __len__(self) -> int:
        return self.epoch

    def __iter__(self) -> Iterator[Batch]:
        start = self.position()
        return iter(loader(self.crops, start, (start // self.epoch + 1) * self.epoch, self.workers))


def task_of(config: DictConfig, start_up: Callable[[], Iterator[Batch]] | None = None, anew: bool = True) -> TokenizerTask:
    """Build the task that `config` describes; `anew`: it starts at step 0, with the weights of `init` where that names a codec."""
    recipe = plain(config.tokenizer)
    losses = {name: section for name, section in plain(config.losses).items() if section is not None}
    total = config.trainer.epochs * config.trainer.steps_per_epoch
    for name, section in losses.items():
        if section.get("weight") and section.get("start", 0) >= total:
            log.warning("losses.%s.start %d is after the last step of %d: it plays no part", name, section["start"], total)
    balancer = None if config.balancer is None else partial(Balancer, **plain(config.balancer))
    lightning.seed_everything(config.seed, verbose=False)  # the losses' heads draw from the global generator
    tokenizer, objective = tokenizer_of(recipe), build_objective(losses, balancer)
    objective.check(tokenizer.frame_rate)
    origin = start_from(tokenizer, str(config.init)) if anew and config.get("init") is not None else None
    task = TokenizerTask(
        tokenizer,
        objective,
        OptimizerSettings(**plain(config.optimizer)),
        recipe=recipe,
        total_steps=total,
        accumulate=config.trainer.accumulate,
        start_up=start_up,
        norms_until=config.log.gradient_norms_until,
        norms_every=config.log.gradient_norms_every,
    )
    task.origin = origin
    if backend := compiled.checked_backend(config.trainer.get("compile")):
        compiled.compile_networks(tokenizer, backend)  # the task has made its copies: they stay plain
    return task


def run(config: DictConfig, folder: Path, resume: bool) -> int:
    """Train, then write the report and say what came out; returns the exit code."""
    from laminal.report import folder as report
    from laminal.report import sentences
    from laminal.report.changes import scores_of

    if not runfolder.is_first_process():
        train(config, folder, resume, [])
        return 0
    sinks = sinks_of(config, folder)
    try:
        train(config, folder, resume, sinks)
        probed = (folder / "scores.parquet").is_file()
        made = report.write(folder) if probed else folder
    finally:  # the dashboards show the report's pictures too
        for sink in sinks:
            sink.close()
    if probed:
        scores = scores_of(folder)
        print(sentences.table(scores))
        for line in sentences.summary(scores):
            print(line)
    else:
        print("no probe was asked for, so there is no report; probe.py ckpt=<this folder> makes one")
    if stopped := runfolder.read_manifest(folder).get("stopped"):
        print(stopped["why"])
    print(made)
    return 0


@dataclass(frozen=True, slots=True)
class Parts:
    """What a training is made of, before anything of it runs."""

    corpus: Corpus
    split: Split
    data: Data
    task: TokenizerTask
    probes: dict[str, Any]


def parts(config: DictConfig, anew: bool = True) -> Parts:
    """Build corpus, split, task (see `task_of`) and probes; raises RequestError where one of them refuses its configuration."""
    corpus = experiment.corpus(config)
    split = experiment.split(config, corpus)
    data = Data(config, corpus, split)
    task = task_of(config, data.start_up, anew)
    task.objective.attend(lambda: data.crops().sentences)
    data.recorded = recorded(config, task, corpus.subset(split.train_speakers))
    return Parts(corpus, split, data, task, experiment.probes(config.probes, corpus, split))


def train(config: DictConfig, folder: Path, resume: bool, sinks: list[Sink]) -> TokenizerTask:
    """Train in `folder` (locked by the caller); with `resume` go on from its last.ckpt. Returns the trained task."""
    wall = runfolder.WallTime(folder)
    start = last_checkpoint(folder) if resume else None
    made = parts(config, anew=start is None)
    corpus, split, task = made.corpus, made.split, made.task
    task.facts = checkpoint_facts(folder)

    def after(_: Results) -> None:
        listen(task, corpus, split, folder)
        wall.note(callback.seconds)

    probing = config.probing
    callback = ProbeCallback(
        made.probes, folder, run=folder.name, corpus=corpus.name, corpus_sha256=corpus.sha256, every_epochs=probing.every_epochs,
        every_steps=probing.every_steps, budget_s=probing.budget_s, sinks=sinks, after=after,
    )  # fmt: skip
    section = config.checkpoint
    checkpoints = Checkpoints(folder, callback, section.every_epochs, section.monitor, section.mode, section.keep)
    metrics = Metrics(folder / "metrics.csv", config.log.every_steps, sinks)
    stopping = stopping_of(config, callback)
    early = [] if stopping is None else [stopping]  # behind the probes, before the checkpoints
    trainer = trainer_of(config, folder, [metrics, callback, *early, SaveOnTerm(folder), TQDMProgressBar(refresh_rate=10), checkpoints])
    hear(made.data.recorded.values(), trainer)  # a run that is stopped here has no folder yet: the same words start it again
    if runfolder.is_first_process():
        describe(config, folder, start, made)
    wall.ready()
    try:
        trainer.fit(task, datamodule=made.data, ckpt_path=start.path if start else None, weights_only=True)
    except SIGTERMException:  # Lightning would leave with 0, as if the run were done
        log.warning("stopped by SIGTERM at step %d; train.py resume=%s goes on from there", task.generator_step, folder)
        if trainer.is_global_zero:
            wall.note(callback.seconds)
        raise SystemExit(TERMINATED) from None
    except Exception as error:
        if compiled.failed(error):
            said = " ".join(str(error).split())[:200]
            raise RequestError(f"trainer.compile={config.trainer.compile}: torch cannot compile this ({said}); give null") from error
        raise
    if trainer.is_global_zero:
        if task.tokenizer.exported:
            export(task.evaluated, folder / "tokenizer")
        else:
            log.warning("this tokenizer has no export for transformers (tokenizer.order=serial): probe and load its checkpoints")
        best = checkpoints.export_best()
        wall.note(callback.seconds)
        facts: dict[str, Any] = {"generator_steps": task.generator_step, "undefined": callback.undefined}
        facts |= ({"best": best} if best else {}) | ({"stopped": stopping.facts()} if stopping is not None else {})
        runfolder.update_manifest(folder, **facts)
    return task


def stopping_of(config: DictConfig, probes: ProbeCallback) -> Stopping | None:
    """Make the early stopping that `config` asks for; None where it asks for none, as runs from before there was one."""
    section = config.get("stopping")
    if section is None or section.monitor is None:
        return None
    return Stopping(probes, str(section.monitor), int(section.patience), section.mode)


def trainer_of(config: DictConfig, folder: Path, callbacks: list[lightning.Callback]) -> lightning.Trainer:
    """Make Lightning's trainer; raises RequestError where it refuses the arguments of `trainer`, or this machine lacks what they name."""
    section = config.trainer
    try:
        return lightning.Trainer(
            accelerator=section.accelerator, devices=section.devices, num_nodes=section.nodes, strategy=strategy(config),
            precision=section.precision, max_epochs=section.epochs, logger=False, num_sanity_val_steps=0, default_root_dir=folder,
            reload_dataloaders_every_n_epochs=0, enable_model_summary=False, callbacks=callbacks, plugins=[AtomicFiles()],
        )  # fmt: skip
    except (MisconfigurationException, ValueError, TypeError, RuntimeError) as error:
        given = ", ".join(f"{name}={section[name]}" for name in ("accelerator", "devices", "nodes", "strategy", "precision"))
        raise RequestError(f"trainer ({given}): {' '.join(str(error).split())}; configs/base.yaml has the usual") from error


def describe(config: DictConfig, folder: Path, start: Start | None, made: Parts) -> None:
    """Write down what runs, on what, from which checkpoint: config.yaml and split.json of a new run, and the manifest."""
    corpus, split = made.corpus, made.split
    facts: dict[str, Any] = {"corpus_sha256": corpus.sha256, "split_sha256": split.sha256()}
    if others := {name: own for name, probe in made.probes.items() if (own := material(probe))}:
        facts["probe_material"] = others
    if start is None:
        runfolder.write_config(folder, config)
        write_text(folder / "split.json", split.to_json())
        words = sorted({token.word for token in tokens(corpus)})
        lists = {each.__name__: pair_hash(each(words)) for each in (near_homophones, synonyms, synonyms_core)}
        facts |= {"corpus": corpus.name, "corpus_facts": corpus.facts, "skipped": list(corpus.skipped)}
        facts |= {"pair_lists_sha256": lists, "seed": config.seed}
        if made.task.origin is not None:
            facts["init"] = {"codec": str(config.init), "sha256": made.task.origin}
    else:
        facts["from_step"] = start.step
    runfolder.add_start(folder, **runfolder.environment(config), **facts)


def listen(task: TokenizerTask, corpus: Corpus, split: Split, folder: Path) -> None:
    """Write the listening samples of the tokenizer as it is now; where that fails, say it and train on."""
    try:
        write_listening(codec_of(task.evaluated), corpus, split, folder)
    except Exception as error:  # nothing that is only shown may end a training
        log.warning("listening samples of step %d were not written (%s: %s)", task.generator_step, type(error).__name__, error)


def strategy(config: DictConfig) -> Any:
    """Choose Lightning's strategy: with several processes, DDP that bears losses without a part in a batch."""
    several = config.trainer.devices not in (1, "1") or config.trainer.nodes > 1
    return "ddp_find_unused_parameters_true" if config.trainer.strategy == "auto" and several else config.trainer.strategy
