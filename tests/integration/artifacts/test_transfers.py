"""Multipart uploads and presigned URLs of MLflow's API, on both stores."""

import hashlib
import os
import posixpath
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit
from uuid import UUID

import httpx
import pytest
from fastapi import FastAPI

from app.artifacts import signed_urls
from app.artifacts.object_keys import object_key
from app.artifacts.stores.values import Part
from app.kernel.ids import new_uuid
from app.kernel.tenant import Tenant
from app.main import create_app
from app.services import Services
from tests.conftest import client_of, new_slug
from tests.support.s3_server import S3Server, s3_settings

MLFLOW = "api/2.0/mlflow"
FILES = "api/2.0/mlflow-artifacts"
PART = 5 << 20  # the least that S3 takes
SIZES = (PART, PART, 10)


@dataclass
class Site:
    """A server with one of the stores, and two tenants."""

    app: FastAPI
    services: Services
    tenant: Tenant
    client: httpx.AsyncClient
    other_client: httpx.AsyncClient

    async def post(self, route: str, /, **fields: Any) -> httpx.Response:
        return await self.client.post(route, json=fields)

    async def folder(self) -> str:
        """The artifact folder of a new run."""
        return (await self.run())[1]

    async def run(self) -> tuple[str, str]:
        answer = await self.post(f"{MLFLOW}/runs/create", experiment_id="0")
        info = ok(answer)["run"]["info"]
        return info["run_id"], info["artifact_uri"].removeprefix("mlflow-artifacts:/")

    async def put(self, path: str, body: bytes) -> None:
        ok(await self.client.put(f"{FILES}/artifacts/{path}", content=body))

    async def get(self, path: str) -> bytes:
        answer = await self.client.get(f"{FILES}/artifacts/{path}")
        assert answer.status_code == 200, answer.text
        return answer.content

    async def files(self, folder: str) -> list[str]:
        listed = ok(await self.client.get(f"{FILES}/artifacts", params={"path": folder}))
        return [file["path"] for file in listed.get("files", [])]

    async def create(self, path: str, parts: int) -> dict[str, Any]:
        folder, name = posixpath.split(path)
        created = await self.post(
            f"{FILES}/mpu/create/{folder}", path=f"/home/user/{name}", num_parts=parts
        )
        return ok(created)

    async def send(self, url: str, body: bytes, method: str = "PUT", **more: Any) -> httpx.Response:
        """A client without a header that names a tenant or a key."""
        if url.startswith("http://test/"):
            async with client_of(self.app, None) as nobody:
                return await nobody.request(method, url, content=body, **more)
        async with httpx.AsyncClient() as nobody:
            return await nobody.request(method, url, content=body, **more)

    async def send_all(self, upload: dict[str, Any], bodies: list[bytes]) -> list[dict[str, Any]]:
        parts = []
        for credential, body in zip(upload["credentials"], bodies, strict=True):
            answer = await self.send(credential["url"], body)
            assert answer.status_code == 200, answer.text
            number = credential["part_number"]
            parts.append({"part_number": number, "etag": answer.headers["etag"]})
        return parts

    async def complete(
        self, path: str, upload: dict[str, Any], parts: list[dict[str, Any]]
    ) -> httpx.Response:
        folder, name = posixpath.split(path)
        return await self.post(
            f"{FILES}/mpu/complete/{folder}",
            path=f"/home/user/{name}",
            upload_id=upload["upload_id"],
            parts=parts,
        )

    async def abort(self, path: str, upload: dict[str, Any]) -> httpx.Response:
        folder, name = posixpath.split(path)
        return await self.post(
            f"{FILES}/mpu/abort/{folder}", path=name, upload_id=upload["upload_id"]
        )

    async def unfinished(self) -> list[str]:
        store = self.services.artifacts.store
        return [one.upload_id async for one in store.unfinished(self.tenant.slug)]

    async def objects(self) -> list[str]:
        store = self.services.artifacts.store
        return [one.key async for one in store.keys(self.tenant.slug)]


def ok(answer: httpx.Response) -> dict[str, Any]:
    assert answer.status_code == 200, answer.text
    return answer.json()


def refused(answer: httpx.Response, status: int, code: str, words: str = "") -> None:
    assert answer.status_code == status, answer.text
    assert answer.json()["error_code"] == code
    assert words in answer.json()["message"]


def invalid(answer: httpx.Response, words: str = "") -> None:
    refused(answer, 400, "INVALID_PARAMETER_VALUE", words)


def absent(answer: httpx.Response, words: str = "") -> None:
    refused(answer, 404, "RESOURCE_DOES_NOT_EXIST", words)


def forbidden(answer: httpx.Response, words: str = "") -> None:
    refused(answer, 403, "PERMISSION_DENIED", words)


@asynccontextmanager
async def site_of(app: FastAPI) -> AsyncIterator[Site]:
    services = app.state.services
    tenant = await services.tenant_lookup.resolve(new_slug(), create=True)
    other = await services.tenant_lookup.resolve(new_slug(), create=True)
    async with client_of(app, tenant) as client, client_of(app, other) as other_client:
        yield Site(app, services, tenant, client, other_client)


@asynccontextmanager
async def s3_site(request: pytest.FixtureRequest, *, public: bool = True) -> AsyncIterator[Site]:
    s3: S3Server = request.getfixturevalue("s3")
    public_endpoint = f"http://{s3.endpoint}" if public else None
    app = create_app(
        s3_settings(
            request.getfixturevalue("settings"),
            s3,
            request.getfixturevalue("prefix"),
            minio_public_endpoint=public_endpoint,
        )
    )
    async with app.router.lifespan_context(app), site_of(app) as site:
        yield site


@pytest.fixture
async def local(app: FastAPI) -> AsyncIterator[Site]:
    async with site_of(app) as site:
        yield site


@pytest.fixture(params=["local", "s3"])
async def site(request: pytest.FixtureRequest, app: FastAPI) -> AsyncIterator[Site]:
    if request.param == "local":
        async with site_of(app) as site:
            yield site
    else:
        async with s3_site(request) as site:
            yield site


@pytest.fixture
async def proxied_s3(request: pytest.FixtureRequest) -> AsyncIterator[Site]:
    """An S3 store that clients can't reach."""
    async with s3_site(request, public=False) as site:
        yield site


def bodies(sizes: tuple[int, ...] = SIZES) -> list[bytes]:
    return [os.urandom(size) for size in sizes]


class TestUploadInParts:
    async def test_round_trip(self, site: Site) -> None:
        path, sent = f"{await site.folder()}/models/weights 图.json", bodies()
        upload = await site.create(path, len(sent))
        assert [one["part_number"] for one in upload["credentials"]] == [1, 2, 3]
        parts = await site.send_all(upload, sent)
        absent(await site.client.get(f"{FILES}/artifacts/{path}"))
        assert await site.files(posixpath.dirname(path)) == []
        ok(await site.complete(path, upload, parts))
        assert await site.get(path) == b"".join(sent)
        head = await site.client.head(f"{FILES}/artifacts/{path}")
        assert head.headers["content-type"] == "application/json"
        assert await site.files(posixpath.dirname(path)) == ["weights 图.json"]
        assert await site.unfinished() == []
        assert len(await site.objects()) == 1

    async def test_parts_in_any_order_and_again(self, site: Site) -> None:
        path, sent = f"{await site.folder()}/a.bin", bodies()
        upload = await site.create(path, 3)
        urls = [one["url"] for one in upload["credentials"]]
        etags = {}
        for number in (3, 1, 2, 1):
            answer = await site.send(urls[number - 1], sent[number - 1])
            assert answer.status_code == 200, answer.text
            etags[number] = answer.headers["etag"]
        parts = [{"part_number": number, "etag": etags[number]} for number in (1, 2, 3)]
        ok(await site.complete(path, upload, parts))
        assert await site.get(path) == b"".join(sent)

    async def test_the_later_of_two_bodies_of_a_part(self, site: Site) -> None:
        path = f"{await site.folder()}/a.bin"
        upload = await site.create(path, 1)
        for body in (b"first", b"second"):
            parts = await site.send_all(upload, [body])
        ok(await site.complete(path, upload, parts))
        assert await site.get(path) == b"second"

    async def test_replaces_a_file(self, site: Site) -> None:
        path = f"{await site.folder()}/a.bin"
        await site.put(path, b"before")
        upload = await site.create(path, 1)
        parts = await site.send_all(upload, [b"after"])
        assert await site.get(path) == b"before"
        ok(await site.complete(path, upload, parts))
        assert await site.get(path) == b"after"
        assert len(await site.objects()) == 1

    async def test_complete_again(self, site: Site) -> None:
        path = f"{await site.folder()}/a.bin"
        upload = await site.create(path, 1)
        parts = await site.send_all(upload, [b"x"])
        for _ in range(3):
            ok(await site.complete(path, upload, parts))
        assert await site.get(path) == b"x"
        ok(await site.abort(path, upload))
        assert await site.get(path) == b"x"

    async def test_complete_after_a_crash_before_the_row(self, site: Site) -> None:
        path = f"{await site.folder()}/a.bin"
        upload = await site.create(path, 1)
        parts = await site.send_all(upload, [b"x"])
        object_id, _, within = upload["upload_id"].partition(".")
        await site.services.artifacts.store.complete_upload(
            site.tenant.slug,
            object_key(path, UUID(hex=object_id)),
            within,
            [Part(1, parts[0]["etag"].strip('"'))],
        )
        absent(await site.client.get(f"{FILES}/artifacts/{path}"))
        ok(await site.complete(path, upload, parts))
        assert await site.get(path) == b"x"

    async def test_abort(self, site: Site) -> None:
        path, sent = f"{await site.folder()}/a.bin", bodies()
        upload = await site.create(path, 3)
        parts = await site.send_all(upload, sent)
        for _ in range(2):
            ok(await site.abort(path, upload))
        assert await site.unfinished() == []
        # moto breaks off with a 500 where S3 says NoSuchUpload.
        assert (await site.complete(path, upload, parts)).status_code in (404, 503)
        answer = await site.send(upload["credentials"][0]["url"], b"late")
        assert answer.status_code in (404, 500)
        absent(await site.client.get(f"{FILES}/artifacts/{path}"))
        assert await site.unfinished() == []
        assert await site.objects() == []

    @pytest.mark.parametrize(
        "change",
        [
            lambda parts: parts[::-1],
            lambda parts: [parts[0], parts[0]],
            lambda parts: [],
            lambda parts: [parts[0] | {"etag": parts[1]["etag"]}, parts[1]],
            lambda parts: [parts[0] | {"etag": "../../key"}, parts[1]],
            lambda parts: [parts[0] | {"etag": "é\n"}, parts[1]],
            lambda parts: [parts[0] | {"etag": None}, parts[1]],
            lambda parts: [*parts, parts[1] | {"part_number": 3}],
            lambda parts: [parts[0] | {"part_number": 0}, parts[1]],
            lambda parts: [*parts, parts[0] | {"part_number": 10_001}],
            lambda parts: [parts[0] | {"part_number": "x"}, parts[1]],
        ],
    )
    async def test_wrong_parts(self, site: Site, change: Any) -> None:
        path, sent = f"{await site.folder()}/a.bin", bodies((PART, 7))
        upload = await site.create(path, 2)
        parts = await site.send_all(upload, sent)
        invalid(await site.complete(path, upload, change(parts)), "art")
        absent(await site.client.get(f"{FILES}/artifacts/{path}"))
        ok(await site.complete(path, upload, parts))
        assert await site.get(path) == b"".join(sent)

    async def test_small_parts_are_the_stores_business(self, site: Site) -> None:
        path = f"{await site.folder()}/a.bin"
        upload = await site.create(path, 2)
        parts = await site.send_all(upload, [b"a", b"b"])
        answer = await site.complete(path, upload, parts)
        if upload["credentials"][0]["url"].startswith("http://test/"):
            ok(answer)
            assert await site.get(path) == b"ab"
        else:
            invalid(answer, "5 MiB")

    async def test_another_tenants(self, site: Site) -> None:
        path = f"{await site.folder()}/a.bin"
        upload = await site.create(path, 1)
        parts = await site.send_all(upload, [b"x"])
        folder, name = posixpath.split(path)
        body = {"path": name, "upload_id": upload["upload_id"], "parts": parts}
        absent(await site.other_client.post(f"{FILES}/mpu/complete/{folder}", json=body), "Run")
        await site.other_client.post(f"{FILES}/mpu/abort/{folder}", json=body)
        absent(
            await site.other_client.post(
                f"{FILES}/mpu/create/{folder}", json={"path": name, "num_parts": 1}
            ),
            "Run",
        )
        ok(await site.complete(path, upload, parts))
        assert await site.get(path) == b"x"

    async def test_of_another_path(self, site: Site) -> None:
        folder = await site.folder()
        upload = await site.create(f"{folder}/a.bin", 1)
        parts = await site.send_all(upload, [b"x"])
        absent(await site.complete(f"{folder}/b.bin", upload, parts), "No such upload")
        ok(await site.complete(f"{folder}/a.bin", upload, parts))

    @pytest.mark.parametrize(
        "upload_id",
        ["", "x", "NEW", f"NEW.{'0' * 32}", "é.x", "x" * 5000],
        ids=["empty", "x", "object", "object and upload", "accent", "long"],
    )
    async def test_unknown(self, site: Site, upload_id: str) -> None:
        upload_id = upload_id.replace("NEW", new_uuid().hex)
        path = f"{await site.folder()}/a.bin"
        parts = [{"part_number": 1, "etag": "0" * 64}]
        absent(await site.complete(path, {"upload_id": upload_id}, parts), "No such upload")
        assert (await site.abort(path, {"upload_id": upload_id})).status_code in (200, 404)

    @pytest.mark.parametrize("parts", [0, -1, 10_001, "x"])
    async def test_wrong_number_of_parts(self, local: Site, parts: Any) -> None:
        answer = await local.post(
            f"{FILES}/mpu/create/{await local.folder()}", path="a.bin", num_parts=parts
        )
        invalid(answer, "num_parts" if parts == "x" else "from 1 to 10000 parts")
        assert await local.unfinished() == []

    @pytest.mark.parametrize("path", ["", "/", "a/", "..", "a#b", "a\x00"])
    async def test_wrong_name(self, local: Site, path: str) -> None:
        invalid(await local.post(f"{FILES}/mpu/create/{await local.folder()}", path=path))

    @pytest.mark.parametrize("path", ["C:\\Users\\me\\a.bin", "D:/x/a.bin", "x/a.bin", "a.bin"])
    async def test_the_name_of_the_clients_file(self, local: Site, path: str) -> None:
        folder = await local.folder()
        upload = ok(await local.post(f"{FILES}/mpu/create/{folder}", path=path, num_parts=1))
        parts = await local.send_all(upload, [b"x"])
        ok(await local.complete(f"{folder}/a.bin", upload, parts))
        assert await local.files(folder) == ["a.bin"]

    @pytest.mark.parametrize("folder", ["x", "experiments/0", "../x", "a%2e%2e/b"])
    async def test_wrong_folder(self, local: Site, folder: str) -> None:
        answer = await local.post(f"{FILES}/mpu/create/{folder}", path="a.bin", num_parts=1)
        assert answer.status_code in (400, 404)
        assert await local.unfinished() == []

    async def test_of_a_run_that_is_deleted_meanwhile(self, site: Site) -> None:
        run_id, folder = await site.run()
        upload = await site.create(f"{folder}/a.bin", 1)
        parts = await site.send_all(upload, [b"x"])
        ok(await site.post(f"{MLFLOW}/runs/delete", run_id=run_id))
        invalid(await site.complete(f"{folder}/a.bin", upload, parts), "must be in the 'active'")
        invalid(
            await site.post(f"{FILES}/mpu/create/{folder}", path="b", num_parts=1),
            "must be in the 'active'",
        )

    async def test_a_form_is_refused(self, local: Site) -> None:
        answer = await local.client.post(
            f"{FILES}/mpu/create/{await local.folder()}", data={"a": 1}
        )
        assert answer.status_code == 400

    async def test_where_clients_cannot_reach_the_store(self, proxied_s3: Site) -> None:
        site = proxied_s3
        answer = await site.post(f"{FILES}/mpu/create/{await site.folder()}", path="a", num_parts=1)
        # By these words MLflow's client knows to send the file in one piece.
        refused(
            answer,
            501,
            "NOT_IMPLEMENTED",
            "Multipart upload is not supported for the current artifact repository",
        )
        assert await site.unfinished() == []
        info = ok(await site.client.get("/api/3.0/mlflow/server-info"))
        assert info["multipart_uploads_enabled"] is False
        assert info["multipart_downloads_enabled"] is True


class TestPartUrls:
    """Uploads to the local store, whose parts are sent to this server."""

    async def upload(self, site: Site) -> tuple[str, dict[str, Any], str]:
        path = f"{await site.folder()}/a.bin"
        upload = await site.create(path, 2)
        return path, upload, upload["credentials"][0]["url"]

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("part", "2"),
            ("part", "01"),
            ("upload", f"{'0' * 32}.{'0' * 32}"),
            ("expires", "99999999999"),
            ("expires", ""),
            ("signature", "0" * 64),
            ("signature", ""),
            ("signature", "é"),
            ("object", "x"),
        ],
    )
    async def test_nothing_can_be_changed(self, local: Site, name: str, value: str) -> None:
        _, _, url = await self.upload(local)
        split = urlsplit(url)
        query = dict(parse_qsl(split.query)) | {name: value}
        changed = urlunsplit(split._replace(query=urlencode(query)))
        forbidden(await local.send(changed, b"x"), "signature")
        assert len(await local.unfinished()) == 1

    async def test_not_for_another_path_or_tenant_or_method(self, local: Site) -> None:
        _, _, url = await self.upload(local)
        forbidden(await local.send(url.replace("a.bin", "b.bin"), b"x"), "signature")
        other = f"/t/{new_slug()}/"
        forbidden(await local.send(url.replace(f"/t/{local.tenant.slug}/", other), b"x"))
        forbidden(await local.send(url, b"", "GET"), "signature")
        path = urlsplit(url).path
        forbidden(await local.send(f"http://test{path}", b"x"), "signature")

    async def test_expires(self, local: Site, monkeypatch: pytest.MonkeyPatch) -> None:
        _, _, url = await self.upload(local)
        now = signed_urls.time.time
        monkeypatch.setattr(signed_urls.time, "time", lambda: now() + 13 * 3600)
        forbidden(await local.send(url, b"x"), "expired")

    async def test_names_its_tenant(self, local: Site) -> None:
        """The URL names the tenant even where the request for it did so in a header."""
        folder = await local.folder()
        async with client_of(local.app, None) as client:
            created = await client.post(
                f"{FILES}/mpu/create/{folder}",
                json={"path": "a.bin", "num_parts": 1},
                headers={"X-Tenant-ID": local.tenant.slug, "Host": "tracking.example.org:8443"},
            )
        (credential,) = ok(created)["credentials"]
        assert credential["url"].startswith(
            f"http://tracking.example.org:8443/t/{local.tenant.slug}/{FILES}/signed/{folder}/a.bin?"
        )

    @pytest.mark.parametrize("declared", ["0", "4", "6"])
    async def test_not_as_declared(self, local: Site, declared: str) -> None:
        path, upload, url = await self.upload(local)
        invalid(await local.send(url, b"hello", headers={"Content-Length": declared}))
        wrong = {"Content-MD5": "AAAAAAAAAAAAAAAAAAAAAA=="}
        invalid(await local.send(url, b"hello", headers=wrong), "Content-MD5")
        parts = [{"part_number": 1, "etag": hashlib.sha256(b"hello").hexdigest()}]
        invalid(await local.complete(path, upload, parts), "Part 1 was not uploaded")


class TestPresignedDownload:
    async def presigned(self, site: Site, path: str) -> dict[str, Any]:
        return ok(await site.client.get(f"{FILES}/presigned/{path}"))

    async def test_round_trip(self, site: Site) -> None:
        path, body = f"{await site.folder()}/d/é ü?.html", os.urandom(100_000)
        ok(await site.client.put(f"{FILES}/artifacts/{path.replace('?', '%3F')}", content=body))
        found = ok(await site.client.get(f"{FILES}/presigned/{path.replace('?', '%3F')}"))
        assert (found["file_size"], found["headers"]) == (len(body), {})
        answer = await site.send(found["url"], b"", "GET")
        assert (answer.status_code, answer.content) == (200, body)
        assert answer.headers["content-disposition"].startswith("attachment")
        part = await site.send(found["url"], b"", "GET", headers={"Range": "bytes=10-99"})
        assert (part.status_code, part.content) == (206, body[10:100])

    async def test_where_clients_cannot_reach_the_store(self, proxied_s3: Site) -> None:
        path = f"{await proxied_s3.folder()}/a.bin"
        await proxied_s3.put(path, b"hello")
        found = await self.presigned(proxied_s3, path)
        assert found["url"].startswith("http://test/")
        answer = await proxied_s3.send(found["url"], b"", "GET", headers={"Range": "bytes=1-3"})
        assert (answer.status_code, answer.content) == (206, b"ell")

    async def test_for_five_minutes(self, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
        path = f"{await site.folder()}/a.bin"
        await site.put(path, b"x")
        url = (await self.presigned(site, path))["url"]
        query = dict(parse_qsl(urlsplit(url).query))
        if "X-Amz-Expires" in query:
            assert query["X-Amz-Expires"] == "300"
            return
        now = signed_urls.time.time
        monkeypatch.setattr(signed_urls.time, "time", lambda: now() + 299)
        assert (await site.send(url, b"", "GET")).status_code == 200
        monkeypatch.setattr(signed_urls.time, "time", lambda: now() + 302)
        forbidden(await site.send(url, b"", "GET"), "expired")

    async def test_never_of_two_versions(self, site: Site) -> None:
        path = f"{await site.folder()}/a.bin"
        await site.put(path, b"first")
        url = (await self.presigned(site, path))["url"]
        await site.put(path, b"second")
        # S3 says 403 of what is not there to those who may not list.
        assert (await site.send(url, b"", "GET")).status_code in (403, 404)

    async def test_only_to_read(self, site: Site) -> None:
        path = f"{await site.folder()}/a.bin"
        await site.put(path, b"x")
        url = (await self.presigned(site, path))["url"]
        if url.startswith("http://test/"):
            forbidden(await site.send(url, b"changed"), "signature")
        assert await site.get(path) == b"x"

    async def test_absent_and_another_tenants(self, site: Site) -> None:
        path = f"{await site.folder()}/a.bin"
        absent(await site.client.get(f"{FILES}/presigned/{path}"), f"No such artifact: '{path}'")
        await site.put(path, b"x")
        absent(
            await site.other_client.get(f"{FILES}/presigned/{path}"), f"No such artifact: '{path}'"
        )
        invalid(await site.client.get(f"{FILES}/presigned/a/%252e%252e%252fb"))


class TestPresignedUrlsOfRuns:
    async def test_upload_and_download(self, site: Site) -> None:
        run_id, folder = await site.run()
        given = ok(
            await site.post(
                f"{MLFLOW}/artifacts/presigned-upload-url", run_id=run_id, path="d/a.json"
            )
        )
        assert given["headers"] == {"Content-Type": "application/json"}
        url = given["presigned_url"]
        ok(await site.send(url, b"{}", headers=given["headers"]))
        assert await site.get(f"{folder}/d/a.json") == b"{}"
        forbidden(await site.send(url, b"", "GET"))
        forbidden(await site.send(url.replace("a.json", "b.json"), b"{}"))
        found = ok(
            await site.post(
                f"{MLFLOW}/artifacts/presigned-download-url", run_id=run_id, path="d/a.json"
            )
        )
        assert found["file_size"] == 2
        assert (await site.send(found["presigned_url"], b"", "GET")).content == b"{}"

    async def test_of_a_model(self, local: Site) -> None:
        model = ok(await local.post(f"{MLFLOW}/logged-models", experiment_id="0", name="m"))
        info = model["model"]["info"]
        given = ok(
            await local.post(
                f"{MLFLOW}/artifacts/presigned-upload-url",
                model_id=info["model_id"],
                path="MLmodel",
            )
        )
        ok(await local.send(given["presigned_url"], b"x"))
        folder = info["artifact_uri"].removeprefix("mlflow-artifacts:/")
        assert await local.files(folder) == ["MLmodel"]

    @pytest.mark.parametrize("seconds", [0, -1, 604_801, "x"])
    @pytest.mark.parametrize("kind", ["upload", "download"])
    async def test_expiration(self, local: Site, kind: str, seconds: Any) -> None:
        run_id, folder = await local.run()
        await local.put(f"{folder}/a", b"x")
        answer = await local.post(
            f"{MLFLOW}/artifacts/presigned-{kind}-url", run_id=run_id, path="a", expiration=seconds
        )
        invalid(answer, "expiration")

    @pytest.mark.parametrize("fields", [{}, {"run_id": "r", "model_id": "m"}])
    async def test_one_owner(self, local: Site, fields: dict[str, str]) -> None:
        answer = await local.post(f"{MLFLOW}/artifacts/presigned-upload-url", path="a", **fields)
        invalid(answer, "Exactly one of run_id and model_id must be provided.")

    @pytest.mark.parametrize("path", ["..", "a/../b", "%2e%2e/a", "/etc/passwd", "a#b"])
    @pytest.mark.parametrize("kind", ["upload", "download"])
    async def test_paths(self, local: Site, kind: str, path: str) -> None:
        run_id, _ = await local.run()
        invalid(
            await local.post(f"{MLFLOW}/artifacts/presigned-{kind}-url", run_id=run_id, path=path),
            "Invalid path",
        )

    @pytest.mark.parametrize("kind", ["upload", "download"])
    async def test_another_tenants(self, local: Site, kind: str) -> None:
        run_id, folder = await local.run()
        await local.put(f"{folder}/a", b"x")
        for one in (run_id, new_uuid().hex):
            absent(
                await local.other_client.post(
                    f"{MLFLOW}/artifacts/presigned-{kind}-url", json={"run_id": one, "path": "a"}
                ),
                f"Run with id={one} not found",
            )
