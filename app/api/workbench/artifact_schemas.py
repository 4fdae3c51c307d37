"""Requests and responses about a run's files. Paths are relative to the run's folder."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Literal

from fastapi import Path
from pydantic import ConfigDict, Field

from app.api.workbench.dependencies import RUN_EXAMPLE
from app.api.workbench.fields import RequestBody, ResponseBody, Time, iso_time
from app.api.workbench.schemas import example
from app.artifacts.entities import Artifact, ListingEntry
from app.kernel.errors import TrackingError

FILE = {
    "path": "model/model.json",
    "is_dir": False,
    "size": 48213,
    "content_type": "application/json",
    "updated_at": "2025-11-23T09:42:00.000Z",
    "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
}
_FOLDER = {
    "path": "model",
    "is_dir": True,
    "size": None,
    "content_type": None,
    "updated_at": None,
    "sha256": None,
}

FilePath = Annotated[
    str,
    Path(description="Relative to the run's folder.", examples=["model/model.json"]),
]


class ArtifactEntry(ResponseBody):
    """A file or a folder. A folder has only its path, and its size where `sizes` asks for it."""

    model_config = ConfigDict(json_schema_extra=example(FILE, _FOLDER))

    path: str = Field(description="Relative to the run's folder.")
    is_dir: bool
    size: int | None = Field(
        description="In bytes. Of a folder: with `sizes`, unless it holds more than 10,000 files."
    )
    content_type: str | None
    updated_at: Time | None
    sha256: str | None = Field(
        description="The checksum of the content, in hexadecimal digits. Null where the server has"
        " not read the content in order, as in a multipart upload."
    )


class LoggedArtifact(ResponseBody):
    """The stored file."""

    model_config = ConfigDict(
        json_schema_extra=example(
            {"message": "Logged model/model.json", "run_id": RUN_EXAMPLE, "artifact": FILE}
        )
    )

    message: str
    run_id: str
    artifact: ArtifactEntry


class LoggedArtifacts(ResponseBody):
    """The stored files, in the order of the form."""

    model_config = ConfigDict(
        json_schema_extra=example({"run_id": RUN_EXAMPLE, "artifacts": [FILE]})
    )

    run_id: str
    artifacts: list[ArtifactEntry]


class CopyArtifacts(RequestBody):
    """The source and the target of a copy."""

    model_config = ConfigDict(
        json_schema_extra=example(
            {"source_run_id": RUN_EXAMPLE, "source_path": "model", "path": "baseline/model"}
        )
    )

    source_run_id: str | None = Field(
        default=None, description="The run to copy from; the same one, if left out."
    )
    source_path: str = Field(description="A file or a folder of that run.")
    path: str = Field(description="The path of the copied file or folder.")


class CopiedArtifacts(ResponseBody):
    """The copied file or folder."""

    model_config = ConfigDict(
        json_schema_extra=example(
            {"run_id": RUN_EXAMPLE, "path": "baseline/model", "files": 3, "bytes": 148_213}
        )
    )

    run_id: str
    path: str
    files: int = Field(description="The number of copied files.")
    bytes: int = Field(description="Their total size.")


class Preview(ResponseBody):
    """The beginning of a file. `text` is set for the kinds `text` and `json`, `columns` and `rows`
    for `table`, none of them for `binary`."""

    model_config = ConfigDict(
        json_schema_extra=example(
            {
                "path": "predictions.csv",
                "kind": "table",
                "size": 48213,
                "truncated": True,
                "text": None,
                "columns": ["id", "churned"],
                "rows": [["17", "0.93"], ["18", "0.12"]],
            }
        )
    )

    path: str
    kind: Literal["text", "json", "table", "binary"]
    size: int = Field(description="Of the whole file, in bytes.")
    truncated: bool = Field(description="Whether the file has more.")
    text: str | None = Field(default=None, description="JSON is indented where it is short.")
    columns: list[str] | None = Field(default=None, description="The first line.")
    rows: list[list[str]] | None = Field(default=None, description="The lines after it, as text.")


def stored(artifact: Artifact, root: str) -> ArtifactEntry:
    """A stored file; `root` is the folder of its run."""
    return ArtifactEntry(
        path=artifact.path.removeprefix(f"{root}/"),
        is_dir=False,
        size=artifact.size,
        content_type=artifact.content_type,
        updated_at=iso_time(artifact.updated_time),
        sha256=artifact.sha256,
    )


def listed(entry: ListingEntry, root: str, size: int | None) -> ArtifactEntry:
    """An entry of a listing; `root` is the folder of its run. `size` is a folder's, None where it
    was not asked for or is unknown."""
    return ArtifactEntry(
        path=entry.path.removeprefix(f"{root}/"),
        is_dir=entry.is_dir,
        size=size if entry.is_dir else entry.size,
        content_type=entry.content_type,
        updated_at=None if entry.updated_time is None else iso_time(entry.updated_time),
        sha256=entry.sha256,
    )


@contextmanager
def relative_to(root: str) -> Iterator[None]:
    """Errors inside the block name paths relative to `root`, as the caller did."""
    try:
        yield
    except TrackingError as error:
        error.message = error.message.replace(f"{root}/", "")
        raise
