"""Arrays in Postgres's binary format: psycopg reads back what was packed."""

import math
import struct
from collections.abc import Sequence

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg.adapt import Transformer
from psycopg.pq import Format

from app.db.binary_arrays import big_integers, floats, integers


def loaded(packed: bytes, type_name: str) -> Sequence[float]:
    """What psycopg makes of a value of this array type."""
    oid = psycopg.postgres.types[type_name].array_oid
    elements: list[float] = Transformer().get_loader(oid, Format.BINARY).load(packed)
    return elements


@given(st.lists(st.integers(-(2**31), 2**31 - 1)))
def test_integers(numbers: list[int]) -> None:
    assert loaded(integers(numbers), "int4") == numbers


@given(st.lists(st.integers(-(2**63), 2**63 - 1)))
def test_big_integers(numbers: list[int]) -> None:
    assert loaded(big_integers(numbers), "int8") == numbers


@given(st.lists(st.floats(allow_nan=False)))
def test_floats(numbers: list[float]) -> None:
    assert loaded(floats(numbers), "float8") == numbers


def test_nan_stays_nan() -> None:
    assert math.isnan(loaded(floats([math.nan]), "float8")[0])


def test_numbers_that_do_not_fit_are_refused() -> None:
    with pytest.raises(struct.error):
        integers([2**31])
    with pytest.raises(struct.error):
        big_integers([2**63])
