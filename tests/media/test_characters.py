"""Characters by the front door: made at an upstream, paid for once, kept apart by account, and meant by prompts."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.demo.process import DemoProcess
from tests.gateway import Customer, Gateway, Operator
from tests.media.agency import MADE, MODEL, NOBODY, SECRET, VIDEO, Agency, Platform, made, refusal
from tests.webhooks.desk import ALLOWED
from tests.webhooks.receiver import Answer, hang_up, receiving, reply


@pytest.fixture(scope="module")
def shared(work_dir: Path, migrated_database: Callable[[], str]) -> Iterator[Agency]:
    data_dir = work_dir / "characters"
    data_dir.mkdir()
    gateway = Gateway(
        migrated_database(), data_dir, {"RELAYGATE_CONNECT_TIMEOUT": "1", "RELAYGATE_ROLE": "api"}
    ).start()
    made = Agency(Operator(gateway, NOBODY))
    yield made
    made.close()
    assert gateway.stop() == 0, gateway.log


@pytest.fixture
def agency(shared: Agency) -> Iterator[Agency]:
    """Without a channel yet."""
    yield shared
    shared.clear()


@pytest.fixture
def platform() -> Iterator[Platform]:
    running = Platform()
    try:
        yield running
    finally:
        running.close()


@pytest.fixture
def customer(shared: Agency) -> Customer:
    return shared.operator.customer("1")


# -- made of a URL ---------------------------------------------------------------------------------------------------


def test_one_is_made_of_a_url_and_charged_once(agency: Agency, customer: Customer, platform: Platform) -> None:
    channel_id = agency.channel(f"http://127.0.0.1:{platform.port}")
    platform.answers.put(made())
    answer = agency.make(customer, url=VIDEO, timestamps=" 0.5, 3.5", nonsense=1, from_task="")
    assert answer.status_code == 200, answer.text
    shown = answer.json()
    assert shown == MADE | {"id": shown["id"]}
    assert shown["id"].startswith("ch_")
    assert shown["id"] != MADE["id"]
    assert platform.asked == [{"timestamps": "0.5, 3.5", "url": VIDEO}]
    (entry,) = agency.operator.entries(customer, count=1)
    seen = {name: entry[name] for name in ("status", "charged", "format", "model", "channel_id", "stream", "error")}
    assert seen == {
        "status": "settled", "charged": "0.25", "format": "characters", "model": MODEL, "channel_id": channel_id,
        "stream": False, "error": None,
    }  # fmt: skip
    assert entry["request_id"] == answer.headers["x-request-id"]
    assert agency.operator.audit()["ok"] is True


BAD_FIELDS: list[tuple[str, dict[str, Any]]] = [
    ("timestamps", {"timestamps": None}),
    ("timestamps", {"timestamps": "1,4.001"}),
    ("timestamps", {"timestamps": "1,1.999"}),
    ("timestamps", {"timestamps": "3,1"}),
    ("timestamps", {"timestamps": "1-3"}),
    ("timestamps", {"timestamps": [1, 3]}),
    ("url", {"url": None}),
    ("url", {"url": ""}),
    ("url", {"url": 7}),
    ("url", {"url": "http://169.254.169.254/latest"}),
    ("url", {"url": "http://2130706433/"}),
    ("url", {"url": "file:///etc/passwd"}),
    ("from_task", {"from_task": 7}),
]


def test_a_bad_field_is_named(agency: Agency, customer: Customer, platform: Platform) -> None:
    agency.channel(f"http://127.0.0.1:{platform.port}")
    for param, body in BAD_FIELDS:
        answer = agency.make(customer, **{"url": VIDEO} | body)
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, param), (body, answer.text)
    assert platform.asked == []
    assert agency.operator.entries(customer) == []


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(reply(500, b'{"error": {"message": "down"}}'), id="500"),
        pytest.param(reply(429), id="429"),
        pytest.param(reply(200, b"<html>"), id="no json"),
        pytest.param(reply(200, b'{"username": "nobody"}'), id="no id"),
        pytest.param(hang_up, id="hang-up"),
    ],
)
def test_after_a_fault_the_next_channel_is_asked(
    agency: Agency, customer: Customer, platform: Platform, fault: Answer
) -> None:
    agency.channel(f"http://127.0.0.1:{platform.port}")
    platform.answers.put(fault)
    platform.answers.put(made())
    cheaper = [{"model": MODEL, "upstream_model": "x", "price": {"per_call": "0.1"}}]
    second = agency.channel(f"http://127.0.0.1:{platform.port}", models=cheaper)
    answer = agency.make(customer, url=VIDEO)
    assert answer.status_code == 200, answer.text
    assert len(platform.asked) == 2
    (entry,) = agency.operator.entries(customer, count=1)
    assert (entry["status"], entry["charged"], entry["channel_id"]) == ("settled", "0.1", second)


@pytest.mark.parametrize(
    ("answers", "status", "code"),
    [
        pytest.param([reply(503), reply(500)], 502, "upstream_error", id="both are down"),
        pytest.param([reply(400, b'{"error": {"message": "no face in it"}}')], 400, "upstream_refused", id="refused"),
    ],
)
def test_what_isn_t_made_costs_nothing(
    agency: Agency, customer: Customer, platform: Platform, answers: list[Answer], status: int, code: str
) -> None:
    for _ in range(2):
        agency.channel(f"http://127.0.0.1:{platform.port}")
    for answer in answers:
        platform.answers.put(answer)
    message = refusal(agency.make(customer, url=VIDEO), status, code)
    assert ("no face in it" in message) is (status == 400)
    assert len(platform.asked) == len(answers)
    (entry,) = agency.operator.entries(customer, count=1)
    assert (entry["status"], entry["charged"], entry["error"]) == ("released", "0", code)
    assert agency.operator.account(customer)["balance"] == "1"
    assert agency.ask(customer, "GET").json() == {"data": [], "next_cursor": None}


def test_an_upstream_that_is_away_and_one_that_repeats_its_key(
    agency: Agency, customer: Customer, platform: Platform
) -> None:
    with receiving() as gone:
        port = gone.port
    agency.channel(f"http://127.0.0.1:{port}")
    agency.channel(f"http://127.0.0.1:{platform.port}")
    platform.answers.put(reply(400, json.dumps({"error": {"message": f"{SECRET} may not do this"}}).encode()))
    answer = agency.make(customer, url=VIDEO)
    assert "[redacted]" in refusal(answer, 400, "upstream_refused")
    assert SECRET not in answer.text


def test_links_pass_only_if_they_are_links(agency: Agency, customer: Customer, platform: Platform) -> None:
    agency.channel(f"http://127.0.0.1:{platform.port}")
    platform.answers.put(made(permalink="javascript:alert(1)", profile_picture_url=None))
    shown = agency.make(customer, url=VIDEO).json()
    assert (shown["permalink"], shown["profile_picture_url"]) == ("", "")
    assert agency.ask(customer, "GET", f"/{shown['id']}").json() == shown


# -- made of a task --------------------------------------------------------------------------------------------------


def test_a_task_s_channel_makes_it_and_goes_before_a_url(
    agency: Agency, customer: Customer, platform: Platform
) -> None:
    with receiving() as other:
        agency.channel(other.url(""), priority=9)
        # It doesn't serve the model: then the model's own price counts.
        channel_id = agency.channel(f"http://127.0.0.1:{platform.port}", model=agency.operator.model(kind="video"))
        task_id = agency.task(customer, channel_id)
        platform.answers.put(made())
        answer = agency.make(customer, from_task=task_id, url="http://127.0.0.1/not/even/looked/at")
        assert answer.status_code == 200, answer.text
        assert platform.asked == [{"timestamps": "1,3", "from_task": "task-at-upstream"}]
        assert other.calls.empty()
    (entry,) = agency.operator.entries(customer, count=1)
    assert (entry["charged"], entry["channel_id"]) == ("0.25", channel_id)


def test_another_account_s_task_is_as_good_as_none(agency: Agency, customer: Customer, platform: Platform) -> None:
    channel_id = agency.channel(f"http://127.0.0.1:{platform.port}")
    theirs = agency.task(agency.operator.customer("1"), channel_id)
    answers = [agency.make(customer, from_task=task_id) for task_id in (theirs, "sora-2:1-unknown")]
    messages = {refusal(answer, 404, "task_not_found", "from_task").partition("'")[0] for answer in answers}
    assert len(messages) == 1
    assert platform.asked == []
    assert agency.operator.entries(customer) == []


USELESS_TASKS: list[tuple[str, dict[str, Any]]] = [
    ("isn't finished", {"status": "IN_PROGRESS", "step": "poll"}),
    ("has failed", {"status": "FAILURE"}),
    ("no video", {"scope": "images"}),
    ("gone", {"upstream_id": None}),
    ("gone", {"channel_id": 10**9}),
]


def test_a_task_of_which_none_can_be_made(agency: Agency, customer: Customer, platform: Platform) -> None:
    channel_id = agency.channel(f"http://127.0.0.1:{platform.port}")
    for words, columns in USELESS_TASKS:
        task_id = agency.task(customer, **{"channel_id": channel_id} | columns)
        assert words in refusal(agency.make(customer, from_task=task_id), 400, "invalid_request", "from_task")
    assert platform.asked == []


def test_a_kind_without_characters_says_which_have_them(agency: Agency, customer: Customer, platform: Platform) -> None:
    model = agency.operator.model(kind="video", free=True)
    without = agency.channel(f"http://127.0.0.1:{platform.port}", "openai_videos")
    task_id = agency.task(customer, without)
    for body, param in (({"url": VIDEO}, "url"), ({"from_task": task_id}, "from_task")):
        message = refusal(agency.make(customer, **body), 400, "characters_unsupported", param)
        assert "'openai_videos' has no characters" in message
        assert "None of this gateway's channels has" in message
    agency.channel(f"http://127.0.0.1:{platform.port}", model=model)
    message = refusal(agency.make(customer, from_task=task_id), 400, "characters_unsupported", "from_task")
    assert "kind unified" in message
    assert model in message
    confined = agency.operator.customer("1", models=[MODEL])
    assert model not in agency.make(confined, from_task=agency.task(confined, without)).text
    assert platform.asked == []


# -- who may -----------------------------------------------------------------------------------------------------------


def test_a_key_must_be_allowed_the_model(agency: Agency, platform: Platform) -> None:
    agency.channel(f"http://127.0.0.1:{platform.port}")
    refusal(agency.make(agency.operator.customer("1", models=["sora-2"]), url=VIDEO), 403, "model_not_allowed")
    platform.answers.put(made())
    assert agency.make(agency.operator.customer("1", models=[MODEL]), url=VIDEO).status_code == 200


def test_without_money_nobody_is_asked(agency: Agency, platform: Platform) -> None:
    agency.channel(f"http://127.0.0.1:{platform.port}")
    refusal(agency.make(agency.operator.customer("0.24"), url=VIDEO), 429, "insufficient_quota")
    limited = agency.operator.customer("1", rpm=1)
    platform.answers.put(made())
    assert agency.make(limited, url=VIDEO).status_code == 200
    answer = agency.make(limited, url=VIDEO)
    refusal(answer, 429, "rate_limit_exceeded")
    assert int(answer.headers["retry-after"]) > 0
    assert len(platform.asked) == 1


def test_what_the_operator_left_out_is_said(agency: Agency, customer: Customer, platform: Platform) -> None:
    refusal(agency.make(customer, url=VIDEO), 503, "no_channel")
    agency.operator.call("DELETE", f"/models/{MODEL}")
    try:
        agency.clear()
        message = refusal(agency.make(customer, url=VIDEO), 404, "model_not_found")
        assert f"PUT /admin/v1/models/{MODEL}" in message
        agency.operator.call("PUT", f"/models/{MODEL}", json={"kind": "video"})
        agency.channel(f"http://127.0.0.1:{platform.port}")
        refusal(agency.make(customer, url=VIDEO), 503, "model_not_priced")
    finally:
        agency.operator.call("PUT", f"/models/{MODEL}", json={"kind": "video", "price": {"per_call": "0.25"}})


@pytest.mark.long
def test_a_process_that_dies_over_one_charges_nothing(
    start_gateway: Callable[..., Gateway], platform: Platform
) -> None:
    gateway = start_gateway(RELAYGATE_LEASE="2")
    agency = Agency(Operator(gateway, NOBODY))
    customer = agency.operator.customer("1")
    agency.channel(f"http://127.0.0.1:{platform.port}")
    platform.answers.put(platform.hang)
    headers = customer.headers

    async def ask_and_kill() -> None:
        async with httpx2.AsyncClient() as client:
            body = {"timestamps": "1,3", "url": VIDEO}
            request = client.post(f"{gateway.url}/sora/v1/characters", headers=headers, json=body, timeout=30)
            asking = asyncio.ensure_future(request)
            await asyncio.to_thread(platform.next)
            gateway.kill()
            with pytest.raises(httpx2.HTTPError):
                await asking

    asyncio.run(ask_and_kill())
    gateway.start()
    (entry,) = agency.operator.entries(customer, count=1)
    assert (entry["status"], entry["charged"], entry["error"]) == ("orphaned", "0", "process_died")
    assert agency.operator.audit()["ok"] is True
    agency.close()


# -- whose they are ----------------------------------------------------------------------------------------------------


def test_they_are_listed_looked_up_and_deleted_by_their_account_alone(
    agency: Agency, customer: Customer, platform: Platform
) -> None:
    agency.channel(f"http://127.0.0.1:{platform.port}")
    for number in range(3):
        platform.answers.put(made(username=f"cat{number}"))
        assert agency.make(customer, url=VIDEO).status_code == 200
    first = agency.ask(customer, "GET", params={"limit": 2}).json()
    second = agency.ask(customer, "GET", params={"limit": 2, "cursor": first["next_cursor"]}).json()
    assert [item["username"] for item in first["data"] + second["data"]] == ["cat2", "cat1", "cat0"]
    assert second["next_cursor"] is None
    one = first["data"][0]
    assert agency.ask(customer, "GET", f"/{one['id']}").json() == one
    stranger = agency.operator.customer("1")
    assert agency.ask(stranger, "GET").json()["data"] == []
    unknown = "ch_" + "0" * 32
    for method in ("GET", "DELETE"):
        for path in (one["id"], unknown, "ch_", "%00", "a'b"):
            assert agency.ask(stranger, method, f"/{path}").status_code == 404
        theirs, nobody_s = (agency.ask(stranger, method, f"/{path}").text for path in (one["id"], unknown))
        assert theirs.replace(one["id"], unknown) == nobody_s
    assert agency.ask(customer, "DELETE", f"/{one['id']}").json() == {"id": one["id"], "deleted": True}
    for method in ("GET", "DELETE"):
        refusal(agency.ask(customer, method, f"/{one['id']}"), 404, "character_not_found", "character_id")
    assert [item["username"] for item in agency.ask(customer, "GET").json()["data"]] == ["cat1", "cat0"]


@pytest.mark.parametrize(("method", "path"), [("POST", ""), ("GET", ""), ("GET", "/ch_1"), ("DELETE", "/ch_1")])
def test_strangers_get_a_401(agency: Agency, method: str, path: str) -> None:
    refusal(agency.ask(Customer(0, 0, "sk-nobody"), method, path), 401, "invalid_api_key")


# -- the whole way -----------------------------------------------------------------------------------------------------


@pytest.mark.long
def test_a_video_is_called_back_about_becomes_a_character_and_is_mentioned(
    start_gateway: Callable[..., Gateway], demo: DemoProcess
) -> None:
    gateway = start_gateway(**ALLOWED)
    agency = Agency(Operator(gateway, demo.url))
    customer = agency.operator.customer("1")
    video = agency.operator.model(kind="video", price={"per_call": "0.1"})
    served = [{"model": MODEL, "upstream_model": MODEL}, {"model": video, "upstream_model": "demo-video?polls=1"}]
    home = agency.channel(f"{demo.url}/v1", "demo", models=served)
    with receiving() as hook:

        def filmed(prompt: str) -> dict[str, Any]:
            body = {"model": video, "prompt": prompt, "notify_hook": hook.url()}
            submitted = agency.submit(customer, body)
            assert submitted.status_code == 200, submitted.text
            call = hook.next()
            assert call.headers["content-type"] == "application/json"
            told: dict[str, Any] = json.loads(call.body)
            assert (told["task_id"], told["status"]) == (submitted.json()["task_id"], "SUCCESS")
            return told

        character = agency.make(customer, from_task=filmed("A cat")["task_id"]).json()
        assert character["username"].startswith("demo.")
        told = filmed(f"@{character['username']} sleeps")
    assert agency.pinned_to(told["task_id"]) == home
    entries = agency.operator.entries(customer, count=3)
    assert sorted((entry["format"], entry["charged"]) for entry in entries) == [
        ("characters", "0.25"),
        ("media_task", "0.1"),
        ("media_task", "0.1"),
    ]
    assert agency.operator.audit()["ok"] is True
    agency.close()


# -- what a prompt means -----------------------------------------------------------------------------------------------


def test_a_task_goes_where_its_character_lives(agency: Agency, customer: Customer, platform: Platform) -> None:
    model = agency.operator.model(kind="video", price={"per_call": "0.1"})
    with receiving() as other:
        agency.channel(other.url(""), model=model, priority=9)
        home = agency.channel(
            f"http://127.0.0.1:{platform.port}",
            models=[{"model": name, "upstream_model": "x"} for name in (MODEL, model)],
        )
        platform.answers.put(made(username="home.cat"))
        assert agency.make(customer, url=VIDEO).status_code == 200
        body = {"model": model, "prompt": "@home.cat sleeps"}
        task_id = agency.submit(customer, body).json()["task_id"]
        assert agency.pinned_to(task_id) == home
        refusal(agency.submit(agency.operator.customer("1"), body), 404, "character_not_found", "prompt")
