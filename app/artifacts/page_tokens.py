"""Page tokens of folder listings (keyset pagination)."""

import base64
import binascii
from contextlib import suppress

from app.artifacts.entities import ListingEntry
from app.kernel.errors import InvalidValueError


def encode(last: ListingEntry) -> str:
    """The token of the page after `last`. It holds the first path that sorts after the entry, and
    after everything in it where it is a folder."""
    return base64.urlsafe_b64encode(
        (last.path + ("0" if last.is_dir else "\x01")).encode()
    ).decode()


def decode(folder: str, page_token: str) -> str:
    """The path at which the page starts. Raises InvalidValueError for a token that is not one of
    this folder."""
    with suppress(ValueError, binascii.Error):
        after = base64.b64decode(page_token.encode(), altchars=b"-_", validate=True).decode()
        if after.startswith(f"{folder}/") and "\x00" not in after:
            return after
    raise InvalidValueError(
        "Invalid page token: it must be the next_page_token of an earlier page of this folder",
        field="page_token",
    )
