"""Prompts through MLflow's client, which keeps them in the registry: the same on both servers."""

import threading
from collections.abc import Callable
from typing import Any

import pytest
from mlflow import MlflowClient

from tests.contract.parity.histories import outcome
from tests.contract.parity.normalize import Pair

Use = Callable[[MlflowClient], Any]


def _shown(prompt: Any) -> Any:
    if prompt is None:
        return None
    names = ("name", "version", "template", "commit_message", "tags", "aliases")
    return {name: getattr(prompt, name, None) for name in names}


def _register(text: Any, name: str = "p", **fields: Any) -> Use:
    return lambda client: _shown(client.register_prompt(name, text, **fields))


def _load(uri: str, **fields: Any) -> Use:
    return lambda client: _shown(client.load_prompt(uri, **fields))


def _search(**fields: Any) -> Use:
    return lambda client: [
        (one.name, one.description, one.tags) for one in client.search_prompts(**fields)
    ]


CASES: dict[str, list[Use]] = {
    "registered, and loaded by version": [
        _register("Say {{this}}", commit_message="first", tags={"k": "v"}),
        _register("Say {{that}}"),
        _load("prompts:/p/1"),
        _load("prompts:/p/2"),
        _load("p", version=1),
        _load("prompts:/p/3", allow_missing=True),
        _load("prompts:/none/1", allow_missing=True),
        _load("prompts:/p/3"),
    ],
    "by alias": [
        _register("one"),
        _register("two"),
        lambda client: client.set_prompt_alias("p", "best", 1),
        _load("prompts:/p@best"),
        lambda client: client.set_prompt_alias("p", "best", 2),
        _load("prompts:/p@best"),
        lambda client: client.delete_prompt_alias("p", "best"),
        _load("prompts:/p@best"),
        _load("prompts:/p@latest"),
    ],
    "searched": [
        _register("one", "a"),
        _register([{"role": "user", "content": "{{q}}"}], "b"),
        lambda client: client.create_registered_model("model").name,
        _search(),
        _search(filter_string="name = 'a'"),
        _search(filter_string="name LIKE 'b%'"),
        lambda client: [one.name for one in client.search_registered_models()],
        _load("prompts:/b/1"),
    ],
    "tagged and deleted": [
        _register("one"),
        lambda client: client.set_prompt_tag("p", "k", "v"),
        lambda client: client.set_prompt_version_tag("p", "1", "k", "v"),
        _load("prompts:/p/1"),
        lambda client: client.delete_prompt_version_tag("p", "1", "k"),
        lambda client: client.delete_prompt_version("p", "1"),
        lambda client: client.delete_prompt("p"),
        _search(),
    ],
    "refused": [
        _register("one", "a/b"),
        _register("one", ""),
        lambda client: client.create_registered_model("p").name,
        _register("one"),
        _load("prompts:/p/1"),
    ],
}


@pytest.mark.parametrize("name", CASES)
def test_prompts(
    name: str, empty_pair: Callable[[], Pair], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    monkeypatch.setenv("MLFLOW_ENABLE_ASYNC_LOGGING", "false")
    pair = empty_pair()
    clients = [(side, MlflowClient(side.url, side.url)) for side in (pair.theirs, pair.ours)]
    for number, use in enumerate(CASES[name]):
        theirs, ours = (outcome(lambda c, _, use=use: use(c), c, side) for side, c in clients)
        _wait_for_links()
        pair.compare(f"prompts, step {number}", theirs, ours)


def _wait_for_links() -> None:
    """The client notes a new prompt's experiment in a thread, which may end after the next call."""
    for thread in threading.enumerate():
        if thread.name.startswith("link_prompt_to_experiment_thread"):
            thread.join(30)
