"""Where artifacts lie, by their experiment's location."""

from hypothesis import given
from hypothesis import strategies as st

from app.kernel.artifact_uris import artifact_root, model_artifact_uri, run_artifact_uri

RUN, MODEL = "0" * 32, "m-" + "0" * 32


def test_with_this_server() -> None:
    assert artifact_root(7, None) == "mlflow-artifacts:/experiments/7"
    assert run_artifact_uri(7, None, RUN) == f"mlflow-artifacts:/experiments/7/runs/{RUN}/artifacts"
    assert (
        model_artifact_uri(7, None, MODEL)
        == f"mlflow-artifacts:/experiments/7/models/{MODEL}/artifacts"
    )


def test_an_empty_location_is_none() -> None:
    assert run_artifact_uri(7, "", RUN) == run_artifact_uri(7, None, RUN)
    assert model_artifact_uri(7, "", MODEL) == model_artifact_uri(7, None, MODEL)


@given(st.text(min_size=1).map("s3://{}".format), st.integers(0, 3))
def test_slashes_at_the_end_of_a_location_do_not_matter(location: str, slashes: int) -> None:
    with_slashes = location + "/" * slashes
    for uri, its_id in ((run_artifact_uri, f"{RUN}"), (model_artifact_uri, MODEL)):
        assert uri(7, with_slashes, its_id) == uri(7, location, its_id)
        assert uri(7, with_slashes, its_id).startswith(f"{location.rstrip('/')}/")
