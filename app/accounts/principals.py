"""Who a key belongs to, from memory: looked up by digest, dropped the moment the database announces a change."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Any

from sqlalchemy import exists, func, or_, select
from sqlalchemy.ext.asyncio import AsyncEngine

from app.accounts.secrets import digest_of
from app.accounts.throttle import AddressOf, Throttle
from app.core.wildcards import Wildcard, read_wildcard
from app.db.engine import DATABASE_ERRORS
from app.db.news import News
from app.db.tables.accounts import accounts, keys
from app.db.tables.ledger import limits
from app.errors import unavailable

MAX_CACHED = 100_000
MAX_UNKNOWN = 10_000
UNKNOWN_TTL = 5.0
"""Seconds that an unknown digest is remembered: a client that hammers a wrong key costs one query in five seconds."""


_LIMITED = exists().where(
    limits.c.account_id == keys.c.account_id,
    or_(limits.c.key_id == 0, limits.c.key_id == keys.c.id),
    func.num_nonnulls(*(limits.c[name] for name in ("rpm", "tpm", "rpd", "concurrency", "budget"))) > 0,
)


@dataclass(frozen=True, slots=True)
class Principal:
    """A key and its account, as far as a request needs them. `models` and `networks` None mean all; `wildcards` are those of
    `models` that hold a star.

    `limited`: the key or its account has limits, so that a hold must be counted against them.
    """

    key_id: int
    account_id: int
    enabled: bool
    expires_at: float | None
    models: frozenset[str] | None
    networks: tuple[IPv4Network | IPv6Network, ...] | None
    ratio_ppm: int
    limited: bool = False
    wildcards: tuple[Wildcard, ...] = ()

    def is_live(self, now: float) -> bool:
        """Enabled and not expired at `now` (Unix seconds)."""
        return self.enabled and (self.expires_at is None or now < self.expires_at)

    def allows_model(self, model: str) -> bool:
        if self.models is None or model in self.models:
            return True
        return any(wildcard.match(model) is not None for wildcard in self.wildcards)

    def allows_address(self, address: IPv4Address | IPv6Address | None) -> bool:
        if self.networks is None:
            return True
        return address is not None and any(address in network for network in self.networks)


class Principals:
    """Finds principals by key. Trusts its memory only while `news` is fresh."""

    def __init__(self, engine: AsyncEngine, throttle: Throttle) -> None:
        self._engine = engine
        self._throttle = throttle
        self._news: News | None = None
        self._known: OrderedDict[bytes, Principal] = OrderedDict()
        self._digests: dict[int, bytes] = {}
        # Digests that memory was told to forget: good ones, as far as anybody knows, so no strangers to the throttle.
        self._met: dict[bytes, None] = {}
        self._unknown: OrderedDict[bytes, float] = OrderedDict()
        self._loading: dict[bytes, asyncio.Task[Principal | None]] = {}
        self._generation = 0

    def trust(self, news: News) -> None:
        """Whose freshness decides whether memory may be believed; set once, at start-up."""
        self._news = news

    async def find(self, key: str, address: AddressOf | None = None) -> Principal | None:
        """The principal of a key, or None if no such key exists. `address`: whose failure that is; None: nobody's.

        Raises GatewayError `service_unavailable` when memory can't tell and the database can't be asked, and
        `too_many_auth_failures` for a key that was never good here, from an address that has failed too often.
        """
        digest = digest_of(key)
        fresh = self._is_fresh()
        if fresh:
            principal = self._known.get(digest)
            if principal is not None:
                return principal
        if address is None or digest in self._known or digest in self._met:
            return await self._ask(digest, fresh)
        source = address()
        async with self._throttle.turn(source):
            # Of many requests with one new key the first has found it for the others.
            principal = self._known.get(digest) if self._is_fresh() else None
            if principal is None:
                principal = await self._ask(digest, self._is_fresh())
            if principal is None:
                self._throttle.add(source)
            return principal

    async def find_digest(self, digest: bytes) -> Principal | None:
        """The same by the digest of a key that has been found before: a look-up that is nobody's failure."""
        fresh = self._is_fresh()
        principal = self._known.get(digest) if fresh else None
        return await self._ask(digest, fresh) if principal is None else principal

    def _is_fresh(self) -> bool:
        return self._news is not None and self._news.fresh

    async def _ask(self, digest: bytes, fresh: bool) -> Principal | None:
        if fresh and self._unknown.get(digest, 0.0) > time.monotonic():
            return None
        task = self._loading.get(digest)
        if task is None:
            task = asyncio.create_task(self._load(digest))
            self._loading[digest] = task
            task.add_done_callback(lambda done: self._loaded(digest, done))
        # Shielded: several requests wait for one look-up, and one that is cancelled must not take the others along.
        return await asyncio.shield(task)

    def forget_key(self, key_id: int) -> None:
        """The key was changed, or made: an unknown digest may be known now."""
        self._generation += 1
        self._unknown.clear()
        digest = self._digests.pop(key_id, None)
        if digest is not None:
            self._known.pop(digest, None)
            self._meet(digest)

    def forget_account(self, account_id: int) -> None:
        self._generation += 1
        for key_id in [p.key_id for p in self._known.values() if p.account_id == account_id]:
            self.forget_key(key_id)

    def forget_all(self) -> None:
        self._generation += 1
        for digest in self._known:
            self._meet(digest)
        self._known.clear()
        self._digests.clear()
        self._unknown.clear()

    def _meet(self, digest: bytes) -> None:
        self._met[digest] = None
        if len(self._met) > MAX_CACHED:
            del self._met[next(iter(self._met))]

    def _loaded(self, digest: bytes, task: asyncio.Task[Principal | None]) -> None:
        self._loading.pop(digest, None)
        if not task.cancelled():
            task.exception()  # every waiter may have gone: then nobody else looks at it

    async def _load(self, digest: bytes) -> Principal | None:
        generation = self._generation
        try:
            principal = await self._query(digest)
        except DATABASE_ERRORS as error:
            raise unavailable("The gateway can't reach its database.") from error
        if generation != self._generation:
            if principal is not None:
                self._meet(digest)
            return principal  # changed while it was read: right for this request, too old to keep
        self._met.pop(digest, None)
        if principal is None:
            self._unknown[digest] = time.monotonic() + UNKNOWN_TTL
            if len(self._unknown) > MAX_UNKNOWN:
                self._unknown.popitem(last=False)
            return None
        self._known[digest] = principal
        self._digests[principal.key_id] = digest
        if len(self._known) > MAX_CACHED:
            oldest, dropped = self._known.popitem(last=False)
            self._digests.pop(dropped.key_id, None)
            self._meet(oldest)
        return principal

    async def _query(self, digest: bytes) -> Principal | None:
        query = (
            select(keys, accounts.c.enabled.label("account_enabled"), accounts.c.price_ratio, _LIMITED.label("limited"))
            .join(accounts, accounts.c.id == keys.c.account_id)
            .where(keys.c.digest == digest, keys.c.deleted_at.is_(None), accounts.c.deleted_at.is_(None))
        )
        async with self._engine.connect() as connection:
            row = (await connection.execute(query)).mappings().one_or_none()
        return None if row is None else _principal(row)


def _principal(row: Any) -> Principal:
    return Principal(
        key_id=row["id"],
        account_id=row["account_id"],
        enabled=row["enabled"] and row["account_enabled"],
        expires_at=None if row["expires_at"] is None else row["expires_at"].timestamp(),
        models=None if row["models"] is None else frozenset(row["models"]),
        wildcards=tuple(wildcard for name in row["models"] or () if (wildcard := read_wildcard(name)) is not None),
        networks=None if row["ips"] is None else tuple(row["ips"]),
        ratio_ppm=int(row["price_ratio"] * 1_000_000),
        limited=row["limited"],
    )
