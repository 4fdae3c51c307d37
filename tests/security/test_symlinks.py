"""What somebody plants in the local store's folder, who can write there but not read elsewhere."""

import io
import os
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.security.runs import API, PROXY, V1, Run
from tests.security.targets import SECRET, Target

Planted = tuple[Run, dict[str, Path]]


class TestSymlinks:
    @pytest.fixture
    def planted(self, local_target: Target, slug: str) -> Iterator[Planted]:
        """A run with three files, and where they lie."""
        with local_target.client(slug) as client:
            info = client.post(f"{API}/runs/create", json={}).json()["run"]["info"]
            root = info["artifact_uri"].removeprefix("mlflow-artifacts:/")
            for name in ("d/secret.txt", "file.txt", "kept.txt"):
                assert client.put(f"{PROXY}/{root}/{name}", content=b"own").status_code == 200
            place = local_target.data_dir / "artifacts" / slug / root
            files = {path.name: path for path in place.rglob("*") if path.is_file()}
            yield Run(client, local_target, slug, info["run_id"], root), files

    def test_none_is_followed_out(self, planted: Planted) -> None:
        run, files = planted
        data_dir = run.target.data_dir
        replace_by_link(files["secret.txt"].parent, data_dir)
        replace_by_link(files["file.txt"], data_dir / "secret.txt")
        for name in ("d/secret.txt", "file.txt"):
            for url in (f"{PROXY}/{run.root}/{name}", f"{V1}/{run.run_id}/artifacts/{name}"):
                answer = run.client.get(url)
                assert SECRET not in answer.content
                assert answer.status_code in (404, 503), answer.text
        # The store has lost two files, so that a ZIP file of them all can't be whole.
        sent: list[bytes] = []
        url = f"{V1}/{run.run_id}/artifacts/"
        with run.client.stream("GET", url, params={"archive": "zip"}) as answer:
            pieces = answer.iter_raw()
            with pytest.raises(httpx.RemoteProtocolError):
                sent.extend(pieces)
        assert SECRET not in b"".join(sent)
        assert not zipfile.is_zipfile(io.BytesIO(b"".join(sent)))
        before = {path.name for path in data_dir.iterdir()}
        for name in ("d/new.txt", "d/secret.txt", "file.txt"):
            sent = run.client.put(f"{PROXY}/{run.root}/{name}", content=b"x")
            assert sent.status_code in (200, 400, 409, 503), sent.text
        # An upload takes the place of a link, and does not write through it.
        assert run.client.get(f"{PROXY}/{run.root}/file.txt").content == b"x"
        for name in ("d", "file.txt"):
            assert run.client.delete(f"{PROXY}/{run.root}/{name}").status_code == 200
        assert (data_dir / "secret.txt").read_bytes() == SECRET
        assert {path.name for path in data_dir.iterdir()} == before

    def test_special_files(self, planted: Planted) -> None:
        """A FIFO would hang whoever opens it."""
        run, files = planted
        files["file.txt"].unlink()
        os.mkfifo(files["file.txt"])
        answer = run.client.get(f"{PROXY}/{run.root}/file.txt")
        assert answer.status_code in (404, 503)

    def test_a_link_to_another_tenant(self, planted: Planted) -> None:
        run, files = planted
        other = run.target.data_dir / "artifacts" / "another" / "d"
        other.mkdir(parents=True, exist_ok=True)
        (other / "secret.txt").write_bytes(SECRET)
        replace_by_link(files["secret.txt"].parent, other)
        answer = run.client.get(f"{PROXY}/{run.root}/d/secret.txt")
        assert SECRET not in answer.content
        assert run.client.delete(f"{PROXY}/{run.root}/d").status_code in (200, 503)
        assert (other / "secret.txt").read_bytes() == SECRET


def replace_by_link(path: Path, target: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
    path.symlink_to(target)
