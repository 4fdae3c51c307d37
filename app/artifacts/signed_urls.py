"""Signed URLs: they permit one method on one object, path or part of a tenant, until they expire.

The signature covers everything that the URL grants, so none of it can be changed. Whoever has the
URL has the permission; the server gives it only to callers that have the same permission already.
"""

import hashlib
import hmac
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlencode

from app.kernel.errors import PermissionDeniedError
from app.kernel.tenant import Tenant

# Query parameters of a signed URL.
OBJECT, UPLOAD, PART, EXPIRES, SIGNATURE = "object", "upload", "part", "expires", "signature"


@dataclass(frozen=True, slots=True)
class Grant:
    """What a signed URL permits: GET of an object, PUT of a file, or PUT of a part of an upload.
    `path` is relative to the tenant's root.

    The URL holds the tenant's slug but not its id. The id is signed too, so that the URL grants
    nothing of a later tenant of the same slug.
    """

    method: Literal["GET", "PUT"]
    tenant: Tenant
    path: str
    object_id: str = ""
    upload_id: str = ""
    part: str = ""


class Signer:
    """Signs and checks grants with the store's key, which is read by the first call."""

    def __init__(self, key: Callable[[], bytes]) -> None:
        self._read_key = key
        self._key: bytes | None = None

    def query(self, grant: Grant, *, seconds: int) -> str:
        """The query string of a URL that grants it for so many seconds."""
        expires = str(int(time.time()) + seconds)
        parameters = {
            OBJECT: grant.object_id,
            UPLOAD: grant.upload_id,
            PART: grant.part,
            EXPIRES: expires,
            SIGNATURE: self._signature(grant, expires),
        }
        return urlencode({name: value for name, value in parameters.items() if value})

    def check(
        self,
        method: Literal["GET", "PUT"],
        tenant: Tenant,
        path: str,
        query: Mapping[str, str],
    ) -> Grant:
        """What the URL of a request grants. Raises PermissionDeniedError where the signature does
        not match, or the URL has expired."""
        grant = Grant(
            method,
            tenant,
            path,
            query.get(OBJECT, ""),
            query.get(UPLOAD, ""),
            query.get(PART, ""),
        )
        expires = query.get(EXPIRES, "")
        expected = self._signature(grant, expires)
        given = query.get(SIGNATURE, "")
        if not hmac.compare_digest(expected.encode(), given.encode("utf-8", "replace")):
            raise PermissionDeniedError("The signature of this URL is not for this request")
        if time.time() > int(expires):
            raise PermissionDeniedError("This URL has expired")
        return grant

    def _signature(self, grant: Grant, expires: str) -> str:
        if self._key is None:
            self._key = self._read_key()
        # Unambiguous: paths, slugs, ids and numbers can't hold a line break.
        signed = "\n".join(
            (
                grant.method,
                grant.tenant.slug,
                str(grant.tenant.id),
                grant.path,
                grant.object_id,
                grant.upload_id,
                grant.part,
                expires,
            )
        )
        return hmac.new(self._key, signed.encode("utf-8", "replace"), hashlib.sha256).hexdigest()
