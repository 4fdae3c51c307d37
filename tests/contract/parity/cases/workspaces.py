"""Workspaces, for which MLflow's server has to be started with --enable-workspaces.

`$ws` and `$other` are names that no case before has used.
"""

from typing import Any

from tests.contract.parity.cases.calls import Call, Case, get

API = "/api/3.0/mlflow/workspaces"
IN = "x-mlflow-workspace"


def create(name: Any = "$ws", **fields: Any) -> Call:
    return Call("POST", API, {"name": name} | fields)


def find(name: str = "$ws") -> Call:
    return get(f"{API}/{name}")


def update(name: str = "$ws", **fields: Any) -> Call:
    return Call("PATCH", f"{API}/{name}", fields)


def delete(name: str = "$ws", **query: str) -> Call:
    return Call("DELETE", f"{API}/{name}", query=list(query.items()))


def within(path: str, workspace: str = "$ws", /, **body: Any) -> Call:
    """A call of the resources of a workspace."""
    return Call("POST", f"/api/2.0/mlflow/{path}", body, headers={IN: workspace})


CASES: dict[str, Case] = {
    "a workspace is made, shown, and deleted": [
        create(description="text"),
        find(),
        get(API),
        delete(),
        find(),
        get(API),
        delete(),
    ],
    "a workspace without a description": [create(), find(), create(description=""), find()],
    "a name is required, and not taken": [
        Call("POST", API, {}),
        create(""),
        create(None),
        create(7),
        create(),
        create(),
    ],
    "names that a workspace cannot have": [
        *(create(name) for name in ("A", "a_b", "-ab", "ab-", "a b", "ä", "a/b", "a" * 64)),
        *(create(name) for name in ("workspaces", "api", "ajax-api", "static-files")),
        *(find(name) for name in ("A", "a_b", "api")),
        update("a_b", description="x"),
        delete("a_b"),
        *(delete(name) for name in ("workspaces", "api", "ajax-api", "static-files")),
    ],
    "names that only one of the servers allows": [create("b"), create("a" * 63), delete("b")],
    "the default workspace": [
        find("default"),
        create("default"),
        delete("default"),
        delete("default", mode="CASCADE"),
    ],
    "a workspace is described": [
        create(description="one"),
        update(description="two"),
        find(),
        update(description=""),
        find(),
        update(),
        update(description=7),
        update("absent", description="x"),
        update(description=None),
        find(),
    ],
    "a workspace that is not there": [
        find("absent"),
        delete("absent"),
        delete("absent", mode="CASCADE"),
        within("experiments/search", "absent", max_results=5),
    ],
    "an artifact root": [
        create(default_artifact_root=""),
        update(default_artifact_root=""),
        update(default_artifact_root="s3://bucket/root"),
        create("$other", default_artifact_root="s3://bucket/root"),
    ],
    "modes of a deletion": [
        create(),
        delete(mode="what"),
        delete(mode=""),
        delete(mode="restrict"),
        delete(mode="RESTRICT"),
    ],
    "a workspace that holds an experiment": [
        create(),
        within("experiments/create", name="a"),
        delete(),
        delete(mode="RESTRICT"),
        find(),
        delete(mode="CASCADE"),
        find(),
        create(),
        within("experiments/get-by-name", experiment_name="a"),
    ],
    "a workspace that holds a registered model": [
        create(),
        within("registered-models/create", name="m"),
        delete(),
        delete(mode="CASCADE"),
        find(),
    ],
    "what a workspace holds is given to the default one": [create(), delete(mode="SET_DEFAULT")],
    "one name in two workspaces": [
        create(),
        create("$other"),
        within("registered-models/create", name="m"),
        within("registered-models/create", "$other", name="m"),
        within("registered-models/create", name="m"),
    ],
}
