"""Which words of a prompt mean a character, and which channel they pin a job to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
from sqlalchemy import func, insert
from sqlalchemy.ext.asyncio import AsyncConnection

from app.db.engine import Database
from app.db.tables.media import characters
from app.errors import GatewayError
from app.media.characters import pin_for
from app.media.mentions import read_mentions

LONG = "a" * 64


@pytest.mark.parametrize(
    ("prompt", "usernames"),
    [
        ("@bob walks", [{"bob"}]),
        ("a walk with @bob", [{"bob"}]),
        ("@bob, @eve.smith-1 and @bob again", [{"bob"}, {"eve.smith-1"}]),
        ("(@bob) and “@eve”!", [{"bob"}, {"eve"}]),
        ("Then comes @bob.", [{"bob.", "bob"}]),
        ("@bob's hat; @eve?\n@ann", [{"bob"}, {"eve"}, {"ann"}]),
        ("让@bob 跑步，@eve，然后", [{"bob"}, {"eve"}]),
        (f"@{LONG} runs", [{LONG}]),
        # None of these:
        ("write to bob@example.com or b.o+b@example.com", []),
        ("@@bob", []),
        ("@b", []),
        ("@ bob", []),
        ("@bobé", []),
        ("@bo.bé", []),
        ("@bob你好", []),
        (f"@{LONG}a runs", []),
        (f"@{LONG}.a runs", []),
        ("no one", []),
        ("@", []),
    ],
)
def test_mentions(prompt: str, usernames: list[set[str]]) -> None:
    assert [mention.spellings for mention in read_mentions(prompt)] == usernames


def test_a_prompt_of_nothing_else_is_read_in_a_moment() -> None:
    """A pattern that tried every length at every place would take hours."""
    assert read_mentions("@" + "a-." * 500_000) == []
    assert len(read_mentions("@ab " * 200_000)) == 1


@pytest.fixture(scope="module")
def known_url(migrated_database: Callable[[], str]) -> str:
    """A database with characters of two accounts on two channels."""
    rows = [
        (1, "bob", 10, False),
        (1, "ann", 10, False),
        (1, "eve", 20, False),
        (1, "twin", 10, False),
        (1, "twin", 20, False),
        (1, "gone", 10, True),
        (2, "max", 20, False),
        (2, "bob", 20, False),
        (2, "late", 20, True),
    ]

    async def fill(url: str) -> None:
        database = Database(url)
        async with database.engine.begin() as connection:
            for number, (account_id, username, channel_id, deleted) in enumerate(rows):
                values = {"account_id": account_id, "id": f"ch_{number}", "key_id": 1, "username": username}
                values |= {"permalink": "", "profile_picture_url": "", "channel_id": channel_id, "upstream_id": "x"}
                values |= {"deleted_at": func.now()} if deleted else {}
                await connection.execute(insert(characters).values(values))
        await database.close()

    url = migrated_database()
    asyncio.run(fill(url))
    return url


@pytest.fixture
async def known(known_url: str) -> AsyncIterator[AsyncConnection]:
    database = Database(known_url)
    async with database.engine.connect() as connection:
        yield connection
    await database.close()


@pytest.mark.parametrize(
    ("prompt", "channel_id"),
    [
        ("a cat", None),
        ("@bob walks", 10),
        ("@Bob and @ann walk.", 10),
        ("here is @eve.", 20),
        ("@public_star dances", None),
        ("@public_star and @bob dance", 10),
        ("mail max@example.com", None),
        ("@twin walks", 20),  # the newer one
        ("@twin with @bob", 10),
    ],
)
async def test_a_mention_pins_a_job_to_its_character_s_channel(
    known: AsyncConnection, prompt: str, channel_id: int | None
) -> None:
    assert await pin_for(known, 1, prompt) == channel_id


@pytest.mark.parametrize(
    ("prompt", "status", "code"),
    [
        pytest.param("@bob walks with @eve", 400, "invalid_value", id="on two channels"),
        pytest.param("@max walks", 404, "character_not_found", id="another account's"),
        pytest.param("@bob with @MAX", 404, "character_not_found", id="beside one's own"),
        pytest.param("@gone walks", 404, "character_not_found", id="deleted"),
        pytest.param("@late walks", 404, "character_not_found", id="another account's, deleted"),
    ],
)
async def test_a_mention_that_can_t_be_used(known: AsyncConnection, prompt: str, status: int, code: str) -> None:
    with pytest.raises(GatewayError) as caught:
        await pin_for(known, 1, prompt)
    assert (caught.value.status, caught.value.code, caught.value.param) == (status, code, "prompt")


async def test_thousands_of_mentions_are_one_look(known: AsyncConnection) -> None:
    prompt = " ".join(f"@Nobody.{number}." for number in range(20_000)) + " @bob"
    assert await pin_for(known, 1, prompt) == 10
