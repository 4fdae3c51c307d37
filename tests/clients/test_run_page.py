"""The page that the links of MLflow's clients open, in a real browser."""

import re
from collections.abc import Iterator

import httpx
import pytest
from mlflow import MlflowClient
from playwright.sync_api import Browser, Page, expect

from tests.conftest import ADMIN_KEY, new_slug
from tests.support.chromium import Observed, chromium, observe

# A text that would act as a page where it is taken for HTML.
HOSTILE = "<img src=x onerror=document.title='pwned'>"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as it:
        yield it


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context()
    yield context.new_page()
    context.close()


@pytest.fixture
def seen(page: Page) -> Iterator[Observed]:
    """Whose page may have no failed request and no error, of its policy neither."""
    found = observe(page)
    yield found
    assert (found.failed, found.errors) == ([], [])
    assert page.title() != "pwned"


@pytest.fixture
def tracking_uri(server_url: str) -> str:
    """Of a tenant that its first write makes: Playwright lets no asynchronous fixture run."""
    return f"{server_url}/t/{new_slug()}"


@pytest.fixture
def client(tracking_uri: str) -> MlflowClient:
    return MlflowClient(tracking_uri, tracking_uri)


def printed_link(client: MlflowClient, capsys: pytest.CaptureFixture[str], run_id: str) -> str:
    capsys.readouterr()
    client._tracking_client._log_url(run_id)
    found = re.search(r"View run .* at: (\S+)", capsys.readouterr().out)
    assert found
    return found[1]


def test_the_printed_link_opens_the_run(
    client: MlflowClient,
    tracking_uri: str,
    page: Page,
    seen: Observed,
    capsys: pytest.CaptureFixture[str],
) -> None:
    experiment_id = client.create_experiment("churn")
    run = client.create_run(experiment_id, run_name=HOSTILE, tags={"team": HOSTILE})
    run_id = run.info.run_id
    client.log_param(run_id, "depth", HOSTILE)
    for step in range(3):
        client.log_metric(run_id, "loss", 1 / (step + 1), step=step)
    client.log_metric(run_id, "strange", float("nan"))
    client.log_text(run_id, "hello", "folder/note.txt")
    client.set_terminated(run_id)
    page.goto(printed_link(client, capsys, run_id))
    expect(page.get_by_role("heading", level=1)).to_have_text(HOSTILE)
    expect(page.get_by_text("FINISHED")).to_be_visible()
    metrics = page.get_by_role("table", name="Metrics")
    expect(metrics.get_by_role("row", name="loss")).to_contain_text("0.3333")
    expect(metrics.get_by_role("row", name="strange")).to_contain_text("NaN")
    params = page.get_by_role("table", name="Params")
    expect(params.get_by_role("row", name="depth")).to_contain_text(HOSTILE)
    tags = page.get_by_role("table", name="Tags", exact=True)
    expect(tags.get_by_role("row", name="team")).to_contain_text(HOSTILE)
    page.get_by_role("button", name="folder").click()
    with page.expect_download() as download:
        page.get_by_role("button", name="note.txt").click()
    assert download.value.path().read_text() == "hello"
    page.get_by_role("link", name="churn").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("churn")
    page.get_by_role("link", name=HOSTILE).click()
    expect(page.get_by_text("FINISHED")).to_be_visible()
    assert page.url == f"{tracking_uri}/#/experiments/{experiment_id}/runs/{run_id}"


def test_a_workspace_in_the_link(
    client: MlflowClient, tracking_uri: str, page: Page, seen: Observed
) -> None:
    """As a client prints it that names its tenant by MLFLOW_WORKSPACE."""
    url, _, tenant = tracking_uri.partition("/t/")
    run_id = client.create_run("0", run_name="one").info.run_id
    page.goto(f"{url}/#/experiments/0/runs/{run_id}?workspace={tenant}")
    expect(page.get_by_role("heading", level=1)).to_have_text("one")
    expect(page.get_by_text(f"Tenant: {tenant}")).to_be_visible()


def test_models(client: MlflowClient, tracking_uri: str, page: Page, seen: Observed) -> None:
    name = "a/b model's"
    client.create_registered_model(name.replace("/", "-"), description=HOSTILE)
    run_id = client.create_run("0", run_name="its run").info.run_id
    model = client.create_logged_model("0", "logged", run_id, params={"p": "1"})
    name = name.replace("/", "-")
    client.create_model_version(name, f"models:/{model.model_id}", run_id, model_id=model.model_id)
    client.set_registered_model_alias(name, "champion", "1")
    page.goto(f"{tracking_uri}/#/models")
    page.get_by_role("link", name=name).click()
    expect(page.get_by_text(HOSTILE)).to_be_visible()
    row = page.get_by_role("row", name="Version 1")
    expect(row).to_contain_text("champion")
    row.get_by_role("link").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(f"{name} 1")
    page.get_by_role("link", name="its run").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("its run")
    page.goto(f"{tracking_uri}/#/experiments/0/models/{model.model_id}")
    expect(page.get_by_role("heading", level=1)).to_have_text("logged")


@pytest.mark.parametrize("hash_", ["", "#/", "#/experiments", "#/experiments/0"])
def test_experiments(
    client: MlflowClient, tracking_uri: str, page: Page, seen: Observed, hash_: str
) -> None:
    client.create_run("0", run_name="one")
    page.goto(f"{tracking_uri}/{hash_}")
    if not hash_.endswith("0"):
        page.get_by_role("link", name="Default").click()
    expect(page.get_by_role("link", name="one")).to_be_visible()


def test_without_a_slash(
    client: MlflowClient, tracking_uri: str, page: Page, seen: Observed
) -> None:
    client.create_run("0", run_name="one")
    page.goto(f"{tracking_uri}#/experiments/0")
    expect(page.get_by_role("link", name="one")).to_be_visible()


def test_what_is_not_there(tracking_uri: str, page: Page) -> None:
    page.goto(f"{tracking_uri}/#/experiments/0/runs/{'0' * 32}")
    expect(page.get_by_role("alert")).to_contain_text("not found")
    page.goto(f"{tracking_uri}/#/nothing/{HOSTILE}")
    expect(page.get_by_role("heading", level=1)).to_have_text("This page does not show that")
    page.goto(f"{tracking_uri}/#/models/%E0%A4%A")
    expect(page.get_by_role("alert")).to_be_visible()
    assert page.title() != "pwned"


def test_many_runs_come_in_pages(
    client: MlflowClient, tracking_uri: str, page: Page, seen: Observed
) -> None:
    for number in range(101):
        client.create_run("0", run_name=f"r{number:03}", start_time=number + 1)
    page.goto(f"{tracking_uri}/#/experiments/0")
    table = page.get_by_role("table", name="Runs")
    expect(table.get_by_role("row")).to_have_count(101)
    page.get_by_role("button", name="Show more").click()
    expect(table.get_by_role("row")).to_have_count(102)
    expect(page.get_by_role("button", name="Show more")).to_have_count(0)


class TestKeys:
    @staticmethod
    def key_of(url: str, slug: str) -> str:
        headers = {"Authorization": f"Bearer {ADMIN_KEY}"}
        with httpx.Client(base_url=f"{url}/api/v1/admin", headers=headers) as operator:
            assert operator.post("/tenants", json={"slug": slug}).status_code == 201
            made = operator.post(f"/tenants/{slug}/keys", json={"role": "write"})
            return str(made.json()["key"])

    def test_the_page_asks_for_one(self, guarded_url: str, page: Page) -> None:
        slug, other = new_slug(), new_slug()
        key, others = self.key_of(guarded_url, slug), self.key_of(guarded_url, other)
        url = f"{guarded_url}/t/{slug}"
        headers = {"Authorization": f"Bearer {key}"}
        with httpx.Client(base_url=f"{url}/api/2.0/mlflow", headers=headers) as client:
            made = client.post("/runs/create", json={"run_name": "one"}).json()
        run_id = made["run"]["info"]["run_id"]

        page.goto(f"{url}/#/experiments/0/runs/{run_id}")
        page.get_by_label("API key").fill("wrong")
        page.get_by_role("button", name="Show").click()
        expect(page.get_by_role("alert")).to_have_text("This key is not valid.")
        page.get_by_label("API key").fill(others)
        page.get_by_role("button", name="Show").click()
        expect(page.get_by_role("alert")).to_contain_text("not one of the tenant")
        page.get_by_role("button", name="Use another key").click()
        page.get_by_label("API key").fill(f" {key} ")
        page.get_by_role("button", name="Show").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("one")

        page.reload()
        expect(page.get_by_role("heading", level=1)).to_have_text("one")
        assert page.evaluate("localStorage.length") == 0
        page.get_by_role("button", name="Forget the key").click()
        expect(page.get_by_label("API key")).to_be_visible()
        assert page.evaluate("sessionStorage.length") == 0
