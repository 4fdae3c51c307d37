"""Experiments, with the rules of MLflow 3.17's server."""

import time
from typing import Any

import httpx
import pytest

from app.kernel.tenant import Tenant
from tests.integration.mlflow_api.model_calls import invalid, refused
from tests.integration.mlflow_api.tracking_calls import (
    NO_EXPERIMENT,
    absent_experiment,
    done,
    experiment_names,
    get,
    get_experiment,
    get_run,
    missing,
    new_experiment,
    new_run,
    ok,
    pairs,
    post,
    tags_of,
    wrong_type,
)


class TestCreate:
    async def test_shape(self, client: httpx.AsyncClient, tenant: Tenant) -> None:
        before = int(time.time() * 1000)
        experiment_id = await new_experiment(client, "first", tags=pairs(team="vision"))
        shown = await get_experiment(client, experiment_id)
        created = shown.pop("creation_time")
        assert before <= created <= time.time() * 1000
        assert shown == {
            "experiment_id": experiment_id,
            "name": "first",
            "artifact_location": f"mlflow-artifacts:/experiments/{experiment_id}",
            "lifecycle_stage": "active",
            "last_update_time": created,
            "workspace": tenant.slug,
            "tags": [
                {"key": "team", "value": "vision"},
                {"key": "matih.tenant_id", "value": tenant.slug},
            ],
        }

    async def test_id_is_a_decimal_string(self, client: httpx.AsyncClient) -> None:
        assert (await new_experiment(client)).isdecimal()

    async def test_cloud_location_is_kept_verbatim(self, client: httpx.AsyncClient) -> None:
        location = "s3://bucket/some/prefix/"
        experiment_id = await new_experiment(client, artifact_location=location)
        assert (await get_experiment(client, experiment_id))["artifact_location"] == location

    @pytest.mark.parametrize(
        "location",
        [
            "/etc",
            "relative",
            "file:///etc",
            "FILE:/etc",
            "http://evil/x",
            "s3://bucket/../x",
            "s3://bucket/x#y",
            "mlflow-artifacts:/experiments/0",
            "s3:",
        ],
    )
    async def test_local_location(self, client: httpx.AsyncClient, location: str) -> None:
        answer = await post(client, "experiments/create", name="x", artifact_location=location)
        invalid(answer, "'artifact_location'")
        assert await experiment_names(client) == ["Default"]

    async def test_no_tags(self, client: httpx.AsyncClient) -> None:
        for tags in (None, []):
            await new_experiment(client, f"tags {tags}", tags=tags)

    async def test_repeated_tag(self, client: httpx.AsyncClient) -> None:
        tags = pairs(a="1") + pairs(a="2")
        shown = await get_experiment(client, await new_experiment(client, tags=tags))
        assert tags_of(shown)["a"] == "2"

    async def test_unknown_fields(self, client: httpx.AsyncClient) -> None:
        await new_experiment(client, "x", bogus={"a": [1]})

    @pytest.mark.parametrize("fields", [{}, {"name": ""}, {"name": None}])
    async def test_missing_name(self, client: httpx.AsyncClient, fields: dict[str, Any]) -> None:
        missing(await post(client, "experiments/create", **fields), "name")

    @pytest.mark.parametrize(
        ("field", "value", "shown", "type_name"),
        [
            ("name", 5, "5", "int"),
            ("name", ["x"], '["x"]', "list"),
            ("artifact_location", 5, "5", "int"),
            ("tags", {}, "{}", "dict"),
            ("tags", "x", '"x"', "str"),
            ("tags[0]", [None], "null", "NoneType"),
            ("tags[0].key", [{"key": 1}], "1", "int"),
        ],
    )
    async def test_wrong_type(
        self, client: httpx.AsyncClient, field: str, value: Any, shown: str, type_name: str
    ) -> None:
        fields = {"name": "x", field.partition("[")[0]: value}
        answer = await post(client, "experiments/create", **fields)
        wrong_type(answer, field, shown, type_name)
        assert await experiment_names(client) == ["Default"]

    @pytest.mark.parametrize(
        ("name", "words"),
        [
            ("n" * 501, "'name' exceeds the maximum length of 500 characters"),
            ("a\x00b", "'name'"),
        ],
    )
    async def test_bad_name(self, client: httpx.AsyncClient, name: str, words: str) -> None:
        invalid(await post(client, "experiments/create", name=name), words)
        assert await experiment_names(client) == ["Default"]

    @pytest.mark.parametrize("name", ["n" * 500, " ", "a/b", "日本語 🚀", "'; drop table x --"])
    async def test_any_other_name(self, client: httpx.AsyncClient, name: str) -> None:
        assert (await get_experiment(client, await new_experiment(client, name)))["name"] == name

    @pytest.mark.parametrize(
        ("key", "value", "words"),
        [
            ("", "v", "'key'"),
            ("k" * 251, "v", "'key' exceeds the maximum length of 250 characters"),
            ("k", "v" * 20_001, "'value' exceeds the maximum length of 20000 characters"),
            ("a!b", "v", "'key'"),
            ("a//b", "v", "'key'"),
            ("k", "\x00", "'value'"),
        ],
    )
    async def test_bad_tag(
        self, client: httpx.AsyncClient, key: str, value: str, words: str
    ) -> None:
        tags = [{"key": key, "value": value}]
        invalid(await post(client, "experiments/create", name="x", tags=tags), words)
        assert await experiment_names(client) == ["Default"]

    async def test_taken_name(self, client: httpx.AsyncClient) -> None:
        await new_experiment(client, "taken")
        refused(
            await post(client, "experiments/create", name="taken"),
            400,
            "RESOURCE_ALREADY_EXISTS",
            "Experiment(name=taken) already exists.",
        )

    async def test_name_of_a_deleted_one_stays_taken(self, client: httpx.AsyncClient) -> None:
        experiment_id = await new_experiment(client, "taken")
        done(await post(client, "experiments/delete", experiment_id=experiment_id))
        answer = await post(client, "experiments/create", name="taken")
        assert answer.json()["error_code"] == "RESOURCE_ALREADY_EXISTS"


class TestGet:
    async def test_default(self, client: httpx.AsyncClient) -> None:
        shown = await get_experiment(client, "0")
        assert (shown["name"], shown["lifecycle_stage"]) == ("Default", "active")
        assert shown["artifact_location"] == "mlflow-artifacts:/experiments/0"

    async def test_deleted_is_shown(self, client: httpx.AsyncClient) -> None:
        experiment_id = await new_experiment(client)
        done(await post(client, "experiments/delete", experiment_id=experiment_id))
        assert (await get_experiment(client, experiment_id))["lifecycle_stage"] == "deleted"

    @pytest.mark.parametrize("experiment_id", [NO_EXPERIMENT, "-1", "1" * 40])
    async def test_unknown(self, client: httpx.AsyncClient, experiment_id: str) -> None:
        answer = await get(client, "experiments/get", experiment_id=experiment_id)
        absent_experiment(answer, experiment_id)

    @pytest.mark.parametrize("experiment_id", ["abc", "1.5", " 1", "１"])
    async def test_not_a_number(self, client: httpx.AsyncClient, experiment_id: str) -> None:
        refused(
            await get(client, "experiments/get", experiment_id=experiment_id),
            400,
            "INVALID_PARAMETER_VALUE",
            f"Invalid experiment ID '{experiment_id}'. Experiment ID must be a valid integer.",
        )

    @pytest.mark.parametrize("fields", [{}, {"experiment_id": ""}, {"other": "1"}])
    async def test_missing_id(self, client: httpx.AsyncClient, fields: dict[str, str]) -> None:
        missing(await get(client, "experiments/get", **fields), "experiment_id")


class TestGetByName:
    async def test_same_as_by_id(self, client: httpx.AsyncClient) -> None:
        experiment_id = await new_experiment(client, "by name")
        answer = ok(await get(client, "experiments/get-by-name", experiment_name="by name"))
        assert answer == {"experiment": await get_experiment(client, experiment_id)}

    async def test_deleted_is_shown(self, client: httpx.AsyncClient) -> None:
        experiment_id = await new_experiment(client, "gone")
        done(await post(client, "experiments/delete", experiment_id=experiment_id))
        answer = ok(await get(client, "experiments/get-by-name", experiment_name="gone"))
        assert answer["experiment"]["lifecycle_stage"] == "deleted"

    async def test_unknown(self, client: httpx.AsyncClient) -> None:
        refused(
            await get(client, "experiments/get-by-name", experiment_name="nobodys"),
            404,
            "RESOURCE_DOES_NOT_EXIST",
            "Could not find experiment with name 'nobodys'",
        )

    @pytest.mark.parametrize("fields", [{}, {"experiment_name": ""}])
    async def test_missing_name(self, client: httpx.AsyncClient, fields: dict[str, str]) -> None:
        missing(await get(client, "experiments/get-by-name", **fields), "experiment_name")

    async def test_nul(self, client: httpx.AsyncClient) -> None:
        answer = await get(client, "experiments/get-by-name", experiment_name="\x00")
        invalid(answer, "'experiment_name'")


class TestUpdate:
    async def test_rename(self, client: httpx.AsyncClient) -> None:
        experiment_id = await new_experiment(client, "before")
        before = await get_experiment(client, experiment_id)
        answer = await post(
            client, "experiments/update", experiment_id=experiment_id, new_name="after"
        )
        done(answer)
        after = await get_experiment(client, experiment_id)
        assert after["name"] == "after"
        assert after["last_update_time"] >= before["last_update_time"]

    async def test_same_name(self, client: httpx.AsyncClient) -> None:
        experiment_id = await new_experiment(client, "same")
        done(await post(client, "experiments/update", experiment_id=experiment_id, new_name="same"))

    @pytest.mark.parametrize("fields", [{}, {"new_name": ""}, {"new_name": None}])
    async def test_missing_name(self, client: httpx.AsyncClient, fields: dict[str, Any]) -> None:
        missing(await post(client, "experiments/update", experiment_id="0", **fields), "new_name")

    @pytest.mark.parametrize("new_name", ["n" * 501, "\x00"])
    async def test_bad_name(self, client: httpx.AsyncClient, new_name: str) -> None:
        answer = await post(client, "experiments/update", experiment_id="0", new_name=new_name)
        invalid(answer, "name")
        assert await experiment_names(client) == ["Default"]

    async def test_taken_name(self, client: httpx.AsyncClient) -> None:
        experiment_id = await new_experiment(client, "mine")
        answer = await post(
            client, "experiments/update", experiment_id=experiment_id, new_name="Default"
        )
        message = "Experiment(name=Default) already exists."
        refused(answer, 400, "RESOURCE_ALREADY_EXISTS", message)
        assert (await get_experiment(client, experiment_id))["name"] == "mine"

    async def test_deleted(self, client: httpx.AsyncClient) -> None:
        experiment_id = await new_experiment(client)
        done(await post(client, "experiments/delete", experiment_id=experiment_id))
        answer = await post(client, "experiments/update", experiment_id=experiment_id, new_name="x")
        invalid(answer, "Cannot rename a non-active experiment.")


class TestDelete:
    async def test_takes_its_runs_along(self, client: httpx.AsyncClient) -> None:
        experiment_id = await new_experiment(client)
        run_id = await new_run(client, experiment_id)
        done(await post(client, "experiments/delete", experiment_id=experiment_id))
        assert (await get_experiment(client, experiment_id))["lifecycle_stage"] == "deleted"
        assert (await get_run(client, run_id))["info"]["lifecycle_stage"] == "deleted"

    async def test_twice(self, client: httpx.AsyncClient) -> None:
        experiment_id = await new_experiment(client)
        done(await post(client, "experiments/delete", experiment_id=experiment_id))
        answer = await post(client, "experiments/delete", experiment_id=experiment_id)
        absent_experiment(answer, experiment_id)

    async def test_refuses_new_runs(self, client: httpx.AsyncClient) -> None:
        experiment_id = await new_experiment(client)
        done(await post(client, "experiments/delete", experiment_id=experiment_id))
        refused(
            await post(client, "runs/create", experiment_id=experiment_id),
            400,
            "INVALID_PARAMETER_VALUE",
            f"The experiment {experiment_id} must be in the 'active' state."
            " Current state is deleted.",
        )


class TestRestore:
    async def test_brings_its_runs_back(self, client: httpx.AsyncClient) -> None:
        experiment_id = await new_experiment(client)
        run_id = await new_run(client, experiment_id)
        done(await post(client, "experiments/delete", experiment_id=experiment_id))
        done(await post(client, "experiments/restore", experiment_id=experiment_id))
        assert (await get_experiment(client, experiment_id))["lifecycle_stage"] == "active"
        assert (await get_run(client, run_id))["info"]["lifecycle_stage"] == "active"

    async def test_active(self, client: httpx.AsyncClient) -> None:
        experiment_id = await new_experiment(client)
        answer = await post(client, "experiments/restore", experiment_id=experiment_id)
        absent_experiment(answer, experiment_id)


class TestAbsent:
    @pytest.mark.parametrize(
        ("method", "route", "fields"),
        [
            ("GET", "experiments/get", {}),
            ("POST", "experiments/update", {"new_name": "taken over"}),
            ("POST", "experiments/delete", {}),
            ("POST", "experiments/restore", {}),
            ("POST", "experiments/set-experiment-tag", {"key": "k", "value": "v"}),
            ("POST", "experiments/delete-experiment-tag", {"key": "a"}),
            ("POST", "runs/create", {}),
        ],
    )
    async def test_by_id(
        self, client: httpx.AsyncClient, method: str, route: str, fields: dict[str, str]
    ) -> None:
        call = get if method == "GET" else post
        answer = await call(client, route, experiment_id=NO_EXPERIMENT, **fields)
        absent_experiment(answer, NO_EXPERIMENT)

    async def test_default_is_each_ones_own(
        self, client: httpx.AsyncClient, other_client: httpx.AsyncClient
    ) -> None:
        done(await post(client, "experiments/update", experiment_id="0", new_name="renamed"))
        assert (await get_experiment(other_client, "0"))["name"] == "Default"
