"""The unified media API by the front door: submitting, querying, listing, following, cancelling, and what is refused."""

from __future__ import annotations

import base64
import gzip
import json
import re
import socket
from collections.abc import Iterator
from itertools import pairwise
from typing import Any, get_args

import httpx2
import pytest

from app.api.media.shapes import TaskStatus
from app.core.media import Status
from tests.api.media import MediaClient, media_model
from tests.api.scan import assert_refused
from tests.gateway import Gateway, Operator, sse_data

FIELDS = {
    "task_id",
    "platform",
    "action",
    "status",
    "fail_reason",
    "submit_time",
    "start_time",
    "finish_time",
    "progress",
    "data",
    "search_item",
}
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


@pytest.fixture(scope="module")
def http(gateway: Gateway) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=gateway.url, timeout=30) as client:
        yield client


@pytest.fixture(scope="module")
def client(http: httpx2.Client, operator: Operator) -> MediaClient:
    return MediaClient(http, operator.customer())


@pytest.fixture
def stranger(http: httpx2.Client, operator: Operator) -> MediaClient:
    return MediaClient(http, operator.customer())


@pytest.fixture(scope="module")
def quick(operator: Operator) -> str:
    """A video that is made at the first poll."""
    return media_model(operator)


@pytest.fixture(scope="module")
def endless(operator: Operator) -> str:
    """A video that is never made."""
    return media_model(operator, "never=1")


@pytest.fixture(scope="module")
def poor(http: httpx2.Client, operator: Operator) -> MediaClient:
    """Whose only task fails."""
    return MediaClient(http, operator.customer())


@pytest.fixture(scope="module", autouse=True)
def begun(client: MediaClient, poor: MediaClient, operator: Operator, quick: str) -> dict[str, str]:
    """Tasks that several tests wait for, begun together: the first poll comes after two seconds."""
    media_model(operator, name="sora-2")
    picture = base64.b64encode(PNG + bytes(4 << 20)).decode()
    return {
        "video": client.submit(quick, duration="10", aspect_ratio="16:9"),
        "picture": client.submit(quick, images=[picture]),
        "sora": client.submit("sora-2", duration="15"),
        "images": client.submit(media_model(operator, scope="images"), "images"),
        "audio": client.submit(media_model(operator, scope="audio"), "audio"),
        "failed": poor.submit(media_model(operator, "polls=1&fail=no+cats+today")),
    }


def test_a_task_from_submission_to_its_file(client: MediaClient, begun: dict[str, str]) -> None:
    task_id = begun["video"]
    assert re.fullmatch(r"[A-Za-z0-9_:-]+", task_id)
    body = client.wait(task_id)
    assert set(body) == FIELDS
    assert body["task_id"] == task_id
    assert (body["status"], body["progress"], body["fail_reason"]) == ("SUCCESS", "100%", "")
    assert body["action"] == f"{body['platform']}-videos"
    assert 0 < body["submit_time"] <= body["start_time"] <= body["finish_time"]
    assert body["data"]["outputs"][0] == body["data"]["output"]
    file = httpx2.get(body["data"]["output"])
    assert file.status_code == 200
    assert file.content[4:8] == b"ftyp"


def test_a_task_that_has_just_begun(client: MediaClient, endless: str) -> None:
    body = client.query(client.submit(endless))
    assert set(body) == FIELDS
    assert body["status"] in ("NOT_START", "SUBMITTED", "QUEUED", "IN_PROGRESS")
    assert (body["data"], body["fail_reason"], body["finish_time"]) == (None, "", 0)


def test_a_failed_task_costs_nothing(poor: MediaClient, operator: Operator, begun: dict[str, str]) -> None:
    body = poor.wait(begun["failed"])
    assert (body["status"], body["progress"], body["data"]) == ("FAILURE", "100%", None)
    assert "no cats today" in body["fail_reason"]
    operator.entries(poor.customer, count=1)
    account = operator.account(poor.customer)
    assert (account["balance"], account["charged"], account["held"]) == ("10", "0", "0")


@pytest.mark.parametrize("scope", ["images", "audio"])
def test_the_other_scopes(client: MediaClient, begun: dict[str, str], scope: str) -> None:
    body = client.wait(begun[scope], scope)
    assert body["status"] == "SUCCESS", body
    assert body["action"].endswith(f"-{scope}")
    assert client.call("GET", f"/v2/videos/generations/{begun[scope]}").status_code == 404


def test_the_documented_statuses_are_those_of_tasks() -> None:
    assert get_args(TaskStatus) == tuple(Status)


# -- bodies ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"prompt": ""}, "prompt"),
        ({"prompt": None}, "prompt"),
        ({"model": None}, "model"),
        ({"duration": "soon"}, "duration"),
        ({"hd": "true"}, "hd"),
        ({"images": ["bm8gcGljdHVyZQ=="]}, "images[0]"),
        ({"images": ["http://127.0.0.1/1.png"]}, "images[0]"),
        ({"images": ["http://[::ffff:10.0.0.1]/1.png"]}, "images[0]"),
        ({"videos": ["http://169.254.169.254/latest"]}, "videos[0]"),
        ({"notify_hook": "http://localhost:1/hook"}, "notify_hook"),
        ({"notify_hook": "file:///etc/passwd"}, "notify_hook"),
        ({"character_url": "http://0.0.0.0/", "character_timestamps": "1,3"}, "character_url"),
        ({"character_url": "https://example.com/", "character_timestamps": "1,9"}, "character_timestamps"),
        ({"remix_of": "video_1"}, "remix_of"),
        ({"deep": json.loads("[" * 100 + "]" * 100)}, "deep"),
        ({"big": [0] * 200_000}, "big"),
    ],
)
def test_refusals_name_the_field_and_hold_no_money(
    stranger: MediaClient, operator: Operator, quick: str, fields: dict[str, Any], param: str
) -> None:
    body = {"prompt": "a cat", "model": quick, **fields}
    assert_refused(stranger.call("POST", "/v2/videos/generations", json=body), param, 400)
    assert operator.account(stranger.customer)["held"] == "0"
    assert stranger.call("GET", "/v2/videos/generations").json()["data"] == []


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "missing_body"),
        (b"{", "invalid_json"),
        (b"[]", "invalid_json"),
        (b"null", "invalid_json"),
        (b'{"prompt": "\xff"}', "invalid_json"),
        (b"[" * 100_000, "invalid_json"),
        (b"{" + b",".join(b'"%d":1' % n for n in range(300_000)) + b"}", "invalid_json"),
    ],
)
def test_a_body_that_is_no_object(client: MediaClient, content: bytes, code: str) -> None:
    response = client.call("POST", "/v2/videos/generations", content=content)
    assert response.status_code == 400
    assert response.json()["error"]["code"] == code


def test_a_body_that_is_too_large(client: MediaClient) -> None:
    response = client.call("POST", "/v2/videos/generations", content=b'{"prompt": "' + b"a" * (9 << 20) + b'"}')
    assert response.status_code == 413
    assert response.json()["error"]["code"] == "request_too_large"


def test_a_compressed_body(client: MediaClient, quick: str) -> None:
    content = gzip.compress(json.dumps({"prompt": "a cat", "model": quick}).encode())
    response = client.call("POST", "/v2/videos/generations", content=content, headers={"content-encoding": "gzip"})
    assert response.status_code == 200, response.text


def test_a_bomb_is_refused(client: MediaClient) -> None:
    content = gzip.compress(b'{"prompt": "' + b"a" * (64 << 20) + b'"}')
    response = client.call("POST", "/v2/videos/generations", content=content, headers={"content-encoding": "gzip"})
    assert response.status_code == 413


def test_a_large_picture_in_base64(client: MediaClient, begun: dict[str, str]) -> None:
    assert client.wait(begun["picture"])["status"] == "SUCCESS"


def test_models_that_cannot_be_called(client: MediaClient, operator: Operator) -> None:
    chat = operator.model("demo")
    for model in ("no-such-model", chat):
        response = client.call("POST", "/v2/videos/generations", json={"prompt": "a cat", "model": model})
        assert response.status_code == 404
        assert response.json()["error"]["code"] == "model_not_found"


def test_rules_of_sora_hold_wherever_it_is_routed(client: MediaClient, begun: dict[str, str]) -> None:
    body = {"prompt": "a cat", "model": "sora-2", "duration": "25"}
    assert_refused(client.call("POST", "/v2/videos/generations", json=body), "duration", 400)
    assert client.wait(begun["sora"])["status"] == "SUCCESS"


# -- who asks ----------------------------------------------------------------------------------------------------------

CALLS = [
    ("POST", "/v2/videos/generations"),
    ("GET", "/v2/videos/generations"),
    ("GET", "/v2/videos/generations/x"),
    ("DELETE", "/v2/videos/generations/x"),
    ("GET", "/v2/videos/generations/x/events"),
]


@pytest.mark.parametrize(("method", "path"), CALLS)
def test_strangers_are_refused_before_anything_else(gateway: Gateway, method: str, path: str) -> None:
    for headers in ({}, {"authorization": "Bearer sk-wrong"}, {"authorization": "Bearer ' OR 1=1 --"}):
        response = httpx2.request(method, gateway.url + path, headers=headers)
        assert response.status_code == 401
        assert response.json()["error"]["code"] == "invalid_api_key"
        assert response.headers["x-request-id"]
    head = f"{method} {path} HTTP/1.1\r\nhost: x\r\ncontent-length: 900000\r\n\r\n".encode()
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=5) as connection:
        connection.sendall(head)
        assert connection.recv(100).startswith(b"HTTP/1.1 401 ")


@pytest.mark.parametrize(
    ("method", "suffix"), [("GET", ""), ("DELETE", ""), ("GET", "/events")]
)  # fmt: skip
def test_anothers_task_is_no_task(
    client: MediaClient, stranger: MediaClient, endless: str, method: str, suffix: str
) -> None:
    task_id = client.submit(endless)
    unknown = f"{task_id[:-1]}{'A' if task_id[-1] != 'A' else 'B'}"
    theirs = stranger.call(method, f"/v2/videos/generations/{task_id}{suffix}")
    nobodys = client.call(method, f"/v2/videos/generations/{unknown}{suffix}")
    assert theirs.status_code == nobodys.status_code == 404
    assert theirs.json()["error"]["code"] == "task_not_found"
    assert theirs.text.replace(task_id, "…") == nobodys.text.replace(unknown, "…")
    assert client.query(task_id)["status"] != "FAILURE"
    assert stranger.call("GET", "/v2/videos/generations").json()["data"] == []


@pytest.mark.parametrize("task_id", ["a%00b", "x" * 300, "a.b", "%E7%8C%AB", "a%20b", "a'b"])
def test_what_cannot_be_an_id(client: MediaClient, task_id: str) -> None:
    response = client.call("GET", f"/v2/videos/generations/{task_id}")
    assert response.status_code == 404
    assert response.json()["error"]["code"] == "task_not_found"


@pytest.mark.parametrize("scope", ["video", "VIDEOS", "music", "%00"])
def test_there_are_three_scopes(client: MediaClient, scope: str) -> None:
    for method, path in CALLS:
        response = client.call(method, path.replace("videos", scope))
        assert response.status_code == 404
        assert response.json()["error"]["code"] == "not_found"


def test_the_key_may_stand_in_the_query(client: MediaClient, gateway: Gateway, endless: str) -> None:
    task_id = client.submit(endless)
    for path in ("/v2/videos/generations", f"/v2/videos/generations/{task_id}"):
        assert httpx2.get(gateway.url + path, params={"key": client.customer.key}).status_code == 200


# -- lists, cancelling, following ----------------------------------------------------------------------------------------


def test_lists_have_pages(poor: MediaClient, begun: dict[str, str], endless: str) -> None:
    client, failed = poor, begun["failed"]
    client.wait(failed)
    made = [failed, *(client.submit(endless) for _ in range(4))]
    path = "/v2/videos/generations"
    seen: list[str] = []
    cursor: str | None = None
    while True:
        page = client.call("GET", path, params={"limit": 2} | ({"cursor": cursor} if cursor else {})).json()
        assert set(page) == {"data", "next_cursor"}
        seen += [item["task_id"] for item in page["data"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen == made[::-1]
    only = client.call("GET", path, params={"status": "FAILURE"}).json()["data"]
    assert only == [client.query(failed)]
    assert client.call("GET", "/v2/images/generations").json() == {"data": [], "next_cursor": None}


@pytest.mark.parametrize(
    ("query", "param", "status"),
    [
        ({"limit": 0}, "limit", 422),
        ({"limit": 201}, "limit", 422),
        ({"status": "DONE"}, "status", 422),
        ({"offset": 1}, "offset", 422),
        ({"cursor": ""}, "cursor", 400),
        ({"cursor": "!"}, "cursor", 400),
        ({"cursor": base64.urlsafe_b64encode(b"nobody:1-x").decode()}, "cursor", 400),
        ({"cursor": base64.urlsafe_b64encode(b"' OR 1=1").decode()}, "cursor", 400),
    ],
)
def test_a_lists_query_is_checked(client: MediaClient, query: dict[str, Any], param: str, status: int) -> None:
    assert_refused(client.call("GET", "/v2/videos/generations", params=query), param, status)


def test_another_accounts_cursor_is_none(client: MediaClient, stranger: MediaClient, endless: str) -> None:
    for _ in range(2):
        client.submit(endless)
    cursor = client.call("GET", "/v2/videos/generations", params={"limit": 1}).json()["next_cursor"]
    response = stranger.call("GET", "/v2/videos/generations", params={"cursor": cursor})
    assert response.json()["error"]["code"] == "bad_cursor"


def test_cancelling_gives_the_money_back(http: httpx2.Client, operator: Operator, endless: str) -> None:
    client = MediaClient(http, operator.customer())
    task_id = client.submit(endless)
    assert operator.account(client.customer)["held"] == "0.1"
    response = client.call("DELETE", f"/v2/videos/generations/{task_id}")
    assert response.status_code == 200, response.text
    assert set(response.json()) == FIELDS
    assert client.wait(task_id)["status"] == "FAILURE"
    operator.entries(client.customer, count=1)
    assert operator.account(client.customer)["balance"] == "10"
    again = client.call("DELETE", f"/v2/videos/generations/{task_id}")
    assert again.status_code == 409
    assert again.json()["error"]["code"] == "task_not_cancellable"


def test_events_until_it_is_final(client: MediaClient, http: httpx2.Client, operator: Operator) -> None:
    task_id = client.submit(media_model(operator, "polls=1"))
    path = f"/v2/videos/generations/{task_id}/events"
    with http.stream("GET", path, headers=client.customer.headers) as left_early:
        assert next(left_early.iter_lines()).startswith("data: ")
    response = client.call("GET", path)
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/event-stream")
    events = [json.loads(data) for data in sse_data(response.text)]
    assert len(events) > 1
    assert all(set(event) == FIELDS for event in events)
    assert all(event != after for event, after in pairwise(events))
    assert [event["status"] for event in events if event["status"] in ("SUCCESS", "FAILURE")] == ["SUCCESS"]
    assert events[-1] == client.query(task_id)


def test_events_of_a_final_task(client: MediaClient, begun: dict[str, str]) -> None:
    body = client.wait(begun["video"])
    response = client.call("GET", f"/v2/videos/generations/{begun['video']}/events")
    assert [json.loads(data) for data in sse_data(response.text)] == [body]


# -- idempotency -------------------------------------------------------------------------------------------------------


def test_an_idempotency_key_makes_one_task(http: httpx2.Client, operator: Operator, endless: str) -> None:
    client = MediaClient(http, operator.customer())
    other = MediaClient(http, operator.customer())
    key = {"idempotency-key": "order 1"}
    body = {"prompt": "a cat", "model": endless, "images": [base64.b64encode(PNG).decode()], "seed": 1}
    first, second = (client.call("POST", "/v2/videos/generations", json=body, headers=key) for _ in range(2))
    assert first.status_code == 200
    assert first.json() == second.json()
    assert operator.account(client.customer)["held"] == "0.1"
    for change in ({"prompt": "a dog"}, {"seed": 2}, {"images": [base64.b64encode(PNG + b"x").decode()]}):
        response = client.call("POST", "/v2/videos/generations", json=body | change, headers=key)
        assert response.status_code == 409
        assert response.json()["error"]["code"] == "idempotency_key_reused"
    theirs = other.call("POST", "/v2/videos/generations", json=body, headers=key)
    assert theirs.status_code == 200
    assert theirs.json() != first.json()


@pytest.mark.parametrize("keys", [[b""], [b"x" * 256], [b"a\tb"], ["ключ".encode()], [b"a", b"a"]])
def test_an_idempotency_key_is_checked(client: MediaClient, gateway: Gateway, endless: str, keys: list[bytes]) -> None:
    headers = [
        (b"authorization", f"Bearer {client.customer.key}".encode()),
        *((b"idempotency-key", key) for key in keys),
    ]
    body = {"prompt": "a cat", "model": endless}
    response = httpx2.post(f"{gateway.url}/v2/videos/generations", json=body, headers=headers)
    assert_refused(response, "Idempotency-Key", 400)
