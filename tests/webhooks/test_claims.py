"""Which deliveries are claimed: by one worker each, and none by those for whom there is no place."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.db.engine import Database
from app.webhooks.claims import ACCOUNT_PLACES, HOST_PLACES, WINDOW, Claim, claim_due, give_back
from app.webhooks.outbox import add_callback

MANY = WINDOW * 2


@pytest.fixture(scope="module")
def url(migrated_database: Callable[[], str]) -> str:
    """A database with nobody at work."""
    return migrated_database()


@pytest.fixture
async def database(url: str) -> AsyncIterator[Database]:
    """Without a delivery; the first one's id is 1."""
    opened = Database(url)
    async with opened.engine.begin() as connection:
        await connection.execute(text("TRUNCATE deliveries RESTART IDENTITY"))
    yield opened
    await opened.close()


async def add(connection: AsyncConnection, account_id: int, url: str | None, count: int = 1) -> None:
    """Rows that have been due for a while, in the order in which they are added."""
    for _ in range(count):
        if url is None:
            query = "INSERT INTO deliveries (account_id, topic, body) VALUES (:account_id, 'user_quota_too_low', '{}')"
            await connection.execute(text(query), {"account_id": account_id})
        else:
            await add_callback(connection, account_id, url, "{}")


async def claim(database: Database, room: int = 100, under_way: list[Claim] | None = None) -> list[Claim]:
    async with database.engine.begin() as connection:
        return (await claim_due(connection, room=room, under_way=under_way or []))[0]


async def test_two_workers_at_once_share_callbacks_and_none_gets_a_second_message(database: Database) -> None:
    async with database.engine.begin() as connection:
        await add(connection, 1, None, 2)
        await add(connection, 2, "https://a.example/", 3)
    async with database.engine.begin() as first, database.engine.begin() as second:
        mine, _ = await claim_due(first, room=3, under_way=[])
        # The first hasn't committed: the second sees its rows as they were, and leaves them alone.
        theirs, _ = await claim_due(second, room=3, under_way=[])
    assert [claim.account_id for claim in mine] == [1, 2, 2]
    assert [claim.account_id for claim in theirs] == [2]
    assert not {claim.id for claim in mine} & {claim.id for claim in theirs}
    assert await claim(database) == []


async def test_an_account_s_messages_go_one_by_one_the_oldest_first(database: Database) -> None:
    async with database.engine.begin() as connection:
        await add(connection, 1, None, 3)
        await connection.execute(text("UPDATE deliveries SET next_at = now() - interval '1 hour' WHERE id = 2"))
    assert [claim.id for claim in await claim(database)] == [2]
    assert await claim(database) == []
    async with database.engine.begin() as connection:
        await connection.execute(text("UPDATE deliveries SET state = 'delivered' WHERE id = 2"))
    assert [claim.id for claim in await claim(database)] == [1]


@pytest.mark.parametrize("hosts", [["https://a.example/1", "https://b.example:8443/2"], ["https://a.example/1"]])
async def test_a_backlog_of_one_account_leaves_the_others_their_places(database: Database, hosts: list[str]) -> None:
    async with database.engine.begin() as connection:
        for number in range(MANY):
            await add(connection, 1, hosts[number % len(hosts)])
        await add(connection, 2, None)
        await add(connection, 3, "https://c.example/3")
    claims = await claim(database)
    assert sorted(claim.account_id for claim in claims) == [1] * ACCOUNT_PLACES + [2, 3]
    # With those under way there is no place for that account, and one that has ended makes one.
    assert await claim(database, under_way=claims) == []
    ended = next(claim for claim in claims if claim.account_id == 1)
    assert len(await claim(database, under_way=[other for other in claims if other != ended])) == 1


async def test_a_backlog_of_one_host_leaves_the_others_their_places(database: Database) -> None:
    async with database.engine.begin() as connection:
        for account_id in range(1, MANY):
            await add(connection, account_id, f"HTTPS://Slow.example/{account_id}")
        await add(connection, MANY, "https://quick.example/")
    claims = await claim(database)
    assert [claim.host for claim in claims] == ["slow.example"] * HOST_PLACES + ["quick.example"]


async def test_messages_that_wait_for_another_worker_s_don_t_hide_what_is_behind_them(database: Database) -> None:
    async with database.engine.begin() as connection:
        await add(connection, 1, None, MANY)
    assert len(await claim(database)) == 1  # another worker's
    async with database.engine.begin() as connection:
        await add(connection, 2, None)
    assert [claim.account_id for claim in await claim(database)] == [2]


async def test_a_quick_look_reads_the_head_alone(database: Database) -> None:
    async with database.engine.begin() as connection:
        await add(connection, 1, "https://a.example/", 20)
        await add(connection, 2, "https://b.example/")
    found = {}
    for depth in (15, None):
        async with database.engine.connect() as connection:
            claims, _ = await claim_due(connection, room=100, under_way=[], depth=depth)
            found[depth] = {claim.account_id for claim in claims}
    assert found == {15: {1}, None: {1, 2}}


async def test_room_is_a_bound_and_the_next_one_is_told(database: Database) -> None:
    async with database.engine.begin() as connection:
        await add(connection, 1, "https://a.example/", 3)
        await connection.execute(text("UPDATE deliveries SET next_at = now() + interval '1 hour' WHERE id = 3"))
    async with database.engine.begin() as connection:
        claims, pause = await claim_due(connection, room=1, under_way=[])
    assert [claim.id for claim in claims] == [1]
    assert pause is not None
    assert 3500 < pause <= 3600


async def test_a_claim_that_ran_out_is_not_given_back_for_its_successor(database: Database) -> None:
    async with database.engine.begin() as connection:
        await add(connection, 1, None)
    (first,) = await claim(database)
    async with database.engine.begin() as connection:
        await connection.execute(text("UPDATE deliveries SET claimed_until = now()"))
    (second,) = await claim(database)
    assert (first.id, first.number, second.id, second.number) == (first.id, 1, first.id, 2)
    async with database.engine.begin() as connection:
        await give_back(connection, [first])
    assert await claim(database) == []
    async with database.engine.begin() as connection:
        await give_back(connection, [second])
    assert [third.number for third in await claim(database)] == [3]
