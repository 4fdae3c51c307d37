"""Pages that are limited by bytes, and answers that are encoded in pieces."""

from typing import Any

import httpx
import pytest

from app.runs import reader
from app.search import page_sizes
from app.services import Services

MLFLOW, WORKBENCH = "/api/2.0/mlflow", "/api/v1/experiments"
PAGE_BYTES = 100_000


@pytest.fixture
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "MAX_PAGE_BYTES", PAGE_BYTES)
    monkeypatch.setattr(page_sizes, "MAX_PAGE_BYTES", PAGE_BYTES)


def large(length: int = 5_000, count: int = 5) -> list[dict[str, str]]:
    return [{"key": f"large{n}", "value": "v" * length} for n in range(count)]


async def pages(
    client: httpx.AsyncClient, method: str, route: str, items: str, **search: Any
) -> list[list[dict[str, Any]]]:
    """The runs of all pages of a search."""
    found = []
    token = ""
    while True:
        given = search | {"page_token": token}
        send = {"params": given} if method == "GET" else {"json": given}
        answer = await client.request(method, f"{MLFLOW}/{route}", **send)
        assert answer.status_code == 200, answer.text
        found.append(answer.json().get(items, []))
        token = answer.json().get("next_page_token", "")
        if not token:
            return found


@pytest.mark.usefixtures("small_pages")
class TestPages:
    @pytest.mark.parametrize("warm", [False, True])
    async def test_runs(self, client: httpx.AsyncClient, warm: bool) -> None:
        """Read from the database, and from the cache."""
        ids = []
        for n in range(12):
            created = await client.post(
                f"{MLFLOW}/runs/create",
                json={"experiment_id": "0", "start_time": n, "tags": large()},
            )
            ids.append(created.json()["run"]["info"]["run_id"])
        if warm:
            for run_id in ids:
                await client.get(f"{MLFLOW}/runs/get", params={"run_id": run_id})
        found = await pages(client, "POST", "runs/search", "runs", experiment_ids=["0"])
        assert [run["info"]["run_id"] for page in found for run in page] == ids[::-1]
        assert all(1 <= len(page) <= 4 for page in found)

    async def test_a_run_that_is_larger_than_a_page(self, client: httpx.AsyncClient) -> None:
        ids = []
        for n in range(3):
            created = await client.post(
                f"{MLFLOW}/runs/create",
                json={"experiment_id": "0", "start_time": n, "tags": large(8_000, 20)},
            )
            ids.append(created.json()["run"]["info"]["run_id"])
        found = await pages(client, "POST", "runs/search", "runs", experiment_ids=["0"])
        assert [[run["info"]["run_id"] for run in page] for page in found] == [
            [run_id] for run_id in ids[::-1]
        ]

    async def test_many_small_runs_are_one_page(self, client: httpx.AsyncClient) -> None:
        for _ in range(20):
            await client.post(f"{MLFLOW}/runs/create", json={"experiment_id": "0"})
        (page,) = await pages(client, "POST", "runs/search", "runs", experiment_ids=["0"])
        assert len(page) == 20

    async def test_experiments(self, client: httpx.AsyncClient) -> None:
        names = [f"e{n:02}" for n in range(12)]
        for name in names:
            created = await client.post(
                f"{MLFLOW}/experiments/create", json={"name": name, "tags": large()}
            )
            assert created.status_code == 200
        search = {"order_by": ["name ASC"], "filter": "name LIKE 'e%'"}
        found = await pages(client, "POST", "experiments/search", "experiments", **search)
        assert [one["name"] for page in found for one in page] == names
        assert len(found) > 2

    async def test_registered_models_by_their_versions(self, client: httpx.AsyncClient) -> None:
        names = [f"m{n:02}" for n in range(6)]
        for name in names:
            await client.post(f"{MLFLOW}/registered-models/create", json={"name": name})
            version = {"name": name, "source": "s3://bucket/model", "tags": large(10_000, 5)}
            created = await client.post(f"{MLFLOW}/model-versions/create", json=version)
            assert created.status_code == 200, created.text
        models = await pages(client, "GET", "registered-models/search", "registered_models")
        assert [one["name"] for page in models for one in page] == names
        assert len(models) > 2
        versions = await pages(
            client, "GET", "model-versions/search", "model_versions", order_by=["name ASC"]
        )
        assert [one["name"] for page in versions for one in page] == names
        assert len(versions) > 2

    async def test_logged_models(self, client: httpx.AsyncClient) -> None:
        for _ in range(6):
            model = {"experiment_id": "0", "params": large(10_000, 5)}
            created = await client.post(f"{MLFLOW}/logged-models", json=model)
            assert created.status_code == 200, created.text
        found = await pages(client, "POST", "logged-models/search", "models", experiment_ids=["0"])
        assert sum(map(len, found)) == 6
        assert len(found) > 2

    async def test_pages_by_offset_are_refused_and_not_cut(self, client: httpx.AsyncClient) -> None:
        """Clients that add `limit` to `offset` would skip the missing runs."""
        for n in range(8):
            body = {"name": f"e{n}", "tags": {f"t{i}": "v" * 5_000 for i in range(5)}}
            created = await client.post(WORKBENCH, json=body)
            run = {"experiment_id": created.json()["id"]} | {"tags": body["tags"]}
            assert (await client.post(f"{WORKBENCH}/runs", json=run)).status_code == 201
        for route in (WORKBENCH, f"{WORKBENCH}/runs"):
            refused = await client.get(route, params={"limit": 100})
            assert refused.status_code == 422
            assert [one["field"] for one in refused.json()["errors"]] == ["limit"]
            taken = await client.get(route, params={"limit": 2})
            assert taken.status_code == 200


async def test_a_folder_of_more_files_than_are_read_at_once(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.api.mlflow.artifacts.PAGE", 3)
    created = await client.post(f"{MLFLOW}/runs/create", json={"experiment_id": "0"})
    info = created.json()["run"]["info"]
    root = info["artifact_uri"].removeprefix("mlflow-artifacts:/")
    paths = [f"f{n}.txt" for n in range(7)] + ["folder/a", "folder/b"]
    for path in paths:
        url = f"/api/2.0/mlflow-artifacts/artifacts/{root}/{path}"
        assert (await client.put(url, content=b"x")).status_code == 200
    expected = [
        *({"path": f"f{n}.txt", "is_dir": False, "file_size": 1} for n in range(7)),
        {"path": "folder", "is_dir": True},
    ]
    listed = await client.get(f"{MLFLOW}/artifacts/list", params={"run_id": info["run_id"]})
    assert listed.json() == {"root_uri": info["artifact_uri"], "files": expected}
    proxied = await client.get("/api/2.0/mlflow-artifacts/artifacts", params={"path": root})
    assert proxied.json() == {"files": expected}


async def test_long_histories(client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.api.workbench.metrics.SLICE", 3)
    monkeypatch.setattr("app.api.mlflow.metrics.SLICE", 3)
    run = (await client.post(f"{WORKBENCH}/runs", json={"experiment_id": "0"})).json()["id"]
    values = [0.5, "NaN", "Infinity", "-Infinity", 1.0, 2.0, 3.0, 4.0]
    points = [{"key": "m", "value": v, "step": n, "timestamp": n} for n, v in enumerate(values)]
    await client.post(f"{WORKBENCH}/runs/{run}/log-batch", json={"metrics": points})
    history = (await client.get(f"{WORKBENCH}/runs/{run}/metrics/m")).json()
    assert (history["run_id"], history["key"]) == (run, "m")
    assert (history["total"], history["sampled"]) == (8, False)
    assert [(one["step"], one["value"]) for one in history["points"]] == list(enumerate(values))
    bulk = await client.get(
        f"{MLFLOW}/metrics/get-history-bulk", params={"run_id": run, "metric_key": "m"}
    )
    assert [one["value"] for one in bulk.json()["metrics"]] == values


class TestComparison:
    @pytest.mark.usefixtures("small_pages")
    async def test_runs_that_are_too_large_together(
        self, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(reader, "PORTION_BYTES", 10_000)
        ids = []
        for _ in range(3):
            tags = {f"t{n}": "v" * 8_000 for n in range(6)}
            created = await client.post(
                f"{WORKBENCH}/runs", json={"experiment_id": "0", "tags": tags}
            )
            ids.append(created.json()["id"])
        compare = f"{WORKBENCH}/runs/compare"
        refused = await client.post(compare, json={"run_ids": ids})
        assert refused.status_code == 413
        assert refused.json()["detail"] == "The 3 runs take more than 100000 bytes; ask for fewer"
        assert (await client.post(compare, json={"run_ids": ids[:2]})).status_code == 200

    async def test_too_many_values(
        self, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("app.api.workbench.compare.MAX_VALUES", 10)
        ids = []
        for _ in range(2):
            created = await client.post(f"{WORKBENCH}/runs", json={"experiment_id": "0"})
            ids.append(created.json()["id"])
            metrics = {f"m{n}": n for n in range(6)}
            await client.post(f"{WORKBENCH}/runs/{ids[-1]}/log-batch", json={"metrics": metrics})
        compare = f"{WORKBENCH}/runs/compare"
        refused = await client.post(compare, json={"run_ids": ids})
        assert refused.status_code == 422
        assert [one["field"] for one in refused.json()["errors"]] == ["metrics"]
        taken = await client.post(compare, json={"run_ids": ids, "metrics": ["m1", "m2"]})
        assert taken.status_code == 200
        assert set(taken.json()["comparison"]["metric_comparison"]) == {"m1", "m2"}


async def test_nothing_is_held_after_an_answer(
    client: httpx.AsyncClient, services: Services
) -> None:
    for _ in range(3):
        await client.post(
            f"{MLFLOW}/runs/create", json={"experiment_id": "0", "tags": large(8_000, 20)}
        )
    answer = await client.post(f"{MLFLOW}/runs/search", json={"experiment_ids": ["0"]})
    assert len(answer.content) > 400_000
    assert services.memory.held == 0


class TestHistory:
    @pytest.mark.parametrize(
        "max_results", [None, 1, 4, 5, 6, 10, 11, 100], ids=lambda n: f"at most {n}"
    )
    async def test_pages_of_any_size(
        self, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, max_results: int | None
    ) -> None:
        """The history is the same in one piece, in several pieces, and page by page."""
        monkeypatch.setattr("app.api.mlflow.metrics.MAX_PAGE", 4)
        monkeypatch.setattr("app.api.mlflow.metrics.SLICE", 3)
        run = (await client.post(f"{WORKBENCH}/runs", json={"experiment_id": "0"})).json()["id"]
        points = [{"key": "m", "value": n, "step": n, "timestamp": n // 2} for n in range(11)]
        await client.post(f"{WORKBENCH}/runs/{run}/log-batch", json={"metrics": points})
        found: list[dict[str, Any]] = []
        asked = {"run_id": run, "metric_key": "m"}
        if max_results is not None:
            asked["max_results"] = str(max_results)
        token = ""
        while True:
            answer = await client.get(
                f"{MLFLOW}/metrics/get-history", params=asked | {"page_token": token}
            )
            assert answer.status_code == 200
            page = answer.json()["metrics"]
            assert len(page) == min(max_results or 11, 11 - len(found))
            found += page
            token = answer.json().get("next_page_token", "")
            if not token:
                break
        assert [one["step"] for one in found] == list(range(11))

    async def test_of_a_run_that_is_not_there(self, client: httpx.AsyncClient) -> None:
        asked = {"run_id": "0" * 32, "metric_key": "m"}
        answer = await client.get(f"{MLFLOW}/metrics/get-history", params=asked)
        assert (answer.status_code, answer.json()) == (200, {})


@pytest.mark.parametrize(
    ("create", "set_tag", "owner"),
    [
        ("experiments/create", "experiments/set-experiment-tag", "An experiment"),
        ("registered-models/create", "registered-models/set-tag", "A registered model"),
    ],
)
async def test_tags_of_a_thing_in_all(
    client: httpx.AsyncClient,
    monkeypatch: pytest.MonkeyPatch,
    create: str,
    set_tag: str,
    owner: str,
) -> None:
    """They are always read together."""
    monkeypatch.setattr("app.db.key_values.MAX_VALUES_BYTES", 10_000)
    created = await client.post(f"{MLFLOW}/{create}", json={"name": "tagged"})
    thing = {"name": "tagged"} | created.json()

    async def tag(key: str, length: int) -> httpx.Response:
        message = thing | {"key": key, "value": "ü" * (length // 2)}
        return await client.post(f"{MLFLOW}/{set_tag}", json=message)

    assert (await tag("a", 6_000)).status_code == 200
    assert (await tag("b", 4_000)).status_code == 200
    refused = await tag("c", 2)
    assert refused.status_code == 400
    assert refused.json()["message"] == f"{owner} may have at most 10000 bytes of tags"
    assert (await tag("a", 4_000)).status_code == 200
    assert (await tag("c", 2_000)).status_code == 200
