"""What is read out of an Authorization header, whatever stands in it."""

import base64
import hashlib
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.auth.credentials import MAX_AUTHORIZATION, ApiKeyText, public_part, secret_in
from app.kernel.errors import UnauthenticatedError
from app.kernel.tenant import SLUG

SLUGS = st.from_regex(SLUG, fullmatch=True)


def basic(pair: bytes) -> bytes:
    return b"Basic " + base64.b64encode(pair)


class TestSecret:
    @pytest.mark.parametrize(
        "header",
        [
            *(b"Bearer s3cret", b"bearer s3cret", b"BEARER   s3cret ", b" Bearer s3cret"),
            *(basic(b"me:s3cret"), basic(b":s3cret")),
            basic(b"me:s3cret").replace(b"Basic", b"bAsIc"),
        ],
    )
    def test_in_both_schemes(self, header: bytes) -> None:
        assert secret_in(header) == "s3cret"

    def test_a_password_may_hold_colons(self) -> None:
        assert secret_in(basic(b"me:a:b")) == "a:b"

    @pytest.mark.parametrize(
        "header",
        [
            *(b"", b"Bearer", b"Bearer ", b"Basic", b"Basic !", b"Basic a", basic(b"no-colon")),
            *(basic(b"me:"), basic(b"me:\xff"), "Bearer ü".encode(), b"Digest x", b"s3cret"),
            *(b"Bearer " + b"x" * MAX_AUTHORIZATION, b"Basic " + b"A" * 1_000_000),
        ],
    )
    def test_malformed(self, header: bytes) -> None:
        with pytest.raises(UnauthenticatedError):
            secret_in(header)

    @given(st.binary(max_size=200), st.sampled_from([b"", b"Bearer ", b"Basic ", b"bearer"]))
    def test_of_any_bytes(self, given: bytes, scheme: bytes) -> None:
        """A secret of ASCII, or a refusal."""
        with suppress(UnauthenticatedError):
            secret = secret_in(scheme + given)
            assert secret
            assert secret.isascii()


class TestApiKeyText:
    @given(SLUGS)
    def test_is_what_it_parses_to(self, slug: str) -> None:
        key = ApiKeyText.new(slug)
        assert ApiKeyText.parse(key.text) == key
        assert key.slug == slug
        assert key.text.startswith(f"{public_part(slug, key.key_id)}_")
        assert key.hash == hashlib.sha256(key.text.encode()).digest()

    def test_differ(self) -> None:
        keys = [ApiKeyText.new("a") for _ in range(100)]
        assert len({key.text[-43:] for key in keys}) == 100
        assert len({key.key_id for key in keys}) == 100

    @pytest.mark.parametrize("change", ["", "x", "trk_", "trk_A", " ", "\n"])
    def test_no_key(self, change: str) -> None:
        whole = ApiKeyText.new("acme-corp").text
        for text in (change, change + whole if change else "", whole + "x", whole[:-1]):
            assert ApiKeyText.parse(text) is None

    @given(st.text(max_size=150))
    def test_of_any_text(self, text: str) -> None:
        assert ApiKeyText.parse(text) is None
