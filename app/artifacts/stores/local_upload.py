"""Uploads to a local store: whole files, and files in parts.

What is on its way lies in `.uploads/<tenant>/`: a file for a `put`, a folder for an upload in
parts. That holds its key, in a file `key`, and each part in a file named by its number and etag;
a part that is stored again takes the place of the one before.
"""

import errno
import fcntl
import mmap
import os
import re
import shutil
import uuid
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import BinaryIO

from app.artifacts.stores.contract import Part, StoredObject, UnfinishedUpload
from app.artifacts.stores.local_tree import (
    UPLOADS,
    Tree,
    disk_errors,
    milliseconds,
    stamped,
    stored,
)
from app.kernel.errors import InvalidValueError, NotFoundError, UploadNotFoundError

_KEY = "key"
_UPLOAD_ID = re.compile(r"[0-9a-f]{32}")
_ETAG = re.compile(r"[0-9a-f]{64}")
STEP_BYTES = 64 << 20
_DIRECT_BYTES = 1 << 20
_O_DIRECT: int = getattr(os, "O_DIRECT", 0)  # not everywhere
_NO_COPYING = (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP)


class StagedFile:
    """A new file below UPLOADS, in the folder `parents`, while its bytes come."""

    def __init__(self, tree: Tree, parents: list[str], *, create: bool = True) -> None:
        self.name, self.file = tree.begin(parents, create=create)
        self._tree = tree
        self._parents = parents
        self._direct = False

    @property
    def path(self) -> list[str]:
        return [*self._parents, self.name]

    def write(self, part: memoryview) -> None:
        """Large parts go past the page cache where the file system can: that takes no time of the
        CPU, leaves nothing for the sync at the end, and pushes nobody else's pages out of memory.
        """
        if len(part) >= _DIRECT_BYTES and len(part) % mmap.PAGESIZE == 0:
            with suppress(OSError):  # what is wrong with the disk itself is met again below
                self._set_direct(True)
                part = part[self.file.write(part) :]
        if part:
            with suppress(OSError):
                self._set_direct(False)
            # An unbuffered file may take less than it is given.
            while part:
                part = part[self.file.write(part) :]

    def _set_direct(self, on: bool) -> None:
        if on != self._direct:
            flags = fcntl.fcntl(self.file, fcntl.F_GETFL)
            fcntl.fcntl(self.file, fcntl.F_SETFL, flags | _O_DIRECT if on else flags & ~_O_DIRECT)
            self._direct = on

    def remove(self) -> None:
        """Does not raise."""
        with suppress(OSError):  # some disks tell only now what went wrong
            self.file.close()
        with suppress(OSError), self._tree.folder([UPLOADS, *self._parents]) as folder:
            os.unlink(self.name, dir_fd=folder)


class FileUpload:
    """A file below UPLOADS that gets its place at `path`."""

    def __init__(self, tree: Tree, path: list[str]) -> None:
        self._tree = tree
        self._path = path
        self._staged: StagedFile | None = None

    def write(self, part: memoryview, number: int = 1) -> None:
        self._tree.reserve.check(len(part))
        with disk_errors(self._path, writing=True):
            self._begun().write(part)

    def finish(self, sha256: str | None = None) -> StoredObject:
        with disk_errors(self._path, writing=True):
            staged = self._begun()
            with staged.file as file:
                found = stored(stamped(file.fileno()), sha256)
                self._tree.publish(staged.path, self._path)
                os.fsync(file.fileno())  # and its name and folders, as in Tree.create
                return found

    def abort(self) -> None:
        if self._staged is not None:
            self._staged.remove()

    def append(self, source: BinaryIO, size: int) -> int:
        """Take over up to so many of another file's bytes, from its position on: without copying
        them where the file system can share them (XFS, Btrfs), and else within the kernel. How many
        that were; 0 at its end."""
        with disk_errors(self._path, writing=True):
            self._tree.reserve.check(os.fstat(source.fileno()).st_size - source.tell())
            target = self._begun().file
            try:
                return os.copy_file_range(source.fileno(), target.fileno(), size)
            except OSError as error:
                if error.errno not in _NO_COPYING:
                    raise
            part = source.read(min(size, _DIRECT_BYTES))
            self._begun().write(memoryview(part))
            return len(part)

    def sync(self) -> None:
        """Have on the disk what there is. Whoever syncs a file waits for all that others wrote to
        the same disk before, too."""
        with disk_errors(self._path, writing=True):
            os.fdatasync(self._begun().file.fileno())

    def _begun(self) -> StagedFile:
        if self._staged is None:
            self._staged = StagedFile(self._tree, self._path[:1])
        return self._staged


class Assembly:
    """A file that is put together from others, in steps none of which takes long."""

    def __init__(self, upload: FileUpload, sources: Iterator[BinaryIO]) -> None:
        self._upload = upload
        self._sources = sources
        self._source: BinaryIO | None = None

    def step(self) -> StoredObject | None:
        """The file, once it has its place."""
        left = STEP_BYTES
        while left > 0:
            if self._source is None:
                self._source = next(self._sources, None)
            if self._source is None:
                return self._upload.finish()
            taken = self._upload.append(self._source, left)
            left -= taken
            if not taken:
                self._close()
        self._upload.sync()
        return None

    def abort(self) -> None:
        """Does not raise."""
        self._close()
        self._upload.abort()

    def _close(self) -> None:
        source, self._source = self._source, None
        if source is not None:
            with suppress(OSError):  # all of it has been read, or is not needed
                source.close()


class WholeFile(FileUpload):
    """A file all of whose bytes come at once, and are few."""

    _content: bytes | memoryview = b""

    def write(self, part: memoryview, number: int = 1) -> None:
        self._content = part

    def finish(self, sha256: str | None = None) -> StoredObject:
        self._tree.reserve.check(len(self._content))
        with suppress(OSError):  # what is wrong with the disk itself is met again below
            return stored(self._tree.create(self._path, self._content), sha256)
        super().write(memoryview(self._content))
        return super().finish(sha256)


class PartUpload:
    """A part on its way into the folder of its upload, which must be there."""

    def __init__(self, uploads: "LocalUploads", tenant: str, upload_id: str, number: int) -> None:
        self._uploads = uploads
        self._folder = [tenant, upload_id]
        self._number = number
        self._staged: StagedFile | None = None
        self._size = 0

    def write(self, part: memoryview, number: int = 1) -> None:
        self._uploads.tree.reserve.check(len(part))
        with disk_errors(self._folder):
            self._begun().write(part)
        self._size += len(part)

    def finish(self, sha256: str) -> StoredObject:
        with disk_errors(self._folder):
            staged = self._begun()
            staged.file.close()
            with self._uploads.tree.folder([UPLOADS, *self._folder]) as folder:
                # Two that come at once must not remove each other's.
                fcntl.flock(folder, fcntl.LOCK_EX)
                name = _part_name(Part(self._number, sha256))
                os.replace(staged.name, name, src_dir_fd=folder, dst_dir_fd=folder)
                for other in os.listdir(folder):
                    if other.startswith(_part_name(Part(self._number, ""))) and other != name:
                        os.unlink(other, dir_fd=folder)
        return StoredObject(self._size, sha256, sha256)

    def abort(self) -> None:
        if self._staged is not None:
            self._staged.remove()

    def _begun(self) -> StagedFile:
        if self._staged is None:
            self._staged = StagedFile(self._uploads.tree, self._folder, create=False)
        return self._staged


class LocalUploads:
    """The blocking work on uploads in parts."""

    def __init__(self, tree: Tree) -> None:
        self.tree = tree

    def create(self, path: list[str]) -> str:
        tenant, key = path[0], "/".join(path[1:])
        upload_id = uuid.uuid4().hex
        self.tree.reserve.check(0)
        with disk_errors(path, writing=True):
            name, file = self.tree.begin([tenant, upload_id])
            with file:
                file.write(key.encode())
            with self.tree.folder([UPLOADS, tenant, upload_id]) as folder:
                os.replace(name, _KEY, src_dir_fd=folder, dst_dir_fd=folder)
        return upload_id

    def check(self, path: list[str], upload_id: str) -> None:
        """Raises NotFoundError if there is no upload of that id and for that path."""
        if self._key(path[0], upload_id) != "/".join(path[1:]):
            raise UploadNotFoundError(upload_id)

    def assembly(self, path: list[str], upload_id: str, parts: Sequence[Part]) -> Assembly:
        """The upload's file, from its parts."""
        sources = (self._part(path[0], upload_id, part) for part in parts)
        return Assembly(FileUpload(self.tree, path), sources)

    def remove(self, tenant: str, upload_id: str) -> None:
        """Remove an upload in parts, or the file of a `put`."""
        if not _UPLOAD_ID.fullmatch(upload_id):
            return
        path = [UPLOADS, tenant, upload_id]
        with suppress(NotFoundError), disk_errors(path), self.tree.folder(path[:-1]) as folder:
            try:
                os.unlink(upload_id, dir_fd=folder)
            except IsADirectoryError:
                shutil.rmtree(upload_id, dir_fd=folder)

    def unfinished(self, tenant: str) -> Iterator[UnfinishedUpload]:
        for upload_id, file in self.tree.entries([UPLOADS, tenant]):
            if file is not None:
                yield UnfinishedUpload(upload_id, None, milliseconds(file))
                continue
            within = self.tree.entries([UPLOADS, tenant, upload_id])
            times = [milliseconds(part) for _, part in within if part is not None]
            with suppress(NotFoundError):
                yield UnfinishedUpload(
                    upload_id, self._key(tenant, upload_id), max(times, default=0)
                )

    def _key(self, tenant: str, upload_id: str) -> str | None:
        """The key that an upload is for; None if there is no such upload."""
        if not _UPLOAD_ID.fullmatch(upload_id):
            return None
        path = [UPLOADS, tenant, upload_id, _KEY]
        with suppress(NotFoundError):
            file, _ = self.tree.open(path)
            with disk_errors(path), file:
                return file.read().decode()
        return None

    def _part(self, tenant: str, upload_id: str, part: Part) -> BinaryIO:
        with suppress(NotFoundError):
            if _ETAG.fullmatch(part.etag):
                return self.tree.open([UPLOADS, tenant, upload_id, _part_name(part)])[0]
        raise InvalidValueError(
            f"Part {part.number} was not uploaded with the ETag '{part.etag[:100]}'", field="parts"
        )


def _part_name(part: Part) -> str:
    return f"{part.number:05}-{part.etag}"
