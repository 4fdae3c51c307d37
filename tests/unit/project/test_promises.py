"""The tests that docs/security.md names exist."""

import ast
import re

import pytest

from tests.conftest import ROOT

NAMED = sorted(set(re.findall(r"`(tests/[\w/.:]+)`", (ROOT / "docs" / "security.md").read_text())))


def test_some_are_named() -> None:
    assert len(NAMED) > 40


@pytest.mark.parametrize("name", NAMED)
def test_exists(name: str) -> None:
    path, *parts = name.split("::")
    found: list[ast.stmt] = ast.parse((ROOT / path).read_text()).body
    for part in parts:
        (found,) = [
            one.body
            for one in found
            if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
            and one.name == part
        ]
