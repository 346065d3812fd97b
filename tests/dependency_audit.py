"""Fails for a dependency with a known vulnerability: `python -m tests.dependency_audit`, in `make check`.

Asks PyPI's advisories about everything in the lock file. Where they can't be reached, the floors below still hold.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

LOCK = Path(__file__).resolve().parents[1] / "requirements.lock"
TIMEOUT = 15
"""Seconds; each request to the advisories has a third of that."""

FLOORS = {
    # Host headers with `?`, `#` or `/` changed the path that middleware saw.
    "starlette": ((1, 0, 1), "CVE-2026-48710"),
}


def locked_versions(text: str) -> dict[str, str]:
    """Names and versions of a lock file."""
    return dict(re.findall(r"^([a-z0-9][a-z0-9._-]*)==([^\s;\\]+)", text, re.MULTILINE))


def below_floor(versions: dict[str, str]) -> list[str]:
    """What is older than an advisory that concerned a gateway of this kind."""
    found = []
    for name, (floor, advisory) in FLOORS.items():
        version = tuple(int(part) for part in re.findall(r"\d+", versions[name])[:3])
        if version < floor:
            found.append(f"{name} {versions[name]} is below {'.'.join(map(str, floor))} ({advisory})")
    return found


def ask_advisories() -> tuple[list[str], str]:
    """What is known to be vulnerable; and what nothing could be learnt about and why, empty where all was."""
    command = [
        sys.executable, "-m", "pip_audit", "-r", str(LOCK), "--require-hashes", "--disable-pip", "-s", "pypi",
        "--progress-spinner", "off", "--timeout", "5", "-f", "json",
    ]  # fmt: skip
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=False)
        return read_report(done.stdout)
    except subprocess.TimeoutExpired:
        return [], f"{LOCK.name}: no answer within {TIMEOUT} s"
    except (ValueError, KeyError):
        return [], f"{LOCK.name}: {done.stderr.strip().splitlines()[-1][:300] if done.stderr.strip() else 'no answer'}"


def read_report(text: str) -> tuple[list[str], str]:
    """The same out of pip-audit's JSON. Raises ValueError or KeyError for what is none."""
    packages = json.loads(text)["dependencies"]
    found = [
        f"{package['name']} {package['version']}: {flaw['id']}, fixed in {', '.join(flaw['fix_versions']) or 'nothing yet'}"
        for package in packages
        for flaw in package.get("vulns", ())
    ]
    skipped = [package for package in packages if "skip_reason" in package]
    if not skipped:
        return found, ""
    return found, f"{len(skipped)} of {len(packages)} packages; {skipped[0]['name']}: {skipped[0]['skip_reason'][:200]}"


def main() -> None:
    faults = below_floor(locked_versions(LOCK.read_text()))
    known, unknown = ask_advisories()
    if unknown:
        print(f"dependency audit: not audited: {unknown}", file=sys.stderr)
    if faults or known:
        sys.exit("\n".join(["dependency audit:", *faults, *known]))


if __name__ == "__main__":
    main()
