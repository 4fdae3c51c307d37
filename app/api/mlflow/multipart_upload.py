"""MLflow's transfers beside the proxied ones: uploads in parts, and presigned URLs.

Where the store has no address for clients, their URLs lead to `/mlflow-artifacts/signed/…` here.
Those carry their own permission, and are asked for without a key or a header that names a tenant.
"""

import mimetypes
import ntpath
import posixpath
from typing import Literal, TypeVar
from urllib.parse import quote

import msgspec
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response

from app.api.file_download import file_answer
from app.api.file_response import attachment, media_type
from app.api.headers import content_length, declared_digests
from app.api.mlflow.artifacts import path_of, upload
from app.api.mlflow.router import Call, Routes, decoded, require_json
from app.api.request_body import read_body
from app.artifacts.entities import Artifact
from app.artifacts.index import run_folder
from app.artifacts.multipart_uploads import Address
from app.artifacts.paths import artifact_path
from app.artifacts.signed_urls import Grant
from app.artifacts.stores.contract import Part
from app.kernel import validation
from app.kernel.errors import InvalidValueError
from app.kernel.principal import Principal, Role
from app.logged_models.entities import model_folder
from app.services import Services

routes = Routes()

Message = TypeVar("Message", bound=msgspec.Struct)

# MLflow's own: MLFLOW_PRESIGNED_DOWNLOAD_URL_TTL_SECONDS, and that of a presigned upload.
_DOWNLOAD_SECONDS = 300
_UPLOAD_SECONDS = 900
_MAX_SECONDS = 7 * 24 * 3600  # S3 signs for no longer

_MAX_BODY_BYTES = 4 << 20  # 10,000 parts, each with its URL, which clients send back


class CreateUpload(msgspec.Struct):
    """`path` is the client's local file, whose name the artifact gets."""

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


class DownloadUrlAnswer(msgspec.Struct):
    url: str
    headers: dict[str, str]
    file_size: int


async def create_upload(call: Call, request: Request) -> Response:
    message = await _message(call, request, CreateUpload)
    path = _file_path(request, message.path)
    upload_id, addresses = await call.services.uploads.create(
        call.tenant, path, parts=message.num_parts, content_type=_content_type(path)
    )
    credentials = [
        Credential(_url(call, address), number) for number, address in enumerate(addresses, start=1)
    ]
    return _json(CreateUploadAnswer(upload_id, credentials))


async def complete_upload(call: Call, request: Request) -> Response:
    message = await _message(call, request, CompleteUpload)
    path = _file_path(request, message.path)
    if not message.parts:
        raise validation.missing("parts")
    parts = [Part(part.part_number, part.etag.strip('"')) for part in message.parts]
    await call.services.uploads.complete(
        call.tenant, path, message.upload_id, parts, content_type=_content_type(path)
    )
    return Response(b"{}", media_type="application/json")


async def abort_upload(call: Call, request: Request) -> Response:
    message = await _message(call, request, AbortUpload)
    path = _file_path(request, message.path)
    await call.services.uploads.abort(call.tenant, path, message.upload_id)
    return Response(b"{}", media_type="application/json")


async def download_url(call: Call, request: Request) -> Response:
    artifact = await call.services.artifacts.get(call.tenant, path_of(request))
    url = await _download_url(call, artifact, _DOWNLOAD_SECONDS)
    return _json(DownloadUrlAnswer(url, {}, artifact.size))


async def holder(services: Services, request: Request) -> Principal:
    """Who holds a signed URL may do what it grants, as the tenant that it is of."""
    slug = request.scope.get("tenant_in_path") or ""
    method: Literal["GET", "PUT"] = "PUT" if request.method == "PUT" else "GET"
    tenant = await services.authenticator.tenant_of_signed_url(slug)
    request.state.grant = services.uploads.signer.check(
        method, tenant, path_of(request), request.query_params
    )
    role = Role.WRITE if method == "PUT" else Role.READ
    caller = Principal(tenant, role, "signed-url")
    request.scope["caller"] = caller
    return caller


async def signed(call: Call, request: Request) -> Response:
    """What a signed URL grants to its holder."""
    grant: Grant = request.state.grant
    if grant.upload_id:
        etag = await call.services.uploads.put_part(
            call.tenant,
            grant,
            request.stream(),
            content_length=content_length(request.headers),
            digests=declared_digests(request.headers),
        )
        return Response(headers={"ETag": f'"{etag}"'})
    if grant.method == "PUT":
        return await upload(call, request)
    artifact = await call.services.uploads.granted_file(call.tenant, grant)
    return await file_answer(call.services.artifacts, call.tenant, artifact, request)


class CreateDownloadUrl(msgspec.Struct):
    run_id: str = ""
    path: str = ""
    expiration: int = _DOWNLOAD_SECONDS


class CreateUploadUrl(msgspec.Struct):
    run_id: str = ""
    model_id: str = ""
    path: str = ""
    expiration: int = _UPLOAD_SECONDS


class PresignedUrl(msgspec.Struct, omit_defaults=True):
    presigned_url: str
    headers: dict[str, str] = {}
    file_size: int | None = None


@routes.add("POST", "artifacts/presigned-download-url", CreateDownloadUrl, Role.READ)
async def presigned_download_url(call: Call, message: CreateDownloadUrl) -> PresignedUrl:
    if not message.run_id:
        raise validation.missing("run_id")
    if not message.path:
        raise validation.missing("path")
    path = artifact_path(message.path)
    _check_expiration(message.expiration)
    run = await call.services.runs.get_info(call.tenant, message.run_id)
    artifact = await call.services.artifacts.get(call.tenant, posixpath.join(run_folder(run), path))
    url = await _download_url(call, artifact, message.expiration)
    return PresignedUrl(url, file_size=artifact.size)


@routes.add("POST", "artifacts/presigned-upload-url", CreateUploadUrl, Role.WRITE)
async def presigned_upload_url(call: Call, message: CreateUploadUrl) -> PresignedUrl:
    if not message.path:
        raise validation.missing("path")
    if bool(message.run_id) == bool(message.model_id):
        raise InvalidValueError("Exactly one of run_id and model_id must be provided.")
    path = artifact_path(message.path)
    _check_expiration(message.expiration)
    if message.run_id:
        folder = run_folder(await call.services.runs.get_info(call.tenant, message.run_id))
    else:
        folder = model_folder(await call.services.models.get(call.tenant, message.model_id))
    address = await call.services.uploads.upload_address(
        call.tenant, posixpath.join(folder, path), seconds=message.expiration
    )
    return PresignedUrl(_url(call, address), {"Content-Type": _content_type(path)})


def _check_expiration(seconds: int) -> None:
    if not 1 <= seconds <= _MAX_SECONDS:
        raise InvalidValueError(
            f"expiration must be between 1 and {_MAX_SECONDS} seconds (got {seconds}).",
            field="expiration",
        )


async def _download_url(call: Call, artifact: Artifact, seconds: int) -> str:
    address = await call.services.uploads.download_address(
        call.tenant,
        artifact,
        disposition=attachment(posixpath.basename(artifact.path)),
        seconds=seconds,
    )
    return _url(call, address)


def _url(call: Call, address: Address) -> str:
    """An absolute URL; that of this server is what the client reached it by."""
    if address.url is not None:
        return address.url
    root = str(HTTPConnection(call.scope).base_url).rstrip("/")
    if "tenant_in_path" not in call.scope:
        root = f"{root}/t/{call.tenant.slug}"
    path = quote(address.signed_path)
    return f"{root}/api/2.0/mlflow-artifacts/signed/{path}?{address.signed_query}"


async def _message(call: Call, request: Request, message: type[Message]) -> Message:
    require_json(request.headers)
    memory = call.services.memory
    body = await read_body(request.receive, request.headers, _MAX_BODY_BYTES, memory, call.tenant)
    return await decoded(call.services, call.tenant, body, {}, message)


def _file_path(request: Request, local_file: str) -> str:
    """The path of the artifact: the folder that the URL names, and the name of the local file,
    whose path has Windows' separators where the client runs there."""
    name = ntpath.basename(local_file)
    if not name:
        raise validation.missing("path")
    return artifact_path(posixpath.join(path_of(request), name))


def _content_type(path: str) -> str:
    return media_type(mimetypes.guess_type(path)[0])


def _json(message: msgspec.Struct) -> Response:
    return Response(msgspec.json.encode(message), media_type="application/json")
