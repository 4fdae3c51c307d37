"""The contract of artifact stores.

A store maps (tenant, key) to bytes. It knows no runs and no permissions. Keys look like paths,
`experiments/12/runs/…/artifacts/a/<object id>/b.txt`, and are validated by `app.artifacts.paths`
before they get here. Folders are listed from the artifact index in Postgres, not from the store.
"""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Sequence

from app.artifacts.stores.checksums import Digest
from app.artifacts.stores.object_reader import ObjectReader
from app.artifacts.stores.values import Part, StoredKey, StoredObject, UnfinishedUpload


class ArtifactStore(ABC):
    """All methods raise UnavailableError when the store does not work; those that store bytes raise
    InsufficientStorageError when it is full.

    Methods may be cancelled. A cancelled method returns only after its thread has ended, so that no
    thread goes on working unobserved.
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
        """Stores `body`, of `content_length` bytes where that is declared.

        The object becomes visible only as a whole; the last one to finish wins. Where the body
        raises, the task is cancelled, or the body differs from what was declared
        (InvalidValueError), nothing of it is left and an object that was there before stays.
        Raises ConflictError where `key` is a folder of other keys, or leads through an object, and
        the store can't hold both.
        """

    @abstractmethod
    async def open(
        self, tenant: str, key: str, *, start: int = 0, end: int | None = None
    ) -> ObjectReader:
        """A reader of the bytes [start, end), cut to the object's size as Python's slices are;
        `start` is not negative. The caller closes it. Raises NotFoundError where there is no such
        object."""

    @abstractmethod
    async def stat(self, tenant: str, key: str) -> StoredObject | None:
        """The object's size and etag; None where there is no such object."""

    @abstractmethod
    async def copy(self, tenant: str, source: str, target: str) -> StoredObject:
        """Copies an object within a tenant, where the store can without moving its bytes through
        this process. All or nothing, as `put`. Raises NotFoundError where there is no source."""

    @abstractmethod
    async def delete(self, tenant: str, keys: Sequence[str]) -> None:
        """Deletes the objects; those that don't exist are no error."""

    @abstractmethod
    async def delete_below(self, tenant: str, folder: str) -> None:
        """Deletes every object whose key starts with `folder` and a slash."""

    @abstractmethod
    def keys(self, tenant: str, *, folder: str = "", after: str = "") -> AsyncIterator[StoredKey]:
        """The objects below a folder, or all, whose keys sort after `after`.

        In the order of the keys' bytes, read page by page while the caller iterates.
        """

    @abstractmethod
    async def tenants(self) -> list[str]:
        """The tenants that have a folder or a bucket, in no order. The list may hold names that
        belong to another deployment."""

    # -- multipart uploads

    @property
    @abstractmethod
    def takes_parts(self) -> bool:
        """Whether a client can upload in parts: to `part_url`, or through `put_part`."""

    @property
    @abstractmethod
    def takes_parts_directly(self) -> bool:
        """Whether clients send parts to `part_url`, where this server can't count their bytes
        before they are stored."""

    @abstractmethod
    async def create_upload(self, tenant: str, key: str, *, content_type: str) -> str:
        """The id of a new multipart upload. Raises ConflictError as `put`."""

    @abstractmethod
    async def part_url(
        self, tenant: str, key: str, upload_id: str, number: int, *, seconds: int
    ) -> str | None:
        """A URL to which a client can PUT the part for so many seconds; its answer has the etag in
        the header ETag.

        None where the store has no address for clients: parts then come through `put_part`.
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
        """Stores a part, replacing one of the same number, and returns its etag. All or nothing, as
        `put`. Raises NotFoundError where there is no such upload."""

    @abstractmethod
    async def complete_upload(
        self, tenant: str, key: str, upload_id: str, parts: Sequence[Part]
    ) -> StoredObject:
        """Makes the object out of the parts, whose numbers ascend, and ends the upload.

        Raises InvalidValueError, and changes nothing, where a part was not stored with that etag;
        NotFoundError where there is no such upload, or it was completed already.
        """

    @abstractmethod
    async def abort_upload(self, tenant: str, key: str, upload_id: str) -> None:
        """Deletes the upload and its parts; one that doesn't exist is no error."""

    @abstractmethod
    def unfinished(self, tenant: str) -> AsyncIterator[UnfinishedUpload]:
        """Every upload that was not completed, those of `put` included, in no order."""

    @abstractmethod
    async def discard(self, tenant: str, upload: UnfinishedUpload) -> None:
        """Deletes an unfinished upload; one that doesn't exist any more is no error."""

    # -- the store itself

    @abstractmethod
    async def object_url(
        self, tenant: str, key: str, *, disposition: str, seconds: int
    ) -> str | None:
        """A URL at which a client can GET the object for so many seconds, with that
        Content-Disposition. None where the store has no address for clients."""

    @abstractmethod
    def signing_key(self) -> bytes:
        """A secret that only the processes which use this store share. Blocks."""

    @abstractmethod
    async def check(self) -> None:
        """Raises UnavailableError where the store can't be used; the message says what to check."""

    @abstractmethod
    async def close(self) -> None:
        """Releases threads and connections; the store can't be used afterwards."""
