"""Logging while a transaction holds a snapshot of the database, as a backup does."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.further.bench import Bench
from benchmarks.measure import Goal, Result
from benchmarks.runner import Participant
from benchmarks.servers import OURS
from benchmarks.workloads import WORKLOADS

WORKLOAD = next(workload for workload in WORKLOADS if workload.name == "log-batch-10")

HELD = 600  # seconds
SLICE = 20  # seconds between two figures
AFTER = 10  # seconds after the snapshot's end


def measure(bench: Bench) -> list[Result]:
    """Points a second before, in the course of a held snapshot, and soon after it."""
    seeds = bench.ours
    prepared = WORKLOAD.prepare(seeds)
    assert prepared is not None
    result = Result("snapshot: whole", OURS, WORKLOAD.unit)
    participant = Participant(seeds, prepared, WORKLOAD.connections, result)
    participant.start()
    participant.drive(SLICE)
    before = _slice(participant, "snapshot: before")
    during = []
    with _held_snapshot(bench):
        started = time.monotonic()
        while (held := time.monotonic() - started) < HELD:
            during.append(_slice(participant, f"snapshot: held for {held:.0f} s"))
    participant.drive(AFTER)
    after = _slice(participant, f"snapshot: {AFTER} s after its end")
    participant.check()
    share = Result("snapshot: last, of before", OURS, "×", goals=(Goal(None, 1.25),))
    share.figures.append(before.figure / during[-1].figure)
    again = Result("snapshot: after, of before", OURS, "×", goals=(Goal(None, 1.25),))
    again.figures.append(before.figure / after.figure)
    after.problems += result.problems
    return [before, *during, after, share, again]


def _slice(participant: Participant, name: str) -> Result:
    result = Result(name, OURS, WORKLOAD.unit)
    result.add(participant.drive(SLICE), participant.prepared.units)
    return result


@contextmanager
def _held_snapshot(bench: Bench) -> Iterator[None]:
    server = bench.ours.server
    with server.postgres.connect(server.database) as connection:
        connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        connection.execute("SELECT count(*) FROM tenants")
        yield
        connection.execute("COMMIT")
