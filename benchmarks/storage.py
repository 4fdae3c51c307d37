"""Storage and memory of a server: bytes per point in Postgres, resident memory."""

from dataclasses import dataclass

from benchmarks.measure import Goal, Result
from benchmarks.servers import OURS, Server


@dataclass
class Growth:
    """Growth of a server's tables of metrics since this object was created."""

    server: Server

    def __post_init__(self) -> None:
        self.points = self.server.points()
        self.bytes = self.server.bytes_of_metrics()

    def bytes_per_point(self) -> Result:
        """Bytes per point, heap and indexes, in the tables of points and of latest values."""
        points = self.server.points() - self.points
        size = self.server.bytes_of_metrics() - self.bytes
        result = Result("bytes-a-point", self.server.name, "bytes", goals=(Goal(None, 110),))
        result.figures.append(size / max(points, 1))
        return result


def memory(server: Server) -> list[Result]:
    """Resident memory of the largest process, a worker, and of all processes if there are more."""
    found = server.memory()
    goals = (Goal(None, 120),) if server.kind == OURS else ()
    results = [Result("memory of a worker", server.name, "MB", [found.largest], goals=goals)]
    if len(found.processes) > 1:
        unit = f"MB in {len(found.processes)} processes"
        results.append(Result("memory in all", server.name, unit, [found.total]))
    return results
