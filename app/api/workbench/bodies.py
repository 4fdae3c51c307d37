"""JSON bodies: how large they may be, and that they are JSON."""

from collections.abc import AsyncGenerator, Callable, Coroutine
from typing import Any

from fastapi import HTTPException, Request, Response

from app import validation
from app.api.headers import content_length
from app.api.workbench.dependencies import GuardedRoute

# A JSON body is held in memory as a whole.
MAX_JSON_BYTES = 32 * 1024 * 1024


class _JsonRequest(Request):
    max_bytes = MAX_JSON_BYTES

    async def stream(self) -> AsyncGenerator[bytes, None]:
        """The body, refused as soon as it is known to be too large or not JSON.

        HTTPException is the one error that FastAPI lets through while it reads a body.
        """
        self._check_size(content_length(self.headers) or 0)
        size = 0
        async for chunk in super().stream():
            if chunk and not size:
                self._check_type()
            size += len(chunk)
            self._check_size(size)
            yield chunk

    def _check_size(self, size: int) -> None:
        if size > self.max_bytes:
            raise HTTPException(
                413, f"The body of this request may have at most {self.max_bytes} bytes"
            )

    def _check_type(self) -> None:
        media_type = self.headers.get("content-type", "").partition(";")[0].strip().lower()
        if media_type != "application/json" and not media_type.endswith("+json"):
            raise HTTPException(
                415,
                f"The body is of type '{media_type}'; send JSON, with the header"
                " 'Content-Type: application/json'",
            )


class JsonRoute(GuardedRoute):
    """A route whose body, if it has one, is JSON of a bounded size."""

    request_class: type[_JsonRequest] = _JsonRequest

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handle_json(request: Request) -> Response:
            return await handle(self.request_class(request.scope, request.receive))

        return handle_json


class _BatchRequest(_JsonRequest):
    max_bytes = validation.MAX_BATCH_BYTES


class BatchRoute(JsonRoute):
    """A route that logs to a run."""

    request_class = _BatchRequest
