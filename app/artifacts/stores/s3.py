"""Artifact store in MinIO or any S3, through minio-py: a bucket for each tenant.

minio-py blocks, so its calls run in the store's threads. A thread is held for one call, never while
a client sends or receives.
"""

import hashlib
import hmac
import os
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import NoReturn
from urllib.parse import urlsplit

import certifi
import urllib3
from minio import Minio

from app.artifacts.stores.blocking.s3_buckets import Buckets, NewBucket
from app.artifacts.stores.blocking.s3_uploads import S3MultipartUploads, S3ObjectUpload
from app.artifacts.stores.checksums import Digest
from app.artifacts.stores.contract import ArtifactStore
from app.artifacts.stores.object_reader import ObjectReader, clamped
from app.artifacts.stores.path_rules import key_segments
from app.artifacts.stores.upload_buffers import UploadMemory
from app.artifacts.stores.upload_stream import write_body
from app.artifacts.stores.values import MAX_PARTS, Part, StoredKey, StoredObject, UnfinishedUpload
from app.kernel.errors import InvalidValueError, NotFoundError
from app.kernel.fair_thread_pool import FairThreadPool

# S3 takes parts of at least 5 MiB, and at most 10,000 of them. Two parts are sent while the next
# one is filled; all three are in memory.
_PART_BYTES = 6 << 20
_MAX_PART_BYTES = 64 << 20
_CONCURRENT_PARTS = 2

_THREADS = 16
_THREADS_FOR_COPIES = 8  # S3 may take minutes for a copy: transfers don't wait for one
_NO_TENANT = ""  # the threads' queue for work that is done for no tenant
_TIMEOUT = urllib3.Timeout(connect=5, read=60)  # seconds; `read` bounds one wait, not a transfer
RETRIES = urllib3.Retry(total=2, backoff_factor=0.2, status_forcelist=(500, 502, 503, 504))

# With a slug of at most 48 characters, the bucket's name stays within S3's 63.
_BUCKET_PREFIX = re.compile(r"([a-z0-9][a-z0-9-]{0,14})?")

_DEFAULT_REGION = "us-east-1"


class S3Store(ArtifactStore):
    """`endpoint` is host:port, `public_endpoint` the URL at which clients reach the same store.
    Raises ValueError for a value that no S3 service can have."""

    def __init__(
        self,
        endpoint: str,
        access_key: str,
        secret_key: str,
        *,
        secure: bool = False,
        region: str | None = None,
        path_style: bool = True,
        public_endpoint: str | None = None,
        bucket_prefix: str = "",
        versioning: bool = False,
        old_versions_days: int | None = None,
    ) -> None:
        if "/" in endpoint:
            raise ValueError(
                "TRACKING_MINIO_ENDPOINT is host:port; TRACKING_MINIO_SECURE says http or https"
            )
        if not _BUCKET_PREFIX.fullmatch(bucket_prefix):
            raise ValueError(
                "TRACKING_MINIO_BUCKET_PREFIX has at most 15 characters of a-z, 0-9 and '-',"
                " the first of them not a '-'"
            )
        self._http = urllib3.PoolManager(
            num_pools=64,  # on Amazon, each bucket has a host name
            maxsize=2 * (_THREADS + _THREADS_FOR_COPIES),
            timeout=_TIMEOUT,
            retries=RETRIES,
            ca_certs=os.environ.get("SSL_CERT_FILE") or certifi.where(),
        )
        client = Minio(
            endpoint, access_key, secret_key, secure=secure, region=region, http_client=self._http
        )
        self._public = None
        if public_endpoint:
            host, tls = _host(public_endpoint)
            # With a region set, minio-py signs URLs without a request: this server may be unable to
            # reach the public endpoint.
            self._public = Minio(
                host, access_key, secret_key, secure=tls, region=region or _DEFAULT_REGION
            )
        if not path_style:
            for minio in (client, self._public):
                if minio is not None:
                    minio.enable_virtual_style_endpoint()  # type: ignore[no-untyped-call]
        new = NewBucket(bucket_prefix, versioning, old_versions_days)
        self._buckets = Buckets(client, endpoint, new)
        self._uploads = S3MultipartUploads(self._buckets)
        self._threads = FairThreadPool(_THREADS)
        self._copy_threads = FairThreadPool(_THREADS_FOR_COPIES)
        self.memory = UploadMemory()
        self._secret_key = secret_key

    async def put(
        self,
        tenant: str,
        key: str,
        body: AsyncIterator[bytes],
        *,
        content_length: int | None,
        content_type: str,
        digests: Sequence[Digest] = (),
    ) -> StoredObject:
        key_segments(key)
        part_bytes = _part_bytes(content_length)
        return await write_body(
            self._threads.of(tenant),
            S3ObjectUpload(self._buckets, tenant, key, _header(content_type), part_bytes),
            body,
            buffers=self.memory.of(tenant, [min(part_bytes, content_length or part_bytes)]),
            content_length=content_length,
            digests=digests,
            concurrent_parts=_CONCURRENT_PARTS,
        )

    async def open(
        self, tenant: str, key: str, *, start: int = 0, end: int | None = None
    ) -> ObjectReader:
        key_segments(key)
        threads = self._threads.of(tenant)
        source, stored = await threads.run(self._buckets.open, tenant, key, start, end)
        return ObjectReader(threads, source, stored, *clamped(start, end, stored.size))

    async def stat(self, tenant: str, key: str) -> StoredObject | None:
        key_segments(key)
        with suppress(NotFoundError):
            return await self._threads.of(tenant).run(self._buckets.stat, tenant, key)
        return None

    async def copy(self, tenant: str, source: str, target: str) -> StoredObject:
        key_segments(source)
        key_segments(target)
        return await self._copy_threads.of(tenant).run(self._buckets.copy, tenant, source, target)

    async def delete(self, tenant: str, keys: Sequence[str]) -> None:
        for key in keys:
            key_segments(key)
        if keys:
            await self._threads.of(tenant).run(self._buckets.delete, tenant, keys)

    async def delete_below(self, tenant: str, folder: str) -> None:
        key_segments(folder)
        await self._threads.of(tenant).run(self._buckets.delete_below, tenant, folder)

    async def keys(
        self, tenant: str, *, folder: str = "", after: str = ""
    ) -> AsyncIterator[StoredKey]:
        prefix = f"{folder}/" if folder else ""
        async for found in self._threads.of(tenant).batched(
            self._buckets.walk(tenant, prefix, after)
        ):
            yield found

    async def tenants(self) -> list[str]:
        return await self._threads.of(_NO_TENANT).run(self._buckets.tenants)

    @property
    def takes_parts(self) -> bool:
        return self._public is not None

    @property
    def takes_parts_directly(self) -> bool:
        return self.takes_parts

    async def create_upload(self, tenant: str, key: str, *, content_type: str) -> str:
        key_segments(key)
        content_type = _header(content_type)
        return await self._threads.of(tenant).run(self._uploads.create, tenant, key, content_type)

    async def part_url(
        self, tenant: str, key: str, upload_id: str, number: int, *, seconds: int
    ) -> str | None:
        key_segments(key)
        if self._public is None:
            return None
        return self._public.get_presigned_url(
            "PUT",
            self._buckets.name(tenant),
            key,
            timedelta(seconds=seconds),
            extra_query_params={"partNumber": str(number), "uploadId": upload_id},
        )

    async def put_part(
        self,
        tenant: str,
        key: str,
        upload_id: str,
        number: int,
        body: AsyncIterator[bytes],
        *,
        content_length: int | None,
        digests: Sequence[Digest] = (),
    ) -> NoReturn:
        # S3 takes a part's length and hash before its bytes, so this server would have to hold the
        # whole part.
        raise InvalidValueError("Parts are sent to the artifact store itself", field="part")

    async def complete_upload(
        self, tenant: str, key: str, upload_id: str, parts: Sequence[Part]
    ) -> StoredObject:
        key_segments(key)
        complete = self._uploads.complete
        return await self._copy_threads.of(tenant).run(complete, tenant, key, upload_id, parts)

    async def abort_upload(self, tenant: str, key: str, upload_id: str) -> None:
        key_segments(key)
        await self._threads.of(tenant).run(self._uploads.abort, tenant, key, upload_id)

    async def unfinished(self, tenant: str) -> AsyncIterator[UnfinishedUpload]:
        async for found in self._threads.of(tenant).batched(self._uploads.unfinished(tenant)):
            yield found

    async def discard(self, tenant: str, upload: UnfinishedUpload) -> None:
        if upload.key:
            await self.abort_upload(tenant, upload.key, upload.upload_id)

    async def object_url(
        self, tenant: str, key: str, *, disposition: str, seconds: int
    ) -> str | None:
        key_segments(key)
        if self._public is None:
            return None
        return self._public.get_presigned_url(
            "GET",
            self._buckets.name(tenant),
            key,
            timedelta(seconds=seconds),
            response_headers={"response-content-disposition": disposition},
        )

    def signing_key(self) -> bytes:
        # Every process that uses the store has its secret key, and no answer shows it.
        return hmac.digest(self._secret_key.encode(), b"signed transfers", hashlib.sha256)

    async def check(self) -> None:
        await self._threads.of(_NO_TENANT).run(self._buckets.check)

    async def close(self) -> None:
        await self._threads.close()
        await self._copy_threads.close()
        self._http.clear()


def _host(public_endpoint: str) -> tuple[str, bool]:
    """Host and port of a URL, and whether it is https."""
    url = urlsplit(public_endpoint)
    if url.scheme not in ("http", "https") or not url.netloc or url.path.strip("/") or url.query:
        raise ValueError("TRACKING_MINIO_PUBLIC_ENDPOINT is a URL of a host, https://host:port")
    return url.netloc, url.scheme == "https"


def _part_bytes(content_length: int | None) -> int:
    """The size of an upload's parts: 6 MiB up to 58 GiB; above that as large as S3's limit on their
    number requires. Raises InvalidValueError where they would be larger than 64 MiB."""
    if content_length is None:
        return _PART_BYTES
    if content_length > MAX_PARTS * _MAX_PART_BYTES:
        raise InvalidValueError(
            f"An artifact can have at most {MAX_PARTS * _MAX_PART_BYTES >> 30} GiB, unless its"
            " parts are sent to the artifact store itself",
            field="Content-Length",
        )
    return max(_PART_BYTES, -(-content_length // MAX_PARTS))


def _header(content_type: str) -> str:
    """The content type if a header can hold it, else the general one: a client's malformed content
    type is no reason to refuse its file."""
    valid = content_type.isascii() and content_type.isprintable()
    return content_type if content_type and valid else "application/octet-stream"
