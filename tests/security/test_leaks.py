"""Leaking properties: after work of all kinds no answer, log line, metric or row holds a secret that was given or issued."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import asyncpg
import httpx2
import pytest

from app.db.tables import METADATA
from tests.demo.process import DemoProcess
from tests.gateway import ADMIN_TOKEN, SECRET_KEY, Customer, Gateway, Operator

UPSTREAM = f"up-{uuid4().hex}"
HEADER = f"head-{uuid4().hex}"
WEBHOOK = f"hook-{uuid4().hex}"

DIGESTS = {"keys.digest", "codes.digest", "admin_tokens.digest"}
"""Where digests are kept to look presented secrets up by."""
IN_PLAIN = {"channels.options": HEADER}
"""An operator's own headers, which docs/security.md says are not encrypted."""
UNKNOWN = "9223372036854775807"


@dataclass(frozen=True)
class Day:
    """What was done, and every secret that was given or issued while doing it."""

    operator: Operator
    customer: Customer
    ids: dict[str, str]
    secrets: dict[str, str]
    answers: list[tuple[str, str]]

    def forbidden(self) -> dict[str, str]:
        """What may stand in no answer, log or metric: the secrets, in base64 too, and their digests."""
        found = {}
        for name, secret in self.secrets.items():
            digest = hashlib.sha256(secret.encode()).digest()
            found[name] = secret
            found[f"{name} in base64"] = base64.b64encode(secret.encode()).decode().rstrip("=")[:-1]
            found[f"digest of {name}"] = digest.hex()
            found[f"digest of {name} in base64"] = base64.b64encode(digest).decode().rstrip("=")
            found[f"digest of {name} for URLs"] = base64.urlsafe_b64encode(digest).decode().rstrip("=")
        return found

    def found_in(self, text: str) -> list[str]:
        return [name for name, secret in self.forbidden().items() if secret in text]


@pytest.fixture(scope="module")
def day(
    tmp_path_factory: pytest.TempPathFactory, migrated_database: Callable[[], str], demo: DemoProcess
) -> Iterator[Day]:
    """On a gateway and a database of its own: every row is looked at."""
    gateway = Gateway(migrated_database(), tmp_path_factory.mktemp("leaks")).start()
    operator = Operator(gateway, demo.url)
    try:
        yield _live(operator)
    finally:
        operator.close()
        assert gateway.stop() == 0, gateway.log


def _live(operator: Operator) -> Day:
    """Each kind of secret given or issued once; calls that succeed, fail, and repeat the upstream's key."""
    channel = {"api_key": UPSTREAM, "options": {"headers": {"x-proxy-token": HEADER}}}
    model, films = operator.model(), operator.model(kind="video", price={"per_call": "0.1"}, max_output_tokens=None)
    made = operator.channel(model, "demo", **channel)
    operator.channel(films, "demo-video?polls=1", provider="unified", base_url=operator.demo_url, **channel)
    echoing = operator.model()
    operator.channel(echoing, "demo?echo_key=1&status=400", **channel)
    notify = {"webhook_url": "https://93.184.216.34/", "webhook_secret": WEBHOOK, "threshold": "0.5"}
    customer = operator.customer()
    operator.call("PATCH", f"/accounts/{customer.account_id}", json={"notify": notify})
    spare = operator.call("POST", "/keys", json={"account_id": customer.account_id, "name": "spare", "quota": None})
    rotated = operator.call("POST", f"/keys/{spare['id']}/rotate")
    token = operator.call("POST", "/tokens", json={"name": "reader", "scopes": ["read"]})
    batch = operator.call("POST", "/code-batches", json={"name": "Spring", "amount": "1", "count": 2})
    answers: list[tuple[str, str]] = []
    with httpx2.Client(base_url=operator.gateway.url, headers=customer.headers, timeout=30) as client:

        def call(method: str, path: str, **options: Any) -> httpx2.Response:
            answer = client.request(method, path, **options)
            answers.append((f"{method} {path}", answer.text + repr(answer.headers.multi_items())))
            return answer

        body = {"model": model, "messages": [{"role": "user", "content": "Hi"}]}
        assert call("POST", "/v1/chat/completions", json=body).status_code == 200
        assert call("POST", "/v1/chat/completions", json={**body, "stream": True}).status_code == 200
        assert call("POST", "/v1/chat/completions", json={**body, "model": echoing}).status_code == 400
        stranger = {"authorization": f"Bearer {spare['key']}"}
        assert call("POST", "/v1/chat/completions", json=body, headers=stranger).status_code == 401
        wanted = {"model": films, "prompt": "A cat", "duration": 1}
        task = call("POST", "/v2/videos/generations", json=wanted).json()["task_id"]
        assert call("GET", f"/v2/videos/generations/{task}").status_code == 200
        assert call("POST", "/v1/account/redemptions", json={"code": batch["codes"][0]}).status_code in (200, 201)
        callback = client.get("/v1/account/callback-secret").json()  # shown to its holder, whenever they ask
    operator.entries(customer)
    (callback_secret,) = [value for value in callback.values() if isinstance(value, str) and value.startswith("whsec_")]
    secrets = {
        "upstream key": UPSTREAM, "header of a channel": HEADER, "webhook secret": WEBHOOK, "key": customer.key,
        "replaced key": spare["key"], "new key": rotated["key"], "token": token["token"], "code": batch["codes"][0],
        "open code": batch["codes"][1], "callback secret": callback_secret, "configured token": ADMIN_TOKEN,
        "secret key": SECRET_KEY,
    }  # fmt: skip
    ids = {
        "account_id": customer.account_id, "key_id": customer.key_id, "channel_id": made["id"], "task_id": task,
        "batch_id": batch["id"], "token_id": token["id"], "model": model, "name": model, "model_name": model,
    }  # fmt: skip
    return Day(operator, customer, {name: str(value) for name, value in ids.items()}, secrets, answers)


def test_leaking_properties_in_answers_to_holders(day: Day) -> None:
    with httpx2.Client(base_url=day.operator.gateway.url, headers=day.customer.headers) as client:
        for path in _readable(day, "/v1/", "/v2/", "/sora/"):
            if path == "/v1/account/callback-secret":
                continue
            answer = client.get(path)
            day.answers.append((f"GET {path}", answer.text + repr(answer.headers.multi_items())))
    assert len(day.answers) > 12
    for call, text in day.answers:
        assert day.found_in(text) == [], call


def test_leaking_properties_in_answers_to_operators(day: Day) -> None:
    """Everything that can be read is read: lists, single things, the log of actions, the metrics."""
    shown = 0
    with day.operator.gateway.admin() as client:
        for path in [*_readable(day, "/admin/"), "/metrics"]:
            answer = client.get(day.operator.gateway.url + path)
            assert day.found_in(answer.text + repr(answer.headers.multi_items())) == [], path
            shown += answer.status_code == 200
    assert shown >= 20


def _readable(day: Day, *prefixes: str) -> list[str]:
    """The paths of every published GET below these, with the ids of what there is."""
    document = httpx2.get(f"{day.operator.gateway.url}/openapi.json").json()
    return [
        re.sub(r"\{(\w+)\}", lambda match: day.ids.get(match[1], UNKNOWN), path)
        for path, item in document["paths"].items()
        if path.startswith(prefixes) and "get" in item and not path.endswith(("/events", "/fetch", "/files/{key}"))
    ]


def test_leaking_properties_in_the_log(day: Day) -> None:
    log = day.operator.gateway.log
    assert log.count("\n") > 5
    assert day.found_in(log) == []


def test_leaking_properties_in_rows(day: Day) -> None:
    """No column of any table holds a secret in plain; digests stand where they are looked up, and nowhere else."""
    found = asyncio.run(_columns_with(day.operator.gateway.database_url, day.forbidden()))
    plain = {(column, name) for column, name in found if not name.startswith("digest of")}
    names = {secret: name for name, secret in day.secrets.items()}
    assert plain == {(column, names[secret]) for column, secret in IN_PLAIN.items()}
    assert {column for column, name in found if name.startswith("digest of")} == DIGESTS


async def _columns_with(database_url: str, forbidden: dict[str, str]) -> set[tuple[str, str]]:
    """Columns and what of this stands in them, as text or as bytes."""
    connection = await asyncpg.connect(database_url)
    try:
        return {
            (f"{table.name}.{column.name}", name)
            for table in METADATA.sorted_tables
            for column in table.columns
            for name in await _held(connection, table.name, column.name, forbidden)
        }
    finally:
        await connection.close()


async def _held(
    connection: asyncpg.Connection[asyncpg.Record], table: str, column: str, forbidden: dict[str, str]
) -> list[str]:
    values = await connection.fetchval(f"SELECT coalesce(string_agg(\"{column}\"::text, E'\\n'), '') FROM \"{table}\"")
    return [name for name, secret in forbidden.items() if secret in values or secret.encode().hex() in values]


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("/accounts", {"balance": "1000000"}),
        ("/accounts", {"id": 1}),
        ("/accounts", {"charged": "0"}),
        ("/keys", {"digest": "00" * 32}),
        ("/keys", {"role": "admin"}),
        ("/keys", {"key": "sk-of-my-own-choice"}),
    ],
)
def test_leaking_properties_cannot_be_set(day: Day, path: str, fields: dict[str, Any]) -> None:
    """What belongs to the gateway is refused by name, not taken and not passed over."""
    body = {"name": "mass", **({"account_id": day.customer.account_id, "quota": None} if path == "/keys" else {})}
    with day.operator.gateway.admin() as client:
        answer = client.post(path, json={**body, **fields})
    assert answer.status_code == 422, answer.text
    assert answer.json()["error"]["param"] in fields
