"""Serves a stored file: whole, a range of it, or "not modified"."""

from starlette.requests import Request
from starlette.responses import Response

from app.api.file_response import (
    ReaderResponse,
    byte_range,
    file_headers,
    is_current,
    range_applies,
    validators,
)
from app.artifacts.entities import Artifact
from app.artifacts.service import Artifacts
from app.http.head import is_head
from app.kernel.tenant import Tenant


async def file_answer(
    artifacts: Artifacts, tenant: Tenant, artifact: Artifact, request: Request
) -> Response:
    """The response to a GET or HEAD of the file. Supports Range with a single range, If-Range and
    If-None-Match.

    Raises HTTPException 416 for a range after the file's end, NotFoundError where the file was
    deleted meanwhile.
    """
    if is_current(request.headers.get("if-none-match"), artifact.etag):
        return Response(status_code=304, headers=validators(artifact.etag))
    headers = file_headers(artifact)
    if is_head(request.scope):  # ignores the Range header (RFC 9110, 14.2)
        return Response(headers=headers | {"Content-Length": str(artifact.size)})
    part = None
    if range_applies(request.headers.get("if-range"), artifact.etag):
        part = byte_range(request.headers.get("range"), artifact.size)
    reader = await artifacts.open(
        tenant, artifact, start=part.start if part else 0, end=part.end if part else None
    )
    # The file may have been replaced since its row was read: these headers are of the bytes sent.
    headers["ETag"] = f'"{reader.stored.etag}"'
    headers["Content-Length"] = str(reader.end - reader.start)
    if part:
        headers["Content-Range"] = f"bytes {reader.start}-{reader.end - 1}/{reader.stored.size}"
    return ReaderResponse(reader, 206 if part else 200, headers)
