"""The contract's example flows by a plain HTTP client that knows nothing else, against every kind of upstream."""

from __future__ import annotations

import base64
import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import httpx2
import pytest

from tests.demo.process import DemoProcess
from tests.gateway import Gateway, Operator
from tests.system.media_upstreams import OK, UPSTREAMS, Upstream

ORDER = ["NOT_START", "SUBMITTED", "QUEUED", "IN_PROGRESS", "SUCCESS", "FAILURE"]
PNG = (
    "data:image/png;base64,"
    + base64.b64encode(
        base64.b64decode(
            "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
        )
    ).decode()
)
STORYBOARD = "Shot 1:\nduration: 4sec\nScene: A cat wakes up.\n\nShot 2:\nduration: 6sec\nScene: It rides away."
MAGIC = {"videos": (b"ftyp", 4), "images": (b"PNG", 1), "audio": (b"RIFF", 0)}
PRICE = {"per_video": "0.1", "per_image": "0.1", "per_kchar": "0.1"}
KINDS = {"videos": "video", "images": "image", "audio": "audio"}
REASON = "The prompt is not allowed"
PATIENCE = 40.0

pytestmark = pytest.mark.xdist_group("media-contract")


class Client:
    """What section 4 of the contract says, by the letter."""

    def __init__(self, url: str, key: str) -> None:
        self.http = httpx2.Client(base_url=url, headers={"authorization": f"Bearer {key}"}, timeout=30)
        self.seen: dict[str, list[str]] = {}

    def submit(self, scope: str, body: dict[str, Any]) -> httpx2.Response:
        return self.http.post(f"/v2/{scope}/generations", json=body)

    def query(self, scope: str, task_id: str) -> dict[str, Any]:
        assert re.fullmatch(r"[A-Za-z0-9_:-]+", task_id)
        answer = self.http.get(f"/v2/{scope}/generations/{task_id}")
        assert answer.status_code == 200
        task: dict[str, Any] = answer.json()
        assert list(task) == [
            "task_id", "platform", "action", "status", "fail_reason", "submit_time", "start_time", "finish_time",
            "progress", "data", "search_item",
        ]  # fmt: skip
        assert (task["task_id"], task["search_item"]) == (task_id, "")
        assert re.fullmatch(r"\d{1,3}%", task["progress"])
        assert all(isinstance(task[name], int) for name in ("submit_time", "start_time", "finish_time"))
        states = self.seen.setdefault(task_id, [])
        if not states or states[-1] != task["status"]:
            states.append(task["status"])
        assert states == sorted(states, key=ORDER.index), "it moved back"
        final = task["status"] in ("SUCCESS", "FAILURE")
        assert (task["finish_time"] > 0) == final
        if final:
            assert task["progress"] == "100%"
        if task["status"] == "FAILURE":
            assert task["data"] is None
            assert task["fail_reason"]
        if task["status"] == "SUCCESS":
            assert task["data"]["output"] == task["data"]["outputs"][0]
            assert task["fail_reason"] == ""
        return task

    def wait(self, scope: str, task_id: str) -> dict[str, Any]:
        deadline = time.monotonic() + PATIENCE
        while (task := self.query(scope, task_id))["status"] not in ("SUCCESS", "FAILURE"):
            assert time.monotonic() < deadline, task
            time.sleep(0.2)
        return task


@pytest.fixture(scope="module")
def operator(work_dir: Any, migrated_database: Callable[[], str], demo: DemoProcess) -> Iterator[Operator]:
    """Of a gateway that may fetch from loopback, where the test's clips are."""
    folder = work_dir / "contract"
    folder.mkdir()
    gateway = Gateway(migrated_database(), folder, {"RELAYGATE_ALLOWED_PRIVATE_NETWORKS": "127.0.0.0/8"}).start()
    made = Operator(gateway, demo.url)
    yield made
    made.close()
    assert gateway.stop() == 0, gateway.log


@pytest.fixture(scope="module")
def clip(demo: DemoProcess) -> str:
    """The public address of a video."""
    headers = {"authorization": "Bearer x"}
    body = {"model": "demo-video?seconds=0", "prompt": "A clip", "duration": 3}
    task_id = httpx2.post(f"{demo.url}/v2/videos/generations", json=body, headers=headers).json()["task_id"]
    url: str = httpx2.get(f"{demo.url}/v2/videos/generations/{task_id}", headers=headers).json()["data"]["output"]
    return url


def bodies(upstream: Upstream, models: dict[str, str], clip: str) -> dict[str, dict[str, Any]]:
    """The flows of a scope: what is submitted."""
    scope, plain = upstream.scope, models[""]
    flows: dict[str, dict[str, Any]] = {
        "text": {"model": plain, "prompt": "A cat"},
        "two": {"model": models["two"], "prompt": "A cat", "n": 2},
        "failure": {"model": models["fails"], "prompt": "A cat"},
    }
    if scope != "audio":
        flows["image"] = {"model": plain, "prompt": "It moves", "images": [PNG]}
    if scope == "videos":
        flows["video"] = {"model": models["edit"], "prompt": "At night", "videos": [clip]}
        flows["storyboard"] = {"model": plain, "prompt": STORYBOARD, "duration": "10"}
        character = {"character_url": clip, "character_timestamps": "1,3"}
        flows["cameo"] = {"model": plain, "prompt": "It dances", **character}
    return {name: {**upstream.fields, **body} for name, body in flows.items()}


def serve(operator: Operator, upstream: Upstream) -> dict[str, str]:
    """Models of this kind's own, by what they are for, and their only channel."""
    scope = upstream.scope
    scripts = {"": "seconds=1", "two": "seconds=0&outputs=2", "fails": f"seconds=0&fail={REASON.replace(' ', '+')}"}
    if scope == "videos":
        scripts["edit"] = "seconds=0"
    models = {use: f"{upstream}-{use}" for use in scripts}
    if scope == "videos":
        # The rules of the family hold for its dated versions as well.
        place = UPSTREAMS.index(upstream)
        models[""] = f"sora-2-2025-12-{place + 10}" if place else "sora-2"
    for name in models.values():
        operator.call("PUT", f"/models/{name}", json={"kind": KINDS[scope], "price": PRICE})
    operator.call(
        "POST",
        "/channels",
        json={
            "name": str(upstream),
            "provider": upstream.provider,
            "base_url": operator.demo_url + upstream.path,
            "api_key": upstream.api_key(operator.demo_url),
            "models": [
                {"model": models[use], "upstream_model": f"{upstream.model}?{script}"}
                for use, script in scripts.items()
            ],
            "options": dict(upstream.options),
        },
    )
    return models


@dataclass(frozen=True)
class Flows:
    """What was asked for at one kind of upstream: a task's id, or the answer's refusal."""

    client: Client
    tasks: dict[str, str]
    refused: dict[str, str]


def begin(operator: Operator, upstream: Upstream, clip: str) -> Flows:
    flows = Flows(Client(operator.gateway.url, operator.customer("10").key), {}, {})
    for flow, body in bodies(upstream, serve(operator, upstream), clip).items():
        answer = flows.client.submit(upstream.scope, body)
        if answer.status_code == 200:
            flows.tasks[flow] = answer.json()["task_id"]
        else:
            assert answer.status_code == 400, (flow, answer.text)
            flows.refused[flow] = answer.json()["error"]["param"]
    return flows


@pytest.fixture(scope="module")
def begun(operator: Operator, clip: str, request: pytest.FixtureRequest) -> Iterator[dict[str, Flows]]:
    """All kinds that are asked for in this run at work at once: most of the time is their pauses between polls."""
    chosen = {item.name for item in request.session.items if item.path == request.path}
    upstreams = [upstream for upstream in UPSTREAMS if f"test_the_contracts_flows[{upstream}]" in chosen]
    with ThreadPoolExecutor(4) as threads:
        flows = dict(
            zip(
                map(str, upstreams),
                threads.map(lambda upstream: begin(operator, upstream, clip), upstreams),
                strict=True,
            )
        )
    yield flows
    for one in flows.values():
        one.client.http.close()


@pytest.mark.parametrize(
    "upstream", [pytest.param(one, id=str(one), marks=[pytest.mark.long] if one.long else []) for one in UPSTREAMS]
)
def test_the_contracts_flows(operator: Operator, begun: dict[str, Flows], upstream: Upstream) -> None:
    flows = begun[str(upstream)]
    found = dict(flows.refused)
    for flow, task_id in flows.tasks.items():
        task = flows.client.wait(upstream.scope, task_id)
        found[flow] = task["status"] if task["status"] == OK else f"FAILURE: {task['fail_reason']}"
        if task["status"] == OK:
            assert len(task["data"]["outputs"]) == (2 if flow == "two" else 1), flow
            for url in task["data"]["outputs"]:
                head, place = MAGIC[upstream.scope]
                data = httpx2.get(url).content
                assert data[place : place + len(head)] == head, (flow, data[:16])
    assert found.pop("failure").endswith(REASON)
    assert found == dict(upstream.flows)
    assert operator.audit()["ok"]


@pytest.mark.long
def test_every_status_is_passed_through_in_order(operator: Operator) -> None:
    operator.call("PUT", "/models/slow", json={"kind": "video", "price": PRICE})
    operator.channel("slow", "demo-video?polls=3", provider="demo")
    client = Client(operator.gateway.url, operator.customer("10").key)
    task_id = client.submit("videos", {"model": "slow", "prompt": "A cat", "duration": "10"}).json()["task_id"]
    assert client.wait("videos", task_id)["status"] == OK
    seen = client.seen[task_id]
    # What is written and sent on within milliseconds may be over before the first look.
    assert seen[-4:] == ["SUBMITTED", "QUEUED", "IN_PROGRESS", "SUCCESS"]
    client.http.close()
