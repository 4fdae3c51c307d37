"""What a real browser makes of the pages here, and of those that would use it against them."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest

from tests.conftest import Postgres, new_slug, running_server
from tests.security.browser import PROGRAM, opened, site

RUNS = "/api/v1/experiments/runs"
OPERATION = 'class="opblock '
DONE = "<title>done</title>"
# What a browser leaves as it is in a path.
_IN_A_PATH = "'()=-"

# Sends what a page may send to any site without asking it first, and says when it has.
ATTACK = """<!DOCTYPE html><title>attack</title>
<form id="form" method="post" enctype="multipart/form-data" action="{url}/log-artifact" target="f">
<input name="artifact_path" value="by-form"></form><iframe name="f"></iframe>
<script>
const file = new FormData();
file.append("file", new Blob(["planted"]), "planted.txt");
const text = {{method: "POST", mode: "no-cors", credentials: "include"}};
Promise.allSettled([
  fetch("{url}/log-artifact", {{...text, body: file}}),
  fetch("{url}/end", text),
  navigator.sendBeacon("{url}/log-artifact", file),
]).then(() => {{ document.title = "done"; }});
form.submit();
</script>
"""


@pytest.fixture(autouse=True, scope="module")
def browser() -> None:
    if PROGRAM is None:
        can_be_installed = os.getuid() == 0 and shutil.which("apt-get")
        assert not ("CI" in os.environ and can_be_installed), ".ci/run should have installed it"
        pytest.skip("Chromium is not installed (Debian: chromium)")


@pytest.fixture(scope="module")
def url(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("browsed")
    with running_server(_environment(postgres, folder), folder / "log") as (it, _):
        yield it


def _environment(postgres: Postgres, folder: Path) -> dict[str, str]:
    return {
        "TRACKING_DATABASE_URL": postgres.app_url,
        "TRACKING_MIGRATION_DATABASE_URL": postgres.owner_url,
        "TRACKING_DATA_DIR": str(folder / "data"),
    }


class TestThePageOfTheApi:
    @pytest.mark.parametrize("path", ["/docs", "/t/acme-corp/docs", "/docs/"])
    def test_shows_every_operation(self, url: str, tmp_path: Path, path: str) -> None:
        """Under its policy, which the browser has nothing to say against."""
        page = opened(url + path, tmp_path)
        served = httpx.get(f"{url}/openapi.json").json()["paths"].values()
        assert page.html.count(OPERATION) == sum(len(operations) for operations in served)
        assert page.console == []

    @pytest.mark.parametrize(
        "name",
        [
            "x'-(document.title='pwned')-'",
            '"><script>document.title="pwned"</script>',
            "</script><script>document.title='pwned'</script>",
            "x\\'-(document.title='pwned')//",
            "<img src=x onerror=document.title='pwned'>",
        ],
    )
    def test_runs_nothing_that_its_path_holds(self, url: str, tmp_path: Path, name: str) -> None:
        path = f"/t/{quote(name, safe=_IN_A_PATH)}/docs"
        page = opened(url + path, tmp_path)
        assert OPERATION not in page.html
        assert "<title>pwned" not in page.html
        for one in (path, f"/t/{quote(name)}/docs"):
            assert httpx.get(url + one).status_code == 404

    @pytest.mark.parametrize("name", ["url", "configUrl", "urls"])
    def test_reads_no_other_document(self, url: str, tmp_path: Path, name: str) -> None:
        document = '{"openapi": "3.1.0", "info": {"title": "planted", "version": "1"}}'
        with site(document) as other:
            page = opened(f"{url}/docs?{name}=http://127.0.0.1:{other.port}/x.json", tmp_path)
        assert "planted" not in page.html
        assert OPERATION in page.html

    def test_runs_nothing_that_its_fragment_holds(self, url: str, tmp_path: Path) -> None:
        page = opened(f"{url}/docs#/<img src=x onerror=document.title='pwned'>/x", tmp_path)
        assert "<title>pwned" not in page.html
        assert OPERATION in page.html


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
class TestOtherSitesPages:
    """Of another site, and of another port of this one, which is the same site to a browser."""

    def test_change_nothing(self, url: str, tmp_path: Path, host: str) -> None:
        with httpx.Client(base_url=f"{url}/t/{new_slug()}") as client, site() as attacker:
            run = _new_run(client)
            attacker.html = ATTACK.format(url=f"{client.base_url}{RUNS[1:]}/{run}")
            assert DONE in opened(f"http://{host}:{attacker.port}/", tmp_path).html
            assert client.get(f"{RUNS}/{run}").json()["status"] == "running"
            assert client.get(f"{RUNS}/{run}/artifacts").json() == []

    def test_do_so_where_an_operator_lets_them(
        self, postgres: Postgres, tmp_path: Path, host: str
    ) -> None:
        """Or the refusals above would show nothing."""
        with site() as page:
            origin = {"TRACKING_CORS_ORIGINS": f"http://{host}:{page.port}"}
            environment = _environment(postgres, tmp_path) | origin
            with (
                running_server(environment, tmp_path / "log") as (url, _),
                httpx.Client(base_url=f"{url}/t/{new_slug()}") as client,
            ):
                run = _new_run(client)
                page.html = ATTACK.format(url=f"{client.base_url}{RUNS[1:]}/{run}")
                assert DONE in opened(f"http://{host}:{page.port}/", tmp_path / "profile").html
                assert client.get(f"{RUNS}/{run}").json()["status"] == "finished"
                assert client.get(f"{RUNS}/{run}/artifacts").json() != []


def _new_run(client: httpx.Client) -> str:
    return str(client.post(RUNS, json={"experiment_id": "0"}).json()["id"])
