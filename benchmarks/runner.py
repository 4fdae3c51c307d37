"""Drives the servers with the workloads, in turn, round after round."""

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
class Contender:
    """One server in one workload, and the count of what was sent to it and acknowledged."""

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
        """Note where what is stored is not what was acknowledged.

        What was sent and not answered when a round's time was up may be stored or not, but a
        request never in part.
        """
        if self.result.errors:
            self.result.problems.append(f"{self.result.errors} requests failed")
        if not self.prepared.stored:
            return
        stored = _settled(self.prepared.stored) - self.stored_before
        a_request = self.prepared.a_request
        if not self.answered * a_request <= stored <= self.sent * a_request or stored % a_request:
            self.result.problems.append(
                f"{stored} stored, of {self.answered * a_request} acknowledged"
                f" and {self.sent * a_request} sent"
            )


def _settled(count: Callable[[], int]) -> int:
    """The count once the server has finished what it was doing when it was left."""
    before, now = -1, count()
    while now != before:
        time.sleep(0.3)
        before, now = now, count()
    return now


@dataclass
class Extra:
    """Something else that is measured in each round of a workload, beside the servers."""

    result: Result
    measure: Callable[[], float]


@dataclass
class Race:
    """A workload with all who take part in it."""

    workload: Workload
    contenders: list[Contender] = field(default_factory=list)
    results: list[Result] = field(default_factory=list)
    extras: list[Extra] = field(default_factory=list)

    def enter(self, seeds: Seeds, *, connections: int | None = None, label: str = "") -> None:
        """Prepare the workload for a server; a wrong answer is its result."""
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
            self.contenders.append(
                Contender(seeds, prepared, connections or workload.connections, result)
            )

    def run(self, *, seconds: int, rounds: int) -> list[Result]:
        for one in self.contenders:
            one.start()
            one.drive(WARM_UP)
        for _ in range(rounds):
            for one in self.contenders:
                with self._quiet(one):
                    one.round(seconds * self.workload.stretch)
            for extra in self.extras:
                with self._quiet():
                    extra.result.figures.append(extra.measure())
        for one in self.contenders:
            one.check()
        return [*self.results, *(extra.result for extra in self.extras)]

    @contextmanager
    def _quiet(self, turn: Contender | None = None) -> Iterator[None]:
        """Nothing but the server whose turn it is has anything to do."""
        others = [one.seeds.server.pid for one in self.contenders if one is not turn]
        with processes.stopped(others):
            processes.wait_for_rest()
            yield


def prepare(workloads: Sequence[Workload], seeds: Sequence[Seeds]) -> list[Race]:
    """Every workload with every server that has it, seeded and settled."""
    races = []
    for workload in workloads:
        race = Race(workload)
        for one in seeds:
            race.enter(one)
        races.append(race)
    for one in seeds:
        one.server.postgres.vacuum(one.server.database)
    return races
