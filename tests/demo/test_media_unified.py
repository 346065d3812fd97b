"""The unified API as another platform would answer it."""

import re
from typing import Any

import httpx2 as httpx
import pytest

from tests.demo.process import DemoProcess

VIDEO = "/v2/videos/generations"
CHARACTERS = "/sora/v1/characters"


async def make(client: httpx.AsyncClient, scope: str = "videos", **fields: Any) -> str:
    body = {"model": "demo-video?polls=1", "prompt": "a cat", "size": "64x64", **fields}
    response = await client.post(f"/v2/{scope}/generations", json=body)
    assert response.status_code == 200, response.text
    assert response.json().keys() == {"task_id"}
    return str(response.json()["task_id"])


async def query(client: httpx.AsyncClient, task: str, scope: str = "videos") -> dict[str, Any]:
    body: dict[str, Any] = (await client.get(f"/v2/{scope}/generations/{task}")).json()
    return body


async def test_body_of_a_query(demo: DemoProcess, client: httpx.AsyncClient) -> None:
    task = await make(client, model="demo-video?polls=2&outputs=2", duration="2")
    early, late = await query(client, task), await query(client, task)

    assert re.fullmatch(r"demo-video:\d{10}-[0-9a-f]{10}", task)
    assert early == {
        "task_id": task,
        "platform": "demo",
        "action": "demo-videos",
        "status": "QUEUED",
        "fail_reason": "",
        "submit_time": early["submit_time"],
        "start_time": 0,
        "finish_time": 0,
        "progress": "0%",
        "data": None,
        "search_item": "",
    }
    assert late.keys() == early.keys()
    assert (late["status"], late["progress"]) == ("SUCCESS", "100%")
    assert early["submit_time"] <= late["start_time"] <= late["finish_time"]
    first, second = late["data"]["outputs"]
    assert late["data"]["output"] == first == f"{demo.url}/_demo/files/{task}/1.mp4"
    assert (await client.get(first)).content != (await client.get(second)).content


@pytest.mark.parametrize(
    ("scope", "content_type", "start"),
    [("images", "image/png", b"\x89PNG"), ("videos", "video/mp4", b"\0\0\0"), ("audio", "audio/wav", b"RIFF")],
)
async def test_scopes(
    demo: DemoProcess, client: httpx.AsyncClient, scope: str, content_type: str, start: bytes
) -> None:
    task = await make(client, scope)
    file = await client.get((await query(client, task, scope))["data"]["output"])

    assert file.headers["content-type"] == content_type
    assert file.content.startswith(start)
    assert (await client.get(f"/v2/{'audio' if scope == 'videos' else 'videos'}/generations/{task}")).status_code == 404


async def test_failure(demo: DemoProcess, client: httpx.AsyncClient) -> None:
    body = await query(client, await make(client, model="demo-video?polls=1&fail=no+cats+here"))

    assert (body["status"], body["fail_reason"], body["progress"]) == ("FAILURE", "no cats here", "100%")
    assert body["data"] is None


async def test_produced_length(demo: DemoProcess, client: httpx.AsyncClient) -> None:
    task = await make(client, "audio", model="demo-audio?polls=1&made_seconds=0.5", duration="3")
    body = await query(client, task, "audio")

    assert len((await client.get(body["data"]["output"])).content) == 44 + 24_000


async def test_cancel(demo: DemoProcess, client: httpx.AsyncClient) -> None:
    task, stubborn = await make(client, model="m?never=1"), await make(client, model="m?never=1&quirk=unstoppable")
    cancelled = await client.delete(f"{VIDEO}/{task}")

    assert (cancelled.status_code, cancelled.json()["status"]) == (200, "FAILURE")
    assert (await query(client, task))["fail_reason"] == "Cancelled."
    assert (await client.delete(f"{VIDEO}/{task}")).status_code == 409
    assert (await client.delete(f"{VIDEO}/{stubborn}")).status_code == 409
    assert (await query(client, stubborn))["status"] == "IN_PROGRESS"
    assert (await client.delete(f"{VIDEO}/none:1")).status_code == 404
    assert demo.control("GET", "studio")["cancels"] == 1


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"prompt": ""}, "prompt"),
        ({"prompt": None}, "prompt"),
        ({"model": None}, "model"),
        ({"duration": "long"}, "duration"),
        ({"duration": 0}, "duration"),
        ({"images": "https://x/a.png"}, "images"),
        ({"videos": [1]}, "videos"),
        ({"n": 0}, "n"),
    ],
)
async def test_bad_requests(demo: DemoProcess, client: httpx.AsyncClient, change: dict[str, Any], param: str) -> None:
    response = await client.post(VIDEO, json={"model": "m", "prompt": "p", **change})

    assert (response.status_code, response.json()["error"]["param"]) == (400, param)
    assert demo.control("GET", "studio")["accepted"] == 0


@pytest.mark.parametrize("path", [VIDEO, CHARACTERS])
async def test_keys_are_asked_for(demo: DemoProcess, client: httpx.AsyncClient, path: str) -> None:
    for key in ("", "Bearer bad-key"):
        response = await client.post(path, json={"model": "m", "prompt": "p"}, headers={"authorization": key})
        assert (response.status_code, response.json()["error"]["code"]) == (401, "invalid_api_key")


async def test_character(demo: DemoProcess, client: httpx.AsyncClient) -> None:
    response = await client.post(CHARACTERS, json={"timestamps": "1,3", "url": "https://example.com/a.mp4"})
    body = response.json()

    assert response.status_code == 200
    assert body.keys() == {"id", "username", "permalink", "profile_picture_url"}
    assert body["id"].startswith("ch_")
    assert (await client.get(body["profile_picture_url"])).headers["content-type"] == "image/png"


async def test_character_of_a_task(demo: DemoProcess, client: httpx.AsyncClient) -> None:
    done, open_ = await make(client), await make(client, model="m?never=1")
    await query(client, done)

    async def status(task: str) -> int:
        # With both, the task counts: the URL is none at all.
        answer = await client.post(CHARACTERS, json={"timestamps": "0.5,2", "from_task": task, "url": 5})
        return answer.status_code

    assert [await status(task) for task in (done, open_, "none")] == [200, 404, 404]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"url": "https://x/a.mp4"}, "timestamps"),
        ({"url": "https://x/a.mp4", "timestamps": "1"}, "timestamps"),
        ({"url": "https://x/a.mp4", "timestamps": "1,1.5"}, "timestamps"),
        ({"url": "https://x/a.mp4", "timestamps": "1,5"}, "timestamps"),
        ({"timestamps": "1,3"}, "url"),
    ],
)
async def test_bad_characters(demo: DemoProcess, client: httpx.AsyncClient, body: dict[str, str], param: str) -> None:
    response = await client.post(CHARACTERS, json=body)

    assert (response.status_code, response.json()["error"]["param"]) == (400, param)


async def test_faults_of_characters(demo: DemoProcess, client: httpx.AsyncClient) -> None:
    demo.script("sora-characters", {"status": 503}, {"fail": "no face in it"})
    body = {"timestamps": "1,3", "url": "https://example.com/a.mp4"}
    answers = [await client.post(CHARACTERS, json=body) for _ in range(3)]

    assert [answer.status_code for answer in answers] == [503, 400, 200]
    assert answers[1].json()["error"]["message"] == "no face in it"


async def test_the_journal_has_it_all(demo: DemoProcess, client: httpx.AsyncClient) -> None:
    task = await make(client, watermark=True)
    await query(client, task)
    await client.get(f"/_demo/files/{task}/1.mp4?x=1")

    entries = demo.settled()
    assert [(entry["method"], entry["path"], entry["query"]) for entry in entries] == [
        ("POST", VIDEO, ""),
        ("GET", f"{VIDEO}/{task}", ""),
        ("GET", f"/_demo/files/{task}/1.mp4", "x=1"),
    ]
    assert entries[0]["body"]["watermark"] is True
