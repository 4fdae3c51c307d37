"""Probes, the documentation page, and unknown routes."""

import re
from pathlib import Path

import httpx
from fastapi import FastAPI

from app.config import Settings
from app.db import migrate
from app.db.embedded import embedded_postgres
from app.kernel.tenant import Tenant
from app.main import create_app
from tests.conftest import client_of


class TestProbes:
    async def test_health_and_readiness(self, client: httpx.AsyncClient) -> None:
        assert (await client.get("/health")).json() == {"status": "ok"}
        ready = await client.get("/ready")
        assert (ready.status_code, ready.json()["ready"]) == (200, True)

    async def test_ready_only_with_the_right_schema_and_a_database(self, tmp_path: Path) -> None:
        with embedded_postgres(tmp_path / "data", settings={"fsync": "off"}) as server:
            application = create_app(
                Settings(
                    _env_file=None,
                    database_url=server.app_url,
                    data_dir=tmp_path,
                    allowed_hosts="test",
                )
            )
            async with (
                application.router.lifespan_context(application),
                client_of(application, None) as client,
            ):
                empty = await client.get("/ready")
                assert (empty.status_code, empty.json()["schema_state"]) == (503, "empty")
                migrate.upgrade(server.owner_url)
                assert (await client.get("/ready")).status_code == 200
        async with (
            application.router.lifespan_context(application),
            client_of(application, None) as client,
        ):
            gone = await client.get("/ready")
            assert (gone.status_code, gone.json()["schema_state"]) == (503, None)
            assert (await client.get("/health")).status_code == 200
            refused = await client.get("/api/v1/experiments")
            assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
            assert "not available" in refused.json()["detail"]


class TestPages:
    async def test_the_clients_links_lead_to_a_page(self, client: httpx.AsyncClient) -> None:
        """Its URLs are relative, so that it is its tenant's."""
        page = await client.get("/")
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        policy = page.headers["content-security-policy"]
        assert "script-src 'self'; style-src 'self';" in policy
        urls = re.findall(r'(?:src|href)="([^"#]+)"', page.text)
        assert {"run-page.js", "run-page.css", "docs"} <= set(urls)
        for url in urls:
            assert not url.startswith(("/", "http")), url
            if not url.startswith("data:"):
                assert (await client.get(f"/{url}")).status_code == 200, url
        assert not re.search(r"<script(?![^>]* src=)|<style| style=| on[a-z]+=", page.text)

    async def test_the_page_of_a_tenant_has_a_slash(self, app: FastAPI, tenant: Tenant) -> None:
        async with client_of(app, None) as client:
            answer = await client.get(f"/t/{tenant.slug}")
        assert (answer.status_code, answer.headers["location"]) == (307, f"/t/{tenant.slug}/")

    async def test_the_docs_need_nobody_else(self, client: httpx.AsyncClient) -> None:
        """They work without internet access, and load no scripts of other hosts."""
        html = (await client.get("/docs")).text
        urls = re.findall(r"""<(?:script|link)[^>]+(?:src|href)="([^"]+)\"""", html)
        assert len(urls) >= 3
        for url in urls:
            assert not url.startswith(("/", "http")), url
            assert (await client.get(f"/{url}")).status_code == 200, url


async def test_unknown_route(app: FastAPI) -> None:
    async with client_of(app, None) as client:
        answer = await client.get("/nowhere")
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
