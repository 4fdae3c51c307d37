"""Page tokens: what is encoded comes back, and anything else is refused in the caller's words."""

import math
from base64 import urlsafe_b64encode
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.kernel.errors import InvalidValueError
from app.kernel.page_tokens import MAX_LENGTH, Int64, PageTokenCodec
from app.kernel.validation import INT64_MAX, INT64_MIN

PointRow = tuple[int, int, float]
POINTS: PageTokenCodec[PointRow] = PageTokenCodec(tuple[Int64, Int64, float], "it must be a point")
PATHS: PageTokenCodec[str] = PageTokenCodec(str, "it must be a path")
IDS: PageTokenCodec[UUID] = PageTokenCodec(UUID, "it must be an id")
KEYS: PageTokenCodec[list[Any]] = PageTokenCodec(list[int | float | str], "it must be keys")
CODECS: list[PageTokenCodec[Any]] = [POINTS, PATHS, IDS, KEYS]

INT64 = st.integers(INT64_MIN, INT64_MAX)


def as_token(raw: bytes) -> str:
    return urlsafe_b64encode(raw).decode()


@given(INT64, INT64, st.floats(allow_nan=False))
def test_points_come_back(timestamp: int, step: int, value: float) -> None:
    assert POINTS.decode(POINTS.encode((timestamp, step, value))) == (timestamp, step, value)


def test_nan_comes_back() -> None:
    assert math.isnan(POINTS.decode(POINTS.encode((1, 2, math.nan)))[2])


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_texts_come_back(path: str) -> None:
    assert PATHS.decode(PATHS.encode(path)) == path


@given(st.uuids())
def test_ids_come_back(number: UUID) -> None:
    assert IDS.decode(IDS.encode(number)) == number


@given(st.binary() | st.text().map(str.encode))
def test_a_token_needs_no_escapes_in_a_url(raw: bytes) -> None:
    assert not set(PATHS.encode(raw.decode("latin-1"))) & set("+/= %")


def refusal(codec: PageTokenCodec[Any], token: str) -> InvalidValueError | None:
    try:
        codec.decode(token)
    except InvalidValueError as error:
        return error
    return None


@given(st.text() | st.binary().map(as_token))
def test_anything_is_decoded_or_refused(token: str) -> None:
    for codec in CODECS:
        if error := refusal(codec, token):
            assert error.field == "page_token"
            assert error.message.startswith("Invalid page token: it must be ")


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize(
    "token",
    [
        "x",
        "====",
        "é",
        "\ud800",
        " ",
        as_token(b"\x91" * 10_000),  # arrays in arrays, deeper than Python recurses
        as_token(b"\xa3\xed\xa0\x80"),  # half of a surrogate pair
        as_token(msgspec.msgpack.encode({"a": 1})),
        as_token(msgspec.msgpack.encode((1, 2, 0.5)) + b"\x00"),
        as_token(msgspec.msgpack.encode((1, True, 0.5))),
    ],
)
def test_malformed(codec: PageTokenCodec[Any], token: str) -> None:
    error = refusal(codec, token)
    assert error
    assert error.field == "page_token"


@pytest.mark.parametrize("values", [(1, 2), (1, 2**63, 0.5), (1, 2, "x"), "x"])
def test_a_value_of_another_type_is_refused(values: object) -> None:
    assert refusal(POINTS, as_token(msgspec.msgpack.encode(values)))


def test_a_long_token_is_refused_before_it_is_decoded() -> None:
    longest = "x" * (MAX_LENGTH * 3 // 4 - 5)  # five bytes tell the length of the text
    assert PATHS.decode(PATHS.encode(longest)) == longest
    assert refusal(PATHS, PATHS.encode(longest + "x"))
