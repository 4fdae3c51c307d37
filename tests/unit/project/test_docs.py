"""The documentation names only what exists: files, headings, make targets and settings."""

import re
from pathlib import Path

import pytest

from app.config import Settings
from tests.conftest import ROOT

README = ROOT / "README.md"
DOCUMENTS = sorted(
    path
    for path in (
        README,
        ROOT / "CONTRIBUTING.md",
        ROOT / "SECURITY.md",
        ROOT / "benchmarks" / "README.md",
        *(ROOT / "docs").rglob("*.md"),
    )
    if path.exists()
)
CONFIGURATION = [ROOT / "compose.yaml", ROOT / ".env.example"]

SETTINGS = {f"TRACKING_{name.upper()}" for name in Settings.model_fields}
# compose.yaml passes these to docker/roles.sql; the service does not read them.
PASSWORDS_OF_COMPOSE = {"TRACKING_OWNER_PASSWORD", "TRACKING_APP_PASSWORD"}

# Part of a longer name, such as MLFLOW_TRACKING_URI, is no match.
VARIABLE = re.compile(r"(?<![A-Z_])(TRACKING_[A-Z0-9_]*[A-Z0-9])(_\*)?")
READ_BY_TESTS = re.compile(r"""environ(?:\.get\(|\[)["'](TRACKING_\w+)["']""")
REPOSITORY_PATH = re.compile(
    r"(?<![\w./-])(?:app|tests|migrations|docs|benchmarks|examples)/(?:[\w./-]*[\w/])?"
)
LINK = re.compile(r"\]\(([^)\s]+)\)")
FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
INDENTED = re.compile(r"^    .*$", re.MULTILINE)
INLINE = re.compile(r"`([^`]+)`")
MAKE = re.compile(r"(?<![\w-])make\s+([a-z]+)")
MAKE_TARGET = re.compile(r"^([a-z]+):", re.MULTILINE)
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def code(text: str) -> str:
    """The code of a Markdown text, `|` between its parts: blocks, and what stands in backticks."""
    blocks = FENCED.findall(text)
    rest = FENCED.sub("", text)
    return "\n|\n".join([*blocks, *INDENTED.findall(rest), *INLINE.findall(rest)])


def missing_paths(text: str) -> list[str]:
    """The paths of the repository that a Markdown text names as code, and that do not exist."""
    named = set(REPOSITORY_PATH.findall(code(text)))
    return sorted(path for path in named if not (ROOT / path).exists())


def broken_links(document: Path, text: str) -> list[str]:
    """The links to other files, or to headings, that lead nowhere."""
    broken = []
    for link in LINK.findall(FENCED.sub("", text)):
        if re.match("[a-z]+:", link):
            continue
        file, _, heading = link.partition("#")
        target = document.parent / file if file else document
        if not target.exists() or (heading and heading not in anchors(target)):
            broken.append(link)
    return broken


def anchors(document: Path) -> set[str]:
    """The names by which a link reaches the headings, as GitHub makes them."""
    headings = HEADING.findall(FENCED.sub("", document.read_text()))
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def missing_targets(text: str) -> list[str]:
    """The words after `make`, in code, that the Makefile has no target for."""
    targets = set(MAKE_TARGET.findall((ROOT / "Makefile").read_text()))
    return sorted(set(MAKE.findall(code(text))) - targets)


def unknown_variables(text: str, known: set[str]) -> list[str]:
    """The names TRACKING_… that are not `known`; a name with `*` stands for those it begins."""
    return sorted(
        {
            variable
            for variable, star in VARIABLE.findall(text)
            if variable not in known
            and not (star and any(other.startswith(f"{variable}_") for other in known))
        }
    )


@pytest.fixture(scope="module")
def known_variables() -> set[str]:
    """The settings, the variables that tests read, and the passwords of compose.yaml."""
    sources = [path.read_text() for path in (ROOT / "tests").rglob("*.py")]
    read_by_tests = {variable for text in sources for variable in READ_BY_TESTS.findall(text)}
    return SETTINGS | read_by_tests | PASSWORDS_OF_COMPOSE


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
class TestDocuments:
    def test_paths_exist(self, document: Path) -> None:
        assert missing_paths(document.read_text()) == []

    def test_links_lead_somewhere(self, document: Path) -> None:
        assert broken_links(document, document.read_text()) == []

    def test_make_targets_exist(self, document: Path) -> None:
        assert missing_targets(document.read_text()) == []


@pytest.mark.parametrize("file", [*DOCUMENTS, *CONFIGURATION], ids=name)
def test_variables_are_settings(file: Path, known_variables: set[str]) -> None:
    assert unknown_variables(file.read_text(), known_variables) == []


def test_passwords_of_compose_are_used() -> None:
    roles = (ROOT / "docker" / "roles.sql").read_text()
    assert all(variable in roles for variable in PASSWORDS_OF_COMPOSE)


def test_readme_has_every_setting_in_its_table() -> None:
    rows = re.findall(r"^\| (`TRACKING_[^|]+)\|", README.read_text(), re.MULTILINE)
    named = [variable for row in rows for variable in INLINE.findall(row)]
    assert len(named) == len(set(named))
    assert set(named) == SETTINGS


class TestTheChecksThemselves:
    """Each check finds what is wrong; else the tests above could not fail."""

    def test_a_path(self) -> None:
        text = "`app/main.py`, `python examples/none.py`, `tests/unit/<domain>`, app/prose.py"
        assert missing_paths(text) == ["examples/none.py"]
        assert missing_paths("`tests/none.py::TestCase::test_it`\n\n    ls docs/none") == [
            "docs/none",
            "tests/none.py",
        ]

    def test_a_link(self) -> None:
        text = "[a](docs/none.md) [b](SECURITY.md#none) [c](SECURITY.md#actors) [d](https://e.org)"
        assert broken_links(README, text) == ["docs/none.md", "SECURITY.md#none"]

    def test_a_make_target(self) -> None:
        assert missing_targets('`make test args="-k a"` and `make\ncoffee`; make sure') == [
            "coffee"
        ]

    def test_a_variable(self) -> None:
        text = "TRACKING_PORT, TRACKING_JWT_*, TRACKING_NONE, TRACKING_NO_*, MLFLOW_TRACKING_URI"
        assert unknown_variables(text, SETTINGS) == ["TRACKING_NO", "TRACKING_NONE"]
