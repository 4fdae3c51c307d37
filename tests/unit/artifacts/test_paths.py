"""Validation of artifact paths: which are accepted, and that none leaves its folder."""

import ntpath
import posixpath
import re
from urllib.parse import unquote

import pytest
import requests
from hypothesis import assume, example, given
from hypothesis import strategies as st
from mlflow.exceptions import MlflowException
from mlflow.utils.uri import validate_path_is_safe
from urllib3.util.url import _encode_target

from app.artifacts.paths import (
    MAX_PATH_BYTES,
    MAX_SEGMENT_BYTES,
    artifact_path,
    name_as_in_url,
    path_as_listed,
    path_in_url,
    path_to_read,
)
from app.artifacts.stores.path_rules import key_segments
from app.kernel.errors import InvalidValueError

# Text out of the pieces that attacks are made of finds more than any text does.
PIECES = st.sampled_from(
    (
        *("a", "B", ".", "..", "/", "//", "\\", "%", "%2e", "%2E", "%2f", "%5c", "%25", "%252e"),
        *("%00", "C:", ":", "file:", "s3:", "#", "?", " ", "é", "\x00", "\n", "\ud800", "~"),
        "x" * 130,
    )
)
# Names of files as they are, with all that looks like percent-encoding.
NAMES = st.text(
    st.sampled_from("%%%%0123456789abcdefABCDEFst =-_é"), min_size=1, max_size=12
).filter(lambda name: name.strip() == name)
ESCAPE = re.compile("%[0-9A-Fa-f]{2}")
HOSTILE = st.lists(PIECES, max_size=12).map("".join) | st.text(max_size=40)


class TestAccepted:
    @pytest.mark.parametrize(
        "path",
        [
            "model.pkl",
            "model/MLmodel",
            "a/b/c/d.txt",
            "plots/Übersicht 図.png",
            "emoji/🚀.txt",
            "with space.txt",
            "100%.txt",
            "a%20b.txt",
            "50%-60%/x",
            "%zz",
            "a%23b",
            "%C3%A9.txt",
            "frame%03d.png",
            "top%1f.png",
            "a%00b",
            "a%0D%0Ab",
            "x%C2%85",
            "bad=%E9",
            "loss%step%0%timestamp%1795000000000%7f3a.png",
            "a%2503b",
            "...",
            "..a",
            "a..",
            ".hidden/.env",
            "what?.txt",
            "a&b=c;d+e,f@g!$'()*",
            "ratio a:b.txt",
            "step:10.txt",
            "~root",
            "aux/con.txt",
            " ",
        ],
    )
    def test_as_it_is(self, path: str) -> None:
        assert artifact_path(path) == path

    def test_one_trailing_slash_is_dropped(self) -> None:
        assert artifact_path("plots/") == "plots"

    def test_unicode_is_not_normalised(self) -> None:
        composed, decomposed = "\u00e9", "e\u0301"
        assert artifact_path(composed) != artifact_path(decomposed)

    def test_root_where_allowed(self) -> None:
        assert artifact_path("", allow_root=True) == ""

    def test_longest(self) -> None:
        segment = "é" * (MAX_SEGMENT_BYTES // 2) + "x"
        assert len(segment.encode()) == MAX_SEGMENT_BYTES
        assert artifact_path(segment) == segment
        path = "/".join(["a" * 99] * 9)
        assert len(path) == MAX_PATH_BYTES - 1
        assert artifact_path(path + "b") == path + "b"


class TestRefused:
    @pytest.mark.parametrize(
        "path",
        [
            # absolute
            "/",
            "/etc/passwd",
            "//host/share",
            # dots
            ".",
            "..",
            "../a",
            "a/../b",
            "a/..",
            "a/../../b",
            "./a",
            "a/./b",
            "a/.",
            # empty segments
            "a//b",
            "a//",
            # backslashes and Windows
            "a\\b",
            "..\\a",
            "\\\\host\\share",
            "C:",
            "c:secret",
            "C:/Windows",
            "C:\\Windows",
            # URIs
            "file:/etc/passwd",
            "file:///etc/passwd",
            "FILE:etc",
            "s3://bucket/key",
            "mlflow-artifacts:/x",
            "http://169.254.169.254/",
            # control characters and half characters
            "a\x00b",
            "a\nb",
            "a\rb",
            "a\x7fb",
            "a\x85b",
            "a\ud800b",
            "a\uffffb",
            # encoded once more
            "%2e%2e",
            "%2e%2e/secret",
            "%2E%2E/secret",
            ".%2e/secret",
            "a/%2e%2e/b",
            "%2e",
            "%2fetc",
            "a%2fb",
            "a%2Fb",
            "..%2fsecret",
            "a%5cb",
            "..%5csecret",
            "C%3a/Windows",
            "file%3a/etc",
            # encoded twice and more
            "%252e%252e",
            "%252e%252e%252fsecret",
            "%25252e%25252e/secret",
            "a%252fb",
            "%25252525252e%25252525252e",
            # fragments break the listings of MLflow's client
            "a#b",
            "#",
        ],
    )
    def test_never(self, path: str) -> None:
        for allow_root in (False, True):
            with pytest.raises(InvalidValueError, match=r"^Invalid path: ") as caught:
                artifact_path(path, allow_root=allow_root)
            assert caught.value.field == "path"

    def test_root_where_a_file_is_meant(self) -> None:
        with pytest.raises(InvalidValueError, match="empty"):
            artifact_path("")

    @pytest.mark.parametrize("path", ["a" * 256, "é" * 128, "x/" + "y" * 256 + "/z"])
    def test_long_segment(self, path: str) -> None:
        with pytest.raises(InvalidValueError, match="255 bytes"):
            artifact_path(path)

    def test_long_path(self) -> None:
        with pytest.raises(InvalidValueError, match="900 bytes"):
            artifact_path("/".join(["a" * 100] * 9))

    def test_message_is_short_and_printable(self) -> None:
        with pytest.raises(InvalidValueError) as caught:
            artifact_path("\ud800\n\x00" * 100_000)
        assert len(caught.value.message) < 400
        assert caught.value.message.isprintable()
        caught.value.message.encode()


class TestAnyText:
    @given(HOSTILE)
    @example("%" + "25" * 300 + "2e")
    def test_accepted_stays_inside_however_often_decoded(self, raw: str) -> None:
        try:
            path = artifact_path(raw)
        except InvalidValueError as error:
            error.message.encode()
            return
        assert artifact_path(path) == path
        assert raw in (path, path + "/")
        while True:
            inside = posixpath.normpath(posixpath.join("/root", path))
            assert inside == "/root/" + path
            windows = ntpath.normpath(ntpath.join("R:\\root", path))
            assert windows == "R:\\root\\" + path.replace("/", "\\")
            if (decoded := unquote(path)) == path:
                break
            path = decoded

    @given(HOSTILE)
    def test_accepted_makes_a_key(self, raw: str) -> None:
        try:
            path = artifact_path(raw)
        except InvalidValueError:
            return
        assert "/".join(key_segments(f"experiments/1/runs/2/artifacts/{path}")).endswith(path)


class TestToRead:
    @pytest.mark.parametrize(
        ("raw", "path"),
        [
            ("d/s", "d/s"),
            ("d/s/", "d/s"),
            ("./d", "d"),
            ("d/.", "d"),
            ("d/./s", "d/s"),
            ("d//s", "d/s"),
            ("././/d///s/.//", "d/s"),
            ("d/...", "d/..."),
            (".d/s.", ".d/s."),
        ],
    )
    def test_without_dots_and_empty_segments(self, raw: str, path: str) -> None:
        assert path_to_read(raw) == path

    @pytest.mark.parametrize("raw", ["", ".", "./", "././."])
    def test_root(self, raw: str) -> None:
        assert path_to_read(raw, allow_root=True) == ""
        with pytest.raises(InvalidValueError, match="empty"):
            path_to_read(raw)

    @pytest.mark.parametrize("raw", ["..", "./..", "d/../s", "/", "//", "/.", "/d", "./%2e%2e/d"])
    def test_refused(self, raw: str) -> None:
        with pytest.raises(InvalidValueError):
            path_to_read(raw, allow_root=True)

    @given(HOSTILE)
    def test_any_text_is_refused_or_a_path(self, raw: str) -> None:
        try:
            path = path_to_read(raw, allow_root=True)
        except InvalidValueError:
            return
        assert artifact_path(path, allow_root=True) == path
        assert path == posixpath.normpath(raw).removeprefix(".") or path == posixpath.normpath(raw)


class TestInUrls:
    @pytest.mark.parametrize(
        ("decoded", "path"),
        [
            ("a b.txt", "a b.txt"),
            ("100%.txt", "100%.txt"),
            ("a%20b.txt", "a%20b.txt"),
            ("frame\x03d.png", "frame%03d.png"),
            ("top\x1f.png", "top%1f.png"),
            ("a\x00\r\n\x7f", "a%00%0d%0a%7f"),
            ("x\x85", "x%C2%85"),
            ("bad=\udce9", "bad=%E9"),
            ("d%2Fs%2ftxt", "d/s/txt"),
            ("\ufffd", "\ufffd"),
        ],
    )
    def test_what_cannot_be_stored_stays_escaped(self, decoded: str, path: str) -> None:
        assert path_in_url(decoded) == path

    @given(NAMES, NAMES)
    @example("d", "%41.bin")
    @example("d", "frame%03d.png")
    @example("d", "loss%step%0%timestamp%17%41")
    @example("50%", "%41.bin")
    @example("d", "%2541")
    @example("d", "bad=%e9")
    @example("d", "loss%step%0b5c")
    def test_a_name_is_the_same_whole_and_in_parts(self, folder: str, name: str) -> None:
        """`requests` says what becomes of names that MLflow's client puts into URLs."""
        # Of a folder that was decoded already nobody knows how it was written.
        assume("%" not in name or not ESCAPE.search(folder))
        whole = path_in_url(as_sent(f"{folder}/{name}"))
        folder = path_in_url(as_sent(folder))
        assert f"{folder}/{name_as_in_url(name, folder)}" == whole


def as_sent(path: str) -> str:
    """What the HTTP server decodes of a URL in which the client has put the path."""
    target = requests.Request("PUT", f"http://localhost/{path}").prepare().path_url
    return unquote(_encode_target(target)[1:], errors="surrogateescape")


class TestAsListed:
    @pytest.mark.parametrize(
        ("stored", "shown"),
        [
            ("a b.txt", "a b.txt"),
            ("a%20b.txt", "a b.txt"),
            ("%2541.bin", "A.bin"),
            ("top%1F.png", "top%1f.png"),
            ("bad=%E9", "bad=\ufffd"),
            ("d/%03d.png", "d/d.png"),
            ("a%0Ab%09.txt", "ab.txt"),
        ],
    )
    def test_is_decoded(self, stored: str, shown: str) -> None:
        assert path_as_listed(stored) == shown

    def test_is_decoded_a_bounded_number_of_times(self) -> None:
        """A search may decode a hundred names that a tenant has stored."""
        nested = "%" + "25" * 100 + "41"
        assert path_as_listed(nested).startswith("%2525")

    @given(NAMES)
    def test_is_what_mlflows_client_shows(self, name: str) -> None:
        try:
            name = artifact_path(name)
            shown = validate_path_is_safe(name)
        except (InvalidValueError, MlflowException):
            return
        assert path_as_listed(name) == shown


class TestKeySegments:
    @pytest.mark.parametrize("key", ["", "/a", "a/../b", "..", "a//b", "a\\b", "a\x00", "a/"])
    def test_refuses_what_leaves_the_store(self, key: str) -> None:
        with pytest.raises(InvalidValueError):
            key_segments(key)
