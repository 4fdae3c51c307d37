"""Rules that every artifact path and every store key keeps: relative, without `..`, storable."""

import re

from app.kernel.errors import InvalidValueError

_SHOWN_CHARACTERS = 200

# Control characters, lone surrogates, and the two code points that an XML 1.0 document cannot hold:
# S3 deletes in bulk by XML.
UNSTORABLE = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
_DRIVE = re.compile(r".:")  # Python on Windows takes any character before the colon for a drive
_SCHEME = re.compile(r"file:|[A-Za-z][A-Za-z0-9+.-]*:/", re.IGNORECASE)


def key_segments(key: str) -> list[str]:
    """The folders and the name in a store's key, `experiments/12/…/artifacts/a/b.txt`.

    A second check: keys are made of paths that passed `app.artifacts.paths.artifact_path`, but a
    store must not leave its tenant's folder even where a caller forgot to validate. Raises
    InvalidValueError.
    """
    if flaw := find_flaw(key):
        raise invalid_path(key, flaw)
    return key.split("/")


def find_flaw(path: str) -> str | None:
    """Why the path is unsafe as it stands, in words; None where it is safe."""
    if UNSTORABLE.search(path):
        return "it holds a control character or one that is not Unicode text"
    if "\\" in path:
        return "it holds a backslash"
    if path.startswith("/") or _DRIVE.match(path) or _SCHEME.match(path):
        return "it is not relative"
    segments = path.split("/")
    if ".." in segments or "." in segments:
        return "it holds a '.' or '..' segment"
    if "" in segments:
        return "it is empty or holds an empty segment"
    # MLflow's client rejects the listing of a whole folder for a single '#' in it, so '#' is
    # refused. '?' is accepted by its client, and here.
    if "#" in path:
        return "it holds a '#'"
    return None


def invalid_path(raw: str, flaw: str) -> InvalidValueError:
    """The error for a path, in words that start like MLflow's ("Invalid path")."""
    # `ascii` keeps control characters and surrogates out of logs and JSON.
    shown = ascii(raw) if UNSTORABLE.search(raw) else f"'{raw}'"
    if len(shown) > _SHOWN_CHARACTERS:
        shown = shown[:_SHOWN_CHARACTERS] + "…"
    return InvalidValueError(f"Invalid path: {shown}: {flaw}", field="path")
