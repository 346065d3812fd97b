"""The log of what administrators did: a row for every change, in its transaction, and no secret in any."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import httpx2
import pytest

from tests.api.media import media_model
from tests.catalog.lists import published
from tests.catalog.publisher import Publisher, run_publisher
from tests.demo.process import DemoProcess
from tests.gateway import SECRET_KEY, Gateway, Operator
from tests.zygote import shared_zygote

UPSTREAM_SECRET = "upstream-secret-0123456789"
HEADER_SECRET = "header-secret-0123456789"
WEBHOOK_SECRET = "webhook-secret-0123456789"
CHANGED = "-changed"


@dataclass
class Office:
    """A gateway of these tests' own, who administers it, and every secret that was seen on the way."""

    gateway: Gateway
    operator: Operator
    admin: httpx2.Client
    publisher: Publisher
    secrets: set[str] = field(
        default_factory=lambda: {
            secret + ending for secret in (UPSTREAM_SECRET, HEADER_SECRET, WEBHOOK_SECRET) for ending in ("", CHANGED)
        }
    )

    def call(self, method: str, path: str, body: Any = None, status: int | None = None) -> httpx2.Response:
        response = self.admin.request(method, path, json=body)
        if status is None:
            assert response.is_success, f"{method} {path}: {response.status_code} {response.text}"
        else:
            assert response.status_code == status, response.text
        if response.content:
            shown = response.json()
            self.secrets |= {shown[name] for name in ("key", "token") if isinstance(shown.get(name), str)}
            self.secrets |= set(shown.get("codes", ()))
        return response

    def actions(self, **filters: Any) -> list[dict[str, Any]]:
        """All of them, newest first."""
        found: list[dict[str, Any]] = []
        cursor: str | None = None
        while True:
            query = {"limit": 200, **filters} | ({"cursor": cursor} if cursor else {})
            page = self.call("GET", f"/actions?{httpx2.QueryParams(query)}").json()
            found += page["data"]
            cursor = page["next_cursor"]
            if cursor is None:
                return found

    def action_of(self, response: httpx2.Response) -> dict[str, Any]:
        """The one row that a call left."""
        label = response.headers["x-request-id"]
        (found,) = [action for action in self.actions() if action["request_id"] == label]
        return found

    def command(self, *arguments: str, **settings: str) -> str:
        """A command that has to succeed; returns what it printed."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("RELAYGATE_")}
        own = {"RELAYGATE_DATABASE_URL": self.gateway.database_url, "RELAYGATE_SECRET_KEY": SECRET_KEY}
        code, out, err = shared_zygote().run(arguments, {**inherited, **own, **settings}, self.gateway.data_dir)
        assert code == 0, err
        return out

    async def query(self, statement: str, *values: object) -> list[Any]:
        connection = await asyncpg.connect(self.gateway.database_url)
        try:
            return list(await connection.fetch(statement, *values))
        finally:
            await connection.close()

    # What the calls below work on.

    def account(self) -> int:
        return int(self.call("POST", "/accounts", {"name": "a"}).json()["id"])

    def key(self) -> int:
        return int(self.call("POST", "/keys", {"account_id": self.account(), "name": "k"}).json()["id"])

    def batch(self) -> int:
        return int(self.call("POST", "/code-batches", {"name": "b", "amount": "1", "count": 2}).json()["id"])

    def channel(self) -> int:
        return int(self.call("POST", "/channels", channel_body(self.operator)).json()["id"])

    def model(self) -> str:
        name = f"m-{uuid4().hex[:12]}"
        self.call("PUT", f"/models/{name}", {"kind": "chat", "price": {"per_call": "1"}})
        return name

    def group(self) -> str:
        name = f"g-{uuid4().hex[:12]}"
        self.call("PUT", f"/model-groups/{name}", {"ratio": "2"})
        return name

    def watched_account(self) -> int:
        account = self.account()
        # Nobody listens there: a sample fails, which is an answer.
        notify = {"webhook_url": "http://127.0.0.1:9/", "webhook_secret": WEBHOOK_SECRET, "threshold": "1"}
        self.call("PATCH", f"/accounts/{account}", {"notify": notify})
        return account

    def delivery(self) -> int:
        return int(self.call("POST", f"/accounts/{self.watched_account()}/notify/test").json()["id"])

    def stuck_task(self) -> str:
        customer = self.operator.customer()
        model = media_model(self.operator, "drop=1")
        body = {"prompt": "a cat", "model": model}
        url = f"{self.gateway.url}/v2/videos/generations"
        task = httpx2.post(url, headers=customer.headers, json=body).json()["task_id"]
        deadline = time.monotonic() + 15
        while (found := self.call("GET", f"/tasks/{task}").json())["step"] != "stuck":
            assert time.monotonic() < deadline, found
            time.sleep(0.05)
        return str(task)


def channel_body(operator: Operator) -> dict[str, Any]:
    return {
        "name": f"c-{uuid4().hex[:12]}",
        "provider": "openai",
        "base_url": f"{operator.demo_url}/v1",
        "api_key": UPSTREAM_SECRET,
        "models": [{"model": "demo", "upstream_model": "demo-ok"}],
        "options": {"headers": {"x-auth-token": HEADER_SECRET, "x-plain": "plain"}},
    }


@pytest.fixture(scope="module")
def office(work_dir: Path, migrated_database: Callable[[], str], demo: DemoProcess) -> Iterator[Office]:
    data_dir = work_dir / "actions"
    data_dir.mkdir()
    with run_publisher() as publisher:
        publisher.publish(published(1))
        settings = {
            "RELAYGATE_PRICE_UPDATE_URL": publisher.url,
            "RELAYGATE_ALLOWED_PRIVATE_NETWORKS": "127.0.0.0/8",
        }
        gateway = Gateway(migrated_database(), data_dir, settings).start()
        operator = Operator(gateway, demo.url)
        with gateway.admin() as admin:
            yield Office(gateway, operator, admin, publisher)
        operator.close()
    assert gateway.stop() == 0, gateway.log


# -- every call ------------------------------------------------------------------------------------------------------

Call = Callable[[Office], httpx2.Response]

CALLS: dict[str, tuple[str, Call]] = {
    "POST /accounts": ("accounts.create", lambda o: o.call("POST", "/accounts", {"name": "a"})),
    "PATCH /accounts/{account_id}": (
        "accounts.update",
        lambda o: o.call("PATCH", f"/accounts/{o.account()}", {"enabled": False}),
    ),
    "DELETE /accounts/{account_id}": ("accounts.delete", lambda o: o.call("DELETE", f"/accounts/{o.account()}")),
    "POST /accounts/{account_id}/grants": (
        "accounts.grant",
        lambda o: o.call("POST", f"/accounts/{o.account()}/grants", {"amount": "5"}),
    ),
    "POST /accounts/{account_id}/notify/test": (
        "accounts.test_webhook",
        lambda o: o.call("POST", f"/accounts/{o.watched_account()}/notify/test"),
    ),
    "POST /keys": ("keys.create", lambda o: o.call("POST", "/keys", {"account_id": o.account(), "name": "k"})),
    "PATCH /keys/{key_id}": ("keys.update", lambda o: o.call("PATCH", f"/keys/{o.key()}", {"rpm": 5})),
    "DELETE /keys/{key_id}": ("keys.revoke", lambda o: o.call("DELETE", f"/keys/{o.key()}")),
    "POST /keys/{key_id}/rotate": ("keys.rotate", lambda o: o.call("POST", f"/keys/{o.key()}/rotate")),
    "POST /code-batches": (
        "code-batches.create",
        lambda o: o.call("POST", "/code-batches", {"name": "b", "amount": "1", "count": 2}),
    ),
    "POST /code-batches/{batch_id}/revoke": (
        "code-batches.revoke",
        lambda o: o.call("POST", f"/code-batches/{o.batch()}/revoke"),
    ),
    "POST /channels": ("channels.create", lambda o: o.call("POST", "/channels", channel_body(o.operator))),
    "PATCH /channels/{channel_id}": (
        "channels.update",
        lambda o: o.call("PATCH", f"/channels/{o.channel()}", {"api_key": UPSTREAM_SECRET + CHANGED}),
    ),
    "DELETE /channels/{channel_id}": ("channels.delete", lambda o: o.call("DELETE", f"/channels/{o.channel()}")),
    "POST /channels/{channel_id}/test": ("channels.test", lambda o: o.call("POST", f"/channels/{o.channel()}/test")),
    "DELETE /channels/{channel_id}/outages": (
        "channels.end_outages",
        lambda o: o.call("DELETE", f"/channels/{o.channel()}/outages"),
    ),
    "PUT /models/{name}": (
        "models.create",
        lambda o: o.call("PUT", f"/models/m-{uuid4().hex[:12]}", {"kind": "chat", "free": True}),
    ),
    "PATCH /models/{name}": ("models.update", lambda o: o.call("PATCH", f"/models/{o.model()}", {"aliases": []})),
    "DELETE /models/{name}": ("models.delete", lambda o: o.call("DELETE", f"/models/{o.model()}")),
    "PUT /model-groups/{name}": (
        "model-groups.create",
        lambda o: o.call("PUT", f"/model-groups/g-{uuid4().hex[:12]}", {"ratio": "2"}),
    ),
    "DELETE /model-groups/{name}": ("model-groups.delete", lambda o: o.call("DELETE", f"/model-groups/{o.group()}")),
    "POST /price-catalogue/update": ("price-catalogue.update", lambda o: o.call("POST", "/price-catalogue/update")),
    "POST /price-catalogue/apply": ("price-catalogue.apply", lambda o: o.call("POST", "/price-catalogue/apply")),
    "POST /tasks/{task_id}/resolve": (
        "tasks.resolve_by_fail",
        lambda o: o.call("POST", f"/tasks/{o.stuck_task()}/resolve", {"action": "fail"}),
    ),
    "POST /deliveries/{delivery_id}/redeliver": (
        "deliveries.redeliver",
        lambda o: o.call("POST", f"/deliveries/{o.delivery()}/redeliver"),
    ),
    "POST /tokens": ("tokens.create", lambda o: o.call("POST", "/tokens", {"name": "t", "scopes": ["read"]})),
    "DELETE /tokens/{token_id}": (
        "tokens.revoke",
        lambda o: o.call(
            "DELETE", f"/tokens/{o.call('POST', '/tokens', {'name': 't', 'scopes': ['read']}).json()['id']}"
        ),
    ),
}


def test_every_call_that_changes_something_is_tried_here(office: Office) -> None:
    paths = httpx2.get(f"{office.gateway.url}/openapi.json").json()["paths"]
    found = {
        f"{method.upper()} {path.removeprefix('/admin/v1')}"
        for path, item in paths.items()
        if path.startswith("/admin/v1/")
        for method in item
        if method != "get"
    }
    assert found == set(CALLS)


@pytest.mark.parametrize("call", CALLS)
def test_every_call_leaves_a_row(office: Office, call: str) -> None:
    action, make = CALLS[call]
    response = make(office)
    found = office.action_of(response)
    assert found["action"] == action
    assert found["target"] == action.partition(".")[0]
    assert (found["actor"], found["token_id"], found["address"]) == ("configured", None, "127.0.0.1")
    assert found["before"] is not None or found["after"] is not None
    method, path = call.split()
    if "{" in path:
        assert found["target_id"] == response.request.url.path.split("/")[4]
    if method == "DELETE" and action != "tokens.revoke":
        assert found["before"] is not None
        assert found["after"] is None


# -- what a row says ---------------------------------------------------------------------------------------------------


def test_only_what_changed_is_kept(office: Office) -> None:
    account = office.account()
    changes = {"price_ratio": "0.5", "email": "a@example.com", "rpm": 5, "budget": {"amount": "3", "period": "day"}}
    found = office.action_of(office.call("PATCH", f"/accounts/{account}", changes))
    assert found["before"] == {"price_ratio": "1", "email": None, "rpm": None, "budget": None}
    assert found["after"] == changes
    same = office.action_of(office.call("PATCH", f"/accounts/{account}", {"price_ratio": "0.5"}))
    assert (same["before"], same["after"]) == ({}, {})


def test_what_was_made_and_what_is_gone_is_kept_whole(office: Office) -> None:
    made = office.call("POST", "/accounts", {"name": "whole"})
    found = office.action_of(made)
    rules = {
        name: value for name, value in made.json().items() if name not in ("balance", "held", "charged", "granted")
    }
    assert (found["before"], found["after"]) == (None, rules)
    gone = office.action_of(office.call("DELETE", f"/accounts/{made.json()['id']}"))
    assert (gone["before"], gone["after"]) == (rules, None)


def test_a_grant_says_how_much(office: Office) -> None:
    grant = {"amount": "5", "note": "Invoice 17", "idempotency_key": uuid4().hex}
    found = office.action_of(office.call("POST", f"/accounts/{office.account()}/grants", grant))
    assert grant.items() <= found["after"].items()


@pytest.mark.parametrize(
    ("changes", "kept"),
    [
        ({"api_key": UPSTREAM_SECRET + CHANGED}, {"api_key"}),
        ({"api_key": UPSTREAM_SECRET}, {"api_key"}),
        ({"options": {"headers": {"x-auth-token": HEADER_SECRET + CHANGED, "x-plain": "plain"}}}, {"options"}),
        ({"priority": 7}, set()),
    ],
)
def test_a_replaced_secret_is_told_of(office: Office, changes: dict[str, Any], kept: set[str]) -> None:
    found = office.action_of(office.call("PATCH", f"/channels/{office.channel()}", changes))
    hidden = dict.fromkeys(kept, "[hidden]")
    visible = {} if kept else {"priority": 0}, {} if kept else {"priority": 7}
    assert (found["before"], found["after"]) == (hidden | visible[0], hidden | visible[1])


def test_a_replaced_webhook_secret_is_told_of(office: Office) -> None:
    account = office.watched_account()
    changes = {"notify": {"webhook_secret": WEBHOOK_SECRET + CHANGED, "overlap_hours": 0}}
    found = office.action_of(office.call("PATCH", f"/accounts/{account}", changes))
    assert found["before"] == found["after"] == {"webhook_secret": "[hidden]"}


def test_a_row_names_the_token(office: Office) -> None:
    issued = office.call("POST", "/tokens", {"name": "clerk", "scopes": ["accounts"]}).json()
    headers = {"authorization": f"Bearer {issued['token']}"}
    response = httpx2.post(f"{office.gateway.url}/admin/v1/accounts", headers=headers, json={"name": "a"})
    found = office.action_of(response)
    assert (found["actor"], found["token_id"]) == ("clerk", issued["id"])
    assert found in office.actions(token_id=issued["id"])


# -- together with the change, or not at all ---------------------------------------------------------------------------


def test_a_failed_call_leaves_none(office: Office) -> None:
    account, channel, stopped = office.account(), office.channel(), office.delivery()
    taken = office.call("GET", f"/channels/{office.channel()}").json()["name"]
    before = office.actions()
    for method, path, body, status in [
        ("POST", f"/accounts/{account}/grants", {"amount": "-1"}, 400),
        ("PATCH", f"/channels/{channel}", {"name": taken}, 409),
        ("PATCH", f"/accounts/{account}", {"name": "x", "notify": {"threshold": "1"}}, 422),
        ("DELETE", "/accounts/9223372036854775807", None, 404),
        ("POST", f"/deliveries/{stopped + 1_000_000}/redeliver", None, 404),
        ("POST", f"/accounts/{account}/notify/test", None, 409),
        ("POST", "/price-catalogue/apply", {"dry_run": True}, 200),
    ]:
        office.call(method, path, body, status)
    assert office.actions() == before


async def test_nothing_is_done_that_can_not_be_logged(office: Office) -> None:
    account = office.account()
    await office.query("ALTER TABLE admin_actions ADD CONSTRAINT full_disk CHECK (false) NOT VALID")
    try:
        office.call("PATCH", f"/accounts/{account}", {"enabled": False}, 503)
        office.call("DELETE", f"/accounts/{account}", None, 503)
    finally:
        await office.query("ALTER TABLE admin_actions DROP CONSTRAINT full_disk")
    assert office.call("GET", f"/accounts/{account}").json()["enabled"] is True


# -- reading it --------------------------------------------------------------------------------------------------------


def test_the_log_is_filtered_and_paged(office: Office) -> None:
    group = office.group()
    for ratio in ("3", "4"):
        office.call("PUT", f"/model-groups/{group}", {"ratio": ratio})
    mine = office.actions(target="model-groups", target_id=group)
    assert [item["action"].partition(".")[2] for item in mine] == ["update", "update", "create"]
    assert [item["after"]["ratio"] for item in mine] == ["4", "3", "2"]
    assert mine[0]["before"] == {"ratio": "3"}
    assert office.actions(target="model-groups", target_id=group, limit=1) == mine
    assert office.actions(action="model-groups.create", target_id=group) == mine[2:]
    assert office.actions(actor="nobody") == []
    moment = mine[1]["at"].replace("+00:00", "Z")
    assert office.actions(target="model-groups", target_id=group, since=moment) == mine[:2]
    for query in ("since=yesterday", "cursor=!", "limit=0", "nothing=1"):
        assert office.admin.get(f"/actions?{query}").status_code in (400, 422)


@pytest.mark.long
def test_commands_are_logged_too(office: Office) -> None:
    office.command("accounts", "create", "shop", "--grant", "5")
    account = office.actions(actor="cli", action="accounts.create")[0]["target_id"]
    office.command("grants", "add", account, "7")
    office.secrets.add(office.command("keys", "create", "--account", account).strip())
    key = office.actions(actor="cli", action="keys.create")[0]["target_id"]
    office.secrets.add(office.command("keys", "rotate", key).strip())
    office.command("keys", "revoke", key)
    office.secrets |= set(office.command("codes", "create", "5", "--count", "2").split())
    batch = office.actions(actor="cli", action="code-batches.create")[0]["target_id"]
    office.command("codes", "revoke", batch)
    office.command("models", "set", "cli-model", "--per-call", "1")
    office.command("models", "set", "cli-model", "--free")
    channel = ("channels", "add", "cli-channel", "--provider", "openai", "--model", "cli-model=demo-ok")
    office.command(*channel, "--base-url", office.operator.demo_url + "/v1", RELAYGATE_CHANNEL_API_KEY=UPSTREAM_SECRET)
    office.command("channels", "test", office.actions(actor="cli", action="channels.create")[0]["target_id"])
    office.command("prices", "apply")
    office.secrets.add(office.command("tokens", "create", "t", "--scope", "read").strip())
    done = [(item["action"], item["address"], item["request_id"]) for item in reversed(office.actions(actor="cli"))]
    assert [action for action, _, _ in done] == [
        "accounts.create",
        "accounts.grant",
        "keys.create",
        "keys.rotate",
        "keys.revoke",
        "code-batches.create",
        "code-batches.revoke",
        "models.create",
        "models.replace",
        "channels.create",
        "channels.test",
        "price-catalogue.apply",
        "tokens.create",
    ]
    assert {(address, label) for _, address, label in done} == {(None, None)}


async def test_no_row_holds_a_secret(office: Office) -> None:
    """Over all that the tests before this one did; alone it looks at its own."""
    office.secrets.add(office.call("POST", f"/keys/{office.key()}/rotate").json()["key"])
    office.call("PATCH", f"/channels/{office.channel()}", {"api_key": UPSTREAM_SECRET + CHANGED})
    office.watched_account()
    rows = await office.query("SELECT to_jsonb(a)::text AS row FROM admin_actions a")
    text = "\n".join(row["row"] for row in rows)
    assert text.count("\n") >= 8
    assert len(office.secrets) >= 8
    for secret in office.secrets:
        digest = hashlib.sha256(secret.encode()).digest()
        for form in (secret, digest.hex(), base64.b64encode(digest).decode()):
            assert form not in text


async def test_old_rows_are_forgotten(office: Office, start_gateway: Callable[..., Gateway]) -> None:
    office.account()
    old, kept = office.actions(action="accounts.create", limit=200)[:2]
    await office.query("UPDATE admin_actions SET at = now() - interval '8 days' WHERE id = $1", old["id"])
    await office.query("UPDATE admin_actions SET at = now() - interval '6 days' WHERE id = $1", kept["id"])
    start_gateway(office.gateway.database_url, RELAYGATE_ACTION_RETENTION_DAYS="7")
    deadline = time.monotonic() + 10
    while any(item["id"] == old["id"] for item in office.actions()):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)
    assert any(item["id"] == kept["id"] for item in office.actions())
