"""Upstreams that break off, or fall silent, while TLS is being agreed on: their calls fail, and nobody else's do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.chaos.faults import Fault
from tests.chaos.handshakes import AT_ONCE, ROUNDS
from tests.chaos.weather import Upstreams

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.long
@pytest.mark.xdist_group("chaos")
def test_broken_handshakes_reach_nobody_else(upstreams: Upstreams, certificates: Path) -> None:
    """A socket that is closed twice, by Python and by the loop, ends somebody else's connection or the whole process
    (uvloop's issue 653).
    """
    upstreams.become(0, Fault("reset_accept"))
    upstreams.become(1, Fault("hang_accept"))
    upstreams.become(2)
    command = [sys.executable, "-m", "tests.chaos.handshakes", *(upstreams.url(front) for front in range(3))]
    environment = {**os.environ, "SSL_CERT_FILE": str(certificates / "authority.pem")}
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=90, check=False)
    for front in range(3):
        upstreams.become(front)
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(done.stdout) == {"answered": ROUNDS * AT_ONCE}
