"""HTTP responses with files: ranges and validators (RFC 9110), file names (RFC 6266)."""

import logging
import posixpath
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import BinaryIO
from urllib.parse import quote

from starlette.exceptions import HTTPException
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from app.artifacts.entities import Artifact
from app.artifacts.stores.object_reader import ObjectReader
from app.artifacts.transfer_limits import unless_stalled_sending
from app.http.sendfile import EXTENSION
from app.kernel.errors import StalledError

log = logging.getLogger(__name__)

_RANGE = re.compile(r"bytes=[ \t]*([0-9]*)-([0-9]*)[ \t]*", re.IGNORECASE)
_ETAG = re.compile(r'(?:W/)?("[^"]*")')
_TOKEN = r"[A-Za-z0-9!#$&^_.+-]+"
_MEDIA_TYPE = re.compile(rf"{_TOKEN}/{_TOKEN}(?:[ \t]*;[ \t]*{_TOKEN}=(?:{_TOKEN}|\"[ -~]*\"))*")
# Sending fewer bytes costs less than handing them to the kernel.
_MIN_SENDFILE_BYTES = 256 * 1024
# No size has more digits; int() refuses very long numbers.
_MAX_DIGITS = 18


@dataclass(frozen=True, slots=True)
class ByteRange:
    """The bytes [start, end)."""

    start: int
    end: int


class ReaderResponse(StreamingResponse):
    """Streams a reader's bytes, and closes the reader however the response ends, also where the
    client stalls."""

    def __init__(self, reader: ObjectReader, status: int, headers: Mapping[str, str]) -> None:
        super().__init__(reader, status, headers)
        self._reader = reader

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            async with self._reader as reader:
                large = reader.end - reader.start >= _MIN_SENDFILE_BYTES
                if large and reader.file and EXTENSION in scope.get("extensions", ()):
                    await self._send_file(reader.file, send)
                else:
                    await super().__call__(scope, receive, unless_stalled_sending(send))
        except StalledError as error:
            # The server closes the connection of an incomplete response.
            log.warning("%s %s: %s", scope["method"], scope["path"], error)

    async def _send_file(self, file: BinaryIO, send: Send) -> None:
        await send(
            {
                "type": "http.response.start",
                "status": self.status_code,
                "headers": self.raw_headers,
            }
        )
        await send(
            {
                "type": EXTENSION,
                "file": file,
                "offset": self._reader.start,
                "count": self._reader.end - self._reader.start,
            }
        )


def byte_range(header: str | None, size: int) -> ByteRange | None:
    """The range of `size` bytes that a Range header asks for; None where the whole file is sent.

    The whole file is sent for several ranges and for an invalid header: RFC 9110 (14.2) lets a
    server ignore these. Raises HTTPException 416 for a range that starts after the end.
    """
    match = _RANGE.fullmatch(header or "")
    if match is None or len(match[1]) > _MAX_DIGITS or len(match[2]) > _MAX_DIGITS:
        return None
    first, last = match[1], match[2]
    if not (first or last) or (first and last and int(first) > int(last)):
        return None
    if first:
        start, end = int(first), min(int(last) + 1, size) if last else size
    else:
        start, end = max(size - int(last), 0), size
    if start >= end:
        raise HTTPException(
            416, f"The file has {size} bytes", headers={"Content-Range": f"bytes */{size}"}
        )
    return ByteRange(start, end)


def is_current(if_none_match: str | None, etag: str) -> bool:
    """Whether the client's copy is current, by its If-None-Match header."""
    if if_none_match is None:
        return False
    return if_none_match.strip() == "*" or f'"{etag}"' in _ETAG.findall(if_none_match)


def range_applies(if_range: str | None, etag: str) -> bool:
    """Whether the Range header applies, by the If-Range header; a date never matches."""
    return if_range is None or if_range.strip() == f'"{etag}"'


def file_headers(artifact: Artifact) -> dict[str, str]:
    """The headers of a file or a range of it.

    A browser saves the file instead of showing it: an HTML file that a run logged must not act as a
    page of this server. A browser that shows it nevertheless runs no script in it.
    """
    modified = datetime.fromtimestamp(artifact.updated_time // 1000, UTC)
    return validators(artifact.etag) | {
        "Content-Type": media_type(artifact.content_type),
        "Content-Disposition": attachment(posixpath.basename(artifact.path)),
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": "sandbox; default-src 'none'; frame-ancestors 'none'",
        "Accept-Ranges": "bytes",
        "Last-Modified": format_datetime(modified, usegmt=True),
    }


def validators(etag: str) -> dict[str, str]:
    """The headers of a "not modified" response. Caches must revalidate each time, because an
    artifact may be replaced, and must not share it between users."""
    return {"ETag": f'"{etag}"', "Cache-Control": "private, no-cache"}


def media_type(declared: str | None) -> str:
    """The declared content type where it is safe as a header, else the general one."""
    if declared and len(declared) <= 200 and _MEDIA_TYPE.fullmatch(declared):
        return declared
    return "application/octet-stream"


def attachment(name: str) -> str:
    """A Content-Disposition that saves the file under that name, whatever its characters.

    Old clients read `filename`, which is ASCII; all others read `filename*` (RFC 5987).
    """
    plain = re.sub(r'[^ -~]|["\\%]', "_", name)
    disposition = f'attachment; filename="{plain}"'
    if plain == name:
        return disposition
    return f"{disposition}; filename*=UTF-8''{quote(name, safe='')}"
