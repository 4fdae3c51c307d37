"""What the files for operators say: compose.yaml, the Dockerfile, and the audit of dependencies.

They are read here, and not run: the tests have no container engine.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import ROOT

COMPOSE = (ROOT / "compose.yaml").read_text()
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load(COMPOSE)["services"]
DOCKERFILE = (ROOT / "Dockerfile").read_text()

# The one that gives MinIO its folder, and no more.
FOLDER = "minio-folder"

# A pip_audit that ends as it is told: with a report, or without, and always with 1.
PIP_AUDIT = """
import os, sys
report = os.environ["REPORT"]
if report:
    with open(sys.argv[sys.argv.index("--output") + 1], "w") as file:
        file.write(report)
else:
    print("Traceback\\nConnectionError: no route to the database", file=sys.stderr)
sys.exit(1)
"""


class TestCompose:
    def test_has_no_password_of_its_own(self) -> None:
        """Without one that is set it does not start, and says which."""
        secrets = set(re.findall(r"\$\{(\w*(?:PASSWORD|SECRET)\w*)", COMPOSE))
        assert len(secrets) == 4
        for name in secrets:
            assert f"${{{name}:?" in COMPOSE
            assert f"${{{name}:-" not in COMPOSE
        given = [
            value
            for service in SERVICES.values()
            for name, value in service.get("environment", {}).items()
            if re.search("PASSWORD|SECRET|_URL", name)
        ]
        assert len(given) >= 8
        assert all("${" in value for value in given)

    def test_says_how_to_make_them(self) -> None:
        header = COMPOSE.partition("services:")[0]
        command = re.search(r"#   (\(umask 077.*?\)>>\.env|\(umask 077.*?>>\.env\))", header, re.S)
        assert command
        names = re.findall(r"(\w+_(?:PASSWORD|KEY))\b", command[1])
        assert set(names) == set(re.findall(r"\$\{(\w+):\?", COMPOSE))

    @pytest.mark.parametrize("name", SERVICES)
    def test_is_confined(self, name: str) -> None:
        service = SERVICES[name]
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert "privileged" not in service
        if name == FOLDER:
            assert (service["user"], service["cap_add"]) == ("0:0", ["CHOWN"])
            assert service["network_mode"] == "none"
        else:
            assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", service["user"])
            assert "cap_add" not in service
            assert any(entry.startswith("/tmp") for entry in service["tmpfs"])

    def test_is_reached_from_this_machine_only(self) -> None:
        ports = [port for service in SERVICES.values() for port in service.get("ports", [])]
        assert len(ports) == 4
        assert all(port.startswith("127.0.0.1:") for port in ports)

    def test_runs_as_the_images_user(self) -> None:
        """Who owns the folder that the image has for data."""
        user = re.findall(r"^USER (.+)$", DOCKERFILE, re.MULTILINE)[-1]
        assert SERVICES["tracking"]["user"] == SERVICES["migrate"]["user"] == user
        uid, gid = user.split(":")
        assert f"--gid {gid} tracking" in DOCKERFILE
        assert f"--uid {uid} --gid {gid}" in DOCKERFILE


class TestBillOfMaterials:
    def test_is_in_the_image(self) -> None:
        made = re.search(r"cyclonedx_py environment(?:.|\\\n)*--output-file (\S+)", DOCKERFILE)
        assert made
        assert f"COPY --from=sbom {made[1]} /usr/share/sbom/tracking.cdx.json" in DOCKERFILE

    def test_its_tools_are_pinned(self) -> None:
        lines = (ROOT / "constraints-tools.txt").read_text().splitlines()
        pins = [line for line in lines if not line.startswith("#")]
        assert all(re.fullmatch(r"[A-Za-z0-9_.-]+==[A-Za-z0-9.]+", pin) for pin in pins)
        names = {pin.partition("==")[0].replace("_", "-") for pin in pins}
        assert {"cyclonedx-bom", "pip-audit"} <= names
        assert "!constraints-tools.txt" in (ROOT / ".dockerignore").read_text()


def audit(tmp_path: Path, report: object) -> "subprocess.CompletedProcess[str]":
    (tmp_path / "pip_audit.py").write_text(PIP_AUDIT)
    told = "" if report is None else json.dumps({"dependencies": report})
    return subprocess.run(
        [sys.executable, str(ROOT / ".ci" / "audit")],
        env=os.environ | {"PYTHONPATH": str(tmp_path), "REPORT": told},
        capture_output=True,
        text=True,
    )


CLEAR = {"name": "a", "version": "1", "vulns": []}
FLAW = {"id": "PYSEC-1", "fix_versions": ["3"]}


class TestAudit:
    def test_nothing_known(self, tmp_path: Path) -> None:
        done = audit(tmp_path, [CLEAR, CLEAR])
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout == "2 packages audited, 0 with known vulnerabilities\n"

    def test_something_known(self, tmp_path: Path) -> None:
        done = audit(tmp_path, [CLEAR, {"name": "b", "version": "2", "vulns": [FLAW]}])
        assert done.returncode == 1
        assert "b 2: PYSEC-1, fixed in 3\n" in done.stdout

    def test_a_database_that_is_not_reached(self, tmp_path: Path) -> None:
        done = audit(tmp_path, None)
        assert (done.returncode, done.stdout) == (3, "")
        assert done.stderr == (
            "NOT AUDITED: the vulnerability database did not answer:"
            " ConnectionError: no route to the database\n"
        )

    @pytest.mark.parametrize("others", [[], [CLEAR]])
    def test_a_package_that_it_does_not_know(self, tmp_path: Path, others: list[object]) -> None:
        skipped = {"name": "b", "skip_reason": "not found"}
        done = audit(tmp_path, [*others, skipped])
        assert done.returncode == 3
        assert done.stderr == "NOT AUDITED: b: not found\n"
