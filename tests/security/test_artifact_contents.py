"""What artifacts hold and are called: archives, pages that run scripts (CVE-2023-6568), headers."""

import io
import json
import tarfile
import zipfile
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.security.raw import answer_to, request
from tests.security.runs import API, PROXY, V1, Run
from tests.security.targets import Target

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
