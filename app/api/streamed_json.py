"""JSON answers that are encoded while they are sent, so that memory stays flat for any size."""

import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass

from starlette.types import Send

from app.kernel.errors import TrackingError

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class StreamedJson:
    """A JSON document in pieces. The request was validated before the first piece."""

    chunks: AsyncIterator[bytes]

    async def send(self, send: Send, status: int) -> None:
        """Send all pieces. If one cannot be made, the answer is cut off by the server, so that no
        client takes it for complete."""
        headers = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        try:
            async for chunk in self.chunks:
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
        except TrackingError as error:
            log.warning("an answer was cut off: %s", error)
            return
        await send({"type": "http.response.body", "body": b""})
