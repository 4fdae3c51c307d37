"""HEAD: handled as the GET of the same path, so that no route need declare it.

The server sends no body to a HEAD (RFC 9110, 9.3.2). A handler whose body costs much, because it is
read from a store or made while it is sent, asks `is_head` and makes none.
"""

from collections.abc import AsyncIterator

from starlette.types import Scope

IS_HEAD = "is_head"
"""Key of the scope of a HEAD."""


def as_get(scope: Scope) -> Scope:
    """The scope of a HEAD as that of a GET."""
    return {**scope, "method": "GET", IS_HEAD: True}


def is_head(scope: Scope) -> bool:
    """Whether only the headers of the answer are sent."""
    return IS_HEAD in scope


async def no_chunks() -> AsyncIterator[bytes]:
    """The body of a HEAD's answer where that of the GET has no known length."""
    chunks: tuple[bytes, ...] = ()
    for chunk in chunks:
        yield chunk
