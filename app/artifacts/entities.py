"""Stored files, and the entries of a folder's listing."""

from dataclasses import dataclass
from uuid import UUID

from app.artifacts.object_keys import object_key


@dataclass(frozen=True, slots=True)
class Artifact:
    """A stored file. `path` is relative to the tenant's root, `size` is in bytes, `updated_time` in
    epoch milliseconds.

    `object_id` names the object that holds the bytes; None for a file from before objects had ids.
    `sha256` is the checksum in hex, where it is known.
    """

    path: str
    size: int
    etag: str
    content_type: str
    updated_time: int
    object_id: UUID | None = None
    sha256: str | None = None

    @property
    def key(self) -> str:
        """The key of its object in the store."""
        return object_key(self.path, self.object_id)


@dataclass(frozen=True, slots=True)
class ListingEntry:
    """A file or a folder in a listing. For a folder only `path` and `is_dir` are set."""

    path: str
    is_dir: bool
    size: int | None
    content_type: str | None
    updated_time: int | None
    sha256: str | None = None
