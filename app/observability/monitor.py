"""What watches one worker: its counts, its lines, and its part in what all workers show."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from app.config import Settings
from app.observability import logs
from app.observability.access_log import AccessLog
from app.observability.worker_metrics import Distribution, LoggedLines, RequestCounts, Snapshot
from app.observability.worker_processes import OtherWorkers, ended_with_parent
from app.services import Services


class Monitor:
    """One per application; it works while `running`."""

    def __init__(self, settings: Settings) -> None:
        self.access = AccessLog(
            settings.log_requests,
            logs.chosen_format(settings.log_format),
            slow=settings.log_slow_seconds,
        )
        self.requests = RequestCounts(settings.metrics_tenants)
        self._lines = LoggedLines()
        self._colleagues = OtherWorkers()

    @asynccontextmanager
    async def running(self, services: Services) -> AsyncIterator[None]:
        root = logging.getLogger()
        root.addHandler(self._lines)
        self.access.start()
        try:
            with ended_with_parent():
                async with self._colleagues.told(lambda: self._counted(services)):
                    yield
        finally:
            self.access.close()
            root.removeHandler(self._lines)

    def counted(self, services: Services) -> Snapshot:
        """What all workers have counted."""
        counted = self._counted(services)
        self._colleagues.add_to(counted)
        return counted

    def _counted(self, services: Services) -> Snapshot:
        queue, pool = services.write_queue.statistics(), services.database.pool_statistics()
        return Snapshot(
            requests=[(key, list(cell)) for key, cell in self.requests.cells.items()],
            counters={
                "flush_failures": queue.failures,
                **{f"logged_{level}": number for level, number in self._lines.counts.items()},
            },
            levels={
                "workers": 1,
                "open_requests": self.requests.open,
                "held_bytes": services.memory.held,
                "waiting_writes": queue.waiting_requests,
                "waiting_items": queue.waiting_items,
                "pool_size": pool.size,
                "pool_in_use": pool.in_use,
                "pool_waiting": pool.waiting,
            },
            distributions={
                "flush_items": Distribution.of(queue.batch_items),
                "flush_seconds": Distribution.of(queue.batch_seconds),
            },
        )
