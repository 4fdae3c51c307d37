"""Who is asking: what every request is known by, once its credentials have been looked at."""

from dataclasses import dataclass
from enum import IntEnum

from app.kernel.tenant import Tenant


class Role(IntEnum):
    """What a caller may do; each role includes those before it.

    ADMIN is of one tenant: its keys, its description, its usage. OPERATOR is of the service: every
    tenant, its quotas and its keys.
    """

    READ = 1
    WRITE = 2
    ADMIN = 3
    OPERATOR = 4

    @property
    def word(self) -> str:
        """The role as requests, answers and the table of keys have it."""
        return self.name.lower()


# The roles that a key or a token can have; an operator has the admin key.
KEY_ROLES = {role.word: role for role in (Role.READ, Role.WRITE, Role.ADMIN)}


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks, as which tenant, and what they may do.

    It stands in the ASGI scope as `scope["caller"]` from the moment the credentials are known to
    be good, also where the role is then found too low; a request that was not let in has none.
    That is the scope below `TenantPathMiddleware`, which passes on a copy.

    `tenant` is NOBODY's for an operator who acts for none. `name` is safe to log: the public part
    of an API key, `jwt:` and a token's subject, `admin-key`, or `anonymous` where authentication
    is off.
    """

    tenant: Tenant
    role: Role
    name: str
