"""Artifacts through the proxy: stored, listed, fetched and deleted."""

from typing import Any
from urllib.parse import quote

import httpx
import pytest

from tests.integration.mlflow_api.model_calls import API, invalid, refused
from tests.integration.mlflow_api.tracking_calls import (
    NO_RUN,
    absent_run,
    deleted_run,
    done,
    get,
    get_run,
    missing,
    new_experiment,
    new_run,
    ok,
    post,
    run_is_deleted,
)

PROXY = "/api/2.0/mlflow-artifacts/artifacts"


def root_of(run_id: str, experiment_id: str = "0") -> str:
    return f"experiments/{experiment_id}/runs/{run_id}/artifacts"


def url_of(run_id: str, path: str) -> str:
    return f"{PROXY}/{root_of(run_id)}/{quote(path)}"


async def put(client: httpx.AsyncClient, run_id: str, path: str, body: Any) -> httpx.Response:
    return await client.put(url_of(run_id, path), content=body)


async def fetch(client: httpx.AsyncClient, run_id: str, path: str) -> httpx.Response:
    return await client.get(url_of(run_id, path))


async def files(client: httpx.AsyncClient, run_id: str, path: str = "") -> list[dict[str, Any]]:
    listed = ok(await get(client, "artifacts/list", run_id=run_id, path=path))
    return listed.get("files", [])


def absent(answer: httpx.Response, path: str) -> None:
    refused(answer, 404, "RESOURCE_DOES_NOT_EXIST", f"No such artifact: '{path}'")


class TestRoundTrip:
    @pytest.mark.parametrize(
        "path",
        [
            "a.txt",
            "deep/er/still/a.txt",
            "with space.txt",
            "100%.txt",
            "a%20b.txt",
            "frame%03d.png",
            "top%1f.png",
            "discount%10.csv",
            "bad=%E9",
            "%41.bin",
            "key%step%0%timestamp%1795000000000%0b5c.png",
            "d%00/a",
            "résumé ü 数据 🚀.txt",
            "what?.txt",
            "a&b=c;d+e,f@g!$'()*~.txt",
            "step:10.txt",
            ".hidden",
            "no-extension",
        ],
    )
    async def test_name(self, client: httpx.AsyncClient, path: str) -> None:
        run_id = await new_run(client)
        done(await put(client, run_id, path, path.encode()))
        answer = await fetch(client, run_id, path)
        assert (answer.status_code, answer.content) == (200, path.encode())
        folder, _, _ = path.rpartition("/")
        assert await files(client, run_id, folder) == [
            {"path": path, "is_dir": False, "file_size": len(path.encode())}
        ]

    async def test_empty_file(self, client: httpx.AsyncClient) -> None:
        run_id = await new_run(client)
        done(await put(client, run_id, "empty", b""))
        answer = await fetch(client, run_id, "empty")
        assert (answer.status_code, answer.content) == (200, b"")
        assert answer.headers["content-length"] == "0"
        (shown,) = await files(client, run_id)
        assert shown == {"path": "empty", "is_dir": False}  # as in MLflow

    async def test_undeclared_length(self, client: httpx.AsyncClient) -> None:
        run_id = await new_run(client)

        async def body() -> Any:
            for _ in range(5):
                yield b"x" * 70_000

        done(await put(client, run_id, "a.bin", body()))
        assert (await fetch(client, run_id, "a.bin")).content == b"x" * 350_000

    async def test_overwrite(self, client: httpx.AsyncClient) -> None:
        run_id = await new_run(client)
        etags = set()
        for body in (b"first, and longer", b"second"):
            done(await put(client, run_id, "a.txt", body))
            answer = await fetch(client, run_id, "a.txt")
            assert answer.content == body
            etags.add(answer.headers["etag"])
        assert len(etags) == 2
        assert [one["file_size"] for one in await files(client, run_id)] == [6]

    @pytest.mark.parametrize("declared", ["4", "6", "0"])
    async def test_wrong_length(self, client: httpx.AsyncClient, declared: str) -> None:
        run_id = await new_run(client)
        done(await put(client, run_id, "a.txt", b"kept"))
        answer = await client.put(
            f"{PROXY}/{root_of(run_id)}/a.txt",
            content=b"hello",
            headers={"content-length": declared},
        )
        assert answer.status_code == 400, answer.text
        assert (await fetch(client, run_id, "a.txt")).content == b"kept"


class TestUpload:
    @pytest.mark.parametrize(
        "path",
        [
            "x",
            "experiments/0",
            "experiments/0/a.txt",
            f"experiments/0/runs/{NO_RUN}/a.txt",
            f"experiments/0/runs/{NO_RUN}/artifacts",
            "experiments/0/runs/nope/artifacts/a.txt",
            f"experiments/abc/runs/{NO_RUN}/artifacts/a.txt",
            f"0/{NO_RUN}/artifacts/a.txt",
        ],
    )
    async def test_not_below_a_run(self, client: httpx.AsyncClient, path: str) -> None:
        answer = await client.put(f"{PROXY}/{path}", content=b"x")
        invalid(answer, f"'{path}' is not below the artifact URI of a run or a logged model")
        absent(await client.get(f"{PROXY}/{path}"), path)

    async def test_unknown_run(self, client: httpx.AsyncClient) -> None:
        absent_run(await put(client, NO_RUN, "a.txt", b"x"), NO_RUN)

    async def test_run_of_another_experiment(self, client: httpx.AsyncClient) -> None:
        run_id = await new_run(client)
        experiment_id = await new_experiment(client)
        path = f"{root_of(run_id, experiment_id)}/a.txt"
        absent_run(await client.put(f"{PROXY}/{path}", content=b"x"), run_id)

    async def test_deleted_run(self, client: httpx.AsyncClient) -> None:
        run_id = await deleted_run(client)
        run_is_deleted(await put(client, run_id, "a.txt", b"x"), run_id)
        assert await files(client, run_id) == []

    async def test_folder_in_the_way(self, client: httpx.AsyncClient) -> None:
        run_id = await new_run(client)
        done(await put(client, run_id, "a/b.txt", b"x"))
        invalid(await put(client, run_id, "a", b"x"), "is a folder")
        invalid(await put(client, run_id, "a/b.txt/c", b"x"), "leads through a file")
        assert (await fetch(client, run_id, "a/b.txt")).content == b"x"

    @pytest.mark.parametrize(
        "path",
        [
            "a#b.txt",
            "a\\b.txt",
            "C:/a.txt",
            "file:a.txt",
            "s3:/a.txt",
            "a//b.txt",
            "n" * 256,
            "n/" * 500 + "n",
        ],
    )
    async def test_bad_path(self, client: httpx.AsyncClient, path: str) -> None:
        run_id = await new_run(client)
        invalid(await put(client, run_id, path, b"x"), "Invalid path")
        assert await files(client, run_id) == []


class TestDownload:
    async def test_headers(self, client: httpx.AsyncClient) -> None:
        run_id = await new_run(client)
        done(await put(client, run_id, 'd/é "x".html', b"<script>"))
        headers = (await fetch(client, run_id, 'd/é "x".html')).headers
        name = "%C3%A9%20%22x%22.html"
        assert headers["content-disposition"] == (
            f"attachment; filename=\"_ _x_.html\"; filename*=UTF-8''{name}"
        )
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["content-length"] == "8"
        assert headers["etag"].startswith('"')

    @pytest.mark.parametrize(
        ("path", "declared", "expected"),
        [
            ("a.json", None, "application/json"),
            ("a.png", None, "image/png"),
            ("a", None, "application/octet-stream"),
            ("a.json", "text/x-own", "text/x-own"),
            ("a.json", "x" * 201, "application/octet-stream"),
        ],
    )
    async def test_content_type(
        self, client: httpx.AsyncClient, path: str, declared: str | None, expected: str
    ) -> None:
        run_id = await new_run(client)
        headers = {"content-type": declared} if declared else {}
        url = f"{PROXY}/{root_of(run_id)}/{path}"
        done(await client.put(url, content=b"x", headers=headers))
        assert (await client.get(url)).headers["content-type"].startswith(expected)

    async def test_head(self, client: httpx.AsyncClient) -> None:
        run_id = await new_run(client)
        done(await put(client, run_id, "a.txt", b"hello"))
        url = f"{PROXY}/{root_of(run_id)}/a.txt"
        client.headers["X-Request-ID"] = "of-both"
        head, whole = await client.head(url), await client.get(url)
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers == whole.headers
        assert (await client.head(f"{url}.none")).status_code == 404

    async def test_absent(self, client: httpx.AsyncClient) -> None:
        run_id = await new_run(client)
        done(await put(client, run_id, "folder/a.txt", b"x"))
        for path in ("none", "folder/a", "folder/a.txt/b"):
            absent(await fetch(client, run_id, path), f"{root_of(run_id)}/{path}")
        invalid(await fetch(client, run_id, "folder"), "refers to a directory, not a file")


class TestDelete:
    async def delete(self, client: httpx.AsyncClient, path: str) -> httpx.Response:
        return await client.delete(f"{PROXY}/{path}")

    async def test_file(self, client: httpx.AsyncClient) -> None:
        run_id = await new_run(client)
        for path in ("a.txt", "a.txt.bak"):
            done(await put(client, run_id, path, b"x"))
        path = f"{root_of(run_id)}/a.txt"
        for _ in range(2):
            done(await self.delete(client, path))
        absent(await client.get(f"{PROXY}/{path}"), path)
        assert [one["path"] for one in await files(client, run_id)] == ["a.txt.bak"]

    async def test_folder(self, client: httpx.AsyncClient) -> None:
        run_id = await new_run(client)
        for path in ("d/a", "d/e/b", "dd", "d.txt"):
            done(await put(client, run_id, path, b"x"))
        done(await self.delete(client, f"{root_of(run_id)}/d"))
        assert [one["path"] for one in await files(client, run_id)] == ["d.txt", "dd"]

    async def test_all_of_a_run(self, client: httpx.AsyncClient) -> None:
        run_id, other_run = await new_run(client), await new_run(client)
        for one in (run_id, other_run):
            done(await put(client, one, "a.txt", b"x"))
        done(await self.delete(client, root_of(run_id)))
        assert await files(client, run_id) == []
        assert len(await files(client, other_run)) == 1

    @pytest.mark.parametrize("path", ["experiments", "experiments/0", "experiments/0/runs"])
    async def test_more_than_a_run(self, client: httpx.AsyncClient, path: str) -> None:
        run_id = await new_run(client)
        done(await put(client, run_id, "a.txt", b"x"))
        invalid(await self.delete(client, path), "is not below the artifact URI of a run")
        assert len(await files(client, run_id)) == 1


class TestList:
    PATHS = ("b/c/d.txt", "b/a.txt", "a.txt", "b.txt", "z")

    async def test_of_a_run(self, client: httpx.AsyncClient) -> None:
        """In the order of the paths' bytes, a folder's ending in a slash."""
        run_id = await new_run(client)
        for path in self.PATHS:
            done(await put(client, run_id, path, b"xy"))
        answer = ok(await get(client, "artifacts/list", run_id=run_id))
        assert answer == {
            "root_uri": f"mlflow-artifacts:/{root_of(run_id)}",
            "files": [
                {"path": "a.txt", "is_dir": False, "file_size": 2},
                {"path": "b.txt", "is_dir": False, "file_size": 2},
                {"path": "b", "is_dir": True},
                {"path": "z", "is_dir": False, "file_size": 2},
            ],
        }

    async def test_of_a_folder(self, client: httpx.AsyncClient) -> None:
        """From the run's root in one, from the folder in the proxy, as MLflow's client expects."""
        run_id = await new_run(client)
        for path in self.PATHS:
            done(await put(client, run_id, path, b"xy"))
        assert await files(client, run_id, "b") == [
            {"path": "b/a.txt", "is_dir": False, "file_size": 2},
            {"path": "b/c", "is_dir": True},
        ]
        listed = await client.get(PROXY, params={"path": f"{root_of(run_id)}/b/"})
        assert ok(listed)["files"] == [
            {"path": "a.txt", "is_dir": False, "file_size": 2},
            {"path": "c", "is_dir": True},
        ]

    @pytest.mark.parametrize("path", ["./b", "b/.", "b/./", "./b//", "././b"])
    async def test_of_a_path_with_dots(self, client: httpx.AsyncClient, path: str) -> None:
        """As in MLflow's server, the entries' paths begin as the client has written it."""
        run_id = await new_run(client)
        for name in self.PATHS:
            done(await put(client, run_id, name, b"xy"))
        separator = "" if path.endswith("/") else "/"
        assert [one["path"] for one in await files(client, run_id, path)] == [
            f"{path}{separator}a.txt",
            f"{path}{separator}c",
        ]
        listed = await client.get(PROXY, params={"path": f"{root_of(run_id)}/{path}"})
        assert [one["path"] for one in ok(listed)["files"]] == ["a.txt", "c"]
        answer = await client.get(f"{PROXY}/{root_of(run_id)}/{path.replace('.', '%2e')}/a.txt")
        assert answer.content == b"xy"

    async def test_as_the_client_shows_it(self, client: httpx.AsyncClient) -> None:
        """MLflow's client decodes the names of a listing, and asks for what it then shows."""
        run_id = await new_run(client)
        for number in range(300):
            done(await put(client, run_id, f"%C3%A9-{number:03}.txt", b"other"))
        stored = {
            "50%-%41/b%20c.txt": "50%-A/b c.txt",
            "%C3%A9-250.txt": "\u00e9-250.txt",
            "top%1F.png": "top%1f.png",
            "bad=%E9": "bad=\ufffd",
        }
        for path in stored:
            done(await put(client, run_id, path, path.encode()))
        for path, shown in stored.items():
            assert (await fetch(client, run_id, shown)).content == path.encode()
        assert await files(client, run_id, "50%-A") == [
            {"path": "50%-%41/b%20c.txt", "is_dir": False, "file_size": 17}
        ]
        listed = await client.get(PROXY, params={"path": f"{root_of(run_id)}/50%-A"})
        assert [one["path"] for one in ok(listed)["files"]] == ["b%20c.txt"]

    async def test_nothing(self, client: httpx.AsyncClient) -> None:
        run_id = await new_run(client)
        done(await put(client, run_id, "a.txt", b"x"))
        for path in ("none", "a.txt", "a"):
            assert await files(client, run_id, path) == []
            listed = await client.get(PROXY, params={"path": f"{root_of(run_id)}/{path}"})
            assert ok(listed) == {}
        assert ok(await client.get(PROXY)) == {}

    async def test_missing_run(self, client: httpx.AsyncClient) -> None:
        missing(await get(client, "artifacts/list"), "run_id")

    async def test_older_name_of_the_run(self, client: httpx.AsyncClient) -> None:
        run_id = await new_run(client)
        answer = ok(await get(client, "artifacts/list", run_uuid=run_id))
        assert answer == {"root_uri": (await get_run(client, run_id))["info"]["artifact_uri"]}

    async def test_location_of_the_users(self, client: httpx.AsyncClient) -> None:
        experiment_id = await new_experiment(client, artifact_location="s3://bucket/x")
        run_id = await new_run(client, experiment_id)
        answer = await get(client, "artifacts/list", run_id=run_id)
        invalid(answer, f"s3://bucket/x/{run_id}/artifacts")

    @pytest.mark.parametrize(
        "path", ["..", "../x", "a/../b", "/etc", "%2e%2e/x", "a%252e%252e%252fb", "a\x00"]
    )
    async def test_bad_path(self, client: httpx.AsyncClient, path: str) -> None:
        run_id = await new_run(client)
        invalid(await get(client, "artifacts/list", run_id=run_id, path=path), "Invalid path")
        listed = await client.get(PROXY, params={"path": f"{root_of(run_id)}/{path}"})
        if path == "/etc":  # a path with an empty segment
            assert ok(listed) == {}
        else:
            invalid(listed, "Invalid path")


class TestRunsThatAreNotThere:
    async def test_never_was(self, client: httpx.AsyncClient) -> None:
        path = f"{root_of(NO_RUN)}/a.txt"
        absent(await client.get(f"{PROXY}/{path}"), path)
        assert (await client.head(f"{PROXY}/{path}")).status_code == 404
        assert ok(await client.get(PROXY, params={"path": root_of(NO_RUN)})) == {}
        done(await client.delete(f"{PROXY}/{path}"))
        absent_run(await client.get(f"{API}/artifacts/list?run_id={NO_RUN}"), NO_RUN)

    async def test_deleted_meanwhile(self, client: httpx.AsyncClient) -> None:
        """Its artifacts stay readable until it is purged."""
        run_id = await new_run(client)
        done(await put(client, run_id, "a.txt", b"x"))
        done(await post(client, "runs/delete", run_id=run_id))
        assert (await fetch(client, run_id, "a.txt")).content == b"x"
