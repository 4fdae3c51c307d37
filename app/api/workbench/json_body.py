"""Routes with JSON bodies, whose size, media type and number of values are checked."""

import json
from contextlib import suppress

from fastapi import HTTPException, Request

from app.api.request_body import MAX_BODY_BYTES, check_decoded, read_body
from app.api.workbench.dependencies import AuthorizedRoute, services_of
from app.kernel import validation
from app.kernel.errors import TooLargeError, TrackingError
from app.kernel.memory_budget import FREE_BYTES
from app.kernel.principal import Principal

# The largest useful request logs a thousand points of four fields each. The number is limited since
# pydantic reports each unknown field, which takes a hundred times as long as decoding it.
MAX_VALUES = 10_000


class _JsonRequest(Request):
    """A request whose body is read and decoded before FastAPI asks for it."""

    async def load(self, limit: int) -> None:
        """Read the body, of at most `limit` bytes without escapes. FastAPI reports JSON that is
        malformed.

        Raises HTTPException 415 for another media type, TooLargeError for too many values, and what
        `read_body` raises.
        """
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
        self._check_media_type()
        if len(self._body) <= FREE_BYTES:
            self._decode(limit)
            return
        async with services.turns.turn(caller.tenant):
            self._decode(limit)

    def _decode(self, limit: int) -> None:
        check_decoded(self._body, limit, _over_limit)
        with suppress(ValueError, RecursionError):
            self._json = json.loads(self._body)
            _check_number_of_values(self._json)

    def _check_media_type(self) -> None:
        media_type = self.headers.get("content-type", "").partition(";")[0].strip().lower()
        if media_type != "application/json" and not media_type.endswith("+json"):
            raise HTTPException(
                415,
                f"The body is of type '{media_type}'; send JSON, with the header"
                " 'Content-Type: application/json'",
            )


def _check_number_of_values(document: object) -> None:
    """Raises TooLargeError for more than MAX_VALUES members of objects and lists."""
    count = 0
    pending = [document]
    while pending:
        value = pending.pop()
        if isinstance(value, dict | list):
            count += len(value)
            if count > MAX_VALUES:
                raise TooLargeError(f"The body of a request may have at most {MAX_VALUES} values")
            pending.extend(value.values() if isinstance(value, dict) else value)


def _over_limit(limit: int, size: int) -> TrackingError:
    return TooLargeError(f"The body of this request may have at most {limit} bytes")


class JsonRoute(AuthorizedRoute):
    """A route whose body, if any, is JSON of at most `max_bytes`."""

    max_bytes = MAX_BODY_BYTES

    async def read_request(self, request: Request) -> Request:
        if self.body_field is None:
            return request
        json_request = _JsonRequest(request.scope, request.receive)
        await json_request.load(self.max_bytes)
        return json_request


class BatchRoute(JsonRoute):
    """A route that logs to a run, with MLflow's limit for batches."""

    max_bytes = validation.MAX_BATCH_BYTES
