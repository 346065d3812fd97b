"""The table of docs/security.md: each row has tests, and the tests that it names exist and run with the suite."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "security.md"

ROWS = [
    "object access", "authentication", "host confusion", "leaking properties", "key echo", "consumption", "functions",
    "money", "SSRF", "credential redirect", "inventory", "unsafe upstream", "first boot", "webhooks out", "supply chain",
]  # fmt: skip


def _tests_of(row: str) -> list[str]:
    line = next(line for line in PAGE.read_text().splitlines() if line.startswith(f"| {row} |"))
    return re.findall(r"`(tests/[\w/]+\.py::\w+)`", line)


@cache
def _defined(path: str) -> dict[str, bool]:
    """The functions of a test file, and whether they run with `make test` rather than only with `make test-long`."""
    tree = ast.parse((ROOT / path).read_text())
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    marks = [
        node for node in tree.body if isinstance(node, ast.Assign) and "pytestmark" in ast.unparse(node.targets[0])
    ]
    whole_file = any("mark.long" in ast.unparse(node) for node in marks)
    return {function.name: not whole_file and "mark.long" not in ast.unparse(function) for function in functions}


@pytest.mark.parametrize("row", ROWS)
def test_row(row: str) -> None:
    named = _tests_of(row)
    assert named
    for test in named:
        path, _, name = test.partition("::")
        assert _defined(path).get(name), f"{test} doesn't exist, or only runs with the long ones"
