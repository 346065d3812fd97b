"""Stored media over HTTP: by its link alone, in any part, never as anything that runs, and never in memory as a whole."""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime, parsedate_to_datetime
from urllib.parse import urlsplit

import httpx2
import psutil
import pytest

from app.media.links import Links
from app.media.storage import Storage, new_input_key, new_output_key
from tests.gateway import SECRET_KEY, Gateway

NOISE = random.Random(7).randbytes(1_500_000)
SIZE = len(NOISE)
NOW = datetime.now(UTC)
Kept = Callable[..., str]


@pytest.fixture(scope="module")
def client(gateway: Gateway) -> Iterator[httpx2.Client]:
    """Without any key, as a browser would come."""
    with httpx2.Client(timeout=30) as made:
        yield made


@pytest.fixture(scope="module")
def links(gateway: Gateway) -> Links:
    return Links([SECRET_KEY], gateway.url, 24)


@pytest.fixture(scope="module")
def keep(gateway: Gateway, links: Links) -> Kept:
    """Puts a file into the gateway's folder; returns its link."""
    storage = Storage(None, gateway.data_dir / "media")

    def put(data: bytes = NOISE, content_type: str = "video/mp4", new_key: Kept = new_output_key) -> str:
        key = new_key(NOW.date(), 1, content_type)
        asyncio.run(storage.put(key, data, content_type))
        return links.sign(key, NOW)

    return put


@pytest.fixture(scope="module")
def video(keep: Kept) -> str:
    return keep()


# -- whole files -------------------------------------------------------------------------------------------------------


def test_a_link_is_all_it_takes(client: httpx2.Client, video: str) -> None:
    answer = client.get(video)
    assert (answer.status_code, answer.content) == (200, NOISE)
    headers = answer.headers
    assert headers["content-type"] == "video/mp4"
    assert headers["content-length"] == str(SIZE)
    assert headers["accept-ranges"] == "bytes"
    assert headers["etag"].startswith('"')
    assert abs(parsedate_to_datetime(headers["last-modified"]) - datetime.now(UTC)) < timedelta(minutes=5)
    assert headers["x-request-id"].startswith("req_")
    private, _, age = headers["cache-control"].partition(", max-age=")
    assert private == "private"
    assert 12 * 3600 - 300 <= int(age) <= 24 * 3600
    kind, _, name = headers["content-disposition"].partition("; filename=")
    assert kind == "inline"
    assert name.strip('"').endswith("-1.mp4")


def test_head_tells_the_same_without_the_file(client: httpx2.Client, video: str) -> None:
    got, head = client.get(video), client.head(video, headers={"range": "bytes=0-1"})
    assert (head.status_code, head.content) == (200, b"")
    for name in ("content-type", "content-length", "etag", "last-modified", "accept-ranges", "content-disposition"):
        assert head.headers[name] == got.headers[name]


@pytest.mark.parametrize(
    ("content_type", "extension", "shown"),
    [
        ("image/png", "png", True),
        ("image/jpeg", "jpg", True),
        ("image/webp", "webp", True),
        ("image/gif", "gif", True),
        ("audio/mpeg", "mp3", True),
        ("video/webm", "webm", True),
        ("image/svg+xml", "bin", False),
        ("text/html", "bin", False),
        ("application/javascript", "bin", False),
    ],
)
def test_nothing_that_an_upstream_made_runs_on_our_origin(
    client: httpx2.Client, keep: Kept, content_type: str, extension: str, shown: bool
) -> None:
    answer = client.get(keep(b"<script>alert(1)</script>", content_type))
    assert answer.headers["content-type"] == (content_type if shown else "application/octet-stream")
    kind, _, name = answer.headers["content-disposition"].partition(";")
    assert kind == ("inline" if shown else "attachment")
    assert name.endswith(f'-1.{extension}"')
    assert answer.headers["x-content-type-options"] == "nosniff"
    policy = answer.headers["content-security-policy"].split("; ")
    assert {"default-src 'none'", "sandbox"} <= set(policy)


def test_inputs_have_links_too(client: httpx2.Client, keep: Kept) -> None:
    assert client.get(keep(b"x", "image/png", new_input_key)).content == b"x"


def test_an_empty_file_is_one(client: httpx2.Client, keep: Kept) -> None:
    url = keep(b"")
    assert (client.get(url).status_code, client.get(url).content) == (200, b"")
    assert client.get(url, headers={"range": "bytes=0-"}).status_code == 416


# -- links -------------------------------------------------------------------------------------------------------------


def refusal(client: httpx2.Client, url: str, method: str = "GET") -> tuple[int, str]:
    answer = client.request(method, url)
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return answer.status_code, error["code"]


def test_without_its_signature_a_file_isn_t_there_for_anybody(client: httpx2.Client, video: str, links: Links) -> None:
    path, query = video.split("?")
    other = links.sign(new_output_key(NOW.date(), 1, "video/mp4"), NOW).split("?")[1]
    altered = query[:-1] + ("A" if query[-1] != "A" else "B")
    for text in (
        path,
        f"{path}?",
        f"{path}?{query.split('&')[0]}",
        f"{path}?{altered}",
        f"{path}?{other}",
        f"{path}?{query.replace('expires=1', 'expires=2')}",
        f"{path}/?{query}",
        f"{path.replace('/1.mp4', '/2.mp4')}?{query}",
        f"{path}?{query}&signature=x",
        f"{path}?signature=%ff%00&expires=%F0%9F",
        f"{path.rpartition('/v2/')[0]}/v2/files/..%2f..%2fsecret_key?{query}",
        f"{path.rpartition('/v2/')[0]}/v2/files/%2e%2e/%2e%2e/etc/passwd?{query}",
    ):
        assert refusal(client, text) == (403, "link_invalid"), text


def test_what_is_gone_is_only_told_to_who_had_a_link(client: httpx2.Client, links: Links) -> None:
    key = new_output_key(NOW.date(), 1, "video/mp4")
    assert refusal(client, links.sign(key, NOW)) == (404, "file_not_found")
    assert refusal(client, links.sign(key, NOW).partition("?")[0]) == (403, "link_invalid")


def test_an_expired_link_says_so(client: httpx2.Client, video: str, links: Links) -> None:
    key = urlsplit(video).path.removeprefix("/v2/files/")
    old = NOW - timedelta(days=2)
    assert refusal(client, links.sign(key, old, old)) == (403, "link_expired")
    assert client.head(links.sign(key, old, old)).status_code == 403


def test_another_gateway_s_link_is_none(client: httpx2.Client, gateway: Gateway, video: str) -> None:
    key = urlsplit(video).path.removeprefix("/v2/files/")
    foreign = Links(["another-secret-key-0123456789"], gateway.url, 24)
    assert refusal(client, foreign.sign(key, NOW)) == (403, "link_invalid")


def test_files_can_only_be_read(client: httpx2.Client, video: str) -> None:
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        assert refusal(client, video, method) == (405, "method_not_allowed")


# -- parts -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "start", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=0-", 0, SIZE),
        ("bytes=600000-600099", 600_000, 600_100),
        (f"bytes=0-{SIZE - 1}", 0, SIZE),
        (f"bytes=1000-{SIZE * 2}", 1000, SIZE),
        (f"bytes={SIZE - 1}-", SIZE - 1, SIZE),
        ("bytes=-1", SIZE - 1, SIZE),
        (f"bytes=-{SIZE * 3}", 0, SIZE),
        ("BYTES = 5-6", 5, 7),
    ],
)
def test_a_part_is_answered_as_one(client: httpx2.Client, video: str, text: str, start: int, end: int) -> None:
    answer = client.get(video, headers={"range": text})
    assert (answer.status_code, answer.content) == (206, NOISE[start:end])
    assert answer.headers["content-range"] == f"bytes {start}-{end - 1}/{SIZE}"
    assert answer.headers["content-length"] == str(end - start)
    assert answer.headers["content-type"] == "video/mp4"


@pytest.mark.parametrize("text", [f"bytes={SIZE}-", f"bytes={SIZE}-{SIZE + 5}", "bytes=-0", "bytes=" + "9" * 18 + "-"])
def test_a_part_beyond_the_end_is_not_satisfiable(client: httpx2.Client, video: str, text: str) -> None:
    answer = client.get(video, headers={"range": text})
    assert (answer.status_code, answer.content) == (416, b"")
    assert answer.headers["content-range"] == f"bytes */{SIZE}"


@pytest.mark.parametrize(
    "text",
    [
        "bytes=0-1,5-6",
        "bytes=5-2",
        "bytes=",
        "bytes=-",
        "bytes=a-b",
        "items=0-1",
        "0-1",
        "bytes=0-1;",
        "bytes=" + "9" * 500 + "-",
    ],
)
def test_several_parts_and_nonsense_get_the_whole(client: httpx2.Client, video: str, text: str) -> None:
    answer = client.get(video, headers={"range": text})
    assert (answer.status_code, answer.headers["content-length"]) == (200, str(SIZE))
    assert "content-range" not in answer.headers


def test_a_part_is_only_of_the_file_that_one_has(client: httpx2.Client, video: str) -> None:
    head = client.head(video).headers
    for condition, status in (
        (head["etag"], 206),
        (head["last-modified"], 206),
        ('"another"', 200),
        (f"W/{head['etag']}", 200),
        (format_datetime(NOW - timedelta(days=3), usegmt=True), 200),
        ("nonsense", 200),
    ):
        answer = client.get(video, headers={"range": "bytes=0-9", "if-range": condition})
        assert answer.status_code == status, condition


def test_what_a_caller_has_isn_t_sent_again(client: httpx2.Client, video: str) -> None:
    head = client.head(video).headers
    past, future = (format_datetime(NOW + timedelta(days=days), usegmt=True) for days in (-3, 3))
    for headers, status in (
        ({"if-none-match": head["etag"]}, 304),
        ({"if-none-match": f'"x", W/{head["etag"]}'}, 304),
        ({"if-none-match": "*"}, 304),
        ({"if-none-match": '"x"'}, 200),
        ({"if-none-match": '"x"', "if-modified-since": future}, 200),
        ({"if-modified-since": head["last-modified"]}, 304),
        ({"if-modified-since": future}, 304),
        ({"if-modified-since": past}, 200),
        ({"if-modified-since": "nonsense"}, 200),
        ({"if-none-match": head["etag"], "range": "bytes=0-9"}, 304),
    ):
        for method in ("GET", "HEAD"):
            answer = client.request(method, video, headers=headers)
            assert answer.status_code == status, (method, headers)
            assert answer.headers["etag"] == head["etag"]
            if status == 304:
                assert answer.content == b""
                assert "content-length" not in answer.headers


# -- slow readers ------------------------------------------------------------------------------------------------------


def test_many_slow_readers_cost_little_and_stop_nobody(client: httpx2.Client, gateway: Gateway, keep: Kept) -> None:
    url = keep(bytes(40_000_000))
    assert client.get(url).status_code == 200
    assert gateway.process is not None
    process = psutil.Process(gateway.process.pid)
    before = process.memory_info().rss
    readers = [open_reader(url) for _ in range(20)]
    try:
        for reader in readers:
            assert reader.recv(12) == b"HTTP/1.1 200"
        assert len(client.get(url).content) == 40_000_000
        assert process.memory_info().rss - before < 40 * 1024 * 1024
    finally:
        for reader in readers:
            reader.close()


def open_reader(url: str) -> socket.socket:
    """Asks for a file and takes as little of it as it can."""
    parts = urlsplit(url)
    reader = socket.socket()
    reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    reader.settimeout(30)
    reader.connect((parts.hostname, parts.port))
    reader.sendall(f"GET {parts.path}?{parts.query} HTTP/1.1\r\nhost: x\r\n\r\n".encode())
    return reader


def test_who_stops_reading_is_left(start_gateway: Callable[..., Gateway]) -> None:
    alone = start_gateway(RELAYGATE_WRITE_TIMEOUT="1")
    key = new_output_key(NOW.date(), 1, "video/mp4")
    asyncio.run(Storage(None, alone.data_dir / "media").put(key, bytes(40_000_000), "video/mp4"))
    with open_reader(Links([SECRET_KEY], alone.url, 24).sign(key, NOW)) as reader:
        assert reader.recv(12) == b"HTTP/1.1 200"
        asyncio.run(await_log(alone, "file_cut"))
        received = 0
        while part := reader.recv(1 << 16):
            received += len(part)
    assert received < 40_000_000


async def await_log(gateway: Gateway, event: str) -> None:
    async with asyncio.timeout(20):
        while event not in gateway.log:
            await asyncio.sleep(0.05)
