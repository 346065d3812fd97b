"""How a command gets at the database, and how it says that something went wrong: one line on stderr, exit code 1."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NoReturn, TypeVar

import typer
from pydantic import ValidationError
from pydantic_settings import SettingsError
from sqlalchemy.ext.asyncio import AsyncConnection

from app.bootstrap import SetupError, database_for, database_of, ensure_schema
from app.catalog.vault import Vault
from app.db.engine import DATABASE_ERRORS, Database, DatabaseUrlError
from app.db.host import EmbeddedPostgresError
from app.errors import GatewayError
from app.providers import discover
from app.providers.base import Provider
from app.services import split_secret_keys
from app.settings import Settings

Result = TypeVar("Result")
Item = TypeVar("Item")

BATCH = 500


@dataclass(frozen=True, slots=True)
class Desk:
    """What a command works with. `connection` is in a transaction that is committed when the work is done."""

    settings: Settings
    database: Database
    connection: AsyncConnection
    vault: Vault
    providers: Mapping[str, Provider]


def at_desk(work: Callable[[Desk], Awaitable[Result]]) -> Result:
    """Does the work on the migrated database of the settings and returns its result once it is committed.

    Joins the embedded PostgreSQL of a running gateway, or runs it for as long as the work takes.
    """
    with faults_reported(), database_of(Settings()) as settings:
        ensure_schema(settings)
        return asyncio.run(_work(settings, work))


async def _work(settings: Settings, work: Callable[[Desk], Awaitable[Result]]) -> Result:
    assert settings.secret_key is not None
    try:
        vault = Vault(split_secret_keys(settings.secret_key.get_secret_value()))
    except ValueError as error:
        raise SetupError(str(error)) from error
    database = database_for(settings)
    try:
        async with database.engine.begin() as connection:
            return await work(Desk(settings, database, connection, vault, discover()))
    finally:
        await database.close()


async def in_batches(fetch: Callable[[Item | None], Awaitable[Sequence[Item]]]) -> list[Item]:
    """All items of a list; `fetch` is given the last item so far and returns up to BATCH more."""
    found: list[Item] = []
    while True:
        batch = await fetch(found[-1] if found else None)
        found += batch
        if len(batch) < BATCH:
            return found


@contextmanager
def faults_reported() -> Iterator[None]:
    """Ends the command with one clear line for everything that an operator can do something about."""
    try:
        yield
    except GatewayError as error:
        fail(error.message)
    except ValidationError as error:
        fail("; ".join(_describe(error)))
    except (SetupError, EmbeddedPostgresError, DatabaseUrlError, SettingsError) as error:
        fail(str(error))
    except DATABASE_ERRORS as error:
        fail(str(error) if isinstance(error, OSError) else f"the database failed ({type(error).__name__})")


def fail(message: str) -> NoReturn:
    typer.secho(f"relaygate: {' '.join(message.split())}", err=True, fg="red")
    raise typer.Exit(1)


def _describe(error: ValidationError) -> Iterator[str]:
    """Names the field, and never repeats its value: that may be a secret."""
    for item in error.errors(include_input=False, include_url=False):
        place = ".".join(str(part) for part in item["loc"])
        yield f"{f'RELAYGATE_{place.upper()}' if error.title == Settings.__name__ else place}: {item['msg']}"


def print_table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Columns as wide as their widest cell; None is shown as a dash."""
    cells = [list(columns), *(["-" if cell is None else str(cell) for cell in row] for row in rows)]
    widths = [max(len(row[place]) for row in cells) for place in range(len(columns))]
    for row in cells:
        typer.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
