"""Names of files that hold percent signs, by MLflow's own client: what is logged is listed and
downloaded, whole and in parts."""

import tempfile
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st
from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts
from mlflow.utils import server_info

from app.artifacts.paths import name_as_in_url, path_as_listed

NAMED = [
    "frame%03d.png",
    "discount%10.csv",
    "top%1f.png",
    "bad=%E9",
    "%03d.png",
    "%41.bin",
    "a%20b.txt",
    "100%.txt",
    "50% of %41.txt",
    "caf%C3%A9 é.txt",
    # As log_image of MLflow 2.22 and 3.4 names its images, which end in a random id.
    "loss%step%0%timestamp%1795000000000%0b5cf7c2.png",
    "loss%step%0%timestamp%1795000000000%41bcf7c2.png",
    "loss%step%0%timestamp%1795000000000%e9bcf7c2.png",
    "loss%step%0%timestamp%1795000000000%0abcf7c2.png",
]
NAMES = st.text(
    st.sampled_from("%%%%0123456789abcdefABCDEFst =-_.é"), min_size=1, max_size=12
).filter(lambda name: name.strip(" .") == name and "%20" not in name)


@pytest.fixture(params=["whole", "in parts"])
def in_parts(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    in_parts = request.param == "in parts"
    for name in ("UPLOAD", "DOWNLOAD"):
        monkeypatch.setenv(f"MLFLOW_ENABLE_PROXY_MULTIPART_{name}", str(in_parts).lower())
    monkeypatch.setenv("MLFLOW_MULTIPART_UPLOAD_MINIMUM_FILE_SIZE", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    server_info._clear_server_info_cache()
    return in_parts


@pytest.mark.parametrize("name", NAMED)
@pytest.mark.usefixtures("in_parts")
def test_a_named_file(tracking_uri: str, name: str, tmp_path: Path) -> None:
    check(MlflowClient(tracking_uri), tracking_uri, "images", name, tmp_path)


@pytest.mark.parametrize("in_parts", ["whole"], indirect=True)
@pytest.mark.usefixtures("in_parts")
@pytest.mark.parametrize("folder", ["a%20b", "d%03", "50%-%41", "bad=%E9/x"])
def test_a_named_folder(tracking_uri: str, folder: str, tmp_path: Path) -> None:
    check(MlflowClient(tracking_uri), tracking_uri, folder, "a.txt", tmp_path)


@pytest.mark.usefixtures("in_parts")
@settings(
    max_examples=20,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(name=NAMES)
@example(name="%2541")
def test_any_name(tracking_uri: str, name: str) -> None:
    # Else the client shows no name at all, or takes the folder `d` for the file.
    assume(path_as_listed(name_as_in_url(name, "d")) not in ("", "d"))
    with tempfile.TemporaryDirectory() as folder:
        check(MlflowClient(tracking_uri), tracking_uri, "d", name, Path(folder))


def check(client: MlflowClient, uri: str, folder: str, name: str, local: Path) -> None:
    """Log a file; find it under its name in the server's list, and in the client's, which decodes
    names; download it by either, and with its folder."""
    run_id = client.create_run("0").info.run_id
    file = local / name
    file.write_bytes(name.encode())
    client.log_artifact(run_id, str(file), folder)

    stored = name_as_in_url(name, folder)
    root = f"{uri}/api/2.0/mlflow-artifacts/artifacts/experiments/0/runs/{run_id}/artifacts"
    files = httpx.get(
        f"{uri}/api/2.0/mlflow/artifacts/list", params={"run_id": run_id, "path": folder}
    ).json()["files"]
    assert [each["path"].rpartition("/")[2] for each in files] == [stored]
    content = httpx.get(f"{root}/{quote(files[0]['path'])}").content
    assert content == name.encode()

    (listed,) = client.list_artifacts(run_id, folder)
    assert listed.path == f"{folder}/{path_as_listed(stored)}"
    for number, path in enumerate((listed.path, f"{folder}/{name}", folder, "")):
        target = local / f"received{number}"
        target.mkdir()
        client.download_artifacts(run_id, path, str(target))
        (received,) = (each for each in target.rglob("*") if each.is_file())
        assert received.read_bytes() == name.encode()


@pytest.mark.parametrize("path", [".", "./", "./d", "d/./s", "d//s", "d/.", ""])
def test_paths_with_dots_are_downloaded(tracking_uri: str, path: str, tmp_path: Path) -> None:
    client = MlflowClient(tracking_uri)
    run_id = client.create_run("0").info.run_id
    client.log_text(run_id, "text", "d/s/a.txt")
    received = download_artifacts(
        artifact_uri=f"runs:/{run_id}/{path}", dst_path=str(tmp_path), tracking_uri=tracking_uri
    )
    (file,) = (each for each in Path(received).rglob("*") if each.is_file())
    assert file.read_text() == "text"
    assert [each.is_dir for each in client.list_artifacts(run_id, path)] == [path not in _LEAVES]


_LEAVES = ("d/./s", "d//s")
