"""What a server takes: bytes of Postgres a point, and memory."""

from dataclasses import dataclass

from benchmarks.measure import Goal, Result
from benchmarks.servers import OURS, Server


@dataclass
class Growth:
    """By how much a server's tables of metrics have grown since this was made."""

    server: Server

    def __post_init__(self) -> None:
        self.points = self.server.points()
        self.bytes = self.server.bytes_of_metrics()

    def a_point(self) -> Result:
        """Heap and indexes, of the points and of the latest values."""
        points = self.server.points() - self.points
        size = self.server.bytes_of_metrics() - self.bytes
        result = Result("bytes-a-point", self.server.name, "bytes", goals=(Goal(None, 110),))
        result.figures.append(size / max(points, 1))
        return result


def memory(server: Server) -> list[Result]:
    """Of the largest process, which is a worker; and of all, where there are several."""
    found = server.memory()
    goals = (Goal(None, 120),) if server.kind == OURS else ()
    results = [Result("memory of a worker", server.name, "MB", [found.largest], goals=goals)]
    if len(found.processes) > 1:
        unit = f"MB in {len(found.processes)} processes"
        results.append(Result("memory in all", server.name, unit, [found.total]))
    return results
