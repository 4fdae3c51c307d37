"""The audit log: committed with its actions, never changed, and read by authorized callers."""

import json
import os
import subprocess
import sys
from typing import Any

import httpx
import psycopg
import pytest

from app.audit import trail
from app.config import Settings
from app.kernel.tenant import Tenant
from app.services import Services
from tests.conftest import ROOT, Postgres, new_slug
from tests.integration.observability.conftest import Serve

MLFLOW = "/api/2.0/mlflow"


async def _events(client: httpx.AsyncClient, **filters: Any) -> list[dict[str, Any]]:
    answer = await client.get("/api/v1/audit", params=filters)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["events"]
    return found


async def _post(client: httpx.AsyncClient, route: str, **body: Any) -> dict[str, Any]:
    answer = await client.post(f"{MLFLOW}/{route}", json=body)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def _run(client: httpx.AsyncClient) -> str:
    run = await _post(client, "runs/create", experiment_id="0")
    return str(run["run"]["info"]["run_id"])


class TestWhatIsTold:
    async def test_runs_deleted_and_restored(self, client: httpx.AsyncClient) -> None:
        run_id = await _run(client)
        await _post(client, "runs/delete", run_id=run_id)
        await _post(client, "runs/restore", run_id=run_id)
        assert (await client.delete(f"/api/v1/experiments/runs/{run_id}")).status_code == 204
        told = await _events(client, target=run_id)
        assert [one["action"] for one in told] == ["run.delete", "run.restore", "run.delete"]

    async def test_experiments_deleted_and_restored(self, client: httpx.AsyncClient) -> None:
        created = await _post(client, "experiments/create", name="one")
        experiment_id = created["experiment_id"]
        await _post(client, "experiments/delete", experiment_id=experiment_id)
        await _post(client, "experiments/restore", experiment_id=experiment_id)
        told = await _events(client, target=experiment_id)
        assert [one["action"] for one in told] == ["experiment.restore", "experiment.delete"]

    async def test_logged_models_deleted(self, client: httpx.AsyncClient) -> None:
        created = await _post(client, "logged-models", experiment_id="0", name="forest")
        model_id = created["model"]["info"]["model_id"]
        assert (await client.delete(f"{MLFLOW}/logged-models/{model_id}")).status_code == 200
        (told,) = await _events(client, target=model_id)
        assert told["action"] == "logged_model.delete"

    async def test_registered_models_and_versions_deleted(self, client: httpx.AsyncClient) -> None:
        await _post(client, "registered-models/create", name="churn")
        await _post(client, "model-versions/create", name="churn", source="s3://bucket/model")
        for route, body in (
            ("model-versions/delete", {"name": "churn", "version": "1"}),
            ("registered-models/delete", {"name": "churn"}),
        ):
            answer = await client.request("DELETE", f"{MLFLOW}/{route}", json=body)
            assert answer.status_code == 200, answer.text
        told = [(one["action"], one["target"]) for one in await _events(client)]
        assert told[:2] == [
            ("registered_model.delete", "churn"),
            ("model_version.delete", "churn/1"),
        ]

    async def test_artifacts_deleted(self, client: httpx.AsyncClient) -> None:
        run_id = await _run(client)
        base = f"/api/v1/experiments/runs/{run_id}"
        for name in ("a.txt", "b.txt"):
            files = {"file": (name, b"hello", "text/plain")}
            uploaded = await client.post(
                f"{base}/log-artifact", files=files, data={"artifact_path": "folder"}
            )
            assert uploaded.status_code == 200, uploaded.text
        assert (await client.delete(f"{base}/artifacts/folder")).status_code == 204
        (told,) = await _events(client, action="artifacts.delete")
        assert told["target"] == f"experiments/0/runs/{run_id}/artifacts/folder"
        assert told["details"] == {"files": 2}

    async def test_tenants_made_described_and_deleted(
        self, client: httpx.AsyncClient, services: Services
    ) -> None:
        """A tenant's end is told, and all that was told of it before stays."""
        slug = new_slug()
        body = {"name": slug, "description": "before"}
        assert (await client.post("/api/3.0/mlflow/workspaces", json=body)).status_code == 201
        path = f"/api/3.0/mlflow/workspaces/{slug}"
        assert (await client.patch(path, json={"description": "after"})).status_code == 200
        assert (await client.delete(path)).status_code == 204
        answer = await client.get("/api/v1/admin/audit", params={"tenant": slug})
        told = answer.json()["events"]
        assert [one["action"] for one in told] == [
            "tenant.delete",
            "tenant.describe",
            "tenant.create",
        ]
        assert {one["tenant"] for one in told} == {slug}
        assert told[0]["details"] == {"mode": "RESTRICT"}

    async def test_an_audited_tenant_that_holds_nothing_can_be_deleted(
        self, client: httpx.AsyncClient
    ) -> None:
        """RESTRICT does not count what was told as something that it holds."""
        slug = new_slug()
        await client.post("/api/3.0/mlflow/workspaces", json={"name": slug})
        assert (await client.delete(f"/api/3.0/mlflow/workspaces/{slug}")).status_code == 204

    async def test_a_tenant_made_by_its_first_write(self, client: httpx.AsyncClient) -> None:
        told = await _events(client, action="tenant.create")
        assert len(told) == 1

    async def test_who_and_by_which_request(self, client: httpx.AsyncClient) -> None:
        run_id = await _run(client)
        await client.delete(
            f"/api/v1/experiments/runs/{run_id}", headers={"X-Request-ID": "the-request"}
        )
        (told,) = await _events(client, target=run_id)
        assert (told["request_id"], told["actor"]) == ("the-request", "anonymous")

    async def test_what_is_refused_is_not_told(self, client: httpx.AsyncClient) -> None:
        absent = "0" * 32
        assert (await client.delete(f"/api/v1/experiments/runs/{absent}")).status_code == 404
        assert await _events(client, target=absent) == []

    async def test_what_cannot_be_told_does_not_happen(
        self, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The event and the action are one transaction."""
        run_id = await _run(client)
        whole = trail.row

        def torn(*arguments: Any) -> dict[str, Any]:
            return whole(*arguments) | {"actor": None}

        monkeypatch.setattr(trail, "row", torn)
        answer = await client.delete(f"/api/v1/experiments/runs/{run_id}")
        assert answer.status_code == 500
        monkeypatch.undo()
        run = (await client.get(f"/api/v1/experiments/runs/{run_id}")).json()
        assert run["lifecycle_stage"] == "active"
        assert await _events(client, target=run_id) == []


class TestReading:
    async def test_a_tenant_sees_its_own_alone(
        self, client: httpx.AsyncClient, other_client: httpx.AsyncClient
    ) -> None:
        ours, theirs = await _run(client), await _run(other_client)
        await client.delete(f"/api/v1/experiments/runs/{ours}")
        await other_client.delete(f"/api/v1/experiments/runs/{theirs}")
        assert theirs not in {one["target"] for one in await _events(client)}
        assert await _events(client, target=theirs) == []
        assert len(await _events(client, target=ours)) == 1

    async def test_pages_and_times(self, client: httpx.AsyncClient) -> None:
        run_id = await _run(client)
        for _ in range(5):
            await _post(client, "runs/delete", run_id=run_id)
        whole = await _events(client, target=run_id)
        paged: list[dict[str, Any]] = []
        token: str | None = None
        while True:
            params = {"target": run_id, "limit": 2} | ({"page_token": token} if token else {})
            page = (await client.get("/api/v1/audit", params=params)).json()
            paged += page["events"]
            token = page["next_page_token"]
            if token is None:
                break
        assert paged == whole
        assert len(whole) == 5
        assert await _events(client, target=run_id, until=1) == []
        assert len(await _events(client, target=run_id, since=1)) == 5

    @pytest.mark.parametrize(
        ("query", "field"),
        [
            ({"page_token": "x"}, "page_token"),
            ({"limit": 0}, "limit"),
            ({"since": "yesterday"}, "since"),
            ({"actor": "a\x00b"}, "actor"),
            ({"who": "me"}, "who"),
        ],
    )
    async def test_bad_queries(
        self, client: httpx.AsyncClient, query: dict[str, Any], field: str
    ) -> None:
        for path in ("/api/v1/audit", "/api/v1/admin/audit"):
            answer = await client.get(path, params=query)
            assert answer.status_code == 422
            assert answer.json()["errors"][0]["field"] == field


class TestWhoMayRead:
    ADMIN_KEY = "k" * 40

    async def test_by_role(self, serve: Serve) -> None:
        """And who did it is told by the public part of their key alone."""
        slug = new_slug()
        async with serve(auth="keys", admin_key=self.ADMIN_KEY) as client:
            operator = {"Authorization": f"Bearer {self.ADMIN_KEY}"}
            made = await client.post("/api/v1/admin/tenants", json={"slug": slug}, headers=operator)
            assert made.status_code == 201, made.text
            keys, texts = f"/api/v1/admin/tenants/{slug}/keys", {}
            for role in ("read", "write", "admin"):
                created = await client.post(keys, json={"role": role}, headers=operator)
                texts[role] = created.json()["key"]
            bearer = {role: {"Authorization": f"Bearer {text}"} for role, text in texts.items()}
            run = await client.post(
                "/api/v1/experiments/runs", json={"experiment_id": "0"}, headers=bearer["write"]
            )
            run_id = run.json()["id"]
            await client.delete(f"/api/v1/experiments/runs/{run_id}", headers=bearer["write"])

            own, of_all = "/api/v1/audit", "/api/v1/admin/audit"
            for headers, statuses in (
                ({}, (401, 401)),
                (bearer["read"], (403, 403)),
                (bearer["write"], (403, 403)),
                (bearer["admin"], (200, 403)),
                (operator, (403, 200)),
            ):
                found = [(await client.get(path, headers=headers)) for path in (own, of_all)]
                assert tuple(one.status_code for one in found) == statuses
            answer = await client.get(own, headers=bearer["admin"])
        told = answer.json()["events"]
        assert [(one["action"], one["actor"]) for one in told] == [
            ("run.delete", "_".join(texts["write"].split("_")[:3])),
            *[("key.create", "admin-key")] * 3,
            ("tenant.create", "admin-key"),
        ]
        assert not [text for text in texts.values() if text in answer.text]

    def test_by_command(self, settings: Settings) -> None:
        slug = new_slug()
        _command(settings, "tenant", "create", slug)
        lines = _command(settings, "audit", "--tenant", slug, "--since", "2025-01-01")
        (told,) = (json.loads(line) for line in lines.splitlines())
        assert (told["action"], told["target"]) == ("tenant.create", slug)
        assert (told["actor"], told["request_id"]) == ("command-line", None)
        assert _command(settings, "audit", "--tenant", slug, "--until", "2025-01-01") == ""


def _command(settings: Settings, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "app.cli", *arguments],
        cwd=ROOT,
        env=os.environ
        | {
            "TRACKING_MIGRATION_DATABASE_URL": settings.migration_database_url or "",
            "TRACKING_DATABASE_URL": settings.database_url or "",
        },
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


class TestAppendOnly:
    @pytest.mark.parametrize(
        "statement",
        [
            "UPDATE audit_log SET actor = 'somebody else'",
            "DELETE FROM audit_log",
            "TRUNCATE audit_log",
            "DROP POLICY tenant_isolation ON audit_log",
        ],
    )
    async def test_the_application_role_cannot(
        self, postgres: Postgres, tenant: Tenant, statement: str
    ) -> None:
        with psycopg.connect(postgres.app_url) as connection:
            connection.execute("SELECT set_config('app.tenant_id', %s, true)", [str(tenant.id)])
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement)

    async def test_nothing_is_told_in_another_tenants_name(
        self, postgres: Postgres, tenant: Tenant, other_tenant: Tenant
    ) -> None:
        with psycopg.connect(postgres.app_url) as connection:
            connection.execute("SELECT set_config('app.tenant_id', %s, true)", [str(tenant.id)])
            forged = trail.row(other_tenant, "run.delete", "x", {})
            with pytest.raises(psycopg.errors.InsufficientPrivilege, match="row-level security"):
                connection.execute(trail.INSERT, forged)

    async def test_raw_sql_sees_one_tenant(
        self, postgres: Postgres, tenant: Tenant, other_tenant: Tenant
    ) -> None:
        """Both were told to be made."""
        for url in (postgres.app_url, postgres.owner_url):
            with psycopg.connect(url) as connection:
                connection.execute("SELECT set_config('app.tenant_id', %s, true)", [str(tenant.id)])
                seen = connection.execute("SELECT DISTINCT tenant FROM audit_log").fetchall()
            assert seen == [(tenant.slug,)]
