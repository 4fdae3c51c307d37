"""Runs each workload against the servers, in alternating rounds."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from benchmarks import processes, wrk
from benchmarks.measure import Prepared, Result
from benchmarks.seeds import Seeds
from benchmarks.workloads import Workload, WrongAnswerError

WARM_UP = 1  # seconds, before the first round of a workload


@dataclass
class Participant:
    """One server in one workload, with counts of requests sent and acknowledged."""

    seeds: Seeds
    prepared: Prepared
    connections: int
    result: Result
    number: int = wrk.FIRST_NUMBER
    stored_before: int = 0
    sent: int = 0
    answered: int = 0

    def start(self) -> None:
        if self.prepared.stored:
            self.stored_before = self.prepared.stored()

    def drive(self, seconds: int) -> wrk.Load:
        load = wrk.drive(
            self.seeds.server.url,
            self.prepared.requests,
            connections=self.connections,
            seconds=seconds,
            after_number=self.number,
        )
        self.number = load.last_number
        self.sent += load.sent
        self.answered += load.answered
        self.result.errors += load.errors
        return load

    def round(self, seconds: int) -> None:
        self.result.add(self.drive(seconds), self.prepared.units)

    def check(self) -> None:
        """Records a problem if requests failed, or if acknowledged writes are missing.

        Requests in flight at the end of a round may be stored or not, but never in part.
        """
        if self.result.errors:
            self.result.problems.append(f"{self.result.errors} requests failed")
        if not self.prepared.stored:
            return
        stored = _stable_count(self.prepared.stored) - self.stored_before
        per_request = self.prepared.per_request
        if (
            not self.answered * per_request <= stored <= self.sent * per_request
            or stored % per_request
        ):
            self.result.problems.append(
                f"{stored} stored, of {self.answered * per_request} acknowledged"
                f" and {self.sent * per_request} sent"
            )


def _stable_count(count: Callable[[], int]) -> int:
    """The count, once it no longer changes: requests in flight have ended."""
    before, now = -1, count()
    while now != before:
        time.sleep(0.3)
        before, now = now, count()
    return now


@dataclass
class Extra:
    """A measurement other than a server's that is repeated in each round of a workload."""

    result: Result
    measure: Callable[[], float]


@dataclass
class Comparison:
    """A workload with the servers that it is measured on."""

    workload: Workload
    participants: list[Participant] = field(default_factory=list)
    results: list[Result] = field(default_factory=list)
    extras: list[Extra] = field(default_factory=list)

    def add_server(self, seeds: Seeds, *, connections: int | None = None, label: str = "") -> None:
        """Prepares the workload for a server. If the server answers wrongly, records only that."""
        workload, server = self.workload, seeds.server
        result = Result(label or workload.name, server.name, workload.unit, goals=workload.goals)
        try:
            prepared = workload.prepare(seeds)
        except WrongAnswerError as error:
            result.problems.append(str(error))
            self.results.append(result)
            return
        if prepared:
            self.results.append(result)
            self.participants.append(
                Participant(seeds, prepared, connections or workload.connections, result)
            )

    def run(self, *, seconds: int, rounds: int) -> list[Result]:
        """Measures `rounds` rounds on each server, of `seconds` times the workload's stretch."""
        for participant in self.participants:
            participant.start()
            participant.drive(WARM_UP)
        for _ in range(rounds):
            for participant in self.participants:
                with self._others_paused(participant):
                    participant.round(seconds * self.workload.stretch)
            for extra in self.extras:
                with self._others_paused():
                    extra.result.figures.append(extra.measure())
        for participant in self.participants:
            participant.check()
        return [*self.results, *(extra.result for extra in self.extras)]

    @contextmanager
    def _others_paused(self, turn: Participant | None = None) -> Iterator[None]:
        """Pauses all servers but that of `turn`, and waits until the machine is idle."""
        others = [
            participant.seeds.server.pid
            for participant in self.participants
            if participant is not turn
        ]
        with processes.paused(others):
            processes.wait_until_idle()
            yield


def prepare(workloads: Sequence[Workload], seeds: Sequence[Seeds]) -> list[Comparison]:
    """Prepares every workload for every server that has its routes, and vacuums the databases."""
    comparisons = []
    for workload in workloads:
        comparison = Comparison(workload)
        for data in seeds:
            comparison.add_server(data)
        comparisons.append(comparison)
    for data in seeds:
        data.server.postgres.vacuum(data.server.database)
    return comparisons
