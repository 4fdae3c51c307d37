"""Uploads to S3: whole objects, and multipart uploads.

minio-py's `put_object` would hold a thread for as long as a client takes to send, and minio-py has
no public call for uploads whose parts clients send themselves. So this module uses private methods
of minio-py, the S3 calls below `put_object`. No other module does: an upgrade of minio-py has to be
tested against this one.
"""

import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import cast

from minio.datatypes import Part as S3Part
from minio.datatypes import Upload
from minio.error import S3Error

from app.artifacts.stores.blocking.s3_buckets import Buckets
from app.artifacts.stores.blocking.s3_errors import s3_errors, upload_errors
from app.artifacts.stores.values import MAX_PARTS, Part, StoredObject, UnfinishedUpload
from app.kernel.errors import InvalidValueError, NotFoundError, UnavailableError

log = logging.getLogger(__name__)


class S3ObjectUpload:
    """A whole object: one request if it fits into one part, else an S3 multipart upload.

    The size needs no check afterwards: each request carries its length and a checksum, and the
    multipart upload is completed from the etags of the parts.
    """

    def __init__(
        self, buckets: Buckets, tenant: str, key: str, content_type: str, part_bytes: int
    ) -> None:
        self._buckets = buckets
        self._client = buckets.client
        self._tenant = tenant
        self._bucket = buckets.name(tenant)
        self._key = key
        self._headers: dict[str, str | list[str] | tuple[str]] = {"Content-Type": content_type}
        self._part_bytes = part_bytes
        self._size = 0
        self._only_part = memoryview(b"")
        self._upload_id: str | None = None
        self._parts: list[S3Part] = []
        self._creating = threading.Lock()

    def write(self, part: memoryview, number: int) -> None:
        with self._creating:
            self._size += len(part)
            if self._upload_id is None:
                if len(part) < self._part_bytes:
                    self._only_part = part
                    return
                with upload_errors(self._key):
                    self._upload_id = self._buckets.write(self._tenant, self._create)
        if number > MAX_PARTS:
            raise InvalidValueError(
                f"An upload of more than {MAX_PARTS * self._part_bytes >> 30} GiB has to declare"
                " its Content-Length",
                field="Content-Length",
            )
        with upload_errors(self._key):
            # The parameter is typed as bytes, but any buffer works; a copy would double the memory.
            etag = self._client._upload_part(
                self._bucket, self._key, cast(bytes, part), None, self._upload_id, number
            )
        self._parts.append(S3Part(number, etag))

    def finish(self, sha256: str) -> StoredObject:
        with upload_errors(self._key):
            if self._upload_id is None:
                etag = self._buckets.write(self._tenant, self._put_whole)
            else:
                etag = self._client._complete_multipart_upload(
                    self._bucket,
                    self._key,
                    self._upload_id,
                    sorted(self._parts, key=lambda part: part.part_number),
                ).etag
        if not etag:
            # S3 may answer 200 first and fail later; the answer then has no etag.
            raise UnavailableError("The artifact store did not complete the upload")
        self._upload_id = None
        return StoredObject(self._size, etag, sha256)

    def abort(self) -> None:
        if self._upload_id is None:
            return
        try:
            self._client._abort_multipart_upload(self._bucket, self._key, self._upload_id)
        except Exception:
            log.warning(
                "an unfinished upload in bucket %s could not be aborted; garbage collection removes"
                " it",
                self._bucket,
                exc_info=True,
            )

    def _create(self, bucket: str) -> str:
        return self._client._create_multipart_upload(bucket, self._key, {**self._headers})

    def _put_whole(self, bucket: str) -> str | None:
        data = cast(bytes, self._only_part)
        # A copy of the headers: minio-py adds its own to the dict.
        return self._client._put_object(bucket, self._key, data, {**self._headers}).etag


class S3MultipartUploads:
    """Multipart uploads whose parts clients send to the store themselves."""

    def __init__(self, buckets: Buckets) -> None:
        self._buckets = buckets
        self._client = buckets.client

    def create(self, tenant: str, key: str, content_type: str) -> str:
        def call(bucket: str) -> str:
            return self._client._create_multipart_upload(
                bucket, key, {"Content-Type": content_type}
            )

        with upload_errors(key):
            return self._buckets.write(tenant, call)

    def complete(
        self, tenant: str, key: str, upload_id: str, parts: Sequence[Part]
    ) -> StoredObject:
        s3_parts = [S3Part(part.number, part.etag.strip('"')) for part in parts]
        with s3_errors(key):
            completed = self._client._complete_multipart_upload(
                self._buckets.name(tenant), key, upload_id, s3_parts
            )
        if not completed.etag:
            raise UnavailableError("The artifact store did not complete the upload")
        return self._buckets.stat(tenant, key)

    def abort(self, tenant: str, key: str, upload_id: str) -> None:
        with suppress(NotFoundError), s3_errors(key):
            self._client._abort_multipart_upload(self._buckets.name(tenant), key, upload_id)

    def unfinished(self, tenant: str) -> Iterator[UnfinishedUpload]:
        after: Upload | None = None
        while True:
            with s3_errors():
                try:
                    page = self._client._list_multipart_uploads(
                        self._buckets.name(tenant),
                        key_marker=after.object_name if after else None,
                        upload_id_marker=after.upload_id if after else None,
                    )
                except S3Error as error:
                    if error.code == "NoSuchBucket":
                        return
                    raise
            for found in page.uploads:
                started = found.initiated_time.timestamp() if found.initiated_time else 0
                yield UnfinishedUpload(
                    found.upload_id or "", found.object_name, int(started * 1000)
                )
            if not (page.is_truncated and page.uploads):
                return
            after = page.uploads[-1]
