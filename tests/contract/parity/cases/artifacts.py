"""Artifacts: the listings of runs, and the proxy through which files are moved.

`$folder` is where a run's artifacts lie in the proxy, on each server in its own place.
"""

from typing import Any

from tests.contract.parity.cases.calls import Call, Case, create_experiment, create_run, get

PROXY = "/api/2.0/mlflow-artifacts/artifacts"


def list_artifacts(**query: Any) -> Call:
    return get("artifacts/list", **({"run_id": "$run"} | query))


def put(path: str, content: bytes = b"text\n", **headers: str) -> Call:
    return Call("PUT", f"{PROXY}/$folder/{path}", content=content, headers=headers)


def download(path: str) -> Call:
    return Call("GET", f"{PROXY}/$folder/{path}")


def delete(path: str) -> Call:
    return Call("DELETE", f"{PROXY}/$folder/{path}")


def list_folder(path: str = "$folder") -> Call:
    return Call("GET", PROXY, query=[("path", path)])


def get_artifact(**query: str) -> Call:
    return Call("GET", "/get-artifact", query=list(({"run_id": "$run"} | query).items()))


def upload(content: bytes, **query: str) -> Call:
    return Call(
        "POST",
        "/ajax-api/2.0/mlflow/upload-artifact",
        query=list(query.items()),
        content=content,
        headers={"content-type": "application/json"},
    )


def upload_in_parts(step: str, **body: Any) -> Call:
    return Call("POST", f"/api/2.0/mlflow-artifacts/mpu/{step}/$folder/models", body)


RUN = create_run().keeping(run="run.info.run_id", folder="run.info.artifact_uri")
FILES: Case = [
    RUN,
    put("a.txt", b"one"),
    put("empty.txt", b""),
    put("b/c.txt", b"three"),
    put("b/d/e.txt", b"four4"),
    put("\u00e4 b.txt", b"five"),
    put("z.bin", b"\x00\xff" * 5000),
]

CASES: dict[str, Case] = {
    "an empty run has no artifacts": [create_run(), list_artifacts(), list_artifacts(path="none")],
    "a listing needs a run": [
        get("artifacts/list"),
        get("artifacts/list", run_id=""),
        get("artifacts/list", run_id="0" * 32),
    ],
    "a listing of a deleted run": [
        create_run(),
        Call("POST", "runs/delete", {"run_id": "$run"}),
        list_artifacts(),
    ],
    "paths that leave their folder": [
        create_run(),
        *(
            list_artifacts(path=path)
            for path in ("..", "../x", "/etc", "a/../..", "%2e%2e", "a\\..")
        ),
        list_artifacts(path=""),
    ],
    "files of a run are listed, a folder at a time": [
        *FILES,
        list_artifacts(),
        *(list_artifacts(path=path) for path in ("b", "b/", "b/d", "a.txt", "b/c.txt", "none")),
        list_folder(),
        *(list_folder(f"$folder/{path}") for path in ("b", "b/d", "none", "a.txt")),
        list_folder("none"),
    ],
    "files are downloaded": [
        *FILES,
        *(download(path) for path in ("a.txt", "empty.txt", "b/c.txt", "\u00e4 b.txt", "z.bin")),
        *(download(path) for path in ("none", "b", "b/none.txt")),
    ],
    "listings of paths with dots": [
        *FILES,
        *(list_artifacts(path=path) for path in (".", "./", "./b", "b/.", "b/./d", "b//d", "./.")),
        *(list_folder(f"$folder/{path}") for path in (".", "./b", "b/.", "b/./d", "b//d")),
    ],
    "downloads of paths with dots": [
        *FILES,
        *(download(path) for path in ("%2e/a.txt", "b/%2e/c.txt", "b%2f%2fc.txt")),
        *(get_artifact(path=path) for path in ("./a.txt", "b/./c.txt", "b//c.txt")),
    ],
    # As MLflow's client puts names into URLs.
    "names with percent signs": [
        RUN,
        *(
            call
            for name in (
                "frame%03d.png",
                "top%1f.png",
                "discount%10.csv",
                "100%25.txt",
                "x%2fy.txt",
                "loss%25step%250%25timestamp%251795000000000%250b5c.png",
            )
            for call in (put(name), download(name))
        ),
        list_artifacts(),
        list_artifacts(path="x"),
        list_folder(),
    ],
    "files of a run for the page": [
        *FILES,
        *(get_artifact(path=path) for path in ("a.txt", "b/c.txt", "\u00e4 b.txt", "z.bin")),
        *(get_artifact(path=path) for path in ("none", "b", "../x", "/etc", "%2e%2e/x")),
        get_artifact(path="a.txt", run_id="0" * 32),
        Call("GET", "/get-artifact", query=[("run_uuid", "$run"), ("path", "a.txt")]),
    ],
    "files of a version for the page": [
        *FILES,
        Call("POST", "registered-models/create", {"name": "m"}),
        Call(
            "POST",
            "model-versions/create",
            {"name": "m", "source": "mlflow-artifacts:/$folder/b", "run_id": "$run"},
        ),
        *(
            Call("GET", "/model-versions/get-artifact", query=[*version.items(), ("path", path)])
            for version in ({"name": "m", "version": "1"}, {"name": "m", "version": "2"})
            for path in ("c.txt", "d/e.txt", "none", "../a.txt")
        ),
    ],
    "uploads of the page": [
        RUN,
        upload(b"[1]", run_uuid="$run", path="d/table.json"),
        list_artifacts(path="d"),
        get_artifact(path="d/table.json"),
        upload(b"[1]", path="a.json"),
        upload(b"[1]", run_uuid="$run"),
        upload(b"", run_uuid="$run", path="a.json"),
        upload(b"[1]", run_uuid="$run", path="../a.json"),
        upload(b"[1]", run_uuid="0" * 32, path="a.json"),
        upload(b"x" * (10 * 1024 * 1024 + 1), run_uuid="$run", path="a.json"),
    ],
    "a file is overwritten": [RUN, put("a", b"one"), put("a", b"other"), download("a")],
    "files and folders are deleted": [
        *FILES,
        delete("a.txt"),
        download("a.txt"),
        delete("a.txt"),
        delete("b"),
        list_artifacts(),
        delete("none"),
        put("b/c.txt", b"again"),
        download("b/c.txt"),
    ],
    "paths of the proxy that leave their folder": [
        *FILES,
        *(
            call
            for path in ("%2e%2e/x", "..%2fx", "a%252f..%252fb", "%5c..%5cx", "C:/x")
            for call in (download(path), put(path), delete(path))
        ),
        *(list_folder(path) for path in ("..", "/etc", "$folder/..", "%2e%2e")),
    ],
    "files of a run in an experiment": [
        create_experiment("a"),
        create_run(experiment_id="$experiment").keeping(
            run="run.info.run_id", folder="run.info.artifact_uri"
        ),
        put("x/y.txt"),
        list_artifacts(),
        list_artifacts(path="x"),
        download("x/y.txt"),
    ],
    "uploads in parts": [
        RUN,
        upload_in_parts("create", path="/home/user/a.bin", num_parts=2),
        upload_in_parts("create", num_parts=2),
        upload_in_parts("create", path="a.bin", num_parts="many"),
        upload_in_parts("complete", upload_id="x", parts=[{"part_number": 1, "etag": "x"}]),
        upload_in_parts("complete", path="a.bin", upload_id="x"),
        upload_in_parts("abort", upload_id="x"),
    ],
    "presigned URLs": [
        *FILES,
        Call("GET", "/api/2.0/mlflow-artifacts/presigned/$folder/a.txt"),
        *(
            Call("POST", f"artifacts/presigned-{kind}-url", body)
            for kind in ("download", "upload")
            for body in (
                {"run_id": "$run", "path": "a.txt"},
                {"run_id": "$run", "path": "a.txt", "expiration": 60},
                {"run_id": "$run"},
                {"path": "a.txt"},
                {"run_id": "0" * 32, "path": "a.txt"},
                {"run_id": "$run", "path": "../a.txt"},
                {"run_id": "$run", "path": "a.txt", "expiration": "soon"},
            )
        ),
        Call(
            "POST",
            "artifacts/presigned-upload-url",
            {"run_id": "$run", "model_id": "m-1", "path": "a.txt"},
        ),
        *(
            Call(
                "POST",
                "artifacts/presigned-download-url",
                {"run_id": "$run", "path": "a.txt", "expiration": seconds},
            )
            for seconds in (0, -1, 604_801)
        ),
    ],
}
