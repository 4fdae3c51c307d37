"""Isolation from abusive tenants: another tenant's waits, and the worker's memory.

Each attack has its own server, tenant and key. The other tenant (the victim) logs a metric over one
connection to the same worker, first alone and then beside the attack.
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

DEFAULT_CLIENTS = 8  # concurrent clients, if the attack does not set a number
WARM_UP = 0.5  # seconds
REST_SECONDS = 10.0
RECOVERED = 5.0  # MB above the memory of before, at which the worker has recovered

LONGEST = Goal(None, 250)  # ms
P99 = Goal(None, 2)  # times the p99 without the attack
PEAK = Goal(None, 400)  # MB
KEPT = Goal(None, 20)  # MB more than before


@dataclass
class Observation:
    """The victims' waits, and the answers to the attack."""

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
        processes.wait_until_idle(at_most=5)
        _send_while(victims, _within(WARM_UP))
        idle = Observation(_send_while(victims, _within(bench.seconds)), [])
        before = server.memory().largest
        beside = abuse(victims, attack.clients or 1)
        many = None if attack.clients else abuse(victims, DEFAULT_CLIENTS)
        after = _memory_after_rest(server, before)
        peak = processes.peak_memory(server.pid)
        results = [
            *_waits(attack.label, idle, beside),
            *(_waits(f"{attack.label}, {DEFAULT_CLIENTS} clients", None, many) if many else ()),
            Result(f"{attack.label}: memory", "idle", "MB", [before]),
            Result(f"{attack.label}: memory", OURS, "MB at most", [peak], goals=(PEAK,)),
            Result(f"{attack.label}: memory kept", OURS, "MB", [after - before], goals=(KEPT,)),
        ]
    if plan.about:
        results[0].notes.append(plan.about)
    return results


@contextmanager
def _fresh(bench: Bench) -> Iterator[Server]:
    """Starts a server. At the end, kills it and cancels its statements in Postgres."""
    settings = {"TRACKING_AUTH": "keys", "TRACKING_ADMIN_KEY": ADMIN}
    postgres = bench.ours.server.postgres
    with servers.ours(postgres, bench.folder, name="abused", settings=settings) as server:
        try:
            yield server
        finally:
            os.killpg(server.pid, signal.SIGKILL)  # it may be too busy to exit
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


def _within(seconds: float) -> Callable[[], bool]:
    ends = time.monotonic() + seconds
    return lambda: time.monotonic() < ends


def _send_while(victims: Sequence[Victim], keep_going: Callable[[], bool]) -> list[Waits]:
    """The waits of each victim: the one that logs, and the one that stores files, if any.

    Threads suffice, because victims sleep nearly all the time.
    """
    with ThreadPoolExecutor(len(victims)) as pool:
        return list(pool.map(lambda victim: victim.send_while(keep_going), victims))


def _abuse(
    server: Server, key: str, plan: Plan, seconds: float, victims: Sequence[Victim], clients: int
) -> Observation:
    url = urlsplit(server.url)
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    arguments = (url.hostname, url.port, key, plan, clients, seconds, theirs)
    process = context.Process(target=driver.work, args=arguments, daemon=True)
    process.start()
    try:
        ours.recv()
        ours.send("go")
        waits = _send_while(victims, lambda: not ours.poll())
        return Observation(waits, ours.recv())
    finally:
        process.kill()
        process.join()


def _memory_after_rest(server: Server, before: float) -> float:
    """The worker's memory in MB, after REST_SECONDS or as soon as it has recovered."""
    resting = _within(REST_SECONDS)
    while resting() and server.memory().largest > before + RECOVERED:
        time.sleep(0.2)
    return server.memory().largest


def _waits(label: str, idle: Observation | None, beside: Observation) -> list[Result]:
    """Rows of each victim, with goals if there are idle figures to compare with."""
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
    return f"the attack: {counts}; {median(seconds):.2f} s each, {max(seconds):.2f} s at most"


GROUPS = {f"abuse-{attack.name}": partial(measure, attack) for attack in ATTACKS}
