"""The two errors that users meet: a wrong request, and a file that cannot be used."""


class RequestError(ValueError):
    """The request was wrong: one line that gives the value, the rule and the cure (exit code 2)."""


class DataError(ValueError):
    """One file cannot be used: corpora skip it, count it and list it in the manifest."""
