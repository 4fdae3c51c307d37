"""Streaming parser of multipart forms. A file of any size is streamed to the store, where FastAPI
would first write the whole form to the temporary folder."""

from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass

from fastapi import HTTPException, Request
from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header

from app.kernel.errors import InvalidValueError

_MEDIA_TYPE = b"multipart/form-data"
_MAX_HEADER_BYTES = 8192  # of one part, including the file's name


@dataclass(frozen=True, slots=True)
class FormPart:
    """A part of a form. `file_name` is None for a field that is not a file. `chunks` has to be read
    before the next part is; the rest of it is skipped then."""

    name: str
    file_name: str | None
    content_type: str | None
    chunks: AsyncIterator[bytes]

    async def text(self, max_bytes: int) -> str:
        """The value of a field. Raises InvalidValueError where it is longer than `max_bytes` or is
        not UTF-8."""
        value = b""
        async for chunk in self.chunks:
            value += chunk
            if len(value) > max_bytes:
                raise InvalidValueError(f"It may have at most {max_bytes} bytes", field=self.name)
        try:
            return value.decode()
        except UnicodeDecodeError as error:
            raise InvalidValueError("It is not UTF-8", field=self.name) from error


async def form_parts(request: Request) -> AsyncIterator[FormPart]:
    """The parts of the request's form, in order.

    Raises HTTPException 415 for a body of another content type, and InvalidValueError, also while a
    part's chunks are read, where the form is malformed or incomplete.
    """
    kind, options = parse_options_header(request.headers.get("content-type"))
    boundary = options.get(b"boundary")
    if kind != _MEDIA_TYPE or not boundary:
        raise HTTPException(
            415,
            f"The body is of type '{kind.decode('latin-1')}'; send a form, with the header"
            " 'Content-Type: multipart/form-data; boundary=…'",
        )
    events = _Events(boundary, request.stream())
    headers: dict[str, str] = {}
    while (event := await events.next()) is not None:
        match event:
            case "header", name, value:
                headers[name.decode("latin-1").lower()] = _text(value)
            case "begin", _, _:
                yield _part(headers, events)
                headers = {}
            case _:  # the rest of a part whose chunks were not read
                pass


def _part(headers: dict[str, str], events: "_Events") -> FormPart:
    # The names are UTF-8; the options' parser takes a string in Latin-1 and returns bytes.
    disposition = headers.get("content-disposition", "").encode().decode("latin-1")
    kind, options = parse_options_header(disposition)
    if kind != b"form-data" or b"name" not in options:
        raise _malformed("a part has no name")
    file_name = options.get(b"filename")
    return FormPart(
        _text(options[b"name"]),
        None if file_name is None else _text(file_name),
        headers.get("content-type"),
        events.chunks(),
    )


class _Events:
    """The parser's events, in order: headers, the begin of a part's data, data, its end."""

    def __init__(self, boundary: bytes, body: AsyncIterator[bytes]) -> None:
        self._body = body
        self._found: deque[tuple[str, bytes, bytes]] = deque()
        self._header = b""
        self._value = b""
        self._complete = False
        self._parser = MultipartParser(
            boundary,
            {
                "on_header_field": self._on_header_field,
                "on_header_value": self._on_header_value,
                "on_header_end": self._on_header_end,
                "on_headers_finished": lambda: self._found.append(("begin", b"", b"")),
                "on_part_data": self._on_data,
                "on_part_end": lambda: self._found.append(("end", b"", b"")),
                "on_end": self._on_end,
            },
            max_header_size=_MAX_HEADER_BYTES,
        )

    async def next(self) -> tuple[str, bytes, bytes] | None:
        """The next event as (kind, name or data, value); None after the last boundary."""
        while not self._found:
            chunk = await anext(self._body, None)
            if chunk is None:
                if not self._complete:
                    raise _malformed("it ends before its last boundary")
                return None
            try:
                self._parser.write(chunk)
            except MultipartParseError as error:
                raise _malformed(str(error)) from error
        return self._found.popleft()

    async def chunks(self) -> AsyncIterator[bytes]:
        """The data of the current part."""
        while (event := await self.next()) is not None:
            kind, data, _ = event
            if kind == "end":
                return
            yield data

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _on_header_end(self) -> None:
        self._found.append(("header", self._header, self._value))
        self._header = self._value = b""

    def _on_data(self, data: bytes, start: int, end: int) -> None:
        self._found.append(("data", data[start:end], b""))

    def _on_end(self) -> None:
        self._complete = True


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise _malformed("a header is not UTF-8") from error


def _malformed(reason: str) -> InvalidValueError:
    return InvalidValueError(f"The body is not a form: {reason}", field="body")
