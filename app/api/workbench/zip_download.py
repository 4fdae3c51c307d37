"""Serves a folder of artifacts as a ZIP file that is made while it is sent, in constant memory."""

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

# Models and plots are compressed already: a higher level would cost time and gain nothing.
_LEVEL = 1

_threads = FairThreadPool(4)  # for compression


class ArchiveResponse(StreamingResponse):
    """Streams a ZIP file, and gives back its transfer slot however the response ends.

    Where the client stalls or the store fails, the server closes the connection of the incomplete
    response.
    """

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
    """The file that zipfile writes to; it holds the bytes until `take`.

    It can't seek, so zipfile writes sizes and checksums after the data.
    """

    def __init__(self) -> None:
        self._chunks: list[bytes] = []

    def write(self, chunk: bytes, /) -> int:
        self._chunks.append(bytes(chunk))
        return len(chunk)

    def flush(self) -> None:
        """Does nothing: written bytes can be taken at once."""

    def close(self) -> None:
        """Does nothing: the last bytes can still be taken."""

    def take(self) -> bytes:
        """The bytes written since the last call."""
        taken = b"".join(self._chunks)
        self._chunks.clear()
        return taken


async def zipped(
    artifacts: Artifacts, tenant: Tenant, slot: Slot, folder: str, files: AsyncIterator[Artifact]
) -> AsyncGenerator[bytes, None]:
    """Yields the chunks of a ZIP file of `files`, named by their paths below `folder`.

    A file that was deleted meanwhile is left out. Raises UnavailableError where a file can't be
    read to its end; the chunks until then are not a valid ZIP file.
    """
    threads = _threads.of(tenant.slug)
    sink = _Sink()
    archive = zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED, compresslevel=_LEVEL)
    async for file in files:
        reader = await _open(artifacts, tenant, slot, file)
        if reader is None:
            continue
        async with reader:
            member = _member(file, reader.stored.size, folder)
            with archive.open(member, "w") as target:
                async for chunk in reader:
                    # Compressing a chunk takes milliseconds, during which the event loop would
                    # serve nobody.
                    await threads.run(target.write, chunk)
                    yield sink.take()
        yield sink.take()
    archive.close()
    yield sink.take()


async def _open(
    artifacts: Artifacts, tenant: Tenant, slot: Slot, file: Artifact
) -> ObjectReader | None:
    """A reader of the file; None where it was deleted. Raises UnavailableError where the store has
    lost it."""
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
    member.external_attr = 0o644 << 16  # zipfile's default is readable by the owner only
    member.file_size = size  # above 2 GiB, zipfile needs the size in advance
    return member
