"""Publish a run's tokenizer on the Hugging Face hub, with a card made of the run's own scores; nothing leaves without the user's token."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from laminal.atomic import write_text
from laminal.codecs.load import load_codec
from laminal.errors import RequestError
from laminal.report import card

NETWORK = ("httpx", "httpx2", "httpcore", "requests", "urllib3")  # packages whose errors mean that the hub was not reached


def run(own: Mapping[str, Any]) -> int:
    """Do `push=RUN|RUN/tokenizer-best [repo=OWNER/NAME] [private=false]`: write RUN/README.md, and with `repo` send it with the export.

    The repository is made private unless it is there or `private=false`. Raises RequestError for a folder without an export or without
    scores of its weights, a name that the hub does not take, and without a token; ConnectionError where the hub is not reached.
    """
    folder, export = places(Path(str(own["push"])))
    repo = None if own.get("repo") is None else checked_name(str(own["repo"]))
    token = None if repo is None else checked_token(repo, export)
    codec = load_codec(str(export), device="cpu")
    readme = folder / "README.md"
    write_text(readme, card.text(folder, export, codec.revision, repo or f"OWNER/{folder.resolve().name}"))
    print(readme)
    if repo is None or token is None:
        print(f"nothing was sent; read the card, then: python probe.py push={own['push']} repo=OWNER/NAME")
        return 0
    print(send(export, readme, repo, token, private=own.get("private") is not False))
    return 0


def places(given: Path) -> tuple[Path, Path]:
    """Give the run folder and the export in it that `given`, one of the two, names; raises RequestError where there is none."""
    folder, export = (given.parent, given) if given.name.startswith("tokenizer") else (given, given / "tokenizer")
    if not folder.is_dir():
        raise RequestError(f"push={given} does not exist; give checkpoints/<run>")
    if not (export / "config.json").is_file():
        raise RequestError(
            f"push={given}: {export} is no export (a run that has not ended, or tokenizer.order=serial, has none); give a run that has one"
        )
    return folder, export


def checked_name(repo: str) -> str:
    """Give the name of a repository; raises RequestError where it is not OWNER/NAME as the hub takes it."""
    from huggingface_hub.utils import HFValidationError, validate_repo_id

    try:
        validate_repo_id(repo)
    except HFValidationError as error:
        raise RequestError(f"repo={repo}: the hub does not take that name ({' '.join(str(error).split())}); give OWNER/NAME") from error
    if repo.count("/") != 1:
        raise RequestError(f"repo={repo}: whose? give OWNER/NAME")
    return repo


def checked_token(repo: str, export: Path) -> str:
    """Give the user's token for the hub; raises RequestError where there is none."""
    from huggingface_hub import get_token

    token = get_token()
    if not token:
        raise RequestError(
            f"repo={repo}: no token for the hub, so {export} stays here: run `hf auth login`, or set HF_TOKEN to one that writes"
        )
    return token


def send(export: Path, readme: Path, repo: str, token: str, private: bool) -> str:
    """Send the files of `export` and the card in one commit; returns its address. Raises as `run`."""
    from huggingface_hub import CommitOperationAdd, HfApi
    from huggingface_hub.errors import HfHubHTTPError

    files = {path.name: path for path in sorted(export.iterdir()) if path.is_file()} | {"README.md": readme}
    operations = [CommitOperationAdd(path_in_repo=name, path_or_fileobj=str(path)) for name, path in files.items()]
    api = HfApi(token=token)
    try:
        api.create_repo(repo, private=private, exist_ok=True)
        made = api.create_commit(repo, operations, commit_message=f"{readme.parent.resolve().name}, exported by laminal")
    except HfHubHTTPError as error:
        status = getattr(getattr(error, "response", None), "status_code", None)
        if status in (401, 403):
            raise RequestError(f"repo={repo}: the hub refused the token ({status}); give one with write access to {repo}") from error
        raise ConnectionError(f"repo={repo}: the hub answered {status} ({_first(error)}); the card is {readme}, try again later") from error
    except Exception as error:
        if isinstance(error, OSError) or type(error).__module__.partition(".")[0] in NETWORK:
            raise ConnectionError(
                f"repo={repo}: the hub was not reached ({_first(error)}); the card is {readme}, try again later"
            ) from error
        raise
    return str(made.commit_url)


def _first(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
