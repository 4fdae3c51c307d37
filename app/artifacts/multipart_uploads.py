"""Uploads in parts, and URLs for transfers that need no further permission.

A client asks for an upload, sends its parts to URLs (of the store, or of this server where the
store has none for clients), and says which parts make the file. Nothing is kept in the database
meanwhile, but for the room of a tenant with a quota: an upload's id names the object that it will
be, and the store knows the rest.
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from uuid import UUID

from app.artifacts.entities import Artifact, Received
from app.artifacts.object_keys import object_key
from app.artifacts.service import Artifacts
from app.artifacts.signed_urls import Grant, Signer
from app.artifacts.stores.checksums import Digest
from app.artifacts.stores.contract import ArtifactStore
from app.artifacts.stores.values import MAX_PARTS, Part
from app.artifacts.transfer_limits import TransferSlots, unless_stalled
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
from app.kernel.tenant import Tenant

# For the slowest of uploads; a part's URL is worth nothing without who completes the upload.
PART_SECONDS = 12 * 3600

# Amazon dates an object by the start of its upload. One that is completed when garbage collection
# takes it for old could lose its bytes before its row is there.
_MAX_AGE_MS = PART_SECONDS * 1000

_MAX_ETAG = 200


@dataclass(frozen=True, slots=True)
class Address:
    """Where a client sends or gets something: a URL of the store, or a path below the one where
    this server takes signed requests, with its query."""

    url: str | None = None
    signed_path: str = ""
    signed_query: str = ""


class Uploads:
    """Paths have been through `app.artifacts.paths`."""

    def __init__(self, artifacts: Artifacts, store: ArtifactStore, slots: TransferSlots) -> None:
        self._artifacts = artifacts
        self._store = store
        self._slots = slots
        self._signer = Signer(store.signing_key)

    @property
    def takes_parts(self) -> bool:
        return self._store.takes_parts

    async def create(
        self, tenant: Tenant, path: str, *, parts: int, content_type: str
    ) -> tuple[str, list[Address]]:
        """The id of a new upload of a file, and where its parts go.

        Raises UnsupportedError where clients can't reach the store, or must not fill it unseen,
        InvalidValueError for a number of parts that no upload can have, and what `Artifacts.begin`
        does.
        """
        quota = self._artifacts.reservations.limit(tenant)
        unseen = self._store.takes_parts_directly and quota is not None
        if unseen or not self._store.takes_parts:
            # MLflow's client knows these words, and sends the file in one piece then.
            raise UnsupportedError(
                "Multipart upload is not supported for the current artifact repository"
            )
        if not 1 <= parts <= MAX_PARTS:
            raise InvalidValueError(
                f"An upload has from 1 to {MAX_PARTS} parts, not {parts}", field="num_parts"
            )
        object_id = await self._artifacts.begin(tenant, path)
        key = object_key(path, object_id)
        within = await self._store.create_upload(tenant.slug, key, content_type=content_type)
        upload_id = f"{object_id.hex}.{within}"
        return upload_id, [
            await self._part_address(tenant, path, upload_id, number)
            for number in range(1, parts + 1)
        ]

    async def _part_address(
        self, tenant: Tenant, path: str, upload_id: str, number: int
    ) -> Address:
        key, within = _key_and_id(path, upload_id)
        url = await self._store.part_url(tenant.slug, key, within, number, seconds=PART_SECONDS)
        if url is not None:
            return Address(url)
        grant = Grant("PUT", tenant, path, upload_id=upload_id, part=str(number))
        return self._signed(grant, PART_SECONDS)

    async def put_part(
        self,
        tenant: Tenant,
        grant: Grant,
        body: AsyncIterator[bytes],
        *,
        content_length: int | None,
        digests: Sequence[Digest] = (),
    ) -> str:
        """Store the part that a grant permits, and give its etag.

        Raises NotFoundError where the upload is no more, QuotaExceededError where the tenant has no
        room for it.
        """
        key, within = _key_and_id(grant.path, grant.upload_id)
        object_id, number = _object_id(grant.upload_id), int(grant.part)
        reservation = await self._artifacts.reservations.begin_part(
            tenant, object_id, number, content_length
        )
        body = unless_stalled(body)
        if reservation is not None:
            body = reservation.bounded(body)
        try:
            async with self._slots.taken(tenant.slug):
                etag = await self._store.put_part(
                    tenant.slug,
                    key,
                    within,
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
            await reservation.settle(_end(object_id))
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
        """Make the file out of the parts. May be repeated, also where the first time was cut off.

        Raises InvalidValueError for parts that were not stored so or don't ascend, NotFoundError
        where there is no such upload, and what `Artifacts.put` does, after which it is no more.
        """
        _check_parts(parts)
        key, within = _key_and_id(path, upload_id)
        object_id = _object_id(upload_id)
        await self._artifacts.begin(tenant, path)  # for its checks
        stored = None
        if now_ms() < _end(object_id):
            try:
                stored = await self._store.complete_upload(tenant.slug, key, within, parts)
            except NotFoundError:
                # No other upload has this object: it is there where an earlier call completed it.
                stored = await self._store.stat(tenant.slug, key)
        if stored is None:
            raise UploadNotFoundError(upload_id)
        received = Received(path, object_id, stored, content_type)
        try:
            reservation = await self._artifacts.reservations.begin_whole(
                tenant, object_id, stored.size, _end(object_id)
            )
        except QuotaExceededError:
            await self._artifacts.discard(tenant, received)
            await self._artifacts.reservations.forget(tenant, object_id)
            raise
        return await self._artifacts.keep(tenant, replace(received, reservation=reservation), path)

    async def abort(self, tenant: Tenant, path: str, upload_id: str) -> None:
        """Forget the upload and its parts; one that is no more is no error, nor is one that is
        another's: of a tenant that got the slug of this one, as the store's folders are named."""
        key, within = _key_and_id(path, upload_id)
        try:
            await self._artifacts.begin(tenant, path)  # for its checks
        except (NotFoundError, InvalidValueError):
            return
        except (InvalidStateError, ConflictError):
            pass  # no file can come of it any more, but it is the tenant's
        await self._store.abort_upload(tenant.slug, key, within)
        reservations = self._artifacts.reservations
        if reservations.limit(tenant) is None:
            return
        # What was completed, and is no file yet, still takes room.
        if await self._store.stat(tenant.slug, key) is None:
            await reservations.forget(tenant, _object_id(upload_id))

    async def abandon(self, tenant: Tenant) -> None:
        """Remove all that the tenant has not completed. For one that is no more: whoever gets its
        slug would have its uploads too."""
        async for upload in self._store.unfinished(tenant.slug):
            await self._store.discard(tenant.slug, upload)

    async def upload_address(self, tenant: Tenant, path: str, *, seconds: int) -> Address:
        """Where a client can PUT the file at the path, through this server, which then knows it."""
        await self._artifacts.begin(tenant, path)  # for its checks
        return self._signed(Grant("PUT", tenant, path), seconds)

    async def download_address(
        self, tenant: Tenant, artifact: Artifact, *, disposition: str, seconds: int
    ) -> Address:
        """Where a client can GET the file as it is now, in ranges too: never one that replaces it,
        so that parts of two files don't end up in one."""
        url = await self._store.object_url(
            tenant.slug, artifact.key, disposition=disposition, seconds=seconds
        )
        if url is not None:
            return Address(url)
        object_id = artifact.object_id.hex if artifact.object_id else ""
        return self._signed(Grant("GET", tenant, artifact.path, object_id), seconds)

    async def granted_file(self, tenant: Tenant, grant: Grant) -> Artifact:
        """The file that a grant of `download_address` is for; NotFoundError if it was replaced."""
        artifact = await self._artifacts.get(tenant, grant.path)
        if (artifact.object_id.hex if artifact.object_id else "") != grant.object_id:
            raise ArtifactNotFoundError(grant.path)
        return artifact

    @property
    def signer(self) -> Signer:
        return self._signer

    def _signed(self, grant: Grant, seconds: int) -> Address:
        query = self._signer.query(grant, seconds=seconds)
        return Address(None, grant.path, query)


def _key_and_id(path: str, upload_id: str) -> tuple[str, str]:
    """The key of the object that an upload is for, and what the store calls the upload."""
    object_id, _, within = upload_id.partition(".")
    try:
        key = object_key(path, UUID(hex=object_id))
    except ValueError:
        raise UploadNotFoundError(upload_id) from None
    if not within.isascii() or not within.isprintable():
        raise UploadNotFoundError(upload_id)
    return key, within


def _object_id(upload_id: str) -> UUID:
    return UUID(hex=upload_id.partition(".")[0])


def _end(object_id: UUID) -> int:
    """Until when an upload may be completed, in milliseconds since 1970: its object's id is a
    UUIDv7, which tells when it began."""
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
