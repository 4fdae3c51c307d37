"""Keys of objects in the store: `<folder>/<object id>/<name>` for the file `<folder>/<name>`."""

import posixpath
from uuid import UUID

_ID_LENGTH = 32


def object_key(path: str, object_id: UUID | None) -> str:
    """The key of an object that was uploaded for `path`.

    The object has a folder of its own beside the file's path. So the store alone tells which file
    an object was, and an object never has the key of a folder. An object without an id, from before
    objects had ids, has the path as its key.
    """
    if object_id is None:
        return path
    folder, name = posixpath.split(path)
    return posixpath.join(folder, object_id.hex, name)


def path_and_id(key: str) -> tuple[str, UUID | None]:
    """The inverse of `object_key`: the path that an object was uploaded for, and the object's id,
    None where the key holds none."""
    folder, name = posixpath.split(key)
    folder, last = posixpath.split(folder)
    if len(last) == _ID_LENGTH and not set(last) - set("0123456789abcdef"):
        return posixpath.join(folder, name), UUID(hex=last)
    return key, None
