"""Multipart uploads, and signed URLs for direct uploads and downloads.

A client creates an upload, sends its parts to URLs (of the store, or of this server where the store
has no address for clients), and completes it with the list of its parts. An upload has no row in
the database, only quota reservations where the tenant has a quota: its id holds the id of the
object that it will be, and the store knows the rest.
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from uuid import UUID

from app.artifacts.entities import Artifact
from app.artifacts.object_keys import object_key
from app.artifacts.service import Artifacts
from app.artifacts.signed_urls import Grant, Signer
from app.artifacts.stores.checksums import Digest
from app.artifacts.stores.contract import ArtifactStore
from app.artifacts.stores.values import MAX_PARTS, Part
from app.artifacts.transfer_limits import TransferSlots, unless_stalled
from app.artifacts.unpublished_object import UnpublishedObject
from app.kernel.clock import now_ms
from app.kernel.errors import (
    ArtifactNotFoundError,
    ConflictError,
    InvalidStateError,
    InvalidValueError,
    NotFoundError,
    QuotaExceededError,
    UnsupportedError,
    UploadNotFoundError,
)
from app.kernel.ids import new_uuid
from app.kernel.tenant import Tenant

# Long enough for the slowest upload. A part's URL is useless to whoever can't complete the upload.
PART_SECONDS = 12 * 3600

# Amazon dates an object by the start of its upload. If an upload could be completed when garbage
# collection counts it as old, its object could be deleted before its row is written.
_MAX_AGE_MS = PART_SECONDS * 1000

_MAX_ETAG = 200


@dataclass(frozen=True, slots=True)
class Address:
    """Where a client sends or gets bytes: `url` is one of the store; where it is None, the URL is
    one of this server, made of `signed_path` and `signed_query`."""

    url: str | None = None
    signed_path: str = ""
    signed_query: str = ""


class Uploads:
    """Callers have validated paths by `app.artifacts.paths`."""

    def __init__(self, artifacts: Artifacts, store: ArtifactStore, slots: TransferSlots) -> None:
        self._artifacts = artifacts
        self._store = store
        self._slots = slots
        self._signer = Signer(store.signing_key)

    @property
    def takes_parts(self) -> bool:
        """Whether clients can upload in parts."""
        return self._store.takes_parts

    async def create(
        self, tenant: Tenant, path: str, *, parts: int, content_type: str
    ) -> tuple[str, list[Address]]:
        """The id of a new upload, and the addresses of its parts.

        Raises UnsupportedError where clients can't reach the store, or where the tenant has a quota
        and parts would reach the store uncounted; InvalidValueError for a number of parts that is
        out of range; and what `Artifacts.check_can_store` raises.
        """
        quota = self._artifacts.reservations.limit(tenant)
        uncounted = self._store.takes_parts_directly and quota is not None
        if uncounted or not self._store.takes_parts:
            # MLflow's client matches these words, and then sends the file in one request.
            raise UnsupportedError(
                "Multipart upload is not supported for the current artifact repository"
            )
        if not 1 <= parts <= MAX_PARTS:
            raise InvalidValueError(
                f"An upload has from 1 to {MAX_PARTS} parts, not {parts}", field="num_parts"
            )
        await self._artifacts.check_can_store(tenant, path)
        object_id = new_uuid()
        key = object_key(path, object_id)
        store_id = await self._store.create_upload(tenant.slug, key, content_type=content_type)
        upload_id = f"{object_id.hex}.{store_id}"
        return upload_id, [
            await self._part_address(tenant, path, upload_id, number)
            for number in range(1, parts + 1)
        ]

    async def _part_address(
        self, tenant: Tenant, path: str, upload_id: str, number: int
    ) -> Address:
        key, store_id = _parse_upload_id(path, upload_id)
        url = await self._store.part_url(tenant.slug, key, store_id, number, seconds=PART_SECONDS)
        if url is not None:
            return Address(url)
        grant = Grant("PUT", tenant, path, upload_id=upload_id, part=str(number))
        return self._sign(grant, PART_SECONDS)

    async def put_part(
        self,
        tenant: Tenant,
        grant: Grant,
        body: AsyncIterator[bytes],
        *,
        content_length: int | None,
        digests: Sequence[Digest] = (),
    ) -> str:
        """Stores the part that the grant permits, and returns its etag.

        Raises NotFoundError where the upload does not exist any more, QuotaExceededError where the
        tenant's quota has no room.
        """
        key, store_id = _parse_upload_id(grant.path, grant.upload_id)
        object_id, number = _object_id(grant.upload_id), int(grant.part)
        reservation = await self._artifacts.reservations.reserve_part(
            tenant, object_id, number, content_length
        )
        body = unless_stalled(body)
        if reservation is not None:
            body = reservation.metered(body)
        try:
            async with self._slots.taken(tenant.slug):
                etag = await self._store.put_part(
                    tenant.slug,
                    key,
                    store_id,
                    number,
                    body,
                    content_length=content_length,
                    digests=digests,
                )
        except BaseException:
            if reservation is not None:
                await reservation.release()
            raise
        if reservation is not None:
            await reservation.convert_to_part(_expiry_time(object_id))
        return etag

    async def complete(
        self,
        tenant: Tenant,
        path: str,
        upload_id: str,
        parts: Sequence[Part],
        *,
        content_type: str,
    ) -> Artifact:
        """Makes the file out of the parts. May be repeated, also after a call that was interrupted.

        Raises InvalidValueError for parts that were not stored so or don't ascend, NotFoundError
        where there is no such upload, and what `Artifacts.put` does, after it has ended the upload.
        """
        _check_parts(parts)
        key, store_id = _parse_upload_id(path, upload_id)
        object_id = _object_id(upload_id)
        await self._artifacts.check_can_store(tenant, path)
        stored = None
        if now_ms() < _expiry_time(object_id):
            try:
                stored = await self._store.complete_upload(tenant.slug, key, store_id, parts)
            except NotFoundError:
                # The object's id is unique to this upload: where the object exists, an earlier call
                # has completed it.
                stored = await self._store.stat(tenant.slug, key)
        if stored is None:
            raise UploadNotFoundError(upload_id)
        uploaded = UnpublishedObject(path, object_id, stored, content_type)
        try:
            reservation = await self._artifacts.reservations.reserve_completed(
                tenant, object_id, stored.size, _expiry_time(object_id)
            )
        except QuotaExceededError:
            await self._artifacts.discard(tenant, uploaded)
            await self._artifacts.reservations.release(tenant, object_id)
            raise
        uploaded = replace(uploaded, reservation=reservation)
        return await self._artifacts.publish(tenant, uploaded, path)

    async def abort(self, tenant: Tenant, path: str, upload_id: str) -> None:
        """Deletes the upload and its parts; one that does not exist is no error.

        Does nothing for a path of a run or model that the tenant does not have. The store's folders
        are named by slug, so the upload could be one of an earlier tenant with the same slug.
        """
        key, store_id = _parse_upload_id(path, upload_id)
        try:
            await self._artifacts.check_can_store(tenant, path)
        except (NotFoundError, InvalidValueError):
            return
        except (InvalidStateError, ConflictError):
            pass  # the upload can't become a file any more, but it is the tenant's
        await self._store.abort_upload(tenant.slug, key, store_id)
        reservations = self._artifacts.reservations
        if reservations.limit(tenant) is None:
            return
        # Where the upload was completed and is not a file yet, its object still uses the quota.
        if await self._store.stat(tenant.slug, key) is None:
            await reservations.release(tenant, _object_id(upload_id))

    async def abandon(self, tenant: Tenant) -> None:
        """Deletes all unfinished uploads of a deleted tenant: a new tenant of the same slug must
        not get them."""
        async for upload in self._store.unfinished(tenant.slug):
            await self._store.discard(tenant.slug, upload)

    async def upload_address(self, tenant: Tenant, path: str, *, seconds: int) -> Address:
        """Where a client can PUT the file at the path for so many seconds: always an address of
        this server, which has to write the file's row."""
        await self._artifacts.check_can_store(tenant, path)
        return self._sign(Grant("PUT", tenant, path), seconds)

    async def download_address(
        self, tenant: Tenant, artifact: Artifact, *, disposition: str, seconds: int
    ) -> Address:
        """Where a client can GET the file for so many seconds, in ranges too.

        The address is bound to the file's object, so that ranges fetched by several requests are
        never of two versions of the file.
        """
        url = await self._store.object_url(
            tenant.slug, artifact.key, disposition=disposition, seconds=seconds
        )
        if url is not None:
            return Address(url)
        object_id = artifact.object_id.hex if artifact.object_id else ""
        return self._sign(Grant("GET", tenant, artifact.path, object_id), seconds)

    async def granted_file(self, tenant: Tenant, grant: Grant) -> Artifact:
        """The file that a grant of `download_address` is for. Raises NotFoundError where it was
        replaced or deleted."""
        artifact = await self._artifacts.get(tenant, grant.path)
        if (artifact.object_id.hex if artifact.object_id else "") != grant.object_id:
            raise ArtifactNotFoundError(grant.path)
        return artifact

    @property
    def signer(self) -> Signer:
        """Signs and checks the addresses of this server."""
        return self._signer

    def _sign(self, grant: Grant, seconds: int) -> Address:
        query = self._signer.query(grant, seconds=seconds)
        return Address(None, grant.path, query)


def _parse_upload_id(path: str, upload_id: str) -> tuple[str, str]:
    """The key of the upload's object, and the store's own id of the upload.

    Raises NotFoundError for an id that no upload can have.
    """
    object_id, _, store_id = upload_id.partition(".")
    try:
        key = object_key(path, UUID(hex=object_id))
    except ValueError:
        raise UploadNotFoundError(upload_id) from None
    if not store_id.isascii() or not store_id.isprintable():
        raise UploadNotFoundError(upload_id)
    return key, store_id


def _object_id(upload_id: str) -> UUID:
    return UUID(hex=upload_id.partition(".")[0])


def _expiry_time(object_id: UUID) -> int:
    """Until when an upload may be completed, in epoch milliseconds. The id of its object is a
    UUIDv7, which holds the time of its creation."""
    return (object_id.int >> 80) + _MAX_AGE_MS


def _check_parts(parts: Sequence[Part]) -> None:
    numbers = [part.number for part in parts]
    if not numbers or numbers != sorted(set(numbers)):
        raise InvalidValueError("parts must be given once each, in ascending order", field="parts")
    if numbers[0] < 1 or numbers[-1] > MAX_PARTS:
        raise InvalidValueError(f"A part's number is from 1 to {MAX_PARTS}", field="parts")
    for part in parts:
        if not (part.etag.isascii() and part.etag.isprintable() and len(part.etag) <= _MAX_ETAG):
            raise InvalidValueError(f"Part {part.number} has no valid etag", field="parts")
