"""Page tokens: a typed value in MessagePack and URL-safe base64, opaque to clients.

A token is neither secret nor signed. A forged one only starts a page at another position of a
listing that the caller may read anyway, so each user checks the position before Postgres sees it.
"""

from base64 import b64decode, urlsafe_b64encode
from typing import Annotated, Any, Generic, TypeVar

import msgspec

from app.kernel.errors import InvalidValueError
from app.kernel.validation import INT64_MAX, INT64_MIN

# The longest tokens hold ten sort keys of 8,000 characters, of at most 4 bytes each.
MAX_LENGTH = 1 << 20

Value = TypeVar("Value")

Int64 = Annotated[int, msgspec.Meta(ge=INT64_MIN, le=INT64_MAX)]
"""An integer that fits a bigint column, for the types of values."""


class PageTokenCodec(Generic[Value]):
    """Encodes and decodes the tokens of one listing, whose values are of the type `value_type`.

    `expected` completes the error of a token that was refused: "Invalid page token: it must …".
    """

    def __init__(self, value_type: Any, expected: str) -> None:
        self._expected = expected
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder: msgspec.msgpack.Decoder[Value] = msgspec.msgpack.Decoder(value_type)

    def encode(self, value: Value) -> str:
        return urlsafe_b64encode(self._encoder.encode(value)).rstrip(b"=").decode()

    def decode(self, token: str) -> Value:
        """The value that was encoded. Raises InvalidValueError(field="page_token") for a token that
        is too long or malformed, or whose value is of another type."""
        if len(token) > MAX_LENGTH:
            raise self.refusal()
        padding = "=" * (-len(token) % 4)
        try:
            return self._decoder.decode(b64decode(token + padding, altchars=b"-_", validate=True))
        except (ValueError, msgspec.MsgspecError):
            raise self.refusal() from None

    def refusal(self) -> InvalidValueError:
        """The error for a token that does not belong to the listing, for the caller to raise."""
        return InvalidValueError(f"Invalid page token: {self._expected}", field="page_token")
