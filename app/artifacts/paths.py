"""Validates the paths of artifacts. Every path that a client names goes through `artifact_path`,
or, where it is only read, through `path_to_read`.

A path is URL-decoded exactly once, and what is then a legal name is stored as it is. Separators and
`..` are refused behind further percent-encoding, too, because proxies, object stores and MLflow's
own client may decode once more (the classes of CVE-2023-1177, -2356, -2780, -6831 and
CVE-2024-1560).
"""

import re
from urllib.parse import unquote

from app.artifacts.stores.path_rules import UNSTORABLE, find_flaw, invalid_path

MAX_SEGMENT_BYTES = 255  # NAME_MAX of the file systems in use
MAX_PATH_BYTES = 900  # S3 keys end at 1024 bytes; the rest is for `experiments/…/runs/…/artifacts/`

_ESCAPE = re.compile("%[0-9A-Fa-f]{2}")
_BARE_PERCENT = re.compile("%(?![0-9A-Fa-f]{2})")
# Line breaks and tabs, and control characters and spaces at the begin of a name.
_DROPPED = re.compile(r"[\t\r\n]|(?:^|(?<=/))[\x00-\x20]+")
# No name is encoded that often. Without a limit a path could be made that takes milliseconds.
_MAX_DECODINGS = 8
_ENCODED_SLASH = re.compile("%2f", re.IGNORECASE)


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


def path_to_read(raw: str, *, allow_root: bool = False) -> str:
    """Like `artifact_path`, but `./d//s/.` is `d/s`: MLflow's clients send such paths to list and
    to download."""
    if raw.startswith("/"):  # refused, and not taken for a relative path
        return artifact_path(raw, allow_root=allow_root)
    names = [name for name in raw.split("/") if name not in ("", ".")]
    return artifact_path("/".join(names), allow_root=allow_root)


def path_in_url(decoded: str) -> str:
    """The artifact's path in a URL of MLflow's client, whose path is decoded once; bytes that are
    not UTF-8 are surrogate escapes.

    The client puts names into URLs without encoding them, so that `frame%03d.png` arrives as an
    escape. An escape of what cannot be stored, a control character or a byte that is not UTF-8, is
    therefore a part of the name; and `%2f`, which no name can hold, is a slash. MLflow's server
    does the same, but for the bytes.
    """
    return _ENCODED_SLASH.sub("/", UNSTORABLE.sub(_escape, decoded))


def name_as_in_url(name: str, folder: str) -> str:
    """What becomes of a file's name where MLflow's client puts it into a URL, behind its folder: it
    is decoded, unless there is a `%` that begins no escape. Then the client writes escapes in
    capitals, and encodes each `%`.

    A name that holds a control character itself stays as it is, and `artifact_path` refuses it.
    """
    if UNSTORABLE.search(name):
        return name
    if _BARE_PERCENT.search(f"{folder}/{name}"):
        name = _ESCAPE.sub(lambda escape: escape[0].upper(), name)
    else:
        name = unquote(name, errors="surrogateescape")
    return path_in_url(name)


def path_as_listed(path: str) -> str:
    """The path that MLflow's client shows of one that a server lists: it decodes it until nothing
    changes, with what Python's `urlparse` drops, and encodes control characters."""
    return _decoded(path, dropped=_DROPPED)


def is_shown_whole(path: str) -> bool:
    """Whether MLflow's client drops nothing of a path in order to show it."""
    return _decoded(path) == path_as_listed(path)


def _decoded(path: str, *, dropped: re.Pattern[str] | None = None) -> str:
    for _ in range(_MAX_DECODINGS):
        decoded = unquote(path)
        if dropped:
            decoded = dropped.sub("", decoded)
        if decoded == path:
            break
        path = decoded
    return UNSTORABLE.sub(_escape, path)


def _escape(unstorable: re.Match[str]) -> str:
    """Percent-encodes a character as MLflow's server does a control character (`%1f`), and a byte
    that is not UTF-8 as clients do (`%E9`)."""
    encoded = unstorable[0].encode("utf-8", "surrogateescape")
    return "".join(f"%{byte:02x}" if byte < 0x80 else f"%{byte:02X}" for byte in encoded)


def _encoded_flaw(path: str) -> str | None:
    """A separator or a `..` that appears when the path is percent-decoded, however often.

    `100%.txt`, `a%20b.txt` and `frame%03d.png` are ordinary names.
    """
    slashes = path.count("/")
    # The loop ends: unquoting either changes nothing or makes the path shorter.
    while (decoded := unquote(path)) != path:
        path = decoded
        if path.count("/") != slashes or find_flaw(UNSTORABLE.sub("_", path).replace("#", "_")):
            return "it hides a separator or a '..' behind percent-encoding"
    return None


def _length_flaw(path: str) -> str | None:
    encoded = path.encode("utf-8", "surrogatepass")
    if len(encoded) > MAX_PATH_BYTES:
        return f"it is longer than {MAX_PATH_BYTES} bytes of UTF-8"
    if any(len(segment) > MAX_SEGMENT_BYTES for segment in encoded.split(b"/")):
        return f"it has a segment longer than {MAX_SEGMENT_BYTES} bytes of UTF-8"
    return None
