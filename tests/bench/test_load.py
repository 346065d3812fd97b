"""The load generator must never take a wrong answer for a good one: its parser, its judgement, its error counts."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from bench.answers import AnswerReader, MalformedAnswer, fault
from bench.load import run_closed, run_open
from bench.plan import LoadResult, Plan, Spread, build_request, spread

CHAT = b'{"object":"chat.completion","choices":[{"message":{"role":"assistant","content":"Hi."}}]}'
PLAIN = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (len(CHAT), CHAT)
STREAM_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
ROLE = b'data: {"choices":[{"delta":{"role":"assistant","content":""}}]}\n\n'
WORD = b'data: {"choices":[{"delta":{"content":"word "}}]}\n\n'
DONE = b"data: [DONE]\n\n"


def framed(*parts: bytes) -> bytes:
    """Each part as one HTTP chunk."""
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts)


STREAM = STREAM_HEAD + framed(ROLE, WORD, WORD, WORD, DONE) + b"0\r\n\r\n"


@pytest.mark.parametrize(("answer", "body"), [(PLAIN, CHAT), (STREAM, ROLE + WORD * 3 + DONE)])
def test_reads_the_same_answer_however_its_bytes_are_split(answer: bytes, body: bytes) -> None:
    for cut in range(1, len(answer)):
        reader = AnswerReader()
        assert not reader.feed(answer[:cut])
        assert reader.feed(answer[cut:])
        assert (reader.status, reader.body, reader.stays_open) == (200, body, True)


@pytest.mark.parametrize(("answer", "body"), [(PLAIN, CHAT), (STREAM, ROLE + WORD * 3 + DONE)])
def test_reads_an_answer_that_comes_byte_by_byte(answer: bytes, body: bytes) -> None:
    reader = AnswerReader()
    assert [reader.feed(bytes([byte])) for byte in answer] == [False] * (len(answer) - 1) + [True]
    assert reader.body == body


def test_reads_answers_of_both_framings_one_after_another() -> None:
    reader = AnswerReader()
    for answer, body in [(PLAIN, CHAT), (STREAM, ROLE + WORD * 3 + DONE), (PLAIN, CHAT)]:
        reader.reset()
        assert reader.feed(answer)
        assert reader.body == body


def test_sees_that_the_server_will_close() -> None:
    reader = AnswerReader()
    assert reader.feed(PLAIN.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1))
    assert not reader.stays_open


def test_an_answer_that_only_the_end_of_the_connection_ends_is_never_whole() -> None:
    reader = AnswerReader()
    assert not reader.feed(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n" + CHAT)


@pytest.mark.parametrize(
    "data",
    [
        b"not http at all\r\n\r\n",
        STREAM_HEAD + b"zz\r\nword\r\n0\r\n\r\n",
        STREAM_HEAD + b"2\r\nword\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: many\r\n\r\n",
        PLAIN + PLAIN,
    ],
)
def test_refuses_what_is_no_single_answer(data: bytes) -> None:
    with pytest.raises(MalformedAnswer):
        AnswerReader().feed(data)


@pytest.mark.parametrize(
    ("status", "body", "chunks", "expected"),
    [
        (200, CHAT, None, None),
        (200, ROLE + WORD * 3 + DONE, 3, None),
        (503, CHAT, None, "status 503"),
        (200, b'{"error":{}}', None, "no choices"),
        (200, ROLE + WORD * 3, 3, "no [DONE]"),
        (200, ROLE + WORD * 2 + DONE, 3, "2 of 3 chunks"),
        (200, ROLE + WORD * 4 + DONE, 3, "4 of 3 chunks"),
    ],
)
def test_judges_a_whole_answer(status: int, body: bytes, chunks: int | None, expected: str | None) -> None:
    assert fault(status, body, chunks) == expected


def test_the_request_is_a_small_chat_with_an_exact_length() -> None:
    plan = Plan(url="http://127.0.0.1:9", model="demo?chunks=60", chunks=60, authorization="Bearer sk-1")
    head, _, body = build_request(plan).partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    assert lines[0] == "POST /v1/chat/completions HTTP/1.1"
    assert f"content-length: {len(body)}" in lines
    assert "authorization: Bearer sk-1" in lines
    chat = json.loads(body)
    assert (chat["model"], chat["stream"]) == ("demo?chunks=60", True)
    assert 250 <= len(body) <= 350


def test_percentiles_are_nearest_rank_in_milliseconds() -> None:
    assert spread([value / 1000 for value in range(100, 0, -1)]) == Spread(50.0, 99.0, 100.0)
    assert spread([0.002]) == Spread(2.0, 2.0, 2.0)
    assert spread([]) is None


@asynccontextmanager
async def answering(pieces: Sequence[bytes], closes: bool = False) -> AsyncIterator[str]:
    """A server that reads a request and writes these pieces, again and again; it may hang up after one."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
                await reader.readexactly(int(length))
                for piece in pieces:
                    writer.write(piece)
                    await writer.drain()
                if closes:
                    break
        except (asyncio.IncompleteReadError, ConnectionResetError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def load(url: str, requests: int = 6, chunks: int | None = None) -> LoadResult:
    return await run_closed(Plan(url=url, model="demo", connections=2, requests=requests, chunks=chunks))


async def test_counts_good_answers_and_keeps_connections() -> None:
    async with answering([PLAIN[:40], PLAIN[40:]]) as url:
        result = await load(url, requests=20)
    assert (result.answers, result.sent, result.errors, result.connects) == (20, 20, {}, 2)
    assert result.latency_ms is not None
    assert result.first_ms is None


async def test_counts_good_streams_and_times_their_first_text() -> None:
    async with answering([STREAM]) as url:
        result = await load(url, chunks=3)
    assert (result.answers, result.errors) == (6, {})
    assert result.first_ms is not None
    assert result.latency_ms is not None
    assert 0 < result.first_ms.p50 <= result.latency_ms.p50


async def test_an_error_status_is_an_error_and_keeps_its_body() -> None:
    body = b'{"error":{"message":"no money"}}'
    answer = b"HTTP/1.1 429 Too Many Requests\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)
    async with answering([answer]) as url:
        result = await load(url)
    assert (result.answers, result.errors, result.error_body) == (0, {"status 429": 6}, body.decode())
    assert result.latency_ms is None


@pytest.mark.parametrize(
    "torn",
    [
        STREAM_HEAD + framed(ROLE, WORD),
        STREAM_HEAD + framed(ROLE, WORD, WORD, WORD, DONE),  # all events, but the body has no end
        STREAM[:-1],
        PLAIN[:-1],
        b"",
    ],
)
async def test_a_torn_answer_is_an_error_and_the_connection_is_replaced(torn: bytes) -> None:
    async with answering([torn], closes=True) as url:
        result = await load(url, chunks=None if torn == PLAIN[:-1] else 3)
    assert result.answers == 0
    assert result.errors == {"connection lost before the answer was whole": 6}
    assert result.connects == 6


async def test_a_stream_with_a_chunk_missing_is_an_error() -> None:
    async with answering([STREAM_HEAD + framed(ROLE, WORD, WORD, DONE) + b"0\r\n\r\n"]) as url:
        result = await load(url, chunks=3)
    assert (result.answers, result.errors) == (0, {"2 of 3 chunks": 6})


async def test_bytes_that_are_no_http_are_an_error() -> None:
    async with answering([b"what?\r\n\r\n"]) as url:
        result = await load(url)
    assert result.answers == 0
    assert sum(result.errors.values()) == 6
    assert all(kind.startswith("malformed") for kind in result.errors)


async def test_a_server_that_closes_as_announced_makes_no_error() -> None:
    async with answering([PLAIN.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n", 1)], closes=True) as url:
        result = await load(url)
    assert (result.answers, result.errors, result.connects) == (6, {}, 6)


async def test_nobody_listening_is_an_error_and_ends_the_run() -> None:
    async with answering([PLAIN]) as url:
        pass
    result = await load(url)
    assert (result.answers, result.connects) == (0, 0)
    assert all(kind.startswith("connect: ") for kind in result.errors)
    assert result.errors


async def test_the_open_loop_sends_what_its_rate_says() -> None:
    async with answering([PLAIN]) as url:
        plan = Plan(url=url, model="demo", connections=4, seconds=0.2, warmup=0.0, rate=200.0)
        result = await run_open(plan, 200.0)
    assert (result.answers, result.sent, result.errors) == (40, 40, {})


async def test_the_open_loop_charges_a_stall_to_all_requests_that_were_due_in_it() -> None:
    stalls = iter([0.3])

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"}]")
        time.sleep(next(stalls, 0.0))  # noqa: ASYNC251  (stops this loop, so the load generator sends late)
        writer.write(PLAIN)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        plan = Plan(url=url, model="demo", connections=0, seconds=0.1, warmup=0.0, rate=100.0)
        result = await run_open(plan, 100.0)
    assert (result.answers, result.sent) == (10, 10)
    assert result.latency_ms is not None
    # The last request is due 90 ms after the first, and nothing is answered within 300 ms of that.
    assert result.latency_ms.p50 >= 210
