"""uvicorn still calls what app/http overrides: a method by another name would never be called."""

import inspect

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from app.http.bounded_parser import BoundedParserProtocol
from app.http.protocol import BoundedHttp

# What the event loop and the parser call, and uvicorn itself.
OVERRIDDEN = {
    "connection_made",
    "connection_lost",
    "data_received",
    "on_message_begin",
    "on_header",
    "on_headers_complete",
    "on_body",
    "on_message_complete",
    "on_response_complete",
    "shutdown",
    "_start_asgi_task",
}


def test_what_is_overridden() -> None:
    ours = {**vars(BoundedParserProtocol), **vars(BoundedHttp)}
    found = {name for name in ours if inspect.isfunction(getattr(HttpToolsProtocol, name, None))}
    assert found - {"__init__"} == OVERRIDDEN
