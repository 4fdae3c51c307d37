"""A logged model's id, and the location of its artifacts."""

import re

import pytest

from app.kernel.artifact_uris import ModelLocation
from app.kernel.errors import ConflictError
from app.kernel.ids import is_model_id, new_model_id
from app.logged_models.entities import LoggedModel

MODEL_ID = "m-" + "0a" * 16


def model(artifact_location: str | None) -> LoggedModel:
    return LoggedModel(
        model_id=MODEL_ID,
        experiment_id=12,
        name="n",
        model_type="",
        source_run_id="",
        status="LOGGED_MODEL_READY",
        creation_time=1,
        last_updated_time=1,
        deleted_time=None,
        artifact_location=artifact_location,
        params={},
        tags={},
    )


class TestModelId:
    def test_new(self) -> None:
        assert re.fullmatch("m-[0-9a-f]{32}", new_model_id())
        assert is_model_id(new_model_id())

    @pytest.mark.parametrize("text", ["", "m-", "0a" * 17, MODEL_ID[2:], MODEL_ID.upper(), "m-x"])
    def test_no_id(self, text: str) -> None:
        assert not is_model_id(text)


class TestModelLocation:
    def test_with_this_server(self) -> None:
        uri = model(None).artifact_uri
        assert uri == f"mlflow-artifacts:/experiments/12/models/{MODEL_ID}/artifacts"
        folder = ModelLocation(MODEL_ID, uri).folder
        assert folder == f"experiments/12/models/{MODEL_ID}/artifacts"

    def test_elsewhere(self) -> None:
        uri = model("s3://bucket/x/").artifact_uri
        assert uri == f"s3://bucket/x/models/{MODEL_ID}/artifacts"
        with pytest.raises(ConflictError, match="s3://bucket/x/models"):
            _ = ModelLocation(MODEL_ID, uri).folder
