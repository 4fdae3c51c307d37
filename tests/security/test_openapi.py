"""Requests made from the OpenAPI document, right ones and wrong ones: no server error, and every
answer is what the document says."""

import os
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import checks
from schemathesis.core.transport import Response
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from app.config import Settings
from app.main import create_app
from tests.security.targets import Target

# Requests an operation; schemathesis's own pytest plugin does not know this pytest.
EXAMPLES = int(os.environ.get("TRACKING_FUZZ_EXAMPLES", "10"))
CHECKS = [
    checks.not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]

_DOCUMENT = create_app(Settings(_env_file=None, database_url="postgresql:///")).openapi()
OPERATIONS = {
    found.ok().label: found.ok()
    for found in schemathesis.openapi.from_dict(_DOCUMENT).get_all_operations()
}

_requests = 0


@pytest.fixture(autouse=True, scope="module")
def counted() -> Iterator[None]:
    yield
    print(f"\nOpenAPI: {len(OPERATIONS)} operations, {_requests} requests")


@pytest.fixture(scope="module")
def ids(local_target: Target) -> dict[str, str]:
    """Things that are there, so that not every request ends at an id that is not."""
    with local_target.client("fuzzed") as client:
        experiment = client.post("/api/v1/experiments", json={"name": os.urandom(8).hex()}).json()
        run = client.post(
            "/api/v1/experiments/runs", json={"experiment_id": experiment["id"]}
        ).json()
        at = f"/api/v1/experiments/runs/{run['id']}"
        client.post(f"{at}/log-metrics", json={"metrics": {"loss": 1}})
        client.post(f"{at}/log-artifact", files={"file": ("f.txt", b"x")})
        key = client.post("/api/v1/admin/tenants/fuzzed/keys", json={"role": "read"}).json()
    return {
        "experiment_id": experiment["id"],
        "run_id": run["id"],
        "key": "loss",
        "path": "f.txt",
        "tenant": "fuzzed",
        "key_id": key["id"],
    }


@pytest.mark.parametrize("label", OPERATIONS)
def test_conforms(label: str, local_target: Target, ids: dict[str, str]) -> None:
    operation = OPERATIONS[label]
    requests = st.one_of(*(operation.as_strategy(generation_mode=mode) for mode in GenerationMode))

    @given(case=requests, existing=st.booleans())
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def conforms(case: Any, existing: bool) -> None:
        global _requests
        _requests += 1
        if existing:
            for name in case.path_parameters or {}:
                case.path_parameters[name] = ids[name]
            case.headers = {"X-Tenant-ID": "fuzzed"}
        answer: Response = case.call(base_url=local_target.url, timeout=30)
        case.validate_response(answer, checks=CHECKS)

    conforms()
