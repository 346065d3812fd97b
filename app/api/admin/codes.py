"""`/admin/v1/code-batches`: redemption codes that holders turn into money."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import Query
from pydantic import AfterValidator, ConfigDict, Field

from app.api.admin.guard import NOT_FOUND, ActorDep, admin_router
from app.api.admin.paging import Page, PageQuery, page_of, read_id_cursor
from app.api.admin.record import record
from app.api.admin.shapes import Amount, Dollars, Moment, Name, PathId, Shape, refuse
from app.api.context import ConnectionDep
from app.core.money import write_amount
from app.ledger import codes
from app.ledger.codes import Batch, Code

router = admin_router("/code-batches", "codes", "accounts")

MAX_CODES = 10_000
"""In one batch: the answer with all of them is 400 KB."""


def _check_positive(value: int) -> int:
    if value == 0:
        refuse("the amount must not be zero")
    return value


def check_future(value: datetime) -> datetime:
    """An expiry that has passed is a slip of the pen."""
    if value <= datetime.now(UTC):
        refuse("must be in the future")
    return value


class NewCodeBatch(Shape):
    """Codes that are worth the same and expire together."""

    name: Name
    amount: Annotated[Amount, AfterValidator(_check_positive)]
    count: int = Field(strict=True, ge=1, le=MAX_CODES)
    expires_at: Annotated[Moment, AfterValidator(check_future)] | None = Field(
        None, description="RFC 3339 with an offset; null: never"
    )

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"name": "Spring", "amount": "5", "count": 2, "expires_at": "2090-12-31T23:59:59Z"}]
        }
    )


BATCH_EXAMPLE: dict[str, Any] = {
    "id": 1,
    "name": "Spring",
    "amount": "5",
    "count": 2,
    "redeemed": 0,
    "open": 2,
    "expires_at": "2090-12-31T23:59:59Z",
    "revoked_at": None,
    "created_at": "2030-01-31T12:00:00Z",
}


class CodeBatchBody(Shape):
    """A batch without its codes: those are shown once, when it is made."""

    id: int
    name: str
    amount: Dollars = Field(description="What each code is worth: dollars, a decimal string")
    count: int
    redeemed: int
    open: int = Field(description="How many can still be redeemed: none once the batch is revoked or has expired")
    expires_at: datetime | None
    revoked_at: datetime | None
    created_at: datetime

    model_config = ConfigDict(json_schema_extra={"examples": [BATCH_EXAMPLE]})


class IssuedCodeBatch(CodeBatchBody):
    """A batch that was made just now, with its codes, shown this once."""

    codes: list[str]

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    **BATCH_EXAMPLE,
                    "codes": [
                        "RG-8KQ2M-0WZ5T-H3XRC-9VDJ7-PBN4E-6FYGS",
                        "RG-T41CX-KA9WE-5N0GM-R7QZB-2HDVJ-8Y3PF",
                    ],
                }
            ]
        }
    )


class CodeBody(Shape):
    """A code without the code; the last four fields are null while nobody has redeemed it."""

    id: int
    hint: str = Field(description="The last characters, to tell codes apart")
    account_id: int | None
    key_id: int | None = Field(description="The key that it was redeemed with")
    grant_id: int | None
    redeemed_at: datetime | None

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": 1,
                    "hint": "RG-…FYGS",
                    "account_id": 1,
                    "key_id": 1,
                    "grant_id": 7,
                    "redeemed_at": "2030-02-01T08:30:00Z",
                }
            ]
        }
    )


@router.post("", status_code=201, summary="Create a batch of codes")
async def create_batch(body: NewCodeBatch, connection: ConnectionDep, actor: ActorDep) -> IssuedCodeBatch:
    """The answer holds the codes themselves, this once: only their digests are kept."""
    batch, issued = await codes.create_batch(connection, **body.model_dump())
    await record(connection, actor, "code-batches.create", batch.id, None, write_batch(batch))
    return IssuedCodeBatch(**_write(batch), codes=issued)


@router.get("", summary="List batches of codes")
async def list_batches(query: Annotated[PageQuery, Query()], connection: ConnectionDep) -> Page[CodeBatchBody]:
    """The newest first."""
    before = read_id_cursor(query.cursor)
    found = await codes.list_batches(connection, before=before, limit=query.limit + 1)
    return page_of(found, query.limit, write_batch, lambda batch: batch.id)


@router.get("/{batch_id}", summary="Get a batch of codes", responses=NOT_FOUND)
async def get_batch(batch_id: PathId, connection: ConnectionDep) -> CodeBatchBody:
    """How many of its codes were redeemed, and how many still can be."""
    return write_batch(await codes.get_batch(connection, batch_id))


@router.get("/{batch_id}/codes", summary="List the codes of a batch", responses=NOT_FOUND)
async def list_codes(
    batch_id: PathId, query: Annotated[PageQuery, Query()], connection: ConnectionDep
) -> Page[CodeBody]:
    """Who has redeemed which, and when; in the order in which they were issued."""
    after = read_id_cursor(query.cursor) or 0
    await codes.get_batch(connection, batch_id)
    found = await codes.list_codes(connection, batch_id, after=after, limit=query.limit + 1)
    return page_of(found, query.limit, _write_code, lambda code: code.id)


@router.post("/{batch_id}/revoke", summary="Revoke a batch of codes", responses=NOT_FOUND)
async def revoke_batch(batch_id: PathId, connection: ConnectionDep, actor: ActorDep) -> CodeBatchBody:
    """Its open codes can't be redeemed any more; what was redeemed stays."""
    before = write_batch(await codes.get_batch(connection, batch_id))
    after = write_batch(await codes.revoke_batch(connection, batch_id))
    await record(connection, actor, "code-batches.revoke", batch_id, before, after)
    return after


def write_batch(batch: Batch) -> CodeBatchBody:
    """A batch without its codes."""
    return CodeBatchBody(**_write(batch))


def _write(batch: Batch) -> dict[str, Any]:
    return {
        "id": batch.id,
        "name": batch.name,
        "amount": write_amount(batch.amount),
        "count": batch.count,
        "redeemed": batch.redeemed,
        "open": batch.open,
        "expires_at": batch.expires_at,
        "revoked_at": batch.revoked_at,
        "created_at": batch.created_at,
    }


def _write_code(code: Code) -> CodeBody:
    return CodeBody(
        id=code.id,
        hint=code.hint,
        account_id=code.account_id,
        key_id=code.key_id,
        grant_id=code.grant_id,
        redeemed_at=code.redeemed_at,
    )
