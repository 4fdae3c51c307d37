"""Previews of files: the beginning of a text, the first rows of a table, a thumbnail of an image.

Nothing is executed or rendered: HTML and SVG are shown as text. An image is decoded by Pillow, only
from formats that hold nothing but pixels, and encoded as a new PNG.
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
IMAGE_PIXELS = 16_000_000  # four bytes each in memory, for two images at a time
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
    """The beginning of a text. `truncated` tells whether the file has more."""

    text: str
    truncated: bool


@dataclass(frozen=True, slots=True)
class Table:
    """The first rows of a table; `columns` is its first line. Cells are text, as they are in the
    file."""

    columns: list[str]
    rows: list[list[str]]
    truncated: bool


class Binary:
    """A file that has no preview."""


def kind_of(artifact: Artifact) -> Kind:
    """The kind of preview, by the extension of the file's name or else by its content type."""
    extension = posixpath.splitext(artifact.path)[1].lower()
    media_type = artifact.content_type.partition(";")[0].strip().lower()
    return _KINDS.get(extension) or _TYPES.get(media_type) or "text"


async def first_text(artifacts: Artifacts, tenant: Tenant, artifact: Artifact) -> Text | Binary:
    """Up to TEXT_BYTES of the file."""
    return _text(*await _beginning(artifacts, tenant, artifact, TEXT_BYTES))


async def first_json(artifacts: Artifacts, tenant: Tenant, artifact: Artifact) -> Text | Binary:
    """The document with indentation; as it is, up to TEXT_BYTES, where it is long, deeply nested
    or not JSON."""
    content, truncated = await _beginning(artifacts, tenant, artifact, JSON_BYTES)
    if not truncated:
        async with _decoding.held(tenant.slug, 1):
            indented = await asyncio.to_thread(_indented, content)
        if indented is not None:
            return Text(indented, False)
    return _text(content[:TEXT_BYTES], truncated or len(content) > TEXT_BYTES)


def _indented(content: bytes) -> str | None:
    """The indented document; None where it is not JSON, is nested deeper than JSON_DEPTH, or is
    longer than INDENTED_BYTES with indentation."""
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
            child
            for value in level
            if isinstance(value, dict | list)
            for child in (value.values() if isinstance(value, dict) else value)
        ]
    return bool(level)


async def first_rows(artifacts: Artifacts, tenant: Tenant, artifact: Artifact) -> Table | Binary:
    """Up to TABLE_ROWS rows of TABLE_COLUMNS cells, from up to TABLE_BYTES of the file."""
    content, truncated = await _beginning(artifacts, tenant, artifact, TABLE_BYTES)
    shown = _text(content, truncated)
    if isinstance(shown, Binary):
        return shown
    text = shown.text
    if truncated:  # the last line may be incomplete
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
    """A PNG of at most THUMBNAIL_SIDE pixels a side. Raises InvalidValueError where the file is not
    an image, or is too large."""
    if artifact.size > IMAGE_BYTES:
        raise _no_preview(f"an image of more than {IMAGE_BYTES:,} bytes is not shown")
    async with _decoding.held(tenant.slug, 1):
        content, _ = await _beginning(artifacts, tenant, artifact, IMAGE_BYTES)
        return await asyncio.to_thread(partial(_thumbnail, content))


async def _beginning(
    artifacts: Artifacts, tenant: Tenant, artifact: Artifact, size: int
) -> tuple[bytes, bool]:
    """Up to `size` bytes from the beginning of the file, and whether it has more."""
    async with await artifacts.open(tenant, artifact, end=size) as reader:
        content = b"".join([chunk async for chunk in reader])
    return content, reader.stored.size > len(content)


def _text(content: bytes, truncated: bool) -> Text | Binary:
    encoding = "utf-16" if content[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else "utf-8"
    decoder = codecs.getincrementaldecoder(encoding)()
    try:
        # A character that is cut off at the end is left out.
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
    # Imported here, so that only servers which show images load Pillow.
    from PIL import Image

    try:
        with Image.open(io.BytesIO(content), formats=_FORMATS) as image:
            # So far only the header is read: the size that it declares is checked before decoding.
            if max(image.size) > IMAGE_SIDE:
                raise _no_preview(f"it is {image.width:,} x {image.height:,} pixels large")
            # A JPEG can be decoded at down to an eighth of its size.
            image.draft("RGB", (THUMBNAIL_SIDE, THUMBNAIL_SIDE))
            if image.width * image.height > IMAGE_PIXELS:
                raise _no_preview(f"it has more than {IMAGE_PIXELS:,} pixels")
            image.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE))
            small = image.convert("RGBA" if image.has_transparency_data else "RGB")
    except (
        OSError,
        SyntaxError,
        ValueError,
        ArithmeticError,
        Image.DecompressionBombError,
    ) as error:
        # Pillow raises these for files that are damaged or malicious.
        raise _no_preview("it cannot be read as a PNG, JPEG, GIF or WebP image") from error
    target = io.BytesIO()
    small.save(target, "PNG")
    return target.getvalue()


def _no_preview(reason: str) -> InvalidValueError:
    return InvalidValueError(f"There is no preview of this image: {reason}", field="preview")
