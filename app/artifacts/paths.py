"""Validates the paths of artifacts. Every path that a client names goes through `artifact_path`.

A path is URL-decoded exactly once, by the HTTP layer, and never again. Encoded separators are
refused all the same, because proxies, object stores and MLflow's own client may decode once more
(the classes of CVE-2023-1177, -2356, -2780, -6831 and CVE-2024-1560).
"""

from urllib.parse import unquote

from app.artifacts.stores.path_rules import find_flaw, invalid_path

MAX_SEGMENT_BYTES = 255  # NAME_MAX of the file systems in use
MAX_PATH_BYTES = 900  # S3 keys end at 1024 bytes; the rest is for `experiments/…/runs/…/artifacts/`


def artifact_path(raw: str, *, allow_root: bool = False) -> str:
    """The path that `raw` names below a run's artifact folder: relative, POSIX, without a trailing
    slash.

    Idempotent. `""`, the folder itself, is a path only with `allow_root`.
    Raises InvalidValueError, in words that start like MLflow's ("Invalid path").
    """
    if raw == "" and allow_root:
        return ""
    path = raw.removesuffix("/")
    flaw = _length_flaw(path) or find_flaw(path) or _encoded_flaw(path)
    if flaw:
        raise invalid_path(raw, flaw)
    return path


def _encoded_flaw(path: str) -> str | None:
    """A flaw or a separator that appears when the path is percent-decoded, however often.

    `100%.txt` and `a%20b.txt` are ordinary names.
    """
    slashes = path.count("/")
    # The loop ends: unquoting either changes nothing or makes the path shorter.
    while (decoded := unquote(path)) != path:
        path = decoded
        if path.count("/") != slashes or find_flaw(path.replace("#", "_")):
            return "it hides a separator, a '..' or a control character behind percent-encoding"
    return None


def _length_flaw(path: str) -> str | None:
    encoded = path.encode("utf-8", "surrogatepass")
    if len(encoded) > MAX_PATH_BYTES:
        return f"it is longer than {MAX_PATH_BYTES} bytes of UTF-8"
    if any(len(segment) > MAX_SEGMENT_BYTES for segment in encoded.split(b"/")):
        return f"it has a segment longer than {MAX_SEGMENT_BYTES} bytes of UTF-8"
    return None
