"""Values that artifact stores take and return: objects, parts, unfinished uploads."""

from dataclasses import dataclass, field

MAX_PARTS = 10_000  # of a multipart upload, in any S3


@dataclass(frozen=True, slots=True)
class StoredObject:
    """`size` is in bytes. `etag` is opaque and unquoted, and changes when the content is replaced.

    `checksum` is the SHA-256 of the content, in hex. It is None where the store has not read the
    content in order: for an object that was found, copied, or uploaded in parts.
    """

    size: int
    etag: str
    checksum: str | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class StoredKey:
    """An object in a listing. `size` is in bytes, `modified_time` in milliseconds since 1970."""

    key: str
    size: int
    modified_time: int


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a multipart upload as its client names it; `number` is from 1 to MAX_PARTS."""

    number: int
    etag: str


@dataclass(frozen=True, slots=True)
class UnfinishedUpload:
    """An upload that holds bytes and is not an object yet: it is running, or its process or client
    has died.

    `modified_time`, in milliseconds since 1970, is when it last received bytes, or when it started
    where the store does not know that. `key` is None where the store does not know it.
    """

    upload_id: str
    key: str | None
    modified_time: int
