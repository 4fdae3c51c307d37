"""Arrays of numbers in Postgres's binary form, packed whole.

A few calls in C for a thousand numbers cost a small part of the driver's dump of each, and
Postgres need not parse what it gets. That counts where a request brings a thousand points.
Importing this module teaches psycopg the three types.
"""

import struct
from array import array
from collections.abc import Iterable

from psycopg import adapters, postgres
from psycopg.abc import Buffer
from psycopg.adapt import Dumper
from psycopg.pq import Format

_HEADER = struct.Struct(
    ">iiI"
)  # the number of dimensions, whether there are nulls, the elements' type
_DIMENSION = struct.Struct(">ii")  # length, first index


class _Packed(bytes):
    """An array as it travels; each subclass is one type of Postgres's."""


class Integers(_Packed):
    """`integer[]`"""


class BigIntegers(_Packed):
    """`bigint[]`"""


class Floats(_Packed):
    """`float8[]`, NaN and the infinities included."""


class _PackedDumper(Dumper):
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
    """Raises struct.error for a number of more than 32 bits."""
    return Integers(_pack("i", 4, "int4", values))


def big_integers(values: Iterable[int]) -> BigIntegers:
    """Raises struct.error for a number of more than 64 bits."""
    return BigIntegers(_pack("q", 8, "int8", values))


def floats(values: Iterable[float]) -> Floats:
    return Floats(_pack("d", 8, "float8", values))


def _pack(code: str, size: int, type_name: str, values: Iterable[float]) -> bytes:
    elements = list(values)
    count = len(elements)
    oid = postgres.types[type_name].oid
    if not count:
        return _HEADER.pack(0, 0, oid)
    # Each element follows its own length: in words of four bytes, one of length and then its own.
    words = array("I", struct.pack(f">{count}{code}", *elements))
    own = size // 4
    packed = array("I", bytes((4 + size) * count))
    packed[:: own + 1] = array("I", size.to_bytes(4) * count)
    for place in range(own):
        packed[place + 1 :: own + 1] = words[place::own]
    return _HEADER.pack(1, 0, oid) + _DIMENSION.pack(count, 1) + packed.tobytes()
