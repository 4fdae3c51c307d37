"""URLs that carry their own permission: what each grants, it grants to who has it; changed in any
way, it grants nothing, and what an upload's id names is nobody's but its tenant's."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import httpx
import pytest
import pytest_asyncio
from fastapi import FastAPI

from app.artifacts.signed_urls import Grant
from app.kernel.ids import new_uuid
from tests.conftest import Postgres, client_of
from tests.contract.isolation.artifact_cases import GRANTS
from tests.contract.isolation.belongings import Belongings, filled_in
from tests.contract.isolation.callers import Caller, files_of, filled_tenant, rows_of
from tests.contract.isolation.routes import PROXY


@dataclass(frozen=True)
class Attempt:
    """A request with a signed URL; `tenant` is the slug in its path."""

    method: str
    path: str
    query: dict[str, str]
    tenant: str | None
    headers: dict[str, str] = field(default_factory=dict)

    async def send(self, app: FastAPI) -> httpx.Response:
        prefix = "" if self.tenant is None else f"/t/{self.tenant}"
        async with client_of(app, None) as client:
            return await client.request(
                self.method,
                f"{prefix}{PROXY}/signed/{self.path}",
                params=self.query,
                headers=self.headers,
                content=b"sent" if self.method == "PUT" else None,
            )

    def asking(self, **query: str) -> "Attempt":
        return replace(self, query=self.query | query)

    def without(self, name: str) -> "Attempt":
        return replace(self, query={key: one for key, one in self.query.items() if key != name})


def granted(kind: str, theirs: Belongings) -> Attempt:
    method, path, query = GRANTS[kind]
    return Attempt(
        method, filled_in(path, theirs.ids), filled_in(query, theirs.ids), theirs.ids["tenant"]
    )


@dataclass(frozen=True)
class Between:
    """Whose URL it is, and who tries it."""

    theirs: Belongings
    caller: Caller

    @property
    def slug(self) -> str:
        return self.caller.own["own_tenant"]

    @property
    def key(self) -> dict[str, str]:
        return {"authorization": self.caller.client.headers["authorization"]}

    def in_own_run(self, path: str) -> str:
        own = self.caller.own
        folder = f"experiments/{own['own_experiment']}/runs/{own['own_run']}/artifacts"
        return path.replace(self.theirs.ids["run_root"], folder)


Change = Callable[[Attempt, Between], Attempt]

CHANGES: dict[str, Change] = {
    "another tenant": lambda one, of: replace(one, tenant=of.slug),
    "another tenant, with its key": lambda one, of: replace(one, tenant=of.slug, headers=of.key),
    "another tenant's run": lambda one, of: replace(
        one, tenant=of.slug, path=of.in_own_run(one.path), headers=of.key
    ),
    "no tenant": lambda one, of: replace(one, tenant=None),
    "no tenant, with another's key": lambda one, of: replace(one, tenant=None, headers=of.key),
    "its tenant in a header": lambda one, of: replace(
        one, tenant=None, headers={"X-Tenant-ID": of.theirs.ids["tenant"]}
    ),
    "another file": lambda one, of: replace(
        one, path=f"{of.theirs.ids['run_root']}/{of.theirs.ids['folder']}/two.txt"
    ),
    "a model's file": lambda one, of: replace(
        one, path=one.path.replace(of.theirs.ids["run_root"], of.theirs.ids["model_root"])
    ),
    "the other method": lambda one, of: replace(
        one, method={"GET": "PUT", "PUT": "GET"}[one.method]
    ),
    "another object": lambda one, of: one.asking(object=new_uuid().hex),
    "another upload": lambda one, of: one.asking(upload=f"{new_uuid().hex}.{'0' * 32}"),
    "another part": lambda one, of: one.asking(part="3"),
    "for longer": lambda one, of: one.asking(expires=str(int(one.query["expires"]) + 1)),
    "for ever": lambda one, of: one.without("expires"),
    "without a signature": lambda one, of: one.without("signature"),
    "an empty signature": lambda one, of: one.asking(signature=""),
    **{
        f"the signature of {kind}": lambda one, of, kind=kind: one.asking(
            signature=of.theirs.ids[f"{kind}_signature"]
            if one.query["signature"] != of.theirs.ids[f"{kind}_signature"]
            else "0" * 64
        )
        for kind in GRANTS
    },
}


@pytest_asyncio.fixture(scope="module")
async def between(keyed: FastAPI) -> Between:
    return Between(await filled_tenant(keyed), await Caller.fresh(keyed))


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("kind", GRANTS)
async def test_changed_it_grants_nothing(
    kind: str, change: str, keyed: FastAPI, between: Between, postgres: Postgres, data_dir: Path
) -> None:
    slugs = between.theirs.ids["tenant"], between.slug
    before = [(rows_of(postgres.owner_url, slug), files_of(data_dir, slug)) for slug in slugs]
    attempt = granted(kind, between.theirs)
    changed = CHANGES[change](attempt, between)
    assert changed != attempt
    answer = await changed.send(keyed)
    assert (answer.status_code, answer.json()) == (
        403,
        {
            "error_code": "PERMISSION_DENIED",
            "message": "The signature of this URL is not for this request",
        },
    )
    after = [(rows_of(postgres.owner_url, slug), files_of(data_dir, slug)) for slug in slugs]
    assert after == before


@pytest.mark.parametrize("kind", GRANTS)
async def test_expired_it_grants_nothing(
    kind: str, keyed: FastAPI, between: Between, postgres: Postgres, data_dir: Path
) -> None:
    slug = between.theirs.ids["tenant"]
    before = rows_of(postgres.owner_url, slug), files_of(data_dir, slug)
    attempt = granted(kind, between.theirs)
    query = attempt.query
    grant = Grant(
        "PUT" if attempt.method == "PUT" else "GET",
        await keyed.state.services.tenant_lookup.require(slug),
        attempt.path,
        query.get("object", ""),
        query.get("upload", ""),
        query.get("part", ""),
    )
    signer = keyed.state.services.uploads.signer
    old = dict(httpx.QueryParams(signer.query(grant, seconds=-60)))
    answer = await replace(attempt, query=old).send(keyed)
    assert (answer.status_code, answer.json()["message"]) == (403, "This URL has expired")
    assert (rows_of(postgres.owner_url, slug), files_of(data_dir, slug)) == before


async def test_unchanged_it_needs_no_key(
    keyed: FastAPI, postgres: Postgres, data_dir: Path
) -> None:
    """Or the refusals above would show nothing."""
    theirs = await filled_tenant(keyed)
    slug = theirs.ids["tenant"]
    answer = await granted("download", theirs).send(keyed)
    assert (answer.status_code, answer.text) == (200, theirs.marker)
    before = rows_of(postgres.owner_url, slug)["artifacts"]
    answer = await granted("upload", theirs).send(keyed)
    assert answer.status_code == 200, answer.text
    assert len(rows_of(postgres.owner_url, slug)["artifacts"]) == len(before) + 1
    files = files_of(data_dir, slug)
    answer = await granted("part", theirs).send(keyed)
    assert answer.status_code == 200, answer.text
    assert len(files_of(data_dir, slug)) == len(files) + 1


async def test_another_tenants_upload_is_unharmed(keyed: FastAPI) -> None:
    """Completed and aborted by another tenant, wherever it says that the file lies."""
    theirs, caller = await filled_tenant(keyed), await Caller.fresh(keyed)
    ids, between = theirs.ids, Between(theirs, caller)
    folder = f"{ids['run_root']}/{ids['folder']}"
    message = {"path": "parts.bin", "upload_id": ids["upload_id"]}
    parts = [{"part_number": 1, "etag": ids["part_etag"]}]
    for where in (folder, between.in_own_run(folder)):
        at = f"{PROXY}/mpu/complete/{where}"
        answer = await caller.client.post(at, json=message | {"parts": parts})
        assert answer.status_code == 404, answer.text
        answer = await caller.client.post(f"{PROXY}/mpu/abort/{where}", json=message)
        assert (answer.status_code, answer.json()) == (200, {})  # as for one that never was
    sent = await granted("part", theirs).send(keyed)
    parts.append({"part_number": 2, "etag": sent.headers["etag"].strip('"')})
    services = keyed.state.services
    tenant = await services.tenant_lookup.resolve(ids["tenant"])
    _, key = await services.keys.create(tenant, "write")
    async with client_of(keyed, tenant) as client:
        client.headers["authorization"] = f"Bearer {key}"
        answer = await client.post(
            f"{PROXY}/mpu/complete/{folder}", json=message | {"parts": parts}
        )
        assert answer.status_code == 200, answer.text
        stored = await client.get(f"{PROXY}/artifacts/{folder}/parts.bin")
    assert stored.text == f"{theirs.marker}sent"
