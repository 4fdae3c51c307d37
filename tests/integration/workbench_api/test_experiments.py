"""Experiments in the workbench API."""

import asyncio
import re
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from app.kernel.tenant import Tenant
from tests.integration.workbench_api.support import (
    RUNS,
    V1,
    assert_problem,
    new_experiment,
    new_run,
)

URL = f"{V1}/experiments"
ABSENT = "123456789012345678"


class TestCreateExperiment:
    async def test_minimal(self, client: httpx.AsyncClient, tenant: Tenant) -> None:
        response = await client.post(URL, json={"name": "churn"})
        assert response.status_code == 201
        created = response.json()
        assert list(created) == [
            "id",
            "name",
            "description",
            "artifact_location",
            "lifecycle_stage",
            "created_at",
            "last_updated",
            "tags",
        ]
        assert re.fullmatch(r"\d+", created["id"])
        assert created["name"] == "churn"
        assert created["description"] == ""
        assert created["artifact_location"] == f"mlflow-artifacts:/experiments/{created['id']}"
        assert created["lifecycle_stage"] == "active"
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", created["created_at"])
        assert created["last_updated"] == created["created_at"]
        assert created["tags"] == {"matih.tenant_id": tenant.slug}

    async def test_whole(self, client: httpx.AsyncClient) -> None:
        created = await new_experiment(
            client,
            name="Förderung 预测 🚀",
            description="ünïcode",
            artifact_location="s3://bucket/path",
            tags={"team": "data-science", "matih.user_id": "ada"},
        )
        assert created["name"] == "Förderung 预测 🚀"
        assert created["description"] == "ünïcode"
        assert created["artifact_location"] == "s3://bucket/path"
        assert created["tags"].items() >= {"team": "data-science", "matih.user_id": "ada"}.items()

    async def test_limits(self, client: httpx.AsyncClient) -> None:
        await new_experiment(client, name="n" * 255, description="d" * 1000)

    @pytest.mark.parametrize(
        ("body", "field"),
        [
            ({}, "name"),
            ({"name": ""}, "name"),
            ({"name": "n" * 256}, "name"),
            ({"name": None}, "name"),
            ({"name": 5}, "name"),
            ({"name": "a\x00b"}, "name"),
            ({"name": "a", "description": "d" * 1001}, "description"),
            ({"name": "a", "description": "\x00"}, "description"),
            ({"name": "a", "tags": {"k": 5}}, "tags.k"),
            ({"name": "a", "tags": {"k": None}}, "tags.k"),
            ({"name": "a", "tags": {"": "v"}}, "tags."),
            ({"name": "a", "tags": {"a\x00": "v"}}, "tags.a\x00"),
            ({"name": "a", "tags": {"k": "a\x00"}}, "tags.k"),
            ({"name": "a", "tags": {"k" * 251: "v"}}, "tags." + "k" * 251),
            ({"name": "a", "tags": {"k": "v" * 20_001}}, "tags.k"),
            ({"name": "a", "tags": {"mlflow.note.content": "v"}}, "tags.mlflow.note.content"),
            ({"name": "a", "artifact_location": "/etc"}, "artifact_location"),
            ({"name": "a", "artifact_location": "file:///etc"}, "artifact_location"),
            ({"name": "a", "descripton": "misspelt"}, "descripton"),
            ([], "body"),
        ],
    )
    async def test_invalid(self, client: httpx.AsyncClient, body: object, field: str) -> None:
        assert_problem(await client.post(URL, json=body), 422, field)

    async def test_lone_surrogate(self, client: httpx.AsyncClient) -> None:
        response = await client.post(
            URL, content=rb'{"name": "\ud800"}', headers={"Content-Type": "application/json"}
        )
        assert_problem(response, 422, "name")

    async def test_lone_surrogate_in_a_key(self, client: httpx.AsyncClient) -> None:
        response = await client.post(
            URL,
            content=rb'{"name": "a", "tags": {"\ud800": "v"}, "\udfff": 1}',
            headers={"Content-Type": "application/json"},
        )
        assert_problem(response, 422)

    async def test_name_taken(self, client: httpx.AsyncClient, experiment: dict[str, Any]) -> None:
        assert_problem(await client.post(URL, json={"name": experiment["name"]}), 409, "name")

    async def test_name_taken_by_an_archived_one(
        self, client: httpx.AsyncClient, experiment: dict[str, Any]
    ) -> None:
        await client.delete(f"{URL}/{experiment['id']}")
        assert_problem(await client.post(URL, json={"name": experiment["name"]}), 409, "name")

    async def test_concurrently_with_one_name(self, client: httpx.AsyncClient) -> None:
        responses = await asyncio.gather(
            *(client.post(URL, json={"name": "race"}) for _ in range(8))
        )
        assert sorted(one.status_code for one in responses) == [201, *[409] * 7]

    async def test_makes_an_unknown_tenant(self, app: FastAPI) -> None:
        slug = "springs-into-being"
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app),
            base_url="http://test",
            headers={"X-Tenant-ID": slug},
        ) as client:
            assert_problem(await client.post(URL, json={"name": ""}), 422, "name")
            assert (await client.get(URL)).json()["total"] == 1  # its experiment 0
            await new_experiment(client, name="first")
            names = {one["name"] for one in (await client.get(URL)).json()["experiments"]}
            assert names == {"Default", "first"}


class TestListExperiments:
    async def test_newest_first(self, client: httpx.AsyncClient) -> None:
        for name in ("a", "b", "c"):
            await new_experiment(client, name=name)
        listed = (await client.get(URL)).json()
        assert list(listed) == ["experiments", "total", "limit", "offset"]
        assert [one["name"] for one in listed["experiments"]] == ["c", "b", "a", "Default"]
        assert (listed["total"], listed["limit"], listed["offset"]) == (4, 100, 0)

    async def test_pages(self, client: httpx.AsyncClient) -> None:
        for name in ("a", "b", "c"):
            await new_experiment(client, name=name)
        page = (await client.get(URL, params={"limit": 2, "offset": 1})).json()
        assert [one["name"] for one in page["experiments"]] == ["b", "a"]
        assert (page["total"], page["limit"], page["offset"]) == (4, 2, 1)

    async def test_beyond_the_end(self, client: httpx.AsyncClient) -> None:
        page = (await client.get(URL, params={"offset": 2**63 - 1})).json()
        assert page["experiments"] == []
        assert page["total"] == 1

    @pytest.mark.parametrize(
        ("search", "found"),
        [("CHURN", ["Churn-2"]), ("%", ["100%"]), ("_", ["a_b"]), ("ü", ["MÜNCHEN"]), ("zz", [])],
    )
    async def test_search(self, client: httpx.AsyncClient, search: str, found: list[str]) -> None:
        for name in ("Churn-2", "100%", "a_b", "MÜNCHEN"):
            await new_experiment(client, name=name)
        listed = (await client.get(URL, params={"search": search})).json()
        assert [one["name"] for one in listed["experiments"]] == found
        assert listed["total"] == len(found)

    @pytest.mark.parametrize(
        ("stage", "names"),
        [
            (None, ["kept", "Default"]),
            ("active", ["kept", "Default"]),
            ("deleted", ["gone"]),
            ("all", ["gone", "kept", "Default"]),
        ],
    )
    async def test_lifecycle_stage(
        self, client: httpx.AsyncClient, stage: str | None, names: list[str]
    ) -> None:
        await new_experiment(client, name="kept")
        gone = await new_experiment(client, name="gone")
        await client.delete(f"{URL}/{gone['id']}")
        listed = (await client.get(URL, params={"lifecycle_stage": stage} if stage else {})).json()
        assert [one["name"] for one in listed["experiments"]] == names
        assert listed["total"] == len(names)

    @pytest.mark.parametrize(
        ("params", "field"),
        [
            ({"limit": 0}, "limit"),
            ({"limit": 1001}, "limit"),
            ({"limit": "ten"}, "limit"),
            ({"offset": -1}, "offset"),
            ({"offset": 2**63}, "offset"),
            ({"lifecycle_stage": "ACTIVE"}, "lifecycle_stage"),
            ({"search": "\x00"}, "search"),
            ({"serach": "misspelt"}, "serach"),
        ],
    )
    async def test_invalid(
        self, client: httpx.AsyncClient, params: dict[str, Any], field: str
    ) -> None:
        assert_problem(await client.get(URL, params=params), 422, field)


class TestGetExperiment:
    async def test_by_id(self, client: httpx.AsyncClient, experiment: dict[str, Any]) -> None:
        response = await client.get(f"{URL}/{experiment['id']}")
        assert response.status_code == 200
        assert response.json() == experiment

    async def test_archived(self, client: httpx.AsyncClient, experiment: dict[str, Any]) -> None:
        await client.delete(f"{URL}/{experiment['id']}")
        shown = (await client.get(f"{URL}/{experiment['id']}")).json()
        assert shown["lifecycle_stage"] == "deleted"

    @pytest.mark.parametrize("absent", [ABSENT, "abc", "-1", "9" * 30, "%00", "1.5", "٣"])
    async def test_absent(self, client: httpx.AsyncClient, absent: str) -> None:
        assert_problem(await client.get(f"{URL}/{absent}"), 404)


class TestUpdateExperiment:
    async def test_all_at_once(self, client: httpx.AsyncClient) -> None:
        made = await new_experiment(
            client, name="old", description="d", tags={"kept": "1", "gone": "2", "changed": "3"}
        )
        response = await client.patch(
            f"{URL}/{made['id']}",
            json={
                "name": "new",
                "description": "better",
                "tags": {"gone": None, "changed": "4", "added": "5", "never": None},
            },
        )
        assert response.status_code == 200
        changed = response.json()
        assert changed["name"] == "new"
        assert changed["description"] == "better"
        tenant_tag = {"matih.tenant_id": made["tags"]["matih.tenant_id"]}
        assert changed["tags"] == {"kept": "1", "changed": "4", "added": "5"} | tenant_tag
        assert changed["last_updated"] >= made["last_updated"]
        assert (await client.get(f"{URL}/{made['id']}")).json() == changed

    @pytest.mark.parametrize("nothing", [None, ""])
    async def test_description_removed(
        self, client: httpx.AsyncClient, nothing: str | None
    ) -> None:
        made = await new_experiment(client, name="a", description="d")
        await client.patch(f"{URL}/{made['id']}", json={"tags": {"k": "v"}})
        assert (await client.get(f"{URL}/{made['id']}")).json()["description"] == "d"
        await client.patch(f"{URL}/{made['id']}", json={"description": nothing})
        assert (await client.get(f"{URL}/{made['id']}")).json()["description"] == ""

    async def test_nothing(self, client: httpx.AsyncClient, experiment: dict[str, Any]) -> None:
        response = await client.patch(f"{URL}/{experiment['id']}", json={})
        assert response.status_code == 200
        assert response.json()["name"] == experiment["name"]

    @pytest.mark.parametrize(
        ("body", "field"),
        [
            ({"name": ""}, "name"),
            ({"name": None}, "name"),
            ({"name": "n" * 256}, "name"),
            ({"name": "\x00"}, "name"),
            ({"description": "d" * 1001}, "description"),
            ({"description": "\x00"}, "description"),
            ({"tags": {"k": 1}}, "tags.k"),
            ({"tags": {"mlflow.note.content": None}}, "tags.mlflow.note.content"),
            ({"tags": {"matih.tenant_id": None}}, "tags.matih.tenant_id"),
            ({"artifact_location": "s3://b/p"}, "artifact_location"),
        ],
    )
    async def test_invalid(
        self,
        client: httpx.AsyncClient,
        experiment: dict[str, Any],
        body: dict[str, Any],
        field: str,
    ) -> None:
        response = await client.patch(f"{URL}/{experiment['id']}", json=body)
        assert_problem(response, 422, field)

    async def test_name_taken_changes_nothing(
        self, client: httpx.AsyncClient, experiment: dict[str, Any]
    ) -> None:
        other = await new_experiment(client, name="other")
        response = await client.patch(
            f"{URL}/{other['id']}", json={"name": experiment["name"], "tags": {"k": "v"}}
        )
        assert_problem(response, 409, "name")
        assert (await client.get(f"{URL}/{other['id']}")).json() == other

    async def test_archived(self, client: httpx.AsyncClient, experiment: dict[str, Any]) -> None:
        await client.delete(f"{URL}/{experiment['id']}")
        response = await client.patch(f"{URL}/{experiment['id']}", json={"name": "new"})
        assert_problem(response, 409)


class TestArchiveExperiment:
    async def test_takes_its_runs_along(
        self, client: httpx.AsyncClient, experiment: dict[str, Any], run: dict[str, Any]
    ) -> None:
        response = await client.delete(f"{URL}/{experiment['id']}")
        assert response.status_code == 204
        assert response.content == b""
        assert (await client.get(f"{RUNS}/{run['id']}")).json()["lifecycle_stage"] == "deleted"

    async def test_twice(self, client: httpx.AsyncClient, experiment: dict[str, Any]) -> None:
        await client.delete(f"{URL}/{experiment['id']}")
        archived = (await client.get(f"{URL}/{experiment['id']}")).json()
        assert (await client.delete(f"{URL}/{experiment['id']}")).status_code == 204
        assert (await client.get(f"{URL}/{experiment['id']}")).json() == archived

    async def test_absent(self, client: httpx.AsyncClient) -> None:
        assert_problem(await client.delete(f"{URL}/{ABSENT}"), 404)


class TestRestoreExperiment:
    async def test_brings_its_runs_back(
        self, client: httpx.AsyncClient, experiment: dict[str, Any], run: dict[str, Any]
    ) -> None:
        await client.delete(f"{URL}/{experiment['id']}")
        response = await client.post(f"{URL}/{experiment['id']}/restore")
        assert response.status_code == 200
        assert response.json()["lifecycle_stage"] == "active"
        assert (await client.get(f"{RUNS}/{run['id']}")).json()["lifecycle_stage"] == "active"

    async def test_active(self, client: httpx.AsyncClient, experiment: dict[str, Any]) -> None:
        response = await client.post(f"{URL}/{experiment['id']}/restore")
        assert response.status_code == 200
        assert response.json() == experiment

    async def test_absent(self, client: httpx.AsyncClient) -> None:
        assert_problem(await client.post(f"{URL}/{ABSENT}/restore"), 404)


class TestOneTruthWithMlflow:
    """Each API shows what the other has written."""

    async def test_description(self, client: httpx.AsyncClient) -> None:
        made = await new_experiment(client, name="a", description="from the workbench")
        mlflow = "/api/2.0/mlflow/experiments"
        seen = await client.get(f"{mlflow}/get", params={"experiment_id": made["id"]})
        tags = {tag["key"]: tag["value"] for tag in seen.json()["experiment"]["tags"]}
        assert tags["mlflow.note.content"] == "from the workbench"
        await client.post(
            f"{mlflow}/set-experiment-tag",
            json={
                "experiment_id": made["id"],
                "key": "mlflow.note.content",
                "value": "from MLflow",
            },
        )
        shown = (await client.get(f"{URL}/{made['id']}")).json()
        assert shown["description"] == "from MLflow"
        assert "mlflow.note.content" not in shown["tags"]

    async def test_run_in_a_new_experiment(self, client: httpx.AsyncClient) -> None:
        made = await new_run(client, name="a", description="note")
        seen = await client.get("/api/2.0/mlflow/runs/get", params={"run_id": made["id"]})
        tags = {tag["key"]: tag["value"] for tag in seen.json()["run"]["data"]["tags"]}
        assert tags.items() >= {"mlflow.runName": "a", "mlflow.note.content": "note"}.items()
