"""Supply chain: what the audit of dependencies makes of its advisories. The locks themselves: tests/test_packaging.py."""

from __future__ import annotations

import json

import pytest

from tests.dependency_audit import LOCK, locked_versions, read_report

SOUND = {"name": "aiohttp", "version": "3.14.1", "vulns": []}
FLAWED = {"name": "starlette", "version": "1.0.0", "vulns": [{"id": "CVE-2026-48710", "fix_versions": ["1.0.1"]}]}
HOPELESS = {"name": "x", "version": "1", "vulns": [{"id": "PYSEC-1", "fix_versions": []}]}
SKIPPED = {"name": "y", "skip_reason": "not found"}


@pytest.mark.parametrize(
    ("packages", "found", "unknown"),
    [
        ([SOUND], [], ""),
        ([SOUND, FLAWED], ["starlette 1.0.0: CVE-2026-48710, fixed in 1.0.1"], ""),
        ([HOPELESS], ["x 1: PYSEC-1, fixed in nothing yet"], ""),
        ([SOUND, SKIPPED], [], "1 of 2 packages; y: not found"),
    ],
)
def test_supply_chain_advisories(packages: list[object], found: list[str], unknown: str) -> None:
    assert read_report(json.dumps({"dependencies": packages, "fixes": []})) == (found, unknown)


def test_supply_chain_audits_everything_that_is_installed() -> None:
    """A requirement that the reading of the lock passes over would have no floor."""
    pinned = [line for line in LOCK.read_text().splitlines() if "==" in line and not line.startswith((" ", "#"))]
    assert len(locked_versions(LOCK.read_text())) == len({line.partition("==")[0] for line in pinned}) > 40
