"""Uploads to a local store: whole objects, and multipart uploads.

Unfinished uploads lie in `.uploads/<tenant>/`: a file for each `put`, a folder for each multipart
upload. The folder holds a file `key` with the upload's key, and each part in a file named by its
number and etag; a part that is sent again replaces the one before.
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

from app.artifacts.stores.blocking.directory_tree import (
    UPLOADS,
    DirectoryTree,
    milliseconds,
    stamp,
    stored,
)
from app.artifacts.stores.blocking.disk_errors import disk_errors
from app.artifacts.stores.values import Part, StoredObject, UnfinishedUpload
from app.kernel.errors import InvalidValueError, NotFoundError, UploadNotFoundError

_KEY = "key"
_UPLOAD_ID = re.compile(r"[0-9a-f]{32}")
_ETAG = re.compile(r"[0-9a-f]{64}")
STEP_BYTES = 64 << 20
_DIRECT_BYTES = 1 << 20
_O_DIRECT: int = getattr(os, "O_DIRECT", 0)  # not every system has it
_COPY_UNSUPPORTED = (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP)


class StagedFile:
    """A new file below UPLOADS, in the folder `parents`, that receives an upload's bytes."""

    def __init__(
        self, tree: DirectoryTree, parents: list[str], *, create_folder: bool = True
    ) -> None:
        self.name, self.file = tree.create_staged(parents, create_folder=create_folder)
        self._tree = tree
        self._parents = parents
        self._direct = False

    @property
    def path(self) -> list[str]:
        return [*self._parents, self.name]

    def write(self, part: memoryview) -> None:
        """Appends a part. Large parts bypass the page cache (O_DIRECT) where the file system
        supports it: this costs no CPU time, leaves less to sync, and does not evict other pages
        from memory.
        """
        if len(part) >= _DIRECT_BYTES and len(part) % mmap.PAGESIZE == 0:
            with suppress(OSError):  # an error of the disk itself occurs again below
                self._set_direct(True)
                part = part[self.file.write(part) :]
        if part:
            with suppress(OSError):
                self._set_direct(False)
            # An unbuffered file may write less than it is given.
            while part:
                part = part[self.file.write(part) :]

    def _set_direct(self, on: bool) -> None:
        if on != self._direct:
            flags = fcntl.fcntl(self.file, fcntl.F_GETFL)
            fcntl.fcntl(self.file, fcntl.F_SETFL, flags | _O_DIRECT if on else flags & ~_O_DIRECT)
            self._direct = on

    def remove(self) -> None:
        """Closes and deletes the file. Does not raise."""
        with suppress(OSError):  # some disks report a failed write only here
            self.file.close()
        with suppress(OSError), self._tree.folder([UPLOADS, *self._parents]) as folder:
            os.unlink(self.name, dir_fd=folder)


class ObjectUpload:
    """A whole object: written to a staged file, then moved to `path`."""

    def __init__(self, tree: DirectoryTree, path: list[str]) -> None:
        self._tree = tree
        self._path = path
        self._staged: StagedFile | None = None

    def write(self, part: memoryview, number: int = 1) -> None:
        self._tree.reserve.check(len(part))
        with disk_errors(self._path, writing=True):
            self._staged_file().write(part)

    def finish(self, sha256: str | None = None) -> StoredObject:
        with disk_errors(self._path, writing=True):
            staged = self._staged_file()
            with staged.file as file:
                found = stored(stamp(file.fileno()), sha256)
                self._tree.publish(staged.path, self._path)
                # Also syncs the file's name and folders, as in DirectoryTree.create.
                os.fsync(file.fileno())
                return found

    def abort(self) -> None:
        if self._staged is not None:
            self._staged.remove()

    def append(self, source: BinaryIO, size: int) -> int:
        """Appends up to `size` bytes of another file, from its position on, and returns how many it
        appended; 0 at the file's end. The file system shares the blocks where it can (XFS, Btrfs),
        else the kernel copies them."""
        with disk_errors(self._path, writing=True):
            self._tree.reserve.check(os.fstat(source.fileno()).st_size - source.tell())
            target = self._staged_file().file
            try:
                return os.copy_file_range(source.fileno(), target.fileno(), size)
            except OSError as error:
                if error.errno not in _COPY_UNSUPPORTED:
                    raise
            part = source.read(min(size, _DIRECT_BYTES))
            self._staged_file().write(memoryview(part))
            return len(part)

    def sync(self) -> None:
        """Syncs what is written so far. A sync also waits for everything that others wrote to the
        same disk before, so long uploads sync in steps."""
        with disk_errors(self._path, writing=True):
            os.fdatasync(self._staged_file().file.fileno())

    def _staged_file(self) -> StagedFile:
        if self._staged is None:
            self._staged = StagedFile(self._tree, self._path[:1])
        return self._staged


class SmallObjectUpload(ObjectUpload):
    """A small object whose bytes arrive in a single part."""

    _content: bytes | memoryview = b""

    def write(self, part: memoryview, number: int = 1) -> None:
        self._content = part

    def finish(self, sha256: str | None = None) -> StoredObject:
        self._tree.reserve.check(len(self._content))
        with suppress(OSError):  # an error of the disk itself occurs again below
            return stored(self._tree.create(self._path, self._content), sha256)
        super().write(memoryview(self._content))
        return super().finish(sha256)


class Assembly:
    """An object that is concatenated from other files, in short steps."""

    def __init__(self, upload: ObjectUpload, sources: Iterator[BinaryIO]) -> None:
        self._upload = upload
        self._sources = sources
        self._source: BinaryIO | None = None

    def step(self) -> StoredObject | None:
        """Copies up to 64 MiB. Returns the object once it is complete and published, else None."""
        left = STEP_BYTES
        while left > 0:
            if self._source is None:
                self._source = next(self._sources, None)
            if self._source is None:
                return self._upload.finish()
            copied = self._upload.append(self._source, left)
            left -= copied
            if not copied:
                self._close_source()
        self._upload.sync()
        return None

    def abort(self) -> None:
        """Deletes what was written. Does not raise."""
        self._close_source()
        self._upload.abort()

    def _close_source(self) -> None:
        source, self._source = self._source, None
        if source is not None:
            with suppress(OSError):  # it was only read
                source.close()


class PartUpload:
    """A part, written into the folder of its multipart upload, which must exist."""

    def __init__(
        self, uploads: "LocalMultipartUploads", tenant: str, upload_id: str, number: int
    ) -> None:
        self._uploads = uploads
        self._folder = [tenant, upload_id]
        self._number = number
        self._staged: StagedFile | None = None
        self._size = 0

    def write(self, part: memoryview, number: int = 1) -> None:
        self._uploads.tree.reserve.check(len(part))
        with disk_errors(self._folder):
            self._staged_file().write(part)
        self._size += len(part)

    def finish(self, sha256: str) -> StoredObject:
        with disk_errors(self._folder):
            staged = self._staged_file()
            staged.file.close()
            with self._uploads.tree.folder([UPLOADS, *self._folder]) as folder:
                # Of two uploads of the same part at once, neither must remove the other's file.
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

    def _staged_file(self) -> StagedFile:
        if self._staged is None:
            self._staged = StagedFile(self._uploads.tree, self._folder, create_folder=False)
        return self._staged


class LocalMultipartUploads:
    """Creates, completes, lists and removes multipart uploads."""

    def __init__(self, tree: DirectoryTree) -> None:
        self.tree = tree

    def create(self, path: list[str]) -> str:
        """The id of a new upload for `path`."""
        tenant, key = path[0], "/".join(path[1:])
        upload_id = uuid.uuid4().hex
        self.tree.reserve.check(0)
        with disk_errors(path, writing=True):
            name, file = self.tree.create_staged([tenant, upload_id])
            with file:
                file.write(key.encode())
            with self.tree.folder([UPLOADS, tenant, upload_id]) as folder:
                os.replace(name, _KEY, src_dir_fd=folder, dst_dir_fd=folder)
        return upload_id

    def check(self, path: list[str], upload_id: str) -> None:
        """Raises NotFoundError where there is no upload of that id for that path."""
        if self._read_key(path[0], upload_id) != "/".join(path[1:]):
            raise UploadNotFoundError(upload_id)

    def assembly(self, path: list[str], upload_id: str, parts: Sequence[Part]) -> Assembly:
        """Makes the upload's object from its parts."""
        sources = (self._open_part(path[0], upload_id, part) for part in parts)
        return Assembly(ObjectUpload(self.tree, path), sources)

    def remove(self, tenant: str, upload_id: str) -> None:
        """Deletes a multipart upload, or the staged file of a `put`."""
        if not _UPLOAD_ID.fullmatch(upload_id):
            return
        path = [UPLOADS, tenant, upload_id]
        with suppress(NotFoundError), disk_errors(path), self.tree.folder(path[:-1]) as folder:
            try:
                os.unlink(upload_id, dir_fd=folder)
            except IsADirectoryError:
                shutil.rmtree(upload_id, dir_fd=folder)

    def unfinished(self, tenant: str) -> Iterator[UnfinishedUpload]:
        """The tenant's multipart uploads and staged files."""
        for upload_id, file in self.tree.entries([UPLOADS, tenant]):
            if file is not None:
                yield UnfinishedUpload(upload_id, None, milliseconds(file))
                continue
            parts = self.tree.entries([UPLOADS, tenant, upload_id])
            times = [milliseconds(part) for _, part in parts if part is not None]
            with suppress(NotFoundError):
                yield UnfinishedUpload(
                    upload_id, self._read_key(tenant, upload_id), max(times, default=0)
                )

    def _read_key(self, tenant: str, upload_id: str) -> str | None:
        """The key that an upload is for; None where there is no such upload."""
        if not _UPLOAD_ID.fullmatch(upload_id):
            return None
        path = [UPLOADS, tenant, upload_id, _KEY]
        with suppress(NotFoundError):
            file, _ = self.tree.open(path)
            with disk_errors(path), file:
                return file.read().decode()
        return None

    def _open_part(self, tenant: str, upload_id: str, part: Part) -> BinaryIO:
        with suppress(NotFoundError):
            if _ETAG.fullmatch(part.etag):
                return self.tree.open([UPLOADS, tenant, upload_id, _part_name(part)])[0]
        raise InvalidValueError(
            f"Part {part.number} was not uploaded with the ETag '{part.etag[:100]}'", field="parts"
        )


def _part_name(part: Part) -> str:
    return f"{part.number:05}-{part.etag}"
