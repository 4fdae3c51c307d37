"""The data folder is nobody else's, on a machine that others use too."""

import os
import stat
from contextlib import suppress
from pathlib import Path

# What lies in it, and is made private where an older version or a copy left it open.
_CONTENTS = ("lock", "postgres.log", "postgres.log.old", "ballast", "signing-key", "artifacts")

_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def make_private(folder: Path) -> bool:
    """Make the folder, or take from group and others what they may do in it, and with what the
    service keeps there. False where that can't be, since it belongs to another user.

    A folder that is everybody's, as /tmp is, stays so; what is ours in it is private all the same.
    Raises OSError where the folder can't be made.
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
    """The descriptor of a file that only its owner may read, also where it was there before."""
    descriptor = os.open(path, flags | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    with suppress(PermissionError):  # another user's, who let us in
        os.fchmod(descriptor, 0o600)
    return descriptor
