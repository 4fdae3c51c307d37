"""Cache of an identity provider's public keys: a JSON Web Key Set (RFC 7517) from a URL or a file.

Not a `TtlCache`: the set is one entry, which is refreshed while it is served, and which stays
valid while the provider cannot be reached.
"""

import asyncio
import logging
import math
import time
from pathlib import Path

import jwt
import urllib3
from anyio import to_thread

from app.kernel.errors import UnauthenticatedError, UnavailableError

log = logging.getLogger(__name__)

# When the set is read again, in seconds since the last read. A key that is not in the set may be a
# new one, so a token that names it triggers a read; limited, whatever tokens are sent.
REFRESH_SECONDS = 600.0  # for a token whose key is in the set
RETRY_SECONDS = 15.0  # if the last read failed, or for a token whose key is not in the set
RETRY_SECONDS_UNKNOWN_KEY = 1.0  # if the last read failed, and the token's key is not in the set

_REQUEST_TIMEOUT = 5.0  # seconds to connect, and between two bytes
_READ_TIMEOUT = 10.0  # seconds for the whole read, also of a document that comes byte by byte
_MAX_BYTES = 1 << 20


class JwksCache:
    """The key set at `location`, an HTTP URL or a path; at most one read is in progress."""

    def __init__(self, location: str) -> None:
        self._location = location
        self._keys: dict[str | None, jwt.PyJWK] = {}
        self._read_at = -math.inf
        self._last_read_failed = False
        self._reading: asyncio.Task[None] | None = None

    async def find(self, kid: str | None) -> jwt.PyJWK:
        """The key with that id; for None, the only key of a set of one.

        A key in the set is returned at once, even if a refresh is due. For any other, waits for a
        read. Raises UnauthenticatedError if the set has no such key, UnavailableError if the set
        cannot be read, so that nobody knows.
        """
        key = self._get(kid)
        if self._refresh_due(known=key is not None):
            reading = self._start_read()
            if key is None:
                await asyncio.shield(reading)
                key = self._get(kid)
        if key is not None:
            return key
        if self._last_read_failed:
            raise UnavailableError("The identity provider's keys cannot be read; try again shortly")
        raise UnauthenticatedError("The token is signed with a key that is not the issuer's")

    def _refresh_due(self, *, known: bool) -> bool:
        age = time.monotonic() - self._read_at
        if known:
            return age > (RETRY_SECONDS if self._last_read_failed else REFRESH_SECONDS)
        return age > (RETRY_SECONDS_UNKNOWN_KEY if self._last_read_failed else RETRY_SECONDS)

    def _start_read(self) -> asyncio.Task[None]:
        """The read in progress, or a new one. It goes on if the request that waits is cancelled."""
        if self._reading is None or self._reading.done():
            self._reading = asyncio.create_task(self._read())
        return self._reading

    def _get(self, kid: str | None) -> jwt.PyJWK | None:
        if kid is None and len(self._keys) == 1:
            return next(iter(self._keys.values()))
        return self._keys.get(kid)

    async def _read(self) -> None:
        """Replace the set; if the read fails, the old set stays valid."""
        try:
            async with asyncio.timeout(_READ_TIMEOUT):
                self._keys = await to_thread.run_sync(
                    _read_keys, self._location, abandon_on_cancel=True
                )
            self._last_read_failed = False
        except Exception as error:  # the provider's fault, whatever it sent
            log.warning("cannot read the identity provider's keys: %r", error)
            self._last_read_failed = True
        finally:
            self._read_at = time.monotonic()


def _read_keys(location: str) -> dict[str | None, jwt.PyJWK]:
    """The asymmetric keys of the set, by their ids. Raises ValueError if there are none."""
    keys = jwt.PyJWKSet.from_json(_read_document(location)).keys
    asymmetric = {key.key_id: key for key in keys if key.key_type != "oct"}
    if not asymmetric:
        raise ValueError("the key set has no asymmetric key")
    return asymmetric


def _read_document(location: str) -> str:
    if not location.startswith(("https://", "http://")):
        return Path(location.removeprefix("file://")).read_text()
    with urllib3.PoolManager(retries=False, timeout=_REQUEST_TIMEOUT) as pool:
        response = pool.request("GET", location, redirect=False, preload_content=False)
        try:
            if response.status != 200:
                raise ValueError(f"the URL of the key set answers {response.status}")
            document = response.read(_MAX_BYTES + 1)
        finally:
            response.close()
    if len(document) > _MAX_BYTES:
        raise ValueError(f"the key set has more than {_MAX_BYTES} bytes")
    return document.decode()
