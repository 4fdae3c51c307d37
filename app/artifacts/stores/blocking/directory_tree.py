"""File operations below the folder of a local store.

Folders are opened by descriptor and never through a symlink, so that a symlink planted in the tree
does not lead out of it. The root itself may be a symlink: that is the operator's choice.
"""

import errno
import os
import stat
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from app.artifacts.stores.blocking.disk_errors import disk_errors
from app.artifacts.stores.blocking.disk_reserve import DiskReserve
from app.artifacts.stores.path_rules import key_segments
from app.artifacts.stores.values import StoredKey, StoredObject
from app.kernel.errors import NotFoundError, UnavailableError

# The folder of unfinished uploads. No tenant's slug starts with a dot. It is below the root, since
# a rename can't leave its file system.
UPLOADS = ".uploads"
_CHECKS = ".checks"

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
# O_NONBLOCK: opening a planted FIFO must not hang.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK

# Opens a file without a name, to be linked into the same folder later. Not every system has it.
UNNAMED: int = os.O_WRONLY | getattr(os, "O_TMPFILE", 0)

# How often an upload creates its folders again when deletions prune them at the same moment.
_PUBLISH_ATTEMPTS = 100


class DirectoryTree:
    """A path is the list of its segments below the root; the first is a tenant or UPLOADS."""

    def __init__(self, root: Path, reserve_bytes: int | None = None) -> None:
        self.root = root
        self.reserve = DiskReserve(root, reserve_bytes)
        self._real_root = os.path.realpath(root)

    def open(self, path: list[str], start: int = 0) -> tuple[BinaryIO, StoredObject]:
        """The file, opened at the byte `start`. Raises NotFoundError."""
        with disk_errors(path), self.folder(path[:-1]) as folder:
            descriptor = os.open(path[-1], _FILE, dir_fd=folder)
            try:
                found = os.fstat(descriptor)
                if not stat.S_ISREG(found.st_mode):
                    raise FileNotFoundError(errno.ENOENT, "not a file")
                os.lseek(descriptor, start, os.SEEK_SET)
                if hasattr(os, "posix_fadvise"):  # more read-ahead; not every system has it
                    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_SEQUENTIAL)
            except BaseException:
                os.close(descriptor)
                raise
            return open(descriptor, "rb", buffering=0), stored(found)

    def stat(self, path: list[str]) -> StoredObject | None:
        """The file's size and etag; None where there is no such file."""
        try:
            with disk_errors(path), self.folder(path[:-1]) as folder:
                found = os.stat(path[-1], dir_fd=folder, follow_symlinks=False)
        except NotFoundError:
            return None
        return stored(found) if stat.S_ISREG(found.st_mode) else None

    def delete(self, paths: Sequence[Sequence[str]]) -> None:
        """Deletes files, and the folders above them that are then empty."""
        for path in paths:
            with suppress(NotFoundError), disk_errors(path), self.folder(path[:-1]) as folder:
                os.unlink(path[-1], dir_fd=folder)
        self._prune(paths)

    def delete_folder(self, path: list[str]) -> None:
        """Deletes a folder with all that it holds; one that doesn't exist is no error."""
        with suppress(NotFoundError), disk_errors(path):
            self._remove_tree(tuple(path))
        self._prune([path])

    def _remove_tree(self, path: tuple[str, ...]) -> None:
        """Removes folder by folder, with at most two open descriptors, however deep the tree is."""
        pending = [path]
        while pending:
            folder = pending[-1]
            if below := self._remove_files(folder):
                pending.extend((*folder, name) for name in below)
                continue
            try:
                with self.folder(folder[:-1]) as parent:
                    os.rmdir(folder[-1], dir_fd=parent)
            except OSError as error:
                if error.errno == errno.ENOTEMPTY:  # an upload has just filled it
                    continue
                if error.errno != errno.ENOENT:
                    raise
            pending.pop()

    def _remove_files(self, path: Sequence[str]) -> list[str]:
        """Removes everything in a folder but its subfolders, and returns their names."""
        below = []
        with suppress(FileNotFoundError), self.folder(path) as folder, os.scandir(folder) as found:
            for entry in found:
                if entry.is_dir(follow_symlinks=False):
                    below.append(entry.name)
                else:
                    os.unlink(entry.name, dir_fd=folder)
        return below

    def _prune(self, paths: Iterable[Sequence[str]]) -> None:
        """Removes the empty folders above these paths, except the tenants' own. rmdir refuses a
        folder that an upload has just filled; an upload creates a pruned folder again."""
        folders = {tuple(path[:-1]) for path in paths}
        while folders:
            above = set()
            for *parents, name in folders:
                if parents and self._remove_if_empty(parents, name):
                    above.add(tuple(parents))
            folders = above

    def _remove_if_empty(self, parents: Sequence[str], name: str) -> bool:
        """Whether the folder is gone."""
        try:
            with self.folder(parents) as parent:
                os.rmdir(name, dir_fd=parent)
        except OSError as error:
            # ENOENT: another deletion removed it, and may stop before it has removed the parents.
            return error.errno == errno.ENOENT
        return True

    def walk(self, tenant: str, folder: str, after: str) -> Iterator[StoredKey]:
        """The files below a folder whose keys sort after `after`, in order. Holds in memory the
        names in the folders on the way to the current one."""
        levels = [self._sorted_entries(tenant, folder)]
        while levels:
            entry = next(levels[-1], None)
            if entry is None:
                levels.pop()
                continue
            key, found = entry
            if found is None:
                if f"{key}0" > after:
                    levels.append(self._sorted_entries(tenant, key))
            elif key > after:
                yield StoredKey(key, found.st_size, milliseconds(found))

    def _sorted_entries(
        self, tenant: str, folder: str
    ) -> Iterator[tuple[str, os.stat_result | None]]:
        """The entries of a folder as (key, stat), in the order of the keys below them."""
        entries = self.entries(key_segments(f"{tenant}/{folder}" if folder else tenant))
        # The keys below a subfolder sort by its name and a slash.
        entries.sort(key=lambda entry: entry[0] if entry[1] else f"{entry[0]}/")
        return ((f"{folder}/{name}" if folder else name, found) for name, found in entries)

    def entries(self, path: list[str]) -> list[tuple[str, os.stat_result | None]]:
        """The entries of a folder: files as (name, stat), subfolders as (name, None). Empty where
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
        """The names of the folders directly below the root, except hidden ones."""
        try:
            with os.scandir(self.root) as entries:
                found = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
        except FileNotFoundError:
            return []
        return [name for name in found if not name.startswith(".")]

    def check(self) -> None:
        """Raises UnavailableError where the root can't be written to."""
        try:
            name, file = self.create_staged([_CHECKS])
            file.close()
            self.delete([[UPLOADS, _CHECKS, name]])
        except OSError as error:
            raise UnavailableError(
                f"The artifact folder '{self.root}' cannot be written to"
                f" ({error.strerror}): check TRACKING_DATA_DIR and its permissions"
            ) from error

    def create_staged(
        self, folder: list[str], *, create_folder: bool = True
    ) -> tuple[str, BinaryIO]:
        """A new file with a random name in a folder below UPLOADS, as (name, file)."""
        name = uuid.uuid4().hex
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        with self.folder([UPLOADS, *folder], create=create_folder) as uploads:
            return name, open(os.open(name, flags, 0o600, dir_fd=uploads), "wb", buffering=0)

    def create(self, path: list[str], content: bytes | memoryview) -> os.stat_result:
        """Creates a file with all its content, in a new folder of its own, and syncs it.

        Takes half of the system calls of a staged file, and half of the waits for Python's lock
        that come with them. Raises OSError, and leaves nothing, where that is impossible: the
        folder exists already, or the file system has no unnamed files.
        """
        *parents, own, name = path
        with self.folder(parents, create=True) as folder:
            os.mkdir(own, mode=0o700, dir_fd=folder)
            try:
                file = os.open(own, UNNAMED, 0o600, dir_fd=folder)
                try:
                    if os.write(file, content) != len(content):
                        raise OSError(errno.ENOSPC, "not all was written")
                    found = stamp(file)
                    os.link(
                        f"/proc/self/fd/{file}",
                        f"{own}/{name}",
                        src_dir_fd=folder,  # makes Python follow the symlink
                        dst_dir_fd=folder,
                        follow_symlinks=True,
                    )
                    # The file system's journal is in order: this sync also writes the file's name
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
        """Moves a file from below UPLOADS to its path, atomically for readers.

        Syncs nothing: the caller syncs the file, and with it the name and the folders.
        """
        with self.folder([UPLOADS, *staged[:-1]]) as uploads:
            for _ in range(_PUBLISH_ATTEMPTS):
                with suppress(FileNotFoundError), self.folder(path[:-1], create=True) as folder:
                    _replace(staged[-1], uploads, path[-1], folder)
                    return
        raise FileNotFoundError(errno.ENOENT, "the folder was removed again and again")

    @contextmanager
    def folder(self, path: Sequence[str], *, create: bool = False) -> Iterator[int]:
        """A descriptor of a folder. Raises OSError where a segment is missing, not a folder, or a
        symlink."""
        descriptor = self._open_folder(path, create)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def _open_folder(self, path: Sequence[str], create: bool) -> int:
        descriptor, depth = self._open_deepest(path, create)
        for name in path[depth:]:
            parent = descriptor
            try:
                descriptor = _open_subfolder(parent, name, create=create)
            finally:
                os.close(parent)
        return descriptor

    def _open_deepest(self, path: Sequence[str], create: bool) -> tuple[int, int]:
        """A descriptor of the deepest folder on the path that one call can open, and how many
        segments lead to it: all of them, unless folders have to be created."""
        for depth in range(len(path), 0, -1):
            try:
                return self._open_in_one_call(path[:depth]), depth
            except FileNotFoundError:
                if not create:
                    raise
            except OSError:  # a symlink, or a system without /proc
                break
        if create:
            # Other users of the machine must not read artifacts.
            self.root.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.root.mkdir(mode=0o700, exist_ok=True)
        return os.open(self.root, os.O_RDONLY | os.O_DIRECTORY), 0

    def _open_in_one_call(self, path: Sequence[str]) -> int:
        """Opens the folder by its whole path, which follows symlinks, and then compares the path
        that the kernel reports for the descriptor. Raises OSError where they differ."""
        real = "/".join([self._real_root, *path])
        descriptor = os.open(real, _FOLDER)
        try:
            if os.readlink(f"/proc/self/fd/{descriptor}") != real:
                raise OSError(errno.ELOOP, "a symlink leads there")
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor


def _open_subfolder(parent: int, name: str, *, create: bool) -> int:
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
        # An empty folder, left by a deletion that was interrupted, is removed.
        with suppress(OSError):
            os.rmdir(target, dir_fd=folder)
        os.replace(name, target, src_dir_fd=uploads, dst_dir_fd=folder)


def stored(found: os.stat_result, checksum: str | None = None) -> StoredObject:
    """A file as an object. Its etag is the time of the write and the size, as web servers make it:
    stat tells no checksum."""
    return StoredObject(found.st_size, f"{found.st_mtime_ns:x}-{found.st_size:x}", checksum)


def stamp(file: int) -> os.stat_result:
    """Sets a file's modification time to now, and returns its stat. The kernel's own timestamps are
    as coarse as its clock tick; the etag needs a finer one."""
    now = time.time_ns()
    os.utime(file, ns=(now, now))
    return os.fstat(file)


def milliseconds(found: os.stat_result) -> int:
    """When the file was modified, in milliseconds since 1970."""
    return found.st_mtime_ns // 1_000_000
