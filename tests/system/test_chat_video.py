"""Videos through Chat Completions, with OpenAI's SDK: progress, link, one task, one entry, whatever the client does."""

from __future__ import annotations

import asyncio
import base64
import json
import re
from collections.abc import AsyncIterator, Callable
from decimal import Decimal
from typing import Any
from uuid import uuid4

import httpx2
import openai
import pytest

from app.media.chat.cues import FAMILY
from tests.gateway import Customer, Gateway, Operator
from tests.media.studio import Studio, film_of, open_studio
from tests.relay.calls import Client, authorization, connect, entries, raw_request

LINK = re.compile(r"^✅ 视频生成成功，\[点击这里\]\((\S+)\) 查看视频~~~$", re.MULTILINE)
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
PRICE = {"per_video": "0.10", "variants": [{"when": {"duration": "15"}, "per_video": "0.15"}]}
PATIENCE = 20.0


@pytest.fixture(scope="module")
async def studio(operator: Operator) -> AsyncIterator[Studio]:
    """The upstream of the family's model, and of another one."""
    async with open_studio() as (studio, base_url):
        await asyncio.to_thread(_set_up, operator, base_url)
        yield studio
        for name in (FAMILY, f"{FAMILY}-15s"):
            await asyncio.to_thread(operator.call, "DELETE", f"/models/{name}")


def _set_up(operator: Operator, base_url: str) -> None:
    operator.call("PUT", f"/models/{FAMILY}", json={"kind": "video", "price": PRICE})
    operator.call("PUT", "/models/any-video", json={"kind": "video", "price": PRICE})
    operator.call("PUT", "/models/any-picture", json={"kind": "image", "free": True})
    operator.call("PUT", f"/models/{FAMILY}-15s", json={"kind": "video", "price": PRICE})
    names = [FAMILY, f"{FAMILY}-15s", "any-video", "any-picture"]
    models = [{"model": name, "upstream_model": f"studio-{name}"} for name in names]
    operator.channel("", "", provider="openai_videos", base_url=base_url, models=models)


@pytest.fixture
async def customer(operator: Operator) -> Customer:
    return await asyncio.to_thread(operator.customer)


@pytest.fixture
def prompt() -> str:
    """One that no other test uses."""
    return f"a cat {uuid4().hex}"


@pytest.fixture
async def client(gateway: Gateway) -> AsyncIterator[Client]:
    made = Client(gateway)
    yield made
    await made.close()


@pytest.fixture
async def sdk(gateway: Gateway, customer: Customer) -> AsyncIterator[openai.AsyncOpenAI]:
    """With the retries that it makes unless told otherwise."""
    http = httpx2.AsyncClient()
    async with openai.AsyncOpenAI(base_url=gateway.base_url, api_key=customer.key, http_client=http) as made:
        yield made


def asking(prompt: str) -> list[Any]:
    return [{"role": "user", "content": prompt}]


async def until(condition: Callable[[], Any]) -> Any:
    """What the condition says, once it says something."""
    async with asyncio.timeout(PATIENCE):
        while not (found := await asyncio.to_thread(condition)):
            await asyncio.sleep(0.02)
    return found


async def assert_video(link: str, id: str) -> None:
    async with httpx2.AsyncClient() as http:
        response = await http.get(link)
    assert (response.status_code, response.headers["content-type"]) == (200, "video/mp4")
    assert response.content == film_of(id)


async def query(gateway: Gateway, customer: Customer, task_id: str) -> dict[str, Any]:
    async with httpx2.AsyncClient(headers=customer.headers) as http:
        response = await http.get(f"{gateway.url}/v2/videos/generations/{task_id}")
    assert response.status_code == 200, response.text
    body: dict[str, Any] = response.json()
    return body


async def test_a_stream_tells_of_progress_and_links_to_the_video(
    studio: Studio, sdk: openai.AsyncOpenAI, operator: Operator, customer: Customer, prompt: str
) -> None:
    stream = await sdk.chat.completions.create(
        model=f"{FAMILY}-portrait-15s",
        messages=asking(f"（高清）{prompt}"),
        stream=True,
        stream_options={"include_usage": True},
    )
    task_id = stream.response.headers["x-relaygate-task-id"]
    job = await studio.job(prompt)
    chunks = []
    text = ""
    async for chunk in stream:
        chunks.append(chunk)
        if chunk.choices:
            text += chunk.choices[0].delta.content or ""
        if "排队中" in text and job.video["status"] == "queued":
            studio.move(prompt, "in_progress", 45)
        if "45%" in text and job.video["status"] == "in_progress":
            studio.move(prompt, "completed", 100)
    assert text.split("\n\n")[:-1] == [f"📝 任务已提交：{task_id}", "⏳ 排队中…", "🎬 生成中 45%"]
    (link,) = LINK.findall(text)
    assert text.endswith(f"✅ 视频生成成功，[点击这里]({link}) 查看视频~~~")
    await assert_video(link, job.video["id"])
    assert job.fields["model"] == f"studio-{FAMILY}"
    assert (job.fields["seconds"], job.fields["size"]) == ("15", "1024x1792")
    assert {(chunk.id, chunk.created, chunk.model) for chunk in chunks} == {
        (chunks[0].id, chunks[0].created, f"{FAMILY}-portrait-15s")
    }
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [chunk.choices[0].finish_reason for chunk in chunks[:-1]] == [None] * (len(chunks) - 2) + ["stop"]
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.total_tokens == 0
    assert [chunk.usage for chunk in chunks[:-1]] == [None] * (len(chunks) - 1)
    (entry,) = await entries(operator, customer, 1)
    assert (entry["status"], Decimal(entry["charged"]), entry["usage"]["videos"]) == ("settled", Decimal("0.15"), 1)
    assert f"req_{entry['request_id'].replace('-', '')}".endswith(chunks[0].id.rpartition("_")[2])


async def test_a_whole_answer_waits_for_the_video(
    studio: Studio, sdk: openai.AsyncOpenAI, operator: Operator, customer: Customer, prompt: str
) -> None:
    data = "data:image/png;base64," + base64.b64encode(PNG).decode()
    content = [{"type": "text", "text": f"横屏，{prompt}"}, {"type": "image_url", "image_url": {"url": data}}]
    messages: Any = [{"role": "system", "content": "You are a poet."}, {"role": "user", "content": content}]
    asked = asyncio.create_task(sdk.chat.completions.create(model="any-video", messages=messages, temperature=0.5))
    job = await studio.job(prompt)
    assert job.files == [PNG]
    assert (job.fields["model"], job.fields["size"], "seconds" in job.fields) == ("studio-any-video", "1280x720", False)
    studio.move(prompt, "completed", 100)
    answer = await asked
    (link,) = LINK.findall(answer.choices[0].message.content or "")
    await assert_video(link, job.video["id"])
    assert (answer.object, answer.model, answer.choices[0].finish_reason) == ("chat.completion", "any-video", "stop")
    assert answer.usage is not None
    assert answer.usage.total_tokens == 0
    (entry,) = await entries(operator, customer, 1)
    assert (entry["status"], Decimal(entry["charged"])) == ("settled", Decimal("0.10"))


@pytest.mark.parametrize(("code", "status"), [("video_generation_failed", 502), ("moderation_blocked", 400)])
async def test_a_failure_is_an_error_and_costs_nothing(
    studio: Studio, client: Client, operator: Operator, customer: Customer, prompt: str, code: str, status: int
) -> None:
    told = {"code": code, "message": "No cats today."}
    prompts = (f"{prompt} whole", f"{prompt} streamed")
    asked = [
        asyncio.create_task(client.chat(customer, FAMILY, messages=asking(text), stream=text.endswith("streamed")))
        for text in prompts
    ]
    for text in prompts:
        await studio.job(text)
        studio.move(text, "failed", error=told)
    whole, streamed = await asyncio.gather(*asked)
    assert (whole.status, whole.error["code"], whole.error["message"]) == (status, code, "No cats today.")
    assert whole.headers["x-should-retry"] == "false"
    assert "x-relaygate-task-id" in whole.headers
    assert (streamed.status, streamed.stream_error["code"]) == (200, code)
    assert "[DONE]" not in streamed.events
    released = await entries(operator, customer, 2)
    assert [(entry["status"], entry["charged"]) for entry in released] == [("released", "0")] * 2


async def test_the_sdk_raises_a_failure_and_makes_no_second_video(
    studio: Studio, sdk: openai.AsyncOpenAI, prompt: str
) -> None:
    asked = asyncio.create_task(sdk.chat.completions.create(model=FAMILY, messages=asking(prompt)))
    await studio.job(prompt)
    studio.move(prompt, "failed", error={"code": "internal_error", "message": "Out of film."})
    with pytest.raises(openai.InternalServerError, match="Out of film"):
        await asked
    stream = await sdk.chat.completions.create(model=FAMILY, messages=asking(f"{prompt} 2"), stream=True)
    await studio.job(f"{prompt} 2")
    studio.move(f"{prompt} 2", "failed", error={"code": "internal_error", "message": "Out of film."})
    with pytest.raises(openai.APIError, match="Out of film"):
        async for _ in stream:
            pass
    assert [text for text in studio.submissions if text.startswith(prompt)] == [prompt, f"{prompt} 2"]


@pytest.mark.parametrize("stream", [True, False])
async def test_who_hangs_up_loses_no_video(
    studio: Studio, gateway: Gateway, operator: Operator, customer: Customer, prompt: str, stream: bool
) -> None:
    body = {"model": FAMILY, "messages": asking(prompt), "stream": stream}
    log_start = len(gateway.log)
    async with connect(gateway, raw_request(body, authorization(customer))) as wire:
        if stream:
            assert (await wire.read_head())[0] == 200
            first = json.loads((await wire.read_events(2))[1])["choices"][0]["delta"]["content"]
        job = await studio.job(prompt)

    def hang_up_seen() -> bool:
        lines = [json.loads(line) for line in gateway.log[log_start:].splitlines() if line.startswith("{")]
        return any(line.get("error") == "client_closed_request" for line in lines)

    await until(hang_up_seen)
    studio.move(prompt, "completed", 100)
    (entry,) = await entries(operator, customer, 1)
    assert (entry["status"], Decimal(entry["charged"])) == ("settled", Decimal("0.10"))
    if stream:
        answer = await query(gateway, customer, first.split("\n")[0].removeprefix("📝 任务已提交："))
        assert answer["status"] == "SUCCESS"
        await assert_video(answer["data"]["output"], job.video["id"])
    assert studio.submissions.count(prompt) == 1
    audit = await asyncio.to_thread(operator.audit)
    assert audit["ok"]


async def test_an_idempotency_key_finds_the_same_task(
    studio: Studio, sdk: openai.AsyncOpenAI, operator: Operator, customer: Customer, prompt: str
) -> None:
    headers = {"Idempotency-Key": uuid4().hex}

    async def ask() -> str:
        answer = await sdk.chat.completions.create(model=FAMILY, messages=asking(prompt), extra_headers=headers)
        return answer.choices[0].message.content or ""

    asked = asyncio.create_task(ask())
    await studio.job(prompt)
    again = asyncio.create_task(ask())
    studio.move(prompt, "completed", 100)
    assert LINK.search(await asked)
    assert LINK.search(await again)
    assert LINK.search(await ask())
    assert studio.submissions.count(prompt) == 1
    await entries(operator, customer, 1)


async def test_keys_and_names(studio: Studio, client: Client, operator: Operator, prompt: str) -> None:
    bound = await asyncio.to_thread(operator.customer, models=[FAMILY])
    narrow = await asyncio.to_thread(operator.customer, models=[f"{FAMILY}-hd"])
    poor = await asyncio.to_thread(operator.customer, "0.01")
    refused = [
        (narrow, FAMILY, 403, "model_not_allowed"),
        (narrow, f"{FAMILY}-portrait", 403, "model_not_allowed"),
        (bound, "any-video", 403, "model_not_allowed"),
        (bound, f"{FAMILY}-4k", 404, "model_not_found"),
        (bound, "any-picture", 404, "model_not_found"),
        (bound, f"{FAMILY}-portrait-landscape", 400, "invalid_value"),
        (poor, FAMILY, 429, "insufficient_quota"),
    ]
    for customer, model, status, code in refused:
        answer = await client.chat(customer, model, messages=asking(prompt))
        assert (answer.status, answer.error["code"]) == (status, code), model
    allowed = [(narrow, f"{FAMILY}-hd"), (bound, f"{FAMILY}-hd-portrait")]
    for customer, model in allowed:
        text = f"{prompt} {model}"
        asked = asyncio.create_task(client.chat(customer, model, messages=asking(text), stream=True))
        await studio.job(text)
        studio.move(text, "completed", 100)
        assert LINK.search((await asked).text)


async def test_a_model_of_a_suffixed_name_goes_before(
    studio: Studio, client: Client, customer: Customer, prompt: str
) -> None:
    for model, upstream_model in [(f"{FAMILY}-15s", f"studio-{FAMILY}-15s"), (f"{FAMILY}-15s-hd", f"studio-{FAMILY}")]:
        text = f"{prompt} {model}"
        asked = asyncio.create_task(client.chat(customer, model, messages=asking(text)))
        job = await studio.job(text)
        assert (job.fields["model"], job.fields["seconds"]) == (upstream_model, "15")
        studio.move(text, "completed", 100)
        assert LINK.search((await asked).text)


@pytest.mark.long
async def test_a_silent_stream_shows_signs_of_life(
    studio: Studio, gateway: Gateway, customer: Customer, prompt: str
) -> None:
    body = {"model": FAMILY, "messages": asking(prompt), "stream": True}
    async with connect(gateway, raw_request(body, authorization(customer))) as wire:
        await wire.read_head()
        await wire.read_events(2)
        for _ in range(2):
            line = b""
            while not line.startswith(b":"):
                line = await asyncio.wait_for(wire.reader.readline(), PATIENCE)
                assert not line.startswith(b"data:")
        studio.move(prompt, "completed", 100)
        assert "视频生成成功" in json.loads((await wire.read_events(1))[0])["choices"][0]["delta"]["content"]


async def test_refusals_name_the_field_and_hold_nothing(
    studio: Studio, client: Client, operator: Operator, customer: Customer, prompt: str
) -> None:
    private = [{"type": "text", "text": prompt}, {"type": "image_url", "image_url": {"url": "http://127.0.0.1/x.png"}}]
    bodies: list[tuple[dict[str, Any], str]] = [
        ({"tools": [{"type": "function"}], "messages": asking(prompt)}, "tools"),
        ({"n": 2, "messages": asking(prompt)}, "n"),
        ({"messages": asking("竖屏")}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": private}]}, "messages[0].content[1].image_url"),
    ]
    for fields, param in bodies:
        for stream in (False, True):
            answer = await client.chat(customer, FAMILY, stream=stream, **fields)
            assert (answer.status, answer.error["param"]) == (400, param)
    assert await entries(operator, customer, 0) == []
    assert prompt not in studio.submissions
