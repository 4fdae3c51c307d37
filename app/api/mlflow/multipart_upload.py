"""MLflow's multipart uploads: create, complete and abort."""

import mimetypes
import ntpath
import posixpath
from typing import TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from app.api.file_response import media_type
from app.api.mlflow.artifacts import path_of
from app.api.mlflow.presigned_urls import absolute_url
from app.api.mlflow.router import Call, read_message, require_json
from app.artifacts.paths import artifact_path, name_as_in_url
from app.artifacts.stores.values import Part
from app.kernel import validation

Message = TypeVar("Message", bound=msgspec.Struct)

_MAX_BODY_BYTES = 4 << 20  # 10,000 parts, each with its URL, which clients send back


class CreateUpload(msgspec.Struct):
    """`path` is that of the client's local file; the artifact gets its name."""

    path: str = ""
    num_parts: int = 1


class Credential(msgspec.Struct):
    url: str
    part_number: int
    headers: dict[str, str] = {}


class CreateUploadAnswer(msgspec.Struct):
    upload_id: str
    credentials: list[Credential]


class UploadedPart(msgspec.Struct):
    part_number: int = 0
    etag: str = ""


class CompleteUpload(msgspec.Struct):
    path: str = ""
    upload_id: str = ""
    parts: list[UploadedPart] = []


class AbortUpload(msgspec.Struct):
    path: str = ""
    upload_id: str = ""


async def create_upload(call: Call, request: Request) -> Response:
    message = await _read_message(call, request, CreateUpload)
    path = _artifact_path(request, message.path)
    upload_id, addresses = await call.services.uploads.create(
        call.tenant, path, parts=message.num_parts, content_type=_content_type(path)
    )
    credentials = [
        Credential(absolute_url(call, address), number)
        for number, address in enumerate(addresses, start=1)
    ]
    body = msgspec.json.encode(CreateUploadAnswer(upload_id, credentials))
    return Response(body, media_type="application/json")


async def complete_upload(call: Call, request: Request) -> Response:
    message = await _read_message(call, request, CompleteUpload)
    path = _artifact_path(request, message.path)
    if not message.parts:
        raise validation.missing("parts")
    parts = [Part(part.part_number, part.etag.strip('"')) for part in message.parts]
    await call.services.uploads.complete(
        call.tenant, path, message.upload_id, parts, content_type=_content_type(path)
    )
    return Response(b"{}", media_type="application/json")


async def abort_upload(call: Call, request: Request) -> Response:
    message = await _read_message(call, request, AbortUpload)
    path = _artifact_path(request, message.path)
    await call.services.uploads.abort(call.tenant, path, message.upload_id)
    return Response(b"{}", media_type="application/json")


async def _read_message(call: Call, request: Request, message: type[Message]) -> Message:
    require_json(request.headers)
    return await read_message(
        call.services,
        call.tenant,
        request.receive,
        request.headers,
        message,
        {},
        max_bytes=_MAX_BODY_BYTES,
    )


def _artifact_path(request: Request, local_file: str) -> str:
    """The artifact's path: the folder that the URL names, and the name of the client's local file,
    whose path has Windows' separators where the client runs there. The file gets the name that it
    has where it is uploaded whole."""
    name = ntpath.basename(local_file)
    if not name:
        raise validation.missing("path")
    folder = path_of(request)
    return artifact_path(posixpath.join(folder, name_as_in_url(name, folder)))


def _content_type(path: str) -> str:
    return media_type(mimetypes.guess_type(path)[0])
