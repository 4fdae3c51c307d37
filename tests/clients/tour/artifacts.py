"""What is logged as files, and read again."""

import os
import posixpath
import tempfile
from pathlib import Path

import mlflow
import numpy as np
from mlflow import MlflowClient
from PIL import Image

UNICODE = "résumé ü 数据"


def files(client: MlflowClient, experiment_id: str) -> None:
    """A folder with names in several scripts, listed level by level and downloaded whole."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, UNICODE)
        (source / "deep" / "deeper").mkdir(parents=True)
        (source / f"{UNICODE} & more.txt").write_text(UNICODE, encoding="utf-8")
        (source / "empty").write_bytes(b"")
        (source / "deep" / "deeper" / "data.bin").write_bytes(os.urandom(300_000))
        with mlflow.start_run(run_name="files") as run:
            mlflow.log_artifacts(str(source), artifact_path=UNICODE)
            mlflow.log_artifact(str(source / "empty"))
        run_id = run.info.run_id

        assert [(item.path, item.is_dir) for item in client.list_artifacts(run_id)] == [
            ("empty", False),
            (UNICODE, True),
        ]
        assert [item.path for item in client.list_artifacts(run_id, f"{UNICODE}/deep")] == [
            f"{UNICODE}/deep/deeper"
        ]
        (data,) = client.list_artifacts(run_id, f"{UNICODE}/deep/deeper")
        assert data.file_size == 300_000
        assert client.list_artifacts(run_id, "nowhere") == []
        local = Path(mlflow.artifacts.download_artifacts(run_id=run_id, dst_path=folder))
        same_files(source, local / UNICODE)


def same_files(one: Path, other: Path) -> None:
    names = sorted(path.relative_to(one) for path in one.rglob("*"))
    assert names == sorted(path.relative_to(other) for path in other.rglob("*"))
    for name in names:
        if (one / name).is_file():
            assert (one / name).read_bytes() == (other / name).read_bytes(), name


def texts(client: MlflowClient, experiment_id: str) -> None:
    """Texts and dicts; what is logged again replaces what was there."""
    with mlflow.start_run(run_name="texts") as run:
        mlflow.log_text("first", "notes/note.txt")
        mlflow.log_text(UNICODE, "notes/note.txt")
        mlflow.log_dict({"nested": {"k": [1, 2]}}, "dict.json")
    run_id = run.info.run_id
    assert mlflow.artifacts.load_text(f"runs:/{run_id}/notes/note.txt") == UNICODE
    assert mlflow.artifacts.load_dict(f"runs:/{run_id}/dict.json") == {"nested": {"k": [1, 2]}}
    with tempfile.TemporaryDirectory() as folder:
        note = client.download_artifacts(run_id, "notes/note.txt", folder)
        assert Path(note).read_text(encoding="utf-8") == UNICODE


def percent_signs(client: MlflowClient, experiment_id: str) -> None:
    """Names stay as they are, also where the client does not encode them in a URL."""
    names = ["100%.txt", "discount%10.csv", "frame%03d.txt", "top%1f.txt", "two%%.txt"]
    folders = ["plain", "50% of them"]
    with mlflow.start_run() as run, tempfile.TemporaryDirectory() as source:
        for name in names:
            Path(source, name).write_text(name)
        for folder in folders:
            mlflow.log_artifacts(source, artifact_path=folder)
    run_id = run.info.run_id
    with tempfile.TemporaryDirectory() as target:
        local = Path(mlflow.artifacts.download_artifacts(run_id=run_id, dst_path=target))
        for folder in folders:
            listed = [item.path for item in client.list_artifacts(run_id, folder)]
            assert listed == [f"{folder}/{name}" for name in names], listed
            downloaded = {file.name: file.read_text() for file in (local / folder).iterdir()}
            assert downloaded == {name: name for name in names}, downloaded


def images(client: MlflowClient, experiment_id: str) -> None:
    """One a step, and a smaller copy of each. Older clients put `%` into their names."""
    frames = [np.full((300, 300, 3), 50 * step, dtype=np.uint8) for step in range(3)]
    with mlflow.start_run() as run:
        for step, frame in enumerate(frames):
            mlflow.log_image(frame, key="sample", step=step)
        mlflow.log_image(frames[0], "plain.png")
    run_id = run.info.run_id
    assert client.get_run(run_id).data.tags["mlflow.loggedImages"] == "True"
    local = Path(mlflow.artifacts.download_artifacts(run_id=run_id, artifact_path="images"))
    listed = [item.path for item in client.list_artifacts(run_id, "images")]
    assert sorted(listed) == sorted(f"images/{file.name}" for file in local.iterdir())
    kept = sorted(local.glob("*.png"), key=lambda path: path.stat().st_mtime)
    assert len(list(local.glob("*.webp"))) == len(frames)
    shades = sorted(int(np.asarray(Image.open(path)).max()) for path in kept)
    assert shades == [int(frame.max()) for frame in frames]


def unusual_paths(client: MlflowClient, experiment_id: str) -> None:
    """Ways to say `here`, and a slash too many."""
    with mlflow.start_run() as run:
        mlflow.log_text("top", "top.txt")
        mlflow.log_text("deep", "folder/sub/deep.txt")
    run_id = run.info.run_id
    for path in ("", ".", "./"):
        listed = [item.path for item in client.list_artifacts(run_id, path)]
        assert listed == [posixpath.join(path, name) for name in ("folder", "top.txt")], listed
    for path in ("folder/sub", "./folder/sub", "folder//sub", "folder/./sub", "folder/sub/"):
        (item,) = client.list_artifacts(run_id, path)
        assert item.path == posixpath.join(path, "deep.txt"), item.path
    for path in ("/", "/.", "/./folder//."):
        with tempfile.TemporaryDirectory() as folder:
            uri = f"runs:/{run_id}{path}"
            local = Path(mlflow.artifacts.download_artifacts(uri, dst_path=folder))
            (deep,) = local.rglob("deep.txt")
            assert deep.read_text() == "deep", uri
