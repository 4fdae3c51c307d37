"""A run to attack, and what there is of its store before."""

from dataclasses import dataclass

import httpx

from tests.security.raw import answer_to, request, status_of
from tests.security.targets import SECRET, Target

PROXY = "/api/2.0/mlflow-artifacts/artifacts"
API = "/api/2.0/mlflow"
V1 = "/api/v1/experiments/runs"


@dataclass
class Run:
    """A run with one file, and what there is of the whole store before it is attacked."""

    client: httpx.Client
    target: Target
    tenant: str
    run_id: str
    root: str

    def stored(self) -> dict[str, str]:
        return self.target.stored(self.tenant)

    def holds(self, stored: str, folder: str, name: str) -> bool:
        """Whether an object lies below that folder of the run, and has that name."""
        _, below, place = stored.partition(f"{self.root}/{folder}")
        return bool(below) and ".." not in place and stored.endswith(f"/{name}")

    def refused(self, method: str, path: str, *headers: str, body: bytes = b"") -> bytes:
        length = [f"Content-Length: {len(body)}"] if body else []
        answer = answer_to(
            self.target.url,
            request(method, f"/t/{self.tenant}{path}", *headers, *length, body=body),
        )
        assert 400 <= status_of(answer) < 500, (method, path, answer)
        assert SECRET not in answer
        assert b"root:" not in answer
        return answer
