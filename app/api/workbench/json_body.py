"""JSON bodies: how large they may be, and that they are JSON."""

import json
from contextlib import suppress

from fastapi import HTTPException, Request

from app.api.request_body import MAX_BODY_BYTES, read_body
from app.api.workbench.dependencies import GuardedRoute, services_of
from app.kernel import validation
from app.kernel.errors import TooLargeError, TrackingError
from app.kernel.memory_budget import FREE_BYTES
from app.kernel.principal import Principal

# The largest request that is of use logs a thousand points of four fields each. Each value that a
# model doesn't know is an error of its own, which costs a hundred times as much as to read it.
MAX_VALUES = 10_000


class _JsonRequest(Request):
    """A request whose body is there, and decoded, before FastAPI asks for it."""

    async def load(self, limit: int) -> None:
        """Raises HTTPException 415 for a body that is not said to be JSON, TooLargeError, and what
        `read_body` does. What is wrong with the JSON is left to FastAPI to tell."""
        services, caller = services_of(self), self.scope["caller"]
        assert isinstance(caller, Principal)
        self._body = await read_body(
            self.receive,
            self.headers,
            limit,
            services.memory,
            caller.tenant,
            over_limit=_over_limit,
        )
        if not self._body:
            return
        self._check_type()
        if len(self._body) <= FREE_BYTES:
            self._decode()
            return
        async with services.turns.turn(caller.tenant):
            self._decode()

    def _decode(self) -> None:
        with suppress(ValueError, RecursionError):
            self._json = json.loads(self._body)
            _check_count(self._json)

    def _check_type(self) -> None:
        media_type = self.headers.get("content-type", "").partition(";")[0].strip().lower()
        if media_type != "application/json" and not media_type.endswith("+json"):
            raise HTTPException(
                415,
                f"The body is of type '{media_type}'; send JSON, with the header"
                " 'Content-Type: application/json'",
            )


def _check_count(document: object) -> None:
    """Raises TooLargeError for more members of objects and lists than any request needs."""
    count = 0
    waiting = [document]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict | list):
            count += len(value)
            if count > MAX_VALUES:
                raise TooLargeError(f"The body of a request may have at most {MAX_VALUES} values")
            waiting.extend(value.values() if isinstance(value, dict) else value)


def _over_limit(limit: int, size: int) -> TrackingError:
    return TooLargeError(f"The body of this request may have at most {limit} bytes")


class JsonRoute(GuardedRoute):
    """A route whose body, if it has one, is JSON of a bounded size."""

    max_bytes = MAX_BODY_BYTES

    async def prepared(self, request: Request) -> Request:
        if self.body_field is None:
            return request
        loaded = _JsonRequest(request.scope, request.receive)
        await loaded.load(self.max_bytes)
        return loaded


class BatchRoute(JsonRoute):
    """A route that logs to a run."""

    max_bytes = validation.MAX_BATCH_BYTES
