"""The one place where the path of an artifact is judged.

Everything here works on text that was URL-decoded exactly once, by the HTTP layer. Nothing decodes
it again afterwards; encoded separators are refused all the same, because proxies, object stores and
MLflow's own client may (the classes of CVE-2023-1177, -2356, -2780, -6831 and CVE-2024-1560).
"""

import re
from urllib.parse import unquote

from app.kernel.errors import InvalidValueError

MAX_SEGMENT_BYTES = 255  # NAME_MAX of the file systems in use
MAX_PATH_BYTES = 900  # S3 keys end at 1024 bytes; the rest is for `experiments/…/runs/…/artifacts/`

_SHOWN_CHARACTERS = 200

# Control characters, lone surrogates, and the two code points that an XML 1.0 document cannot hold:
# S3 deletes in bulk by XML.
_UNSTORABLE = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
_DRIVE = re.compile(r".:")  # Python on Windows takes any character before the colon for a drive
_SCHEME = re.compile(r"file:|[A-Za-z][A-Za-z0-9+.-]*:/", re.IGNORECASE)


def artifact_path(raw: str, *, allow_root: bool = False) -> str:
    """The path below a run's artifact folder that `raw` names: relative, POSIX, no trailing slash.

    Idempotent. `""`, the folder itself, is a path only with `allow_root`.
    Raises InvalidValueError, in words that start like MLflow's ("Invalid path").
    """
    if raw == "" and allow_root:
        return ""
    path = raw.removesuffix("/")
    flaw = _length_flaw(path) or _flaw(path) or _encoded_flaw(path)
    if flaw:
        raise _invalid(raw, flaw)
    return path


def key_segments(key: str) -> list[str]:
    """The folders and the name in a store's key, `experiments/12/…/artifacts/a/b.txt`.

    A second lock: keys are made of paths that passed `artifact_path`, but a store must not leave
    its tenant even for a caller that forgot. Raises InvalidValueError.
    """
    if flaw := _flaw(key):
        raise _invalid(key, flaw)
    return key.split("/")


def _flaw(path: str) -> str | None:
    """What makes the path unsafe as it stands, in words; None if nothing does."""
    if _UNSTORABLE.search(path):
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
    # MLflow's client rejects the listing of a whole folder for one '#' in it, so none gets in.
    # A '?' it takes, as do we.
    if "#" in path:
        return "it holds a '#'"
    return None


def _encoded_flaw(path: str) -> str | None:
    """A flaw that shows, or a separator that appears, when the path is decoded again and again.

    `100%.txt` and `a%20b.txt` are ordinary names.
    """
    slashes = path.count("/")
    # Ends: unquoting either changes nothing or makes the path shorter.
    while (decoded := unquote(path)) != path:
        path = decoded
        if path.count("/") != slashes or _flaw(path.replace("#", "_")):
            return "it hides a separator, a '..' or a control character behind percent-encoding"
    return None


def _length_flaw(path: str) -> str | None:
    encoded = path.encode("utf-8", "surrogatepass")
    if len(encoded) > MAX_PATH_BYTES:
        return f"it is longer than {MAX_PATH_BYTES} bytes of UTF-8"
    if any(len(segment) > MAX_SEGMENT_BYTES for segment in encoded.split(b"/")):
        return f"it has a segment longer than {MAX_SEGMENT_BYTES} bytes of UTF-8"
    return None


def _invalid(raw: str, flaw: str) -> InvalidValueError:
    # `ascii` keeps control characters and surrogates out of logs and JSON.
    shown = ascii(raw) if _UNSTORABLE.search(raw) else f"'{raw}'"
    if len(shown) > _SHOWN_CHARACTERS:
        shown = shown[:_SHOWN_CHARACTERS] + "…"
    return InvalidValueError(f"Invalid path: {shown}: {flaw}", field="path")
