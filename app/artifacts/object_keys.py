"""Where in the store a file's bytes lie."""

import posixpath
from uuid import UUID

_ID_LENGTH = 32


def object_key(path: str, object_id: UUID | None) -> str:
    """The key of an object: a folder of its own beside the file's place, so that the store alone
    still tells which file it was, and that no file there stands in the way of a folder.

    An object without an id, from before they had one, lies at the path itself.
    """
    if object_id is None:
        return path
    folder, name = posixpath.split(path)
    return posixpath.join(folder, object_id.hex, name)


def path_and_id(key: str) -> tuple[str, UUID | None]:
    """The file that an object was stored for, and the object's id; without one where the key holds
    none."""
    folder, name = posixpath.split(key)
    folder, last = posixpath.split(folder)
    if len(last) == _ID_LENGTH and not set(last) - set("0123456789abcdef"):
        return posixpath.join(folder, name), UUID(hex=last)
    return key, None
