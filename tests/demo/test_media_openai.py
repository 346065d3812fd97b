"""What OpenAI's media APIs of the demo have in common: their addresses, the key, strict types, and the journal."""

from typing import Any

import httpx2 as httpx
import pytest

from tests.demo.process import DemoProcess

VIDEO = {"prompt": "a cat", "model": "sora-2?polls=1", "size": "64x64", "seconds": "1"}
IMAGE = {"prompt": "a cat", "size": "64x64"}
SPEECH = {"input": "hello", "model": "tts", "voice": "alloy", "response_format": "wav"}
PICTURE: dict[str, Any] = {"prompt": (None, "p"), "size": (None, "64x64"), "image": ("a.png", b"picture")}
VIDEOS, GENERATIONS, SPEAK = "/v1/videos", "/v1/images/generations", "/v1/audio/speech"


@pytest.mark.parametrize("base", ["/v1", ""])
async def test_both_addresses(demo: DemoProcess, client: httpx.AsyncClient, base: str) -> None:
    video = (await client.post(f"{base}/videos", json=VIDEO)).json()["id"]
    calls: list[tuple[str, str, dict[str, Any]]] = [
        ("GET", "/videos", {}),
        ("GET", f"/videos/{video}", {}),
        ("GET", f"/videos/{video}/content", {}),
        ("POST", f"/videos/{video}/remix", {"json": {"prompt": "a dog"}}),
        ("POST", "/videos/characters", {"files": {"name": (None, "Mittens"), "video": ("a.mp4", b"video")}}),
        ("POST", "/images/generations", {"json": IMAGE}),
        ("POST", "/images/edits", {"files": PICTURE}),
        ("POST", "/audio/speech", {"json": SPEECH}),
        ("DELETE", f"/videos/{video}", {}),
    ]
    answers = [await client.request(method, base + path, **send) for method, path, send in calls]

    assert [answer.status_code for answer in answers] == [200] * len(calls)
    journal = [(entry["method"], entry["path"]) for entry in demo.settled()]
    assert journal == [("POST", f"{base}/videos"), *((method, base + path) for method, path, _ in calls)]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", VIDEOS),
        ("POST", f"{VIDEOS}/characters"),
        ("POST", f"{VIDEOS}/video_x/remix"),
        ("DELETE", f"{VIDEOS}/video_x"),
        ("POST", "/v1/images/edits"),
    ],
)
@pytest.mark.parametrize("key", ["", "Bearer sk-bad"])
async def test_a_key_comes_first(
    demo: DemoProcess, client: httpx.AsyncClient, method: str, path: str, key: str
) -> None:
    answer = await client.request(method, path, headers={"authorization": key})

    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_api_key")
    assert [entry["path"] for entry in demo.settled()] == [path]


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        (VIDEOS, VIDEO | {"prompt": 5}, "prompt"),
        (VIDEOS, VIDEO | {"model": ["sora-2"]}, "model"),
        (VIDEOS, VIDEO | {"seconds": True}, "seconds"),
        (VIDEOS, VIDEO | {"seconds": "nan"}, "seconds"),
        (VIDEOS, VIDEO | {"size": 64}, "size"),
        (VIDEOS, VIDEO | {"input_reference": {"image_url": 5}}, "input_reference"),
        (VIDEOS, VIDEO | {"input_reference": {"image_url": ""}}, "input_reference"),
        (VIDEOS, VIDEO | {"input_reference": {"url": "https://x/a.png"}}, "input_reference"),
        (GENERATIONS, IMAGE | {"prompt": ["p"]}, "prompt"),
        (GENERATIONS, IMAGE | {"n": "2"}, "n"),
        (GENERATIONS, IMAGE | {"n": 1.5}, "n"),
        (GENERATIONS, IMAGE | {"n": True}, "n"),
        (GENERATIONS, IMAGE | {"stream": "yes"}, "stream"),
        (SPEAK, SPEECH | {"input": 5}, "input"),
        (SPEAK, SPEECH | {"voice": {"id": 5}}, "voice"),
        (SPEAK, SPEECH | {"speed": True}, "speed"),
        (SPEAK, SPEECH | {"response_format": 5}, "response_format"),
    ],
)
async def test_types_are_strict(
    demo: DemoProcess, client: httpx.AsyncClient, path: str, body: dict[str, Any], param: str
) -> None:
    answer = await client.post(path, json=body)

    assert answer.status_code == 400, answer.text
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
    assert answer.json()["error"]["param"] == param
    assert demo.control("GET", "studio")["submissions"] == 0


async def test_forms_spell_numbers(demo: DemoProcess, client: httpx.AsyncClient) -> None:
    edited = await client.post("/v1/images/edits", files=PICTURE | {"n": (None, "2")})
    drawn = await client.post(GENERATIONS, files={"prompt": (None, "p")})

    assert (edited.status_code, len(edited.json()["data"])) == (200, 2)
    assert drawn.status_code == 400


async def test_a_video_as_it_goes(demo: DemoProcess, client: httpx.AsyncClient) -> None:
    made = await client.post(VIDEOS, json=VIDEO | {"model": "sora-2?polls=4&poll_after_ms=250"})
    polled = [await client.get(f"{VIDEOS}/{made.json()['id']}") for _ in range(4)]

    assert [(answer.json()["status"], answer.json()["progress"]) for answer in polled] == [
        ("queued", 0),
        ("in_progress", 33),
        ("in_progress", 66),
        ("completed", 100),
    ]
    assert {answer.headers["openai-poll-after-ms"] for answer in polled} == {"250"}
