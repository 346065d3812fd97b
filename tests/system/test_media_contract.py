"""The contract's example flows by a plain HTTP client that knows nothing else, against every kind of upstream."""

from __future__ import annotations

import base64
import re
import time
from collections.abc import Callable, Iterator
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
def operator(work_dir: Any, new_database: Callable[[], str], demo: DemoProcess) -> Iterator[Operator]:
    """Of a gateway that may fetch from loopback, where the test's clips are."""
    folder = work_dir / "contract"
    folder.mkdir()
    gateway = Gateway(new_database(), folder, {"RELAYGATE_ALLOWED_PRIVATE_NETWORKS": "127.0.0.0/8"}).start()
    made = Operator(gateway, demo.url)
    for scope, kind in (("videos", "video"), ("images", "image"), ("audio", "audio")):
        for name in ("sora-2" if scope == "videos" else scope, f"{scope}-two", f"{scope}-fails"):
            made.call("PUT", f"/models/{name}", json={"kind": kind, "price": PRICE})
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


def bodies(upstream: Upstream, clip: str) -> dict[str, dict[str, Any]]:
    """The flows of a scope: what is submitted."""
    scope = upstream.scope
    plain = "sora-2" if scope == "videos" else scope
    flows: dict[str, dict[str, Any]] = {
        "text": {"model": plain, "prompt": "A cat"},
        "two": {"model": f"{scope}-two", "prompt": "A cat", "n": 2},
        "failure": {"model": f"{scope}-fails", "prompt": "A cat"},
    }
    if scope != "audio":
        flows["image"] = {"model": plain, "prompt": "It moves", "images": [PNG]}
    if scope == "videos":
        flows["video"] = {"model": f"{scope}-edit", "prompt": "At night", "videos": [clip]}
        flows["storyboard"] = {"model": plain, "prompt": STORYBOARD, "duration": "10"}
        character = {"character_url": clip, "character_timestamps": "1,3"}
        flows["cameo"] = {"model": plain, "prompt": "It dances", **character}
    return {name: {**upstream.fields, **body} for name, body in flows.items()}


def serve(operator: Operator, upstream: Upstream) -> None:
    """A channel of this kind, the only one, for all the models of its scope."""
    for channel in operator.call("GET", "/channels")["data"]:
        operator.call("DELETE", f"/channels/{channel['id']}")
    scope = upstream.scope
    scripts = {"": "seconds=1", "-two": "seconds=0&outputs=2", "-fails": f"seconds=0&fail={REASON.replace(' ', '+')}"}
    if scope == "videos":
        scripts["-edit"] = "seconds=0"
        operator.call("PUT", "/models/videos-edit", json={"kind": "video", "price": PRICE})
    plain = "sora-2" if scope == "videos" else scope
    models = [
        {"model": f"{scope}{suffix}" if suffix else plain, "upstream_model": f"{upstream.model}?{script}"}
        for suffix, script in scripts.items()
    ]
    operator.call(
        "POST",
        "/channels",
        json={
            "name": str(upstream),
            "provider": upstream.provider,
            "base_url": operator.demo_url + upstream.path,
            "api_key": upstream.api_key(operator.demo_url),
            "models": models,
            "options": dict(upstream.options),
        },
    )


@pytest.mark.parametrize(
    "upstream", [pytest.param(one, id=str(one), marks=[pytest.mark.long] if one.long else []) for one in UPSTREAMS]
)
def test_the_contracts_flows(operator: Operator, clip: str, upstream: Upstream) -> None:
    serve(operator, upstream)
    customer = operator.customer("10")
    client = Client(operator.gateway.url, customer.key)
    found: dict[str, str] = {}
    tasks: dict[str, str] = {}
    for flow, body in bodies(upstream, clip).items():
        answer = client.submit(upstream.scope, body)
        if answer.status_code == 200:
            tasks[flow] = answer.json()["task_id"]
        else:
            assert answer.status_code == 400, (flow, answer.text)
            found[flow] = answer.json()["error"]["param"]
    for flow, task_id in tasks.items():
        task = client.wait(upstream.scope, task_id)
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
    client.http.close()


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
