"""Admin tokens: what each may do, for how long, and who may make them."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from typing import Any, get_args

import asyncpg
import httpx2
import pytest

from app.accounts.admin_tokens import SCOPES
from app.api.admin.tokens import TokenScope
from tests.api.scan import assert_refused
from tests.gateway import SECRET_KEY, Gateway
from tests.wire.talk import head, talk
from tests.zygote import shared_zygote

SCOPE_OF = {
    "accounts": "accounts",
    "keys": "accounts",
    "code-batches": "accounts",
    "channels": "catalog",
    "outages": "catalog",
    "models": "catalog",
    "model-groups": "catalog",
    "price-catalogue": "catalog",
    "usage": "usage",
    "usage.csv": "usage",
    "audit": "usage",
    "tasks": "usage",
    "deliveries": "usage",
    "tokens": "tokens",
    "actions": "tokens",
}
"""By the first part of the path; a resource that isn't here fails the test below."""

FETCHES = "/admin/v1/price-catalogue/update"
"""Takes no body, so there is no harmless way to be let in."""


class Holder(httpx2.Client):
    """A client with one token."""

    def __init__(self, gateway: Gateway, issued: dict[str, Any]) -> None:
        super().__init__(base_url=f"{gateway.url}/admin/v1", headers={"authorization": f"Bearer {issued['token']}"})
        self.id: int = issued["id"]
        self.token: str = issued["token"]


@pytest.fixture
def holders(gateway: Gateway, admin: httpx2.Client) -> Iterator[Any]:
    """Makes clients with tokens of these scopes."""
    made: list[Holder] = []

    def make(*scopes: str, by: httpx2.Client = admin, **fields: Any) -> Holder:
        response = by.post("/tokens", json={"name": "test", "scopes": list(scopes), **fields})
        assert response.status_code == 201, response.text
        made.append(Holder(gateway, response.json()))
        return made[-1]

    yield make
    for holder in made:
        holder.close()


def operations(gateway: Gateway) -> list[tuple[str, str, str]]:
    """Method, path with ids that don't exist, and scope of every admin operation."""
    paths = httpx2.get(f"{gateway.url}/openapi.json").json()["paths"]
    found = [
        (method.upper(), re.sub(r"\{\w+\}", "9223372036854775807", path), SCOPE_OF[path.split("/")[3]])
        for path, item in paths.items()
        if path.startswith("/admin/v1/")
        for method in item
    ]
    assert len(found) > 40
    return found


async def execute(gateway: Gateway, statement: str, *values: object) -> str:
    connection = await asyncpg.connect(gateway.database_url)
    try:
        return str(await connection.execute(statement, *values))
    finally:
        await connection.close()


# -- scopes ----------------------------------------------------------------------------------------------------------


def test_the_api_knows_every_scope() -> None:
    assert get_args(TokenScope) == SCOPES


@pytest.mark.parametrize("scope", SCOPES)
def test_a_scope_opens_its_own_doors_and_no_others(gateway: Gateway, holders: Any, scope: str) -> None:
    client = holders(scope)
    tried = {True: 0, False: 0}
    for method, path, needed in operations(gateway):
        allowed = scope in ("admin", needed) or (scope == "read" and method == "GET")
        if allowed and path == FETCHES:
            continue
        response = client.request(method, gateway.url + path, content=b"" if method == "GET" else b"{not json")
        if allowed:
            assert response.status_code not in (401, 403), (method, path, response.text)
        else:
            assert response.status_code == 403, (method, path, response.text)
            error = response.json()["error"]
            assert error["code"] == "insufficient_scope"
            assert f"`{needed}`" in error["message"]
        tried[allowed] += 1
    assert tried[False] or scope == "admin"
    assert tried[True] or scope == "metrics"


@pytest.mark.parametrize(("scope", "status"), [("metrics", 200), ("read", 200), ("admin", 200), ("usage", 403)])
def test_metrics_have_a_scope(gateway: Gateway, holders: Any, scope: str, status: int) -> None:
    assert holders(scope).get(f"{gateway.url}/metrics").status_code == status


def test_a_refused_body_is_not_waited_for(gateway: Gateway, holders: Any) -> None:
    response = holders("read").post("/accounts", json={"name": "a" * 1_100_000})
    assert response.status_code == 403


# -- life ------------------------------------------------------------------------------------------------------------


async def test_expired_and_revoked_are_unknown(gateway: Gateway, holders: Any, admin: httpx2.Client) -> None:
    expired, revoked = holders("admin"), holders("admin")
    assert [client.get("/accounts").status_code for client in (expired, revoked)] == [200, 200]
    await execute(gateway, "UPDATE admin_tokens SET expires_at = now() WHERE id = $1", expired.id)
    assert admin.delete(f"/tokens/{revoked.id}").status_code == 204
    unknown = httpx2.get(f"{gateway.url}/admin/v1/accounts", headers={"authorization": "Bearer rga-unknown"})
    for client in (expired, revoked):
        response = client.get("/accounts")
        assert (response.status_code, response.content) == (401, unknown.content)


@pytest.mark.parametrize("end", ["revoked_at = now() - interval '1 ms'", "expires_at = now()"])
async def test_one_that_dies_while_its_body_arrives_changes_nothing(
    gateway: Gateway, admin: httpx2.Client, holders: Any, end: str
) -> None:
    """Else whoever has a stolen token keeps a request open, and makes a new one when the stolen one is revoked."""
    thief = holders("admin")
    body = json.dumps({"name": f"after {end}", "scopes": ["admin"]}).encode()
    credential = f"Authorization: Bearer {thief.token}"
    fields = (credential, "Content-Type: application/json", "Expect: 100-continue", f"Content-Length: {len(body)}")
    async with talk(gateway) as slow:
        await slow.send(head("POST", "/admin/v1/tokens", *fields))
        assert b" 100 " in await slow.reader.readuntil(b"\r\n\r\n")
        await execute(gateway, f"UPDATE admin_tokens SET {end} WHERE id = $1", thief.id)
        await slow.send(body)
        answer = await slow.answer()
    assert answer is not None
    assert answer.status == 401
    assert f"after {end}" not in admin.get("/tokens", params={"limit": 200}).text


def test_revoking_twice_is_revoking_once(admin: httpx2.Client, holders: Any) -> None:
    client = holders("read")
    assert admin.delete(f"/tokens/{client.id}").status_code == 204
    first = listed(admin, client.id)["revoked_at"]
    assert first is not None
    assert admin.delete(f"/tokens/{client.id}").status_code == 204
    assert listed(admin, client.id)["revoked_at"] == first
    missing = admin.delete("/tokens/9223372036854775807")
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "admin_token_not_found")


def test_a_token_may_revoke_itself(holders: Any) -> None:
    client = holders("tokens")
    assert client.delete(f"/tokens/{client.id}").status_code == 204
    assert client.get("/tokens").status_code == 401


async def test_its_last_use_is_written_at_most_once_a_minute(
    gateway: Gateway, admin: httpx2.Client, holders: Any
) -> None:
    client = holders("read")
    assert listed(admin, client.id)["last_used_at"] is None
    client.get("/accounts")
    first = listed(admin, client.id)["last_used_at"]
    assert first is not None
    client.get("/accounts")
    assert listed(admin, client.id)["last_used_at"] == first
    await execute(gateway, "UPDATE admin_tokens SET last_used_at = now() - interval '61 s' WHERE id = $1", client.id)
    client.get("/accounts")
    assert listed(admin, client.id)["last_used_at"] > first


def listed(admin: httpx2.Client, token_id: int) -> dict[str, Any]:
    cursor: str | None = None
    while True:
        page = admin.get("/tokens", params={"limit": 200} | ({"cursor": cursor} if cursor else {})).json()
        for token in page["data"]:
            if token["id"] == token_id:
                return dict(token)
        cursor = page["next_cursor"]
        assert cursor is not None


def test_a_token_is_shown_once(gateway: Gateway, admin: httpx2.Client) -> None:
    body = {"name": "billing", "scopes": ["accounts", "read"], "expires_at": "2090-12-31T23:59:59Z"}
    made = admin.post("/tokens", json=body).json()
    token = made.pop("token")
    assert re.fullmatch(r"rga-[\w-]{43}", token)
    assert (made["scopes"], made["expires_at"]) == (["accounts", "read"], "2090-12-31T23:59:59Z")
    assert listed(admin, made["id"]) == made
    for path in ("/tokens", "/actions"):
        assert token not in admin.get(path, params={"limit": 200}).text
    assert token not in gateway.log


# -- making them -----------------------------------------------------------------------------------------------------


def refused_scope(response: httpx2.Response, scope: str) -> None:
    assert response.status_code == 403, response.text
    assert response.json()["error"]["code"] == "insufficient_scope"
    assert f"`{scope}`" in response.json()["error"]["message"]


def test_nobody_gives_what_they_have_not_got(admin: httpx2.Client, holders: Any) -> None:
    client = holders("tokens", "usage")
    for scopes, lacking in [(["admin"], "admin"), (["read"], "read"), (["usage", "accounts"], "accounts")]:
        refused_scope(client.post("/tokens", json={"name": "more", "scopes": scopes}), lacking)
    less = holders("usage", by=client)
    assert less.get("/usage").status_code == 200
    chief = holders("admin")
    refused_scope(client.delete(f"/tokens/{chief.id}"), "admin")
    assert chief.get("/accounts").status_code == 200
    assert client.delete(f"/tokens/{less.id}").status_code == 204


def test_nobody_outlives_who_made_them(holders: Any) -> None:
    client = holders("tokens", expires_at="2080-01-01T00:00:00Z")
    for fields in ({}, {"expires_at": None}, {"expires_at": "2080-01-01T00:00:01Z"}):
        assert_refused(client.post("/tokens", json={"name": "long", "scopes": ["tokens"], **fields}), "expires_at")
    assert holders("tokens", by=client, expires_at="2080-01-01T00:00:00Z").get("/tokens").status_code == 200


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"scopes": ["read"]}, "name"),
        ({"name": "a"}, "scopes"),
        ({"name": "a", "scopes": []}, "scopes"),
        ({"name": "a", "scopes": ["everything"]}, "scopes.0"),
        ({"name": "a", "scopes": ["read", "read"]}, "scopes"),
        ({"name": "a", "scopes": ["read"], "expires_at": "2020-01-01T00:00:00Z"}, "expires_at"),
        ({"name": "a", "scopes": ["read"], "token": "rga-mine"}, "token"),
    ],
)
def test_what_a_token_can_not_be(admin: httpx2.Client, body: dict[str, Any], field: str) -> None:
    assert_refused(admin.post("/tokens", json=body), field)


# -- the command line --------------------------------------------------------------------------------------------------


def command(gateway: Gateway, *arguments: str) -> tuple[int, str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("RELAYGATE_")}
    settings = {"RELAYGATE_DATABASE_URL": gateway.database_url, "RELAYGATE_SECRET_KEY": SECRET_KEY, "COLUMNS": "200"}
    return shared_zygote().run(arguments, {**inherited, **settings}, gateway.data_dir)


def test_tokens_are_made_listed_and_revoked_from_a_terminal(gateway: Gateway, admin: httpx2.Client) -> None:
    code, out, err = command(gateway, "tokens", "create", "ops", "--scope", "usage", "--scope", "read")
    assert code == 0, err
    (number,) = re.findall(r"Admin token (\d+) \(ops; usage, read\)", err)
    headers = {"authorization": f"Bearer {out.strip()}"}
    assert httpx2.get(f"{gateway.url}/admin/v1/usage", headers=headers).status_code == 200
    assert httpx2.delete(f"{gateway.url}/admin/v1/accounts/1", headers=headers).status_code == 403
    code, out, err = command(gateway, "tokens", "list")
    assert code == 0, err
    (row,) = [line.split() for line in out.splitlines() if line.split()[0] == number]
    assert row[1:4] == ["ops", "usage,read", "-"]
    assert command(gateway, "tokens", "revoke", number) == (0, f"Admin token {number} is revoked\n", "")
    assert httpx2.get(f"{gateway.url}/admin/v1/usage", headers=headers).status_code == 401
    found = admin.get("/actions", params={"target": "tokens", "target_id": number}).json()["data"]
    assert [(item["action"], item["actor"]) for item in found] == [("tokens.revoke", "cli"), ("tokens.create", "cli")]


def test_a_terminal_refuses_what_the_api_refuses(gateway: Gateway) -> None:
    code, out, err = command(gateway, "tokens", "create", "ops", "--scope", "everything")
    assert (code, out) == (1, "")
    assert err.startswith("relaygate: scopes.0: ")
    code, out, err = command(gateway, "tokens", "revoke", "9223372036854775807")
    assert (code, err) == (1, "relaygate: There is no admin token 9223372036854775807.\n")
