"""Who may make an attempt: due deliveries are claimed by one worker at a time, so that nobody takes all the places.

A claim is a lease: a worker that dies leaves its row to the next one when the lease has run out. An account's own webhook
gets one message at a time, the oldest first. Callbacks (rows with a URL of their own) don't wait for each other, within
what one account and one host may take of a process's places. All times are the database's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

CLAIM = 30.0
"""Seconds that a claim holds: well above an attempt's time-out, and what a killed worker delays a delivery by."""

ACCOUNT_PLACES = 8
"""Callbacks of one account that a process has under way."""

HOST_PLACES = 8
"""Callbacks to one host, whoever's they are: a receiver that hangs keeps these places for an attempt's time, no more.

A host is what stands between `//` and the next `/`, as it was written: who writes one in many ways is bounded as an account.
"""

WINDOW = 128
"""Deliveries with a place that are looked at together."""

HEAD = 512
"""Due deliveries that a quick look reads, the oldest. A backlog may be deeper, and of none of it a place be free."""


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to make attempt `number`, the `tries`-th since the delivery was made or asked for again.

    `url` None: it goes to the account's webhook. `secret` and `previous_secret` are encrypted, the webhook's or for a
    callback the account's callback secret; both are None where there is none. `deleted`: the account is.
    """

    account_id: int
    id: int
    event_id: UUID
    number: int
    tries: int
    started_at: datetime
    url: str | None
    host: str | None
    body: str
    test: bool
    webhook_url: str | None
    secret: bytes | None
    previous_secret: bytes | None
    deleted: bool


@dataclass(frozen=True, slots=True)
class _Due:
    """A delivery that may be claimed. `host` None: it goes to the account's webhook."""

    account_id: int
    id: int
    next_at: datetime
    host: str | None


class _Taken:
    """What of this process's places is in use, and by whom."""

    def __init__(self, under_way: Iterable[Claim]) -> None:
        self.told: set[int] = set()
        self._accounts: Counter[int] = Counter()
        self._hosts: Counter[str] = Counter()
        self._picked: set[int] = set()
        for claim in under_way:
            self._add(claim.account_id, claim.host)

    @property
    def full_accounts(self) -> list[int]:
        return [account for account, count in self._accounts.items() if count >= ACCOUNT_PLACES]

    @property
    def full_hosts(self) -> list[str]:
        return [host for host, count in self._hosts.items() if count >= HOST_PLACES]

    def pick(self, due: Sequence[_Due], room: int) -> list[_Due]:
        """The first of them that have a place each, which they take; never one that was picked before: where another worker
        was quicker, its claim may not show yet.
        """
        picked: list[_Due] = []
        for row in sorted(due, key=lambda row: (row.next_at, row.id)):
            if len(picked) == room:
                break
            if row.id not in self._picked and self._has_place(row):
                self._add(row.account_id, row.host)
                picked.append(row)
        self._picked.update(row.id for row in picked)
        return picked

    def _has_place(self, row: _Due) -> bool:
        if row.host is None:
            return row.account_id not in self.told
        return self._accounts[row.account_id] < ACCOUNT_PLACES and self._hosts[row.host] < HOST_PLACES

    def _add(self, account_id: int, host: str | None) -> None:
        if host is None:
            self.told.add(account_id)
        else:
            self._accounts[account_id] += 1
            self._hosts[host] += 1


_IS_FREE = "(d.claimed_until IS NULL OR d.claimed_until <= now())"
_HOST = "split_part(lower(d.url), '/', 3)"
# By `next_at` alone, which has an index: a backlog isn't sorted to find its head. A limit of NULL is none.
_LOOK = text(
    f"""
    SELECT d.account_id, d.id, d.next_at, {_HOST} AS host FROM (
        SELECT account_id, id, next_at, url, claimed_until FROM deliveries
        WHERE state = 'pending' AND next_at <= now() ORDER BY next_at LIMIT CAST(:depth AS bigint)
    ) d
    WHERE {_IS_FREE} AND CASE WHEN d.url IS NULL THEN d.account_id <> ALL (CAST(:told AS bigint[]))
        ELSE d.account_id <> ALL (CAST(:accounts AS bigint[])) AND {_HOST} <> ALL (CAST(:hosts AS text[])) END
    ORDER BY d.next_at LIMIT :window
    """  # noqa: S608 - nothing but our own words
)
# The conditions are asked again with the lock: another worker may have been there since. Two that look at an account's
# messages at once want the same one, its oldest, so that one of them gets it and the other gets none.
_TAKE = text(
    f"""
    WITH under_way AS MATERIALIZED (
        SELECT account_id FROM deliveries
        WHERE account_id = ANY (CAST(:told AS bigint[])) AND state = 'pending' AND claimed_until > now() AND url IS NULL
    ), due AS (
        SELECT d.account_id, d.id FROM deliveries d
        JOIN unnest(CAST(:accounts AS bigint[]), CAST(:ids AS bigint[])) AS p(account_id, id) USING (account_id, id)
        WHERE d.state = 'pending' AND d.next_at <= now() AND {_IS_FREE}
            AND (d.url IS NOT NULL OR d.account_id NOT IN (SELECT account_id FROM under_way))
        FOR UPDATE OF d SKIP LOCKED
    )
    UPDATE deliveries d SET claimed_until = now() + make_interval(secs => :claim), attempts = d.attempts + 1
    FROM due LEFT JOIN webhooks w ON w.account_id = due.account_id
        LEFT JOIN callback_secrets s ON s.account_id = due.account_id LEFT JOIN accounts o ON o.id = due.account_id
    WHERE d.account_id = due.account_id AND d.id = due.id
    RETURNING d.account_id, d.id, d.event_id, d.attempts AS number, now() AS started_at, d.url, {_HOST} AS host, d.body,
        d.test, w.url AS webhook_url, CASE WHEN d.url IS NULL THEN w.secret ELSE s.secret END AS secret,
        CASE WHEN d.url IS NULL THEN CASE WHEN w.previous_until > now() THEN w.previous_secret END
            ELSE CASE WHEN s.previous_until > now() THEN s.previous_secret END END AS previous_secret,
        1 + (SELECT count(*) FROM delivery_attempts a WHERE a.account_id = d.account_id AND a.delivery_id = d.id
            AND a.started_at >= d.give_up_at - interval '24 hours') AS tries,
        o.deleted_at IS NOT NULL AS deleted
    """  # noqa: S608 - nothing but our own words
)
_NEXT_DUE = text(
    "SELECT extract(epoch FROM min(next_at) - clock_timestamp()) FROM deliveries "
    "WHERE state = 'pending' AND next_at > now()"
)
# A claim that has run out meanwhile may be another worker's by now.
_GIVE_BACK = text(
    """
    UPDATE deliveries d SET claimed_until = NULL
    FROM unnest(CAST(:ids AS bigint[]), CAST(:numbers AS integer[])) AS claim (id, number)
    WHERE d.id = claim.id AND d.attempts = claim.number AND d.state = 'pending'
    """
)


async def claim_due(
    connection: AsyncConnection, *, room: int, under_way: Collection[Claim], depth: int | None = None
) -> tuple[list[Claim], float | None]:
    """Claims up to `room` deliveries that are due and have a place beside those that this process has under way.

    `depth`: how many of the oldest are looked at; None: as many as it takes, which in a backlog may be all of them.
    Beside them, the seconds until the next one that isn't due yet; None if there is none.
    """
    taken = _Taken(under_way)
    claims: list[Claim] = []
    while len(claims) < room:
        wanted = room - len(claims)
        due = await _look(connection, taken, depth)
        picked = taken.pick(due, wanted)
        if picked:
            claims += await _take(connection, picked)
        # Each round looks past the one before: what was picked keeps its place, even if another worker has got it.
        if not picked or (len(picked) < wanted and len(due) < WINDOW):
            break
    pause = (await connection.execute(_NEXT_DUE)).scalar_one()
    return claims, None if pause is None else max(float(pause), 0.0)


async def give_back(connection: AsyncConnection, claims: Collection[Claim]) -> None:
    """Ends claims whose attempts were broken off: another worker may have them at once."""
    values = {"ids": [claim.id for claim in claims], "numbers": [claim.number for claim in claims]}
    await connection.execute(_GIVE_BACK, values)


async def _look(connection: AsyncConnection, taken: _Taken, depth: int | None) -> list[_Due]:
    """The head of what is due, without what has no place anyhow."""
    full = {"told": list(taken.told), "accounts": taken.full_accounts, "hosts": taken.full_hosts}
    values = full | {"depth": depth, "window": WINDOW}
    return [_Due(*row) for row in await connection.execute(_LOOK, values)]


async def _take(connection: AsyncConnection, picked: Sequence[_Due]) -> list[Claim]:
    values = {
        "accounts": [row.account_id for row in picked],
        "ids": [row.id for row in picked],
        "told": [row.account_id for row in picked if row.host is None],
        "claim": CLAIM,
    }
    return [Claim(**row) for row in (await connection.execute(_TAKE, values)).mappings()]
