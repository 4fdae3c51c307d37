"""Private files: the data folder and its contents are accessible to their owner only."""

import os
import stat
from contextlib import suppress
from pathlib import Path

# The contents of the data folder, which an older version or a copy may have left accessible.
_CONTENTS = ("lock", "postgres.log", "postgres.log.old", "ballast", "signing-key", "artifacts")

_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def make_private(folder: Path) -> bool:
    """Create the folder, or remove the permissions of group and others on it and its contents.

    Returns False if that is not permitted, because it belongs to another user. A shared folder
    with the sticky bit, as /tmp, keeps its permissions; its contents do not. Raises OSError if the
    folder cannot be created.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for path in (folder, *(folder / name for name in _CONTENTS)):
        with suppress(FileNotFoundError):
            found = path.lstat() if path != folder else path.stat()
            shared = found.st_mode & stat.S_ISVTX or stat.S_ISLNK(found.st_mode)
            if found.st_mode & _OTHERS and not shared:
                try:
                    path.chmod(stat.S_IMODE(found.st_mode) & ~_OTHERS)
                except PermissionError:
                    return False
    return True


def open_private(path: Path, flags: int) -> int:
    """Open or create a file with mode 0600; returns its descriptor."""
    descriptor = os.open(path, flags | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    with suppress(PermissionError):  # it belongs to another user, who permits us to open it
        os.fchmod(descriptor, 0o600)
    return descriptor
