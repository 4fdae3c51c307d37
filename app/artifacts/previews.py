"""What of a file can be shown at a glance: the first of its text, rows of a table, a small image.

Nothing is executed or rendered: HTML and SVG are text. An image is decoded by Pillow, from formats
that hold pixels only, and comes out as a new PNG.
"""

import asyncio
import codecs
import csv
import io
import json
import posixpath
from dataclasses import dataclass
from functools import partial
from typing import Literal

from app.artifacts.entities import Artifact
from app.artifacts.service import Artifacts
from app.kernel.errors import InvalidValueError
from app.kernel.fair_budget import FairBudget
from app.kernel.tenant import Tenant

Kind = Literal["text", "json", "table", "image"]

TEXT_BYTES = 64 << 10
JSON_BYTES = 256 << 10
JSON_DEPTH = 50  # a line is indented by two characters for each level
INDENTED_BYTES = 1 << 20
TABLE_BYTES = 256 << 10
TABLE_ROWS = 100
TABLE_COLUMNS = 5000
IMAGE_BYTES = 20 << 20
IMAGE_PIXELS = 16_000_000  # at four bytes each in memory, of two images at a time
IMAGE_SIDE = 50_000
THUMBNAIL_SIDE = 256

_FORMATS = ("PNG", "JPEG", "GIF", "WEBP")
_KINDS: dict[str, Kind] = {
    ".csv": "table",
    ".tsv": "table",
    ".json": "json",
    ".png": "image",
    ".jpg": "image",
    ".jpeg": "image",
    ".gif": "image",
    ".webp": "image",
}
_TYPES: dict[str, Kind] = {
    "text/csv": "table",
    "text/tab-separated-values": "table",
    "application/json": "json",
    "image/png": "image",
    "image/jpeg": "image",
    "image/gif": "image",
    "image/webp": "image",
}
_decoding = FairBudget(total=2, per_tenant=1, strict=True)


@dataclass(frozen=True, slots=True)
class Text:
    """The first of a text. `truncated` tells whether the file goes on."""

    text: str
    truncated: bool


@dataclass(frozen=True, slots=True)
class Table:
    """The first rows of a table; `columns` is its first line. Cells are text, as in the file."""

    columns: list[str]
    rows: list[list[str]]
    truncated: bool


class Binary:
    """Not text, and nothing else that can be shown."""


def kind_of(artifact: Artifact) -> Kind:
    """What the file's name, or else its content type, says that it is."""
    extension = posixpath.splitext(artifact.path)[1].lower()
    media_type = artifact.content_type.partition(";")[0].strip().lower()
    return _KINDS.get(extension) or _TYPES.get(media_type) or "text"


async def first_text(artifacts: Artifacts, tenant: Tenant, artifact: Artifact) -> Text | Binary:
    """Up to TEXT_BYTES of it."""
    return _text(*await _first(artifacts, tenant, artifact, TEXT_BYTES))


async def first_json(artifacts: Artifacts, tenant: Tenant, artifact: Artifact) -> Text | Binary:
    """The document with indentation; as it stands where it is long, or deep, or no JSON."""
    content, truncated = await _first(artifacts, tenant, artifact, JSON_BYTES)
    if not truncated:
        async with _decoding.held(tenant.slug, 1):
            indented = await asyncio.to_thread(_indented, content)
        if indented is not None:
            return Text(indented, False)
    return _text(content[:TEXT_BYTES], truncated or len(content) > TEXT_BYTES)


def _indented(content: bytes) -> str | None:
    """None for what is no JSON, and for what would be much longer than it is."""
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        return None
    if _deeper_than(document, JSON_DEPTH):
        return None
    pieces: list[str] = []
    length = 0
    for piece in json.JSONEncoder(indent=2, ensure_ascii=False).iterencode(document):
        length += len(piece)
        if length > INDENTED_BYTES:
            return None
        pieces.append(piece)
    return "".join(pieces)


def _deeper_than(document: object, depth: int) -> bool:
    level = [document]
    for _ in range(depth):
        level = [
            one
            for value in level
            if isinstance(value, dict | list)
            for one in (value.values() if isinstance(value, dict) else value)
        ]
    return bool(level)


async def first_rows(artifacts: Artifacts, tenant: Tenant, artifact: Artifact) -> Table | Binary:
    """Up to TABLE_ROWS rows of TABLE_COLUMNS cells, from up to TABLE_BYTES of the file."""
    content, truncated = await _first(artifacts, tenant, artifact, TABLE_BYTES)
    shown = _text(content, truncated)
    if isinstance(shown, Binary):
        return shown
    text = shown.text
    if truncated:  # the last line may be half a line
        text = text[: text.rfind("\n") + 1]
    async with _decoding.held(tenant.slug, 1):
        return await asyncio.to_thread(_table, text, _delimiter(artifact, text), truncated)


def _table(text: str, delimiter: str, truncated: bool) -> Table:
    found: list[list[str]] = []
    try:
        for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter):
            if len(found) > TABLE_ROWS:
                truncated = True
                break
            if len(row) > TABLE_COLUMNS:
                truncated = True
            found.append(row[:TABLE_COLUMNS])
    except csv.Error:  # a field longer than 128 KiB
        truncated = True
    columns, *rows = found or [[]]
    return Table(columns, rows, truncated)


async def thumbnail(artifacts: Artifacts, tenant: Tenant, artifact: Artifact) -> bytes:
    """A PNG of at most THUMBNAIL_SIDE pixels a side. Raises InvalidValueError for a file that is no
    image, or too large a one."""
    if artifact.size > IMAGE_BYTES:
        raise _no_image(f"an image of more than {IMAGE_BYTES:,} bytes is not shown")
    async with _decoding.held(tenant.slug, 1):
        content, _ = await _first(artifacts, tenant, artifact, IMAGE_BYTES)
        return await asyncio.to_thread(partial(_thumbnail, content))


async def _first(
    artifacts: Artifacts, tenant: Tenant, artifact: Artifact, size: int
) -> tuple[bytes, bool]:
    """The first bytes of a file, and whether it goes on."""
    async with await artifacts.open(tenant, artifact, end=size) as reader:
        content = b"".join([chunk async for chunk in reader])
    return content, reader.stored.size > len(content)


def _text(content: bytes, truncated: bool) -> Text | Binary:
    encoding = "utf-16" if content[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else "utf-8"
    decoder = codecs.getincrementaldecoder(encoding)()
    try:
        # A character that is cut in half at the end is left out.
        text = decoder.decode(content, final=not truncated)
    except UnicodeDecodeError:
        return Binary()
    return Binary() if "\0" in text else Text(text.removeprefix("\ufeff"), truncated)


def _delimiter(artifact: Artifact, text: str) -> str:
    extension = posixpath.splitext(artifact.path)[1].lower()
    head = text.partition("\n")[0]
    by_count = max(",;\t|", key=head.count)
    if extension == ".tsv" or "tab-separated" in artifact.content_type:
        return "\t"
    return by_count if head.count(by_count) else ","


def _thumbnail(content: bytes) -> bytes:
    # Only those who look at images pay for Pillow.
    from PIL import Image

    try:
        with Image.open(io.BytesIO(content), formats=_FORMATS) as image:
            # Only the header is read so far: what it announces is judged before it is decoded.
            if max(image.size) > IMAGE_SIDE:
                raise _no_image(f"it is {image.width:,} x {image.height:,} pixels large")
            # JPEG can be decoded at an eighth of its size.
            image.draft("RGB", (THUMBNAIL_SIDE, THUMBNAIL_SIDE))
            if image.width * image.height > IMAGE_PIXELS:
                raise _no_image(f"it has more than {IMAGE_PIXELS:,} pixels")
            image.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE))
            small = image.convert("RGBA" if image.has_transparency_data else "RGB")
    except (
        OSError,
        SyntaxError,
        ValueError,
        ArithmeticError,
        Image.DecompressionBombError,
    ) as error:
        # What Pillow raises for files that are damaged, or made to damage it.
        raise _no_image("it cannot be read as a PNG, JPEG, GIF or WebP image") from error
    target = io.BytesIO()
    small.save(target, "PNG")
    return target.getvalue()


def _no_image(why: str) -> InvalidValueError:
    return InvalidValueError(f"There is no preview of this image: {why}", field="preview")
