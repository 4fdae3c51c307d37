"""Where the next page of a folder's listing starts."""

import base64
import binascii
from contextlib import suppress

from app.artifacts.entities import Entry
from app.kernel.errors import InvalidValueError


def encode(last: Entry) -> str:
    """A token that says where the next page starts: behind all of the last entry."""
    return base64.urlsafe_b64encode(
        (last.path + ("0" if last.is_dir else "\x01")).encode()
    ).decode()


def decode(folder: str, page_token: str) -> str:
    with suppress(ValueError, binascii.Error):
        after = base64.b64decode(page_token.encode(), altchars=b"-_", validate=True).decode()
        if after.startswith(f"{folder}/") and "\x00" not in after:
            return after
    raise InvalidValueError(
        "Invalid page token: it must be the next_page_token of an earlier page of this folder",
        field="page_token",
    )
