"""MLflow's own web page at `/mlflow/`, from the installed package mlflow.

Its URLs are relative, so that it also works below `/t/{tenant}` and shows that tenant alone. With
authentication on, the page is answered with a challenge: the browser asks for a password, which is
an API key, and sends it with every call of the page.
"""

import asyncio
import gzip
import io
import mimetypes
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import Receive, Scope, Send

from app.api.file_response import is_current
from app.api.mlflow import GRAPHQL, PREFIXES
from app.artifacts.transfer_limits import unless_stalled_sending
from app.auth.authenticator import Authenticator
from app.http.head import is_head
from app.kernel.errors import (
    PermissionDeniedError,
    StalledError,
    TrackingError,
    UnauthenticatedError,
)
from app.kernel.principal import Role

PAGE = "/mlflow"
_FILES = f"{PAGE}/static-files"
# As the dispatcher mounts them, by three or four segments.
PAGE_PATHS = (PAGE, f"{PAGE}/", _FILES)
CALLED_PATHS = (
    *(PAGE + prefix for prefix in PREFIXES),
    *(f"{PAGE}{path}" for path in (GRAPHQL, "/get-artifact", "/model-versions/get-artifact")),
)

# What the page does: it sets styles on elements, compiles charts' expressions, starts workers, and
# shows files of runs from memory. An HTML file, such as a figure of Plotly's, runs its scripts in a
# frame that is sandboxed, and inherits this policy. The page asks no other server.
_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval';"
    " style-src 'self' 'unsafe-inline';"
    " img-src 'self' data: blob:; font-src 'self' data:; media-src 'self' blob:;"
    " worker-src 'self' blob:; frame-src 'self' blob:; object-src 'none'; base-uri 'none';"
    " form-action 'none'; frame-ancestors 'none'"
)

_HASH_IN_NAME = re.compile(r"\.[0-9a-f]{8,}\.")
_YEAR = "public, max-age=31536000, immutable"
_REVALIDATED = "no-cache"
_CHUNK = 64 << 10
_MIN_GZIP_BYTES = 1 << 10
_INCOMPRESSIBLE = frozenset({".png", ".woff", ".woff2", ".ico"})
_TYPES = {
    ".cjs": "text/javascript",
    ".js": "text/javascript",
    ".mjs": "text/javascript",
    ".ttf": "font/ttf",
    ".woff": "font/woff",
    ".woff2": "font/woff2",
}


@dataclass(frozen=True, slots=True)
class _File:
    """A file of the page. `cache` is its Cache-Control."""

    path: Path
    size: int
    etag: str
    content_type: str
    cache: str
    compressible: bool


@dataclass(frozen=True, slots=True)
class _Route:
    """What a request is counted under."""

    path: str


class MlflowPage:
    """ASGI application of the page and its files. The files are public: whoever has the package
    has them."""

    def __init__(self, folder: Path, authenticator: Callable[[], Authenticator]) -> None:
        self._files = {
            file.relative_to(folder).as_posix(): _file(file)
            for file in folder.rglob("*")
            if file.is_file()
        }
        # What was asked for, compressed if it can be: one copy for all requests, however slowly
        # their clients read.
        self._contents: dict[Path, bytes] = {}
        self._reading = asyncio.Lock()
        self._authenticator = authenticator

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # The dispatcher has put the mount into the root path.
        root = scope["app_root_path"]
        path = scope["path"].removeprefix(root)
        if scope["method"] != "GET":
            response: Response = PlainTextResponse("", 405, {"Allow": "GET, HEAD"})
        elif path == PAGE:
            response = RedirectResponse(f"{root}{PAGE}/", headers={"Cache-Control": _REVALIDATED})
        elif path == f"{PAGE}/":
            response = await self._page(scope)
        else:
            scope["route"] = _Route("/{path}")
            name = path.removeprefix(f"{_FILES}/")
            found = self._files.get(name)
            response = PlainTextResponse("No such file", 404)
            if found is not None:
                response = await self._answer(found, Headers(scope=scope))
        with suppress(StalledError):  # the server closes the connection
            await response(scope, receive, unless_stalled_sending(send))

    async def _page(self, scope: Scope) -> Response:
        try:
            await self._authenticator().authorize(scope, Role.READ)
        except (UnauthenticatedError, PermissionDeniedError) as error:
            # Also for another tenant's key: the browser asks for one of this tenant.
            realm = scope.get("tenant_in_path") or "tracking"
            challenge = f'Basic realm="{realm}", charset="UTF-8"'
            return PlainTextResponse(
                f"{error.message}\n\nIn a browser: any user name, and an API key as the password.",
                401,
                {"WWW-Authenticate": challenge, "Cache-Control": "no-store"},
            )
        except TrackingError as error:
            return PlainTextResponse(error.message, 400)
        return await self._answer(self._files["index.html"], Headers(scope=scope))

    async def _answer(self, file: _File, headers: Headers) -> Response:
        own = {
            "ETag": f'W/"{file.etag}"',  # weak: the same with gzip and without
            "Cache-Control": file.cache,
            "Vary": "Accept-Encoding",
            "Content-Security-Policy": _POLICY,  # a worker's policy is that of its script
        }
        if is_current(headers.get("if-none-match"), file.etag):
            return Response(status_code=304, headers=own)
        content = await self._content(file)
        if file.compressible and "gzip" not in headers.get("accept-encoding", ""):
            return _Chunks(_unzipped(content), file.size, own, file.content_type)
        if file.compressible:
            own["Content-Encoding"] = "gzip"
        return _Chunks(_slices(content), len(content), own, file.content_type)

    async def _content(self, file: _File) -> bytes:
        async with self._reading:  # each file once, and none beside another
            if file.path not in self._contents:
                read = _gzipped if file.compressible else Path.read_bytes
                self._contents[file.path] = await asyncio.to_thread(read, file.path)
        return self._contents[file.path]


class _Chunks(Response):
    """A response in chunks, so that a slow client has little of it in its connection's buffer."""

    def __init__(
        self, chunks: Iterator[bytes], length: int, headers: dict[str, str], media_type: str
    ) -> None:
        super().__init__(headers=headers, media_type=media_type)
        self.headers["content-length"] = str(length)
        self._chunks = chunks

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send(
            {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
        )
        for chunk in () if is_head(scope) else self._chunks:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


def _slices(content: bytes) -> Iterator[bytes]:
    for start in range(0, len(content), _CHUNK):
        yield content[start : start + _CHUNK]


def _unzipped(content: bytes) -> Iterator[bytes]:
    with gzip.open(io.BytesIO(content)) as file:
        while chunk := file.read(_CHUNK):
            yield chunk


def _file(path: Path) -> _File:
    stat = path.stat()
    guessed = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    return _File(
        path,
        stat.st_size,
        f"{stat.st_mtime_ns:x}-{stat.st_size:x}",
        _TYPES.get(path.suffix, guessed),
        _YEAR if _HASH_IN_NAME.search(path.name) else _REVALIDATED,
        stat.st_size >= _MIN_GZIP_BYTES and path.suffix not in _INCOMPRESSIBLE,
    )


def _gzipped(path: Path) -> bytes:
    return gzip.compress(path.read_bytes(), 6, mtime=0)
