"""The model registry as MLflow's own client, unmodified, uses it against a live server."""

import json
from collections.abc import Iterator
from pathlib import Path

import mlflow
import pytest
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

pytestmark = pytest.mark.filterwarnings("ignore:.*deprecated since:FutureWarning")


class Doubler(mlflow.pyfunc.PythonModel):
    def predict(self, context: object, model_input: list[int]) -> list[int]:
        return [2 * value for value in model_input]


@pytest.fixture
def client(
    tracking_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[MlflowClient]:
    """Also sets the tracking URI of the fluent API, which logs the models."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    mlflow.set_tracking_uri(tracking_uri)
    try:
        yield MlflowClient()
    finally:
        mlflow.set_tracking_uri(None)


def log_model(**options: object) -> mlflow.models.model.ModelInfo:
    with mlflow.start_run(experiment_id="0"):
        return mlflow.pyfunc.log_model(
            name="doubler", python_model=Doubler(), pip_requirements=[], **options
        )


def doubles(uri: str) -> bool:
    return bool(mlflow.pyfunc.load_model(uri).predict([1, 2]) == [2, 4])


class TestRegistering:
    def test_while_logging(self, client: MlflowClient) -> None:
        info = log_model(registered_model_name="m")
        version = client.get_model_version("m", "1")
        assert version.source == f"models:/{info.model_id}"
        assert version.run_id == info.run_id
        assert (version.status, version.current_stage) == ("READY", "None")
        model = client.get_logged_model(info.model_id)
        # Server and client both record it; the client writes the number as text.
        registrations = json.loads(model.tags["mlflow.modelVersions"])
        assert {(one["name"], str(one["version"])) for one in registrations} == {("m", "1")}
        assert doubles("models:/m/1")

    def test_from_a_logged_model(self, client: MlflowClient) -> None:
        info = log_model()
        version = mlflow.register_model(f"models:/{info.model_id}", "m", tags={"a": "1"})
        assert (version.version, version.tags, version.run_id) == ("1", {"a": "1"}, info.run_id)
        location = client.get_logged_model(info.model_id).artifact_location
        assert client.get_model_version_download_uri("m", "1") == location

    def test_from_a_run(self, client: MlflowClient) -> None:
        info = log_model()
        version = mlflow.register_model(f"runs:/{info.run_id}/doubler", "m")
        assert version.source == f"models:/{info.model_id}"
        assert doubles("models:/m/1")

    def test_from_artifacts_of_a_run(self, client: MlflowClient, tmp_path: Path) -> None:
        """Clients before MLflow 3 log a model among the run's artifacts."""
        mlflow.pyfunc.save_model(tmp_path / "saved", python_model=Doubler(), pip_requirements=[])
        with mlflow.start_run(experiment_id="0") as run:
            mlflow.log_artifacts(str(tmp_path / "saved"), "old")
        version = mlflow.register_model(f"runs:/{run.info.run_id}/old", "m")
        assert version.source == f"{run.info.artifact_uri}/old"
        assert doubles("models:/m/1")

    def test_a_second_version(self, client: MlflowClient) -> None:
        first, second = (log_model(registered_model_name="m").model_id for _ in range(2))
        assert [
            client.get_model_version_download_uri("m", number).split("/")[-2] for number in "12"
        ] == [first, second]

    def test_a_local_path_is_refused(self, client: MlflowClient, tmp_path: Path) -> None:
        client.create_registered_model("m")
        with pytest.raises(MlflowException, match="Invalid model version source") as error:
            client.create_model_version("m", tmp_path.as_uri())
        assert error.value.error_code == "INVALID_PARAMETER_VALUE"


class TestLoading:
    @pytest.fixture
    def version(self, client: MlflowClient) -> None:
        log_model(registered_model_name="m")

    @pytest.mark.usefixtures("version")
    def test_by_alias(self, client: MlflowClient) -> None:
        client.set_registered_model_alias("m", "champion", "1")
        assert client.get_model_version_by_alias("m", "champion").aliases == ["champion"]
        assert doubles("models:/m@champion")

    @pytest.mark.usefixtures("version")
    def test_by_stage(self, client: MlflowClient) -> None:
        client.transition_model_version_stage("m", "1", "production")
        assert doubles("models:/m/Production")
        with pytest.raises(MlflowException, match="stage 'Staging' found"):
            mlflow.pyfunc.load_model("models:/m/Staging")

    @pytest.mark.usefixtures("version")
    def test_the_latest(self, client: MlflowClient) -> None:
        assert doubles("models:/m/latest")

    @pytest.mark.usefixtures("version")
    def test_a_copy_outlives_the_original(self, client: MlflowClient) -> None:
        client.set_model_version_tag("m", "1", "a", "b")
        original = client.get_model_version("m", "1")
        copy = client.copy_model_version("models:/m/1", "copy")
        assert (copy.source, copy.tags, copy.run_id) == ("models:/m/1", {"a": "b"}, original.run_id)
        client.delete_registered_model("m")
        assert doubles("models:/copy/1")

    def test_absent(self, client: MlflowClient) -> None:
        with pytest.raises(MlflowException, match="Registered Model with name=nope not found"):
            client.get_latest_versions("nope")
        client.create_registered_model("m")
        with pytest.raises(MlflowException, match=r"\(name=m, version=1\) not found"):
            mlflow.pyfunc.load_model("models:/m/1")


class TestRegistry:
    def test_life(self, client: MlflowClient) -> None:
        model = client.create_registered_model("m", {"a": "1"}, "about")
        assert (model.tags, model.description, model.latest_versions) == ({"a": "1"}, "about", [])
        client.create_model_version("m", "s3://bucket/one", description="first")
        client.create_model_version("m", "s3://bucket/two", run_link="https://host/run")
        client.set_registered_model_alias("m", "champion", 2)
        client.set_registered_model_tag("m", "b", "2")
        client.delete_registered_model_tag("m", "a")
        client.update_registered_model("m", "more")
        client.update_model_version("m", "1", "still the first")
        client.rename_registered_model("m", "n")
        found = client.get_registered_model("n")
        assert (found.tags, found.aliases) == ({"b": "2"}, {"champion": "2"})
        assert found.description == "more"
        assert [one.version for one in found.latest_versions] == ["2"]
        assert client.get_model_version("n", 1).description == "still the first"
        assert client.get_model_version("n", 2).run_link == "https://host/run"
        client.delete_registered_model_alias("n", "champion")
        client.delete_model_version("n", "2")
        assert [one.version for one in client.search_model_versions("name='n'")] == ["1"]
        client.delete_registered_model("n")
        assert client.search_registered_models() == client.search_model_versions() == []

    def test_stages(self, client: MlflowClient) -> None:
        client.create_registered_model("m")
        for _ in range(3):
            client.create_model_version("m", "s3://bucket/one")
        client.transition_model_version_stage("m", 1, "Staging")
        client.transition_model_version_stage("m", 2, "Staging", archive_existing_versions=True)
        latest = {one.current_stage: one.version for one in client.get_latest_versions("m")}
        assert latest == {"Archived": "1", "Staging": "2", "None": "3"}
        (staged,) = client.get_latest_versions("m", ["staging"])
        assert staged.version == "2"

    def test_search_pages(self, client: MlflowClient) -> None:
        for n in range(5):
            client.create_registered_model(f"m{n}", {"even": str(n % 2 == 0)})
            client.create_model_version(f"m{n}", "s3://bucket/one", tags={"n": str(n)})
        first = client.search_registered_models(
            "tags.even = 'True'", max_results=2, order_by=["name DESC"]
        )
        assert [one.name for one in first] == ["m4", "m2"]
        rest = client.search_registered_models(
            "tags.even = 'True'", max_results=2, order_by=["name DESC"], page_token=first.token
        )
        assert [one.name for one in rest] == ["m0"]
        assert not rest.token
        found = client.search_model_versions("name ILIKE 'M%' AND tags.n != '3'", max_results=3)
        assert [one.name for one in found] == ["m4", "m2", "m1"]


class TestPrompts:
    def test_life(self, client: MlflowClient) -> None:
        first = mlflow.genai.register_prompt(
            "greeting", "Hello {{name}}", commit_message="first", tags={"team": "a"}
        )
        assert (first.version, first.template, first.commit_message) == (
            1,
            "Hello {{name}}",
            "first",
        )
        chat = [{"role": "user", "content": "Hi {{name}}"}]
        assert mlflow.genai.register_prompt("greeting", chat).version == 2
        assert mlflow.genai.load_prompt("greeting", version=1).format(name="Ann") == "Hello Ann"
        assert mlflow.genai.load_prompt("prompts:/greeting/2").template == chat
        mlflow.genai.set_prompt_alias("greeting", "live", 1)
        assert mlflow.genai.load_prompt("prompts:/greeting@live").version == 1
        assert mlflow.genai.load_prompt("prompts:/greeting@latest").version == 2
        mlflow.genai.delete_prompt_alias("greeting", "live")
        with pytest.raises(MlflowException, match="alias live not found"):
            client.get_prompt_version_by_alias("greeting", "live")

    def test_tags(self, client: MlflowClient) -> None:
        mlflow.genai.register_prompt("greeting", "Hello")
        mlflow.genai.set_prompt_tag("greeting", "team", "a")
        mlflow.genai.set_prompt_version_tag("greeting", 1, "state", "draft")
        assert client.get_prompt("greeting").tags["team"] == "a"
        assert client.get_prompt_version("greeting", 1).tags["state"] == "draft"
        mlflow.genai.delete_prompt_tag("greeting", "team")
        mlflow.genai.delete_prompt_version_tag("greeting", 1, "state")
        assert "team" not in client.get_prompt("greeting").tags
        assert "state" not in client.get_prompt_version("greeting", 1).tags

    def test_prompts_and_models_do_not_mix(self, client: MlflowClient) -> None:
        mlflow.genai.register_prompt("greeting", "Hello")
        client.create_registered_model("model")
        client.create_model_version("model", "s3://bucket/one")
        assert [one.name for one in mlflow.genai.search_prompts()] == ["greeting"]
        assert [one.name for one in client.search_registered_models()] == ["model"]
        assert [one.name for one in client.search_model_versions()] == ["model"]
        with pytest.raises(MlflowException, match="exists with the same name"):
            mlflow.genai.register_prompt("model", "Hello")
        with pytest.raises(MlflowException, match="already taken by a prompt"):
            client.create_registered_model("greeting")

    def test_versions_and_delete(self, client: MlflowClient) -> None:
        for text in "abc":
            mlflow.genai.register_prompt("greeting", text)
        found = client.search_prompt_versions("greeting", max_results=2)
        assert [one.version for one in found] == [3, 2]
        client.delete_prompt_version("greeting", "3")
        assert mlflow.genai.register_prompt("greeting", "d").version == 4
        client.delete_prompt("greeting")
        assert mlflow.genai.search_prompts() == []
