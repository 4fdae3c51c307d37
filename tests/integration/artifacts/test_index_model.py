"""Random histories of file operations, compared with a dict of paths, on both stores."""

import secrets
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from app.artifacts.folder_copy import copy_all
from app.artifacts.service import Artifacts
from app.artifacts.stores.contract import ArtifactStore
from app.artifacts.stores.local import LocalStore
from app.artifacts.stores.s3 import S3Store
from app.db.database import Database
from app.kernel.errors import (
    ArtifactNotFoundError,
    ConflictError,
    InvalidValueError,
    NotFoundError,
)
from app.kernel.tenant import Tenant
from app.services import Services
from tests.integration.artifacts.indexed import folder_of, listed, objects, put, read, used_bytes
from tests.support.s3_server import S3Server

# Few names, so that files, folders and clashes meet; '.' and '0' sort on both sides of '/'.
NAMES = st.sampled_from(["a", "b", "a.b", "a0", "ü"])
PATHS = st.lists(NAMES, min_size=1, max_size=3).map("/".join)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), PATHS, st.binary(max_size=20)),
        st.tuples(st.just("delete"), PATHS, st.none()),
        st.tuples(st.just("copy"), PATHS, PATHS),
    ),
    max_size=20,
)


@pytest.fixture(params=["local", "s3"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[ArtifactStore]:
    if request.param == "local":
        it: ArtifactStore = LocalStore(tmp_path / "artifacts")
    else:
        s3: S3Server = request.getfixturevalue("s3")
        prefix = f"t{secrets.token_hex(5)}-"
        it = S3Store(s3.endpoint, s3.access_key, s3.secret_key, bucket_prefix=prefix)
    yield it
    await it.close()


class Model:
    """The expected files."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}

    def below(self, folder: str) -> dict[str, bytes]:
        """The file at the path, or the files below it."""
        return {
            path: content
            for path, content in self.files.items()
            if path == folder or path.startswith(f"{folder}/")
        }

    def clashes(self, path: str) -> bool:
        return any(
            other.startswith(f"{path}/") or path.startswith(f"{other}/") for other in self.files
        )

    def put(self, path: str, content: bytes) -> None:
        if self.clashes(path):
            raise ConflictError("a clash")
        self.files[path] = content

    def delete(self, path: str) -> None:
        gone = self.below(path)
        if not gone:
            raise ArtifactNotFoundError(path)
        for name in gone:
            del self.files[name]

    def copy(self, source: str, target: str) -> None:
        found = self.below(source)
        if not found:
            raise ArtifactNotFoundError(source)
        if source not in found and f"{target}/".startswith(f"{source}/"):
            raise InvalidValueError("into itself")
        for path, content in found.items():
            self.put(target + path.removeprefix(source), content)

    def listed(self, folder: str) -> list[str]:
        """The names in a folder, in the order of their bytes; names of folders end in a slash."""
        prefix = f"{folder}/" if folder else ""
        rests = [path.removeprefix(prefix) for path in self.files if path.startswith(prefix)]
        names = {name + slash for name, slash, _ in (rest.partition("/") for rest in rests)}
        return sorted(names, key=str.encode)


REFUSALS = (ConflictError, NotFoundError, InvalidValueError)


def kind_of(error: Exception) -> type[Exception]:
    return next(kind for kind in REFUSALS if isinstance(error, kind))


@given(steps=STEPS)
@hypothesis_settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
async def test_is_a_tree_of_files(
    steps: list[tuple[str, str, bytes | str | None]],
    services: Services,
    store: ArtifactStore,
    database: Database,
    tenant: Tenant,
) -> None:
    artifacts = Artifacts(database, store)
    root = await folder_of(services, tenant)
    model = Model()
    for step, path, argument in steps:
        expected: type[Exception] | None = None
        before = dict(model.files)
        try:
            match step, argument:
                case "put", bytes(content):
                    model.put(path, content)
                case "delete", _:
                    model.delete(path)
                case "copy", str(target):
                    model.copy(path, target)
        except REFUSALS as error:
            expected = kind_of(error)
        refused: type[Exception] | None = None
        try:
            match step, argument:
                case "put", bytes(content):
                    await put(artifacts, tenant, f"{root}/{path}", content)
                case "delete", _:
                    await artifacts.delete(tenant, f"{root}/{path}")
                case "copy", str(target):
                    await copy_all(artifacts, tenant, f"{root}/{path}", f"{root}/{target}")
        except REFUSALS as error:
            refused = kind_of(error)
        assert refused is expected
        if refused is ConflictError and step == "copy":
            # A folder is copied file by file: what was copied until the clash stays.
            copies = {
                f"{argument}{one.removeprefix(path)}": content
                for one, content in before.items()
                if one.startswith(path)
            }
            model.files = {
                one.path.removeprefix(f"{root}/"): await read(artifacts, tenant, one.path)
                async for one in artifacts.walk(tenant, root)
            }
            assert before.keys() <= model.files.keys()
            for one, content in model.files.items():
                assert content in (before.get(one), copies.get(one))
    for folder in ["", *{path.rpartition("/")[0] for path in model.files}]:
        full = f"{root}/{folder}".rstrip("/")
        assert await listed(artifacts, tenant, full, page=2) == model.listed(folder)
    for path, content in model.files.items():
        assert await read(artifacts, tenant, f"{root}/{path}") == content
    mine = [key for key in await objects(store, tenant) if key.startswith(f"{root}/")]
    assert len(mine) == len(model.files)
    if model.files:
        await artifacts.delete(tenant, root)
    assert await used_bytes(database, tenant) == 0
