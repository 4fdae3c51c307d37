"""The documentation's quick start, over real HTTP."""

import secrets

import httpx

from tests.integration.workbench_api.support import V1


class TestQuickStart:
    def test_as_written(self, server_url: str) -> None:
        headers = {
            "Content-Type": "application/json",
            "X-Tenant-ID": f"acme-{secrets.token_hex(4)}",
        }
        experiment = httpx.post(
            f"{server_url}{V1}/experiments",
            headers=headers,
            content=b'{"name": "churn-prediction-v2", "description": "Customer churn prediction",'
            b' "tags": {"team": "data-science"}}',
        )
        assert experiment.status_code == 201, experiment.text
        run = httpx.post(
            f"{server_url}{V1}/experiments/runs",
            headers=headers,
            content=b'{"experiment_id": "%s", "name": "xgboost-baseline",'
            b' "tags": {"model_type": "xgboost"}}' % experiment.json()["id"].encode(),
        )
        assert run.status_code == 201, run.text
        assert run.json()["name"] == "xgboost-baseline"
        assert run.json()["tags"]["model_type"] == "xgboost"


class TestOverHttp:
    def test_a_file_there_and_back(self, server_url: str) -> None:
        content = secrets.token_bytes(3 << 20)
        with httpx.Client(base_url=f"{server_url}/t/http-{secrets.token_hex(4)}{V1}") as client:
            run_id = client.post("/experiments/runs", json={"experiment_id": "0"}).json()["id"]
            url = f"/experiments/runs/{run_id}"
            logged = client.post(f"{url}/log-artifact", files={"file": ("a.bin", content)})
            assert logged.status_code == 200, logged.text
            assert client.get(f"{url}/artifacts/a.bin").content == content
            part = client.get(f"{url}/artifacts/a.bin", headers={"Range": "bytes=-5"})
            assert part.content == content[-5:]
            assert client.head(f"{url}/artifacts/a.bin").headers["content-length"] == str(3 << 20)

    def test_too_large_a_body(self, server_url: str) -> None:
        response = httpx.post(
            f"{server_url}{V1}/experiments",
            content=bytes(33 << 20),
            headers={"Content-Type": "application/json"},
        )
        assert response.status_code == 413
        assert response.headers["content-type"] == "application/problem+json"
