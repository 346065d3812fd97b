"""The demo's Gemini and Vertex AI over HTTP: by the adapters of the real ones, and by hand where they are strict."""

from __future__ import annotations

import itertools
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any

import httpx2 as httpx
import orjson
import pytest

from app.core.media import Attachment, Job, Scope, Status
from app.errors import UpstreamError
from app.providers import discover
from app.providers.media import Call, Done, Failed, Handle, Media, Outcome, Output, Reply, Running, Site
from app.providers.vertex.account import ServiceAccount
from tests.demo.process import DemoProcess

PNG = Attachment(content_type="image/png", data=b"\x89PNG-demo")
MP4 = Attachment(content_type="video/mp4", data=b"mp4-demo")
MOST_POLLS = 20
MODEL = "veo-3.1-generate-001"


@dataclass(frozen=True, slots=True)
class Executor:
    """Makes the calls that an adapter describes, and follows a task to its end."""

    http: httpx.AsyncClient
    media: Media
    site: Site
    headers: dict[str, str]

    async def call(self, call: Call) -> Reply:
        assert call.path.startswith("/"), "no call leaves the channel's origin"
        headers = {**self.headers, **call.headers}
        body: dict[str, Any] = {} if call.json is None else {"content": orjson.dumps(call.json)}
        if call.json is not None:
            headers["content-type"] = "application/json"
        response = await self.http.request(call.method, self.site.base_url + call.path, headers=headers, **body)
        return Reply(response.status_code, dict(response.headers), response.content)

    async def submit(self, job: Job, model: str) -> Outcome:
        self.media.check(job, model)
        return self.media.read_submitted(job, await self.call(self.media.submit(job, model, "key", self.site)))

    async def poll(self, running: Running, scope: Scope = Scope.VIDEOS) -> Outcome:
        handle = Handle(running.id, running.memo, scope, "a-model")
        return self.media.read_polled(handle, await self.call(self.media.poll(handle, self.site)))

    async def run(self, job: Job, model: str) -> tuple[Outcome, list[Status]]:
        """The end of it, and the states on the way."""
        outcome = await self.submit(job, model)
        seen: list[Status] = []
        for _ in range(MOST_POLLS):
            if not isinstance(outcome, Running):
                return outcome, seen
            seen.append(outcome.status)
            outcome = await self.poll(outcome)
        raise AssertionError("it never ended")

    async def load(self, output: Output) -> bytes:
        if output.data is not None:
            return output.data
        assert output.call is not None
        reply = await self.call(output.call)
        assert reply.status == 200
        return reply.body


def media_of(name: str) -> Media:
    media = discover()[name].media
    assert media is not None
    return media


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(timeout=10) as http:
        yield http


@pytest.fixture
def gemini(http: httpx.AsyncClient, demo: DemoProcess) -> Executor:
    return Executor(http, media_of("gemini"), Site(demo.url), {"x-goog-api-key": "AIza-test"})


async def ask_for_token(
    http: httpx.AsyncClient, demo: DemoProcess, now: float, query: str = ""
) -> tuple[Call, httpx.Response]:
    """The trade of a key for a token: the call, and its answer."""
    account = (await http.get(f"{demo.url}/_demo/google/account{query}")).text
    call = ServiceAccount().exchange(account, now)
    return call, await http.post(call.path, data=dict(call.urlencoded or {}))


@pytest.fixture
async def vertex(http: httpx.AsyncClient, demo: DemoProcess) -> Executor:
    _, response = await ask_for_token(http, demo, time.time())
    token, seconds = ServiceAccount().read(Reply(response.status_code, dict(response.headers), response.content))
    assert seconds == 3600
    site = Site(demo.url, {"project": "demo-project", "location": "us-central1"})
    return Executor(http, media_of("vertex"), site, {"authorization": f"Bearer {token}"})


def job(scope: Scope = Scope.VIDEOS, model: str = "veo3.1", **fields: Any) -> Job:
    return Job(scope, model, "a cat on a roof", **fields)


def is_mp4(data: bytes) -> bool:
    return data[4:8] == b"ftyp"


async def test_gemini_makes_a_video_through_every_status(gemini: Executor) -> None:
    outcome, seen = await gemini.run(job(seconds=4, aspect_ratio="9:16", hd=True), "omni?polls=3&quirk=processing")
    assert isinstance(outcome, Done)
    # The interaction, then its file, which is processed once.
    assert [status for status, _ in itertools.groupby(seen)] == [Status.QUEUED, Status.IN_PROGRESS]
    assert outcome.measured.videos == 1
    assert outcome.measured.output_tokens == 4 * 5792
    assert is_mp4(await gemini.load(outcome.outputs[0]))


@pytest.mark.parametrize("quirk", ["inline", "shorthand"])
async def test_gemini_videos_in_other_places(gemini: Executor, quirk: str) -> None:
    outcome, _ = await gemini.run(job(), f"omni?polls=1&tokens=7&quirk={quirk}")
    assert isinstance(outcome, Done)
    assert outcome.measured.output_tokens == 7
    assert is_mp4(await gemini.load(outcome.outputs[0]))


@pytest.mark.parametrize(
    "wish",
    [
        {"images": (PNG,)},
        {"images": (PNG, PNG)},
        {"images": (PNG, PNG, PNG)},
        {"videos": (MP4,)},
        {"videos": (MP4,), "images": (PNG,)},
        {"resolution": "4k", "extra": {"seed": 7}},
        {"size": "1920x1080"},
    ],
)
async def test_gemini_takes_all_that_the_adapter_sends(gemini: Executor, wish: dict[str, Any]) -> None:
    assert isinstance(await gemini.submit(job(**wish), "omni?polls=2"), Running)


async def test_gemini_without_a_video_has_failed(gemini: Executor) -> None:
    outcome, _ = await gemini.run(job(), "omni?polls=1&outputs=0")
    assert outcome == Failed("I made no video.")


async def test_gemini_fails_in_its_own_words(gemini: Executor) -> None:
    outcome, _ = await gemini.run(job(), "omni?polls=2&fail=Not+that+cat.")
    assert outcome == Failed("Not that cat.")


@pytest.mark.parametrize("status", ["incomplete", "budget_exceeded", "requires_action", "requires_continuation"])
async def test_gemini_ends_in_many_ways(gemini: Executor, status: str) -> None:
    outcome, _ = await gemini.run(job(), f"omni?polls=1&fail=it&quirk={status}")
    assert isinstance(outcome, Failed)


async def test_gemini_is_cancelled(gemini: Executor) -> None:
    running = await gemini.submit(job(), "omni?never=1")
    assert isinstance(running, Running)
    call = gemini.media.cancel(Handle(running.id, running.memo, Scope.VIDEOS, "omni"), gemini.site)
    assert call is not None
    assert (await gemini.call(call)).status == 200
    assert await gemini.poll(running) == Failed("The task was cancelled.", "task_cancelled")


async def test_gemini_poll_faults_are_no_verdict(gemini: Executor) -> None:
    running = await gemini.submit(job(), "omni?polls=1&poll_faults=1")
    assert isinstance(running, Running)
    with pytest.raises(UpstreamError):
        await gemini.poll(running)
    assert await gemini.poll(running) != running


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [({}, 403, "upstream_error"), ({"x-goog-api-key": "a-bad-one"}, 400, "upstream_refused_credentials")],
)
async def test_gemini_wants_its_key(gemini: Executor, headers: dict[str, str], status: int, code: str) -> None:
    stranger = replace(gemini, headers=headers)
    for scope in (Scope.VIDEOS, Scope.IMAGES):
        with pytest.raises(UpstreamError) as caught:
            await stranger.submit(job(scope), "omni")
        assert (caught.value.upstream_status, caught.value.code, caught.value.retryable) == (status, code, True)
    for path in ("interactions/v1_x", "files/x", "files/x:download?alt=media"):
        assert (await stranger.call(Call("GET", f"/v1beta/{path}"))).status == status


GOOD_VIDEO: dict[str, Any] = {"model": "omni", "input": "a cat", "response_format": {"type": "video"}}
GOOD_IMAGE: dict[str, Any] = {
    "contents": [{"role": "user", "parts": [{"text": "a cat"}]}],
    "generationConfig": {"responseModalities": ["IMAGE"]},
}


@pytest.mark.parametrize(
    ("path", "body", "named"),
    [
        ("interactions", {**GOOD_VIDEO, "prompt": "x"}, "prompt"),
        ("interactions", {"input": "a", "response_format": {"type": "video"}}, "model"),
        ("interactions", {**GOOD_VIDEO, "response_format": {"type": "video", "aspect_ratio": "1:1"}}, "aspect_ratio"),
        ("interactions", {**GOOD_VIDEO, "response_format": {"type": "video", "duration": 8}}, "duration"),
        ("interactions", {**GOOD_VIDEO, "response_format": {"type": "video", "duration": "25s"}}, "duration"),
        ("interactions", {**GOOD_VIDEO, "input": [{"type": "image", "data": "%", "mime_type": "image/png"}]}, "Base64"),
        ("interactions", {**GOOD_VIDEO, "input": [{"type": "image", "mime_type": "image/png"}]}, "uri"),
        ("interactions", {**GOOD_VIDEO, "generation_config": {"video_config": {"task": "edit"}}}, "edit"),
        ("interactions", {**GOOD_VIDEO, "background": True, "store": False}, "store"),
        ("models/nano:generateContent", {**GOOD_IMAGE, "prompt": "x"}, "prompt"),
        (
            "models/nano:generateContent",
            {**GOOD_IMAGE, "generationConfig": {"responseModalities": ["IMAGE"], "imageConfig": {"imageSize": "2k"}}},
            "imageSize",
        ),
    ],
)
async def test_gemini_is_strict(gemini: Executor, path: str, body: dict[str, Any], named: str) -> None:
    reply = await gemini.call(Call("POST", f"/v1beta/{path}", json=body))
    error = orjson.loads(reply.body)["error"]
    assert (reply.status, error["code"], error["status"]) == (400, 400, "INVALID_ARGUMENT")
    assert named in error["message"]


async def test_gemini_makes_an_image_at_once(gemini: Executor) -> None:
    wanted = job(Scope.IMAGES, images=(PNG,), aspect_ratio="4:3", resolution="2k", extra={"seed": 1})
    outcome = await gemini.submit(wanted, "nano?tokens=1120&quirk=thought")
    assert isinstance(outcome, Done)
    (output,) = outcome.outputs
    assert (await gemini.load(output)).startswith(b"\x89PNG")
    assert (outcome.measured.images, outcome.measured.output_tokens) == (1, 1120)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("fail=Too+much+cat.", "The upstream made no image (IMAGE_SAFETY). Too much cat."),
        ("fail=x&quirk=prompt", "The upstream blocked the prompt (PROHIBITED_CONTENT)."),
    ],
)
async def test_gemini_withholds_an_image(gemini: Executor, options: str, words: str) -> None:
    assert await gemini.submit(job(Scope.IMAGES), f"nano?{options}") == Failed(words, "content_filtered")


async def test_vertex_makes_videos_through_every_status(vertex: Executor) -> None:
    outcome, seen = await vertex.run(job(seconds=4, count=2, extra={"enable_upsample": True}), f"{MODEL}?polls=3")
    assert isinstance(outcome, Done)
    assert seen == [Status.SUBMITTED, Status.IN_PROGRESS, Status.IN_PROGRESS]
    assert (outcome.measured.videos, outcome.measured.milliseconds) == (2, 8000)
    made = [await vertex.load(output) for output in outcome.outputs]
    assert all(map(is_mp4, made))
    assert made[0] != made[1]


@pytest.mark.parametrize(
    "wish",
    [
        {"images": (PNG,)},
        {"images": (PNG, PNG)},
        {"images": (PNG, PNG, PNG)},
        {"model": "veo2-fast-components", "images": (PNG, PNG)},
        {"videos": (MP4,)},
        {"resolution": "4K", "aspect_ratio": "9:16"},
        {"extra": {"enhance_prompt": True, "generate_audio": False, "negative_prompt": "dogs", "seed": 7}},
        {"extra": {"person_generation": "allow_all", "compression_quality": "lossless", "resize_mode": "pad"}},
    ],
)
async def test_vertex_takes_all_that_the_adapter_sends(vertex: Executor, wish: dict[str, Any]) -> None:
    assert isinstance(await vertex.submit(job(**wish), f"{MODEL}?polls=2"), Running)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("fail=Violence.&quirk=filtered", Failed("Violence.", "content_filtered")),
        ("fail=No+such+cat.", Failed("No such cat.")),
        ("fail=Our+project+123&fail_code=7", Failed("The upstream failed (7).")),
        ("outputs=0", Failed("The upstream's filters withheld the result.", "content_filtered")),
    ],
)
async def test_vertex_fails(vertex: Executor, options: str, expected: Failed) -> None:
    outcome, _ = await vertex.run(job(), f"{MODEL}?polls=1&{options}")
    assert outcome == expected


async def test_vertex_withholds_some(vertex: Executor) -> None:
    outcome, _ = await vertex.run(job(count=3), f"{MODEL}?polls=1&outputs=2")
    assert isinstance(outcome, Done)
    assert (len(outcome.outputs), outcome.measured.milliseconds) == (2, 16000)


GOOD_VEO: dict[str, Any] = {"instances": [{"prompt": "a cat"}], "parameters": {"sampleCount": 1}}
PLACE = "/v1beta1/projects/p/locations/l/publishers/google/models/veo"
STILL = {"bytesBase64Encoded": "cG5n", "mimeType": "image/png"}


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({**GOOD_VEO, "prompt": "x"}, "prompt"),
        ({**GOOD_VEO, "parameters": {"durationSeconds": "8"}}, "durationSeconds"),
        ({**GOOD_VEO, "parameters": {"aspect_ratio": "16:9"}}, "aspect_ratio"),
        ({**GOOD_VEO, "parameters": {"sampleCount": 5}}, "sampleCount"),
        ({"instances": []}, "instances"),
        ({"instances": [{"prompt": "x", "lastFrame": STILL}]}, "lastFrame"),
        ({"instances": [{"prompt": "x", "image": {"mimeType": "image/png"}}]}, "gcsUri"),
        ({"instances": [{"prompt": "x", "image": {"bytesBase64Encoded": "cG5n"}}]}, "mimeType"),
        (
            {
                "instances": [
                    {"prompt": "x", "image": STILL, "referenceImages": [{"image": STILL, "referenceType": "ASSET"}]}
                ]
            },
            "referenceImages",
        ),
    ],
)
async def test_vertex_is_strict(vertex: Executor, body: dict[str, Any], named: str) -> None:
    reply = await vertex.call(Call("POST", f"{PLACE}:predictLongRunning", json=body))
    error = orjson.loads(reply.body)["error"]
    assert (reply.status, error["status"]) == (400, "INVALID_ARGUMENT")
    assert named in error["message"]


async def test_an_operation_belongs_to_its_model(vertex: Executor) -> None:
    name = {"operationName": "projects/p/locations/l/publishers/google/models/other/operations/1"}
    assert (await vertex.call(Call("POST", f"{PLACE}:fetchPredictOperation", json=name))).status == 400


@pytest.mark.parametrize("headers", [{}, {"authorization": "Bearer ya29.made-up"}, {"x-goog-api-key": "AIza-test"}])
async def test_vertex_wants_a_token(vertex: Executor, headers: dict[str, str]) -> None:
    with pytest.raises(UpstreamError) as caught:
        await replace(vertex, headers=headers).submit(job(), MODEL)
    assert (caught.value.upstream_status, caught.value.retryable) == (401, True)


async def test_a_token_expires(http: httpx.AsyncClient, demo: DemoProcess) -> None:
    """Good for no second at all: so short that nothing has to be waited for."""
    _, response = await ask_for_token(http, demo, time.time(), "?expires_in=0")
    assert response.json()["expires_in"] == 0
    headers = {"authorization": f"Bearer {response.json()['access_token']}"}
    refused = await http.post(f"{demo.url}{PLACE}:predictLongRunning", json=GOOD_VEO, headers=headers)
    assert refused.status_code == 401
    assert refused.json()["error"]["details"][0]["reason"] == "ACCESS_TOKEN_EXPIRED"


@pytest.mark.parametrize("hours", [-2, 2])
async def test_an_assertion_is_of_now(http: httpx.AsyncClient, demo: DemoProcess, hours: int) -> None:
    _, response = await ask_for_token(http, demo, time.time() + hours * 3600)
    assert (response.status_code, response.json()["error"]) == (400, "invalid_grant")
    with pytest.raises(UpstreamError):
        ServiceAccount().read(Reply(response.status_code, dict(response.headers), response.content))


async def test_an_assertion_is_the_accounts_own(http: httpx.AsyncClient, demo: DemoProcess) -> None:
    call, response = await ask_for_token(http, demo, time.time())
    assert response.status_code == 200
    good = dict(call.urlencoded or {})
    head, claims, signature = good["assertion"].split(".")
    altered = claims[:-4] + ("AAAA" if claims[-4:] != "AAAA" else "BBBB")
    forged = [
        f"{head}.{claims}.{signature[:-8]}AAAAAAAA",
        f"{head}.{altered}.{signature}",
        f"e30.{claims}.{signature}",
        f"{head}.{claims}",
        "",
    ]
    for assertion in forged:
        answer = await http.post(call.path, data={**good, "assertion": assertion})
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant"), assertion
    other = await http.post(f"{call.path}?expires_in=60", data=good)
    assert "claims" in other.json()["error_description"], "signed for another address"
    assert (await http.post(call.path, json=good)).json()["error"] == "invalid_request"
    assert (await http.post(call.path, data={**good, "grant_type": "x"})).json()["error"] == "unsupported_grant_type"
