"""What has to be there before a process can serve: a database, its schema, a secret key, an admin token, the demo."""

from __future__ import annotations

import asyncio
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, TextIO

from pydantic import SecretStr
from sqlalchemy.ext.asyncio import AsyncConnection

from app.accounts import admin_tokens
from app.accounts import store as accounts
from app.catalog import store as catalog
from app.catalog.prices import read_price
from app.catalog.vault import Vault
from app.core.money import read_amount
from app.db.embedded import EmbeddedPostgres
from app.db.engine import DATABASE_ERRORS, Database
from app.db.revision import current_revision, head_revision
from app.ledger.issue import issue_account, issue_key
from app.media.storage import Storage, StorageError
from app.services import split_secret_keys
from app.settings import Settings
from app.webhooks.sign import key_of

ROOT = Path(__file__).resolve().parents[1]
DEMO_NAME = "demo"
DEMO_GRANT = "5"
DEMO_MODELS: Mapping[str, tuple[str, Mapping[str, Any] | None]] = MappingProxyType(
    {
        "demo": ("chat", {"input_mtok": "0.15", "output_mtok": "0.60"}),
        "demo-video": ("video", {"per_second": "0.02", "variants": [{"when": {"hd": True}, "per_second": "0.05"}]}),
        "demo-image": ("image", {"per_image": "0.01"}),
        "demo-speech": ("audio", {"per_kchar": "0.015"}),
        "sora-characters": ("video", None),
    }
)
"""Kind and price of what the demo upstream serves; without a price it is free."""

DEMO_STOP_TIMEOUT = 5.0


class SetupError(RuntimeError):
    """The gateway can't start; the message tells the operator what to do."""


@dataclass(frozen=True, slots=True)
class Ready:
    """What a process can start with. `new_admin_token` is set once, when it was made just now."""

    settings: Settings
    new_admin_token: str | None
    demo_key: str | None


@contextmanager
def database_of(settings: Settings) -> Iterator[Settings]:
    """Settings with a database URL and a secret key in them; the embedded PostgreSQL runs as long as the block."""
    with ExitStack() as stack:
        url = settings.database_url
        if url is None:
            settings.data_dir.mkdir(parents=True, exist_ok=True)
            url = SecretStr(stack.enter_context(EmbeddedPostgres(settings.data_dir)))
        secret_key = settings.secret_key or _own_secret_key(settings)
        yield settings.model_copy(update={"database_url": url, "secret_key": secret_key})


@contextmanager
def prepared(settings: Settings) -> Iterator[Ready]:
    """A migrated database, and whatever the first start makes. The demo upstream runs as long as the block."""
    with database_of(settings) as complete, ExitStack() as stack:
        ensure_schema(complete)
        check_storage(complete)
        check_alerts(complete)
        token, wants_demo = asyncio.run(_prepare(complete))
        key = _install_demo(complete, stack.enter_context(demo_upstream())) if wants_demo else None
        yield Ready(complete, token, key)


def ensure_schema(settings: Settings) -> None:
    """Migrates if the schema isn't current, in a child process: see `app.db.migrate`. Raises SetupError."""
    assert settings.database_url is not None
    if asyncio.run(_revision(settings)) == head_revision():
        return
    environment = os.environ | {"RELAYGATE_DATABASE_URL": settings.database_url.get_secret_value()}
    done = subprocess.run(
        [sys.executable, "-m", "app.db.migrate"], env=environment, capture_output=True, text=True, cwd=ROOT
    )
    if done.returncode:
        raise SetupError(f"The database can't be migrated: {done.stderr.strip().splitlines()[-1]}")


def check_alerts(settings: Settings) -> None:
    """Raises SetupError for a secret that nothing can be signed with; its value isn't repeated."""
    if settings.alert_secret is not None:
        try:
            key_of(settings.alert_secret.get_secret_value())
        except ValueError as error:
            raise SetupError(f"RELAYGATE_ALERT_SECRET: {error}") from error


def check_storage(settings: Settings) -> None:
    """Raises SetupError for a place of media that can't be opened."""
    try:
        Storage(settings.storage_url, settings.data_dir / "media")
    except StorageError as error:
        raise SetupError(f"RELAYGATE_STORAGE_URL can't be used: {error.message} The log says why.") from error


async def _revision(settings: Settings) -> str | None:
    database = database_for(settings)
    try:
        return await current_revision(database.engine)
    except DATABASE_ERRORS as error:
        raise SetupError(f"The database can't be reached: {error}") from error
    finally:
        await database.close()


def database_for(settings: Settings) -> Database:
    """A connection pool for a command that is done in a moment."""
    assert settings.database_url is not None
    return Database(settings.database_url.get_secret_value(), pool_size=2)


async def _prepare(settings: Settings) -> tuple[str | None, bool]:
    database = database_for(settings)
    try:
        async with database.engine.begin() as connection:
            token = None
            if settings.admin_token is None and not await admin_tokens.has_token(connection):
                _, token = await admin_tokens.create_token(connection, "first start")
            others = [c for c in await catalog.list_channels(connection) if c.provider != DEMO_NAME]
            wants_demo = settings.demo == "true" or (settings.demo == "auto" and not others)
            if not wants_demo:
                await _retire_demo(connection)
        return token, wants_demo
    finally:
        await database.close()


def _own_secret_key(settings: Settings) -> SecretStr:
    """The key kept in the data directory, made at first start; only for a gateway that has its database there too."""
    path = settings.data_dir / "secret-key"
    if settings.database_url is not None and not path.exists():
        raise SetupError(
            "RELAYGATE_SECRET_KEY isn't set. It encrypts the upstreams' keys in your database, and every replica needs the "
            "same one. Make one with: python3 -c 'import secrets; print(secrets.token_urlsafe(32))'"
        )
    with suppress(FileExistsError), _new_private_file(path) as file:
        file.write(secrets.token_urlsafe(32))
    return SecretStr(path.read_text().strip())


@contextmanager
def _new_private_file(path: Path) -> Iterator[TextIO]:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        yield file


# -- the demo --------------------------------------------------------------------------------------------------------


@contextmanager
def demo_upstream() -> Iterator[str]:
    """The demo upstream as a child process on a free port; yields its URL."""
    command = [sys.executable, "-m", "app.demo", "--port", "0", "--parent-pid", str(os.getpid())]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)  # noqa: S603 - our own
    try:
        assert child.stdout is not None
        line = child.stdout.readline()
        if not line:
            raise SetupError("The demo upstream didn't start.")
        yield line.rsplit(" ", 1)[-1].strip()
    finally:
        child.terminate()
        try:
            child.wait(DEMO_STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def _install_demo(settings: Settings, url: str) -> str:
    """A channel to the demo upstream, a model, and an account with a key; the key stays the same over restarts."""
    path = settings.data_dir / "demo-key"
    known = path.read_text().strip() if path.exists() else None
    key = asyncio.run(_install_demo_rows(settings, f"{url}/v1", known))
    if known != key:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        with _new_private_file(path) as file:
            file.write(key)
    return key


async def _install_demo_rows(settings: Settings, base_url: str, known: str | None) -> str:
    assert settings.secret_key is not None
    vault = Vault(split_secret_keys(settings.secret_key.get_secret_value()))
    database = database_for(settings)
    try:
        async with database.engine.begin() as connection:
            await _install_demo_channel(connection, vault, base_url)
            if known is not None and await accounts.has_key(connection, known):
                return known
            return await _make_demo_key(connection)
    finally:
        await database.close()


async def _retire_demo(connection: AsyncConnection) -> None:
    """Without the demo upstream its channel could only fail, and its model would still be listed."""
    channel = await catalog.find_channel(connection, DEMO_NAME)
    if channel is not None and channel.provider == DEMO_NAME and channel.enabled:
        await catalog.update_channel(connection, channel.id, {"enabled": False}, None)


async def _install_demo_channel(connection: AsyncConnection, vault: Vault, base_url: str) -> None:
    served = [catalog.ServedModel(name, name) for name in DEMO_MODELS]
    for name, (kind, price) in DEMO_MODELS.items():
        if await catalog.has_model(connection, name):
            continue  # it may be the operator's by now
        values = {"kind": kind, "description": "The demo upstream.", "free": price is None}
        if kind == "chat":
            values["max_output_tokens"] = 4096
        await catalog.put_model(connection, name, values, None if price is None else read_price(price), [])
    channel = await catalog.find_channel(connection, DEMO_NAME)
    if channel is not None:
        await catalog.update_channel(connection, channel.id, {"base_url": base_url, "enabled": True}, served)
        return
    values = {
        "name": DEMO_NAME,
        "provider": DEMO_NAME,
        "base_url": base_url,
        "secret": vault.encrypt("demo-upstream"),
        "priority": -100,  # whatever else serves the model goes first
    }
    await catalog.create_channel(connection, values, served)


async def _make_demo_key(connection: AsyncConnection) -> str:
    account = await issue_account(connection, {"name": DEMO_NAME}, read_amount(DEMO_GRANT), note="demo")
    _, secret = await issue_key(connection, {"account_id": account.id, "name": DEMO_NAME}, None)
    return secret
