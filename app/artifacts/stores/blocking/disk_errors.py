"""Translates errors of the file system into the domain's errors."""

import errno
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from app.kernel.errors import (
    ArtifactNotFoundError,
    ConflictError,
    InsufficientStorageError,
    InvalidValueError,
    UnavailableError,
)

log = logging.getLogger(__name__)

_NOT_FOUND = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EISDIR)
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def disk_errors(path: Sequence[str], *, writing: bool = False) -> Iterator[None]:
    """Raises the domain's error for an OSError about `path`, a list of segments of which the first
    is the tenant.

    A missing file is NotFoundError; when `writing`, a file or folder in the way is ConflictError.
    """
    key = "/".join(path[1:])
    try:
        yield
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise InvalidValueError(f"Invalid path: '{key}': a segment is too long") from error
        if error.errno in _FULL:
            log.warning("the artifact store is full: %s", error.strerror)
            raise InsufficientStorageError("The artifact store is full") from error
        if error.errno not in _NOT_FOUND or (writing and error.errno == errno.ENOENT):
            unavailable = f"The artifact store could not use its disk: {error.strerror}"
            log.warning("%s", unavailable)
            raise UnavailableError(unavailable) from error
        if writing:
            raise ConflictError(
                f"Cannot store '{key}': it is a folder, or a part of its path is a file",
                field="path",
            ) from error
        raise ArtifactNotFoundError(key, field=None) from error
