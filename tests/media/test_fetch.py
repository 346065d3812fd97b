"""What others' URLs lead to comes through the guard, whole, recognised and within bounds, or not at all."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import pytest

from app.egress.client import Egress, EgressError
from app.errors import GatewayError
from app.media.fetch import MOST_REDIRECTS, download, fetch_input
from app.media.inputs import MAX_IMAGE
from app.media.storage import Storage, new_output_key
from tests.media.test_storage import TODAY, files_in

PICTURE = (Path(__file__).parents[1] / "core" / "pictures" / "plain-37x21.png").read_bytes()
VIDEO = b"\x00\x00\x00\x18ftypisom\x00\x00\x02\x00isommp41" + bytes(100_000)
LOOPBACK = ipaddress.ip_network("127.0.0.1/32")

Script = Callable[[asyncio.StreamWriter], Awaitable[None]]


class Server:
    """Answers each path on 127.0.0.1 as its script says."""

    def __init__(self) -> None:
        self.scripts: dict[str, Script] = {}
        self.asked: list[str] = []
        self.heads: list[bytes] = []
        self.port = 0

    def url(self, path: str, host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.port}{path}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            path = head.split(b" ")[1].decode()
            self.asked.append(path)
            self.heads.append(head)
            await self.scripts[path](writer)
        except ConnectionError:
            pass  # the other side has seen enough
        finally:
            writer.close()


def answer(body: bytes, *headers: str, status: int = 200, length: int | None = None) -> Script:
    """`length`: what the header says, where that isn't the truth."""
    announced = f"content-length: {len(body) if length is None else length}"
    head = "\r\n".join([f"HTTP/1.1 {status} X", announced, *headers, "", ""])

    async def script(writer: asyncio.StreamWriter) -> None:
        writer.write(head.encode() + body)
        await writer.drain()

    return script


def redirect(location: str | None, status: int = 302) -> Script:
    return answer(b"", *([] if location is None else [f"location: {location}"]), status=status)


async def endless(writer: asyncio.StreamWriter) -> None:
    """A picture that has no end."""
    writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
    piece = PICTURE[:8] + bytes(1024 * 1024 - 8)
    while True:
        writer.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        await writer.drain()


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    made = Server()
    listener = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.port = listener.sockets[0].getsockname()[1]
    async with listener:
        yield made


@asynccontextmanager
async def opened() -> AsyncIterator[Egress]:
    client = Egress([LOOPBACK])
    client.start()
    try:
        yield client
    finally:
        await client.close()


async def refusal(egress: Egress, url: str, **options: object) -> tuple[str, str]:
    with pytest.raises(GatewayError) as refused:
        await fetch_input(egress, url, param="images[0]", **options)  # type: ignore[arg-type]
    assert (refused.value.status, refused.value.param) == (400, "images[0]")
    assert refused.value.message.startswith("images[0]: ")
    return refused.value.code, refused.value.message


async def collect(egress: Egress, url: str, most: int = 10**9) -> bytes:
    return b"".join([piece async for piece in download(egress, url, most=most)])


# -- inputs ------------------------------------------------------------------------------------------------------------


async def test_a_picture_is_told_by_its_bytes_not_by_its_header(server: Server) -> None:
    server.scripts["/x"] = answer(PICTURE, "content-type: text/html")
    async with opened() as egress:
        found = await fetch_input(egress, server.url("/x"), param="images[0]", sort="image")
    assert (found.data, found.content_type, found.url) == (PICTURE, "image/png", server.url("/x"))
    assert b"accept-encoding: identity" in server.heads[0].lower()
    assert not any(word in server.heads[0].lower() for word in (b"authorization", b"cookie"))


async def test_which_of_the_two_it_has_to_be_can_be_said(server: Server) -> None:
    server.scripts |= {"/picture": answer(PICTURE), "/video": answer(VIDEO)}
    async with opened() as egress:
        for path, content_type in (("/picture", "image/png"), ("/video", "video/mp4")):
            found = await fetch_input(egress, server.url(path), param="images[0]")
            assert found.content_type == content_type
        assert (await fetch_input(egress, server.url("/video"), param="x", sort="video")).data == VIDEO
        assert (await refusal(egress, server.url("/video"), sort="image"))[0] == "invalid_image"
        assert (await refusal(egress, server.url("/picture"), sort="video"))[0] == "invalid_video"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_few_redirects_are_followed(server: Server, status: int) -> None:
    server.scripts = {f"/{n}": redirect(f"/{n - 1}", status) for n in range(1, MOST_REDIRECTS + 2)}
    server.scripts["/0"] = answer(PICTURE)
    async with opened() as egress:
        assert (await fetch_input(egress, server.url(f"/{MOST_REDIRECTS}"), param="x")).data == PICTURE
        code, message = await refusal(egress, server.url(f"/{MOST_REDIRECTS + 1}"))
    assert code == "media_unreachable"
    assert "redirects more than 3 times" in message


@pytest.mark.parametrize(
    "location",
    [
        "http://127.0.0.2:{port}/secret",
        "//127.0.0.2:{port}/secret",
        "http://[::1]:{port}/secret",
        "http://169.254.169.254/latest/meta-data",
        "http://0x7f000001:{port}/secret",
        "http://user@127.0.0.1:{port}/secret",
        "file:///etc/passwd",
        "gopher://127.0.0.1:{port}/",
        "http://127.0.0.1:99999/",
        None,
    ],
)
async def test_a_redirect_gets_no_further_than_a_url(server: Server, location: str | None) -> None:
    where = None if location is None else location.format(port=server.port)
    server.scripts |= {"/x": redirect(where), "/secret": answer(PICTURE)}
    async with opened() as egress:
        assert (await refusal(egress, server.url("/x")))[0] == "media_unreachable"
        with pytest.raises(EgressError):
            await collect(egress, server.url("/x"))
    assert server.asked == ["/x", "/x"]


@pytest.mark.parametrize(
    ("script", "code"),
    [
        (answer(b"<html>", status=404), "media_unreachable"),
        (answer(PICTURE, status=201), "media_unreachable"),
        (answer(PICTURE, status=500), "media_unreachable"),
        (answer(PICTURE, length=len(PICTURE) + 1), "media_unreachable"),
        (answer(PICTURE, "content-encoding: gzip"), "media_unreachable"),
        (answer(b""), "invalid_image"),
        (answer(PICTURE[:5]), "invalid_image"),
        (answer(b"<html>" + bytes(1000)), "invalid_image"),
        (answer(PICTURE + bytes(100), length=MAX_IMAGE + 1), "image_too_large"),
        (answer(VIDEO, length=10**9), "video_too_large"),
        (endless, "image_too_large"),
    ],
)
async def test_what_can_t_be_used_is_refused(server: Server, script: Script, code: str) -> None:
    server.scripts["/x"] = script
    async with opened() as egress:
        assert (await refusal(egress, server.url("/x")))[0] == code


async def test_bounds_are_to_the_byte(server: Server) -> None:
    server.scripts["/x"] = answer(PICTURE)
    async with opened() as egress:
        most = len(PICTURE)
        assert (await fetch_input(egress, server.url("/x"), param="x", most=most)).data == PICTURE
        assert (await refusal(egress, server.url("/x"), most=most - 1))[0] == "image_too_large"
        assert await collect(egress, server.url("/x"), most) == PICTURE
        with pytest.raises(EgressError, match="too large"):
            await collect(egress, server.url("/x"), most - 1)


async def test_an_address_of_ours_is_not_called(server: Server) -> None:
    server.scripts["/x"] = answer(PICTURE)
    async with opened() as egress:
        assert (await refusal(egress, server.url("/x", "127.0.0.3")))[0] == "media_unreachable"
        with pytest.raises(EgressError, match="private or reserved"):
            await collect(egress, server.url("/x", "127.0.0.3"))
    assert server.asked == []


# -- results -----------------------------------------------------------------------------------------------------------


async def test_a_result_goes_into_storage_in_pieces(server: Server, tmp_path: Path) -> None:
    body = VIDEO * 120  # 12 MB: three parts
    server.scripts |= {"/x": redirect("/y"), "/y": answer(body)}
    storage, key = Storage(None, tmp_path), new_output_key(TODAY, 1, "video/mp4")
    async with opened() as egress:
        pieces = [len(piece) async for piece in download(egress, server.url("/x"))]
        assert max(pieces) <= 1024 * 1024
        assert await storage.put(key, download(egress, server.url("/x")), "video/mp4") == len(body)
    assert await storage.read_all(key) == body


@pytest.mark.parametrize(
    "script",
    [answer(VIDEO * 100, length=len(VIDEO) * 100 + 1), answer(b""), answer(b"x", status=403), endless],
    ids=["cut", "empty", "refused", "endless"],
)
async def test_a_result_that_isn_t_whole_leaves_nothing(server: Server, tmp_path: Path, script: Script) -> None:
    server.scripts["/x"] = script
    storage = Storage(None, tmp_path)
    async with opened() as egress:
        with pytest.raises(EgressError):
            await storage.put(
                new_output_key(TODAY, 1, "video/mp4"),
                download(egress, server.url("/x"), most=30 * 1024 * 1024),
                "video/mp4",
            )
    assert files_in(tmp_path) == []


async def read_into(found: list[bytes], egress: Egress, url: str) -> None:
    async with egress.download(url, idle=0.2) as response:
        while piece := await response.content.read(10):
            found.append(piece)


async def test_a_sender_that_falls_silent_is_given_up_on(server: Server) -> None:
    """The head, or the piece after the first, never comes."""
    waiting = asyncio.Event()

    async def silent(_writer: asyncio.StreamWriter) -> None:
        await waiting.wait()

    async def stalled(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nx")
        await waiting.wait()

    server.scripts |= {"/silent": silent, "/stalled": stalled}
    try:
        async with opened() as egress:
            for path, received in (("/silent", []), ("/stalled", [b"x"])):
                found: list[bytes] = []
                with pytest.raises(EgressError, match=r"No answer within 0\.2 s"):
                    await read_into(found, egress, server.url(path))
                assert found == received
    finally:
        waiting.set()


async def test_a_sender_waits_while_nobody_takes_what_it_sends(server: Server) -> None:
    sent, stuck = 0, asyncio.Event()

    async def script(writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.transport.set_write_buffer_limits(0)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % 10**9)
        while True:
            writer.write(bytes(1024 * 1024))
            sent += 1024 * 1024
            try:
                async with asyncio.timeout(1.0):
                    await writer.drain()
            except TimeoutError:
                stuck.set()
                return

    server.scripts["/x"] = script
    async with opened() as egress, aclosing(download(egress, server.url("/x"))) as pieces:
        await anext(pieces)
        async with asyncio.timeout(30):
            await stuck.wait()
        assert sent < 40 * 1024 * 1024, "as much as the two ends of a connection hold"
