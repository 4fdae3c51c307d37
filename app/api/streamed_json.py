"""Answers that are made while they are sent: memory stays flat for any size."""

import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass

from starlette.types import Send

from app.kernel.errors import TrackingError

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class StreamedJson:
    """A JSON document in pieces. What can be wrong with the request was found before."""

    chunks: AsyncIterator[bytes]

    async def send(self, send: Send, status: int) -> None:
        """Send it all. An answer that cannot be finished is cut off by the server, so that nobody
        takes it for whole."""
        headers = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        try:
            async for chunk in self.chunks:
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
        except TrackingError as error:
            log.warning("an answer was cut off: %s", error)
            return
        await send({"type": "http.response.body", "body": b""})
