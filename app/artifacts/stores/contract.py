"""Where the bytes of artifacts lie: the contract that every store keeps.

A store maps (tenant, key) to bytes and knows nothing of runs or permissions. Keys look like paths,
`experiments/12/runs/…/artifacts/a/<object id>/b.txt`, and were validated by `app.artifacts.paths`.
What a folder holds is the business of the artifact index, in Postgres.
"""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from app.artifacts.stores.checksums import Digest
from app.config import Settings

if TYPE_CHECKING:
    from app.artifacts.stores.object_reader import ObjectReader

MAX_PARTS = 10_000  # of an upload, in any S3


@dataclass(frozen=True, slots=True)
class StoredObject:
    """`size` in bytes. `etag` is opaque and unquoted, and changes when the content is replaced.

    `checksum` is the SHA-256 of the content, in hex. It is None where the store did not see the
    content pass in order: for an object found, copied, or uploaded in parts.
    """

    size: int
    etag: str
    checksum: str | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class StoredKey:
    """An object in a listing; `modified_time` in milliseconds since 1970."""

    key: str
    size: int
    modified_time: int


@dataclass(frozen=True, slots=True)
class Part:
    """A part of an upload as its client names it, `number` from 1 to MAX_PARTS."""

    number: int
    etag: str


@dataclass(frozen=True, slots=True)
class UnfinishedUpload:
    """What holds bytes and is no object yet: running, or left by a process or client that died.

    `modified_time`, in milliseconds since 1970, is when it last got bytes, or when it began where
    the store doesn't know. `key` is None where the store doesn't know it.
    """

    upload_id: str
    key: str | None
    modified_time: int


class ArtifactStore(ABC):
    """All methods raise UnavailableError when the store can't do its work, and those that store
    something InsufficientStorageError when it has no room. They may be cancelled.

    A cancelled method ends only when its thread does, so that nothing goes on behind its back.
    """

    # -- objects

    @abstractmethod
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
        """Store `body`, of `content_length` bytes where that is declared.

        The object is visible only when whole; the last whole one wins. If the body raises, the task
        is cancelled, or the body is not what was declared (InvalidValueError), nothing is left and
        an object that was there before stays. ConflictError if `key` is a folder of other keys, or
        goes through an object, and the store can't hold both.
        """

    @abstractmethod
    async def open(
        self, tenant: str, key: str, *, start: int = 0, end: int | None = None
    ) -> "ObjectReader":
        """A reader of the bytes from `start` (not negative) up to and without `end`, cut to the
        object's size as Python's slices are. To be closed by the caller. NotFoundError if there is
        no such object."""

    @abstractmethod
    async def stat(self, tenant: str, key: str) -> StoredObject | None: ...

    @abstractmethod
    async def copy(self, tenant: str, source: str, target: str) -> StoredObject:
        """Copy an object within a tenant without moving its bytes through this process where the
        store can. Whole or not at all, as `put`. NotFoundError if there is no source."""

    @abstractmethod
    async def delete(self, tenant: str, keys: Sequence[str]) -> None:
        """Delete the objects; those that don't exist are no error."""

    @abstractmethod
    async def delete_below(self, tenant: str, folder: str) -> None:
        """Delete every object whose key starts with `folder` and a slash."""

    @abstractmethod
    def keys(self, tenant: str, *, folder: str = "", after: str = "") -> AsyncIterator[StoredKey]:
        """The objects below a folder, or all, whose keys come after `after`.

        In the order of the keys' bytes, read page by page as the caller goes on.
        """

    @abstractmethod
    async def tenants(self) -> list[str]:
        """The tenants that there is a place for, in no order; names may be among them that are
        somebody else's."""

    # -- uploads in parts

    @property
    @abstractmethod
    def takes_parts(self) -> bool:
        """Whether a client can upload in parts: to `part_url`, or through `put_part`."""

    @property
    @abstractmethod
    def takes_parts_directly(self) -> bool:
        """Whether parts go to `part_url`, where nobody sees how long they are before they lie
        there."""

    @abstractmethod
    async def create_upload(self, tenant: str, key: str, *, content_type: str) -> str:
        """The id of a new upload. ConflictError as `put`."""

    @abstractmethod
    async def part_url(
        self, tenant: str, key: str, upload_id: str, number: int, *, seconds: int
    ) -> str | None:
        """Where a client can PUT the part for so long, and gets its etag in the ETag header.

        None where the store has no address for clients: then parts come through `put_part`.
        """

    @abstractmethod
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
    ) -> str:
        """Store a part, in place of one of the same number, and give its etag. Whole or not at all,
        as `put`. NotFoundError if there is no such upload."""

    @abstractmethod
    async def complete_upload(
        self, tenant: str, key: str, upload_id: str, parts: Sequence[Part]
    ) -> StoredObject:
        """Make the object out of the parts, in the order of their numbers; the upload is no more.

        They ascend. InvalidValueError, and nothing changes, if one was not stored so. NotFoundError
        if there is no such upload, or it was completed already.
        """

    @abstractmethod
    async def abort_upload(self, tenant: str, key: str, upload_id: str) -> None:
        """Remove the upload and its parts; one that doesn't exist is no error."""

    @abstractmethod
    def unfinished(self, tenant: str) -> AsyncIterator[UnfinishedUpload]:
        """Every upload that was not completed, those of `put` included, in no order."""

    @abstractmethod
    async def discard(self, tenant: str, upload: UnfinishedUpload) -> None:
        """Remove what `unfinished` found; what is no more is no error."""

    # -- the rest

    @abstractmethod
    async def object_url(
        self, tenant: str, key: str, *, disposition: str, seconds: int
    ) -> str | None:
        """Where a client can GET the object for so long, with that Content-Disposition.

        None where the store has no address for clients.
        """

    @abstractmethod
    def signing_key(self) -> bytes:
        """A secret that all processes which use this store share, and nobody else has. Blocks."""

    @abstractmethod
    async def check(self) -> None:
        """Raise UnavailableError, saying what to look at, if the store can't be used."""

    @abstractmethod
    async def close(self) -> None:
        """Release threads and connections; the store can't be used any more."""


def artifact_store(settings: Settings) -> ArtifactStore:
    """The store that the settings name. ValueError if they don't make sense together."""
    if not settings.minio_endpoint:
        from app.artifacts.stores.local import LocalStore

        return LocalStore(
            settings.data_dir / "artifacts", reserve_bytes=settings.disk_reserve_bytes
        )

    # A deployment without S3 never pays for importing its client.
    from app.artifacts.stores.s3 import S3Store

    if not settings.minio_access_key or settings.minio_secret_key is None:
        raise ValueError(
            "TRACKING_MINIO_ENDPOINT needs TRACKING_MINIO_ACCESS_KEY and TRACKING_MINIO_SECRET_KEY"
        )
    return S3Store(
        settings.minio_endpoint,
        settings.minio_access_key,
        settings.minio_secret_key.get_secret_value(),
        secure=settings.minio_secure,
        region=settings.minio_region,
        path_style=settings.minio_path_style,
        public_endpoint=settings.minio_public_endpoint,
        bucket_prefix=settings.minio_bucket_prefix,
        versioning=settings.minio_versioning,
        old_versions_days=settings.minio_old_versions_days,
    )
