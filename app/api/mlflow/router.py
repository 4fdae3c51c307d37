"""MLflow's REST protocol: a table of endpoints, and the way from a request to one and back.

Requests are decoded straight into msgspec structs; answers are structs or ready-made bytes.
Routes are looked up in a dict, since nearly all of MLflow's paths are fixed.
"""

import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import msgspec
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from app.api.client_disconnect import ClientGoneError, unless_gone
from app.api.headers import error_headers
from app.api.mlflow.decoding import check_lists, from_body, from_query
from app.api.request_body import MAX_BODY_BYTES, read_body, too_large
from app.api.streamed_json import StreamedJson
from app.kernel import errors, validation
from app.kernel.memory_budget import FREE_BYTES
from app.kernel.principal import Principal, Role
from app.kernel.tenant import Tenant
from app.services import Services

log = logging.getLogger(__name__)

METHODS = ("GET", "POST", "PATCH", "PUT", "DELETE")

STATUS = {
    errors.InvalidValueError: (400, "INVALID_PARAMETER_VALUE"),
    errors.NotFoundError: (404, "RESOURCE_DOES_NOT_EXIST"),
    errors.AlreadyExistsError: (400, "RESOURCE_ALREADY_EXISTS"),
    errors.ConflictError: (400, "INVALID_PARAMETER_VALUE"),
    errors.InvalidStateError: (400, "INVALID_PARAMETER_VALUE"),
    errors.NotEmptyError: (409, "INVALID_STATE"),
    errors.UnauthenticatedError: (401, "UNAUTHENTICATED"),
    errors.PermissionDeniedError: (403, "PERMISSION_DENIED"),
    errors.QuotaExceededError: (403, "PERMISSION_DENIED"),
    errors.RateLimitedError: (429, "RESOURCE_EXHAUSTED"),
    errors.TooLargeError: (413, "INVALID_PARAMETER_VALUE"),
    errors.StalledError: (408, "TEMPORARILY_UNAVAILABLE"),
    errors.UnsupportedError: (501, "NOT_IMPLEMENTED"),
    errors.UnavailableError: (503, "TEMPORARILY_UNAVAILABLE"),
    errors.InsufficientStorageError: (507, "RESOURCE_EXHAUSTED"),
}

Message = TypeVar("Message", bound=msgspec.Struct)

Answer = msgspec.Struct | StreamedJson | bytes | None


class Empty(msgspec.Struct):
    """An answer, or a request, with no fields."""


@dataclass(frozen=True, slots=True)
class Call:
    """What a handler gets besides the message."""

    services: Services
    tenant: Tenant
    caller: Principal
    scope: Scope


@dataclass(frozen=True, slots=True)
class Endpoint(Generic[Message]):
    """`role` is what a caller must have, `outside` tells that the call is about no tenant's data,
    and `makes_tenant` that it brings an unknown tenant into being. `path` starts with a slash, and
    is what the request is counted under, as that of any route in a scope is."""

    path: str
    message: type[Message]
    handler: Callable[[Call, Message], Awaitable[Answer]]
    role: Role
    makes_tenant: bool
    outside: bool
    status: int
    max_body_bytes: int


class Routes:
    """The endpoints of one file of this package, put together in `app.api.mlflow`."""

    def __init__(self) -> None:
        self.table: dict[tuple[str, str], Endpoint[Any]] = {}

    def add(
        self,
        method: str,
        path: str,
        message: type[Message],
        role: Role,
        *,
        makes_tenant: bool = False,
        outside: bool = False,
        status: int = 200,
        max_body_bytes: int = MAX_BODY_BYTES,
    ) -> Callable[
        [Callable[[Call, Message], Awaitable[Answer]]], Callable[[Call, Message], Awaitable[Answer]]
    ]:
        """Serve `path`; a `{name}` segment fills the message's field of that name."""

        def register(
            handler: Callable[[Call, Message], Awaitable[Answer]],
        ) -> Callable[[Call, Message], Awaitable[Answer]]:
            self.table[method, path] = Endpoint(
                f"/{path}", message, handler, role, makes_tenant, outside, status, max_body_bytes
            )
            return handler

        return register


class MlflowApi:
    """An ASGI application that serves a table of routes under each of MLflow's prefixes."""

    def __init__(self, services: Callable[[], Services], *routes: Routes) -> None:
        self._services = services
        self._fixed: dict[tuple[str, str], Endpoint[Any]] = {}
        self._templates: list[tuple[str, list[str], Endpoint[Any]]] = []
        for table in routes:
            for (method, path), endpoint in table.table.items():
                if "{" in path:
                    self._templates.append((method, path.split("/"), endpoint))
                else:
                    self._fixed[method, path] = endpoint

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"].removeprefix(scope.get("root_path", "")).strip("/")
        more: dict[str, str] = {}
        try:
            status, body = await self._answer(scope, receive, path)
        except errors.TrackingError as error:
            status, body = error_answer(error)
            more = error_headers(error)
        except _UnknownRouteError as error:
            status, body = error.status, unknown_route(scope["method"], path)
        except ClientGoneError:
            return  # there is nobody to answer
        except Exception:
            status, body = log_unexpected(scope["method"], path)
        if isinstance(body, StreamedJson):
            with suppress(ClientGoneError):
                await unless_gone(receive, body.send(send, status))
            return
        await respond(send, status, body, more)

    async def _answer(
        self, scope: Scope, receive: Receive, path: str
    ) -> tuple[int, bytes | StreamedJson]:
        endpoint, parameters = self._find(scope["method"], path)
        scope["route"] = endpoint
        services = self._services()
        caller = await services.authenticator.admit(scope, endpoint.role, outside=endpoint.outside)
        tenant = caller.tenant
        query = scope["query_string"].decode("latin-1")
        if scope["method"] == "GET" or (scope["method"] == "DELETE" and query):
            message = from_query(query, parameters, endpoint.message)
        else:
            headers = Headers(scope=scope)
            if scope["method"] in ("POST", "PUT"):
                require_json(headers)
            memory = services.memory
            body = await read_body(
                receive, headers, endpoint.max_body_bytes, memory, tenant, refusal=_refusal
            )
            message = await decoded(services, tenant, body, parameters, endpoint.message)
        if endpoint.makes_tenant:
            tenant = await services.tenant_lookup.made(tenant)
        work = endpoint.handler(Call(services, tenant, caller, scope), message)
        answer = await (unless_gone(receive, work) if endpoint.role is Role.READ else work)
        if answer is None:
            return endpoint.status, b""
        if isinstance(answer, StreamedJson):
            return endpoint.status, answer
        body = answer if isinstance(answer, bytes) else msgspec.json.encode(answer)
        if len(body) > FREE_BYTES:
            await services.memory.hold_response(tenant, len(body))
        return endpoint.status, body

    def _find(self, method: str, path: str) -> tuple[Endpoint[Any], dict[str, str]]:
        endpoint = self._fixed.get((method, path))
        if endpoint is not None:
            return endpoint, {}
        segments = path.split("/")
        served = any((other, path) in self._fixed for other in METHODS)
        for its_method, template, its_endpoint in self._templates:
            parameters = _match(template, segments)
            if parameters is not None:
                if its_method == method:
                    return its_endpoint, parameters
                served = True
        raise _UnknownRouteError(405 if served else 404)


class _UnknownRouteError(Exception):
    """405 where the path is served for another method, as MLflow's server has it."""

    def __init__(self, status: int) -> None:
        super().__init__()
        self.status = status


def unknown_route(method: str, path: str) -> bytes:
    return encode_error(
        "ENDPOINT_NOT_FOUND",
        f"{method} /{path} is not served here. This server keeps experiments, runs, metrics,"
        " logged models, registered models and artifacts; see /docs for its own API.",
    )


async def not_served(request: Request) -> Response:
    path = request.scope["path"].removeprefix("/")
    return Response(unknown_route(request.method, path), 404, media_type="application/json")


def _match(template: list[str], segments: list[str]) -> dict[str, str] | None:
    if len(template) != len(segments):
        return None
    parameters = {}
    for expected, given in zip(template, segments, strict=True):
        if expected.startswith("{"):
            parameters[expected[1:-1]] = given
        elif expected != given:
            return None
    return parameters


def require_json(headers: Headers) -> None:
    """Refuse a body that is not said to be JSON, as MLflow does.

    A page of any site can make its visitor's browser send a form or plain text to this server;
    before JSON the browser asks, and is not allowed.
    """
    given = headers.get("content-type")
    if given is None:
        raise errors.InvalidValueError("Bad Request. Content-Type header is missing.")
    if given.partition(";")[0].strip().lower() != "application/json":
        raise errors.InvalidValueError(
            "Bad Request. Content-Type must be one of ['application/json']."
        )


async def decoded(
    services: Services,
    tenant: Tenant,
    body: bytes,
    parameters: dict[str, str],
    message: type[Message],
) -> Message:
    """The message in a body; a large one waits for its turn."""
    if len(body) <= FREE_BYTES:
        return from_body(body, parameters, message)
    async with services.turns.turn(tenant):
        found = from_body(body, parameters, message)
        check_lists(found)
    return found


def _refusal(limit: int, size: int) -> errors.TrackingError:
    if limit == validation.MAX_BATCH_BYTES:
        return errors.InvalidValueError(
            f"Batched logging API requests must be at most {limit} bytes, got a request of size"
            f" {size}."
        )
    return too_large(limit, size)


def error_answer(error: errors.TrackingError) -> tuple[int, bytes]:
    """The status and the body that MLflow's client expects."""
    status, code = next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)
    return status, encode_error(code, error.message)


def log_unexpected(method: str, path: str) -> tuple[int, bytes]:
    """For an exception handler: log what is our fault, and answer without its details."""
    log.exception("unexpected error in %s %s", method, path)
    return 500, encode_error("INTERNAL_ERROR", "Internal server error")


def encode_error(code: str, message: str) -> bytes:
    return msgspec.json.encode({"error_code": code, "message": _encodable(message)})


def _encodable(message: str) -> str:
    return message.encode("utf-8", "replace").decode("utf-8")


async def respond(send: Send, status: int, body: bytes, more: Mapping[str, str]) -> None:
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
    ]
    if status == 204:  # has no body, and so nothing to say of one (RFC 9110, 15.3.5)
        headers.clear()
    for name, value in more.items():
        headers.append((name.lower().encode(), value.encode()))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
