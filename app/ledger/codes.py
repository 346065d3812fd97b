"""Redemption codes: made in batches, kept as digests, each turned into a grant at most once."""

from __future__ import annotations

import asyncio
import base64
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Select, func, insert, literal, or_, select, update
from sqlalchemy.dialects.postgresql import ARRAY, BYTEA
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.types import Text

from app.accounts.secrets import digest_of
from app.accounts.store import get_account
from app.db.tables.ledger import code_batches, codes
from app.errors import GatewayError, Kind, invalid_request
from app.ledger.wallets import add_grant

PREFIX = "RG"
GROUPS = 6
GROUP_LENGTH = 5
LENGTH = GROUPS * GROUP_LENGTH
"""Characters of five bits: 150 random bits, of which the hint gives away 20."""

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
"""Crockford's base32 (https://www.crockford.com/base32.html): without I, L, O and U."""

HINT_LENGTH = 4
_FROM_RFC_4648 = str.maketrans("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", ALPHABET)
_LOOKALIKES = str.maketrans("OIL", "011")
# What people and word processors put between the groups.
_SEPARATORS = re.compile("[\\s_\\-\u2010-\u2015\u2212]+")
_SHAPE = re.compile(f"(?:{PREFIX})?([{ALPHABET}]{{{LENGTH}}})")


@dataclass(frozen=True, slots=True)
class Batch:
    """Codes that were made together. `amount` is what each is worth, in nano-dollars."""

    id: int
    name: str
    amount: int
    count: int
    expires_at: datetime | None
    revoked_at: datetime | None
    created_at: datetime
    redeemed: int
    is_live: bool

    @property
    def open(self) -> int:
        """How many can still be redeemed."""
        return self.count - self.redeemed if self.is_live else 0


@dataclass(frozen=True, slots=True)
class Code:
    """What is kept of a code beside its digest; the last four fields are None while nobody has redeemed it."""

    id: int
    hint: str
    account_id: int | None
    key_id: int | None
    grant_id: int | None
    redeemed_at: datetime | None


@dataclass(frozen=True, slots=True)
class Redemption:
    """What a code came to, in nano-dollars. `is_repeat`: the account had redeemed it before, and nothing was booked now."""

    amount: int
    grant_id: int
    redeemed_at: datetime
    is_repeat: bool


def new_code() -> str:
    """`RG-` and six groups of five characters that can't be mistaken for each other."""
    drawn = base64.b32encode(secrets.token_bytes(20)).decode().translate(_FROM_RFC_4648)
    return _grouped(drawn[:LENGTH])


def read_code(text: str) -> str | None:
    """A code as somebody typed it, in the form in which it was issued; None if it can't be one.

    Case, hyphens and spaces don't matter, nor whether `RG` was typed; O is read as 0, I and L as 1.
    """
    shape = _SHAPE.fullmatch(_SEPARATORS.sub("", text).upper().translate(_LOOKALIKES))
    return None if shape is None else _grouped(shape[1])


def hint_of(code: str) -> str:
    """What is shown in lists so that people can tell codes apart."""
    return f"{PREFIX}-…{code[-HINT_LENGTH:]}"


async def create_batch(
    connection: AsyncConnection, *, name: str, amount: int, count: int, expires_at: datetime | None
) -> tuple[Batch, list[str]]:
    """A new batch of `count` codes of `amount` nano-dollars each, and the codes themselves, which are kept nowhere."""
    # In a thread: ten thousand codes take longer than other requests' streams should wait.
    issued, digests, hints = await asyncio.to_thread(_draw, count)
    values = {"name": name, "amount": amount, "count": count, "expires_at": expires_at}
    made = await connection.execute(insert(code_batches).values(values).returning(code_batches.c.id))
    batch_id: int = made.scalar_one()
    # As arrays: one statement, however many there are.
    rows = select(
        literal(batch_id),
        func.unnest(literal(digests, ARRAY(BYTEA))),
        func.unnest(literal(hints, ARRAY(Text))),
    )
    await connection.execute(insert(codes).from_select(["batch_id", "digest", "hint"], rows))
    return await get_batch(connection, batch_id), issued


async def get_batch(connection: AsyncConnection, batch_id: int) -> Batch:
    """Raises GatewayError 404."""
    row = (await connection.execute(_batches().where(code_batches.c.id == batch_id))).mappings().one_or_none()
    if row is None:
        raise _no_batch(batch_id)
    return Batch(**row)


async def list_batches(connection: AsyncConnection, *, before: int | None, limit: int) -> list[Batch]:
    """Newest first, with ids below `before`."""
    query = _batches().order_by(code_batches.c.id.desc()).limit(limit)
    if before is not None:
        query = query.where(code_batches.c.id < before)
    return [Batch(**row) for row in (await connection.execute(query)).mappings()]


async def list_codes(connection: AsyncConnection, batch_id: int, *, after: int, limit: int) -> list[Code]:
    """A batch's codes in id order, with ids above `after`."""
    columns = [column for column in codes.c if column.name not in ("batch_id", "digest")]
    query = select(*columns).where(codes.c.batch_id == batch_id, codes.c.id > after).order_by(codes.c.id).limit(limit)
    return [Code(**row) for row in (await connection.execute(query)).mappings()]


async def revoke_batch(connection: AsyncConnection, batch_id: int) -> Batch:
    """No code of it can be redeemed once this is committed; what was redeemed before stays. Raises GatewayError 404.

    Waits for redemptions that are under way, since each holds the batch's row shared. Again changes nothing.
    """
    await connection.execute(
        update(code_batches)
        .where(code_batches.c.id == batch_id, code_batches.c.revoked_at.is_(None))
        .values(revoked_at=func.clock_timestamp())
    )
    return await get_batch(connection, batch_id)


async def redeem(connection: AsyncConnection, typed: str, *, account_id: int, key_id: int) -> Redemption:
    """Books a code's amount as a grant of the account and marks the code, in the caller's transaction.

    The account that has redeemed it gets its first grant again, so that an answer that was lost can be asked for again.
    Raises GatewayError 400: `invalid_code` for one that doesn't exist, was redeemed by another account or revoked (who
    doesn't own a code isn't told which), `code_expired`, `amount_out_of_range`; 404 for an account that was deleted.

    Locks the code, then its batch (shared), then the account's counters. The ledger's batches never wait for codes, and
    a revocation takes nothing but its batch, so no circle can close.
    """
    issued = read_code(typed)
    if issued is None:
        raise _invalid()
    query = select(codes).where(codes.c.digest == digest_of(issued)).with_for_update()
    code = (await connection.execute(query)).mappings().one_or_none()
    if code is None or code["account_id"] not in (None, account_id):
        raise _invalid()
    batch = await _share_batch(connection, code["batch_id"])
    if code["redeemed_at"] is not None:
        return Redemption(batch["amount"], code["grant_id"], code["redeemed_at"], is_repeat=True)
    if batch["revoked_at"] is not None:
        raise _invalid()
    if batch["has_expired"]:
        raise invalid_request("The code has expired.", "code", "code_expired")
    await get_account(connection, account_id)
    # No idempotency key: those are the operator's, who might have used the same one. The code's row is what counts once.
    grant = await add_grant(connection, account_id, batch["amount"], note=f"Code {code['hint']}")
    redeemed = {"account_id": account_id, "key_id": key_id, "grant_id": grant.id, "redeemed_at": grant.created_at}
    await connection.execute(update(codes).where(codes.c.id == code["id"]).values(redeemed))
    return Redemption(grant.amount, grant.id, grant.created_at, is_repeat=False)


async def _share_batch(connection: AsyncConnection, batch_id: int) -> Mapping[Any, Any]:
    # A statement after the code's lock, and the clock instead of the transaction's time: both may have been waited for.
    has_expired = func.coalesce(code_batches.c.expires_at <= func.clock_timestamp(), False)
    query = select(code_batches, has_expired.label("has_expired")).where(code_batches.c.id == batch_id)
    return (await connection.execute(query.with_for_update(read=True))).mappings().one()


def _batches() -> Select[Any]:
    redeemed = select(func.count()).where(codes.c.batch_id == code_batches.c.id, codes.c.redeemed_at.is_not(None))
    is_live = code_batches.c.revoked_at.is_(None) & or_(
        code_batches.c.expires_at.is_(None), code_batches.c.expires_at > func.now()
    )
    return select(code_batches, redeemed.scalar_subquery().label("redeemed"), is_live.label("is_live"))


def _draw(count: int) -> tuple[list[str], list[bytes], list[str]]:
    issued = [new_code() for _ in range(count)]
    return issued, [digest_of(code) for code in issued], [hint_of(code) for code in issued]


def _grouped(characters: str) -> str:
    groups = (characters[start : start + GROUP_LENGTH] for start in range(0, LENGTH, GROUP_LENGTH))
    return "-".join((PREFIX, *groups))


def _invalid() -> GatewayError:
    message = "This code can't be redeemed: it is mistyped, has been used, or was withdrawn."
    return invalid_request(message, "code", "invalid_code")


def _no_batch(batch_id: int) -> GatewayError:
    return GatewayError(Kind.NOT_FOUND, "code_batch_not_found", f"There is no batch of codes {batch_id}.")
