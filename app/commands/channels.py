"""`relaygate channels`: the ways to upstreams, added, listed and tried out."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Annotated

import typer

from app import formats
from app.accounts.admin_tokens import COMMAND_LINE
from app.api.admin.channel_fields import NewChannel, get_provider, new_columns, write_channel
from app.api.admin.channels import choose_model, find_served, open_row
from app.api.admin.probe import TIMEOUT, ProbeBody, probe
from app.api.admin.record import record
from app.api.admin.shapes import MAX_ID
from app.catalog import store
from app.catalog.defaults import DefaultPrices
from app.catalog.store import ChannelRow
from app.commands.desk import BATCH, Desk, at_desk, fail, faults_reported, in_batches, print_table
from app.providers import discover
from app.relay.attempt import Timeouts, Upstreams, open_session

channels = typer.Typer(help="Channels: the ways to upstreams.", no_args_is_help=True)

API_KEY = "RELAYGATE_CHANNEL_API_KEY"


@channels.command()
def add(
    name: str,
    provider: Annotated[str, typer.Option(help="A vendor, such as openai, deepseek, ollama.")],
    model: Annotated[list[str], typer.Option(help="MODEL or MODEL=UPSTREAM_MODEL, several times.")],
    base_url: Annotated[str | None, typer.Option(help="Absent: the vendor's.")] = None,
    api_key: Annotated[str | None, typer.Option(envvar=API_KEY, help="Absent: asked for.")] = None,
    priority: Annotated[int, typer.Option(help="The highest is tried first.")] = 0,
    weight: Annotated[int, typer.Option(help="Its share among channels of one priority.")] = 1,
    label: Annotated[str | None, typer.Option("--class", help="What clients are told of it.")] = None,
    concurrency: Annotated[int | None, typer.Option(help="Requests under way at once.")] = None,
    rpm: Annotated[int | None, typer.Option(help="Requests a minute.")] = None,
    tpm: Annotated[int | None, typer.Option(help="Tokens a minute.")] = None,
    lacks: Annotated[list[str] | None, typer.Option(help="What its models can't do, several times.")] = None,
) -> None:
    """Add a channel."""
    with faults_reported():
        secret = _ask_for_key(provider) if api_key is None else api_key

    async def work(desk: Desk) -> ChannelRow:
        values = {
            "name": name,
            "provider": provider,
            "base_url": base_url,
            "api_key": secret,
            "models": [_read_model(text) for text in model],
            "priority": priority,
            "weight": weight,
            "options": {"class": label, "concurrency": concurrency, "rpm": rpm, "tpm": tpm, "lacks": lacks or []},
        }
        body = NewChannel.model_validate(values)
        columns = new_columns(body, desk.providers, desk.vault)
        served = await find_served(desk.connection, DefaultPrices(), body.models, columns)
        row = await store.create_channel(desk.connection, columns, served)
        await record(desk.connection, COMMAND_LINE, "channels.create", row.id, None, write_channel(row, desk.vault))
        return row

    made = at_desk(work)
    typer.echo(f"Channel {made.id} ({made.name}); try it: relaygate channels test {made.id}")


@channels.command("list")
def list_channels() -> None:
    """List channels."""

    async def work(desk: Desk) -> list[ChannelRow]:
        async def fetch(last: ChannelRow | None) -> list[ChannelRow]:
            return await store.list_channels(desk.connection, after=0 if last is None else last.id, limit=BATCH)

        return await in_batches(fetch)

    columns = ("id", "name", "provider", "base_url", "enabled", "priority", "models")
    print_table(columns, [_row(row) for row in at_desk(work)])


@channels.command()
def test(
    channel_id: Annotated[int, typer.Argument(min=1, max=MAX_ID)],
    model: Annotated[str | None, typer.Option(help="Absent: the first that it serves.")] = None,
) -> None:
    """Make one short call over a channel. Exit code 1 if it fails."""

    async def work(desk: Desk) -> ProbeBody:
        row = await store.get_channel(desk.connection, channel_id)
        served = choose_model(row, model)
        timeouts = Timeouts(connect=desk.settings.connect_timeout, first_byte=TIMEOUT, idle=TIMEOUT, write=TIMEOUT)
        async with open_session() as session:
            channel = open_row(row, desk.providers, desk.vault)
            upstreams = Upstreams(session, timeouts)
            answer = await probe(upstreams, formats.by_name(), channel, served.model, served.upstream_model)
        outcome = answer.model_dump(include={"ok", "status", "model"})
        await record(desk.connection, COMMAND_LINE, "channels.test", channel_id, None, outcome)
        return answer

    answer = at_desk(work)
    if answer.error is not None:
        status = "" if answer.status is None else f", status {answer.status}"
        fail(f"{answer.model}: {answer.error.message} ({answer.error.code}{status}, {answer.latency_ms} ms)")
    usage = answer.usage or {}
    counts = f"{usage.get('input_tokens', '?')} tokens in, {usage.get('output_tokens', '?')} out"
    typer.echo(f"{answer.model}: ok ({answer.latency_ms} ms, {counts})")


def _ask_for_key(provider: str) -> str | None:
    if not get_provider(discover(), provider).needs_secret:
        return None
    if not sys.stdin.isatty():
        fail(f"api_key: provider {provider} needs one; give --api-key or {API_KEY}")
    return str(typer.prompt("API key", hide_input=True))


def _read_model(text: str) -> Mapping[str, str | None]:
    model, _, upstream = text.partition("=")
    return {"model": model, "upstream_model": upstream or None}


def _row(row: ChannelRow) -> Sequence[object]:
    models = ",".join(
        served.model if served.model == served.upstream_model else f"{served.model}={served.upstream_model}"
        for served in row.models
    )
    return [row.id, row.name, row.provider, row.base_url, "yes" if row.enabled else "no", row.priority, models]
