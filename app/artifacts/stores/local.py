"""Artifact store in a local folder: an object is the file `root/<tenant>/<key>`."""

from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from app.artifacts.stores.blocking.directory_tree import DirectoryTree
from app.artifacts.stores.blocking.file_source import FileSource
from app.artifacts.stores.blocking.local_uploads import (
    Assembly,
    LocalMultipartUploads,
    ObjectUpload,
    PartUpload,
    SmallObjectUpload,
)
from app.artifacts.stores.blocking.signing_key import read_or_create_key
from app.artifacts.stores.checksums import Digest
from app.artifacts.stores.contract import ArtifactStore
from app.artifacts.stores.object_reader import ObjectReader, clamped
from app.artifacts.stores.path_rules import key_segments
from app.artifacts.stores.upload_buffers import Buffers, UploadMemory
from app.artifacts.stores.upload_stream import is_small, write_body
from app.artifacts.stores.values import Part, StoredKey, StoredObject, UnfinishedUpload
from app.kernel.fair_thread_pool import FairThreadPool

# Large parts need few calls to threads; the smaller size, where memory is short, still makes for
# long writes to the disk.
_PART_BYTES = (4 << 20, 1 << 20)
_THREADS = 16  # they wait mostly for the disk to sync
_DELETIONS_PER_CALL = 50  # each may leave hundreds of empty folders to remove
_NO_TENANT = ""  # the threads' queue for work that is done for no tenant


class LocalStore(ArtifactStore):
    """`root` is created by the first write. The key that signs URLs is a file beside it."""

    takes_parts = True
    takes_parts_directly = False

    def __init__(self, root: Path, *, reserve_bytes: int | None = None) -> None:
        self._tree = DirectoryTree(root, reserve_bytes)
        self._uploads = LocalMultipartUploads(self._tree)
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
        upload = SmallObjectUpload if is_small(content_length) else ObjectUpload
        return await write_body(
            self._threads.of(tenant),
            upload(self._tree, _path(tenant, key)),
            body,
            buffers=self._buffers(tenant, content_length),
            content_length=content_length,
            digests=digests,
        )

    def _buffers(self, tenant: str, content_length: int | None) -> Buffers:
        return self.memory.of(tenant, [min(size, content_length or size) for size in _PART_BYTES])

    async def _check_room(self, tenant: str, content_length: int | None) -> None:
        """Raises InsufficientStorageError before the client sends a body that can't fit.

        A small body has arrived by now, and one of unknown length can't be judged: these are
        checked only when they are written, as all bodies are.
        """
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
        # A generator: the source is opened in a thread.
        sources = (self._tree.open(path)[0] for path in [_path(tenant, source)])
        upload = ObjectUpload(self._tree, _path(tenant, target))
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
        for at in range(0, len(paths), _DELETIONS_PER_CALL):
            batch = paths[at : at + _DELETIONS_PER_CALL]
            await self._threads.of(tenant).run(self._tree.delete, batch)

    async def delete_below(self, tenant: str, folder: str) -> None:
        await self._threads.of(tenant).run(self._tree.delete_folder, _path(tenant, folder))

    async def keys(
        self, tenant: str, *, folder: str = "", after: str = ""
    ) -> AsyncIterator[StoredKey]:
        async for found in self._threads.of(tenant).batched(self._tree.walk(tenant, folder, after)):
            yield found

    async def tenants(self) -> list[str]:
        return await self._threads.of(_NO_TENANT).run(self._tree.tenants)

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
        part = await write_body(
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
            # Raises NotFoundError where another attempt has completed the upload meanwhile, and
            # removed its parts.
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
        return read_or_create_key(self._tree.root.with_name("signing-key"))

    async def check(self) -> None:
        await self._threads.of(_NO_TENANT).run(self._tree.check)

    async def close(self) -> None:
        await self._threads.close()


def _path(tenant: str, key: str) -> list[str]:
    return key_segments(f"{tenant}/{key}")
