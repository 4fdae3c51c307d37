"""What a tenant has, of every kind; and ids of the same shapes that nobody has."""

import json
import secrets
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx

from app.kernel.ids import new_experiment_id, new_uuid
from tests.contract.isolation.routes import MLFLOW, PROXY

Ids = dict[str, str]


@dataclass(frozen=True)
class Belongings:
    """`ids` are by kind, as the cases name them. `marker` is in every text that the tenant chose:
    whoever sees it and did not send it sees what is not his."""

    ids: Ids
    marker: str


async def belongings(client: httpx.AsyncClient, tenant: str) -> Belongings:
    """Fill the tenant of the client."""
    marker = f"only-theirs-{secrets.token_hex(8)}"
    tags = [{"key": f"{marker}-tag", "value": f"{marker}-tag-value"}]

    async def call(route: str, method: str = "POST", **message: Any) -> Any:
        url = f"{MLFLOW}/{route}"
        if method == "GET":
            answer = await client.get(url, params=message)
        else:
            answer = await client.request(method, url, json=message)
        assert answer.status_code == 200, answer.text
        return answer.json()

    experiments = [
        (await call("experiments/create", name=f"{marker}-{n}", tags=tags))["experiment_id"]
        for n in range(2)
    ]
    experiment = experiments[0]
    run, second = [
        (await call("runs/create", experiment_id=experiment, run_name=f"{marker}-run", tags=tags))[
            "run"
        ]["info"]["run_id"]
        for _ in range(2)
    ]
    created = await call("runs/create", experiment_id=experiment)
    deleted_run = created["run"]["info"]["run_id"]
    await call("runs/delete", run_id=deleted_run)
    created = await call("experiments/create", name=f"{marker}-deleted")
    deleted_experiment = created["experiment_id"]
    await call("experiments/delete", experiment_id=deleted_experiment)
    points = [
        {"key": f"{marker}-metric", "value": n, "timestamp": n + 1, "step": n} for n in range(3)
    ]
    params = [{"key": f"{marker}-param", "value": f"{marker}-param-value"}]
    await call("runs/log-batch", run_id=run, metrics=points, params=params, tags=tags)
    dataset = {
        "name": f"{marker}-dataset",
        "digest": secrets.token_hex(4),
        "source_type": "local",
        "source": f"{marker}-source",
    }
    await call("runs/log-inputs", run_id=run, datasets=[{"dataset": dataset, "tags": tags}])
    model, _ = [
        (
            await call(
                "logged-models",
                experiment_id=experiment,
                name=f"{marker}-model",
                source_run_id=run,
                params=params,
                tags=tags,
            )
        )["model"]["info"]["model_id"]
        for _ in range(2)
    ]
    await call("runs/outputs", run_id=run, models=[{"model_id": model, "step": 1}])
    await call("runs/log-metric", run_id=run, model_id=model, **points[0])
    # Every tenant has an experiment 0: what lies in it is told apart by the tenant alone.
    inside = (await call("runs/create", experiment_id="0", tags=tags))["run"]["info"]["run_id"]
    await call("runs/log-batch", run_id=inside, metrics=points, params=params, tags=tags)
    await call("runs/log-inputs", run_id=inside, datasets=[{"dataset": dataset, "tags": tags}])
    created = await call("logged-models", experiment_id="0", name=f"{marker}-model", tags=tags)
    inside_model = created["model"]["info"]["model_id"]
    await call("runs/log-metric", run_id=inside, model_id=inside_model, **points[0])
    registered = f"{marker}-registered"
    for name in (registered, f"{registered}-too"):
        await call("registered-models/create", name=name, tags=tags, description=marker)
        for _ in range(2):
            await call(
                "model-versions/create",
                name=name,
                source=f"runs:/{run}/model",
                run_id=run,
                tags=tags,
                description=marker,
            )
    await call("registered-models/alias", name=registered, alias=f"{marker}-alias", version="1")
    prompt = f"{marker}-prompt"
    is_prompt = {"key": "mlflow.prompt.is_prompt", "value": "true"}
    await call("registered-models/create", name=prompt, tags=[is_prompt])
    text = {"key": "mlflow.prompt.text", "value": f"{marker} {{{{question}}}}"}
    await call("model-versions/create", name=prompt, source="dummy-source", tags=[is_prompt, text])

    roots = {
        "run_root": f"experiments/{experiment}/runs/{run}/artifacts",
        "model_root": f"experiments/{experiment}/models/{model}/artifacts",
    }
    for root in roots.values():
        for name in ("one.txt", "two.txt"):
            path = f"{root}/{marker}-folder/{name}"
            stored = await client.put(f"{PROXY}/artifacts/{path}", content=marker.encode())
            assert stored.status_code == 200, stored.text

    transfers = await _transfers(client, roots["run_root"], run, f"{marker}-folder", marker)

    async def token(route: str, method: str = "POST", **message: Any) -> str:
        found: str = (await call(route, method, max_results=1, **message))["next_page_token"]
        return found

    audit = await client.get("/api/v1/audit", params={"limit": 1})
    assert audit.status_code == 200, audit.text
    listing = await client.get(
        f"/api/v1/experiments/runs/{run}/artifacts",
        params={"path": f"{marker}-folder", "limit": 1},
    )
    return Belongings(
        ids=roots
        | transfers
        | {
            "tenant": tenant,
            "experiment": experiment,
            "experiment_name": f"{marker}-0",
            "run": run,
            "second_run": second,
            "deleted_experiment": deleted_experiment,
            "deleted_run": deleted_run,
            "model": model,
            "registered": registered,
            "version": "1",
            "alias": f"{marker}-alias",
            "prompt": prompt,
            "metric": f"{marker}-metric",
            "param": f"{marker}-param",
            "tag": f"{marker}-tag",
            "dataset": dataset["name"],
            "folder": f"{marker}-folder",
            "file": f"{marker}-folder/one.txt",
            "runs_token": await token("runs/search", experiment_ids=[experiment]),
            "experiments_token": await token("experiments/search"),
            "models_token": await token("logged-models/search", experiment_ids=[experiment]),
            "registered_token": await token("registered-models/search", "GET"),
            "versions_token": await token("model-versions/search", "GET"),
            "history_token": await token(
                "metrics/get-history", "GET", run_id=run, metric_key=f"{marker}-metric"
            ),
            "audit_token": audit.json()["next_page_token"],
            "files_token": str(httpx.URL(listing.links["next"]["url"]).params["page_token"]),
        },
        marker=marker,
    )


async def _transfers(
    client: httpx.AsyncClient, root: str, run: str, folder: str, content: str
) -> Ids:
    """An upload of two parts of which one has been sent, and a signed URL of each kind."""

    async def post(url: str, **message: Any) -> Any:
        answer = await client.post(url, json=message)
        assert answer.status_code == 200, answer.text
        return answer.json()

    upload = await post(f"{PROXY}/mpu/create/{root}/{folder}", path="parts.bin", num_parts=2)
    first, second = (one["url"] for one in upload["credentials"])
    sent = await client.put(first, content=content.encode())
    assert sent.status_code == 200, sent.text
    seconds = 7 * 24 * 3600
    found = {
        "download": await post(
            f"{MLFLOW}/artifacts/presigned-download-url",
            **{"run_id": run, "path": f"{folder}/one.txt", "expiration": seconds},
        ),
        "upload": await post(
            f"{MLFLOW}/artifacts/presigned-upload-url",
            **{"run_id": run, "path": f"{folder}/late.txt", "expiration": seconds},
        ),
        "part": {"presigned_url": second},
    }
    queries = {
        kind: dict(parse_qsl(urlsplit(one["presigned_url"]).query)) for kind, one in found.items()
    }
    return {
        "upload_id": upload["upload_id"],
        "part_etag": sent.headers["etag"].strip('"'),
        "download_object": queries["download"]["object"],
        **{f"{kind}_expires": query["expires"] for kind, query in queries.items()},
        **{f"{kind}_signature": query["signature"] for kind, query in queries.items()},
    }


def never_was(of: Ids) -> Ids:
    """For each id another one of the same shape that no tenant has."""
    marker = f"never-was-{secrets.token_hex(8)}"
    experiment = str(new_experiment_id())
    run, model = new_uuid().hex, f"m-{secrets.token_hex(16)}"
    return {kind: f"{marker}-{kind}" for kind in of} | {
        "tenant": f"t-{secrets.token_hex(6)}",
        **{kind: of[kind] for kind in of if kind == "version" or kind.endswith("_expires")},
        **{kind: secrets.token_hex(32) for kind in of if kind.endswith(("_signature", "_etag"))},
        "upload_id": f"{new_uuid().hex}.{secrets.token_hex(16)}",
        "download_object": new_uuid().hex,
        "experiment": experiment,
        "run": run,
        "second_run": new_uuid().hex,
        "deleted_experiment": str(new_experiment_id()),
        "deleted_run": new_uuid().hex,
        "key": secrets.token_hex(6),
        "model": model,
        "run_root": f"experiments/{experiment}/runs/{run}/artifacts",
        "model_root": f"experiments/{experiment}/models/{model}/artifacts",
        "folder": f"{marker}-folder",
        "file": f"{marker}-folder/one.txt",
    }


def filled_in(template: Any, ids: Ids) -> Any:
    """The template with every `<kind>` in its texts replaced by the id of that kind."""
    text = json.dumps(template)
    for kind, value in ids.items():
        text = text.replace(f"<{kind}>", value)
    return json.loads(text)
