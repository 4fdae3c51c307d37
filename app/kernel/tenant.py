"""Who a request acts for."""

from dataclasses import dataclass

TENANT_TAG = "matih.tenant_id"


@dataclass(frozen=True, slots=True)
class Tenant:
    """A tenant by its surrogate key and its slug.

    Id 0 is nobody's: a read in the name of a tenant that does not exist yet sees no rows.
    """

    id: int
    slug: str


NOBODY = Tenant(0, "")
