"""Arrays of numbers in Postgres's binary format, for parameters with thousands of elements.

psycopg formats each element by itself, as text that Postgres parses. Here a few calls in C pack the
whole array, which takes a small part of that time. Importing the module registers the types
with psycopg.
"""

import struct
from array import array
from collections.abc import Iterable

from psycopg import adapters, postgres
from psycopg.abc import Buffer
from psycopg.adapt import Dumper
from psycopg.pq import Format

# Number of dimensions, whether there are nulls, type of the elements.
_HEADER = struct.Struct(">iiI")
# Length, first index.
_DIMENSION = struct.Struct(">ii")


class _Packed(bytes):
    """An array in the binary format. Each subclass is of one Postgres type."""


class Integers(_Packed):
    """`integer[]`"""


class BigIntegers(_Packed):
    """`bigint[]`"""


class Floats(_Packed):
    """`float8[]`, NaN and the infinities included."""


class _PackedDumper(Dumper):
    """Sends an array as it is."""

    format = Format.BINARY

    def dump(self, obj: _Packed) -> Buffer:
        return obj


class _IntegersDumper(_PackedDumper):
    oid = postgres.types["int4"].array_oid


class _BigIntegersDumper(_PackedDumper):
    oid = postgres.types["int8"].array_oid


class _FloatsDumper(_PackedDumper):
    oid = postgres.types["float8"].array_oid


adapters.register_dumper(Integers, _IntegersDumper)
adapters.register_dumper(BigIntegers, _BigIntegersDumper)
adapters.register_dumper(Floats, _FloatsDumper)


def integers(values: Iterable[int]) -> Integers:
    """An `integer[]`. Raises struct.error for a number of more than 32 bits."""
    return Integers(_pack("i", 4, "int4", values))


def big_integers(values: Iterable[int]) -> BigIntegers:
    """A `bigint[]`. Raises struct.error for a number of more than 64 bits."""
    return BigIntegers(_pack("q", 8, "int8", values))


def floats(values: Iterable[float]) -> Floats:
    """A `float8[]`."""
    return Floats(_pack("d", 8, "float8", values))


def _pack(code: str, size: int, type_name: str, values: Iterable[float]) -> bytes:
    elements = list(values)
    count = len(elements)
    oid = postgres.types[type_name].oid
    if not count:
        return _HEADER.pack(0, 0, oid)
    # Each element is preceded by its length. In words of four bytes, an element takes one word for
    # the length and one or two for the number; slice assignments interleave them.
    words = array("I", struct.pack(f">{count}{code}", *elements))
    words_per_number = size // 4
    stride = words_per_number + 1
    packed = array("I", bytes((4 + size) * count))
    packed[::stride] = array("I", size.to_bytes(4) * count)
    for place in range(words_per_number):
        packed[place + 1 :: stride] = words[place::words_per_number]
    return _HEADER.pack(1, 0, oid) + _DIMENSION.pack(count, 1) + packed.tobytes()
