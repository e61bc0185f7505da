"""Train a speech tokenizer and probe every checkpoint: `python train.py --config semantic_rvq.yaml [key=value ...]`."""

from collections.abc import Sequence
from pathlib import Path

from laminal import cli, config
from laminal.errors import RequestError

USAGE = """
python train.py --config NAME.yaml [--config MORE.yaml] [key=value ...]   train, probe every checkpoint, write a report
python train.py --config NAME.yaml --dry-run                              shapes, memory, time per step; trains nothing
python train.py resume=checkpoints/RUN                                    go on exactly where a run stopped
"""


def main(words: Sequence[str]) -> int:
    """Train as `words` say; returns the exit code."""
    request = cli.parse(words, flags=("--dry-run",))
    given = dict(config.parse(word) for word in request.overrides)
    resume = given.get("resume")
    if resume is None and not request.configs:
        raise RequestError(f"no --config: name one of {', '.join(config.names(''))}")
    from laminal import runfolder

    if resume is not None:
        if request.configs or set(given) - {"resume"}:
            raise RequestError("resume=RUN goes on with that run's own configuration; leave --config and other keys out")
        settings = runfolder.read_config(Path(str(resume)))
    else:
        settings = config.load(request.configs, request.overrides)
    from laminal import experiment, training, validation

    settings = experiment.resolved(experiment.trusted(settings, str(resume)) if resume is not None else settings)
    validation.validate(settings)
    if "--dry-run" in request.flags:
        from laminal import dryrun

        print(dryrun.describe(settings))
        return 0
    if not runfolder.is_first_process():  # started by the first one, or beside it: it has made the folder and holds the lock
        return training.run(settings, runfolder.shared(settings, resume), resume=resume is not None)
    if resume is not None:
        folder = Path(str(resume))
    else:
        name = None if settings.run is None else str(settings.run)
        folder = runfolder.make(Path(str(settings.out)), name, Path(request.configs[-1]).stem)
    lock = runfolder.Lock(folder)
    try:
        return training.run(settings, folder, resume=resume is not None)
    except BaseException as error:
        if resume is None and (cli.refused(error) or not (folder / "config.yaml").exists()):
            runfolder.discard(folder)
        raise
    finally:
        lock.release()


if __name__ == "__main__":
    cli.run(main, USAGE)
