"""The OpenAPI document of the workbench API."""

from typing import Any

import pytest
from fastapi import FastAPI

from app.api import workbench
from app.api.workbench.problem_details import MEDIA_TYPE

METHODS = {"get", "post", "patch", "delete", "put"}
# The contract's routes.
CONTRACT = {
    "POST /experiments",
    "GET /experiments",
    "GET /experiments/{experiment_id}",
    "PATCH /experiments/{experiment_id}",
    "DELETE /experiments/{experiment_id}",
    "POST /experiments/{experiment_id}/restore",
    "POST /experiments/runs",
    "GET /experiments/runs",
    "GET /experiments/runs/{run_id}",
    "PATCH /experiments/runs/{run_id}",
    "DELETE /experiments/runs/{run_id}",
    "POST /experiments/runs/{run_id}/restore",
    "POST /experiments/runs/{run_id}/log-metrics",
    "POST /experiments/runs/{run_id}/log-params",
    "POST /experiments/runs/{run_id}/log-batch",
    "POST /experiments/runs/{run_id}/log-artifact",
    "GET /experiments/runs/{run_id}/artifacts",
    "POST /experiments/runs/{run_id}/artifacts",
    "POST /experiments/runs/{run_id}/artifacts/copy",
    "GET /experiments/runs/{run_id}/artifacts/{path}",
    "DELETE /experiments/runs/{run_id}/artifacts/{path}",
    "GET /experiments/runs/{run_id}/metrics/{key}",
    "POST /experiments/runs/{run_id}/end",
    "POST /experiments/runs/compare",
}
ADMIN = {
    "GET /admin/tenants",
    "POST /admin/tenants",
    "GET /admin/tenants/{tenant}",
    "PATCH /admin/tenants/{tenant}",
    "DELETE /admin/tenants/{tenant}",
    "GET /admin/tenants/{tenant}/usage",
    "GET /admin/tenants/{tenant}/keys",
    "POST /admin/tenants/{tenant}/keys",
    "GET /admin/tenants/{tenant}/keys/{key_id}",
    "DELETE /admin/tenants/{tenant}/keys/{key_id}",
    "POST /admin/tenants/{tenant}/keys/{key_id}/rotate",
    "GET /admin/audit",
    "GET /audit",
}

_APP = FastAPI()
_APP.include_router(workbench.router)
OPERATIONS = {
    f"{method.upper()} {path.removeprefix('/api/v1')}": operation
    for path, item in _APP.openapi()["paths"].items()
    for method, operation in item.items()
    if method in METHODS
}


@pytest.fixture
def page(app: FastAPI) -> dict[str, Any]:
    return app.openapi()


@pytest.fixture(params=sorted(OPERATIONS))
def operation(request: pytest.FixtureRequest, page: dict[str, Any]) -> dict[str, Any]:
    method, path = request.param.split()
    found: dict[str, Any] = page["paths"][f"/api/v1{path}"][method.lower()]
    return found


def has_example(page: dict[str, Any], content: dict[str, Any]) -> bool:
    """Whether a media type or its schema has an example."""
    return any(
        "example" in media or "examples" in media or schema_has_example(page, media["schema"])
        for media in content.values()
    )


def schema_has_example(page: dict[str, Any], schema: dict[str, Any]) -> bool:
    if "$ref" in schema:
        schema = page["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    if "examples" in schema:
        return True
    inner = [schema["items"]] if "items" in schema else schema.get("anyOf", [])
    return any(schema_has_example(page, one) for one in inner)


def test_every_row_of_the_contract() -> None:
    assert set(OPERATIONS) == CONTRACT | ADMIN


class TestEachOperation:
    def test_is_described(self, page: dict[str, Any], operation: dict[str, Any]) -> None:
        assert operation["summary"]
        assert operation["description"]
        (tag,) = operation["tags"]
        assert tag in {one["name"] for one in page["tags"] if one["description"]}

    def test_shows_a_request(self, page: dict[str, Any], operation: dict[str, Any]) -> None:
        if "requestBody" in operation:
            assert has_example(page, operation["requestBody"]["content"])
        for parameter in operation["parameters"]:
            assert parameter["description"], parameter["name"]

    def test_shows_an_answer(self, page: dict[str, Any], operation: dict[str, Any]) -> None:
        for status, answer in operation["responses"].items():
            if status.startswith("2") and "content" in answer:
                assert has_example(page, answer["content"]), status

    def test_declares_its_errors(self, operation: dict[str, Any]) -> None:
        errors = {
            status: answer for status, answer in operation["responses"].items() if status >= "400"
        }
        assert errors.keys() >= {"400", "422", "503"}
        for status, answer in errors.items():
            content = answer["content"][MEDIA_TYPE]
            assert content["schema"] == {"$ref": "#/components/schemas/Problem"}
            assert content["example"]["status"] == int(status)

    def test_takes_the_tenant(self, operation: dict[str, Any]) -> None:
        assert "X-Tenant-ID" in {parameter["name"] for parameter in operation["parameters"]}


def test_both_ways_to_name_a_tenant(page: dict[str, Any]) -> None:
    assert [server["url"] for server in page["servers"]] == ["/", "/t/{tenant}"]


def test_ids_of_operations_are_unique() -> None:
    ids = [operation["operationId"] for operation in OPERATIONS.values()]
    assert "create_run" in ids
    assert len(set(ids)) == len(ids)


def test_every_reference_resolves(page: dict[str, Any]) -> None:
    def walk(node: Any) -> None:
        if isinstance(node, dict):
            if isinstance(reference := node.get("$ref"), str):
                assert reference.rpartition("/")[2] in page["components"]["schemas"]
            for value in node.values():
                walk(value)
        elif isinstance(node, list):
            for value in node:
                walk(value)

    walk(page)
