"""The beginning of a file, shown without executing or rendering any of it."""

import io
import json
import struct
import zlib
from typing import Any

import httpx
import pytest
from PIL import Image

from tests.integration.workbench_api.support import (
    RUNS,
    assert_problem,
)


async def preview(
    client: httpx.AsyncClient,
    run: dict[str, Any],
    name: str,
    content: bytes,
    kind: str = "",
    content_type: str = "application/octet-stream",
) -> httpx.Response:
    """The preview of a file with that content."""
    await client.post(
        f"{RUNS}/{run['id']}/artifacts", files={"file": (name, content, content_type)}
    )
    return await client.get(f"{RUNS}/{run['id']}/artifacts/{name}", params={"preview": kind})


def assert_harmless(response: httpx.Response) -> None:
    assert response.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in response.headers["content-security-policy"]
    assert response.headers["content-type"] in ("application/json", "image/png")


def encoded(kind: str, size: tuple[int, int] = (600, 300), **options: Any) -> bytes:
    target = io.BytesIO()
    Image.new("RGB", size, "red").save(target, kind, **options)
    return target.getvalue()


class TestText:
    async def test_short(self, client: httpx.AsyncClient, run: dict[str, Any]) -> None:
        response = await preview(client, run, "a.txt", "größe\n".encode())
        assert_harmless(response)
        assert response.json() == {
            "path": "a.txt",
            "kind": "text",
            "size": 8,
            "truncated": False,
            "text": "größe\n",
            "columns": None,
            "rows": None,
        }

    async def test_long_ends_with_a_whole_character(
        self, client: httpx.AsyncClient, run: dict[str, Any]
    ) -> None:
        shown = (await preview(client, run, "a.txt", b"x" + "ß".encode() * 100_000)).json()
        assert shown["truncated"]
        assert shown["text"] == "x" + "ß" * 32767

    @pytest.mark.parametrize("name", ["a.html", "a.svg", "a.xml", "a.js"])
    async def test_pages_are_text(
        self, client: httpx.AsyncClient, run: dict[str, Any], name: str
    ) -> None:
        page = b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>"
        response = await preview(client, run, name, page, content_type="image/svg+xml")
        assert_harmless(response)
        assert (response.json()["kind"], response.json()["text"]) == ("text", page.decode())

    @pytest.mark.parametrize("content", [b"\x00\x01", b"abc\xff\xfe\xfdabc", b"PK\x03\x04\x00"])
    async def test_binary(
        self, client: httpx.AsyncClient, run: dict[str, Any], content: bytes
    ) -> None:
        for kind in ("", "text", "json", "table"):
            shown = (await preview(client, run, "a.pkl", content, kind)).json()
            assert (shown["kind"], shown["text"], shown["rows"]) == ("binary", None, None)

    async def test_other_encodings(self, client: httpx.AsyncClient, run: dict[str, Any]) -> None:
        for encoding in ("utf-16", "utf-8-sig"):
            shown = (await preview(client, run, "a.txt", "größe".encode(encoding))).json()
            assert shown["text"] == "größe"

    async def test_empty(self, client: httpx.AsyncClient, run: dict[str, Any]) -> None:
        shown = (await preview(client, run, "a.txt", b"")).json()
        assert (shown["kind"], shown["text"], shown["truncated"]) == ("text", "", False)


class TestJson:
    async def test_indented(self, client: httpx.AsyncClient, run: dict[str, Any]) -> None:
        shown = (await preview(client, run, "a.json", b'{"a":[1,"\xc3\xb6"]}')).json()
        assert shown["kind"] == "json"
        assert shown["text"] == json.dumps({"a": [1, "ö"]}, indent=2, ensure_ascii=False)

    @pytest.mark.parametrize("content", [b"{not json", b"[" * 100_000, b'{"a": 1e999, "b": NaN'])
    async def test_no_json(
        self, client: httpx.AsyncClient, run: dict[str, Any], content: bytes
    ) -> None:
        shown = (await preview(client, run, "a.json", content)).json()
        assert shown["text"] == content[: 64 << 10].decode()
        assert shown["truncated"] == (len(content) > 64 << 10)

    @pytest.mark.parametrize("depth", [50, 51, 900])
    async def test_deep(self, client: httpx.AsyncClient, run: dict[str, Any], depth: int) -> None:
        """Indented, each line of a deep document is long: such a one is shown as it stands."""
        content = b"[" * depth + b"]" * depth
        text = (await preview(client, run, "a.json", content)).json()["text"]
        assert text == (
            json.dumps(json.loads(content), indent=2) if depth <= 50 else content.decode()
        )

    async def test_many_short_lines_below_deep_ones(
        self, client: httpx.AsyncClient, run: dict[str, Any]
    ) -> None:
        """40 levels down, each of 60,000 numbers would be a line of 80 characters."""
        content = b"[" * 40 + b"1," * 60_000 + b"1" + b"]" * 40
        shown = (await preview(client, run, "a.json", content)).json()
        assert shown["text"] == content[: 64 << 10].decode()
        assert shown["truncated"]

    async def test_long(self, client: httpx.AsyncClient, run: dict[str, Any]) -> None:
        content = json.dumps(["x" * 100] * 10_000).encode()
        shown = (await preview(client, run, "a.json", content)).json()
        assert (shown["truncated"], shown["size"]) == (True, len(content))
        assert shown["text"] == content[: 64 << 10].decode()


class TestTable:
    @pytest.mark.parametrize(
        ("name", "content"),
        [
            ("a.csv", b'id,name\r\n1,"a,b"\r\n2,"c\nd"\r\n'),
            ("a.csv", b'id;name\n1;"a,b"\n2;"c\nd"\n'),
            ("a.tsv", b'id\tname\n1\ta,b\n2\t"c\nd"\n'),
        ],
    )
    async def test_rows(
        self, client: httpx.AsyncClient, run: dict[str, Any], name: str, content: bytes
    ) -> None:
        shown = (await preview(client, run, name, content)).json()
        assert (shown["kind"], shown["truncated"], shown["text"]) == ("table", False, None)
        assert shown["columns"] == ["id", "name"]
        assert shown["rows"] == [["1", "a,b"], ["2", "c\nd"]]

    async def test_long(self, client: httpx.AsyncClient, run: dict[str, Any]) -> None:
        content = b"id,x\n" + b"".join(b"%d,y\n" % number for number in range(100_000))
        shown = (await preview(client, run, "a.csv", content)).json()
        assert shown["truncated"]
        assert shown["rows"] == [[str(number), "y"] for number in range(100)]

    async def test_long_rows_are_whole(
        self, client: httpx.AsyncClient, run: dict[str, Any]
    ) -> None:
        row = b",".join(b"%d" % number for number in range(5000))
        shown = (await preview(client, run, "a.csv", (row + b"\n") * 50)).json()
        assert shown["truncated"]
        assert {len(one) for one in shown["rows"]} == {5000}

    async def test_too_many_columns(self, client: httpx.AsyncClient, run: dict[str, Any]) -> None:
        shown = (await preview(client, run, "a.csv", b"," * 100_000 + b"\n1,2\n")).json()
        assert shown["truncated"]
        assert len(shown["columns"]) == 5000
        assert shown["rows"] == [["1", "2"]]

    async def test_one_endless_field(self, client: httpx.AsyncClient, run: dict[str, Any]) -> None:
        shown = (await preview(client, run, "a.csv", b'a,b\n1,"' + b"x" * 500_000)).json()
        assert (shown["columns"], shown["rows"]) == (["a", "b"], [])
        assert shown["truncated"]

    async def test_empty(self, client: httpx.AsyncClient, run: dict[str, Any]) -> None:
        shown = (await preview(client, run, "a.csv", b"")).json()
        assert (shown["columns"], shown["rows"]) == ([], [])


class TestImage:
    @pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP"])
    async def test_thumbnail(
        self, client: httpx.AsyncClient, run: dict[str, Any], kind: str
    ) -> None:
        response = await preview(client, run, f"plot.{kind.lower()}", encoded(kind))
        assert_harmless(response)
        with Image.open(io.BytesIO(response.content), formats=["PNG"]) as small:
            assert small.size == (256, 128)
            red, green, blue = small.convert("RGB").getpixel((10, 10))
            assert red > 200 > 60 > max(green, blue)

    async def test_by_content_type(self, client: httpx.AsyncClient, run: dict[str, Any]) -> None:
        response = await preview(client, run, "plot", encoded("PNG"), content_type="image/png")
        assert response.headers["content-type"] == "image/png"

    async def test_transparent(self, client: httpx.AsyncClient, run: dict[str, Any]) -> None:
        target = io.BytesIO()
        Image.new("RGBA", (10, 10), (255, 0, 0, 0)).save(target, "PNG")
        response = await preview(client, run, "a.png", target.getvalue())
        with Image.open(io.BytesIO(response.content)) as small:
            assert small.getpixel((5, 5))[3] == 0

    @staticmethod
    def bomb(width: int, height: int) -> bytes:
        """A PNG of a few bytes that announces very many pixels."""

        def block(kind: bytes, data: bytes) -> bytes:
            checksum = struct.pack(">I", zlib.crc32(kind + data))
            return struct.pack(">I", len(data)) + kind + data + checksum

        header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
        return (
            b"\x89PNG\r\n\x1a\n"
            + block(b"IHDR", header)
            + block(b"IDAT", zlib.compress(bytes(1000)))
            + block(b"IEND", b"")
        )

    @pytest.mark.parametrize(
        "size", [(5000, 5000), (20_000, 20_000), (60_000, 10), (2**31 - 1, 1), (0, 10)]
    )
    async def test_bomb(
        self, client: httpx.AsyncClient, run: dict[str, Any], size: tuple[int, int]
    ) -> None:
        assert_problem(await preview(client, run, "a.png", self.bomb(*size)), 422, "preview")

    @pytest.mark.parametrize(
        "content",
        [
            b"",
            b"not an image",
            encoded("PNG")[:60],
            encoded("JPEG")[:200],
            encoded("GIF")[:20],
            b"<svg xmlns='http://www.w3.org/2000/svg'/>",
            b"%!PS-Adobe-3.0 EPSF-3.0\n",
            encoded("BMP"),
            encoded("TIFF"),
        ],
    )
    async def test_no_image(
        self, client: httpx.AsyncClient, run: dict[str, Any], content: bytes
    ) -> None:
        """Neither damaged ones nor formats whose decoders do more than pixels."""
        assert_problem(await preview(client, run, "a.png", content), 422, "preview")

    async def test_too_large_a_file(self, client: httpx.AsyncClient, run: dict[str, Any]) -> None:
        content = encoded("PNG") + bytes(21 << 20)
        assert_problem(await preview(client, run, "a.png", content), 422, "preview")


class TestPreview:
    async def test_other_kinds_than_the_name_says(
        self, client: httpx.AsyncClient, run: dict[str, Any]
    ) -> None:
        assert (await preview(client, run, "a.csv", b"a,b\n", "text")).json()["text"] == "a,b\n"
        assert (await preview(client, run, "a.txt", b"a,b\n", "table")).json()["columns"] == [
            "a",
            "b",
        ]

    async def test_unknown_kind(self, client: httpx.AsyncClient, run: dict[str, Any]) -> None:
        assert_problem(await preview(client, run, "a", b"", "html"), 422, "preview")

    async def test_of_a_folder(self, client: httpx.AsyncClient, run: dict[str, Any]) -> None:
        await preview(client, run, "f/a", b"")
        response = await client.get(f"{RUNS}/{run['id']}/artifacts/f", params={"preview": ""})
        assert_problem(response, 404, "path")

    async def test_of_an_archive(self, client: httpx.AsyncClient, run: dict[str, Any]) -> None:
        response = await client.get(
            f"{RUNS}/{run['id']}/artifacts/f", params={"preview": "", "archive": "zip"}
        )
        assert_problem(response, 422, "preview")

    async def test_is_cached_by_its_validator(
        self, client: httpx.AsyncClient, run: dict[str, Any]
    ) -> None:
        first = await preview(client, run, "a.png", encoded("PNG"))
        target = f"{RUNS}/{run['id']}/artifacts/a.png"
        headers = {"If-None-Match": first.headers["etag"]}
        again = await client.get(target, params={"preview": ""}, headers=headers)
        assert (again.status_code, again.content) == (304, b"")
        as_text = await client.get(target, params={"preview": "text"}, headers=headers)
        assert as_text.status_code == 200
        assert (await client.get(target, headers=headers)).status_code == 200
