"""Uploads to S3: whole objects, and objects in parts.

minio-py's `put_object` would hold a thread for as long as a client takes to send, and has nothing
for uploads whose parts clients send themselves. So all of minio-py that is private is used here,
the S3 calls underneath `put_object`, and an upgrade of it has this file to be tested for.
"""

import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import cast

from minio.datatypes import Part as S3Part
from minio.datatypes import Upload
from minio.error import S3Error

from app.artifacts.stores.contract import MAX_PARTS, Part, StoredObject, UnfinishedUpload
from app.artifacts.stores.s3_buckets import Buckets
from app.artifacts.stores.s3_errors import s3_errors, upload_errors
from app.kernel.errors import InvalidValueError, NotFoundError, UnavailableError

log = logging.getLogger(__name__)


class S3Upload:
    """An object in one request if it fits into one part, else an S3 multipart upload.

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
            # Typed as bytes, but any buffer will do, and a copy would double the memory.
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
            # S3 may start to answer 200 and find out later that it can't complete the upload.
            raise UnavailableError("The artifact store did not complete the upload")
        self._upload_id = None
        return StoredObject(self._size, etag, sha256)

    def abort(self) -> None:
        if self._upload_id is None:
            return
        try:
            self._client._abort_multipart_upload(self._bucket, self._key, self._upload_id)
        except Exception:
            log.warning("an unfinished upload was left in %s", self._bucket, exc_info=True)

    def _create(self, bucket: str) -> str:
        return self._client._create_multipart_upload(bucket, self._key, {**self._headers})

    def _put_whole(self, bucket: str) -> str | None:
        data = cast(bytes, self._only_part)
        # A copy of the headers, for minio-py adds its own to what it is given.
        return self._client._put_object(bucket, self._key, data, {**self._headers}).etag


class S3Uploads:
    """The blocking work on uploads whose parts clients send to the store."""

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
        named = [S3Part(part.number, part.etag.strip('"')) for part in parts]
        with s3_errors(key):
            completed = self._client._complete_multipart_upload(
                self._buckets.name(tenant), key, upload_id, named
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
                began = found.initiated_time.timestamp() if found.initiated_time else 0
                yield UnfinishedUpload(found.upload_id or "", found.object_name, int(began * 1000))
            if not (page.is_truncated and page.uploads):
                return
            after = page.uploads[-1]
