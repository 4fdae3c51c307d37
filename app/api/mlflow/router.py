"""The router of MLflow's REST protocol: requests are decoded into messages, handled, and encoded.

Messages are msgspec structs. Nearly all of MLflow's paths are fixed, so that a route is found by a
look-up in a dict.
"""

from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import msgspec
from starlette.datastructures import Headers
from starlette.types import Receive, Scope, Send

from app.api.client_disconnect import ClientGoneError, unless_gone
from app.api.headers import error_headers
from app.api.mlflow.decoding import check_list_lengths, decode_body, decode_query
from app.api.mlflow.error_responses import internal_error, status_and_body, unknown_route
from app.api.request_body import MAX_BODY_BYTES, check_decoded, read_body, too_large
from app.api.streamed_json import StreamedJson
from app.http.head import is_head, no_chunks
from app.kernel import errors, validation
from app.kernel.memory_budget import FREE_BYTES
from app.kernel.principal import Principal, Role
from app.kernel.tenant import Tenant
from app.services import Services

METHODS = ("GET", "POST", "PATCH", "PUT", "DELETE")

Message = TypeVar("Message", bound=msgspec.Struct)

Answer = msgspec.Struct | StreamedJson | bytes | None
"""What a handler returns: a message, a document in pieces, a document as bytes, or no body."""


class Empty(msgspec.Struct):
    """A message without fields."""


@dataclass(frozen=True, slots=True)
class Call:
    """What a handler gets besides the request's message."""

    services: Services
    tenant: Tenant
    caller: Principal
    scope: Scope


Handler = Callable[[Call, Message], Awaitable[Answer]]

FileRoutes = Callable[[str, Scope, Receive, Send], Awaitable[bool]]


@dataclass(frozen=True, slots=True)
class Endpoint(Generic[Message]):
    """`path` starts with a slash; requests are counted under it. `role` is the least that a caller
    must have.

    `needs_tenant` is false for calls that concern no tenant's data. `status` is that of a success.
    """

    path: str
    message: type[Message]
    handler: Handler[Message]
    role: Role
    needs_tenant: bool
    status: int
    max_body_bytes: int


class Routes:
    """The route table of one MLflow resource, by method and path."""

    def __init__(self) -> None:
        self.table: dict[tuple[str, str], Endpoint[Any]] = {}

    def add(
        self,
        method: str,
        path: str,
        message: type[Message],
        role: Role,
        *,
        needs_tenant: bool = True,
        status: int = 200,
        max_body_bytes: int = MAX_BODY_BYTES,
    ) -> Callable[[Handler[Message]], Handler[Message]]:
        """Decorator: serve `path`. A `{name}` segment fills the message's field of that name."""

        def register(handler: Handler[Message]) -> Handler[Message]:
            self.table[method, path] = Endpoint(
                f"/{path}",
                message,
                handler,
                role,
                needs_tenant,
                status,
                max_body_bytes,
            )
            return handler

        return register


class MlflowApi:
    """ASGI application that serves the route tables at the path that it is mounted at."""

    def __init__(
        self, services: Callable[[], Services], *routes: Routes, files: FileRoutes | None = None
    ) -> None:
        """`files` answers, and returns True, where a path is one of its routes."""
        self._services = services
        self._files = files
        self._fixed: dict[tuple[str, str], Endpoint[Any]] = {}
        self._templates: list[tuple[str, list[str], Endpoint[Any]]] = []
        for table in routes:
            for (method, path), endpoint in table.table.items():
                if "{" in path:
                    self._templates.append((method, path.split("/"), endpoint))
                else:
                    self._fixed[method, path] = endpoint

    def endpoints(self) -> Iterator[tuple[str, str, Endpoint[Any]]]:
        """Every endpoint, with its method and its path, such as `runs/get`."""
        for (method, path), endpoint in self._fixed.items():
            yield method, path, endpoint
        for method, segments, endpoint in self._templates:
            yield method, "/".join(segments), endpoint

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"].removeprefix(scope.get("root_path", "")).strip("/")
        headers: dict[str, str] = {}
        try:
            status, body = await self._answer(scope, receive, path)
        except errors.TrackingError as error:
            status, body = status_and_body(error)
            headers = error_headers(error)
        except _UnknownRouteError as error:
            if self._files and await self._files(path, scope, receive, send):
                return
            status, body, headers = unknown_route(scope, error.allowed)
        except ClientGoneError:
            return
        except Exception:
            status, body = internal_error(scope["method"], path)
        if isinstance(body, StreamedJson):
            with suppress(ClientGoneError):
                document = StreamedJson(no_chunks()) if is_head(scope) else body
                await unless_gone(receive, document.send(send, status))
            return
        await _send_json(send, status, body, headers)

    async def _answer(
        self, scope: Scope, receive: Receive, path: str
    ) -> tuple[int, bytes | StreamedJson]:
        """The status and the body of a success. Raises what is then answered as an error."""
        endpoint, parameters = self._find(scope["method"], path)
        scope["route"] = endpoint
        services = self._services()
        caller = await services.authenticator.authorize(
            scope, endpoint.role, needs_tenant=endpoint.needs_tenant
        )
        tenant = caller.tenant
        if scope["method"] != "POST" and is_in_query(scope):
            query = scope["query_string"].decode("latin-1")
            message = decode_query(query, parameters, endpoint.message)
        else:
            headers = Headers(scope=scope)
            if scope["method"] in ("POST", "PUT"):
                require_json(headers)
            message = await read_message(
                services,
                tenant,
                receive,
                headers,
                endpoint.message,
                parameters,
                max_bytes=endpoint.max_body_bytes,
            )
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
        """The endpoint, and the parameters in the path. Raises _UnknownRouteError."""
        endpoint = self._fixed.get((method, path))
        if endpoint is not None:
            return endpoint, {}
        segments = path.split("/")
        allowed = {other for other in METHODS if (other, path) in self._fixed}
        for its_method, template, its_endpoint in self._templates:
            parameters = match(template, segments)
            if parameters is not None:
                if its_method == method:
                    return its_endpoint, parameters
                allowed.add(its_method)
        raise _UnknownRouteError(allowed)


class _UnknownRouteError(Exception):
    """`allowed` are the methods for which the path is served; empty for an unknown path."""

    def __init__(self, allowed: Collection[str]) -> None:
        super().__init__()
        self.allowed = allowed


def is_in_query(scope: Scope) -> bool:
    """Whether the message is in the query string. Otherwise it is in the body.

    As in MLflow, the body of a GET is read where the query is empty: several clients in other
    languages send it. A DELETE has a body; where it has none, the query is read.
    """
    match scope["method"]:
        case "GET":
            return bool(scope["query_string"]) or not _has_body(scope)
        case "DELETE":
            return bool(scope["query_string"]) and not _has_body(scope)
        case _:
            return False


def _has_body(scope: Scope) -> bool:
    return any(
        (name == b"content-length" and value != b"0") or name == b"transfer-encoding"
        for name, value in scope["headers"]
    )


def match(template: list[str], segments: list[str]) -> dict[str, str] | None:
    """The parameters in a path; None where it does not match the template."""
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
    """Raises InvalidValueError for a body whose Content-Type is not JSON, as MLflow does.

    A page of any site can make its visitor's browser send a form or plain text to this server;
    for JSON the browser first asks the server, which does not allow it.
    """
    given = headers.get("content-type")
    if given is None:
        raise errors.InvalidValueError("Bad Request. Content-Type header is missing.")
    if given.partition(";")[0].strip().lower() != "application/json":
        raise errors.InvalidValueError(
            "Bad Request. Content-Type must be one of ['application/json']."
        )


async def read_message(
    services: Services,
    tenant: Tenant,
    receive: Receive,
    headers: Headers,
    message: type[Message],
    parameters: dict[str, str],
    *,
    max_bytes: int = MAX_BODY_BYTES,
) -> Message:
    """Read and decode a body of at most `max_bytes` without escapes, to whose fields `parameters`
    of the path are added. A large one waits for its turn.

    Raises what `read_body` and `decode_body` do, and an error for a body that is too large."""
    body = await read_body(
        receive, headers, max_bytes, services.memory, tenant, over_limit=_over_limit
    )
    if len(body) <= FREE_BYTES:
        return decode_body(body, parameters, message)
    async with services.turns.turn(tenant):
        check_decoded(body, max_bytes, _over_limit)
        found = decode_body(body, parameters, message)
        check_list_lengths(found)
    return found


def _over_limit(limit: int, size: int) -> errors.TrackingError:
    if limit == validation.MAX_BATCH_BYTES:
        return errors.InvalidValueError(
            f"Batched logging API requests must be at most {limit} bytes, got a request of size"
            f" {size}."
        )
    return too_large(limit, size)


async def _send_json(send: Send, status: int, body: bytes, more: Mapping[str, str]) -> None:
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
    ]
    if status == 204:  # has no body, and so no headers about one (RFC 9110, 15.3.5)
        headers.clear()
    for name, value in more.items():
        headers.append((name.lower().encode(), value.encode()))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
