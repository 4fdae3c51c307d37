"""Principal: an authenticated caller, with their tenant and role."""

from dataclasses import dataclass
from enum import IntEnum

from app.kernel.tenant import Tenant


class Role(IntEnum):
    """What a caller may do; each role includes the ones before it.

    ADMIN manages one tenant: its keys, description and usage. OPERATOR manages the service: every
    tenant with its quotas and keys.
    """

    READ = 1
    WRITE = 2
    ADMIN = 3
    OPERATOR = 4

    @property
    def word(self) -> str:
        """The role's name in requests, responses and the table of keys."""
        return self.name.lower()


# The roles of keys and tokens; OPERATOR is the role of the admin key.
KEY_ROLES = {role.word: role for role in (Role.READ, Role.WRITE, Role.ADMIN)}


@dataclass(frozen=True, slots=True)
class Principal:
    """An authenticated caller.

    It is `scope["caller"]` in the ASGI scope once the credentials are verified, even if the role
    is then found too low. That is the scope inside `TenantPathMiddleware`, which makes a copy.

    `tenant` is NO_TENANT for an operator who names none. `name` is safe to log: the public part
    of an API key, `jwt:` with a token's subject, `admin-key`, or `anonymous` where authentication
    is off.
    """

    tenant: Tenant
    role: Role
    name: str
