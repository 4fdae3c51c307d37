"""The classes of attack that MLflow's advisories are about, on both stores: what leads out of a
run's folder is refused, nothing is read or written elsewhere, and what is stored stays as it is.

The traversals are those of CVE-2023-1177, -2356, -2780, -6831 and CVE-2024-1560; the locations and
sources those of CVE-2023-1177 and CVE-2024-1483, -1594; the pages that run scripts CVE-2023-6568.
"""

import io
import json
import os
import shutil
import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest

from .conftest import SECRET, Target
from .raw import answer_to, request, status_of

PROXY = "/api/2.0/mlflow-artifacts/artifacts"
API = "/api/2.0/mlflow"
V1 = "/api/v1/experiments/runs"

# As they stand in the path of a URL.
ATTACKS = {
    "traversal_raw": [
        "../pwned",
        "a/../../pwned",
        "../" * 9 + "secret.txt",
        "./pwned",
        "a/./pwned",
    ],
    "traversal_encoded": [
        "%2e%2e/pwned",
        "%2e%2e%2fpwned",
        "..%2fpwned",
        "%2E%2E%2F" * 9 + "pwned",
    ],
    "traversal_doubly_encoded": ["%252e%252e%252fpwned", "a%252f..%252f..%252fpwned"],
    "traversal_encoded_three_times": ["%25252e%25252e%25252fpwned"],
    "traversal_overlong": ["%c0%ae%c0%ae/pwned", "%e0%80%ae%e0%80%ae/pwned", "%ff/pwned"],
    "backslash": ["..\\pwned", "..%5cpwned", "%255c..%255cpwned", "a\\..\\..\\pwned"],
    "absolute": ["/etc/passwd", "//pwned", "%2fetc%2fpasswd", "%252fetc/passwd", "C:%5cpwned"],
    "nul_and_control": ["pwned%00.txt", "pwned%0a", "pwned%0d%0aX:y", "pwned%7f", "%1bpwned"],
    "file_scheme": ["file:///etc/passwd", "file:pwned", "FILE:%2f%2f/pwned"],
    "other_schemes": ["http://pwned/x", "s3://pwned/x", "a%3a%2f%2fpwned"],
    "fragment": ["a%23pwned", "%23/../pwned", "pwned%23"],
    "too_long": ["pwned" * 60, "a/" * 500 + "pwned"],
}

# The same as a value of a parameter or a field, where nothing decodes percent signs.
VALUES = {
    "traversal_raw": ["../pwned", "a/../../pwned", "../../../../secret.txt", "."],
    "traversal_encoded": ["%2e%2e/pwned", "..%2fpwned", "%2e%2e%2fpwned"],
    "traversal_doubly_encoded": ["%252e%252e%252fpwned"],
    "backslash": ["..\\pwned", "%5c..%5cpwned"],
    "absolute": ["/etc/passwd", "//pwned", "C:\\pwned", "C:pwned"],
    "nul_and_control": ["pwned\0", "pwned\n", "pwned\r\nX: y", "\x1bpwned"],
    "file_scheme": ["file:///etc/passwd", "file:pwned"],
    "other_schemes": ["http://pwned/x", "s3://pwned/x"],
    "fragment": ["a#pwned", "#/../pwned"],
}


@dataclass
class Run:
    """A run with one file, and what there is of the whole store before it is attacked."""

    client: httpx.Client
    target: Target
    tenant: str
    run_id: str
    root: str

    def stored(self) -> dict[str, str]:
        return self.target.stored(self.tenant)

    def holds(self, stored: str, folder: str, name: str) -> bool:
        """Whether an object lies below that folder of the run, and has that name."""
        _, below, place = stored.partition(f"{self.root}/{folder}")
        return bool(below) and ".." not in place and stored.endswith(f"/{name}")

    def refused(self, method: str, path: str, *headers: str, body: bytes = b"") -> bytes:
        length = [f"Content-Length: {len(body)}"] if body else []
        answer = answer_to(
            self.target.url,
            request(method, f"/t/{self.tenant}{path}", *headers, *length, body=body),
        )
        assert 400 <= status_of(answer) < 500, (method, path, answer)
        assert SECRET not in answer
        assert b"root:" not in answer
        return answer


@pytest.fixture
def run(target: Target, slug: str) -> Iterator[Run]:
    with target.client(slug) as client:
        info = client.post(f"{API}/runs/create", json={}).json()["run"]["info"]
        root = info["artifact_uri"].removeprefix("mlflow-artifacts:/")
        assert client.put(f"{PROXY}/{root}/kept.txt", content=b"kept").status_code == 200
        yield Run(client, target, slug, info["run_id"], root)


@pytest.fixture
def nothing_changes(run: Run) -> Iterator[None]:
    before = run.stored()
    assert any(name.endswith("kept.txt") for name in before)
    yield
    assert run.stored() == before


@pytest.mark.usefixtures("nothing_changes")
@pytest.mark.parametrize("attack", ATTACKS)
def test_paths(run: Run, attack: str) -> None:
    for path in ATTACKS[attack]:
        for method, body in (("PUT", b"x"), ("GET", b""), ("HEAD", b""), ("DELETE", b"")):
            run.refused(method, f"{PROXY}/{run.root}/{path}", body=body)
            run.refused(method, f"{PROXY}/{path}", body=body)
        for method in ("GET", "HEAD", "DELETE"):
            run.refused(method, f"{V1}/{run.run_id}/artifacts/{path}")


@pytest.mark.usefixtures("nothing_changes")
@pytest.mark.parametrize("attack", VALUES)
def test_parameters_and_fields(run: Run, attack: str) -> None:
    listings = [
        (f"{API}/artifacts/list", {"run_id": run.run_id}, "path"),
        (f"{PROXY}", {}, "path"),
        (f"{V1}/{run.run_id}/artifacts", {}, "path"),
        (f"{API}/logged-models/m-{'0' * 32}/artifacts/directories", {}, "artifact_directory_path"),
    ]
    for value in VALUES[attack]:
        for url, fields, name in listings:
            answer = run.client.get(url, params=fields | {name: value})
            assert 400 <= answer.status_code < 500, (url, value, answer.text)
        answer = run.client.post(
            f"{V1}/{run.run_id}/log-artifact",
            data={"artifact_path": value},
            files={"file": ("f.txt", b"x")},
        )
        assert 400 <= answer.status_code < 500, (value, answer.text)


@pytest.mark.parametrize("attack", VALUES)
def test_file_names_in_a_form(run: Run, attack: str) -> None:
    """Refused, or, as some browsers send the whole path, cut to a name in the run's own folder."""
    before = run.stored()
    for value in VALUES[attack]:
        answer = run.client.post(f"{V1}/{run.run_id}/log-artifact", files={"file": (value, b"x")})
        if answer.status_code == 200:
            path = answer.json()["artifact"]["path"]
            assert path.isprintable()
            assert not set(path) & set("/\\#")
            (added,) = run.stored().keys() - before.keys()
            assert run.holds(added, "", path)
            gone = run.client.delete(f"{V1}/{run.run_id}/artifacts/{quote(path)}")
            assert gone.status_code == 204
        else:
            assert 400 <= answer.status_code < 500, (value, answer.text)
    assert run.stored() == before


def test_a_name_with_a_question_mark_stays_below_its_folder(run: Run) -> None:
    """It is no flaw in a name; read as a URL's query it would cut the path short."""
    before = run.stored()
    name = "a?versionId=x&..%2f..%2fb"
    encoded = "a%3FversionId=x&b"
    assert run.client.put(f"{PROXY}/{run.root}/{encoded}", content=b"q").status_code == 200
    (added,) = run.stored().keys() - before.keys()
    assert run.holds(added, "", "a?versionId=x&b")
    assert run.client.get(f"{PROXY}/{run.root}/{encoded}").content == b"q"
    assert run.client.get(f"{PROXY}/{run.root}/a").status_code == 404
    assert run.client.delete(f"{PROXY}/{run.root}/{encoded}").status_code == 200
    assert run.stored() == before
    run.refused("PUT", f"{PROXY}/{run.root}/{name.replace('?', '%3F')}", body=b"x")


@pytest.mark.usefixtures("nothing_changes")
@pytest.mark.parametrize(
    "location",
    [
        *("file:///etc", "file:/etc", "FILE:///etc", "file://localhost/etc", "/etc", "etc/passwd"),
        *("../../etc", "C:\\windows", "\\\\host\\share", "file:etc", "%2fetc", "./x"),
        *("s3://bucket/x#/../../etc", "s3://bucket/x?/../../etc", "s3://bucket/../x"),
        *("s3://bucket/%2e%2e/x", "s3://bucket/%252e%252e/x", "mlflow-artifacts:/../x"),
        *("http:///#/../../etc", "http://host/x#y", "http://host/x?y", "s3://bucket/a\\..\\b"),
        *("s3://bucket/a\0b", "s3://bucket/a\r\nb"),
    ],
)
def test_artifact_locations(run: Run, location: str) -> None:
    body = {"name": "pwned", "artifact_location": location}
    for url in (f"{API}/experiments/create", "/api/v1/experiments"):
        answer = run.client.post(url, json=body)
        assert 400 <= answer.status_code < 500, (url, answer.text)
    named = run.client.get(f"{API}/experiments/get-by-name", params={"experiment_name": "pwned"})
    assert named.status_code == 404


@pytest.mark.usefixtures("nothing_changes")
def test_model_sources(run: Run) -> None:
    assert run.client.post(f"{API}/registered-models/create", json={"name": "m"}).is_success
    own = f"mlflow-artifacts:/{run.root}"
    for source in (
        *("file:///etc/passwd", "file:/etc", "file:etc", "FILE:///etc", "/etc/passwd", "etc", ""),
        *("../../etc", "..", "\\etc", "C:\\windows", "file://localhost/etc", "./x"),
        *(f"{own}/../../../../x", f"{own}/%2e%2e/x", f"{own}/%252e%252e/x", f"{own}/..%5cx"),
        *(f"{own}\\..\\x", f"{own}/a\0b", f"{own}/x#/../y", f"{own}/x?/../y"),
        *("mlflow-artifacts:/experiments", "mlflow-artifacts:/../x", "mlflow-artifacts://host/x"),
        *("http://host/x", "https://host/#/../../etc/passwd", "ftp://host/x", "sftp://host/x"),
        *("models:/m/1/../../2", "models:/../x", "models:/m/%2e%2e", "runs:/../x"),
        *(f"runs:/{run.run_id}/../x", f"runs:/{run.run_id}/%2e%2e/x"),
    ):
        message = {"name": "m", "source": source, "run_id": run.run_id}
        answer = run.client.post(f"{API}/model-versions/create", json=message)
        assert 400 <= answer.status_code < 500, (source, answer.text)
    found = run.client.get(f"{API}/model-versions/search").json()
    assert found.get("model_versions", []) == []


EVIL_NAMES = ["../pwned", "/pwned", "..\\pwned", "a/../../pwned", "C:\\pwned", "pwned\nx"]


def evil_zip() -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for name in EVIL_NAMES:
            archive.writestr(name, "pwned")
    return made.getvalue()


def evil_tar() -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz") as archive:
        for name in EVIL_NAMES:
            archive.addfile(tarfile.TarInfo(name), io.BytesIO())
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    return made.getvalue()


@pytest.mark.parametrize(("name", "made"), [("e.zip", evil_zip()), ("e.tar.gz", evil_tar())])
def test_archives_are_never_unpacked(run: Run, name: str, made: bytes) -> None:
    before = run.stored()
    url = f"{PROXY}/{run.root}/model/{name}"
    assert run.client.put(url, content=made).status_code == 200
    (added,) = run.stored().keys() - before.keys()
    assert run.holds(added, "model/", name)
    assert run.client.get(url).content == made


def test_names_in_a_folder_sent_as_zip(run: Run) -> None:
    """Whoever unpacks it, with whatever program, stays in one folder."""
    for name in ("a b.txt", "-rf", "é.txt", "a:b", "~x", "$(x)", "nul", "d/e/f.txt", "..x", "x.."):
        sent = run.client.put(f"{PROXY}/{run.root}/f/{name.replace('$', '%24')}", content=b"x")
        assert sent.status_code == 200, (name, sent.text)
    answer = run.client.get(f"{V1}/{run.run_id}/artifacts/f", params={"archive": "zip"})
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        members = archive.infolist()
    assert len(members) == 10
    for member in members:
        path = Path(member.filename)
        assert not path.is_absolute()
        assert ".." not in path.parts
        assert "\\" not in member.filename
        assert member.external_attr >> 16 == 0o644  # neither a link nor a program
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-disposition"].startswith("attachment")


# What a browser may run, by the name of the file and by what its uploader says that it is.
PAGES = {
    "page.html": "text/html",
    "page.htm": "text/html; charset=utf-7",
    "page.xhtml": "application/xhtml+xml",
    "image.svg": "image/svg+xml",
    "feed.xml": "text/xml",
    "style.xsl": "text/xsl",
    "script.js": "text/javascript",
    "page.mhtml": "multipart/related",
    "page.pdf": "application/pdf",
    "image.png": "text/html",
    "plain": "",
    "image.svgz": "image/svg+xml",
}


@pytest.mark.parametrize("name", PAGES)
def test_pages_cannot_run_scripts(run: Run, name: str) -> None:
    content = b"<html><script>alert(1)</script><svg onload='alert(1)'/></html>"
    headers = {"content-type": PAGES[name]} if PAGES[name] else {}
    stored = run.client.put(f"{PROXY}/{run.root}/{name}", content=content, headers=headers)
    assert stored.status_code == 200
    for url in (f"{PROXY}/{run.root}/{name}", f"{V1}/{run.run_id}/artifacts/{name}"):
        for method in ("GET", "HEAD"):
            answer = run.client.request(method, url)
            assert answer.status_code == 200
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.headers["content-disposition"].startswith("attachment")
            policy = answer.headers["content-security-policy"]
            assert "sandbox" in policy
            assert "default-src 'none'" in policy


@pytest.mark.parametrize(
    "declared",
    [
        "text/html\r\nX-Injected: y",
        "text/html\nX-Injected: y",
        "text/html\0",
        "x" * 5000,
        "é/é",
        'text/plain; a="\r\nX-Injected: y"',
        "../../x",
    ],
)
def test_content_types_cannot_inject_headers(run: Run, declared: str) -> None:
    """By a form, whose parts have headers that no HTTP parser has looked at."""
    body = (
        b'--b\r\nContent-Disposition: form-data; name="file"; filename="f.txt"\r\n'
        b"Content-Type: %s\r\n\r\nx\r\n--b--\r\n" % declared.encode()
    )
    sent = run.client.post(
        f"{V1}/{run.run_id}/log-artifact",
        content=body,
        headers={"content-type": "multipart/form-data; boundary=b"},
    )
    assert sent.status_code in (200, 400, 422), sent.text
    if sent.status_code == 200:
        answer = run.client.get(f"{V1}/{run.run_id}/artifacts/f.txt")
        assert "x-injected" not in answer.headers
        assert answer.headers["content-type"].isprintable()
        assert len(answer.headers["content-type"]) < 300


def test_names_cannot_inject_headers(run: Run) -> None:
    for name in ('a"; x=y', "a;b", "a,b", "é\u202etxt.exe", "a'b", "%0d%0aX-Injected: y"):
        url = f"{V1}/{run.run_id}/log-artifact"
        sent = run.client.post(url, files={"file": (name, b"x")})
        assert sent.status_code in (200, 422), sent.text
    listed = run.client.get(f"{V1}/{run.run_id}/artifacts").json()
    for one in listed:
        for url in (f"{PROXY}/{run.root}", f"{V1}/{run.run_id}/artifacts"):
            answer = run.client.get(f"{url}/{quote(one['path'])}")
            assert answer.status_code == 200, one
            assert "x-injected" not in answer.headers
            disposition = answer.headers["content-disposition"]
            assert disposition.isascii()
            assert disposition.startswith("attachment; filename=")


def test_redirects_stay_here(target: Target) -> None:
    for path in ("/t/%0d%0aX-Injected:%20y/", "/t//evil.example/", "/t/%2f%2fevil.example/", "//"):
        answer = answer_to(target.url, request("GET", path))
        head = answer.partition(b"\r\n\r\n")[0].lower()
        assert b"\r\nx-injected" not in head
        assert b"location: //" not in head
        assert b"location: http" not in head


Planted = tuple[Run, dict[str, Path]]


class TestSymlinks:
    """Planted in the local store's folder by whoever can write there, to read what he could not."""

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
        zipped = run.client.get(f"{V1}/{run.run_id}/artifacts/", params={"archive": "zip"})
        assert SECRET not in zipped.content
        with zipfile.ZipFile(io.BytesIO(zipped.content)) as archive:
            assert archive.namelist() == ["kept.txt"]
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


def test_messages_do_not_reflect_markup_as_html(run: Run) -> None:
    for path in (
        f"{API}/runs/get?run_id=%3Cscript%3Ealert(1)%3C/script%3E",
        f"{PROXY}/%3Cscript%3Ealert(1)%3C/script%3E",
        f"{V1}/%3Cscript%3E",
        "/%3Cscript%3Ealert(1)%3C/script%3E",
    ):
        answer = run.client.get(path)
        assert 400 <= answer.status_code < 500
        assert answer.headers["content-type"].partition(";")[0] in (
            "application/json",
            "application/problem+json",
        )
        json.loads(answer.content)
