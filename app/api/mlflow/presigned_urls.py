"""MLflow's presigned URLs for downloads and uploads, and the signed URLs of this server.

Where the store has no address for clients, presigned URLs lead to `/mlflow-artifacts/signed/…` on
this server. A signed URL carries its own permission: its requests need no API key and no header
that names a tenant.
"""

import mimetypes
import posixpath
from typing import Literal
from urllib.parse import quote

import msgspec
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response

from app.api.file_download import file_answer
from app.api.file_response import attachment, media_type
from app.api.headers import content_length, declared_digests
from app.api.mlflow.artifacts import decoded_path, path_of, upload
from app.api.mlflow.router import Call, Routes
from app.artifacts.entities import Artifact
from app.artifacts.multipart_uploads import Address
from app.artifacts.paths import artifact_path, path_to_read
from app.artifacts.signed_urls import Grant
from app.kernel import validation
from app.kernel.errors import InvalidValueError
from app.kernel.principal import Principal, Role
from app.services import Services

routes = Routes()

# MLflow's own defaults: MLFLOW_PRESIGNED_DOWNLOAD_URL_TTL_SECONDS, and that of presigned uploads.
_DOWNLOAD_SECONDS = 300
_UPLOAD_SECONDS = 900
_MAX_SECONDS = 7 * 24 * 3600  # the longest time that S3 signs for


class DownloadUrlAnswer(msgspec.Struct):
    url: str
    headers: dict[str, str]
    file_size: int


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


async def download_url(call: Call, request: Request) -> Response:
    """A presigned download URL for the path in the request's URL."""
    path = path_to_read(decoded_path(request))
    artifact = await call.services.artifacts.get_as_listed(call.tenant, path)
    url = await _download_url(call, artifact, _DOWNLOAD_SECONDS)
    body = msgspec.json.encode(DownloadUrlAnswer(url, {}, artifact.size))
    return Response(body, media_type="application/json")


@routes.add("POST", "artifacts/presigned-download-url", CreateDownloadUrl, Role.READ)
async def presigned_download_url(call: Call, message: CreateDownloadUrl) -> PresignedUrl:
    if not message.run_id:
        raise validation.missing("run_id")
    if not message.path:
        raise validation.missing("path")
    path = path_to_read(message.path)
    _check_expiration(message.expiration)
    run = await call.services.runs.locate(call.tenant, message.run_id)
    artifact = await call.services.artifacts.get_as_listed(
        call.tenant, posixpath.join(run.folder, path)
    )
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
        folder = (await call.services.runs.locate(call.tenant, message.run_id)).folder
    else:
        folder = (await call.services.models.locate(call.tenant, message.model_id)).folder
    address = await call.services.uploads.upload_address(
        call.tenant, posixpath.join(folder, path), seconds=message.expiration
    )
    content_type = media_type(mimetypes.guess_type(path)[0])
    return PresignedUrl(absolute_url(call, address), {"Content-Type": content_type})


async def authenticate_signed_url(services: Services, request: Request) -> Principal:
    """The caller of a signed URL: its tenant, with the role that the URL's method needs. Keeps the
    grant in the request's state. Raises PermissionDeniedError."""
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


async def serve_signed_url(call: Call, request: Request) -> Response:
    """Takes the upload, or sends the file, that a signed URL grants."""
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


def absolute_url(call: Call, address: Address) -> str:
    """The URL of an address. One of this server has the host by which the client reached it."""
    if address.url is not None:
        return address.url
    root = str(HTTPConnection(call.scope).base_url).rstrip("/")
    if "tenant_in_path" not in call.scope:
        root = f"{root}/t/{call.tenant.slug}"
    path = quote(address.signed_path)
    return f"{root}/api/2.0/mlflow-artifacts/signed/{path}?{address.signed_query}"


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
    return absolute_url(call, address)
