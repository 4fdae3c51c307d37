"""Artifacts in a local folder: `root/<tenant>/<key>`, as anyone would lay them out by hand."""

import os
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from pathlib import Path

from app.artifacts.paths import key_segments
from app.artifacts.stores.checksums import Digest
from app.artifacts.stores.contract import (
    ArtifactStore,
    Part,
    StoredKey,
    StoredObject,
    UnfinishedUpload,
)
from app.artifacts.stores.local_tree import FileSource, Tree
from app.artifacts.stores.local_upload import (
    Assembly,
    FileUpload,
    LocalUploads,
    PartUpload,
    WholeFile,
)
from app.artifacts.stores.object_reader import ObjectReader, clamped
from app.artifacts.stores.upload_buffers import Buffers, UploadMemory
from app.artifacts.stores.upload_stream import is_small, receive
from app.kernel.errors import UnavailableError
from app.kernel.fair_thread_pool import FairThreadPool

# Few hops to a thread, and where memory is short still long writes to the disk.
_PART_BYTES = (4 << 20, 1 << 20)
_THREADS = 16  # most of what they wait for is the disk's sync
_DELETED_AT_ONCE = 50  # each may leave hundreds of empty folders, which go with it
_SIGNING_KEY_BYTES = 32
_NOBODY = ""  # whose work it is that is done for no tenant


class LocalStore(ArtifactStore):
    """`root` is made when first written to. Beside it lies the key that signs URLs."""

    takes_parts = True
    takes_parts_directly = False

    def __init__(self, root: Path, *, reserve_bytes: int | None = None) -> None:
        self._tree = Tree(root, reserve_bytes)
        self._uploads = LocalUploads(self._tree)
        self._threads = FairThreadPool(_THREADS)
        self.memory = UploadMemory()

    async def put(
        self,
        tenant: str,
        key: str,
        body: AsyncIterator[bytes],
        *,
        content_length: int | None,
        content_type: str,
        digests: Sequence[Digest] = (),
    ) -> StoredObject:
        await self._check_room(tenant, content_length)
        kind = WholeFile if is_small(content_length) else FileUpload
        return await receive(
            self._threads.of(tenant),
            kind(self._tree, _path(tenant, key)),
            body,
            buffers=self._buffers(tenant, content_length),
            content_length=content_length,
            digests=digests,
        )

    def _buffers(self, tenant: str, content_length: int | None) -> Buffers:
        return self.memory.of(tenant, [min(size, content_length or size) for size in _PART_BYTES])

    async def _check_room(self, tenant: str, content_length: int | None) -> None:
        """Refuse what can't fit before it is sent. What is small is all there by then; what is of
        unknown length is checked as it comes, as all is that is written."""
        if content_length is not None and not is_small(content_length):
            await self._threads.of(tenant).run(self._tree.reserve.check, content_length)

    async def open(
        self, tenant: str, key: str, *, start: int = 0, end: int | None = None
    ) -> ObjectReader:
        threads = self._threads.of(tenant)
        file, stored = await threads.run(self._tree.open, _path(tenant, key), start)
        source = FileSource(file)
        return ObjectReader(threads, source, stored, *clamped(start, end, stored.size))

    async def stat(self, tenant: str, key: str) -> StoredObject | None:
        return await self._threads.of(tenant).run(self._tree.stat, _path(tenant, key))

    async def copy(self, tenant: str, source: str, target: str) -> StoredObject:
        sources = (self._tree.open(path)[0] for path in [_path(tenant, source)])
        upload = FileUpload(self._tree, _path(tenant, target))
        return await self._assemble(tenant, Assembly(upload, sources))

    async def _assemble(self, tenant: str, assembly: Assembly) -> StoredObject:
        threads = self._threads.of(tenant)
        try:
            while (stored := await threads.run(assembly.step)) is None:
                pass
            return stored
        except BaseException:
            await threads.run(assembly.abort)
            raise

    async def delete(self, tenant: str, keys: Sequence[str]) -> None:
        paths = [_path(tenant, key) for key in keys]
        for at in range(0, len(paths), _DELETED_AT_ONCE):
            some = paths[at : at + _DELETED_AT_ONCE]
            await self._threads.of(tenant).run(self._tree.delete, some)

    async def delete_below(self, tenant: str, folder: str) -> None:
        await self._threads.of(tenant).run(self._tree.delete_folder, _path(tenant, folder))

    async def keys(
        self, tenant: str, *, folder: str = "", after: str = ""
    ) -> AsyncIterator[StoredKey]:
        async for found in self._threads.of(tenant).batched(self._tree.walk(tenant, folder, after)):
            yield found

    async def tenants(self) -> list[str]:
        return await self._threads.of(_NOBODY).run(self._tree.tenants)

    async def create_upload(self, tenant: str, key: str, *, content_type: str) -> str:
        return await self._threads.of(tenant).run(self._uploads.create, _path(tenant, key))

    async def part_url(
        self, tenant: str, key: str, upload_id: str, number: int, *, seconds: int
    ) -> None:
        return None

    async def put_part(
        self,
        tenant: str,
        key: str,
        upload_id: str,
        number: int,
        body: AsyncIterator[bytes],
        *,
        content_length: int | None,
        digests: Sequence[Digest] = (),
    ) -> str:
        await self._threads.of(tenant).run(self._uploads.check, _path(tenant, key), upload_id)
        await self._check_room(tenant, content_length)
        part = await receive(
            self._threads.of(tenant),
            PartUpload(self._uploads, tenant, upload_id, number),
            body,
            buffers=self._buffers(tenant, content_length),
            content_length=content_length,
            digests=digests,
        )
        return part.etag

    async def complete_upload(
        self, tenant: str, key: str, upload_id: str, parts: Sequence[Part]
    ) -> StoredObject:
        path, threads = _path(tenant, key), self._threads.of(tenant)
        await threads.run(self._uploads.check, path, upload_id)
        try:
            assembly = self._uploads.assembly(path, upload_id, parts)
            completed = await self._assemble(tenant, assembly)
        except Exception:
            # Another attempt may just have completed the upload, and taken the parts away.
            await threads.run(self._uploads.check, path, upload_id)
            raise
        await threads.run(self._uploads.remove, tenant, upload_id)
        return completed

    async def abort_upload(self, tenant: str, key: str, upload_id: str) -> None:
        key_segments(key)
        await self._threads.of(tenant).run(self._uploads.remove, tenant, upload_id)

    async def unfinished(self, tenant: str) -> AsyncIterator[UnfinishedUpload]:
        async for found in self._threads.of(tenant).batched(self._uploads.unfinished(tenant)):
            yield found

    async def discard(self, tenant: str, upload: UnfinishedUpload) -> None:
        await self._threads.of(tenant).run(self._uploads.remove, tenant, upload.upload_id)

    async def object_url(self, tenant: str, key: str, *, disposition: str, seconds: int) -> None:
        return None

    def signing_key(self) -> bytes:
        path = self._tree.root.with_name("signing-key")
        try:
            with suppress(FileNotFoundError):
                return path.read_bytes()
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            new = path.with_name(f".signing-key-{secrets.token_hex(8)}")
            descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            try:
                with open(descriptor, "wb") as file:
                    file.write(secrets.token_bytes(_SIGNING_KEY_BYTES))
                # Another process may have been faster: its key is the one then.
                with suppress(FileExistsError):
                    os.link(new, path)
            finally:
                new.unlink()
            return path.read_bytes()
        except OSError as error:
            raise UnavailableError(
                f"The key that signs URLs cannot be read or written at '{path}': {error.strerror}"
            ) from error

    async def check(self) -> None:
        await self._threads.of(_NOBODY).run(self._tree.check)

    async def close(self) -> None:
        await self._threads.close()


def _path(tenant: str, key: str) -> list[str]:
    return key_segments(f"{tenant}/{key}")
