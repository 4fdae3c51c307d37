"""The URIs of a version's source, as text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.kernel import uri_schemes
from app.kernel.errors import InvalidValueError
from app.registry import source_uris
from app.registry.source_uris import ModelUri


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("models:/m-1", ModelUri(model_id="m-1")),
        ("models:/name/12", ModelUri(name="name", version="12")),
        ("models:/name/latest", ModelUri(name="name")),
        ("models:/name/LATEST", ModelUri(name="name")),
        ("models:/name/Staging", ModelUri(name="name", stage="Staging")),
        ("models:/name@best", ModelUri(name="name", alias="best")),
        ("models:/a@b@best", ModelUri(name="a@b", alias="best")),
        ("models:///name/1", ModelUri(name="name", version="1")),
        ("models:/", None),
        ("models:", None),
        ("models:name/1", None),
        ("models:/ /1", None),
        ("models:/name/ ", None),
        ("models:/name@ ", None),
        ("models:/a/b/c", None),
    ],
)
def test_model_uri(uri: str, expected: ModelUri | None) -> None:
    assert source_uris.model_uri(uri) == expected


@pytest.mark.parametrize(
    ("uri", "scheme", "host", "segments"),
    [
        ("S3://bucket/a//b/", "s3", "bucket", ["a", "b"]),
        ("mlflow-artifacts:/a/b%2520c", "mlflow-artifacts", "", ["a", "b c"]),
        ("mlflow-artifacts:///a", "mlflow-artifacts", "", ["a"]),
        ("runs:/id", "runs", "", ["id"]),
        ("/a/b", "", "", []),
        ("C:\\a", "", "", ["\\a"]),
    ],
)
def test_parts(uri: str, scheme: str, host: str, segments: list[str]) -> None:
    assert (uri_schemes.scheme(uri), source_uris.host(uri)) == (scheme, host)
    assert source_uris.segments(uri) == segments


@pytest.mark.parametrize(
    ("source", "within"),
    [
        ("mlflow-artifacts:/a/b", True),
        ("mlflow-artifacts:/a/b/c", True),
        ("mlflow-artifacts:///a/b", True),
        ("mlflow-artifacts:/a//b/", True),
        ("mlflow-artifacts:/a", False),
        ("mlflow-artifacts:/a/bc", False),
        ("mlflow-artifacts:/b/a/b", False),
        ("mlflow-artifacts://a/b", False),
        ("mlflow-artifacts://host/a/b", False),
        ("s3:/a/b", False),
    ],
)
def test_is_within(source: str, within: bool) -> None:
    assert source_uris.is_within(source, "mlflow-artifacts:/a/b") is within


@given(st.text(st.sampled_from("/.%2eE5fF#?\\a:"), max_size=30))
def test_what_passes_cannot_climb(path: str) -> None:
    """However often it is decoded, and wherever a reader ends the path."""
    source = f"s3://bucket/{path}"
    try:
        source_uris.check_path(source)
    except InvalidValueError:
        return
    names = source_uris.segments(source)
    assert names
    assert not {".", ".."} & {part for name in names for part in name.split("/")}
    assert not set("#?\\") & set("".join(names))
