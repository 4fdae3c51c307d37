"""The blocking work on the folder of a local store.

Folders are reached by descriptor and never through a symlink, so that nothing planted in the tree
leads out of it. The root itself may be one: the operator's choice.
"""

import errno
import logging
import os
import stat
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from app.artifacts.paths import key_segments
from app.artifacts.stores.contract import StoredKey, StoredObject
from app.artifacts.stores.disk_reserve import DiskReserve
from app.kernel.errors import (
    ArtifactNotFoundError,
    ConflictError,
    InsufficientStorageError,
    InvalidValueError,
    NotFoundError,
    UnavailableError,
)

log = logging.getLogger(__name__)

# No tenant's slug starts with a dot. Inside the root, since a rename can't leave its file system.
UPLOADS = ".uploads"
_CHECKS = ".checks"

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
# O_NONBLOCK: opening a FIFO that somebody planted must not hang.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK

# A file without a name, in the folder that it will get one in. Not everywhere.
UNNAMED: int = os.O_WRONLY | getattr(os, "O_TMPFILE", 0)

_NOT_THERE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EISDIR)
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

# How often an upload makes its folders anew when deletions prune them at the same moment.
_PUBLISH_ATTEMPTS = 100


class Tree:
    """A path is the list of its segments below the root; the first is a tenant or UPLOADS."""

    def __init__(self, root: Path, reserve_bytes: int | None = None) -> None:
        self.root = root
        self.reserve = DiskReserve(root, reserve_bytes)
        self._real_root = os.path.realpath(root)

    def open(self, path: list[str], start: int = 0) -> tuple[BinaryIO, StoredObject]:
        with disk_errors(path), self.folder(path[:-1]) as folder:
            descriptor = os.open(path[-1], _FILE, dir_fd=folder)
            try:
                found = os.fstat(descriptor)
                if not stat.S_ISREG(found.st_mode):
                    raise FileNotFoundError(errno.ENOENT, "not a file")
                os.lseek(descriptor, start, os.SEEK_SET)
                if hasattr(os, "posix_fadvise"):  # read further ahead of us; not everywhere
                    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_SEQUENTIAL)
            except BaseException:
                os.close(descriptor)
                raise
            return open(descriptor, "rb", buffering=0), stored(found)

    def stat(self, path: list[str]) -> StoredObject | None:
        try:
            with disk_errors(path), self.folder(path[:-1]) as folder:
                found = os.stat(path[-1], dir_fd=folder, follow_symlinks=False)
        except NotFoundError:
            return None
        return stored(found) if stat.S_ISREG(found.st_mode) else None

    def delete(self, paths: Sequence[Sequence[str]]) -> None:
        for path in paths:
            with suppress(NotFoundError), disk_errors(path), self.folder(path[:-1]) as folder:
                os.unlink(path[-1], dir_fd=folder)
        self._prune(paths)

    def delete_folder(self, path: list[str]) -> None:
        """Remove a folder with all that it holds; none is no error."""
        with suppress(NotFoundError), disk_errors(path):
            self._remove_tree(tuple(path))
        self._prune([path])

    def _remove_tree(self, path: tuple[str, ...]) -> None:
        """Folder by folder, with few descriptors at a time, however deep they lie."""
        pending = [path]
        while pending:
            folder = pending[-1]
            if below := self._emptied(folder):
                pending.extend((*folder, name) for name in below)
                continue
            try:
                with self.folder(folder[:-1]) as parent:
                    os.rmdir(folder[-1], dir_fd=parent)
            except OSError as error:
                if error.errno == errno.ENOTEMPTY:  # something has just come
                    continue
                if error.errno != errno.ENOENT:
                    raise
            pending.pop()

    def _emptied(self, path: Sequence[str]) -> list[str]:
        """The folders in a folder, all else of which is removed."""
        below = []
        with suppress(FileNotFoundError), self.folder(path) as folder, os.scandir(folder) as found:
            for entry in found:
                if entry.is_dir(follow_symlinks=False):
                    below.append(entry.name)
                else:
                    os.unlink(entry.name, dir_fd=folder)
        return below

    def _prune(self, paths: Iterable[Sequence[str]]) -> None:
        """Remove the folders above these paths that are empty, the tenants' own not. rmdir refuses
        what an upload has just filled; an upload whose folder goes away makes it anew."""
        folders = {tuple(path[:-1]) for path in paths}
        while folders:
            above = set()
            for *parents, name in folders:
                if parents and self._pruned(parents, name):
                    above.add(tuple(parents))
            folders = above

    def _pruned(self, parents: Sequence[str], name: str) -> bool:
        try:
            with self.folder(parents) as parent:
                os.rmdir(name, dir_fd=parent)
        except OSError as error:
            return error.errno == errno.ENOENT  # another deletion's, which may end before it is up
        return True

    def walk(self, tenant: str, folder: str, after: str) -> Iterator[StoredKey]:
        """The files below a folder whose keys come after `after`, in order. The names in the
        folders that lead to the current one are in memory."""
        levels = [self._sorted(tenant, folder)]
        while levels:
            entry = next(levels[-1], None)
            if entry is None:
                levels.pop()
                continue
            key, found = entry
            if found is None:
                if f"{key}0" > after:
                    levels.append(self._sorted(tenant, key))
            elif key > after:
                yield StoredKey(key, found.st_size, milliseconds(found))

    def _sorted(self, tenant: str, folder: str) -> Iterator[tuple[str, os.stat_result | None]]:
        """The entries of a folder by their keys, in order."""
        entries = self.entries(key_segments(f"{tenant}/{folder}" if folder else tenant))
        # All that lies in a folder sorts by its name and a slash.
        entries.sort(key=lambda one: one[0] if one[1] else f"{one[0]}/")
        return ((f"{folder}/{name}" if folder else name, found) for name, found in entries)

    def entries(self, path: list[str]) -> list[tuple[str, os.stat_result | None]]:
        """The files in a folder with what is known of them, and the folders with None; none where
        there is no such folder."""
        found: list[tuple[str, os.stat_result | None]] = []
        with (
            suppress(NotFoundError),
            disk_errors(path),
            self.folder(path) as folder,
            os.scandir(folder) as entries,
        ):
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    found.append((entry.name, None))
                elif entry.is_file(follow_symlinks=False):
                    with suppress(FileNotFoundError):
                        found.append((entry.name, entry.stat(follow_symlinks=False)))
        return found

    def tenants(self) -> list[str]:
        try:
            with os.scandir(self.root) as entries:
                found = [one.name for one in entries if one.is_dir(follow_symlinks=False)]
        except FileNotFoundError:
            return []
        return [name for name in found if not name.startswith(".")]

    def check(self) -> None:
        try:
            name, file = self.begin([_CHECKS])
            file.close()
            self.delete([[UPLOADS, _CHECKS, name]])
        except OSError as error:
            raise UnavailableError(
                f"The artifact folder '{self.root}' cannot be written to"
                f" ({error.strerror}): check TRACKING_DATA_DIR and its permissions"
            ) from error

    def begin(self, folder: list[str], *, create: bool = True) -> tuple[str, BinaryIO]:
        """A new file in a folder below UPLOADS, by its name."""
        name = uuid.uuid4().hex
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        with self.folder([UPLOADS, *folder], create=create) as uploads:
            return name, open(os.open(name, flags, 0o600, dir_fd=uploads), "wb", buffering=0)

    def create(self, path: list[str], content: bytes | memoryview) -> os.stat_result:
        """A file that is there at once with all its content, in a new folder of its own, and on the
        disk. With half of the system calls, and of the waits for Python's lock that come with each,
        of a file that is staged. OSError, and nothing is left, where that can't be: the folder may
        be there, or the file system not know how."""
        *parents, own, name = path
        with self.folder(parents, create=True) as folder:
            os.mkdir(own, mode=0o700, dir_fd=folder)
            try:
                file = os.open(own, UNNAMED, 0o600, dir_fd=folder)
                try:
                    if os.write(file, content) != len(content):
                        raise OSError(errno.ENOSPC, "not all was written")
                    found = stamped(file)
                    os.link(
                        f"/proc/self/fd/{file}",
                        f"{own}/{name}",
                        src_dir_fd=folder,  # which makes Python follow the symlink
                        dst_dir_fd=folder,
                        follow_symlinks=True,
                    )
                    # Takes what came before in the file system's journal along: the file's name,
                    # and the folders that were made for it.
                    os.fsync(file)
                    return found
                finally:
                    os.close(file)
            except BaseException:
                with suppress(OSError):
                    os.unlink(f"{own}/{name}", dir_fd=folder)
                with suppress(OSError):
                    os.rmdir(own, dir_fd=folder)
                raise

    def publish(self, staged: list[str], path: list[str]) -> None:
        """Give a file below UPLOADS its place, in one step that readers can't see the middle of.

        Neither the file nor its folders are on the disk yet: that is the caller's business.
        """
        with self.folder([UPLOADS, *staged[:-1]]) as uploads:
            for _ in range(_PUBLISH_ATTEMPTS):
                with suppress(FileNotFoundError), self.folder(path[:-1], create=True) as folder:
                    _replace(staged[-1], uploads, path[-1], folder)
                    return
        raise FileNotFoundError(errno.ENOENT, "the folder was removed again and again")

    @contextmanager
    def folder(self, path: Sequence[str], *, create: bool = False) -> Iterator[int]:
        """A descriptor of a folder. OSError if a segment is missing, no folder, or a symlink."""
        descriptor = self._descriptor(path, create)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def _descriptor(self, path: Sequence[str], create: bool) -> int:
        descriptor, depth = self._nearest(path, create)
        for name in path[depth:]:
            parent = descriptor
            try:
                descriptor = _subfolder(parent, name, create=create)
            finally:
                os.close(parent)
        return descriptor

    def _nearest(self, path: Sequence[str], create: bool) -> tuple[int, int]:
        """The descriptor of the deepest folder on the way that can be had by one call, and how many
        segments lead to it: all of them, but where folders are to be made."""
        for depth in range(len(path), 0, -1):
            try:
                return self._at_once(path[:depth]), depth
            except FileNotFoundError:
                if not create:
                    raise
            except OSError:  # a symlink, or a system that does not tell
                break
        if create:
            # Artifacts are nobody else's on a shared machine.
            self.root.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.root.mkdir(mode=0o700, exist_ok=True)
        return os.open(self.root, os.O_RDONLY | os.O_DIRECTORY), 0

    def _at_once(self, path: Sequence[str]) -> int:
        """The descriptor by one call for all the segments, which follows symlinks; where the kernel
        then says that it lies is where it must lie. OSError where it does not, or can't be told."""
        real = "/".join([self._real_root, *path])
        descriptor = os.open(real, _FOLDER)
        try:
            if os.readlink(f"/proc/self/fd/{descriptor}") != real:
                raise OSError(errno.ELOOP, "a symlink leads there")
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor


class FileSource:
    """A file's bytes from its position on, as `app.artifacts.stores.object_reader` reads them."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file

    def read(self, size: int, /) -> bytes:
        return self.file.read(size)

    def read_cached(self, size: int, /) -> memoryview | None:
        if not hasattr(os, "RWF_NOWAIT"):  # not everywhere
            return None
        buffer = bytearray(size)
        try:
            count = os.preadv(self.file.fileno(), [buffer], self.file.tell(), os.RWF_NOWAIT)
        except OSError:  # what is wrong with the disk itself is met again by `read`
            return None
        self.file.seek(count, os.SEEK_CUR)
        return memoryview(buffer)[:count] if count else None

    def close(self) -> None:
        self.file.close()


def _subfolder(parent: int, name: str, *, create: bool) -> int:
    try:
        return os.open(name, _FOLDER, dir_fd=parent)
    except FileNotFoundError:
        if not create:
            raise
    with suppress(FileExistsError):
        os.mkdir(name, mode=0o700, dir_fd=parent)
    return os.open(name, _FOLDER, dir_fd=parent)


def _replace(name: str, uploads: int, target: str, folder: int) -> None:
    try:
        os.replace(name, target, src_dir_fd=uploads, dst_dir_fd=folder)
    except IsADirectoryError:
        # An empty folder, left where a deletion was cut short, is in nobody's way.
        with suppress(OSError):
            os.rmdir(target, dir_fd=folder)
        os.replace(name, target, src_dir_fd=uploads, dst_dir_fd=folder)


def stored(found: os.stat_result, checksum: str | None = None) -> StoredObject:
    # Time of the write and size, as web servers do: a look at the file can't tell its checksum.
    return StoredObject(found.st_size, f"{found.st_mtime_ns:x}-{found.st_size:x}", checksum)


def stamped(file: int) -> os.stat_result:
    """What is known of a file that is written. The kernel's own stamp is as coarse as its clock
    tick; the etag needs a finer one."""
    now = time.time_ns()
    os.utime(file, ns=(now, now))
    return os.fstat(file)


def milliseconds(found: os.stat_result) -> int:
    return found.st_mtime_ns // 1_000_000


@contextmanager
def disk_errors(path: Sequence[str], *, writing: bool = False) -> Iterator[None]:
    """The domain's errors for what the file system says about `path`."""
    key = "/".join(path[1:])
    try:
        yield
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise InvalidValueError(f"Invalid path: '{key}': a segment is too long") from error
        if error.errno in _FULL:
            log.warning("the artifact store is full: %s", error.strerror)
            raise InsufficientStorageError("The artifact store is full") from error
        if error.errno not in _NOT_THERE or (writing and error.errno == errno.ENOENT):
            unavailable = f"The artifact store could not use its disk: {error.strerror}"
            log.warning("%s", unavailable)
            raise UnavailableError(unavailable) from error
        if writing:
            raise ConflictError(
                f"Cannot store '{key}': it is a folder, or a part of its path is a file",
                field="path",
            ) from error
        raise ArtifactNotFoundError(key, field=None) from error
