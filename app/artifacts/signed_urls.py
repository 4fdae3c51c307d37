"""URLs that carry their own permission: for one method on one thing of one tenant, for a time.

The signature covers all that the URL grants, so nothing in it can be changed. Whoever has the URL
has the permission; it is handed out to those only who could have done the same without it.
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
    """What a signed URL permits: to GET the object of a path, or to PUT the file at a path, or a
    part of an upload. `path` starts at the tenant's root.

    The URL shows the tenant's slug, and not its id, which is signed too: it grants nothing of
    another tenant that has the slug later.
    """

    method: Literal["GET", "PUT"]
    tenant: Tenant
    path: str
    object_id: str = ""
    upload_id: str = ""
    part: str = ""


class Signer:
    """Signs and checks grants with the store's key, which is read when first needed."""

    def __init__(self, key: Callable[[], bytes]) -> None:
        self._read_key = key
        self._key: bytes | None = None

    def query(self, grant: Grant, *, seconds: int) -> str:
        """The query string of a URL that grants it from now on."""
        expires = str(int(time.time()) + seconds)
        given = {
            OBJECT: grant.object_id,
            UPLOAD: grant.upload_id,
            PART: grant.part,
            EXPIRES: expires,
            SIGNATURE: self._signature(grant, expires),
        }
        return urlencode({name: value for name, value in given.items() if value})

    def check(
        self,
        method: Literal["GET", "PUT"],
        tenant: Tenant,
        path: str,
        query: Mapping[str, str],
    ) -> Grant:
        """What the URL of a request grants. Raises PermissionDeniedError if nothing, or no more."""
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
        # No part of a grant holds a line break; paths, slugs and numbers can't.
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
