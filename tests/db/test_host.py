"""The system user of the embedded PostgreSQL, created on a real host."""

import os
import shutil
import subprocess
import sys
import uuid

import pytest

# The table of users is the host's own: the name is one that nobody uses, and it is removed again.
_START = """
import pathlib, sys
from app.db import host
host._ACCOUNT = sys.argv[1]
sys.stdin.readline()
print(host.server_account(pathlib.Path("/nonexistent")).uid)
"""


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("userdel"), reason="needs root, to create a user")
def test_processes_that_start_together_agree_on_the_user() -> None:
    name = f"relaygate-{uuid.uuid4().hex[:8]}"
    starts = [
        subprocess.Popen([sys.executable, "-c", _START, name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(6)
    ]
    try:
        for start in starts:
            assert start.stdin
            start.stdin.write("\n")
            start.stdin.flush()
        assert len({start.communicate(timeout=30)[0].strip() for start in starts}) == 1
    finally:
        subprocess.run(["userdel", name], check=True)
