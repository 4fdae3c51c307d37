"""A stream of requests is read alike wherever the network cuts it."""

import asyncio
from typing import Any

import uvicorn
from hypothesis import given, settings
from hypothesis import strategies as st
from uvicorn.server import ServerState

from app.http.protocol import BoundedHttp


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Answers with all that it was asked."""
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    parts = [scope["method"], scope["path"], scope["query_string"], scope["headers"], body]
    said = repr(parts).encode()
    length = (b"content-length", b"%d" % len(said))
    await send({"type": "http.response.start", "status": 200, "headers": [length]})
    await send({"type": "http.response.body", "body": said})


CONFIG = uvicorn.Config(echo, http=BoundedHttp, ws="none", lifespan="off", log_config=None)
CONFIG.load()


class Wire(asyncio.Transport):
    """What a connection writes; everything is taken at once."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.ended = False

    def write(self, data: Any) -> None:
        assert not self.ended
        self.written += data

    def write_eof(self) -> None:
        self.ended = True

    def can_write_eof(self) -> bool:
        return True

    def close(self) -> None:
        self.ended = True

    def is_closing(self) -> bool:
        return self.ended

    def get_write_buffer_size(self) -> int:
        return 0

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


NAMES = st.sampled_from(["X-Tenant-ID", "Authorization", "X-A", "x-b", "Cookie"])
VALUES = st.text('abc ;="\t', max_size=12).map(str.strip)
HEADERS = st.lists(st.tuples(NAMES, VALUES), max_size=4)
BODIES = st.binary(max_size=40) | st.just(b"GET /smuggled HTTP/1.1\r\n\r\n")
EXTENSIONS = st.sampled_from(["", ";a", ";a=b", ';a="b c"', ";a=b;c"])


def lines(headers: list[tuple[str, str]]) -> str:
    return "".join(f"{name}: {value}\r\n" for name, value in headers)


@st.composite
def chunks(draw: st.DrawFn, body: bytes) -> bytes:
    raw = b""
    while body:
        size = draw(st.integers(1, len(body)))
        raw += f"{size:x}{draw(EXTENSIONS)}\r\n".encode() + body[:size] + b"\r\n"
        body = body[size:]
    trailers = [("X-Trailer", value) for _, value in draw(HEADERS)] + draw(HEADERS)
    return raw + b"0\r\n" + lines(trailers).encode() + b"\r\n"


@st.composite
def one_request(draw: st.DrawFn) -> bytes:
    method = draw(st.sampled_from(["POST", "PUT", "PATCH"]))
    body = draw(BODIES)
    headers = [("Host", "localhost"), *draw(HEADERS)]
    if draw(st.booleans()):
        headers += [("Connection", "Upgrade"), ("Upgrade", draw(st.sampled_from(["h2c", "x"])))]
    if draw(st.booleans()):
        raw = draw(chunks(body))
        headers.append(("Transfer-Encoding", "chunked"))
    else:
        raw = body
        headers.append(("Content-Length", str(len(body))))
    head = f"{method} /{draw(st.text('ab%2?', max_size=8))} HTTP/1.1\r\n{lines(headers)}\r\n"
    return draw(st.sampled_from([b"", b"\r\n"])) + head.encode() + raw


STREAMS = st.lists(one_request(), min_size=1, max_size=5).map(b"".join)
# What no parser takes, so that some streams end in a refusal.
ENDS = st.sampled_from([b"", b"", b"GET /he alth HTTP/1.1\r\n\r\n", b"POST / HTTP/1.1\r\nHo"])


async def answers_to(pieces: list[bytes], patience: int) -> tuple[bytes, bool]:
    """What is answered, and whether the connection is then at its end."""
    wire = Wire()
    connection = BoundedHttp(CONFIG, ServerState(), {}, asyncio.get_running_loop())
    connection.connection_made(wire)
    for piece in pieces:
        connection.data_received(piece)
        for _ in range(patience):
            await asyncio.sleep(0)
    for _ in range(50):
        await asyncio.sleep(0)
    connection.connection_lost(None)
    return wire.written, wire.ended


def cut(stream: bytes, places: list[int]) -> list[bytes]:
    ends = sorted({place % (len(stream) + 1) for place in places} | {len(stream)})
    starts = [0, *ends[:-1]]
    return [stream[start:end] for start, end in zip(starts, ends, strict=True) if start < end]


@given(
    stream=STREAMS,
    end=ENDS,
    places=st.lists(st.integers(0, 5000), max_size=20),
    patience=st.integers(0, 3),
)
@settings(max_examples=400, deadline=None)
async def test_cut_anywhere(stream: bytes, end: bytes, places: list[int], patience: int) -> None:
    whole = await answers_to([stream + end], 0)
    assert await answers_to(cut(stream + end, places), patience) == whole


@given(stream=STREAMS)
@settings(max_examples=100, deadline=None)
async def test_byte_by_byte(stream: bytes) -> None:
    whole = await answers_to([stream], 0)
    assert await answers_to([bytes([one]) for one in stream], 1) == whole
    assert whole[0].count(b"HTTP/1.1 200") >= 1
    assert b"x-trailer" not in whole[0].lower()
