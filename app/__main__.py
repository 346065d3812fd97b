"""The `relaygate` command. Serving goes straight to `app.serve`; only other commands load Typer and what they need.

A serving process would keep all of that in memory for nothing, 4 MB of it.
"""

from __future__ import annotations

import sys
from importlib import import_module

from app.serve import serve


def main() -> None:
    """Runs what the command line says."""
    if sys.argv[1:] == ["serve"]:
        serve()
    else:
        import_module("app.cli").app(prog_name="relaygate")


if __name__ == "__main__":
    main()
