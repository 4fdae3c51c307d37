"""Tenants: their surrogate key and slug, and the rule for slugs."""

import re
from dataclasses import dataclass

# At most 48 characters, so that the bucket prefix and the slug make a legal S3 bucket name.
SLUG = re.compile(r"[a-z0-9]([a-z0-9-]{0,46}[a-z0-9])?")

TENANT_TAG = "matih.tenant_id"
"""The read-only tag of runs and experiments that shows their tenant."""


def is_slug(name: str) -> bool:
    """Whether a tenant may have this slug."""
    return SLUG.fullmatch(name) is not None


@dataclass(frozen=True, slots=True)
class Tenant:
    """A tenant by its surrogate key and its slug.

    No tenant has id 0: it stands for one that does not exist yet, which owns no rows.
    """

    id: int
    slug: str


NO_TENANT = Tenant(0, "")
"""The tenant of an operator, and of requests that concern no tenant's data."""
