"""The cases of the routes of artifacts: their transfers, and the files of a run."""

from tests.contract.isolation.case import Case, at, body, makes, query

OWN_ROOT = "experiments/<own_experiment>/runs/<own_run>/artifacts"

# What signed URLs of the other tenant's grant: method, path, and query.
GRANTS: dict[str, tuple[str, str, dict[str, str]]] = {
    "download": (
        "GET",
        "<run_root>/<file>",
        {
            "object": "<download_object>",
            "expires": "<download_expires>",
            "signature": "<download_signature>",
        },
    ),
    "upload": (
        "PUT",
        "<run_root>/<folder>/late.txt",
        {"expires": "<upload_expires>", "signature": "<upload_signature>"},
    ),
    "part": (
        "PUT",
        "<run_root>/<folder>/parts.bin",
        {
            "upload": "<upload_id>",
            "part": "2",
            "expires": "<part_expires>",
            "signature": "<part_signature>",
        },
    ),
}


def _signed(content: str | None = None) -> list[Case]:
    """Every grant, in the caller's own tenant, for its path and for a path of the caller's."""
    return [
        Case(403, query=granted, path={"path": one}, content=content)
        for _, path, granted in GRANTS.values()
        for one in (path, path.replace("<run_root>", OWN_ROOT))
    ]


# Every place in the other's folders, and his folders below the caller's own.
_FILES = ("<run_root>/<file>", "<model_root>/<file>")
_FOLDERS = ("<run_root>/<folder>", "<model_root>/<folder>", "<run_root>", "<model_root>")
PROXIED = {
    "GET artifacts": [query(200, path=folder) for folder in _FOLDERS],
    "HEAD artifacts": [query(200, path=folder) for folder in _FOLDERS],
    "GET artifacts/{path}": [at(path=path) for path in _FILES + _FOLDERS],
    "HEAD artifacts/{path}": [at(path=path) for path in _FILES],
    "PUT artifacts/{path}": [Case(404, path={"path": path}, content="x") for path in _FILES],
    # MLflow's deletions may be repeated: what is not there is deleted.
    "DELETE artifacts/{path}": [at(200, path=path) for path in _FILES + _FOLDERS],
}

_UPLOAD = {"path": "parts.bin", "upload_id": "<upload_id>"}
_PARTS = [{"part_number": 1, "etag": "<part_etag>"}]
_THEIRS = ("<run_root>/<folder>", "<model_root>/<folder>", "<run_root>")
_ANYBODYS = (*_THEIRS, f"{OWN_ROOT}/<folder>", OWN_ROOT)
TRANSFERS = {
    "POST mpu/create/{path}": [
        *(
            Case(404, json={"path": "parts.bin", "num_parts": 1}, path={"path": folder})
            for folder in _THEIRS
        ),
        Case(
            200,
            json={"path": "parts.bin", "num_parts": 1},
            path={"path": f"{OWN_ROOT}/<folder>"},
            created=True,
        ),
    ],
    "POST mpu/complete/{path}": [
        Case(404, json=_UPLOAD | {"parts": _PARTS}, path={"path": folder}) for folder in _ANYBODYS
    ],
    # As with deletions: an upload that is not there is aborted.
    "POST mpu/abort/{path}": [
        Case(200, json=_UPLOAD, path={"path": folder}) for folder in _ANYBODYS
    ],
    "GET presigned/{path}": [at(path=path) for path in (*_FILES, *_FOLDERS, f"{OWN_ROOT}/<file>")],
    "GET signed/{path}": _signed(),
    "HEAD signed/{path}": _signed(),
    "PUT signed/{path}": _signed("x"),
}

PRESIGNED = {
    "POST artifacts/presigned-download-url": [
        body(run_id="<run>", path="<file>"),
        body(run_id="<own_run>", path="<file>"),
    ],
    "POST artifacts/presigned-upload-url": [
        body(run_id="<run>", path="<file>"),
        body(model_id="<model>", path="<file>"),
        makes(run_id="<own_run>", path="<file>"),
    ],
}

# The files that MLflow's page reads and writes.
_VERSION = {"name": "<registered>", "version": "<version>"}
PAGES: dict[str, list[Case]] = {
    "GET get-artifact": [
        query(run_id="<run>", path="<file>"),
        query(run_uuid="<run>", path="<file>"),
        query(run_id="<own_run>", path="<file>"),
    ],
    "GET model-versions/get-artifact": [
        query(**_VERSION, path="<file>"),
        query(name="<own_registered>", version="<version>", path="<file>"),
    ],
    "GET logged-models/{model_id}/artifacts/files": [
        query(artifact_file_path="<file>"),
        Case(404, query={"artifact_file_path": "<file>"}, path={"model_id": "<own_model>"}),
    ],
    "POST upload-artifact": [
        Case(404, query={"run_uuid": "<run>", "path": "<file>"}, content="x"),
    ],
}

RUN = "/api/v1/experiments/runs/{run_id}"
_OWN = {"run_id": "<own_run>"}


def _copy(run: str | None, path: str = "x", *, into: str) -> Case:
    source = {} if run is None else {"source_run_id": run}
    fields = source | {"source_path": "<folder>", "path": path}
    return Case(404, json=fields, path={"run_id": into})


FILES_OF_RUNS: dict[str, list[Case]] = {
    f"POST {RUN}/log-artifact": [Case(404, form={"artifact_path": "<folder>"})],
    f"GET {RUN}/artifacts": [
        query(path="<folder>"),
        Case(200, query={"path": "<folder>"}, path=_OWN),
        Case(422, query={"path": "<folder>", "page_token": "<files_token>"}, path=_OWN),
    ],
    f"GET {RUN}/artifacts/{{path}}": [
        at(),
        at(404, **_OWN),
        query(archive="zip"),
        Case(404, query={"archive": "zip"}, path={"path": "<folder>"}),
        Case(404, query={"archive": "zip"}, path={"path": "<folder>"} | _OWN),
        *(query(preview=kind) for kind in ("auto", "text", "table", "image")),
        Case(404, query={"preview": "text"}, path=_OWN),
    ],
    f"HEAD {RUN}/artifacts/{{path}}": [
        at(),
        at(404, **_OWN),
        query(archive="zip"),
        query(preview="auto"),
    ],
    f"DELETE {RUN}/artifacts/{{path}}": [at(), at(404, **_OWN), at(path="<folder>")],
    f"POST {RUN}/artifacts": [
        Case(404, query={"path": "<folder>"}, form={}),
        Case(200, query={"path": "<folder>"}, form={}, path=_OWN, created=True),
    ],
    f"POST {RUN}/artifacts/copy": [
        _copy(None, into="<run>"),
        _copy("<own_run>", into="<run>"),
        _copy("<run>", into="<own_run>"),
        _copy("<run>", "<folder>", into="<second_run>"),
        _copy(None, "<folder>", into="<own_run>"),
    ],
}
