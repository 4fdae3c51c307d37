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
from app.artifacts.paths import artifact_path, path_in_url, path_to_read
from app.http.head import is_head, no_chunks
from app.kernel import validation
from app.kernel.artifact_uris import ModelLocation, RunLocation
from app.kernel.errors import NotFoundError
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
    path = path_to_read(message.path, allow_root=True)
    run = await call.services.runs.locate(call.tenant, run_id)
    return await listing(call, run, path, message.path, message.page_token)


async def listing(
    call: Call, root: RunLocation | ModelLocation, path: str, given: str, page_token: str
) -> ListArtifactsAnswer | StreamedJson:
    """The files and folders directly in the folder `path`, which the client has `given`. All in one
    response, because MLflow's clients don't ask for a second page."""
    wanted = posixpath.join(root.folder, path).rstrip("/")
    folder, entries, token = await _first_page(call, wanted, page_token)
    if folder != wanted:
        given = folder.removeprefix(f"{root.folder}/")

    def shown(entry: ListingEntry) -> FileInfo:
        # As in MLflow's server, `./x` is listed as `./x/…`.
        return FileInfo(
            posixpath.join(given, posixpath.basename(entry.path)), entry.is_dir, entry.size or None
        )

    if token is None:
        return ListArtifactsAnswer(root.artifact_uri, [shown(entry) for entry in entries])
    head = b'{"root_uri":%s,"files":[' % msgspec.json.encode(root.artifact_uri)
    return StreamedJson(_pages(call, folder, entries, token, head, shown))


async def _first_page(
    call: Call, folder: str, page_token: str = ""
) -> tuple[str, Sequence[ListingEntry], str | None]:
    """The folder, its first entries, and the token of the next page. Where there is nothing, it may
    be another folder that the client shows at this path."""
    artifacts = call.services.artifacts
    entries, token = await artifacts.list(
        call.tenant, folder, limit=PAGE, page_token=page_token or None
    )
    if not entries and not page_token:
        stored = await artifacts.find_as_listed(call.tenant, folder)
        if stored is not None:
            folder = stored
            entries, token = await artifacts.list(call.tenant, folder, limit=PAGE)
    return folder, entries, token


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
    folder = path_to_read(message.path, allow_root=True)
    entries: Sequence[ListingEntry] = []
    token = None
    if folder:
        folder, entries, token = await _first_page(call, folder)
    if token is not None:
        pages = _pages(call, folder, entries, token, b'{"files":[', _by_name)
        if is_head(request.scope):
            pages = no_chunks()
        return StreamingResponse(pages, media_type="application/json")
    files = [_by_name(entry) for entry in entries]
    body = msgspec.json.encode({"files": files} if files else {})
    return Response(body, media_type="application/json")


def _by_name(entry: ListingEntry) -> FileInfo:
    return FileInfo(posixpath.basename(entry.path), entry.is_dir, entry.size or None)


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
    return await file_at(call, request, path_to_read(decoded_path(request)))


async def file_at(call: Call, request: Request, path: str) -> Response:
    """The file, as MLflow's client names it. Raises NotFoundError."""
    artifact = await call.services.artifacts.get_as_listed(call.tenant, path)
    return await file_answer(call.services.artifacts, call.tenant, artifact, request)


async def delete(call: Call, request: Request) -> Response:
    path = path_of(request)
    check_owned(path)
    with suppress(NotFoundError):  # in MLflow, deleting twice is no error
        await call.services.artifacts.delete(call.tenant, path)
    return Response(b"{}", media_type="application/json")


def path_of(request: Request) -> str:
    """The artifact's path in the URL. Raises InvalidValueError."""
    path = artifact_path(decoded_path(request))
    # `experiments/1/runs/…/artifacts/C:/x` is harmless here, but a client sees the path `C:/x`.
    artifact_path("/".join(path.split("/")[5:]), allow_root=True)
    return path


def decoded_path(request: Request) -> str:
    """The path behind the route's prefix, decoded once, and not yet validated."""
    path: str = request.path_params["path"]
    if "\ufffd" in path:
        # The HTTP server has replaced bytes that are not UTF-8; the raw path still has them.
        prefix = request.scope["path"].removesuffix(path)
        whole = unquote_to_bytes(request.scope["raw_path"]).decode("utf-8", "surrogateescape")
        path = whole.removeprefix(prefix)
    return path_in_url(path)
