"""A tenant that calls with another's ids, and what is looked at before and after."""

import re
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from fastapi import FastAPI

from app.gc.service import GarbageCollector, Policy
from app.kernel.tenant import Tenant
from app.metrics.entities import Point
from app.runs.entities import RunWrite
from app.services import Services
from tests.conftest import client_of, new_slug
from tests.contract.isolation.belongings import Belongings, Ids, belongings, filled_in, never_was
from tests.contract.isolation.case import IN_PATH, Case
from tests.contract.isolation.routes import MLFLOW, Served

# In milliseconds, or ISO 8601.
_TIMES = re.compile(r"\b1[0-9]{12}\b|[0-9-]{10}T[0-9:.]{12}Z")


class Caller:
    """A fresh tenant, and the ids of what it has."""

    def __init__(self, client: httpx.AsyncClient, own: Ids) -> None:
        self.client = client
        self.own = own

    @classmethod
    async def bare(cls, app: FastAPI) -> "Caller":
        """A tenant that has nothing but what each has from the start."""
        tenant = await app.state.services.tenant_lookup.resolve(new_slug(), create=True)
        client = await _client(app, tenant)
        return cls(client, {"own_tenant": tenant.slug, "own_key": _key_id(client)})

    @classmethod
    async def fresh(cls, app: FastAPI, *, history: bool = True) -> "Caller":
        """A tenant with an experiment, a run, a logged model and a registered model; with
        `history`, the run has points, and there is a page token of theirs."""
        caller = await cls.bare(app)
        client = caller.client

        async def call(route: str, **message: Any) -> Any:
            answer = await client.post(f"{MLFLOW}/{route}", json=message)
            assert answer.status_code == 200, answer.text
            return answer.json()

        name = f"own-{new_slug()}"
        experiment = (await call("experiments/create", name=name))["experiment_id"]
        run = (await call("runs/create", experiment_id=experiment, run_name=name))["run"]["info"]
        model = (await call("logged-models", experiment_id=experiment, name=name))["model"]["info"]
        await call("registered-models/create", name=name)
        caller.own |= {
            "own_experiment": experiment,
            "own_run": run["run_id"],
            "own_model": model["model_id"],
            "own_registered": name,
        }
        if history:
            points = [{"key": "m", "value": 1, "timestamp": step} for step in range(2)]
            await call("runs/log-batch", run_id=run["run_id"], metrics=points)
            page = await client.get(
                f"{MLFLOW}/metrics/get-history",
                params={"run_id": run["run_id"], "metric_key": "m", "max_results": 1},
            )
            caller.own["own_history_token"] = page.json()["next_page_token"]
        return caller

    async def call(self, route: Served, case: Case, ids: Ids) -> tuple[httpx.Response, str]:
        """The answer, and its body with every id that was given replaced by the name of its kind,
        so that two answers can be compared."""
        known = ids | self.own
        path = route.path
        for name, template in (IN_PATH | case.path).items():
            path = path.replace(f"{{{name}}}", filled_in(template, known))
        arguments: dict[str, Any] = {"params": filled_in(case.query, known)}
        if case.json is not None:
            arguments["json"] = filled_in(case.json, known)
        if case.content is not None:
            arguments["content"] = case.content
        if case.form is not None:
            arguments |= {"data": filled_in(case.form, known), "files": {"file": ("f.txt", b"x")}}
        answer = await self.client.request(route.method, path, **arguments)
        text = answer.text
        for kind, value in sorted(known.items(), key=lambda pair: -len(pair[1])):
            if kind != "version":
                text = text.replace(value, f"<{kind}>")
        return answer, _TIMES.sub("<time>", text)


def _key_id(client: httpx.AsyncClient) -> str:
    """The part of the caller's key that messages name him by."""
    authorization = client.headers.get("authorization", "Bearer trk_nobody_no-key_x")
    return authorization.split("_")[2]


def shape(value: Any) -> Any:
    """The names and types in an answer, without what they hold."""
    if isinstance(value, dict):
        return {key: shape(one) for key, one in value.items()}
    if isinstance(value, list):
        return [shape(one) for one in value]
    return type(value).__name__


def rows_of(owner_url: str, slug: str) -> dict[str, list[str]]:
    """Every row of the tenant in every table, as the owner sees them."""
    with psycopg.connect(owner_url) as connection:
        found = connection.execute("SELECT id FROM tenants WHERE slug = %s", [slug]).fetchone()
        assert found
        connection.execute("SELECT set_config('app.tenant_id', %s, true)", [str(found[0])])
        tables = connection.execute(
            "SELECT c.relname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid"
            " WHERE c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace"
            " AND a.attname = 'tenant_id' ORDER BY 1"
        ).fetchall()
        return {
            table: sorted(
                row
                for (row,) in connection.execute(
                    f"SELECT t::text FROM {table} t WHERE tenant_id = %s", [found[0]]
                ).fetchall()
            )
            for (table,) in tables
        }


def files_of(data_dir: Path, slug: str) -> dict[str, bytes]:
    """The tenant's artifacts, and what is there of uploads that are not complete."""
    artifacts = data_dir / "artifacts"
    return {
        str(path): path.read_bytes()
        for root in (artifacts / slug, artifacts / ".uploads" / slug)
        for path in root.rglob("*")
        if path.is_file()
    }


async def filled_tenant(app: FastAPI, slug: str | None = None) -> Belongings:
    """A fresh tenant that has something of every kind."""
    services = app.state.services
    tenant = await services.tenant_lookup.resolve(slug or new_slug(), create=True)
    await services.quotas.set_limits(tenant, {"points_per_day": 1000, "artifact_bytes": 1 << 30})
    key, _ = await services.keys.create(tenant, "read")
    await _half_collected(services, tenant)
    async with await _client(app, tenant) as client:
        found = await belongings(client, tenant.slug)
    return Belongings(found.ids | {"key": key.key_id}, found.marker)


async def _half_collected(services: Services, tenant: Tenant) -> None:
    """Leave the points of a run that garbage collection was stopped at."""
    run_id = (await services.runs.create(tenant, "0")).run_id.hex
    await services.runs.log(tenant, RunWrite(run_id, [Point("m", 1, 1, 0)]))
    await services.runs.delete(tenant, run_id)

    def stop(*_: object) -> None:
        raise InterruptedError

    collector = GarbageCollector(services.database, services.artifacts.store)
    with pytest.raises(InterruptedError):
        await collector.collect(tenant, Policy(delete=True, retention=0), stop)


async def _client(app: FastAPI, tenant: Tenant) -> httpx.AsyncClient:
    """A client of the tenant: with a key of its admin's, where keys are asked for."""
    client = client_of(app, tenant)
    services = app.state.services
    if services.settings.auth == "keys":
        client.headers["authorization"] = (
            f"Bearer {(await services.keys.create(tenant, 'admin'))[1]}"
        )
    return client


async def told_apart(
    app: FastAPI,
    route: Served,
    case: Case,
    theirs: Belongings,
    during: Callable[[], AbstractContextManager[object]] = nullcontext,
) -> str | None:
    """How the answer to the ids of another tenant differs from that to ids that never were; None
    where it doesn't. Two calls, each of a fresh tenant, and each in a context of `during`."""
    history = case.names("own_history_token")
    callers = [
        await (Caller.fresh(app, history=history) if case.needs_belongings else Caller.bare(app))
        for _ in range(2)
    ]
    with during():
        given, shown = await callers[0].call(route, case, theirs.ids)
        none, expected = await callers[1].call(route, case, never_was(theirs.ids))
    if given.status_code != none.status_code:
        return f"status {given.status_code}, not {none.status_code}: {shown}"
    if given.headers["content-type"] != none.headers["content-type"]:
        return f"type {given.headers['content-type']}"
    if case.created:
        if shape(given.json()) != shape(none.json()):
            return f"{shown} is not of the shape of {expected}"
    elif shown != expected:
        return f"{shown} is not {expected}"
    if theirs.marker in shown:
        return f"it shows what is theirs: {shown}"
    # A case that was always refused for some other reason would show nothing.
    if given.status_code != case.status:
        return f"status {given.status_code}, and the case says {case.status}: {shown}"
    return None
