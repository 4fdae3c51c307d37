"""Files as they are stored, listed, and on their way in."""

from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID

from app.artifacts.object_keys import object_key
from app.artifacts.stores.values import StoredObject

if TYPE_CHECKING:
    from app.artifacts.quota_reservations import Reservation


@dataclass(frozen=True, slots=True)
class Artifact:
    """A stored file. `path` starts at the tenant's root; `size` is in bytes.

    `object_id` names the object that holds it, `sha256` is its checksum in hex where it is known.
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
        """Where its bytes lie in the store."""
        return object_key(self.path, self.object_id)


@dataclass(frozen=True, slots=True)
class Entry:
    """A file or a folder in a listing; a folder has only its path."""

    path: str
    is_dir: bool
    size: int | None
    content_type: str | None
    updated_time: int | None
    sha256: str | None = None


@dataclass(frozen=True, slots=True)
class Received:
    """The bytes of a file that is not at a path yet; `path` is what they were received for.
    `reservation` is the room for them, where the tenant has a quota."""

    path: str
    object_id: UUID
    stored: StoredObject
    content_type: str
    reservation: "Reservation | None" = None

    @property
    def key(self) -> str:
        return object_key(self.path, self.object_id)
