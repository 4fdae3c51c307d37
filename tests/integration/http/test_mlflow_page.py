"""MLflow's page: its files, the key that a browser is asked for, and the calls below its path."""

import base64
import gzip
import re
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio
from fastapi import FastAPI
from pydantic import ValidationError

from app import config
from app.config import Settings
from app.kernel.tenant import Tenant
from app.main import create_app
from tests.conftest import ADMIN_KEY, AppClient, client_of
from tests.integration.conftest import NewKey, guarded


@pytest_asyncio.fixture(scope="module")
async def page_app(settings: Settings) -> AsyncIterator[FastAPI]:
    changed = settings.model_dump(exclude_unset=True) | {"mlflow_ui": True}
    application = create_app(Settings(_env_file=None, **changed))
    async with application.router.lifespan_context(application):
        yield application


@pytest_asyncio.fixture(scope="module")
async def guarded_app(settings: Settings) -> AsyncIterator[FastAPI]:
    async with guarded(settings, mlflow_ui=True) as application:
        yield application


@pytest_asyncio.fixture
async def browser(page_app: FastAPI, tenant: Tenant) -> AsyncIterator[AppClient]:
    async with client_of(page_app, tenant) as client:
        yield client


async def script_of(browser: httpx.AsyncClient) -> str:
    html = (await browser.get("/mlflow/")).text
    found = re.search(r'src="(static-files/static/js/main\.[0-9a-f]+\.js)"', html)
    assert found
    return f"/mlflow/{found[1]}"


class TestFiles:
    async def test_the_page(self, browser: AppClient) -> None:
        answer = await browser.get("/mlflow/")
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        assert "<title>MLflow</title>" in answer.text
        assert answer.headers["cache-control"] == "no-cache"
        policy = answer.headers["content-security-policy"]
        assert "default-src 'self'" in policy
        assert "frame-ancestors 'none'" in policy
        # Its URLs are relative, and so are those of its calls.
        assert not re.findall(r'(?:src|href)="(?:/|http)', answer.text)

    async def test_without_a_slash(self, browser: AppClient, tenant: Tenant) -> None:
        answer = await browser.get("/mlflow")
        assert answer.status_code == 307
        assert answer.headers["location"] == f"/t/{tenant.slug}/mlflow/"

    async def test_a_hashed_name_is_cached_for_ever(self, browser: AppClient) -> None:
        script = await browser.get(await script_of(browser))
        assert script.headers["content-type"].startswith("text/javascript")
        assert script.headers["cache-control"] == "public, max-age=31536000, immutable"
        icon = await browser.get("/mlflow/static-files/favicon.ico")
        assert icon.headers["cache-control"] == "no-cache"
        for path, answer in (("favicon.ico", icon),):
            again = await browser.get(
                f"/mlflow/static-files/{path}", headers={"if-none-match": answer.headers["etag"]}
            )
            assert (again.status_code, again.content) == (304, b"")

    async def test_gzip(self, browser: AppClient) -> None:
        path = await script_of(browser)
        plain = await browser.get(path, headers={"accept-encoding": "identity"})
        assert "content-encoding" not in plain.headers
        request = browser.build_request("GET", path, headers={"accept-encoding": "gzip"})
        packed = await browser.send(request, stream=True)
        raw = b"".join([chunk async for chunk in packed.aiter_raw()])
        assert packed.headers["content-encoding"] == "gzip"
        assert packed.headers["vary"] == "Accept-Encoding"
        assert int(packed.headers["content-length"]) == len(raw) < len(plain.content) / 2
        assert gzip.decompress(raw) == plain.content
        head = await browser.head(path, headers={"accept-encoding": "identity"})
        assert int(head.headers["content-length"]) == len(plain.content)
        assert head.content == b""

    @pytest.mark.parametrize(
        "path",
        [
            "static-files/../__init__.py",
            "static-files/%2e%2e/__init__.py",
            "static-files/..%2f..%2f__init__.py",
            "static-files//etc/passwd",
            "static-files/%2fetc%2fpasswd",
            "static-files/static",
            "static-files/",
            "static-files",
            "static-files/nothing.js",
        ],
    )
    async def test_nothing_else(self, browser: AppClient, path: str) -> None:
        answer = await browser.get(f"/mlflow/{path}")
        assert answer.status_code == 404
        assert "import" not in answer.text
        assert "root:" not in answer.text

    async def test_no_other_method(self, browser: AppClient) -> None:
        answer = await browser.post("/mlflow/")
        assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD")


class TestCalls:
    async def test_they_are_those_of_the_api(self, browser: AppClient) -> None:
        made = await browser.post(
            "/mlflow/ajax-api/2.0/mlflow/experiments/create", json={"name": "e"}
        )
        number = made.json()["experiment_id"]
        for path in ("/mlflow/ajax-api/3.0/mlflow", "/api/2.0/mlflow"):
            found = await browser.get(f"{path}/experiments/get", params={"experiment_id": number})
            assert found.json()["experiment"]["name"] == "e"
        query = '{ mlflowGetExperiment(input: {experimentId: "%s"}) { experiment { name } } }'
        found = await browser.post("/mlflow/graphql", json={"query": query % number})
        assert found.json()["data"]["mlflowGetExperiment"]["experiment"]["name"] == "e"
        made = await browser.post(
            "/mlflow/ajax-api/2.0/mlflow/runs/create", json={"experiment_id": number}
        )
        run_id = made.json()["run"]["info"]["run_id"]
        root = f"experiments/{number}/runs/{run_id}/artifacts"
        await browser.put(f"/api/2.0/mlflow-artifacts/artifacts/{root}/a.txt", content=b"abc")
        found = await browser.get(
            "/mlflow/get-artifact", params={"run_id": run_id, "path": "a.txt"}
        )
        assert (found.status_code, found.content) == (200, b"abc")

    async def test_its_tenant_is_all_that_there_is(
        self, browser: AppClient, page_app: FastAPI
    ) -> None:
        """The page offers no choice of workspaces; clients still have them."""
        path = "ajax-api/3.0/mlflow/server-info"
        assert (await browser.get(f"/mlflow/{path}")).json()["workspaces_enabled"] is False
        assert (await browser.get(f"/{path}")).json()["workspaces_enabled"] is True
        async with client_of(page_app, None) as client:
            found = await client.get(f"/mlflow/{path}")
            assert found.json()["workspaces_enabled"] is False

    async def test_signed_urls_lead_to_the_api(self, page_app: FastAPI, tenant: Tenant) -> None:
        """Also where the tenant is named by a header."""
        headers = {"X-Tenant-ID": tenant.slug}
        async with AppClient(page_app, headers=headers) as client:
            made = await client.post("/api/2.0/mlflow/runs/create", json={})
            run_id = made.json()["run"]["info"]["run_id"]
            root = f"experiments/0/runs/{run_id}/artifacts"
            await client.put(f"/api/2.0/mlflow-artifacts/artifacts/{root}/a.txt", content=b"abc")
            answer = await client.post(
                "/mlflow/ajax-api/2.0/mlflow/artifacts/presigned-download-url",
                json={"run_id": run_id, "path": "a.txt"},
            )
        async with client_of(page_app, None) as anyone:
            assert (await anyone.get(answer.json()["presigned_url"])).content == b"abc"

    async def test_what_is_not_served(self, browser: AppClient) -> None:
        answer = await browser.get("/mlflow/ajax-api/2.0/mlflow/nothing")
        assert answer.status_code == 404
        assert answer.json()["error_code"] == "ENDPOINT_NOT_FOUND"
        for path in ("/mlflow/docs", "/mlflow/api/v1/experiments", "/mlflow/mlflow/"):
            assert (await browser.get(path)).status_code == 404


class TestKeys:
    @staticmethod
    def basic(key: str) -> dict[str, str]:
        return {"Authorization": f"Basic {base64.b64encode(f'me:{key}'.encode()).decode()}"}

    async def test_a_browser_asks_for_one(
        self, guarded_app: FastAPI, new_key: NewKey, tenant: Tenant
    ) -> None:
        async with client_of(guarded_app, tenant) as client:
            answer = await client.get("/mlflow/")
            assert answer.status_code == 401
            challenge = f'Basic realm="{tenant.slug}", charset="UTF-8"'
            assert answer.headers["www-authenticate"] == challenge
            headers = self.basic(await new_key("read"))
            assert (await client.get("/mlflow/", headers=headers)).status_code == 200
            found = await client.get(
                "/mlflow/ajax-api/2.0/mlflow/experiments/get?experiment_id=0", headers=headers
            )
            assert found.status_code == 200

    async def test_it_asks_again_for_a_key_that_is_not_the_tenants(
        self, guarded_app: FastAPI, new_key: NewKey, tenant: Tenant, other_tenant: Tenant
    ) -> None:
        async with client_of(guarded_app, tenant) as client:
            for key in (await new_key("admin", of=other_tenant), ADMIN_KEY, "wrong"):
                answer = await client.get("/mlflow/", headers=self.basic(key))
                assert answer.status_code == 401
                assert answer.headers["www-authenticate"].startswith("Basic ")

    async def test_without_a_tenant_it_is_that_of_the_key(
        self, guarded_app: FastAPI, new_key: NewKey
    ) -> None:
        async with client_of(guarded_app, None) as client:
            answer = await client.get("/mlflow/", headers=self.basic(await new_key("read")))
            assert answer.status_code == 200

    async def test_files_need_none(self, guarded_app: FastAPI) -> None:
        async with client_of(guarded_app, None) as client:
            answer = await client.get("/mlflow/static-files/favicon.ico")
            assert answer.status_code == 200


class TestSetting:
    async def test_off(self, client: httpx.AsyncClient) -> None:
        for path in ("/mlflow/", "/mlflow", "/mlflow/static-files/favicon.ico"):
            assert (await client.get(path)).status_code == 404

    def test_without_the_package(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(config, "find_spec", lambda name: None)
        with pytest.raises(ValidationError, match=r"pip install 'tracking\[mlflow-ui\]'"):
            Settings(_env_file=None, mlflow_ui=True)

    def test_with_a_package_that_has_no_page(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        """As mlflow-skinny."""

        class Spec:
            submodule_search_locations = (str(tmp_path),)

        monkeypatch.setattr(config, "find_spec", lambda name: Spec())
        with pytest.raises(ValidationError, match="mlflow-ui"):
            Settings(_env_file=None, mlflow_ui=True)


async def test_the_clients_links_lead_to_it(browser: AppClient, client: httpx.AsyncClient) -> None:
    """By script, since the server does not see what stands behind the #."""
    assert "<html data-mlflow-page " in (await browser.get("/")).text
    assert "data-mlflow-page" not in (await client.get("/")).text
