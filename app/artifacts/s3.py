"""Artifacts in MinIO or any S3, through minio-py: a bucket for each tenant.

minio-py blocks, so it runs in the store's threads. Its `put_object` would hold a thread for as long
as a client takes to send, and a few slow clients would stop every transfer; so parts are gathered
without a thread, and each is sent with the S3 call underneath `put_object`.
"""

import logging
import os
import re
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TypeVar, cast
from xml.etree.ElementTree import ParseError

import certifi
import urllib3
from minio import Minio
from minio.datatypes import Part
from minio.deleteobjects import DeleteObject
from minio.error import MinioException, S3Error

from app.artifacts.paths import key_segments
from app.artifacts.store import (
    ArtifactStore,
    ObjectReader,
    StoredObject,
    Threads,
    batched,
    clamped,
    in_parts,
    receive,
)
from app.errors import ConflictError, InvalidValueError, NotFoundError, UnavailableError

log = logging.getLogger(__name__)

T = TypeVar("T")

# Two parts are in memory during an upload. S3 wants at least 5 MiB, and at most 10,000 of them.
_PART_BYTES = 6 << 20
_MAX_PARTS = 10_000
_MAX_OBJECT_BYTES = 5 << 40

_THREADS = 16
_TIMEOUT = urllib3.Timeout(
    connect=5, read=60
)  # seconds; `read` is for one wait, not for a transfer
_RETRIES = urllib3.Retry(total=2, backoff_factor=0.2, status_forcelist=(500, 502, 503, 504))

# With a slug of at most 48 characters, the bucket's name stays within S3's 63.
_BUCKET_PREFIX = re.compile(r"([a-z0-9][a-z0-9-]{0,14})?")

_ABSENT = {"NoSuchKey", "NoSuchBucket"}
_DENIED = {"AccessDenied", "AllAccessDisabled"}
# Some MinIO versions, unlike Amazon, keep no object whose key is also the folder of another.
_CLASH = {"XMinioParentIsObject", "XMinioObjectExistsAsDirectory"}
_REFUSED = (
    "The artifact store refuses the credentials: check TRACKING_MINIO_ACCESS_KEY and"
    " TRACKING_MINIO_SECRET_KEY"
)
_ELSEWHERE = "The artifact store expects another region: check TRACKING_MINIO_REGION"
_REASONS = {
    "InvalidAccessKeyId": _REFUSED,
    "SignatureDoesNotMatch": _REFUSED,
    "AuthorizationHeaderMalformed": _ELSEWHERE,
    "IllegalLocationConstraintException": _ELSEWHERE,
    "PermanentRedirect": _ELSEWHERE,
    "RequestTimeTooSkewed": (
        "The clocks of this server and of the artifact store are too far apart: set the time"
    ),
    "SlowDown": "The artifact store is busy",
}


class S3Store(ArtifactStore):
    """`endpoint` is host:port. ValueError if a value can't be one of an S3 service."""

    def __init__(
        self,
        endpoint: str,
        access_key: str,
        secret_key: str,
        *,
        secure: bool = False,
        region: str | None = None,
        bucket_prefix: str = "",
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
        http = urllib3.PoolManager(
            num_pools=64,  # Amazon has a host name for each bucket
            maxsize=2 * _THREADS,
            timeout=_TIMEOUT,
            retries=_RETRIES,
            ca_certs=os.environ.get("SSL_CERT_FILE") or certifi.where(),
        )
        client = Minio(
            endpoint, access_key, secret_key, secure=secure, region=region, http_client=http
        )
        self._http = http
        self._buckets = _Buckets(client, bucket_prefix, endpoint)
        self._threads = Threads(_THREADS)

    async def put(
        self,
        tenant: str,
        key: str,
        body: AsyncIterator[bytes],
        *,
        content_length: int | None,
        content_type: str,
    ) -> StoredObject:
        key_segments(key)
        part_bytes = _part_bytes(content_length)
        upload = _S3Upload(self._buckets, tenant, key, _header(content_type), part_bytes)
        return await receive(self._threads, upload, in_parts(body, part_bytes, content_length))

    async def open(
        self, tenant: str, key: str, *, start: int = 0, end: int | None = None
    ) -> ObjectReader:
        key_segments(key)
        source, stored = await self._threads.run(self._buckets.open, tenant, key, start, end)
        return ObjectReader(self._threads, source, stored, *clamped(start, end, stored.size))

    async def stat(self, tenant: str, key: str) -> StoredObject | None:
        key_segments(key)
        with suppress(NotFoundError):
            return await self._threads.run(self._buckets.stat, tenant, key)
        return None

    async def delete(self, tenant: str, keys: Sequence[str]) -> None:
        for key in keys:
            key_segments(key)
        if keys:
            await self._threads.run(self._buckets.delete, tenant, keys)

    async def keys(self, tenant: str) -> AsyncIterator[tuple[str, int]]:
        async for found in batched(self._threads, self._buckets.walk(tenant)):
            yield found

    async def check(self) -> None:
        await self._threads.run(self._buckets.check)

    async def close(self) -> None:
        await self._threads.close()
        self._http.clear()


def _part_bytes(content_length: int | None) -> int:
    """Flat up to 58 GiB; above that S3's limit on their number makes parts, and memory, grow."""
    if content_length is None:
        return _PART_BYTES
    if content_length > _MAX_OBJECT_BYTES:
        raise InvalidValueError("An artifact can have at most 5 TiB", field="Content-Length")
    return max(_PART_BYTES, -(-content_length // _MAX_PARTS))


def _header(content_type: str) -> str:
    """What can travel in a header: a client's odd content type is no reason to lose its file."""
    plain = content_type.isascii() and content_type.isprintable()
    return content_type if content_type and plain else "application/octet-stream"


class _Buckets:
    """The blocking calls, by tenant."""

    def __init__(self, client: Minio, prefix: str, endpoint: str) -> None:
        self.client = client
        self._prefix = prefix
        self._endpoint = endpoint
        self._known: set[str] = set()

    def name(self, tenant: str) -> str:
        return self._prefix + tenant

    def open(
        self, tenant: str, key: str, start: int, end: int | None
    ) -> tuple["_Body | None", StoredObject]:
        """The open body of the range, None if that is empty."""
        if end is not None and end <= start:
            return None, self.stat(tenant, key)
        length = 0 if end is None else end - start  # to minio-py, 0 is all the rest
        try:
            with _s3_errors(key):
                response = self.client.get_object(self.name(tenant), key, start, length)
        except _EmptyRangeError:
            return None, self.stat(tenant, key)
        body = _Body(response)
        try:
            return body, _stored_of(response, ranged=bool(start or length))
        except BaseException:
            body.close()
            raise

    def stat(self, tenant: str, key: str) -> StoredObject:
        with _s3_errors(key):
            found = self.client.stat_object(self.name(tenant), key)
        return StoredObject(found.size or 0, found.etag or "")

    def delete(self, tenant: str, keys: Sequence[str]) -> None:
        with suppress(NotFoundError), _s3_errors():
            objects = [DeleteObject(key) for key in keys]
            failures = list(self.client.remove_objects(self.name(tenant), objects))
            for failure in failures:
                if failure.code not in _ABSENT:
                    raise _failure(failure.code)

    def walk(self, tenant: str) -> Iterator[tuple[str, int]]:
        with suppress(NotFoundError), _s3_errors():
            for found in self.client.list_objects(self.name(tenant), recursive=True):
                yield found.object_name, found.size or 0

    def check(self) -> None:
        try:
            self._probe()
        except UnavailableError as error:
            raise UnavailableError(
                f"{error.message} (artifact store at {self._endpoint})"
            ) from error

    def write(self, tenant: str, call: Callable[[str], T]) -> T:
        """Call with the name of the tenant's bucket, which is made if it doesn't exist: found out
        once in a process, and again if somebody removed the bucket since."""
        bucket = self.name(tenant)
        self._ensure(bucket)
        try:
            return call(bucket)
        except S3Error as error:
            if error.code != "NoSuchBucket":
                raise
        self._known.discard(bucket)
        self._ensure(bucket)
        return call(bucket)

    def _ensure(self, bucket: str) -> None:
        if bucket not in self._known:
            if not self._exists(bucket):
                self._make(bucket)
            self._known.add(bucket)

    def _make(self, bucket: str) -> None:
        try:
            self.client.make_bucket(bucket)
            log.info("made the bucket %s", bucket)
        except S3Error:
            # Another worker, or another account, may have been faster.
            if not self._exists(bucket):
                raise

    def _exists(self, bucket: str) -> bool:
        try:
            return self.client.bucket_exists(bucket)
        except S3Error as error:
            if error.code not in _DENIED:
                raise
            # The answer to a HEAD has no body, so everything that is wrong looks like this.
            self._probe()
            raise UnavailableError(
                f"The bucket '{bucket}' exists but the artifact store denies access to it: it"
                " belongs to another account, or the access key lacks permission"
            ) from error

    def _probe(self) -> None:
        """A request that fails with the reason if nothing can work."""
        try:
            with _s3_errors():
                self.client.list_buckets()
        except _DeniedError:
            pass  # a key that may not list buckets was recognised, and may still use its own


class _S3Upload:
    """An object in one request if it fits into one part, else an S3 multipart upload.

    The size needs no check afterwards: each request carries its length and a checksum, and the
    multipart upload is completed from the etags of the parts.
    """

    def __init__(
        self, buckets: _Buckets, tenant: str, key: str, content_type: str, part_bytes: int
    ) -> None:
        self._buckets = buckets
        self._client = buckets.client
        self._tenant = tenant
        self._bucket = buckets.name(tenant)
        self._key = key
        self._headers: dict[str, str | list[str] | tuple[str]] = {"Content-Type": content_type}
        self._part_bytes = part_bytes
        self._size = 0
        self._only_part = bytearray()
        self._upload_id: str | None = None
        self._parts: list[Part] = []

    def write(self, part: bytearray) -> None:
        self._size += len(part)
        if self._upload_id is None:
            if len(part) < self._part_bytes:
                self._only_part = part
                return
            with _upload_errors(self._key):
                self._upload_id = self._buckets.write(self._tenant, self._create)
        number = len(self._parts) + 1
        if number > _MAX_PARTS:
            raise InvalidValueError(
                f"An upload of more than {_MAX_PARTS * self._part_bytes >> 30} GiB has to declare"
                " its Content-Length",
                field="Content-Length",
            )
        with _upload_errors(self._key):
            # Typed as bytes, but any buffer will do, and a copy would double the memory.
            etag = self._client._upload_part(
                self._bucket, self._key, cast(bytes, part), None, self._upload_id, number
            )
        part.clear()
        self._parts.append(Part(number, etag))

    def finish(self) -> StoredObject:
        with _upload_errors(self._key):
            if self._upload_id is None:
                etag = self._buckets.write(self._tenant, self._put_whole)
            else:
                etag = self._client._complete_multipart_upload(
                    self._bucket, self._key, self._upload_id, self._parts
                ).etag
        if not etag:
            # S3 may start to answer 200 and find out later that it can't complete the upload.
            raise UnavailableError("The artifact store did not complete the upload")
        self._upload_id = None
        return StoredObject(self._size, etag)

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


class _Body:
    """The body of an answer, and the connection under it."""

    def __init__(self, response: urllib3.BaseHTTPResponse) -> None:
        self._response = response

    def read(self, size: int, /) -> bytes:
        with _s3_errors():
            # An object that was stored compressed is given as it is stored.
            return self._response.read(size, decode_content=False)

    def close(self) -> None:
        # Reading the rest to reuse the connection could take gigabytes.
        self._response.close()
        self._response.release_conn()


def _stored_of(response: urllib3.BaseHTTPResponse, *, ranged: bool) -> StoredObject:
    headers = response.headers
    if ranged:
        size = headers.get("content-range", "").rpartition("/")[2]  # bytes 0-9/100
    else:
        size = headers.get("content-length", "")
    if not size.isdecimal() or ranged != (response.status == 206):
        raise UnavailableError("The artifact store gave an answer without the object's size")
    return StoredObject(int(size), headers.get("etag", "").strip('"'))


class _EmptyRangeError(Exception):
    """The range starts at the object's end or beyond."""


class _DeniedError(UnavailableError):
    """The access key is known and may not do this."""


@contextmanager
def _s3_errors(key: str = "") -> Iterator[None]:
    """The domain's errors for what the store answers, or doesn't."""
    try:
        yield
    except S3Error as error:
        if error.code in _ABSENT:
            raise NotFoundError(f"No such artifact: '{key}'") from error
        if error.code in _CLASH:
            raise ConflictError(
                f"Cannot store '{key}': it is a folder, or a part of its path is a file",
                field="path",
            ) from error
        if error.code == "InvalidRange":
            raise _EmptyRangeError from error
        raise _failure(error.code) from error
    except (MinioException, ParseError) as error:
        raise UnavailableError(
            "What answers at the artifact store's address does not speak S3"
        ) from error
    except (urllib3.exceptions.HTTPError, OSError) as error:
        if isinstance(getattr(error, "reason", error), urllib3.exceptions.SSLError):
            raise UnavailableError(
                "No TLS with the artifact store: check TRACKING_MINIO_SECURE and its certificate"
            ) from error
        raise UnavailableError(
            "The artifact store did not answer: it is down or busy, or its address is wrong"
        ) from error


@contextmanager
def _upload_errors(key: str) -> Iterator[None]:
    try:
        with _s3_errors(key):
            yield
    except NotFoundError as error:
        raise UnavailableError("The tenant's bucket was removed during the upload") from error


def _failure(code: str | None) -> UnavailableError:
    if code in _DENIED:
        return _DeniedError("The artifact store denies access: the access key lacks permission")
    return UnavailableError(
        _REASONS.get(code or "", f"The artifact store could not do its work ({code})")
    )
