"""API key service: creates, lists, rotates, revokes and verifies keys."""

import hmac
import re
from collections.abc import Sequence
from dataclasses import dataclass

from app.audit import trail
from app.auth import sql
from app.auth.credentials import ApiKeyText, public_part
from app.db.database import Database
from app.db.pipeline import Pipeline
from app.kernel import validation
from app.kernel.clock import now_ms
from app.kernel.errors import (
    ApiKeyNotFoundError,
    InvalidStateError,
    InvalidValueError,
    UnauthenticatedError,
)
from app.kernel.principal import KEY_ROLES, Role
from app.kernel.tenant import NO_TENANT, Tenant
from app.tenants.entities import Limits

MAX_NAME_LENGTH = 200
MAX_OVERLAP_SECONDS = 7 * 24 * 3600

# Resolution of a key's last use: recording one costs a write.
LAST_USE_MS = 60_000


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key without its secret. Times are epoch milliseconds."""

    key_id: str
    name: str
    role: str
    creation_time: int
    expiry_time: int | None
    revoked_time: int | None
    last_used_time: int | None

    @property
    def status(self) -> str:
        """`active`, `expired` or `revoked`."""
        if self.revoked_time is not None:
            return "revoked"
        expired = self.expiry_time is not None and self.expiry_time <= now_ms()
        return "expired" if expired else "active"


@dataclass(frozen=True, slots=True)
class VerifiedKey:
    """A valid key: its tenant with the quotas, its role, and its expiry in epoch milliseconds."""

    tenant: Tenant
    limits: Limits
    role: Role
    expiry_time: int | None


class ApiKeys:
    """The keys of tenants. Methods that take a key id raise ApiKeyNotFoundError for an id that is
    not one of the tenant's."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def list(
        self, tenant: Tenant, *, limit: int | None = None, offset: int = 0
    ) -> tuple[Sequence[ApiKey], int]:
        """A page of the keys, newest first, and their number. Revoked keys are included."""
        values = {"tenant": tenant.id, "limit": limit, "offset": offset}
        async with self._database.read_pipeline(tenant) as connection:
            page = await connection.execute(sql.LIST_KEYS, values)
            count = await connection.execute(sql.COUNT_KEYS, values)
            rows, total = await page.fetchall(), await count.fetchone()
        assert total is not None
        return [ApiKey(*row) for row in rows], total[0]

    async def get(self, tenant: Tenant, key_id: str) -> ApiKey:
        """The key with that id."""
        async with self._database.read_pipeline(tenant) as connection:
            return await _fetch_key(connection, tenant, sql.GET_KEY, key_id)

    async def create(
        self, tenant: Tenant, role: str, *, name: str = "", expiry_time: int | None = None
    ) -> tuple[ApiKey, str]:
        """Create a key; returns it with its text, which is stored nowhere.

        Raises InvalidValueError for an unknown role, and for an expiry in the past.
        """
        if role not in KEY_ROLES:
            raise InvalidValueError(
                f"Invalid role '{role}': it must be one of {', '.join(KEY_ROLES)}", field="role"
            )
        validation.text(name, "name", MAX_NAME_LENGTH)
        if not name.isprintable():
            raise InvalidValueError("The name has control characters in it", field="name")
        now = now_ms()
        if expiry_time is not None and expiry_time <= now:
            raise InvalidValueError("The key would have expired already", field="expires_at")
        async with self._database.write_pipeline(tenant) as connection:
            new = await self._insert(connection, tenant, role, name, now, expiry_time)
            await trail.record(connection, tenant, "key.create", new[0].key_id, role=role)
        return new

    async def rotate(
        self, tenant: Tenant, key_id: str, *, overlap_seconds: int = 0
    ) -> tuple[ApiKey, str]:
        """Replace a key by a new one of the same name, role and lifetime; returns it as `create`.

        The old key is revoked, or with `overlap_seconds` expires after that time, so that its users
        can change over. Raises InvalidStateError if it is revoked already.
        """
        if not 0 <= overlap_seconds <= MAX_OVERLAP_SECONDS:
            raise InvalidValueError(
                f"overlap_seconds must be between 0 and {MAX_OVERLAP_SECONDS}",
                field="overlap_seconds",
            )
        now = now_ms()
        async with self._database.write_pipeline(tenant) as connection:
            old = await _fetch_key(connection, tenant, sql.LOCK_KEY, key_id)
            if old.revoked_time is not None:
                raise InvalidStateError(f"The key {key_id} is revoked", field="key_id")
            values = {"tenant": tenant.id, "key": key_id, "now": now}
            if overlap_seconds:
                until = now + overlap_seconds * 1000
                await connection.execute(sql.EXPIRE_KEY, values | {"expiry": until})
            else:
                await connection.execute(sql.REVOKE_KEY, values)
            expiry = None
            if old.expiry_time is not None:
                expiry = now + old.expiry_time - old.creation_time
            new = await self._insert(connection, tenant, old.role, old.name, now, expiry)
            await trail.record(connection, tenant, "key.rotate", key_id, into=new[0].key_id)
        return new

    async def revoke(self, tenant: Tenant, key_id: str) -> ApiKey:
        """Revoke a key, in every worker within seconds. Idempotent."""
        async with self._database.write_pipeline(tenant) as connection:
            key = await _fetch_key(connection, tenant, sql.REVOKE_KEY, key_id)
            await trail.record(connection, tenant, "key.revoke", key_id)
        return key

    async def verify(self, given: ApiKeyText) -> VerifiedKey:
        """The key's tenant, quotas and role; records its last use, at most once a minute.

        Raises UnauthenticatedError, with the same message whichever part of the key is wrong, and
        with one of its own for a key that has expired or was revoked.
        """
        values = {"slug": given.slug, "key": given.key_id}
        async with self._database.write_pipeline(NO_TENANT) as connection:
            await connection.execute(sql.SET_TENANT_BY_SLUG, values)
            row = await (await connection.execute(sql.FIND_KEY, values)).fetchone()
        if not hmac.compare_digest(row[0] if row else bytes(32), given.hash) or row is None:
            raise UnauthenticatedError("The API key is not valid")
        _, role, expiry, revoked, last_used, tenant_id, *limits = row
        tenant = Tenant(tenant_id, given.slug)
        now = now_ms()
        if revoked is not None:
            raise UnauthenticatedError("The API key was revoked")
        if expiry is not None and expiry <= now:
            raise UnauthenticatedError("The API key has expired")
        if last_used is None or last_used < now - LAST_USE_MS:
            await self._record_use(tenant, given.key_id, now)
        return VerifiedKey(tenant, Limits(*limits), KEY_ROLES[role], expiry)

    async def _record_use(self, tenant: Tenant, key_id: str, now: int) -> None:
        values = {"tenant": tenant.id, "key": key_id, "now": now, "since": now - LAST_USE_MS}
        async with self._database.write_pipeline(tenant) as connection:
            await connection.execute(sql.TOUCH_KEY, values)

    async def _insert(
        self,
        connection: Pipeline,
        tenant: Tenant,
        role: str,
        name: str,
        now: int,
        expiry: int | None,
    ) -> tuple[ApiKey, str]:
        new = ApiKeyText.new(tenant.slug)
        cursor = await connection.execute(
            sql.INSERT_KEY,
            {
                "tenant": tenant.id,
                "key": new.key_id,
                "name": name,
                "role": role,
                "hash": new.hash,
                "now": now,
                "expiry": expiry,
            },
        )
        row = await cursor.fetchone()
        assert row is not None
        return ApiKey(*row), new.text


def shown_prefix(tenant: Tenant, key: ApiKey) -> str:
    """The part of the key that may be shown: all but its secret."""
    return public_part(tenant.slug, key.key_id)


async def _fetch_key(connection: Pipeline, tenant: Tenant, statement: str, key_id: str) -> ApiKey:
    row = None
    if re.fullmatch("[0-9a-f]{12}", key_id):
        values = {"tenant": tenant.id, "key": key_id, "now": now_ms()}
        row = await (await connection.execute(statement, values)).fetchone()
    if row is None:
        raise ApiKeyNotFoundError(key_id)
    return ApiKey(*row)
