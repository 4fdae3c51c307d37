"""Quota reservations: the quota holds for every kind of upload, for concurrent uploads, and across
workers; and reservations are released however an upload ends."""

import asyncio
import os
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
import pytest_asyncio
from fastapi import FastAPI
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from app.artifacts import quota_reservations, sql, transfer_limits
from app.artifacts.quota_reservations import Reservations
from app.config import Settings
from app.gc.service import GarbageCollector, Policy
from app.kernel.clock import now_ms
from app.kernel.errors import ConflictError
from app.kernel.tenant import Tenant
from app.main import create_app
from app.services import Services
from tests.integration.artifacts.indexed import objects, used_bytes
from tests.integration.artifacts.test_limits import Held
from tests.integration.artifacts.test_transfers import FILES, Site, ok, refused, s3_site, site_of
from tests.support.statements import recorded_statements

MB = 1_000_000
LIMIT = MB
WORKBENCH = "/api/v1/experiments/runs"


async def chunked(size: int, step: int = 100_000) -> AsyncIterator[bytes]:
    for at in range(0, size, step):
        yield bytes(min(step, size - at))


def over(answer: httpx.Response) -> None:
    """The response is 403 and names the quota."""
    assert answer.status_code == 403, answer.text
    assert "(quota artifact_bytes)" in answer.text


async def limit(site: Site, size: int | None = LIMIT) -> None:
    await site.services.quotas.set_limits(site.tenant, {"artifact_bytes": size})
    await site.services.tenant_lookup.resolve(site.tenant.slug)


async def reserved(site: Site) -> dict[tuple[UUID, int], int]:
    """The reserved bytes, by object and part."""
    async with site.services.database.write_pipeline(site.tenant) as connection:
        cursor = await connection.execute_numbered(
            "SELECT object_id, part, bytes FROM artifact_reservations WHERE tenant_id = $1",
            [site.tenant.id],
        )
        return {(object_id, part): size for object_id, part, size in await cursor.fetchall()}


async def expiry(site: Site) -> int:
    """When what is set aside comes back by itself, in milliseconds."""
    async with site.services.database.write_pipeline(site.tenant) as connection:
        cursor = await connection.execute_numbered(
            "SELECT expiry_time FROM artifact_reservations WHERE tenant_id = $1", [site.tenant.id]
        )
        row = await cursor.fetchone()
    assert row is not None
    return int(row[0])


async def taken(site: Site) -> int:
    """Used and reserved bytes, in one snapshot."""
    async with site.services.database.read_pipeline(site.tenant, snapshot=True) as connection:
        cursor = await connection.execute(
            "SELECT (SELECT COALESCE(sum(bytes), 0) FROM artifact_usage WHERE tenant_id = %(t)s)"
            " + (SELECT COALESCE(sum(bytes), 0) FROM artifact_reservations"
            " WHERE tenant_id = %(t)s)",
            {"t": site.tenant.id},
        )
        row = await cursor.fetchone()
    assert row is not None
    return int(row[0])


async def nothing_left(site: Site) -> None:
    assert await reserved(site) == {}
    assert await objects(site.services.artifacts.store, site.tenant) == []
    assert await site.unfinished() == []


@pytest.fixture(params=["local", "s3"])
async def site(request: pytest.FixtureRequest, app: FastAPI) -> AsyncIterator[Site]:
    if request.param == "local":
        async with site_of(app) as site:
            yield site
    else:
        async with s3_site(request, public=False) as site:
            yield site


@pytest.fixture
async def local(app: FastAPI) -> AsyncIterator[Site]:
    async with site_of(app) as site:
        yield site


class TestWaysIn:
    async def test_parallel_puts(self, site: Site) -> None:
        await limit(site)
        folder = await site.folder()
        answers = await asyncio.gather(
            *(
                site.client.put(f"{FILES}/artifacts/{folder}/{n}", content=bytes(300_000))
                for n in range(12)
            )
        )
        assert sorted(one.status_code for one in answers) == [200] * 3 + [403] * 9
        assert await used_bytes(site.services.database, site.tenant) == 900_000
        assert await reserved(site) == {}
        assert len(await objects(site.services.artifacts.store, site.tenant)) == 3

    async def test_parallel_puts_of_no_declared_length(self, site: Site) -> None:
        await limit(site)
        folder = await site.folder()
        answers = await asyncio.gather(
            *(
                site.client.put(f"{FILES}/artifacts/{folder}/{n}", content=chunked(600_000))
                for n in range(8)
            )
        )
        assert [one.status_code for one in answers].count(200) <= 1
        assert await used_bytes(site.services.database, site.tenant) <= LIMIT
        assert await reserved(site) == {}

    async def test_one_of_no_declared_length_may_fill_it(self, site: Site) -> None:
        await limit(site, 5 * MB)
        url = f"{FILES}/artifacts/{await site.folder()}"
        over(await site.client.put(f"{url}/a", content=chunked(5 * MB + 1)))
        await nothing_left(site)
        ok(await site.client.put(f"{url}/a", content=chunked(5 * MB)))
        over(await site.client.put(f"{url}/b", content=b"x"))

    async def test_one_that_is_under_way_counts(self, site: Site) -> None:
        await limit(site)
        url = f"{FILES}/artifacts/{await site.folder()}"
        held = Held()
        length = {"content-length": "900000"}
        sending = asyncio.create_task(
            site.client.put(f"{url}/a", content=aiter(held), headers=length)
        )
        await held.begun.wait()
        answer = await site.client.put(f"{url}/b", content=bytes(200_000))
        over(answer)
        assert "has 0, and 900000 more under way" in answer.text
        ok(await site.client.put(f"{url}/b", content=bytes(100_000)))
        held.let_go.set()
        assert (await sending).status_code == 400  # it was not as long as it said
        ok(await site.client.put(f"{url}/c", content=bytes(900_000)))

    @pytest.mark.parametrize("route", ["log-artifact", "artifacts"])
    async def test_forms(self, site: Site, route: str) -> None:
        await limit(site)
        run_id, _ = await site.run()
        url = f"{WORKBENCH}/{run_id}/{route}"
        over(await site.client.post(url, files={"file": ("a", bytes(LIMIT + 1))}))
        await nothing_left(site)
        answers = await asyncio.gather(
            *(site.client.post(url, files={"file": (f"a{n}", bytes(600_000))}) for n in range(5))
        )
        assert [one.status_code for one in answers].count(200) <= 1
        assert await used_bytes(site.services.database, site.tenant) <= LIMIT
        assert await reserved(site) == {}

    async def test_copies(self, site: Site) -> None:
        run_id, folder = await site.run()
        for n in range(4):
            await site.put(f"{folder}/from/{n}", bytes(100_000))
        await limit(site)
        url = f"{WORKBENCH}/{run_id}/artifacts/copy"
        answers = await asyncio.gather(
            *(
                site.client.post(url, json={"source_path": "from", "path": f"to{n}"})
                for n in range(5)
            )
        )
        assert 403 in {one.status_code for one in answers}
        # Of a folder that is broken off, what is being recorded comes to its end by itself.
        async with asyncio.timeout(30):
            while await reserved(site):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        used = await used_bytes(site.services.database, site.tenant)
        assert used <= LIMIT
        stored = await objects(site.services.artifacts.store, site.tenant)
        assert len(stored) * 100_000 == used

    async def test_presigned_uploads(self, site: Site) -> None:
        await limit(site)
        run_id, _ = await site.run()
        given_url = ok(
            await site.post(
                "api/2.0/mlflow/artifacts/presigned-upload-url", run_id=run_id, path="a"
            )
        )["presigned_url"]
        over(await site.send(given_url, bytes(LIMIT + 1)))
        await nothing_left(site)
        ok(await site.send(given_url, bytes(LIMIT)))

    async def test_other_tenants_do_not_feel_it(self, site: Site) -> None:
        await limit(site, 10)
        made = await site.other_client.post(
            "api/2.0/mlflow/runs/create", json={"experiment_id": "0"}
        )
        folder = ok(made)["run"]["info"]["artifact_uri"].removeprefix("mlflow-artifacts:/")
        ok(await site.other_client.put(f"{FILES}/artifacts/{folder}/a", content=bytes(MB)))


class TestParts:
    async def test_of_no_declared_length(self, local: Site) -> None:
        """An attack that once passed the quota: 150 MB under a quota of 1 MB."""
        await limit(local)
        path = f"{await local.folder()}/a.bin"
        upload = await local.create(path, 3)
        for credential in upload["credentials"]:
            over(await local.send(credential["url"], chunked(3 * MB)))  # type: ignore[arg-type]
        assert await reserved(local) == {}
        ok(await local.abort(path, upload))
        await nothing_left(local)

    async def test_stay_reserved_until_the_file_is_there(self, local: Site) -> None:
        await limit(local)
        path = f"{await local.folder()}/a.bin"
        upload = await local.create(path, 3)
        urls = [credential["url"] for credential in upload["credentials"]]
        first = await local.send(urls[0], bytes(400_000))
        second = await local.send(urls[1], chunked(500_000))  # type: ignore[arg-type]
        over(await local.send(urls[2], bytes(100_001)))
        assert sorted((await reserved(local)).values()) == [400_000, 500_000]
        over(await local.client.put(f"{FILES}/artifacts/{path}.txt", content=bytes(100_001)))
        parts = [
            {"part_number": number, "etag": answer.headers["etag"]}
            for number, answer in enumerate((first, second), start=1)
        ]
        ok(await local.complete(path, upload, parts))
        assert await reserved(local) == {}
        assert await used_bytes(local.services.database, local.tenant) == 900_000
        assert len(await local.get(path)) == 900_000

    async def test_come_back_with_an_abort(self, local: Site) -> None:
        await limit(local)
        path = f"{await local.folder()}/a.bin"
        upload = await local.create(path, 1)
        await local.send_all(upload, [bytes(LIMIT)])
        over(await local.client.put(f"{FILES}/artifacts/{path}", content=b"x"))
        ok(await local.abort(path, upload))
        await nothing_left(local)
        ok(await local.client.put(f"{FILES}/artifacts/{path}", content=bytes(LIMIT)))

    async def test_one_that_arrived_is_not_renewed(
        self, local: Site, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """While one beside it, whose bytes still come, is renewed again and again."""
        monkeypatch.setattr(quota_reservations, "LEASE_SECONDS", 0.15)
        renewed: Counter[UUID] = Counter()
        execute = Reservations.execute

        async def counted(
            self: Reservations, tenant: Tenant, statement: str, **values: Any
        ) -> None:
            renewed[values["object"]] += statement == sql.RENEW_RESERVATION
            await execute(self, tenant, statement, **values)

        monkeypatch.setattr(Reservations, "execute", counted)
        await limit(local)
        upload = await local.create(f"{await local.folder()}/a", 1)
        await local.send_all(upload, [b"x"])
        renewed.clear()
        beside = await local.services.artifacts.reservations.reserve(local.tenant, UUID(int=7), 10)
        assert beside is not None
        async with asyncio.timeout(30):
            while renewed[UUID(int=7)] < 3:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        beside.stop_renewing()
        assert set(renewed) == {UUID(int=7)}

    async def test_the_same_one_again_is_in_place_of_itself(self, local: Site) -> None:
        await limit(local)
        path = f"{await local.folder()}/a.bin"
        upload = await local.create(path, 2)
        first, second = (credential["url"] for credential in upload["credentials"])
        for size in (600_000, 700_000, LIMIT, LIMIT):
            assert (await local.send(first, os.urandom(size))).status_code == 200
            assert sum((await reserved(local)).values()) == size
        over(await local.send(second, b"x"))
        over(await local.send(first, bytes(LIMIT + 1)))
        (folder,) = (local.services.settings.data_dir / "artifacts/.uploads").glob(
            f"{local.tenant.slug}/*"
        )
        on_disk = sum(file.stat().st_size for file in folder.iterdir() if file.name != "key")
        assert on_disk == LIMIT

    async def test_the_same_one_many_times_at_once(self, local: Site) -> None:
        """A running upload of a part counts beside the part that it replaces."""
        await limit(local)
        upload = await local.create(f"{await local.folder()}/a.bin", 1)
        url = upload["credentials"][0]["url"]
        assert (await local.send(url, bytes(400_000))).status_code == 200
        bodies = [Held() for _ in range(6)]
        headers = {"content-length": "400000"}
        sending = [
            asyncio.create_task(local.send(url, aiter(body), headers=headers))  # type: ignore[arg-type]
            for body in bodies
        ]
        async with asyncio.timeout(30):
            while sum(task.done() for task in sending) < 4:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        for task in sending:
            if task.done():
                over(task.result())
        for body in bodies:
            body.let_go.set()
        await asyncio.gather(*sending)
        assert list((await reserved(local)).values()) == [400_000]

    async def test_complete_and_in_the_way_of_another(self, local: Site) -> None:
        """Where a file's row can't be written, its object and its reservation are deleted."""
        await limit(local)
        folder = await local.folder()
        upload = await local.create(f"{folder}/a", 1)
        parts = await local.send_all(upload, [bytes(500_000)])
        assembled = local.services.artifacts.store.complete_upload

        async def beside_another(*args: Any) -> Any:
            stored = await assembled(*args)
            await local.put(f"{folder}/a/below", b"x")
            return stored

        local.services.artifacts.store.complete_upload = beside_another  # type: ignore[method-assign]
        try:
            answer = await local.complete(f"{folder}/a", upload, parts)
        finally:
            del local.services.artifacts.store.complete_upload
        assert answer.status_code == 400, answer.text
        assert await reserved(local) == {}
        assert len(await objects(local.services.artifacts.store, local.tenant)) == 1
        assert await used_bytes(local.services.database, local.tenant) == 1

    async def test_repeated_after_it_was_cut_off(
        self, local: Site, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await limit(local)
        path = f"{await local.folder()}/a"
        upload = await local.create(path, 1)
        parts = await local.send_all(upload, [bytes(LIMIT)])

        with monkeypatch.context() as patch:
            # The first statement of what records a file.
            patch.setattr(sql, "LOCK_PATHS", "SELECT pg_cancel_backend(pg_backend_pid())")
            assert (await local.complete(path, upload, parts)).status_code == 503
        assert list((await reserved(local)).values()) == [LIMIT]
        # What is stored still takes room, whoever says that it is given up.
        ok(await local.abort(path, upload))
        over(await local.client.put(f"{FILES}/artifacts/{path}.txt", content=b"x"))
        ok(await local.complete(path, upload, parts))
        assert await reserved(local) == {}

    async def test_never_past_this_server(self, request: pytest.FixtureRequest) -> None:
        """Where the tenant has a quota, clients don't send parts to S3 itself, where this server
        can't count them, but the file in one request."""
        async with s3_site(request) as site:
            path = f"{await site.folder()}/a.bin"
            unlimited = await site.create(path, 2)
            assert not unlimited["credentials"][0]["url"].startswith("http://test/")
            parts = await site.send_all(unlimited, [bytes(5 << 20), bytes(10)])
            await limit(site)
            folder, _, name = path.rpartition("/")
            answer = await site.post(f"{FILES}/mpu/create/{folder}", path=name, num_parts=1)
            # By these words MLflow's client knows to send the file in one piece.
            words = "Multipart upload is not supported for the current artifact repository"
            refused(answer, 501, "NOT_IMPLEMENTED", words)
            # One that began before there was a quota ends there.
            over(await site.complete(path, unlimited, parts))
            await nothing_left(site)


class TestComesBack:
    async def test_however_an_upload_ends(
        self, local: Site, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(transfer_limits, "IDLE_SECONDS", 0.1)
        await limit(local)
        run_id, folder = await local.run()
        url = f"{FILES}/artifacts/{folder}"
        await local.put(f"{folder}/file", b"x")

        async def breaks_off() -> AsyncIterator[bytes]:
            yield b"x" * 100_000
            raise ConflictError("no more")

        length = {"content-length": "500000"}
        stalled = await local.client.put(f"{url}/a", content=aiter(Held()), headers=length)
        assert stalled.status_code == 408
        short = await local.client.put(f"{url}/a", content=b"x", headers=length)
        assert short.status_code == 400
        wrong = {"Content-MD5": "AAAAAAAAAAAAAAAAAAAAAA=="}
        bad = await local.client.put(f"{url}/a", content=bytes(100_000), headers=wrong)
        assert bad.status_code == 400
        broken = await local.client.put(f"{url}/a", content=breaks_off())
        assert broken.status_code == 400
        through = await local.client.put(f"{url}/file/a", content=bytes(1000))
        assert through.status_code == 400
        absent = url.replace(run_id, "0" * 32)
        assert (await local.client.put(f"{absent}/a", content=bytes(1000))).status_code == 404
        form = {"file": ("a", bytes(300_000)), "file2": ("b", b"x")}
        answer = await local.client.post(f"{WORKBENCH}/{run_id}/log-artifact", files=form)
        assert answer.status_code == 422, answer.text
        assert await reserved(local) == {}
        assert len(await objects(local.services.artifacts.store, local.tenant)) == 1
        ok(await local.client.put(f"{url}/a", content=bytes(LIMIT - 1)))

    async def test_after_a_worker_was_killed(
        self, local: Site, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The reservation expires; garbage collection deletes its row."""
        await limit(local)
        url = f"{FILES}/artifacts/{await local.folder()}"
        left = await local.services.artifacts.reservations.reserve(local.tenant, UUID(int=7), LIMIT)
        assert left is not None
        left.stop_renewing()
        over(await local.client.put(f"{url}/a", content=b"x"))
        later = now_ms() + round(quota_reservations.LEASE_SECONDS * 1000) + 1
        monkeypatch.setattr(quota_reservations, "now_ms", lambda: later)
        ok(await local.client.put(f"{url}/a", content=bytes(LIMIT)))
        store = local.services.artifacts.store
        collector = GarbageCollector(local.services.database, store)
        await collector.collect(local.tenant, Policy(delete=True))
        assert len(await reserved(local)) == 1
        monkeypatch.setattr("app.gc.orphans.now_ms", lambda: later)
        await collector.collect(local.tenant, Policy())
        assert len(await reserved(local)) == 1
        await collector.collect(local.tenant, Policy(delete=True))
        assert await reserved(local) == {}

    async def test_not_while_an_upload_goes_on(
        self, local: Site, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The upload takes longer than a reservation lasts without renewal."""
        monkeypatch.setattr(quota_reservations, "LEASE_SECONDS", 0.3)
        await limit(local)
        url = f"{FILES}/artifacts/{await local.folder()}"
        held = Held()
        headers = {"content-length": "9"}
        sending = asyncio.create_task(
            local.client.put(f"{url}/a", content=aiter(held), headers=headers)
        )
        await held.begun.wait()
        first = await expiry(local)
        async with asyncio.timeout(30):
            while await expiry(local) < first + 1000:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        held.let_go.set()
        ok(await sending)
        assert await reserved(local) == {}

    async def test_a_tenant_that_goes_takes_it_along(self, local: Site) -> None:
        await limit(local)
        left = await local.services.artifacts.reservations.reserve(local.tenant, UUID(int=7), 10)
        assert left is not None
        left.stop_renewing()
        await local.services.tenants.delete(local.tenant.slug, "RESTRICT")


class TestAcrossWorkers:
    async def test_they_share_it(self, settings: Settings, app: FastAPI, tmp_path: Path) -> None:
        async with site_of(app) as site:
            await limit(site)
            folder = await site.folder()
            other = create_app(settings)
            async with other.router.lifespan_context(other):
                services: Services = other.state.services
                await services.tenant_lookup.resolve(site.tenant.slug)
                transport = httpx.ASGITransport(other, raise_app_exceptions=False)
                base = f"http://test/t/{site.tenant.slug}"
                async with httpx.AsyncClient(transport=transport, base_url=base) as second:
                    answers = await asyncio.gather(
                        *(
                            client.put(
                                f"{FILES}/artifacts/{folder}/{n}",
                                content=bytes(300_000) if n % 4 else chunked(300_000),
                            )
                            for n in range(20)
                            for client in (site.client, second)
                            if n % 2 == (client is second)
                        )
                    )
            assert {one.status_code for one in answers} <= {200, 403}
            assert 0 < await used_bytes(site.services.database, site.tenant) <= LIMIT
            assert await reserved(site) == {}


class TestWithoutAQuota:
    @pytest_asyncio.fixture
    async def statements(self, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        return recorded_statements(monkeypatch)

    async def test_nothing_is_paid(self, local: Site, statements: list[str]) -> None:
        url = f"{FILES}/artifacts/{await local.folder()}"
        counts = []
        for quota in (None, MB):
            await limit(local, quota)
            statements.clear()
            ok(await local.client.put(f"{url}/a{quota}", content=b"x"))
            counts.append(len(statements))
            told = [one for one in statements if "artifact_reservations" in one]
            assert bool(told) == (quota is not None)
        # With one: a transaction of three statements, the lock, the reservation, and whose it is.
        assert counts == [counts[0], counts[0] + 3]

    async def test_lifted_while_an_upload_goes_on(self, local: Site) -> None:
        await limit(local)
        url = f"{FILES}/artifacts/{await local.folder()}"
        held = Held()
        sending = asyncio.create_task(local.client.put(f"{url}/a", content=aiter(held)))
        await held.begun.wait()
        await limit(local, None)
        held.let_go.set()
        ok(await sending)
        assert await reserved(local) == {}


KINDS = st.sampled_from(["put", "chunked", "form", "copy", "parts", "abort", "delete", "breaks"])


@hypothesis_settings(
    max_examples=15,
    phases=[Phase.generate],
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.lists(st.tuples(KINDS, st.integers(0, 400_000)), min_size=4, max_size=16))
async def test_whatever_is_sent_at_once(app: FastAPI, steps: list[tuple[str, int]]) -> None:
    """Used and reserved bytes never exceed the quota; in the end the store holds the used bytes."""
    async with site_of(app) as site:
        run_id, folder = await site.run()
        await site.put(f"{folder}/source", bytes(150_000))
        await limit(site)
        over_it: list[int] = []

        async def watch() -> None:
            while True:
                over_it.append(await taken(site))
                await asyncio.sleep(0.002)

        async def play(number: int, kind: str, size: int) -> int:
            url = f"{FILES}/artifacts/{folder}/{number}"
            match kind:
                case "put":
                    return (await site.client.put(url, content=bytes(size))).status_code
                case "chunked":
                    return (await site.client.put(url, content=chunked(size))).status_code
                case "breaks":
                    headers = {"content-length": str(size + 1)}
                    body = bytes(size)
                    return (await site.client.put(url, content=body, headers=headers)).status_code
                case "form":
                    form = {"file": (str(number), bytes(size))}
                    at = f"{WORKBENCH}/{run_id}/log-artifact"
                    return (await site.client.post(at, files=form)).status_code
                case "copy":
                    at = f"{WORKBENCH}/{run_id}/artifacts/copy"
                    body = {"source_path": "source", "path": str(number)}
                    return (await site.client.post(at, json=body)).status_code
                case "delete":
                    return (await site.client.delete(f"{FILES}/artifacts/{folder}/0")).status_code
            upload = await site.create(f"{folder}/{number}", 1)
            sent = await site.send(upload["credentials"][0]["url"], bytes(size))
            if sent.status_code != 200 or kind == "abort":
                return (await site.abort(f"{folder}/{number}", upload)).status_code
            parts = [{"part_number": 1, "etag": sent.headers["etag"]}]
            return (await site.complete(f"{folder}/{number}", upload, parts)).status_code

        watching = asyncio.create_task(watch())
        statuses = await asyncio.gather(
            *(play(number, kind, size) for number, (kind, size) in enumerate(steps))
        )
        watching.cancel()
        await asyncio.wait([watching])
        assert set(statuses) <= {200, 400, 403}
        assert max(over_it, default=0) <= LIMIT
        assert await reserved(site) == {}
        assert await site.unfinished() == []
        store = site.services.artifacts.store
        stored = sum([one.size async for one in store.keys(site.tenant.slug)])
        assert stored == await used_bytes(site.services.database, site.tenant)
