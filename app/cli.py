"""The `relaygate` command."""

from __future__ import annotations

import typer

from app.serve import serve

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_show_locals=False)
app.command()(serve)


@app.callback()
def relaygate() -> None:
    """A self-hosted, OpenAI-compatible AI API gateway."""


if __name__ == "__main__":
    app()
