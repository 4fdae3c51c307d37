"""A folder of artifacts as a ZIP file, made while it is sent: memory stays flat for any size."""

import time
import zipfile
from collections.abc import AsyncIterator

from anyio import to_thread

from app.artifacts.entities import Artifact
from app.artifacts.service import Artifacts
from app.errors import NotFoundError
from app.tenancy.tenant import Tenant

# Models and plots are compressed already; more effort would cost time and gain nothing.
_LEVEL = 1


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
    artifacts: Artifacts, tenant: Tenant, folder: str, files: AsyncIterator[Artifact]
) -> AsyncIterator[bytes]:
    """The chunks of a ZIP file of `files`, named by their paths below `folder`.

    A file that is deleted in the meantime is left out.
    """
    sink = _Sink()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED, compresslevel=_LEVEL) as archive:
        async for file in files:
            try:
                reader = await artifacts.open(tenant, file)
            except NotFoundError:
                continue
            async with reader:
                member = _member(file, reader.stored.size, folder)
                with archive.open(member, "w") as target:
                    async for chunk in reader:
                        # Compressing a chunk takes milliseconds that others would wait.
                        await to_thread.run_sync(target.write, chunk)
                        yield sink.take()
            yield sink.take()
    yield sink.take()


def _member(file: Artifact, size: int, folder: str) -> zipfile.ZipInfo:
    moment = time.gmtime(file.updated_time // 1000)
    member = zipfile.ZipInfo(file.path.removeprefix(f"{folder}/"), moment[:6])
    member.compress_type = zipfile.ZIP_DEFLATED
    member.external_attr = 0o644 << 16  # zipfile's own choice is readable by its owner only
    member.file_size = size  # beyond 2 GiB, zipfile must know before it starts
    return member
