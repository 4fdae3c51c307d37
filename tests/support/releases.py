"""Later versions of the service: copies of its code with revisions that only a test has."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from app.db import migrate
from tests.conftest import ROOT

_FILE = '''
"""Revision of a test."""
from alembic import op
from app.db import indexes, rls

revision, down_revision, branch_labels, depends_on = "{number}", "{before}", None, None

def upgrade():
    {upgrade}

def downgrade():
    {downgrade}
'''


@dataclass(frozen=True)
class Revision:
    """What a revision does, a line of Python each way."""

    upgrade: str
    downgrade: str = "pass"


class Release:
    """A copy of the code below `root`, with revisions after the newest: 9001, 9002 and so on."""

    def __init__(self, root: Path, *revisions: Revision) -> None:
        self.root = root
        root.mkdir()
        for name in ("app", "migrations"):
            shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "alembic.ini", root)
        self.write(*revisions)

    def write(self, *revisions: Revision) -> None:
        """Write the revisions, over those that there are."""
        before = migrate.head()
        for number, revision in enumerate(map(vars, revisions), 9001):
            file = self.root / "migrations" / "versions" / f"{number}_of_a_test.py"
            file.write_text(_FILE.format(number=number, before=before, **revision))
            before = str(number)

    def start(self, url: str, *command: str) -> "subprocess.Popen[str]":
        """A module of Python, as `app.cli migrate`, on the database at `url` (the owner's)."""
        kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        return subprocess.Popen(
            [sys.executable, "-m", *command],
            cwd=self.root,
            env=kept
            | {"TRACKING_MIGRATION_DATABASE_URL": url, "TRACKING_LOG_FORMAT": "text"}
            | {"PYTHONPATH": str(self.root)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, url: str, *command: str) -> tuple[int, str, str]:
        """The same to its end: the exit status, stdout and stderr."""
        with self.start(url, *command) as process:
            output, errors = process.communicate(timeout=120)
        return process.returncode, output, errors
