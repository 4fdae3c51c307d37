"""What is logged as files, and read again."""

import os
import tempfile
from pathlib import Path

import mlflow
from mlflow import MlflowClient

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
