"""Calls on the buckets of an S3 store, one bucket for each tenant."""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

import urllib3
from minio import Minio
from minio.commonconfig import ENABLED, CopySource, Filter
from minio.deleteobjects import DeleteObject
from minio.error import S3Error
from minio.lifecycleconfig import LifecycleConfig, NoncurrentVersionExpiration, Rule
from minio.versioningconfig import VersioningConfig

from app.artifacts.stores.blocking.s3_errors import (
    ABSENT,
    DENIED,
    DeniedError,
    EmptyRangeError,
    failure,
    s3_errors,
)
from app.artifacts.stores.values import StoredKey, StoredObject
from app.kernel.errors import NotFoundError, UnavailableError

log = logging.getLogger(__name__)

T = TypeVar("T")

# S3 deletes at most so many keys by one request.
_KEYS_PER_DELETION = 1000


@dataclass(frozen=True, slots=True)
class NewBucket:
    """How a bucket is configured when it is created. `old_versions_days` is how long it keeps
    overwritten and deleted versions; None for ever."""

    prefix: str
    versioning: bool = False
    old_versions_days: int | None = None


class Buckets:
    """A tenant's bucket is created by the first write to it."""

    def __init__(self, client: Minio, endpoint: str, new: NewBucket) -> None:
        self.client = client
        self._endpoint = endpoint
        self._new = new
        self._known: set[str] = set()

    def name(self, tenant: str) -> str:
        return self._new.prefix + tenant

    def open(
        self, tenant: str, key: str, start: int, end: int | None
    ) -> tuple["_Body | None", StoredObject]:
        """The opened bytes [start, end), None where the range is empty, and the object.

        Raises NotFoundError.
        """
        if end is not None and end <= start:
            return None, self.stat(tenant, key)
        length = 0 if end is None else end - start  # for minio-py, 0 is the rest of the object
        try:
            with s3_errors(key):
                response = self.client.get_object(self.name(tenant), key, start, length)
        except EmptyRangeError:
            return None, self.stat(tenant, key)
        body = _Body(response)
        try:
            return body, _stored(response, ranged=bool(start or length))
        except BaseException:
            body.close()
            raise

    def stat(self, tenant: str, key: str) -> StoredObject:
        """Raises NotFoundError where there is no such object."""
        with s3_errors(key):
            found = self.client.stat_object(self.name(tenant), key)
        return StoredObject(found.size or 0, found.etag or "")

    def delete(self, tenant: str, keys: Sequence[str]) -> None:
        with suppress(NotFoundError), s3_errors():
            objects = [DeleteObject(key) for key in keys]
            for error in list(self.client.remove_objects(self.name(tenant), objects)):
                if error.code not in ABSENT:
                    raise failure(error.code)

    def delete_below(self, tenant: str, folder: str) -> None:
        keys = [found.key for found in self.walk(tenant, f"{folder}/", "")]
        for at in range(0, len(keys), _KEYS_PER_DELETION):
            self.delete(tenant, keys[at : at + _KEYS_PER_DELETION])

    def copy(self, tenant: str, source: str, target: str) -> StoredObject:
        bucket = self.name(tenant)
        with s3_errors(source):
            # Above 5 GiB minio-py copies in parts.
            copied = self.client.copy_object(bucket, target, CopySource(bucket, source))
        # S3 may answer 200 first and fail later; the answer then has no etag.
        if not copied.etag:
            raise UnavailableError("The artifact store did not complete the copy")
        return self.stat(tenant, target)

    def walk(self, tenant: str, prefix: str, after: str) -> Iterator[StoredKey]:
        with suppress(NotFoundError), s3_errors():
            for found in self.client.list_objects(
                self.name(tenant), prefix=prefix, start_after=after or None, recursive=True
            ):
                modified = found.last_modified.timestamp() if found.last_modified else 0
                yield StoredKey(found.object_name, found.size or 0, int(modified * 1000))

    def tenants(self) -> list[str]:
        with s3_errors():
            names = [bucket.name for bucket in self.client.list_buckets()]
        prefix = self._new.prefix
        return [name.removeprefix(prefix) for name in names if name.startswith(prefix)]

    def check(self) -> None:
        try:
            self._probe()
        except UnavailableError as error:
            raise UnavailableError(
                f"{error.message} (artifact store at {self._endpoint})"
            ) from error

    def write(self, tenant: str, call: Callable[[str], T]) -> T:
        """Calls `call` with the name of the tenant's bucket, which is created where it doesn't
        exist. A process checks that once, and again where the bucket was removed since."""
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
                self._create(bucket)
            self._known.add(bucket)

    def _create(self, bucket: str) -> None:
        try:
            self.client.make_bucket(bucket)
        except S3Error:
            # Another worker, or another account, may have created it.
            if not self._exists(bucket):
                raise
            return
        log.info("created the bucket %s", bucket)
        if self._new.versioning:
            self.client.set_bucket_versioning(bucket, VersioningConfig(ENABLED))
        if self._new.old_versions_days is not None:
            expiration = NoncurrentVersionExpiration(self._new.old_versions_days)
            rule = Rule(ENABLED, Filter(prefix=""), noncurrent_version_expiration=expiration)
            self.client.set_bucket_lifecycle(bucket, LifecycleConfig([rule]))

    def _exists(self, bucket: str) -> bool:
        try:
            return self.client.bucket_exists(bucket)
        except S3Error as error:
            if error.code not in DENIED:
                raise
            # The answer to a HEAD has no body, so every cause gets this code: a request with a
            # body finds out.
            self._probe()
            raise UnavailableError(
                f"The bucket '{bucket}' exists but the artifact store denies access to it: it"
                " belongs to another account, or the access key lacks permission"
            ) from error

    def _probe(self) -> None:
        """Raises UnavailableError with the reason where no request can succeed."""
        try:
            with s3_errors():
                self.client.list_buckets()
        except DeniedError:
            pass  # the key is valid, and may access its buckets though it may not list them


class _Body:
    """The body of a response, and its connection."""

    file = None

    def __init__(self, response: urllib3.BaseHTTPResponse) -> None:
        self._response = response

    def read(self, size: int, /) -> bytes:
        with s3_errors():
            # An object that was stored compressed is returned as it is stored.
            return self._response.read(size, decode_content=False)

    def read_cached(self, size: int, /) -> None:
        return None

    def close(self) -> None:
        # The connection is not reused: that would need all the rest to be read.
        self._response.close()
        self._response.release_conn()


def _stored(response: urllib3.BaseHTTPResponse, *, ranged: bool) -> StoredObject:
    headers = response.headers
    if ranged:
        size = headers.get("content-range", "").rpartition("/")[2]  # bytes 0-9/100
    else:
        size = headers.get("content-length", "")
    if not size.isdecimal() or ranged != (response.status == 206):
        raise UnavailableError("The artifact store gave an answer without the object's size")
    return StoredObject(int(size), headers.get("etag", "").strip('"'))
