"""Models: put, changed, deleted; their prices, aliases and names."""

from __future__ import annotations

import time
from typing import Any
from uuid import uuid4

import httpx2
import pytest

from tests.api.conftest import Chat, await_status
from tests.api.scan import assert_refused
from tests.gateway import Operator

NO_OPTIONS: dict[str, Any] = {
    "fallbacks": [],
    "first_byte_timeout": None,
    "idle_timeout": None,
    "max_attempts": None,
    "lacks": [],
}
"""A model's, as they are shown, where none is set."""


@pytest.fixture
def name() -> str:
    return f"org/m-{uuid4().hex[:12]}"


def _find(admin: httpx2.Client, name: str) -> dict[str, Any] | None:
    cursor: str | None = None
    while True:
        page = admin.get("/models", params={"limit": 200} | ({} if cursor is None else {"cursor": cursor})).json()
        for model in page["data"]:
            if model["name"] == name:
                found: dict[str, Any] = model
                return found
        cursor = page["next_cursor"]
        if cursor is None:
            return None


def test_put_creates_and_then_replaces(admin: httpx2.Client, name: str) -> None:
    body = {
        "kind": "chat",
        "description": "Two\nlines, 研究.",
        "context_window": 128000,
        "max_output_tokens": 4096,
        "task_timeout": None,
        "aliases": [f"{name}-b", f"{name}-a"],
        "price": {"input_mtok": "0.150", "output_mtok": 0.6, "cache_read_mtok": "0", "per_call": 1},
    }
    made = admin.put(f"/models/{name}", json=body)
    assert made.status_code == 201
    model = made.json()
    assert model == {
        **body,
        "name": name,
        "aliases": [f"{name}-a", f"{name}-b"],
        "price": {"input_mtok": "0.15", "output_mtok": "0.6", "cache_read_mtok": "0", "per_call": "1"},
        "price_ref": None,
        "free": False,
        "group": None,
        "group_ratio": "1",
        "channels": [],
        "channel_prices": [],
        "options": NO_OPTIONS,
        "created_at": model["created_at"],
    }
    assert _find(admin, name) == model
    replaced = admin.put(f"/models/{name}", json={"kind": "chat", "free": True})
    assert replaced.status_code == 200
    assert replaced.json() == {
        "name": name,
        "kind": "chat",
        "description": None,
        "context_window": None,
        "max_output_tokens": None,
        "task_timeout": None,
        "aliases": [],
        "price": None,
        "price_ref": None,
        "free": True,
        "group": None,
        "group_ratio": "1",
        "channels": [],
        "channel_prices": [],
        "options": NO_OPTIONS,
        "created_at": model["created_at"],
    }


def test_a_patch_changes_what_is_given(admin: httpx2.Client, name: str) -> None:
    body = {
        "kind": "chat",
        "description": "x",
        "max_output_tokens": 5,
        "aliases": [f"{name}-a"],
        "price": {"per_call": "1"},
    }
    model = admin.put(f"/models/{name}", json=body).json()
    path = f"/models/{name}"
    assert admin.patch(path, json={}).json() == model
    cleared: dict[str, Any] = {"description": None, "max_output_tokens": None, "aliases": [], "price": None}
    assert admin.patch(path, json=cleared).json() == model | cleared
    model |= cleared
    assert admin.patch(path, json={"free": True}).json() == model | {"free": True}
    assert_refused(admin.patch(path, json={"price": {"per_call": "1"}}), "price")
    priced = admin.patch(path, json={"price": {"per_call": "2"}, "free": False}).json()
    assert priced == model | {"price": {"per_call": "2"}}
    assert_refused(admin.patch(path, json={"free": True}), "free")
    assert admin.patch(path, json={"free": True, "price": None}).json()["price"] is None


@pytest.mark.parametrize(
    ("field", "value", "named"),
    [
        ("kind", "music", "kind"),
        ("kind", None, "kind"),
        ("description", "a\x00", "description"),
        ("description", "a" * 4001, "description"),
        ("context_window", 0, "context_window"),
        ("context_window", 2**31, "context_window"),
        ("context_window", "5", "context_window"),
        ("max_output_tokens", -1, "max_output_tokens"),
        ("max_output_tokens", 1.5, "max_output_tokens"),
        ("max_output_tokens", True, "max_output_tokens"),
        ("aliases", None, "aliases"),
        ("aliases", "a", "aliases"),
        ("aliases", [""], "aliases.0"),
        ("aliases", ["a", "b\n"], "aliases.1"),
        ("aliases", ["a", "a"], "aliases"),
        ("free", "yes", "free"),
        ("free", None, "free"),
        ("price", "1", "price"),
        ("price", [], "price"),
        ("price", {}, "price"),
        ("price", {"input_mtok": None}, "price.input_mtok"),
        ("price", {"input_mtok": "-1"}, "price.input_mtok"),
        ("price", {"output_mtok": "1", "input_mtok": "NaN"}, "price.input_mtok"),
        ("price", {"input_mtok": "0.0000000001"}, "price.input_mtok"),
        ("price", {"input_mtok": "5e9"}, "price.input_mtok"),
        ("price", {"input_mtok": True}, "price.input_mtok"),
        ("price", {"input_mtok": {"base": 1}}, "price.input_mtok"),
        ("price", {"per_pixel": "1"}, "price.per_pixel"),
        ("price", {"variants": []}, "price.variants"),
        ("price", {"variants": {}}, "price.variants"),
        ("price", {"per_call": "1", "variants": [1]}, "price.variants.0"),
        ("price", {"variants": [{"when": {"size": "s"}}]}, "price.variants.0"),
        ("price", {"variants": [{"per_call": "1"}]}, "price.variants.0.when"),
        ("price", {"variants": [{"when": {}, "per_call": "1"}]}, "price.variants.0.when"),
        ("price", {"variants": [{"when": {"foo": "s"}, "per_call": "1"}]}, "price.variants.0.when.foo"),
        ("price", {"variants": [{"when": {"size": []}, "per_call": "1"}]}, "price.variants.0.when.size"),
        ("price", {"variants": [{"when": {"size": " "}, "per_call": "1"}]}, "price.variants.0.when.size"),
        ("price", {"variants": [{"when": {"context_over": "5"}, "per_call": 1}]}, "price.variants.0.when.context_over"),
        ("price", {"variants": [{"when": {"context_over": -1}, "per_call": 1}]}, "price.variants.0.when.context_over"),
        (
            "price",
            {"variants": [{"when": {"service_tier": "default"}, "per_call": 1}]},
            "price.variants.0.when.service_tier",
        ),
        ("price", {"variants": [{"when": {"size": "s"}, "per_call": "x"}]}, "price.variants.0.per_call"),
        ("price", {"variants": [{"when": {"size": "s"}, "variants": []}]}, "price.variants.0.variants"),
        (
            "price",
            {"variants": [{"when": {"size": "s"}, "per_call": 1}, {"when": {"size": "S"}, "per_call": 2}]},
            "price.variants.1.when",
        ),
        ("group", "no-such-group", "group"),
        ("group", "", "group"),
        ("price_ref", "openai/gpt-4o", "price_ref"),
        ("name", "other", "name"),
        ("price_id", 1, "price_id"),
    ],
)
def test_a_bad_field_is_named(admin: httpx2.Client, name: str, field: str, value: Any, named: str) -> None:
    assert_refused(admin.put(f"/models/{name}", json={"kind": "chat", field: value}), named)
    assert _find(admin, name) is None
    model = admin.put(f"/models/{name}", json={"kind": "chat"}).json()
    assert_refused(admin.patch(f"/models/{name}", json={field: value}), named)
    assert _find(admin, name) == model


def test_every_bad_price_is_named(admin: httpx2.Client, name: str) -> None:
    price = {"input_mtok": "x", "output_mtok": "1", "per_call": "-1", "more": "1"}
    message = admin.put(f"/models/{name}", json={"kind": "chat", "price": price}).json()["error"]["message"]
    for field in ("price.input_mtok: ", "price.per_call: ", "price.more: "):
        assert field in message
    assert "output_mtok" not in message


def test_priced_and_free_exclude_each_other(admin: httpx2.Client, name: str) -> None:
    body = {"kind": "chat", "free": True, "price": {"per_call": "0"}}
    assert_refused(admin.put(f"/models/{name}", json=body), "free")


def test_a_kind_is_required(admin: httpx2.Client, name: str) -> None:
    assert_refused(admin.put(f"/models/{name}", json={}), "kind")


@pytest.mark.parametrize("bad", ["", "%20x", "a%09b", "a%00b", "a" * 201, "%E2%80%8B"])
def test_a_bad_name_is_refused(admin: httpx2.Client, bad: str) -> None:
    for response in (
        admin.put(f"/models/{bad}", json={"kind": "chat"}),
        admin.patch(f"/models/{bad}", json={}),
        admin.delete(f"/models/{bad}"),
    ):
        assert_refused(response, "name")


@pytest.mark.parametrize("odd", ["org/sub/model:8b@v1", "ünïcode 模型", "a%3Fb%23c%25d", "'; DROP TABLE models; --"])
def test_odd_names_work(admin: httpx2.Client, odd: str) -> None:
    made = admin.put(f"/models/{odd}", json={"kind": "chat"})
    assert made.status_code in (200, 201)
    assert _find(admin, made.json()["name"]) == made.json()
    assert admin.patch(f"/models/{odd}", json={"description": "x"}).json()["description"] == "x"
    assert admin.delete(f"/models/{odd}").status_code == 204
    assert _find(admin, made.json()["name"]) is None


def test_names_and_aliases_are_unique(admin: httpx2.Client, name: str) -> None:
    other, alias = f"{name}-other", f"{name}-alias"
    assert admin.put(f"/models/{name}", json={"kind": "chat", "aliases": [alias]}).status_code == 201
    assert_refused(admin.put(f"/models/{alias}", json={"kind": "chat"}), "name", 409)
    assert_refused(admin.put(f"/models/{other}", json={"kind": "chat", "aliases": [alias]}), "aliases", 409)
    assert_refused(admin.put(f"/models/{other}", json={"kind": "chat", "aliases": [name]}), "aliases", 409)
    assert_refused(admin.put(f"/models/{other}", json={"kind": "chat", "aliases": [other]}), "aliases", 409)
    assert _find(admin, other) is None
    assert_refused(admin.patch(f"/models/{name}", json={"aliases": [name]}), "aliases", 409)
    assert admin.delete(f"/models/{name}").status_code == 204
    assert admin.put(f"/models/{alias}", json={"kind": "chat"}).status_code == 201


def test_what_isnt_there_is_404(admin: httpx2.Client, name: str) -> None:
    for response in (admin.patch(f"/models/{name}", json={}), admin.delete(f"/models/{name}")):
        assert response.status_code == 404
        assert response.json()["error"]["code"] == "model_not_found"


def test_models_are_listed_by_name_and_page(admin: httpx2.Client) -> None:
    prefix = f"zz-{uuid4().hex[:8]}"
    names = [f"{prefix}-{letter}" for letter in "bca"]
    for each in names:
        admin.put(f"/models/{each}", json={"kind": "chat"})
    seen: list[str] = []
    cursor: str | None = None
    while True:
        page = admin.get("/models", params={"limit": 2} | ({} if cursor is None else {"cursor": cursor})).json()
        seen += [model["name"] for model in page["data"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert len(seen) == len(set(seen))
    assert [each for each in seen if each.startswith(prefix)] == sorted(names)


def test_a_model_shows_the_channels_that_list_it(admin: httpx2.Client, operator: Operator) -> None:
    model = operator.model()
    channels = [operator.channel(model, "demo"), operator.channel(model, "demo", enabled=False)]
    found = _find(admin, model)
    assert found is not None
    assert found["channels"] == sorted(channel["name"] for channel in channels)


def test_a_change_counts_within_a_moment(admin: httpx2.Client, operator: Operator, chat: Chat) -> None:
    customer, model, alias = operator.customer(), operator.model("demo"), f"alias-{uuid4().hex[:8]}"
    assert chat(customer, model).status_code == 200
    assert chat(customer, alias).status_code == 404
    admin.patch(f"/models/{model}", json={"aliases": [alias]})
    await_status(chat, customer, alias, 200)
    admin.patch(f"/models/{model}", json={"price": None})
    assert await_status(chat, customer, model, 503).json()["error"]["code"] == "model_not_priced"
    admin.patch(f"/models/{model}", json={"free": True})
    await_status(chat, customer, model, 200)
    admin.delete(f"/models/{model}")
    await_status(chat, customer, model, 404)


def test_an_entry_keeps_the_price_that_was_applied(admin: httpx2.Client, operator: Operator, chat: Chat) -> None:
    customer, model = operator.customer(), operator.model("demo", price={"per_call": "0.1"})
    assert chat(customer, model).status_code == 200
    admin.patch(f"/models/{model}", json={"price": {"per_call": "0.2"}})
    deadline = time.monotonic() + 2
    charges: list[str] = []
    while charges[:1] != ["0.2"]:
        assert time.monotonic() < deadline
        assert chat(customer, model).status_code == 200
        entries = operator.entries(customer)
        charges = [entry["charged"] for entry in entries]
        assert [entry["price"]["per_call"] for entry in entries] == charges
    assert charges[-1] == "0.1"


VARIED = {
    "input_mtok": "1.25",
    "output_mtok": "10",
    "per_image": "0.04",
    "variants": [
        {"when": {"context_over": 200000}, "input_mtok": "2.5", "output_mtok": "15"},
        {"when": {"service_tier": "batch", "resolution": "1080p"}, "output_mtok": "0"},
    ],
}


def test_a_price_with_variants_is_shown_as_it_was_given(admin: httpx2.Client, name: str) -> None:
    made = admin.put(f"/models/{name}", json={"kind": "chat", "price": VARIED}).json()
    assert made["price"] == VARIED
    assert _find(admin, name) == made


class TestTheDefaultPrice:
    """A model without a price of its own takes the price catalogue's."""

    def _put(self, admin: httpx2.Client, name: str, **fields: Any) -> dict[str, Any]:
        response = admin.put(f"/models/{name}", json={"kind": "chat", **fields})
        assert response.status_code in (200, 201), response.text
        made: dict[str, Any] = response.json()
        return made

    def test_is_taken_where_the_catalogue_knows_the_model(self, admin: httpx2.Client) -> None:
        made = self._put(admin, "gpt-4o-mini")
        assert made["price_ref"] == "openai/gpt-4o-mini"
        assert (made["price"]["input_mtok"], made["price"]["output_mtok"]) == ("0.15", "0.6")
        listed = admin.get("/price-catalogue", params={"query": "openai/gpt-4o-mini"}).json()["data"]
        assert made["price"] in [entry["price"] for entry in listed if entry["ref"] == "openai/gpt-4o-mini"]

    def test_is_that_of_the_provider_whose_channel_serves_it(self, admin: httpx2.Client, name: str) -> None:
        channel = {
            "name": f"c-{uuid4().hex[:12]}",
            "provider": "openrouter",
            "api_key": "k" * 10,
            "models": [{"model": name, "upstream_model": "openai/gpt-4o"}],
            "enabled": False,
        }
        assert admin.post("/channels", json=channel).status_code == 201
        assert self._put(admin, name)["price_ref"] == "openrouter/openai/gpt-4o"

    def test_is_not_taken_against_an_operators_word(self, admin: httpx2.Client) -> None:
        name = "claude-sonnet-4-5"
        assert self._put(admin, name)["price_ref"] == "anthropic/claude-sonnet-4-5"
        assert self._put(admin, name, price=None)["price"] is None
        assert self._put(admin, name, free=True)["price"] is None
        own = self._put(admin, name, price={"per_call": "1"})
        assert (own["price"], own["price_ref"]) == ({"per_call": "1"}, None)
        assert self._put(admin, name)["price_ref"] is not None
        path = f"/models/{name}"
        assert admin.patch(path, json={"description": "x"}).json()["price_ref"] is not None
        assert admin.patch(path, json={"price": {"per_call": "1"}}).json()["price_ref"] is None
        assert self._put(admin, name)["price_ref"] is not None
        assert admin.patch(path, json={"price": None}).json()["price_ref"] is None

    def test_is_none_for_an_unknown_model_which_is_refused(
        self, admin: httpx2.Client, operator: Operator, chat: Chat, name: str
    ) -> None:
        assert self._put(admin, name)["price"] is None
        operator.channel(name, "demo")
        assert chat(operator.customer(), name).json()["error"]["code"] == "model_not_priced"
