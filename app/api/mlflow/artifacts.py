"""MLflow's artifact calls: a run's listing, and the proxied upload, download, list and delete."""

import mimetypes
import posixpath
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from urllib.parse import unquote_to_bytes

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from app.api.file_download import file_answer
from app.api.file_response import media_type
from app.api.headers import content_length, declared_digests
from app.api.mlflow.decoding import decode_query
from app.api.mlflow.router import Call, Routes, is_in_query, read_message
from app.api.streamed_json import StreamedJson
from app.artifacts.artifact_owner import check_owned
from app.artifacts.entities import ListingEntry
from app.artifacts.paths import artifact_path
from app.http.head import is_head, no_chunks
from app.kernel import validation
from app.kernel.errors import InvalidValueError, NotFoundError
from app.kernel.principal import Role

routes = Routes()

PAGE = 1000  # entries read by one statement; the response has all of them


class FileInfo(msgspec.Struct, omit_defaults=True):
    path: str
    is_dir: bool
    file_size: int | None = None


class ListArtifacts(msgspec.Struct):
    run_id: str = ""
    run_uuid: str = ""
    path: str = ""
    page_token: str = ""


class ListArtifactsAnswer(msgspec.Struct, omit_defaults=True):
    root_uri: str
    files: list[FileInfo] = []


@routes.add("GET", "artifacts/list", ListArtifacts, Role.READ)
async def list_of_run(call: Call, message: ListArtifacts) -> ListArtifactsAnswer | StreamedJson:
    run_id = message.run_id or message.run_uuid
    if not run_id:
        raise validation.missing("run_id")
    path = artifact_path(message.path, allow_root=True)
    run = await call.services.runs.locate(call.tenant, run_id)
    return await listing(call, run.artifact_uri, run.folder, path, message.page_token)


async def listing(
    call: Call, root_uri: str, root: str, path: str, page_token: str
) -> ListArtifactsAnswer | StreamedJson:
    """The files and folders directly in the folder `path` of `root`. All in one response, because
    MLflow's clients don't ask for a second page."""

    def shown(entry: ListingEntry) -> FileInfo:
        return FileInfo(entry.path.removeprefix(f"{root}/"), entry.is_dir, entry.size)

    folder = posixpath.join(root, path).rstrip("/")
    entries, token = await call.services.artifacts.list(
        call.tenant, folder, limit=PAGE, page_token=page_token or None
    )
    if token is None:
        return ListArtifactsAnswer(root_uri, [shown(entry) for entry in entries])
    head = b'{"root_uri":%s,"files":[' % msgspec.json.encode(root_uri)
    return StreamedJson(_pages(call, folder, entries, token, head, shown))


async def _pages(
    call: Call,
    folder: str,
    entries: Sequence[ListingEntry],
    token: str | None,
    head: bytes,
    shown: Callable[[ListingEntry], FileInfo],
) -> AsyncIterator[bytes]:
    """The chunks of a JSON object that begins with `head` and holds the list of entries, from the
    first page, `entries`, on."""
    separator = head
    while True:
        async with call.services.turns.turn(call.tenant):
            page = msgspec.json.encode([shown(entry) for entry in entries])[1:-1]
        if page:
            yield separator + page
            separator = b","
        if token is None:
            break
        entries, token = await call.services.artifacts.list(
            call.tenant, folder, limit=PAGE, page_token=token
        )
    yield b"]}"


class ListFolder(msgspec.Struct):
    path: str = ""


async def list_folder(call: Call, request: Request) -> Response:
    if is_in_query(request.scope):
        query = request.scope["query_string"].decode("latin-1")
        message = decode_query(query, {}, ListFolder)
    else:
        message = await read_message(
            call.services, call.tenant, request.receive, request.headers, ListFolder, {}
        )
    folder = artifact_path(message.path, allow_root=True)
    entries: Sequence[ListingEntry] = []
    token = None
    if folder:
        entries, token = await call.services.artifacts.list(call.tenant, folder, limit=PAGE)
    if token is not None:
        pages = _pages(call, folder, entries, token, b'{"files":[', _by_name)
        if is_head(request.scope):
            pages = no_chunks()
        return StreamingResponse(pages, media_type="application/json")
    files = [_by_name(entry) for entry in entries]
    body = msgspec.json.encode({"files": files} if files else {})
    return Response(body, media_type="application/json")


def _by_name(entry: ListingEntry) -> FileInfo:
    return FileInfo(posixpath.basename(entry.path), entry.is_dir, entry.size)


async def upload(call: Call, request: Request) -> Response:
    path = path_of(request)
    await call.services.artifacts.put(
        call.tenant,
        path,
        request.stream(),
        content_length=content_length(request.headers),
        content_type=media_type(
            request.headers.get("content-type") or mimetypes.guess_type(path)[0]
        ),
        digests=declared_digests(request.headers),
    )
    return Response(b"{}", media_type="application/json")


async def download(call: Call, request: Request) -> Response:
    artifact = await call.services.artifacts.get(call.tenant, path_of(request))
    return await file_answer(call.services.artifacts, call.tenant, artifact, request)


async def delete(call: Call, request: Request) -> Response:
    path = path_of(request)
    check_owned(path)
    with suppress(NotFoundError):  # in MLflow, deleting twice is no error
        await call.services.artifacts.delete(call.tenant, path)
    return Response(b"{}", media_type="application/json")


def path_of(request: Request) -> str:
    """The artifact's path in the URL, decoded once by the HTTP server. Raises InvalidValueError."""
    try:
        # The server has replaced bytes that are not UTF-8; the raw path still has them.
        unquote_to_bytes(request.scope.get("raw_path", b"")).decode()
    except UnicodeDecodeError as error:
        raise InvalidValueError("Invalid path: it is not UTF-8", field="path") from error
    path = artifact_path(request.path_params["path"])
    # `experiments/1/runs/…/artifacts/C:/x` is harmless here, but a client sees the path `C:/x`.
    artifact_path("/".join(path.split("/")[5:]), allow_root=True)
    return path
