"""Attacks on media by the front door: a real gateway between accounts that pry and upstreams that mean ill."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx2
import pytest

from tests.gateway import Customer, Gateway, Operator
from tests.media.client import MediaClient

SECRET = "sk-upstream-0123456789abcdefghijklmnopqrstuv"
PER_SECOND = {"per_second": "0.1"}
PATIENCE = 20.0
PNG = b"\x89PNG\r\n\x1a\n" + bytes(200_000)


@dataclass(frozen=True, slots=True)
class Hit:
    """One request as it came."""

    method: str
    path: str
    authorization: str | None
    body: bytes


Answer = tuple[int, dict[str, str], bytes]
Act = Callable[[str, Hit], Answer]


class Hostile:
    """A server on loopback that answers each request as `act` says, which is told the server's own URL."""

    def __init__(self, act: Act) -> None:
        hostile = self
        self.hits: list[Hit] = []

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
                hit = Hit(self.command, self.path, self.headers.get("authorization"), body)
                hostile.hits.append(hit)
                status, headers, answer = act(hostile.url, hit)
                self.send_response(status)
                for name, value in {"content-length": str(len(answer)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(answer)

            do_GET = do_PUT = do_DELETE = do_POST

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def written(body: object, status: int = 200) -> Answer:
    return status, {"content-type": "application/json"}, json.dumps(body).encode()


def accepts(_url: str, hit: Hit) -> Answer:
    """Takes every job of either API, and never makes it."""
    return written({"id": "v", "task_id": "v", "status": "queued"} if hit.method == "POST" else {"status": "QUEUED"})


class Stage:
    """Upstreams and the models that they serve, until the test is over."""

    def __init__(self, operator: Operator) -> None:
        self.operator = operator
        self._servers: list[Hostile] = []
        self._channels: list[int] = []

    def server(self, act: Act) -> Hostile:
        self._servers.append(Hostile(act))
        return self._servers[-1]

    def model(self, url: str, provider: str = "unified", kind: str = "video", **fields: Any) -> str:
        name = self.operator.model(kind=kind, price=fields.pop("price", PER_SECOND), max_output_tokens=None, **fields)
        made = self.operator.channel(name, "maker/film", provider=provider, base_url=url, api_key=SECRET)
        self._channels.append(made["id"])
        return name

    def close(self) -> None:
        for channel in self._channels:  # whatever is still open ends with its channel
            self.operator.call("DELETE", f"/channels/{channel}")
        for server in self._servers:
            server.close()


@pytest.fixture(scope="module")
def stage(operator: Operator) -> Iterator[Stage]:
    made = Stage(operator)
    yield made
    made.close()


@pytest.fixture(scope="module")
def patient(stage: Stage) -> Hostile:
    return stage.server(accepts)


@pytest.fixture(scope="module")
def film(stage: Stage, patient: Hostile) -> str:
    """A model whose videos are never made."""
    return stage.model(patient.url)


@pytest.fixture(scope="module")
def reel(stage: Stage, patient: Hostile) -> str:
    """The same at an upstream that takes forms."""
    return stage.model(patient.url, "openai_videos")


@pytest.fixture
def customer(operator: Operator) -> Customer:
    return operator.customer("10")


@pytest.fixture
def client(gateway: Gateway, customer: Customer) -> Iterator[MediaClient]:
    made = MediaClient(gateway, customer)
    yield made
    made.close()


def error_of(answer: httpx2.Response) -> tuple[int, str, str | None]:
    error = answer.json()["error"]
    return answer.status_code, error["code"], error["param"]


def wait_for(found: Callable[[], Any]) -> Any:
    """What `found` returns, once that is anything."""
    deadline = time.monotonic() + PATIENCE
    while not (value := found()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return value


# -- what belongs to others --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/v2/videos/generations/ID", None),
        ("DELETE", "/v2/videos/generations/ID", None),
        ("GET", "/v2/videos/generations/ID/events", None),
        ("GET", "/v2/videos/generations?cursor=CURSOR", None),
        ("GET", "/v1/videos/ID", None),
        ("GET", "/v1/videos/ID/content", None),
        ("DELETE", "/v1/videos/ID", None),
        ("POST", "/v1/videos/ID/remix", {"prompt": "mine now"}),
        ("GET", "/v1/videos?after=ID", None),
    ],
)
def test_anothers_task_is_told_of_as_one_that_nobody_has(
    operator: Operator,
    client: MediaClient,
    gateway: Gateway,
    film: str,
    patient: Hostile,
    method: str,
    path: str,
    body: object,
) -> None:
    task_id = client.submit(film, duration=1)
    wait_for(lambda: operator.call("GET", f"/tasks/{task_id}")["step"] == "poll")
    unknown = task_id[:-1] + ("A" if task_id[-1] != "A" else "B")
    stranger = MediaClient(gateway, operator.customer("10"))
    seen = len([hit for hit in patient.hits if hit.method != "GET"])
    answers = []
    for named in (task_id, unknown):
        cursor = base64.urlsafe_b64encode(named.encode()).decode().rstrip("=")
        answer = stranger.http.request(method, path.replace("ID", named).replace("CURSOR", cursor), json=body)
        assert answer.status_code in (400, 404)
        answers.append((answer.status_code, answer.text.replace(named, "…")))
    assert answers[0] == answers[1]
    assert len([hit for hit in patient.hits if hit.method != "GET"]) == seen
    assert operator.call("GET", f"/tasks/{task_id}")["cancelled"] is False
    client.http.delete(f"/v2/videos/generations/{task_id}")
    stranger.close()


def test_an_idempotency_key_is_the_accounts_own(
    operator: Operator, client: MediaClient, gateway: Gateway, film: str
) -> None:
    headers = {"idempotency-key": "shared secret"}
    first = client.submit(film, duration=1, headers=headers)
    stranger = MediaClient(gateway, operator.customer("10"))
    assert stranger.submit(film, duration=1, headers=headers) != first
    stranger.close()


def test_keys_of_one_account_keep_bounds_of_their_own(
    operator: Operator, client: MediaClient, customer: Customer, film: str
) -> None:
    """An account's tasks are all its keys', but each key within what it may do, and from where."""
    headers = {"idempotency-key": "once"}
    body = {"model": film, "prompt": "A cat", "duration": 1}
    task_id = client.submit(film, duration=1, headers=headers)
    wanted = {"account_id": customer.account_id, "name": "bound", "quota": None}
    narrow = operator.call("POST", "/keys", json={**wanted, "models": ["another-model"]})["key"]
    answer = client.http.post(
        "/v2/videos/generations", json=body, headers={**headers, "authorization": f"Bearer {narrow}"}
    )
    assert error_of(answer)[:2] == (403, "model_not_allowed")
    elsewhere = operator.call("POST", "/keys", json={**wanted, "ips": ["192.0.2.0/24"]})["key"]
    for path in (f"/v2/videos/generations/{task_id}", f"/v2/videos/generations/{task_id}/events", "/v1/videos"):
        answer = client.http.get(path, headers={"authorization": f"Bearer {elsewhere}"})
        assert answer.status_code == 403, path
        assert task_id not in answer.text


# -- bodies ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"Duration": 25, "duration": 5}, "Duration"),
        ({"SECONDS": "12"}, "SECONDS"),
        ({"N": 4}, "N"),
        ({"Count": 4}, "Count"),
        ({"Size": "3840x2160"}, "Size"),
        ({"RESOLUTION": "4k"}, "RESOLUTION"),
        ({"HD": True}, "HD"),
        ({"Images": ["http://169.254.169.254/"]}, "Images"),
        ({"Notify_Hook": "http://169.254.169.254/"}, "Notify_Hook"),
        ({"Quality": "high"}, "Quality"),
        ({"Generate_Audio": True}, "Generate_Audio"),
        ({"MODEL": "dearer"}, "MODEL"),
        ({"duration[]": "12"}, "duration[]"),
        ({"seconds[a][b]": "12"}, "seconds[a][b]"),
        ({" seconds": "12"}, " seconds"),
        ({"input_reference[image_url]": "http://169.254.169.254/"}, "input_reference[image_url]"),
        ({"a\r\nX-Evil: 1": "v"}, "a\r\nX-Evil: 1"),
        ({"a": {"b\r\nX-Evil: 1": "v"}}, "a"),
        ({"猫": "v"}, "猫"),
        ({"a": {"猫": "v"}}, "a"),
        ({"duration": 0.001}, "duration"),
        ({"duration": 1e-7}, "duration"),
        ({"duration": 1e308}, "duration"),
        ({"duration": -5}, "duration"),
        ({"n": 10**30}, "n"),
        ({"n": 2.0}, "n"),
        ({"seed": 2**63}, "seed"),
        ({"images": ["http://example.com/1.png"] * 10_000}, "images"),
    ],
)
def test_what_would_change_the_work_and_not_the_price_is_refused(
    operator: Operator, client: MediaClient, customer: Customer, reel: str, fields: dict[str, Any], param: str
) -> None:
    """Upstreams in Go read `Duration` as `duration`, readers of forms `seconds[]` as `seconds`."""
    for path in ("/v2/videos/generations", "/v1/videos"):
        if path == "/v1/videos":
            fields = {("seconds" if name == "duration" else name): value for name, value in fields.items()}
            param = "seconds" if param == "duration" else param
        answer = client.http.post(path, json={"model": reel, "prompt": "A cat", **fields})
        assert answer.status_code == 400, answer.text
        assert answer.json()["error"]["param"] == param or path == "/v1/videos"
    account = operator.account(customer)
    assert (account["held"], account["charged"]) == ("0", "0")
    assert operator.call("GET", "/tasks", params={"account_id": customer.account_id})["data"] == []


PART = b'--x\r\ncontent-disposition: form-data; name="%s"\r\n\r\n%s\r\n'


@pytest.mark.parametrize(
    "charset", ["undefined", "punycode", "idna", "utf-7", "utf-16", "unicode_escape", "no-such", "ü"]
)
def test_a_form_in_an_odd_charset_is_refused(client: MediaClient, reel: str, charset: str) -> None:
    """Python's `undefined` refuses everything, `punycode` and `idna` take quadratic time."""
    content = PART % (b"model", reel.encode()) + PART % (b"prompt", b"a" * 100_000) + b"--x--\r\n"
    headers = {b"content-type": f"multipart/form-data; boundary=x; charset={charset}".encode("latin-1")}
    answer = client.http.post("/v1/videos", content=content, headers=headers)
    assert error_of(answer) == (400, "invalid_request", "content-type")


@pytest.mark.parametrize(
    ("content_type", "content"),
    [
        ("multipart/form-data; boundary=" + "x" * 20_000, PART % (b"prompt", b"x")),
        ("multipart/form-data; boundary=", PART % (b"prompt", b"x")),
        ("multipart/form-data; boundary=x", b"--x\r\nx-long: " + b"a" * 3_000_000),
        ("multipart/form-data; boundary=x", b"--x\r\n" + b"".join(b"x%d: 1\r\n" % n for n in range(100_000))),
        ("multipart/form-data; boundary=x", b"--x\r\n" * 500_000),
        ("multipart/form-data; boundary=x", PART % (b"a" * 200_000, b"x") + b"--x--\r\n"),
        ("multipart/form-data; boundary=x", b'{"prompt": "a form that is JSON"}'),
    ],
)
def test_a_form_that_is_a_bomb_is_refused(client: MediaClient, content_type: str, content: bytes) -> None:
    answer = client.http.post("/v1/videos", content=content, headers={"content-type": content_type})
    assert answer.status_code == 400, answer.text


# -- money -------------------------------------------------------------------------------------------------------------


def test_a_crowd_gets_no_more_than_is_there(operator: Operator, gateway: Gateway, film: str) -> None:
    """200 at once on money for twenty."""
    customer = operator.customer("2.05")
    client = MediaClient(gateway, customer)
    body = {"model": film, "prompt": "A cat", "duration": 1}
    with ThreadPoolExecutor(16) as crowd:
        answers = list(crowd.map(lambda _: client.http.post("/v2/videos/generations", json=body), range(200)))
    assert sorted({answer.status_code for answer in answers}) == [200, 429]
    assert [answer.status_code for answer in answers].count(200) == 20
    account = operator.account(customer)
    assert (account["held"], account["balance"], account["charged"]) == ("2", "0.05", "0")
    assert operator.audit()["ok"]
    client.close()


@pytest.mark.parametrize(
    ("scope", "kind", "fields"),
    [("videos", "video", {}), ("videos", "video", {"n": 4}), ("audio", "audio", {}), ("audio", "audio", {"n": 2})],
)
def test_a_length_that_nobody_names_isn_t_free(
    operator: Operator, gateway: Gateway, stage: Stage, patient: Hostile, scope: str, kind: str, fields: dict[str, Any]
) -> None:
    """Held for ten seconds of each result, where the price is by the second and the upstream decides on the length."""
    model = stage.model(patient.url, kind=kind)
    needed = fields.get("n", 1)
    for grant, status in ((f"{needed - 0.01:.2f}", 429), (str(needed), 200)):
        customer = operator.customer(grant)
        client = MediaClient(gateway, customer)
        answer = client.http.post(f"/v2/{scope}/generations", json={"model": model, "prompt": "A cat", **fields})
        assert answer.status_code == status, answer.text
        assert operator.account(customer)["held"] == ("0" if status == 429 else str(needed))
        client.close()


def test_a_refused_submission_leaves_no_file(operator: Operator, gateway: Gateway, film: str) -> None:
    folder = gateway.data_dir / "media" / "inputs"
    before = set(folder.rglob("*.png"))
    client = MediaClient(gateway, operator.customer("0.05"))
    picture = base64.b64encode(PNG).decode()
    body = {"model": film, "prompt": "A cat", "duration": 1, "images": [picture] * 5}
    answer = client.http.post("/v2/videos/generations", json=body)
    assert error_of(answer)[:2] == (429, "insufficient_quota")
    assert set(folder.rglob("*.png")) == before
    client.close()


# -- upstreams ---------------------------------------------------------------------------------------------------------

LINKS: dict[str, list[str]] = {
    "to-the-metadata-service": ["http://169.254.169.254/latest/meta-data?expires=1"],
    "to-a-neighbour": ["TRAP/secret.mp4?expires=1"],
    "redirect-with-the-key": ["BASE/redirect.mp4?expires=1"],
    "credentials-for-itself": ["USER/a.mp4?expires=1"],
    "credentials-for-clients": ["USER/a.mp4"],
    "too-many": [f"BASE/{number}.mp4?expires=1" for number in range(300)],
    "half-of-it": ["BASE/1.mp4?expires=1", "TRAP/secret.mp4?expires=1"],
}
"""What upstreams say that they have made. TRAP is another server on this machine, USER the upstream with a user."""


def test_links_of_upstreams_lead_nowhere_else(
    operator: Operator, gateway: Gateway, client: MediaClient, customer: Customer, stage: Stage
) -> None:
    """Not to the machine's own services, and never with the channel's key; what can't be had whole leaves nothing."""
    trap = stage.server(lambda _url, _hit: (200, {}, b"secret"))

    def act(url: str, hit: Hit) -> Answer:
        if hit.method == "POST":
            return written({"task_id": json.loads(hit.body)["prompt"]})
        if hit.path.startswith("/redirect"):
            return 302, {"location": f"{trap.url}/secret.mp4"}, b""
        if ".mp4" in hit.path:
            return 200, {"content-type": "video/mp4"}, b"a film"
        links = LINKS[hit.path.rpartition("/")[2]]
        places = {"BASE": url, "TRAP": trap.url, "USER": url.replace("://", "://u:p@")}
        for name, place in places.items():
            links = [link.replace(name, place) for link in links]
        return written({"status": "SUCCESS", "data": {"outputs": links}})

    upstream = stage.server(act)
    model = stage.model(upstream.url)
    folder = gateway.data_dir / "media" / "outputs"
    before = set(folder.rglob("*.mp4"))
    tasks = {name: client.submit(model, prompt=name, duration=1) for name in LINKS}
    for task_id in tasks.values():
        found = wait_for(partial(_faulted, operator, task_id))
        assert (found["last_fault"], found["step"], found["outputs"]) == ("result_unavailable", "poll", [])
    assert trap.hits == []
    assert {hit.authorization for hit in upstream.hits} == {f"Bearer {SECRET}"}
    assert set(folder.rglob("*.mp4")) == before
    assert operator.account(customer)["charged"] == "0"
    assert not [hit for hit in upstream.hits if hit.path.startswith("/299")]
    assert SECRET not in gateway.log


def _faulted(operator: Operator, task_id: str) -> dict[str, Any] | None:
    found: dict[str, Any] = operator.call("GET", f"/tasks/{task_id}")
    return found if found["last_fault"] else None


MADE = {"id": "c", "username": "happy.cat", "permalink": "https://example.com/c", "profile_picture_url": ""}


@pytest.mark.parametrize(
    "changes", [{"username": f"cat.{SECRET}"}, {"username": "cat\0"}, {"username": "a\ncat"}, {"id": SECRET}]
)
def test_a_character_that_can_t_be_named_isn_t_paid_for(
    operator: Operator, client: MediaClient, customer: Customer, stage: Stage, changes: dict[str, str]
) -> None:
    answer = make_character(operator, client, stage, changes)
    assert error_of(answer)[:2] == (502, "upstream_bad_response")
    assert SECRET not in answer.text
    (entry,) = operator.entries(customer, count=1)
    assert (entry["status"], entry["charged"]) == ("released", "0")


def test_a_characters_links_don_t_hold_the_key(operator: Operator, client: MediaClient, stage: Stage) -> None:
    answer = make_character(operator, client, stage, {"profile_picture_url": f"https://example.com/?key={SECRET}"})
    assert (answer.status_code, answer.json()["profile_picture_url"]) == (200, "")


def make_character(operator: Operator, client: MediaClient, stage: Stage, changes: dict[str, str]) -> httpx2.Response:
    upstream = stage.server(lambda _url, _hit: written(MADE | changes))
    operator.call("PUT", "/models/sora-characters", json={"kind": "video", "price": {"per_call": "0.25"}})
    models = [{"model": "sora-characters", "upstream_model": "x"}]
    made = operator.channel(
        "", "", provider="unified", base_url=upstream.url, api_key=SECRET, models=models, priority=1000
    )
    try:
        body = {"timestamps": "1,3", "url": "https://93.184.216.34/cat.mp4"}
        return client.http.post("/sora/v1/characters", json=body)
    finally:
        operator.call("DELETE", f"/channels/{made['id']}")


ECHOES: dict[str, tuple[object, object]] = {
    "id": ({"id": SECRET, "status": "queued"}, {}),
    "size": ({"id": "v", "status": "queued"}, {"id": "v", "status": "completed", "size": SECRET, "seconds": "4"}),
    "reason": (
        {"id": "v", "status": "queued"},
        {"id": "v", "status": "failed", "error": {"code": SECRET, "message": f"Bad key {SECRET}."}},
    ),
    "half": (
        {"id": "v", "status": "queued"},
        {"id": "v", "status": "failed", "error": {"code": "x", "message": "x" * 480 + SECRET}},
    ),
}
"""By prompt, what an upstream says to the submission and to polls."""


def echo(said: tuple[Any, Any], _url: str, hit: Hit) -> Any:
    """One thing to the submission, another to polls."""
    return written(said[0 if hit.method == "POST" else 1])


def test_an_upstream_that_repeats_its_key_tells_nobody(
    operator: Operator, gateway: Gateway, client: MediaClient, customer: Customer, stage: Stage
) -> None:
    names: list[str] = list(ECHOES)
    upstreams = {name: stage.server(partial(echo, ECHOES[name])) for name in names}
    tasks = {name: client.submit(stage.model(upstreams[name].url, "openai_videos"), duration=4) for name in names}

    def seen(name: str) -> Any:
        found = operator.call("GET", f"/tasks/{tasks[name]}")
        return found if found["last_fault"] or found["step"] is None else None

    for name in names:
        shown = json.dumps([wait_for(partial(seen, name)), client.query(tasks[name])])
        assert SECRET[:12] not in shown, name
    assert SECRET[:12] not in json.dumps(operator.call("GET", "/usage", params={"account_id": customer.account_id}))
    assert SECRET[:12] not in gateway.log
