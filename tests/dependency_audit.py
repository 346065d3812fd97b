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
TIMEOUT = 60

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


def ask_advisories() -> tuple[list[str], int]:
    """What is known to be vulnerable, and how many packages nothing could be learnt about."""
    command = [
        sys.executable, "-m", "pip_audit", "-r", str(LOCK), "--require-hashes", "--disable-pip", "-s", "pypi",
        "--progress-spinner", "off", "--timeout", "10", "-f", "json",
    ]  # fmt: skip
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=False)
        packages = json.loads(done.stdout)["dependencies"]
    except (subprocess.TimeoutExpired, ValueError, KeyError):
        return [], len(locked_versions(LOCK.read_text()))
    found = [
        f"{package['name']} {package['version']}: {flaw['id']}, fixed in {', '.join(flaw['fix_versions']) or 'nothing yet'}"
        for package in packages
        for flaw in package.get("vulns", ())
    ]
    return found, sum("skip_reason" in package for package in packages)


def main() -> None:
    faults = below_floor(locked_versions(LOCK.read_text()))
    known, unknown = ask_advisories()
    if unknown:
        print(f"dependency audit: {unknown} packages not audited, the advisories can't be reached", file=sys.stderr)
    if faults or known:
        sys.exit("\n".join(["dependency audit:", *faults, *known]))


if __name__ == "__main__":
    main()
