"""An uploaded object that is not a file yet."""

from dataclasses import dataclass
from uuid import UUID

from app.artifacts.object_keys import object_key
from app.artifacts.quota_reservations import Reservation
from app.artifacts.stores.values import StoredObject


@dataclass(frozen=True, slots=True)
class UnpublishedObject:
    """Bytes in the store without a row in the index. `path` is the path that they were uploaded
    for; `reservation` holds their share of the tenant's quota, None where it has none."""

    path: str
    object_id: UUID
    stored: StoredObject
    content_type: str
    reservation: Reservation | None = None

    @property
    def key(self) -> str:
        """The key of the object in the store."""
        return object_key(self.path, self.object_id)
