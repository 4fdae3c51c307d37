"""The LRU caches behave as plain models of them do, for any sequence of operations."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.kernel.cache import TtlCache, VersionedCache

KEYS = st.sampled_from("abcde")


class Clock:
    """Seconds that a test lets pass."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class TtlModel:
    """A list of (key, value, expiry), the least recently used first."""

    def __init__(self, max_size: int) -> None:
        self.max_size = max_size
        self.entries: list[tuple[str, int, float]] = []

    def get(self, key: str, now: float) -> int | None:
        for entry in self.entries:
            if entry[0] == key:
                self.entries.remove(entry)
                if entry[2] <= now:
                    return None
                self.entries.append(entry)
                return entry[1]
        return None

    def put(self, key: str, value: int, expiry: float) -> None:
        self.discard(key)
        self.entries.append((key, value, expiry))
        self.entries = self.entries[-self.max_size :]

    def discard(self, key: str) -> None:
        self.entries = [entry for entry in self.entries if entry[0] != key]

    def discard_value(self, value: int) -> None:
        self.entries = [entry for entry in self.entries if entry[1] != value]


TTL_STEPS = st.one_of(
    st.tuples(st.just("put"), KEYS, st.integers(0, 3), st.integers(-1, 4)),
    st.tuples(st.just("get"), KEYS),
    st.tuples(st.just("discard"), KEYS),
    st.tuples(st.just("discard_if"), st.integers(0, 3)),
    st.tuples(st.just("wait"), st.integers(0, 3)),
)


@given(st.integers(1, 4), st.lists(TTL_STEPS, max_size=40))
def test_ttl_cache_is_its_model(max_size: int, steps: list[tuple[str, ...]]) -> None:
    clock = Clock()
    cache: TtlCache[str, int] = TtlCache(max_size, clock=clock)
    model = TtlModel(max_size)
    for step in steps:
        match step:
            case ("put", str(key), int(value), int(seconds)):
                cache.put(key, value, seconds)
                model.put(key, value, clock.now + seconds)
            case ("get", str(key)):
                assert cache.get(key) == model.get(key, clock.now)
            case ("discard", str(key)):
                cache.discard(key)
                model.discard(key)
            case ("discard_if", int(value)):
                cache.discard_if(lambda stored, value=value: stored == value)
                model.discard_value(value)
            case ("wait", int(seconds)):
                clock.now += seconds
        assert len(cache) == len(model.entries) <= max_size
    for key in "abcde":
        assert cache.get(key) == model.get(key, clock.now)


def test_a_used_entry_outlives_an_unused_one() -> None:
    cache: TtlCache[str, int] = TtlCache(2)
    cache.put("a", 1, 60)
    cache.put("b", 2, 60)
    assert cache.get("a") == 1
    cache.put("c", 3, 60)
    assert (cache.get("a"), cache.get("b"), cache.get("c")) == (1, None, 3)


def test_use_does_not_extend_the_time_to_live() -> None:
    clock = Clock()
    cache: TtlCache[str, int] = TtlCache(2, clock=clock)
    cache.put("a", 1, 5)
    clock.now += 4.9
    assert cache.get("a") == 1
    clock.now += 0.1
    assert cache.get("a") is None
    assert len(cache) == 0


VERSIONED_STEPS = st.one_of(
    st.tuples(st.just("put"), KEYS, st.integers(0, 3), st.binary(max_size=6)),
    st.tuples(st.just("get"), KEYS, st.integers(0, 3)),
)


@given(st.integers(0, 12), st.lists(VERSIONED_STEPS, max_size=40))
def test_versioned_cache_is_its_model(max_bytes: int, steps: list[tuple[object, ...]]) -> None:
    cache: VersionedCache[str, bytes] = VersionedCache(max_bytes, len)
    model: list[tuple[str, int, bytes]] = []  # the least recently used first
    for step in steps:
        match step:
            case ("put", str(key), int(version), bytes(value)):
                cache.put(key, version, value)
                model = [entry for entry in model if entry[0] != key]
                model.append((key, version, value))
                while sum(len(entry[2]) for entry in model) > max_bytes:
                    del model[0]
            case ("get", str(key), int(version)):
                found = [entry for entry in model if entry[:2] == (key, version)]
                assert cache.get(key, version) == (found[0][2] if found else None)
                if found:
                    model.remove(found[0])
                    model.append(found[0])


@pytest.mark.parametrize("size", [0, 1, 8])
def test_a_value_that_is_too_large_is_not_stored(size: int) -> None:
    cache: VersionedCache[str, bytes] = VersionedCache(size, len)
    cache.put("a", 1, bytes(size + 1))
    assert cache.get("a", 1) is None
