"""The official SDK takes the demo for a server of OpenAI's videos API; and what its forms hold arrives as it was sent."""

import hashlib
from collections.abc import AsyncIterator
from typing import Any, cast

import httpx2 as httpx
import openai
import pytest

from tests.demo.process import DemoProcess

PICTURE = b"\x89PNG\r\n\x1a\n--boundary\r\n\r\n\0\xff"
# The SDK says so of every method here: OpenAI's own server is gone.
pytestmark = pytest.mark.filterwarnings("ignore:The Sora API is scheduled:DeprecationWarning")


@pytest.fixture(scope="module")
async def sdk(demo_process: DemoProcess) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(
        base_url=f"{demo_process.url}/v1",
        api_key="sk-test",
        max_retries=0,
        http_client=httpx.AsyncClient(),
    ) as client:
        yield client


async def make(client: httpx.AsyncClient, **fields: Any) -> dict[str, Any]:
    body = {"prompt": "a cat", "model": "sora-2?polls=1", "size": "64x64", "seconds": "1", **fields}
    response = await client.post("/v1/videos", json=body)
    assert response.status_code == 200, response.text
    return cast(dict[str, Any], response.json())


async def test_create_and_poll(demo: DemoProcess, sdk: openai.AsyncOpenAI) -> None:
    video = await sdk.videos.create_and_poll(
        prompt="a cat", model="sora-2?polls=3&poll_after_ms=5", seconds="8", size="1280x720"
    )

    assert (video.status, video.progress, video.error) == ("completed", 100, None)
    assert (video.model, video.seconds, video.size, video.prompt) == ("sora-2", "8", "1280x720", "a cat")
    assert video.completed_at is not None
    assert video.created_at <= video.completed_at
    assert demo.control("GET", f"jobs/{video.id}")["polls"] == 3
    file = (await sdk.videos.download_content(video.id)).content
    assert file[4:12] == b"ftypisom"
    picture = (await sdk.videos.download_content(video.id, variant="thumbnail")).content
    assert picture.startswith(b"\x89PNG")


async def test_failure(demo: DemoProcess, sdk: openai.AsyncOpenAI) -> None:
    video = await sdk.videos.create_and_poll(
        prompt="a cat", model="sora-2?polls=2&fail=no+cats&fail_code=moderation_blocked", poll_interval_ms=1
    )

    assert video.status == "failed"
    assert video.error is not None
    assert (video.error.code, video.error.message) == ("moderation_blocked", "no cats")
    with pytest.raises(openai.NotFoundError):
        await sdk.videos.download_content(video.id)


async def test_reference_file(demo: DemoProcess, sdk: openai.AsyncOpenAI) -> None:
    await sdk.videos.create(prompt="ä cat", model="sora-2?polls=1", input_reference=("cat.png", PICTURE, "image/png"))

    (entry,) = demo.settled()
    parts = {part["name"]: part for part in entry["parts"]}
    assert parts["prompt"]["text"] == "ä cat"
    assert parts["input_reference"] == {
        "name": "input_reference",
        "filename": "cat.png",
        "content_type": "image/png",
        "size": len(PICTURE),
        "sha256": hashlib.sha256(PICTURE).hexdigest(),
        "text": None,
    }
    assert entry["body"] is None


@pytest.mark.parametrize(
    "send",
    [
        {"files": {"prompt": (None, "p"), "input_reference[image_url]": (None, "https://x/a.png")}},
        {"json": {"prompt": "p", "input_reference": {"file_id": "file_1"}}},
        {"files": {"prompt": (None, "p"), "seconds": (None, "9.5")}},
    ],
)
async def test_ways_to_create(demo: DemoProcess, client: httpx.AsyncClient, send: dict[str, Any]) -> None:
    body = (await client.post("/v1/videos", **send)).json()

    assert (body["object"], body["status"], body["model"], body["size"]) == ("video", "queued", "sora-2", "720x1280")
    assert body["seconds"] in ("4", "9.5")


@pytest.mark.parametrize(
    ("send", "param"),
    [
        ({"json": {}}, "prompt"),
        ({"json": {"prompt": "p", "seconds": "long"}}, "seconds"),
        ({"json": {"prompt": "p", "size": "720p"}}, "size"),
        ({"json": {"prompt": "p", "input_reference": "https://x/a.png"}}, "input_reference"),
        ({"files": {"prompt": (None, "p"), "input_reference": ("a.png", b"")}}, "input_reference"),
        ({"content": b"--x", "headers": {"content-type": "multipart/form-data; boundary=x"}}, None),
        ({"content": b"nonsense", "headers": {"content-type": "multipart/form-data"}}, None),
        ({"content": b"[]"}, None),
    ],
)
async def test_bad_requests(
    demo: DemoProcess, client: httpx.AsyncClient, send: dict[str, Any], param: str | None
) -> None:
    response = await client.post("/v1/videos", **send)

    assert (response.status_code, response.json()["error"]["param"]) == (400, param)
    assert demo.control("GET", "studio")["submissions"] == 0


async def test_list(demo: DemoProcess, client: httpx.AsyncClient, sdk: openai.AsyncOpenAI) -> None:
    ids = [(await make(client))["id"] for _ in range(5)]
    await client.post("/v2/videos/generations", json={"model": "m", "prompt": "of another API"})
    first = await sdk.videos.list(limit=2)
    everything = [video.id async for video in sdk.videos.list(limit=2, order="asc")]

    assert ([video.id for video in first.data], first.has_more) == (ids[:2:-1], True)
    assert everything == ids
    assert demo.control("GET", "studio")["polls"] == 0


async def test_delete(demo: DemoProcess, client: httpx.AsyncClient, sdk: openai.AsyncOpenAI) -> None:
    video = await make(client)
    deleted = await sdk.videos.delete(video["id"])

    assert (deleted.id, deleted.object, deleted.deleted) == (video["id"], "video.deleted", True)
    with pytest.raises(openai.NotFoundError):
        await sdk.videos.retrieve(video["id"])


async def test_remix(demo: DemoProcess, client: httpx.AsyncClient, sdk: openai.AsyncOpenAI) -> None:
    source = await make(client, seconds="12", size="1792x1024")
    with pytest.raises(openai.BadRequestError):
        await sdk.videos.remix(source["id"], prompt="again, but blue")
    await sdk.videos.retrieve(source["id"])
    video = await sdk.videos.remix(source["id"], prompt="again, but blue")

    assert video.remixed_from_video_id == source["id"]
    assert (video.prompt, video.seconds, video.size) == ("again, but blue", "12", "1792x1024")


async def test_character(demo: DemoProcess, sdk: openai.AsyncOpenAI) -> None:
    made = await sdk.videos.create_character(name="Mittens", video=("a.mp4", b"video", "video/mp4"))
    assert made.id is not None
    found = await sdk.videos.get_character(made.id)

    assert (found.id, found.name) == (made.id, "Mittens")
    with pytest.raises(openai.NotFoundError):
        await sdk.videos.get_character("char_none")
    with pytest.raises(openai.NotFoundError):
        await sdk.videos.retrieve(made.id)


async def test_keys_are_asked_for(demo: DemoProcess, client: httpx.AsyncClient) -> None:
    video = await make(client)
    await client.get(f"/v1/videos/{video['id']}")
    for path in ("", f"/{video['id']}", f"/{video['id']}/content", "/characters/x"):
        answer = await client.get(f"/v1/videos{path}", headers={"authorization": ""})
        assert answer.status_code == 401, path


async def test_ranges_of_content(demo: DemoProcess, client: httpx.AsyncClient) -> None:
    video = await make(client, model="sora-2?polls=1&big=2000")
    early = await client.get(f"/v1/videos/{video['id']}/content")
    await client.get(f"/v1/videos/{video['id']}")
    part = await client.get(f"/v1/videos/{video['id']}/content", headers={"range": "bytes=1990-"})

    assert early.status_code == 404
    assert (part.status_code, len(part.content), part.headers["content-type"]) == (206, 10, "video/mp4")
