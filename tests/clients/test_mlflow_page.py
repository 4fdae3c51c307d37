"""MLflow's own page in a real browser: each view shows what was logged, and no request fails."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt
import pytest
from matplotlib.figure import Figure
from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, LoggedModelOutput
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from tests.conftest import Postgres, new_slug, running_server
from tests.support.chromium import chromium, observe

# The page asks whether MLflow's basic-auth app is installed; MLflow's server without it has no
# such route either.
EXPECTED = re.compile(r"404 GET .*/ajax-api/2\.0/mlflow/users/current")
# Chromium's line for that; a notice of layout that the page throws by itself; and an error of the
# page's comparison, which looks for common artifacts before the lists of all runs have arrived.
EXPECTED_ERRORS = re.compile(
    r"Failed to load resource: the server responded with a status of 404 .*"
    r"|.*ResizeObserver loop completed with undelivered notifications.*"
    r"|TypeError: Cannot read properties of undefined \(reading 'includes'\)\s+at .*"
    r"\s+at Array\.filter (?s:.*)"
)

HTML = """<h1>drawn by</h1><script>
document.querySelector("h1").append(" a script");
try { parent.document.title = "pwned"; } catch { document.querySelector("h1").append(" alone"); }
</script>"""


@dataclass(frozen=True)
class Logged:
    """What the page is to show, and where."""

    url: str
    experiment: str
    runs: list[str]
    model: str


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as it:
        yield it


@pytest.fixture(scope="module")
def logged(
    browser: Browser, postgres: Postgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Logged]:
    folder = tmp_path_factory.mktemp("mlflow-page")
    environment = {
        "TRACKING_DATABASE_URL": postgres.app_url,
        "TRACKING_MIGRATION_DATABASE_URL": postgres.owner_url,
        "TRACKING_DATA_DIR": str(folder / "data"),
        "TRACKING_MLFLOW_UI": "true",
    }
    with running_server(environment, folder / "log") as (url, _):
        yield log_all(f"{url}/t/{new_slug()}", folder / "model")


def log_all(uri: str, model_folder: Path) -> Logged:
    client = MlflowClient(uri, uri)
    experiment = client.create_experiment("churn")
    runs = []
    for number in range(3):
        run = client.create_run(experiment, run_name=f"candidate-{number}").info.run_id
        runs.append(run)
        for step in range(5):
            client.log_metric(run, "loss", 1 / (step + 1 + number), step=step)
        client.log_metric(run, "auc", 0.5 + number / 10)
        client.log_metric(run, "system/cpu_utilization_percentage", 50)
        client.log_param(run, "depth", number + 2)
        client.log_param(run, "rate", 0.1 * (number + 1))
        client.set_tag(run, "team", "blue")
        client.set_terminated(run)
    run = runs[0]
    client.log_text(run, "a plain text", "note.txt")
    client.log_dict(run, {"answer": 42}, "conf/config.json")
    client.log_text(run, "left,right\none,two\n", "table.csv")
    client.log_text(run, "# A heading\n", "readme.md")
    client.log_text(run, HTML, "page.html")
    client.log_image(run, Image.new("RGB", (60, 40), (200, 30, 90)), "image.png")
    figure = Figure()
    figure.subplots().plot([1, 2])
    client.log_figure(run, figure, "plot.svg")
    plt.close("all")
    dataset = Dataset("customers", "abc123", "local", '{"uri": "x"}')
    client.log_inputs(run, [DatasetInput(dataset, [InputTag("mlflow.data.context", "train")])])
    model = client.create_logged_model(experiment, "forest", run, params={"trees": "7"}).model_id
    model_folder.mkdir()
    (model_folder / "MLmodel").write_text("flavors: {}\n")
    client.log_model_artifacts(model, str(model_folder))
    client.finalize_logged_model(model, "READY")
    client.log_outputs(run, [LoggedModelOutput(model, 1)])
    client.create_registered_model("churn-model", description="who leaves")
    client.create_model_version("churn-model", f"models:/{model}", run, model_id=model)
    client.set_registered_model_alias("churn-model", "champion", "1")
    client.register_prompt("greeting", "Hello {{name}}", commit_message="the first")
    return Logged(f"{uri}/mlflow/", experiment, runs, model)


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page on which no request and no script fails that a user would notice."""
    context = browser.new_context(viewport={"width": 1600, "height": 1200})
    it = context.new_page()
    it.set_default_timeout(60_000)
    seen = observe(it)
    yield it
    context.close()
    assert [one for one in seen.failed if not EXPECTED.search(one)] == []
    assert [one for one in seen.errors if not EXPECTED_ERRORS.fullmatch(one)] == []
    assert len(seen.hosts) == 1  # no other server


def shows(page: Page, *texts: str) -> None:
    for text in texts:
        expect(page.get_by_text(text).first).to_be_visible(timeout=60_000)


def test_experiments(logged: Logged, page: Page) -> None:
    page.goto(f"{logged.url}#/experiments")
    shows(page, "churn", "Default")


def test_the_table_of_runs(logged: Logged, page: Page) -> None:
    page.goto(f"{logged.url}#/experiments/{logged.experiment}/runs")
    shows(page, "candidate-0", "candidate-1", "candidate-2", "3 matching runs", "customers")


def test_charts(logged: Logged, page: Page) -> None:
    page.goto(f"{logged.url}#/experiments/{logged.experiment}/runs?compareRunsMode=CHART")
    shows(page, "Model metrics")
    expect(page.locator(".main-svg").first).to_be_visible(timeout=60_000)


def test_filters(logged: Logged, page: Page) -> None:
    query = "searchFilter=params.depth%20%3D%20%222%22"
    page.goto(f"{logged.url}#/experiments/{logged.experiment}/runs?{query}")
    shows(page, "candidate-0", "1 matching run")


class TestARun:
    def view(self, logged: Logged, page: Page, tab: str = "") -> None:
        page.goto("about:blank")  # else only what stands behind the # would change
        page.goto(f"{logged.url}#/experiments/{logged.experiment}/runs/{logged.runs[0]}{tab}")

    def test_overview(self, logged: Logged, page: Page) -> None:
        self.view(logged, page)
        shows(page, "candidate-0", "Finished", logged.runs[0], "loss", "depth", "team", "customers")
        shows(page, "churn-model")

    def test_model_metrics(self, logged: Logged, page: Page) -> None:
        self.view(logged, page, "/model-metrics")
        expect(page.locator(".main-svg").first).to_be_visible(timeout=60_000)

    def test_system_metrics(self, logged: Logged, page: Page) -> None:
        self.view(logged, page, "/system-metrics")
        shows(page, "cpu_utilization_percentage")

    def test_traces(self, logged: Logged, page: Page) -> None:
        self.view(logged, page, "/traces")
        shows(page, "candidate-0", "Traces")

    def test_artifacts(self, logged: Logged, page: Page) -> None:
        self.view(logged, page, "/artifacts")
        for name in ("note.txt", "table.csv", "page.html", "image.png", "readme.md", "plot.svg"):
            shows(page, name)
        for path, text in (
            ("note.txt", "a plain text"),
            ("conf/config.json", "42"),
            ("table.csv", "left"),
            ("readme.md", "A heading"),
        ):
            self.view(logged, page, f"/artifacts/{path}")
            shows(page, text)
        for path in ("image.png", "plot.svg"):
            self.view(logged, page, f"/artifacts/{path}")
            expect(page.locator("img[src^=blob]").first).to_be_visible(timeout=60_000)

    def test_html_runs_its_scripts_in_a_sandbox(self, logged: Logged, page: Page) -> None:
        self.view(logged, page, "/artifacts/page.html")
        frame = page.frame_locator("iframe")
        expect(frame.locator("h1")).to_have_text("drawn by a script alone", timeout=60_000)
        assert page.title() != "pwned"


def test_comparison(logged: Logged, page: Page) -> None:
    runs, experiments = json.dumps(logged.runs), json.dumps([logged.experiment])
    page.goto(f"{logged.url}#/compare-runs?runs={runs}&experiments={experiments}")
    shows(page, "Comparing 3 Runs from 1 Experiment", "Parallel Coordinates Plot", "candidate-2")
    expect(page.locator(".parcoords").first).to_be_visible(timeout=60_000)


def test_logged_models(logged: Logged, page: Page) -> None:
    page.goto(f"{logged.url}#/experiments/{logged.experiment}/models")
    shows(page, "forest")
    page.goto(f"{logged.url}#/experiments/{logged.experiment}/models/{logged.model}")
    shows(page, "forest", "Ready", "trees", "churn-model")


def test_registered_models(logged: Logged, page: Page) -> None:
    page.goto(f"{logged.url}#/models")
    shows(page, "churn-model")
    page.goto(f"{logged.url}#/models/churn-model")
    shows(page, "who leaves", "champion")
    page.goto(f"{logged.url}#/models/churn-model/versions/1")
    shows(page, "Version 1", "candidate-0", "champion")


def test_prompts(logged: Logged, page: Page) -> None:
    page.goto(f"{logged.url}#/prompts")
    shows(page, "greeting")
    page.goto(f"{logged.url}#/prompts/greeting")
    shows(page, "Hello", "the first")


def test_a_printed_link(logged: Logged, page: Page) -> None:
    """The client leaves `mlflow/` out."""
    where = f"#/experiments/{logged.experiment}/runs/{logged.runs[1]}"
    page.goto(logged.url.removesuffix("mlflow/") + where)
    shows(page, "candidate-1", "Finished")
    assert page.url == logged.url + where


def test_a_printed_link_with_a_workspace(logged: Logged, page: Page) -> None:
    where = f"#/experiments/{logged.experiment}/runs/{logged.runs[1]}"
    root, _, tenant = logged.url.removesuffix("/mlflow/").partition("/t/")
    page.goto(f"{root}/{where}?workspace={tenant}")
    shows(page, "candidate-1", "Finished")
    assert page.url == logged.url + where


def test_a_workspace_that_was_chosen_elsewhere(logged: Logged, page: Page) -> None:
    """The page keeps it for all of a host's pages."""
    page.add_init_script("localStorage.setItem('mlflow.activeWorkspace', 'elsewhere')")
    page.goto(f"{logged.url}#/experiments/{logged.experiment}/runs")
    shows(page, "candidate-0")
