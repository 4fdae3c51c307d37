"""What MLflow's advisories are about, on both stores: whatever leads out of a run's folder is
refused, nothing is read or written elsewhere, and what is stored stays as it is.

The traversals are those of CVE-2023-1177, -2356, -2780, -6831 and CVE-2024-1560; the locations and
sources those of CVE-2023-1177 and CVE-2024-1483, -1594.
"""

from urllib.parse import quote

import pytest

from tests.security.runs import API, PROXY, V1, Run

# As they stand in the path of a URL. `.` and empty segments are left out where a path is only read.
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
    "backslash": ["..\\pwned", "..%5cpwned", "%255c..%255cpwned", "a\\..\\..\\pwned"],
    "absolute": ["/etc/passwd", "//pwned", "%2fetc%2fpasswd", "%252fetc/passwd", "C:%5cpwned"],
    "file_scheme": ["file:///etc/passwd", "file:pwned", "FILE:%2f%2f/pwned"],
    "other_schemes": ["http://pwned/x", "s3://pwned/x", "a%3a%2f%2fpwned"],
    "fragment": ["a%23pwned", "%23/../pwned", "pwned%23"],
    "too_long": ["pwned" * 60, "a/" * 500 + "pwned"],
}

# Escapes of what no name holds, and the names that MLflow's clients give to files with them: they
# put `pwned%00.txt` into URLs as it is.
UNSTORABLE = {
    "pwned%00.txt": "pwned%00.txt",
    "pwned%0a": "pwned%0a",
    "pwned%0d%0aX:y": "pwned%0d%0aX:y",
    "pwned%7f": "pwned%7f",
    "%1bpwned": "%1bpwned",
    "%c0%ae%c0%ae/pwned": "%C0%AE%C0%AE/pwned",
    "%e0%80%ae%e0%80%ae/pwned": "%E0%80%AE%E0%80%AE/pwned",
    "%ff/pwned": "%FF/pwned",
}

# The same as a value of a parameter or a field, where nothing decodes percent signs.
VALUES = {
    "traversal_raw": ["../pwned", "a/../../pwned", "../../../../secret.txt", "./.."],
    "traversal_encoded": ["%2e%2e/pwned", "..%2fpwned", "%2e%2e%2fpwned"],
    "traversal_doubly_encoded": ["%252e%252e%252fpwned"],
    "backslash": ["..\\pwned", "%5c..%5cpwned"],
    "absolute": ["/etc/passwd", "//pwned", "C:\\pwned", "C:pwned"],
    "nul_and_control": ["pwned\0", "pwned\n", "pwned\r\nX: y", "\x1bpwned"],
    "file_scheme": ["file:///etc/passwd", "file:pwned"],
    "other_schemes": ["http://pwned/x", "s3://pwned/x"],
    "fragment": ["a#pwned", "#/../pwned"],
}


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
@pytest.mark.parametrize("path", UNSTORABLE)
def test_escapes_of_what_no_name_holds_are_text(run: Run, path: str) -> None:
    before = run.stored()
    for method in ("GET", "HEAD", "DELETE"):
        run.refused(method, f"{V1}/{run.run_id}/artifacts/{path}")
    assert run.client.put(f"{PROXY}/{run.root}/{path}", content=b"x").status_code == 200
    (added,) = run.stored().keys() - before.keys()
    assert added.isprintable()
    folder, _, name = UNSTORABLE[path].rpartition("/")
    assert run.holds(added, folder, name)
    for url in (path, quote(UNSTORABLE[path])):
        assert run.client.get(f"{PROXY}/{run.root}/{url}").content == b"x"
    assert run.client.delete(f"{PROXY}/{run.root}/{path}").status_code == 200


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


def test_a_line_break_at_the_end_names_no_other_file(run: Run) -> None:
    assert run.client.put(f"{PROXY}/{run.root}/a.txt", content=b"x").status_code == 200
    before = run.stored()
    for method in ("GET", "HEAD"):
        run.refused(method, f"{PROXY}/{run.root}/a.txt%0a")
    assert run.client.delete(f"{PROXY}/{run.root}/a.txt%0a").status_code == 200
    for method in ("GET", "HEAD", "DELETE"):
        run.refused(method, f"{V1}/{run.run_id}/artifacts/a.txt%0a")
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
