"""What one tenant notices of another that asks too much: its waits, and the worker's memory.

Each abuse has a server, a tenant and a key of its own. The tenant beside it logs a metric over one
connection, first by itself and then beside the abuse, to the same one worker.
"""

import multiprocessing
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from statistics import median
from urllib.parse import urlsplit

from benchmarks import processes, servers, transfers
from benchmarks.abuse import driver
from benchmarks.abuse.attacks import ATTACKS, Attack
from benchmarks.abuse.plan import Answer, Plan
from benchmarks.abuse.victim import Victim, Waits, log_metric, put_files
from benchmarks.further.authentication import ADMIN, new_key
from benchmarks.further.bench import Bench
from benchmarks.measure import Goal, Result
from benchmarks.seeds import Seeds
from benchmarks.servers import OURS, Server

MANY = 8  # clients at once, where the abuse has no number of its own
WARM_UP = 0.5  # seconds
REST_SECONDS = 10.0
CLOSE_ENOUGH = 5.0  # MB: as good as before

LONGEST = Goal(None, 250)  # ms
P99 = Goal(None, 2)  # times that without the abuse
PEAK = Goal(None, 400)  # MB
KEPT = Goal(None, 20)  # MB more than before


@dataclass
class Beside:
    """What the clients beside the abuse waited, and what the abuse was answered."""

    waits: list[Waits]
    answers: list[Answer]


def measure(attack: Attack, bench: Bench) -> list[Result]:
    data = Seeds(replace(bench.ours.server, prefix=f"/t/abuse-{attack.name}"))
    data.new_run()  # so that the tenant exists
    plan = attack.prepare(data)
    with _fresh(bench) as server, ExitStack() as stack:
        key = new_key(server, data.server.prefix.removeprefix("/t/"), attack.role)
        victims = _victims(bench, server, attack)
        for victim in victims:
            stack.callback(victim.close)
        abuse = partial(_abuse, server, key, plan, bench.seconds * attack.stretch)
        processes.wait_for_rest(at_most=5)
        _go_on(victims, _for_seconds(WARM_UP))
        idle = Beside(_go_on(victims, _for_seconds(bench.seconds)), [])
        before = server.memory().largest
        beside = abuse(victims, attack.clients or 1)
        many = None if attack.clients else abuse(victims, MANY)
        after = _at_rest(server, before)
        peak = processes.peak_memory(server.pid)
        results = [
            *_waits(attack.label, idle, beside),
            *(_waits(f"{attack.label}, {MANY} clients", None, many) if many else ()),
            Result(f"{attack.label}: memory", "idle", "MB", [before]),
            Result(f"{attack.label}: memory", OURS, "MB at most", [peak], goals=(PEAK,)),
            Result(f"{attack.label}: memory kept", OURS, "MB", [after - before], goals=(KEPT,)),
        ]
    if plan.about:
        results[0].notes.append(plan.about)
    return results


@contextmanager
def _fresh(bench: Bench) -> Iterator[Server]:
    """A server that has done nothing yet. Nothing of it goes on afterwards, be it in Postgres."""
    settings = {"TRACKING_AUTH": "keys", "TRACKING_ADMIN_KEY": ADMIN}
    postgres = bench.ours.server.postgres
    with servers.ours(postgres, bench.folder, name="abused", settings=settings) as server:
        try:
            yield server
        finally:
            os.killpg(server.pid, signal.SIGKILL)  # it may be too busy to end itself
    with postgres.connect("postgres") as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name = 'tracking' AND state <> 'idle'"
        )


def _victims(bench: Bench, server: Server, attack: Attack) -> list[Victim]:
    bench.ours.new_run()  # so that the tenant exists
    key = new_key(server, servers.TENANT, "write")
    victims = [Victim(server, log_metric(server, bench.ours.new_run(), key))]
    if attack.files:
        run = bench.ours.server.post("runs/create", {"experiment_id": bench.ours.logged})
        folder = transfers.proxy_path(server, run["run"]["info"]["artifact_uri"])
        victims.append(Victim(server, put_files(server, folder, key)))
    return victims


def _for_seconds(seconds: float) -> Callable[[], bool]:
    ends = time.monotonic() + seconds
    return lambda: time.monotonic() < ends


def _go_on(victims: Sequence[Victim], goes_on: Callable[[], bool]) -> list[Waits]:
    """The waits of each: of the one that logs, and of the one that stores files, if there is one.

    Each sleeps nearly all the time, so that threads are good enough.
    """
    with ThreadPoolExecutor(len(victims)) as pool:
        return list(pool.map(lambda victim: victim.go_on(goes_on), victims))


def _abuse(
    server: Server, key: str, plan: Plan, seconds: float, victims: Sequence[Victim], clients: int
) -> Beside:
    url = urlsplit(server.url)
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    arguments = (url.hostname, url.port, key, plan, clients, seconds, theirs)
    process = context.Process(target=driver.work, args=arguments, daemon=True)
    process.start()
    try:
        ours.recv()
        ours.send("go")
        waits = _go_on(victims, lambda: not ours.poll())
        return Beside(waits, ours.recv())
    finally:
        process.kill()
        process.join()


def _at_rest(server: Server, before: float) -> float:
    """The worker's memory in the end; at once where it is as good as before."""
    rests = _for_seconds(REST_SECONDS)
    while rests() and server.memory().largest > before + CLOSE_ENOUGH:
        time.sleep(0.2)
    return server.memory().largest


def _waits(label: str, idle: Beside | None, beside: Beside) -> list[Result]:
    """With goals where there is something to compare with."""
    results: list[Result] = []
    for number, waits in enumerate(beside.waits):
        name = f"{label}, files" if number else label
        results += _rows(name, idle.waits[number] if idle else None, waits)
    (first, *_) = [result for result in results if result.server == OURS]
    first.notes.append(_summary(beside.answers))
    return results


def _rows(label: str, idle: Waits | None, beside: Waits) -> list[Result]:
    name = f"{label}: wait"
    result = _row(name, OURS, beside)
    if idle is None:
        return [result]
    result.goals = (LONGEST,)
    ratio = Result(f"{label}: p99", OURS, "× idle", [beside.p99 / idle.p99], goals=(P99,))
    return [_row(name, "idle", idle), result, ratio]


def _row(name: str, server: str, waits: Waits) -> Result:
    result = Result(name, server, "ms at most", [waits.longest * 1000], [waits.p50], [waits.p99])
    result.errors = waits.failures.total()
    for what, count in waits.failures.items():
        result.problems.append(f"{count} of {len(waits.seconds)} requests failed: {what}")
    return result


def _summary(answers: Sequence[Answer]) -> str:
    outcomes = Counter(answer.outcome for answer in answers)
    seconds = [answer.seconds for answer in answers]
    counts = "; ".join(f"{count} × {outcome}" for outcome, count in outcomes.most_common())
    return f"the abuse: {counts}; {median(seconds):.2f} s each, {max(seconds):.2f} s at most"


GROUPS = {f"abuse-{attack.name}": partial(measure, attack) for attack in ATTACKS}
