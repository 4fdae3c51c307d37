"""The benchmarks' command line, `python -m benchmarks`; benchmarks/README.md explains it."""

import argparse
import signal
import sys
import tempfile
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from benchmarks import limit, peers, plot, postgres, report, runner, servers, storage, wrk
from benchmarks.further import GROUPS
from benchmarks.further.bench import Bench
from benchmarks.measure import Result
from benchmarks.processes import NotStartedError
from benchmarks.report import Results
from benchmarks.seeds import Seeds
from benchmarks.workloads import WORKLOADS, Workload

RESULTS = Path(__file__).with_name("results")


def main() -> None:
    arguments = parse()
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        wrk.check_installed()
        results = Results(run(arguments))
    except (wrk.WrkMissingError, NotStartedError) as error:
        sys.exit(f"bench: {error}")
    except KeyboardInterrupt:
        sys.exit("bench: interrupted; every started process has been ended")
    print(f"\n{report.table(results)}\n")
    about = description(arguments)
    report.write(results, about, RESULTS / "latest.json")
    plot.draw(results, RESULTS / "latest.png")
    print(f"written to {RESULTS.relative_to(peers.ROOT)}/latest.json and .png")
    if results.failed:
        sys.exit("bench: a request to our service failed, or its answer was wrong")


def _interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def parse() -> argparse.Namespace:
    names = [workload.name for workload in WORKLOADS]
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument(
        "--only",
        type=_names([*names, *GROUPS]),
        default=names,
        help=f"workloads, by name or prefix ({', '.join(names)}),"
        f" or further groups ({', '.join(GROUPS)})",
    )
    parser.add_argument(
        "--peers",
        type=_names(list(peers.PEERS)),
        default=list(peers.PEERS),
        help=f"servers to compare with ({', '.join(peers.PEERS)}), or none",
    )
    parser.add_argument("--seconds", type=int, default=4, help="length of a round")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of each workload")
    return parser.parse_args()


def _names(known: Sequence[str]) -> Callable[[str], list[str]]:
    def read(text: str) -> list[str]:
        wanted = [] if text == "none" else [word.strip() for word in text.split(",")]
        found = []
        for word in wanted:
            matching = [name for name in known if name == word] or [
                name for name in known if name.startswith(word)
            ]
            if not matching:
                raise argparse.ArgumentTypeError(f"{word}: not one of {', '.join(known)}, none")
            found += matching
        return found

    return read


def run(arguments: argparse.Namespace) -> list[Result]:
    """Starts the servers, measures the chosen workloads and groups, and stops the servers.

    Returns the results, those of one workload together."""
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as folder,
        servers.running(arguments.peers, Path(folder)) as started,
    ):
        names = ", ".join(server.name for server in started)
        print(f"Postgres {started[0].postgres.version()}; {names}")
        seeds = [Seeds(server) for server in started]
        wanted = [workload for workload in WORKLOADS if workload.name in arguments.only]
        results = measure(wanted, seeds, arguments.seconds, arguments.rounds) if wanted else []
        bench = Bench(seeds, Path(folder), arguments.seconds, arguments.rounds)
        for group in arguments.only:
            if group in GROUPS:
                print(f"{group} …", flush=True)
                results += GROUPS[group](bench)
        if wanted:  # the goal for memory is about the default workloads only
            for server in started:
                results += storage.memory(server)
        return sorted(results, key=_order([result.workload for result in results]))


def _order(names: Sequence[str]) -> Callable[[Result], int]:
    """A sort key: results of one workload together, workloads in the order of measurement."""
    places = {name: place for place, name in reversed(list(enumerate(names)))}
    return lambda result: places[result.workload]


def measure(
    workloads: Sequence[Workload], seeds: Sequence[Seeds], seconds: int, rounds: int
) -> list[Result]:
    """Measures the workloads on all servers, and the bytes per point after log-batch-1000."""
    print("seeding …", flush=True)
    results: list[Result] = []
    for comparison in runner.prepare(workloads, seeds):
        print(f"{comparison.workload.name} …", flush=True)
        batches = comparison.workload.name == "log-batch-1000"
        growth = [storage.Growth(data.server) for data in seeds] if batches else []
        if batches:
            comparison.extras.append(limit.copy(seeds[0].server, comparison.workload.name))
        if comparison.workload.name == "one-log-metric":
            comparison.extras.append(limit.commits(seeds[0].server, comparison.workload.name))
        results += comparison.run(seconds=seconds, rounds=rounds)
        results += [tables.bytes_per_point() for tables in growth]
    return results


def description(arguments: argparse.Namespace) -> dict[str, Any]:
    """The conditions of the run: date, machine, versions, options and Postgres settings."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": report.machine(),
        "python": sys.version.split()[0],
        "version": metadata.version("tracking"),
        "peers": {name: peers.PEERS[name] for name in arguments.peers},
        "seconds": arguments.seconds,
        "rounds": arguments.rounds,
        "postgres": postgres.SETTINGS,
    }


if __name__ == "__main__":
    main()
