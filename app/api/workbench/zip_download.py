"""A folder of artifacts as a ZIP file, made while it is sent: memory stays flat for any size."""

import logging
import time
import zipfile
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from app.artifacts.entities import Artifact
from app.artifacts.service import Artifacts
from app.artifacts.stores.object_reader import ObjectReader
from app.artifacts.transfer_limits import Slot, unless_stalled_sending
from app.kernel.errors import NotFoundError, StalledError, UnavailableError
from app.kernel.fair_thread_pool import FairThreadPool
from app.kernel.tenant import Tenant

log = logging.getLogger(__name__)

# Models and plots are compressed already; more effort would cost time and gain nothing.
_LEVEL = 1

_threads = FairThreadPool(4)  # to compress in


class ArchiveResponse(StreamingResponse):
    """Streams a ZIP file within one of the tenant's transfers, which is given back however the
    answer ends: also where the client stands still, or the store fails. Then the connection is
    closed for an answer that is not complete."""

    media_type = "application/zip"

    def __init__(
        self, chunks: AsyncGenerator[bytes, None], slot: Slot, headers: Mapping[str, str]
    ) -> None:
        super().__init__(chunks, headers=headers)
        self._chunks = chunks
        self._slot = slot

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            async with aclosing(self._chunks):
                await super().__call__(scope, receive, unless_stalled_sending(send))
        except (StalledError, UnavailableError) as error:
            log.warning("%s %s: %s", scope["method"], scope["path"], error)
        finally:
            self._slot.give_back()


class _Sink:
    """What zipfile writes to: it keeps the bytes until they are taken.

    It cannot seek, so zipfile puts sizes and checksums behind the data.
    """

    def __init__(self) -> None:
        self._chunks: list[bytes] = []

    def write(self, chunk: bytes, /) -> int:
        self._chunks.append(bytes(chunk))
        return len(chunk)

    def flush(self) -> None:
        """Nothing waits: what is written can be taken."""

    def close(self) -> None:
        """The last bytes can still be taken."""

    def take(self) -> bytes:
        taken = b"".join(self._chunks)
        self._chunks.clear()
        return taken


async def zipped(
    artifacts: Artifacts, tenant: Tenant, slot: Slot, folder: str, files: AsyncIterator[Artifact]
) -> AsyncGenerator[bytes, None]:
    """The chunks of a ZIP file of `files`, named by their paths below `folder`.

    A file that is deleted in the meantime is left out. Raises UnavailableError where another one
    cannot be read to its end; what came until then is no ZIP file.
    """
    threads = _threads.of(tenant.slug)
    sink = _Sink()
    archive = zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED, compresslevel=_LEVEL)
    async for file in files:
        reader = await _opened(artifacts, tenant, slot, file)
        if reader is None:
            continue
        async with reader:
            member = _member(file, reader.stored.size, folder)
            with archive.open(member, "w") as target:
                async for chunk in reader:
                    # Compressing a chunk takes milliseconds that others would wait.
                    await threads.run(target.write, chunk)
                    yield sink.take()
        yield sink.take()
    archive.close()
    yield sink.take()


async def _opened(
    artifacts: Artifacts, tenant: Tenant, slot: Slot, file: Artifact
) -> ObjectReader | None:
    """None where the file was deleted."""
    try:
        return await artifacts.open(tenant, file, slot=slot)
    except NotFoundError:
        try:
            await artifacts.get(tenant, file.path)
        except NotFoundError:
            return None
        raise UnavailableError(f"The artifact store has lost '{file.path}'") from None


def _member(file: Artifact, size: int, folder: str) -> zipfile.ZipInfo:
    moment = time.gmtime(file.updated_time // 1000)
    member = zipfile.ZipInfo(file.path.removeprefix(f"{folder}/"), moment[:6])
    member.compress_type = zipfile.ZIP_DEFLATED
    member.external_attr = 0o644 << 16  # zipfile's own choice is readable by its owner only
    member.file_size = size  # beyond 2 GiB, zipfile must know before it starts
    return member
