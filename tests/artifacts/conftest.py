"""Both stores: a local folder, and S3 over HTTP."""

import uuid
from collections.abc import Iterator

import pytest
from minio import Minio
from s3_server import S3Server, s3_server


@pytest.fixture(scope="session")
def s3(request: pytest.FixtureRequest) -> Iterator[S3Server]:
    with s3_server() as server:
        plugins = request.config.pluginmanager
        reporter, capture = (
            plugins.get_plugin("terminalreporter"),
            plugins.get_plugin("capturemanager"),
        )
        if reporter is not None and capture is not None:
            with capture.global_and_fixture_disabled():
                reporter.write_line(f"\nS3 in these tests: {server.name}")
        yield server


@pytest.fixture
def prefix() -> str:
    """A bucket prefix, and so a world, for each test."""
    return f"t{uuid.uuid4().hex[:12]}-"


@pytest.fixture
def s3_client(s3: S3Server) -> Minio:
    return Minio(s3.endpoint, s3.access_key, s3.secret_key, secure=False)
