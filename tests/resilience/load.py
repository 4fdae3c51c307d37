"""Clients that log and read while something breaks, and what they were answered."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx

API = "/api/2.0/mlflow"
WRITERS = 6
READERS = 2
# A request that takes longer hangs: the service's own time limits are shorter.
PATIENCE = 15.0


@dataclass
class Load:
    """Each writer logs batches 0, 1, 2, … to a run of its own: two metrics, a param and a tag that
    all tell the number of the batch. What is refused or cut off is sent again, as by MLflow's
    client. Readers look at those runs all the while."""

    url: str
    acknowledged: dict[str, set[int]] = field(default_factory=dict)
    answers: Counter[str] = field(default_factory=Counter)
    unclean: list[str] = field(default_factory=list)
    _stopping: bool = False

    @property
    def total(self) -> int:
        return sum(map(len, self.acknowledged.values()))

    async def more(self, batches: int, *, within: float = 20) -> None:
        """Wait until that many more batches are acknowledged."""
        goal = self.total + batches
        async with asyncio.timeout(within):
            while self.total < goal:
                assert not self.unclean, self.unclean[:3]
                await asyncio.sleep(0.02)

    async def refusals(self, count: int, *, within: float = 20) -> None:
        """Wait until that many more requests were refused or cut off."""
        goal = self._failed + count
        async with asyncio.timeout(within):
            while self._failed < goal:
                assert not self.unclean, self.unclean[:3]
                await asyncio.sleep(0.02)

    @property
    def _failed(self) -> int:
        return self.answers["503"] + self.answers["cut off"]

    async def write(self, client: httpx.AsyncClient, run_id: str) -> None:
        number = 0
        while not self._stopping:
            batch = {
                "run_id": run_id,
                "metrics": [
                    {"key": key, "value": number, "timestamp": number + 1, "step": number}
                    for key in ("a", "b")
                ],
                "params": [{"key": f"p{number}", "value": str(number)}],
                "tags": [{"key": "t", "value": str(number)}],
            }
            if await self.ask(client, "POST", "runs/log-batch", json=batch) is not None:
                self.acknowledged[run_id].add(number)
                number += 1

    async def read(self, client: httpx.AsyncClient) -> None:
        while not self._stopping:
            for run_id in list(self.acknowledged):
                found = await self.ask(client, "GET", "runs/get", params={"run_id": run_id})
                if found is not None:
                    self._check_metrics(found["run"]["data"])

    def _check_metrics(self, data: dict[str, Any]) -> set[str]:
        """Neither metric of a batch is seen without the other: the number of the batch.

        Params and tags are read by statements of their own, between which a batch may be written.
        """
        numbers = {str(metric["value"]).removesuffix(".0") for metric in data.get("metrics", [])}
        if len(numbers) > 1:
            self.unclean.append(f"half a batch: the latest metrics are {numbers}")
        return numbers

    async def ask(
        self, client: httpx.AsyncClient, method: str, route: str, **arguments: Any
    ) -> Any | None:
        """The answer; None where the client is to try again, which it then may at once."""
        try:
            answer = await client.request(method, f"{self.url}{API}/{route}", **arguments)
        except httpx.TimeoutException:
            self.unclean.append(f"{route} hangs")
            return None
        except httpx.TransportError:
            self.answers["cut off"] += 1
            await asyncio.sleep(0.05)
            return None
        self.answers[str(answer.status_code)] += 1
        if answer.status_code == 200:
            return answer.json()
        if answer.status_code == 503 and answer.headers.get("retry-after", "").isdigit():
            await asyncio.sleep(0.05)
            return None
        self.unclean.append(f"{route}: {answer.status_code} {answer.text}")
        return None

    async def check(self) -> None:
        """Everything acknowledged is there once, nothing is there in part, and of what was never
        acknowledged at most the batch that each writer was sending."""
        assert not self.unclean, self.unclean[:3]
        lost = 0
        async with httpx.AsyncClient(timeout=PATIENCE) as client:
            for run_id, numbers in self.acknowledged.items():
                seen = {}
                for key in ("a", "b"):
                    found = await self.ask(
                        client,
                        "GET",
                        "metrics/get-history",
                        params={"run_id": run_id, "metric_key": key},
                    )
                    steps = [point["step"] for point in found.get("metrics", [])]
                    assert len(steps) == len(set(steps))
                    seen[key] = set(steps)
                run = await self.ask(client, "GET", "runs/get", params={"run_id": run_id})
                data = run["run"]["data"]
                params = {param["key"] for param in data.get("params", [])}
                tags = {tag["value"] for tag in data["tags"] if tag["key"] == "t"}
                assert self._check_metrics(data) == tags
                assert seen["a"] == seen["b"] == {int(key[1:]) for key in params}
                lost += len(numbers - seen["a"])
                assert len(seen["a"] - numbers) <= 1
        print(f"acknowledged batches: {self.total}, lost: {lost}; answers: {dict(self.answers)}")
        assert lost == 0
        assert not self.unclean, self.unclean[:3]


@asynccontextmanager
async def load(url: str) -> AsyncIterator[Load]:
    """The load goes on as long as the context does."""
    it = Load(url)
    async with httpx.AsyncClient(timeout=PATIENCE) as client:
        for _ in range(WRITERS):
            created = await it.ask(client, "POST", "runs/create", json={})
            assert created
            it.acknowledged[created["run"]["info"]["run_id"]] = set()
        tasks = [asyncio.create_task(it.write(client, run_id)) for run_id in it.acknowledged]
        tasks += [asyncio.create_task(it.read(client)) for _ in range(READERS)]
        try:
            yield it
        finally:
            it._stopping = True
            await asyncio.gather(*tasks)
