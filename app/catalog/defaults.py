"""Where the default catalogue comes from: genai-prices' bundled data, or a newer list fetched when an operator asked."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

import aiohttp
from sqlalchemy import Text, cast, literal, select
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from app.catalog.pricelist import PriceList, read_list, search
from app.catalog.prices import read_price, write_price
from app.catalog.tiers import read_offer
from app.db.tables.catalog import default_prices
from app.errors import Blame, GatewayError, Kind
from app.logs import get_log

log = get_log("relaygate.catalog")

ROOT = Path(__file__).resolve().parents[2]
MAX_PUBLISHED = 32 * 1024 * 1024
"""Bytes of a published list, unpacked; today's is a fifteenth of it."""

FETCH_TIMEOUT = 30.0
EXTRACT_TIMEOUT = 60.0
CHUNK = 64 * 1024


@dataclass(frozen=True, slots=True)
class DefaultCatalogue:
    """A list of vendors' prices. `fetched_at` None: it came with the release."""

    prices: PriceList
    source: str
    fetched_at: datetime | None


@dataclass(frozen=True, slots=True)
class _Kept:
    """The text of a list: a megabyte, where the list taken apart is five."""

    text: str
    source: str
    fetched_at: datetime | None

    def open(self) -> DefaultCatalogue:
        """Raises ValueError."""
        return DefaultCatalogue(read_list(self.text), self.source, self.fetched_at)


class DefaultPrices:
    """Loads the default catalogue when it is asked for, and keeps its text then."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._bundled: _Kept | None = None
        self._fetched: _Kept | None = None

    async def load(self, connection: AsyncConnection) -> DefaultCatalogue:
        """The fetched list if there is one, else the bundled one. Raises GatewayError 500 if that can't be read."""
        async with self._lock:
            return await self._open_fetched(connection) or await self._open_bundled()

    async def fetch(self, url: str | None) -> tuple[str, str]:
        """The list that genai-prices publishes today (or what is at `url`), read and tried out, and where it is from.

        Raises GatewayError 502 when it can't be fetched, or isn't a price list.
        """
        if url is None:
            async with self._lock:
                url = (await self._open_bundled()).prices.update_url
        try:
            text = await _extract("--published", given=await _download(url))
        except _ExtractError as error:
            raise _invalid(str(error)) from error
        await asyncio.to_thread(_try_out, text)
        return text, url

    async def _open_fetched(self, connection: AsyncConnection) -> DefaultCatalogue | None:
        table = default_prices.c
        row = (await connection.execute(select(table.source, table.fetched_at))).one_or_none()
        if row is None:
            return None
        if self._fetched is None or self._fetched.fetched_at != row.fetched_at:
            text = (await connection.execute(select(cast(table.body, Text)))).scalar_one()
            self._fetched = _Kept(text, row.source, row.fetched_at)
        try:
            return self._fetched.open()
        except ValueError as error:  # written by a release that kept it in another form
            log.error("default_prices_unreadable", error=str(error), hint="fetch them again")
            return None

    async def _open_bundled(self) -> DefaultCatalogue:
        try:
            if self._bundled is None:
                text = await _extract()
                self._bundled = _Kept(text, f"genai-prices {read_list(text).library}", None)
            return self._bundled.open()
        except (_ExtractError, ValueError) as error:
            message = f"The price catalogue that came with the release can't be read: {error}"
            raise GatewayError(Kind.INTERNAL, "price_catalogue_unreadable", message, blame=Blame.GATEWAY) from error


async def store_list(connection: AsyncConnection, text: str, source: str) -> None:
    """Puts a fetched list in the place of the one before."""
    columns = {"source": source, "body": cast(literal(text, Text), JSONB), "fetched_at": datetime.now(UTC)}
    statement = upsert(default_prices).values(id=1, **columns)
    await connection.execute(statement.on_conflict_do_update(index_elements=[default_prices.c.id], set_=columns))


def today() -> date:
    """The day whose prices count: of UTC, as in genai-prices."""
    return datetime.now(UTC).date()


class _ExtractError(RuntimeError):
    """The program that reads genai-prices ended with an error; the message is its last line."""


async def _extract(*arguments: str, given: bytes = b"") -> str:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "app.catalog.extract", *arguments),
        cwd=ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(EXTRACT_TIMEOUT):
            written, complaint = await process.communicate(given)
    except TimeoutError as error:
        raise _ExtractError("it takes too long to read") from error
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        lines = complaint.decode(errors="replace").strip().splitlines()
        raise _ExtractError(lines[-1] if lines else f"exit code {process.returncode}")
    return written.decode()


async def _download(url: str) -> bytes:
    timeout = aiohttp.ClientTimeout(total=FETCH_TIMEOUT)
    body = bytearray()
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout, trust_env=True) as session,
            session.get(url, headers={"accept": "application/json"}, allow_redirects=False) as response,
        ):
            if response.status != 200:
                raise _unreachable(f"it answered with status {response.status}")
            async for chunk in response.content.iter_chunked(CHUNK):
                body += chunk
                if len(body) > MAX_PUBLISHED:
                    raise _invalid(f"it is larger than {MAX_PUBLISHED // 1024 // 1024} MB")
    except TimeoutError as error:
        raise _unreachable(f"it took longer than {FETCH_TIMEOUT:.0f} seconds") from error
    except (aiohttp.ClientError, ValueError) as error:
        raise _unreachable(str(error) or type(error).__name__) from error
    return bytes(body)


def _try_out(text: str) -> None:
    """Every price of the list has to become one of ours, now rather than when an operator wants it."""
    try:
        for entry in search(read_list(text), ""):
            offer = read_offer(entry.model, today())
            if offer.price is not None:
                read_price(write_price(offer.price))
    except ValueError as error:
        raise _invalid(str(error)) from error


def _unreachable(reason: str) -> GatewayError:
    message = f"The published prices can't be fetched: {reason}. The catalogue stays as it was."
    return GatewayError(Kind.UPSTREAM, "price_source_unreachable", message, blame=Blame.GATEWAY)


def _invalid(reason: str) -> GatewayError:
    message = f"What was fetched isn't a price list: {reason}. The catalogue stays as it was."
    return GatewayError(Kind.UPSTREAM, "price_source_invalid", message, blame=Blame.GATEWAY)
