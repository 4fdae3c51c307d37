"""Artifacts in a local folder: `root/<tenant>/<key>`, as anyone would lay them out by hand.

Folders are reached by descriptor, one segment at a time and never through a symlink, so that
nothing planted in the tree leads out of it. The root itself may be one: the operator's choice.
"""

import errno
import os
import stat
import time
import uuid
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from app.artifacts.paths import key_segments
from app.artifacts.store import (
    ArtifactStore,
    ObjectReader,
    StoredObject,
    Threads,
    batched,
    clamped,
    in_parts,
    receive,
)
from app.errors import ConflictError, InvalidValueError, NotFoundError, UnavailableError

_PART_BYTES = 4 << 20  # few hops to a thread; two of these are in memory during an upload
_THREADS = 8

# No tenant's slug starts with a dot. Inside the root, since a rename can't leave its file system.
_UPLOADS = ".uploads"

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
# O_NONBLOCK: opening a FIFO that somebody planted must not hang.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK

_NOT_THERE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EISDIR)
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

# How often an upload makes its folders anew when deletions prune them at the same moment.
_PUBLISH_ATTEMPTS = 100


class LocalStore(ArtifactStore):
    """`root` is made when first written to."""

    def __init__(self, root: Path) -> None:
        self._tree = _Tree(root)
        self._threads = Threads(_THREADS)

    async def put(
        self,
        tenant: str,
        key: str,
        body: AsyncIterator[bytes],
        *,
        content_length: int | None,
        content_type: str,
    ) -> StoredObject:
        upload = _FileUpload(self._tree, _path(tenant, key))
        parts = in_parts(body, _PART_BYTES, content_length)
        return await receive(self._threads, upload, parts)

    async def open(
        self, tenant: str, key: str, *, start: int = 0, end: int | None = None
    ) -> ObjectReader:
        file, stored = await self._threads.run(self._tree.open, _path(tenant, key), start)
        return ObjectReader(self._threads, file, stored, *clamped(start, end, stored.size))

    async def stat(self, tenant: str, key: str) -> StoredObject | None:
        return await self._threads.run(self._tree.stat, _path(tenant, key))

    async def delete(self, tenant: str, keys: Sequence[str]) -> None:
        paths = [_path(tenant, key) for key in keys]
        await self._threads.run(self._tree.delete, paths)

    async def keys(self, tenant: str) -> AsyncIterator[tuple[str, int]]:
        async for found in batched(self._threads, self._tree.walk(tenant)):
            yield found

    async def check(self) -> None:
        await self._threads.run(self._tree.check)

    async def close(self) -> None:
        await self._threads.close()


def _path(tenant: str, key: str) -> list[str]:
    return key_segments(f"{tenant}/{key}")


class _Tree:
    """The blocking work on the folder. A path is the list of its segments below the root."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def open(self, path: list[str], start: int) -> tuple[BinaryIO, StoredObject]:
        with _disk_errors(path), self.folder(path[:-1]) as folder:
            descriptor = os.open(path[-1], _FILE, dir_fd=folder)
            try:
                found = os.fstat(descriptor)
                if not stat.S_ISREG(found.st_mode):
                    raise FileNotFoundError(errno.ENOENT, "not a file")
                os.lseek(descriptor, start, os.SEEK_SET)
            except BaseException:
                os.close(descriptor)
                raise
            return open(descriptor, "rb", buffering=0), _stored(found)

    def stat(self, path: list[str]) -> StoredObject | None:
        try:
            with _disk_errors(path), self.folder(path[:-1]) as folder:
                found = os.stat(path[-1], dir_fd=folder, follow_symlinks=False)
        except NotFoundError:
            return None
        return _stored(found) if stat.S_ISREG(found.st_mode) else None

    def delete(self, paths: list[list[str]]) -> None:
        for path in paths:
            with suppress(NotFoundError), _disk_errors(path), self.folder(path[:-1]) as folder:
                os.unlink(path[-1], dir_fd=folder)
        self._prune({tuple(path[:depth]) for path in paths for depth in range(2, len(path))})

    def _prune(self, folders: Iterable[tuple[str, ...]]) -> None:
        """Remove those that are empty, deepest first. rmdir refuses what an upload has just filled;
        an upload whose folder goes away makes it anew."""
        for *parents, name in sorted(folders, key=len, reverse=True):
            with suppress(OSError), self.folder(parents) as parent:
                os.rmdir(name, dir_fd=parent)

    def walk(self, tenant: str) -> Iterator[tuple[str, int]]:
        """Key and size of every file. One folder is open at a time, however deep the tree is."""
        pending = [key_segments(tenant)]
        while pending:
            path = pending.pop()
            with (
                suppress(NotFoundError),
                _disk_errors(path),
                self.folder(path) as folder,
                os.scandir(folder) as entries,
            ):
                for entry in entries:
                    below = [*path, entry.name]
                    if entry.is_dir(follow_symlinks=False):
                        pending.append(below)
                    elif entry.is_file(follow_symlinks=False):
                        with suppress(FileNotFoundError):
                            size = entry.stat(follow_symlinks=False).st_size
                            yield "/".join(below[1:]), size

    def check(self) -> None:
        try:
            name, file = self.begin()
            file.close()
            self.discard(name)
        except OSError as error:
            raise UnavailableError(
                f"The artifact folder '{self._root}' cannot be written to"
                f" ({error.strerror}): check TRACKING_DATA_DIR and its permissions"
            ) from error

    def begin(self) -> tuple[str, BinaryIO]:
        """A new temporary file, by name."""
        # Artifacts are nobody else's on a shared machine.
        self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
        name = uuid.uuid4().hex
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        with self.folder([_UPLOADS], create=True) as uploads:
            return name, open(os.open(name, flags, 0o600, dir_fd=uploads), "wb")

    def publish(self, name: str, path: list[str]) -> None:
        """Give the temporary file its place, in one step that readers can't see the middle of."""
        with self.folder([_UPLOADS]) as uploads:
            for _ in range(_PUBLISH_ATTEMPTS):
                with suppress(FileNotFoundError), self.folder(path[:-1], create=True) as folder:
                    self._replace(name, uploads, path[-1], folder)
                    os.fsync(folder)
                    return
        raise FileNotFoundError(errno.ENOENT, "the folder was removed again and again")

    @staticmethod
    def _replace(name: str, uploads: int, target: str, folder: int) -> None:
        try:
            os.replace(name, target, src_dir_fd=uploads, dst_dir_fd=folder)
        except IsADirectoryError:
            # An empty folder, left where a deletion was cut short, is in nobody's way.
            with suppress(OSError):
                os.rmdir(target, dir_fd=folder)
            os.replace(name, target, src_dir_fd=uploads, dst_dir_fd=folder)

    def discard(self, name: str) -> None:
        with suppress(FileNotFoundError), self.folder([_UPLOADS]) as uploads:
            os.unlink(name, dir_fd=uploads)

    @contextmanager
    def folder(self, path: Sequence[str], *, create: bool = False) -> Iterator[int]:
        """A descriptor of a folder. OSError if a segment is missing, no folder, or a symlink."""
        descriptor = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY)
        try:
            for name in path:
                child = _subfolder(descriptor, name, create=create)
                os.close(descriptor)
                descriptor = child
            yield descriptor
        finally:
            os.close(descriptor)


def _subfolder(parent: int, name: str, *, create: bool) -> int:
    try:
        return os.open(name, _FOLDER, dir_fd=parent)
    except FileNotFoundError:
        if not create:
            raise
    with suppress(FileExistsError):
        os.mkdir(name, dir_fd=parent)
        os.fsync(parent)  # else a power cut takes the folder, and what was acknowledged inside it
    return os.open(name, _FOLDER, dir_fd=parent)


class _FileUpload:
    """A temporary file that becomes the object at `path`."""

    def __init__(self, tree: _Tree, path: list[str]) -> None:
        self._tree = tree
        self._path = path
        self._name = ""
        self._file: BinaryIO | None = None

    def write(self, part: bytearray) -> None:
        with _disk_errors(self._path, writing=True):
            self._opened().write(part)
        part.clear()

    def finish(self) -> StoredObject:
        with _disk_errors(self._path, writing=True), self._opened() as file:
            file.flush()
            # The kernel's own stamp is as coarse as its clock tick; the etag needs a finer one.
            now = time.time_ns()
            os.utime(file.fileno(), ns=(now, now))
            os.fsync(file.fileno())
            stored = _stored(os.fstat(file.fileno()))
            self._tree.publish(self._name, self._path)
            return stored

    def abort(self) -> None:
        if self._file is not None:
            with suppress(OSError):  # a full disk: what is buffered can't be written either
                self._file.close()
            with suppress(OSError):
                self._tree.discard(self._name)

    def _opened(self) -> BinaryIO:
        if self._file is None:
            self._name, self._file = self._tree.begin()
        return self._file


def _stored(found: os.stat_result) -> StoredObject:
    # Time of the write and size, as web servers do: a checksum would cost more than the copy.
    return StoredObject(found.st_size, f"{found.st_mtime_ns:x}-{found.st_size:x}")


@contextmanager
def _disk_errors(path: Sequence[str], *, writing: bool = False) -> Iterator[None]:
    """The domain's errors for what the file system says about `path`."""
    key = "/".join(path[1:])
    try:
        yield
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise InvalidValueError(f"Invalid path: '{key}': a segment is too long") from error
        if error.errno in _FULL:
            raise UnavailableError("The artifact store is full") from error
        if error.errno not in _NOT_THERE or (writing and error.errno == errno.ENOENT):
            raise UnavailableError(
                f"The artifact store could not use its disk: {error.strerror}"
            ) from error
        if writing:
            raise ConflictError(
                f"Cannot store '{key}': it is a folder, or a part of its path is a file",
                field="path",
            ) from error
        raise NotFoundError(f"No such artifact: '{key}'") from error
