"""Channels: what they may be set to, that their secrets stay inside, and the live test."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import httpx2
import pytest

from tests.api.conftest import Chat, await_status
from tests.api.scan import UPSTREAM_SECRETS, assert_refused
from tests.demo.process import DemoProcess
from tests.gateway import Gateway, Operator

SECRET, CHANGED_SECRET, HEADER_SECRET = UPSTREAM_SECRETS

NO_OPTIONS: dict[str, Any] = {
    "connect_timeout": None,
    "first_byte_timeout": None,
    "idle_timeout": None,
    "headers": {},
    "query": {},
    "formats": [],
    "project": None,
    "location": None,
    "class": None,
    "concurrency": None,
    "rpm": None,
    "tpm": None,
    "lacks": [],
    "passes": {},
    "task_calls": None,
}
"""A channel's, as they are shown, where none is set."""


def _body(**fields: Any) -> dict[str, Any]:
    return {
        "name": f"c-{uuid4().hex[:12]}",
        "provider": "openai",
        "api_key": SECRET,
        "models": [{"model": "m"}],
        **fields,
    }


def _served(model: str, upstream_model: str | None = None, **prices: Any) -> dict[str, Any]:
    """A served model as it is shown, without prices unless they are given."""
    unpriced = {"price": None, "cost": None, "cost_ref": None}
    return {"model": model, "upstream_model": upstream_model or model, **unpriced, **prices}


def _create(admin: httpx2.Client, **fields: Any) -> dict[str, Any]:
    response = admin.post("/channels", json=_body(**fields))
    assert response.status_code == 201, response.text
    made: dict[str, Any] = response.json()
    return made


def _test(admin: httpx2.Client, channel: dict[str, Any], **body: Any) -> dict[str, Any]:
    response = admin.post(f"/channels/{channel['id']}/test", json=body or None)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def _seen(demo: DemoProcess, upstream_model: str) -> list[tuple[dict[str, Any], dict[str, str]]]:
    """Body and headers of what the upstream was asked under this name."""
    received = [(request["body"], dict(request["headers"])) for request in demo.settled(upstream_model)]
    return [(body, headers) for body, headers in received if body and body["model"] == upstream_model]


@pytest.fixture
def idle_upstream() -> Iterator[str]:
    """An address where connections are taken and nothing is ever answered."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1"


def test_a_channel_has_its_providers_address(admin: httpx2.Client) -> None:
    made = _create(admin, models=[{"model": "z"}, {"model": "a", "upstream_model": "org/a?x=1"}])
    assert made == {
        "id": made["id"],
        "name": made["name"],
        "provider": "openai",
        "base_url": "https://api.openai.com/v1",
        "has_api_key": True,
        "api_key_count": 1,
        "models": [_served("a", "org/a?x=1"), _served("z")],
        "priority": 0,
        "weight": 1,
        "enabled": True,
        "options": NO_OPTIONS,
        "created_at": made["created_at"],
    }
    assert admin.get(f"/channels/{made['id']}").json() == made


def test_a_patch_changes_what_is_given(admin: httpx2.Client, demo: DemoProcess) -> None:
    made = _create(admin, base_url=f"{demo.url}/v1", priority=3, models=[{"model": "m", "upstream_model": "demo"}])
    path = f"/channels/{made['id']}"
    assert admin.patch(path, json={}).json() == made
    changed = {"name": made["name"] + "x", "priority": -5, "weight": 7, "enabled": False}
    assert admin.patch(path, json=changed).json() == made | changed
    models = [{"model": "n", "upstream_model": "demo"}]
    shown = {"models": [_served("n", "demo")]}
    assert admin.patch(path, json={"models": models}).json() == made | changed | shown
    assert_refused(admin.patch(path, json={"base_url": None}), "api_key")  # which would go to another server
    assert admin.patch(path, json={"base_url": f"{demo.url}/v2"}).is_success
    back = admin.patch(path, json={"base_url": None, "api_key": SECRET}).json()
    assert back["base_url"] == "https://api.openai.com/v1"
    moved = admin.patch(path, json={"provider": "ollama", "base_url": None, "api_key": None}).json()
    assert (moved["provider"], moved["base_url"], moved["has_api_key"]) == (
        "ollama",
        "http://127.0.0.1:11434/v1",
        False,
    )
    assert admin.get(path).json() == moved


def test_a_patch_without_a_key_keeps_it(admin: httpx2.Client, demo: DemoProcess) -> None:
    tag = f"demo?reply={uuid4().hex}"
    made = _create(admin, base_url=f"{demo.url}/v1", models=[{"model": "m", "upstream_model": tag}])
    for change, secret in (({"priority": 1}, SECRET), ({"api_key": CHANGED_SECRET}, CHANGED_SECRET)):
        assert admin.patch(f"/channels/{made['id']}", json=change).json()["has_api_key"]
        assert _test(admin, made)["ok"]
        _, headers = _seen(demo, tag)[-1]
        assert headers["authorization"] == f"Bearer {secret}"


def test_names_are_unique(admin: httpx2.Client) -> None:
    first, second = _create(admin), _create(admin)
    assert_refused(admin.post("/channels", json=_body(name=first["name"])), "name", 409)
    assert_refused(admin.patch(f"/channels/{second['id']}", json={"name": first["name"]}), "name", 409)
    assert admin.get(f"/channels/{second['id']}").json() == second


def test_a_deleted_channel_serves_no_more(admin: httpx2.Client, operator: Operator, chat: Chat) -> None:
    model = operator.model("demo")
    customer = operator.customer()
    assert chat(customer, model).status_code == 200
    (entry,) = operator.entries(customer, count=1)
    path = f"/channels/{entry['channel_id']}"
    assert admin.delete(path).status_code == 204
    assert admin.get(path).status_code == 404
    assert admin.post(f"{path}/test").status_code == 404
    assert operator.entries(customer, count=1) == [entry]
    assert await_status(chat, customer, model, 503).json()["error"]["code"] == "no_channel"


def test_channels_are_listed_by_page(admin: httpx2.Client) -> None:
    made = [_create(admin) for _ in range(3)]
    seen: list[dict[str, Any]] = []
    cursor: str | None = None
    while True:
        params: dict[str, Any] = {"limit": 2} | ({} if cursor is None else {"cursor": cursor})
        page = admin.get("/channels", params=params).json()
        seen += page["data"]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert [channel for channel in seen if channel["id"] >= made[0]["id"]] == made


def test_channels_of_one_model(admin: httpx2.Client, operator: Operator) -> None:
    models = [operator.model("demo") for _ in range(2)]
    _create(admin)
    wanted = _create(admin, models=[{"model": models[1]}, {"model": "m"}])
    page = admin.get("/channels", params={"model": models[1]}).json()
    assert (page["data"][1:], page["next_cursor"]) == ([wanted], None)
    assert page["data"][0]["models"] == [_served(models[1], "demo")]
    assert admin.get("/channels", params={"model": "nobody-lists-this"}).json()["data"] == []
    assert_refused(admin.get("/channels", params={"model": ""}), "model")


BAD_FIELDS: list[tuple[str, Any, str]] = [
    ("name", "", "name"),
    ("name", "a" * 201, "name"),
    ("name", "a\x00b", "name"),
    ("name", None, "name"),
    ("provider", "nobody", "provider"),
    ("provider", None, "provider"),
    ("base_url", "ftp://example.com", "base_url"),
    ("base_url", "example.com/v1", "base_url"),
    ("base_url", "/v1", "base_url"),
    ("base_url", "", "base_url"),
    ("base_url", "http://", "base_url"),
    ("base_url", "http://user:password@example.com", "base_url"),
    ("base_url", "http://example.com/v1?key=x", "base_url"),
    ("base_url", "http://example.com/v1#x", "base_url"),
    ("base_url", "http://example.com/v1\r\nx: y", "base_url"),
    ("base_url", "http://example.com/ v1", "base_url"),
    ("base_url", "http://example.com\x00/v1", "base_url"),
    ("base_url", "http://300.1.1.1/v1", "base_url"),
    ("base_url", "http://2130706433/v1", "base_url"),
    ("base_url", "http://example.com:99999/v1", "base_url"),
    ("base_url", "http://[::1/v1", "base_url"),
    ("base_url", "http://example.com/" + "a" * 2000, "base_url"),
    ("api_key", "a\r\nx: y", "api_key"),
    ("api_key", "a\nb", "api_key"),
    ("api_key", "a\x00b", "api_key"),
    ("api_key", "ключ", "api_key"),
    ("api_key", " key", "api_key"),
    ("api_key", "k" * 8193, "api_key"),
    ("api_key", "", "api_key"),
    ("api_key", None, "api_key"),
    ("api_key", 5, "api_key"),
    ("models", [], "models"),
    ("models", None, "models"),
    ("models", ["m"], "models.0"),
    ("models", [{"model": ""}], "models.0.model"),
    ("models", [{"model": "a\x00"}], "models.0.model"),
    ("models", [{"model": "a", "upstream_model": ""}], "models.0.upstream_model"),
    ("models", [{"model": "a", "price": 1}], "models.0.price"),
    ("models", [{"model": "a", "price": {}}], "models.0.price"),
    ("models", [{"model": "a"}, {"model": "b", "cost": {"per_call": "-1"}}], "models.1.cost.per_call"),
    (
        "models",
        [{"model": "a", "cost": {"variants": [{"when": {"x": 1}, "per_call": 1}]}}],
        "models.0.cost.variants.0.when.x",
    ),
    ("models", [{"model": "a", "cost_ref": "openai/gpt-4o"}], "models.0.cost_ref"),
    ("models", [{"model": "a", "free": True}], "models.0.free"),
    ("models", [{"model": "a"}, {"model": "b"}, {"model": "a", "upstream_model": "c"}], "models"),
    ("models", [{"model": f"m{i}"} for i in range(1001)], "models"),
    ("priority", "1", "priority"),
    ("priority", 1.5, "priority"),
    ("priority", 2_000_000, "priority"),
    ("priority", None, "priority"),
    ("weight", 0, "weight"),
    ("weight", -1, "weight"),
    ("weight", True, "weight"),
    ("enabled", "no", "enabled"),
    ("options", None, "options"),
    ("options", {"timeout": 5}, "options.timeout"),
    ("options", {"connect_timeout": 0}, "options.connect_timeout"),
    ("options", {"first_byte_timeout": -1}, "options.first_byte_timeout"),
    ("options", {"idle_timeout": "5"}, "options.idle_timeout"),
    ("options", {"idle_timeout": True}, "options.idle_timeout"),
    ("options", {"headers": {"x": 5}}, "options.headers.x"),
    ("options", {"headers": {"x": "a\r\nb: c"}}, "options.headers.x"),
    ("options", {"headers": {"x": "a\x00"}}, "options.headers.x"),
    ("options", {"headers": {"x": "日本"}}, "options.headers.x"),
    ("options", {"headers": {"x": "[hidden]"}}, "options.headers.x"),
    ("options", {"headers": {"x y": "a"}}, "options.headers"),
    ("options", {"headers": {"x\r\ny": "a"}}, "options.headers"),
    ("options", {"headers": {"": "a"}}, "options.headers"),
    ("options", {"headers": {"X-A": "1", "x-a": "2"}}, "options.headers"),
    ("options", {"headers": {f"x-{i}": "1" for i in range(51)}}, "options.headers"),
    *(
        ("options", {"headers": {name: "x"}}, "options.headers")
        for name in ("Host", "content-length", "Transfer-Encoding", "CONNECTION", "accept-encoding", "te", "upgrade")
    ),
    ("options", {"class": "two words"}, "options.class"),
    ("options", {"label": "x"}, "options.label"),
    ("options", {"concurrency": 0}, "options.concurrency"),
    ("options", {"rpm": 1.5}, "options.rpm"),
    ("options", {"tpm": "9"}, "options.tpm"),
    ("options", {"lacks": ["sight"]}, "options.lacks.0"),
    ("options", {"lacks": ["tools", "tools"]}, "options.lacks"),
    ("options", {"query": {"a": 1}}, "options.query.a"),
    ("options", {"query": {"a": "b\n"}}, "options.query.a"),
    ("secret", "x", "secret"),
    ("id", 5, "id"),
]


@pytest.mark.parametrize(("field", "value", "named"), BAD_FIELDS)
def test_a_bad_field_is_named(admin: httpx2.Client, field: str, value: Any, named: str) -> None:
    if (field, value) != ("base_url", None):
        assert_refused(admin.post("/channels", json=_body(**{field: value})), named)
    made = _create(admin)
    assert_refused(admin.patch(f"/channels/{made['id']}", json={field: value}), named)
    assert admin.get(f"/channels/{made['id']}").json() == made


def test_what_is_required_is_named(admin: httpx2.Client) -> None:
    for field in ("name", "provider", "models"):
        body = _body()
        del body[field]
        assert_refused(admin.post("/channels", json=body), field)


def test_formats_are_those_that_the_provider_has_a_path_for(admin: httpx2.Client) -> None:
    made = _create(admin, options={"formats": ["openai_responses", "openai_chat"]})
    assert made["options"]["formats"] == ["openai_responses", "openai_chat"]
    refused = admin.post("/channels", json=_body(options={"formats": ["gemini_generate"]}))
    assert_refused(refused, "options.formats")
    assert "openai_chat, openai_responses" in refused.json()["error"]["message"]
    assert_refused(admin.post("/channels", json=_body(options={"formats": ["openai_chat"] * 2})), "options.formats")
    assert_refused(admin.patch(f"/channels/{made['id']}", json={"provider": "deepseek"}), "options.formats")


def test_an_unknown_provider_is_told_which_there_are(admin: httpx2.Client) -> None:
    message = admin.post("/channels", json=_body(provider="nobody")).json()["error"]["message"]
    assert "openai, openai_compatible" in message


def test_what_a_provider_needs_is_asked_for(admin: httpx2.Client) -> None:
    assert_refused(admin.post("/channels", json=_body(api_key=None)), "api_key")
    assert_refused(admin.post("/channels", json=_body(provider="azure")), "base_url")
    assert_refused(admin.post("/channels", json=_body(provider="vllm", api_key=None)), "base_url")
    several = _body(provider="vertex", base_url="https://vertex.test", api_key=None, api_keys=["{}", '{"a":1}'])
    assert_refused(admin.post("/channels", json=several), "api_keys")
    made = _create(admin, provider="ollama", api_key=None)
    assert not made["has_api_key"]
    assert_refused(admin.patch(f"/channels/{made['id']}", json={"provider": "openai"}), "api_key")
    assert_refused(admin.patch(f"/channels/{made['id']}", json={"provider": "vllm", "base_url": None}), "base_url")
    assert admin.patch(f"/channels/{made['id']}", json={"provider": "openai", "api_key": SECRET}).json()["has_api_key"]


def test_private_addresses_are_the_operators_word(admin: httpx2.Client) -> None:
    for url in ("http://127.0.0.1:11434/v1", "http://[::1]:8000/v1", "http://10.0.0.5", "http://vllm.internal/v1"):
        assert _create(admin, base_url=url)["base_url"] == url


def test_options_reach_the_upstream_and_credentials_among_them_are_hidden(
    admin: httpx2.Client, operator: Operator, chat: Chat, demo: DemoProcess
) -> None:
    tag, model = f"demo?reply={uuid4().hex}", f"m-{uuid4().hex[:12]}"
    options = {
        "connect_timeout": 1.5,
        "headers": {"X-Team": "blue", "Authorization": f"Bearer {HEADER_SECRET}"},
        "query": {"api-version": "2030-01-01", "subscription-key": HEADER_SECRET},
    }
    made = _create(admin, base_url=f"{demo.url}/v1", models=[{"model": model, "upstream_model": tag}], options=options)
    assert made["options"] == {
        **NO_OPTIONS,
        "connect_timeout": 1.5,
        "headers": {"X-Team": "blue", "Authorization": "[hidden]"},
        "query": {"api-version": "2030-01-01", "subscription-key": "[hidden]"},
    }
    # The model comes last: a gateway looks up a name that it doesn't know, but may not have heard of a channel yet.
    assert admin.put(f"/models/{model}", json={"kind": "chat", "free": True}).status_code == 201
    assert chat(operator.customer(), model).status_code == 200
    ((_, headers),) = _seen(demo, tag)
    assert headers["x-team"] == "blue"
    assert headers["authorization"] == f"Bearer {HEADER_SECRET}"
    changed = admin.patch(f"/channels/{made['id']}", json={"options": {}}).json()
    assert changed["options"]["headers"] == {}


class TestPrices:
    """What clients pay over a channel, and what the vendor takes."""

    def test_are_kept_as_they_were_given(self, admin: httpx2.Client) -> None:
        price, cost = {"input_mtok": "3"}, {"input_mtok": "2", "variants": [{"when": {"size": "l"}, "per_image": "1"}]}
        made = _create(admin, models=[{"model": "a", "price": price, "cost": cost}, {"model": "b", "price": price}])
        assert made["models"] == [_served("a", price=price, cost=cost), _served("b", price=price)]
        assert admin.get(f"/channels/{made['id']}").json() == made

    @pytest.mark.parametrize(
        ("provider", "base_url", "upstream_model", "ref"),
        [
            ("openai", None, "gpt-4o-mini", "openai/gpt-4o-mini"),
            ("azure", "https://x.openai.azure.com/openai/v1", "gpt-4o-mini", "openai/gpt-4o-mini"),
            ("xai", None, "grok-3", "x-ai/grok-3"),
            ("openrouter", None, "openai/gpt-4o-mini", "openrouter/openai/gpt-4o-mini"),
            (
                "openai_compatible",
                "https://api.groq.com/openai/v1",
                "llama-3.3-70b-versatile",
                "groq/llama-3.3-70b-versatile",
            ),
            ("openai_compatible", "http://127.0.0.1:9/v1", "gpt-4o-mini", None),
            ("ollama", None, "gpt-4o-mini", None),
        ],
    )
    def test_a_cost_that_isnt_given_is_the_catalogues(
        self, admin: httpx2.Client, provider: str, base_url: str | None, upstream_model: str, ref: str | None
    ) -> None:
        served = [
            {"model": "m", "upstream_model": upstream_model},
            {"model": "n", "upstream_model": "gpt-4o", "cost": None},
        ]
        made = _create(admin, provider=provider, base_url=base_url, models=served)
        first, second = made["models"]
        assert (first["cost_ref"], first["price"], second["cost"], second["cost_ref"]) == (ref, None, None, None)
        assert (first["cost"] is None) == (ref is None)

    def test_stay_until_the_models_are_given_again(self, admin: httpx2.Client) -> None:
        made = _create(admin, models=[{"model": "gpt-4o-mini", "price": {"per_call": "1"}}])
        path = f"/channels/{made['id']}"
        assert made["models"][0]["cost_ref"] == "openai/gpt-4o-mini"
        assert admin.patch(path, json={"priority": 1}).json()["models"] == made["models"]
        moved = admin.patch(path, json={"models": [{"model": "gpt-4o-mini", "cost": {"per_call": "0"}}]}).json()
        assert moved["models"] == [_served("gpt-4o-mini", cost={"per_call": "0"})]

    def test_are_shown_on_the_model(self, admin: httpx2.Client, operator: Operator) -> None:
        model = operator.model()
        one = {"model": model, "upstream_model": "x", "price": {"per_call": "1"}, "cost": {"per_call": "0.5"}}
        made = _create(admin, models=[one])
        _create(admin, models=[{"model": model}])
        shown = admin.patch(f"/models/{model}", json={}).json()
        assert len(shown["channels"]) == 2
        priced = {name: value for name, value in one.items() if name != "model"}
        assert shown["channel_prices"] == [{"channel": made["name"], "cost_ref": None, **priced}]


class TestTheLiveTest:
    """`POST /channels/{id}/test`."""

    def _channel(self, admin: httpx2.Client, demo: DemoProcess, upstream_model: str, **fields: Any) -> dict[str, Any]:
        models = [{"model": "m", "upstream_model": upstream_model}]
        return _create(admin, **{"base_url": f"{demo.url}/v1", "models": models, **fields})

    def test_makes_a_small_call(self, admin: httpx2.Client, demo: DemoProcess) -> None:
        tag = f"demo?reply={uuid4().hex}"
        answer = _test(admin, self._channel(admin, demo, tag))
        assert answer["latency_ms"] < 5000
        assert answer == {
            "ok": True,
            "status": 200,
            "latency_ms": answer["latency_ms"],
            "model": "m",
            "error": None,
            "usage": answer["usage"],
        }
        ((body, _),) = _seen(demo, tag)
        assert body == {
            "model": tag,
            "messages": [{"role": "user", "content": "Say OK"}],
            "max_completion_tokens": 16,
        }
        assert answer["usage"]["output_tokens"] <= 16

    def test_costs_nothing(self, admin: httpx2.Client, demo: DemoProcess) -> None:
        before = admin.get("/audit").json()
        _test(admin, self._channel(admin, demo, "demo"))
        assert admin.get("/audit").json() == before

    def test_takes_the_model_that_is_named(self, admin: httpx2.Client, demo: DemoProcess) -> None:
        models = [{"model": "a", "upstream_model": "demo?status=500"}, {"model": "b", "upstream_model": "demo"}]
        made = _create(admin, base_url=f"{demo.url}/v1", models=models, enabled=False)
        assert (_test(admin, made)["model"], _test(admin, made)["ok"]) == ("a", False)
        assert (_test(admin, made, model="b")["model"], _test(admin, made, model="b")["ok"]) == ("b", True)
        for bad in ("c", "demo", "", None, 5):
            response = admin.post(f"/channels/{made['id']}/test", json={"model": bad})
            if bad is None:
                assert response.json()["model"] == "a"
            else:
                assert_refused(response, "model")
        assert_refused(admin.post(f"/channels/{made['id']}/test", json={"prompt": "x"}), "prompt")

    @pytest.mark.parametrize(
        ("upstream_model", "status", "code"),
        [
            ("demo?status=401", 401, "upstream_refused_credentials"),
            ("demo?status=404", 404, "upstream_model_not_found"),
            ("demo?status=429", 429, "upstream_rate_limited"),
            ("demo?status=503", 503, "upstream_overloaded"),
            ("demo?status=400&code=bad_thing", 400, "bad_thing"),
            ("demo?error_200=1", 502, "upstream_error"),
            ("demo?body=html", None, "upstream_bad_response"),
            ("demo?redirect=http://127.0.0.1/", None, "upstream_bad_response"),
            ("demo?drop=1", None, "upstream_disconnected"),
            ("demo?cut=0", None, "upstream_disconnected"),
            ("demo?big=2000000", None, "upstream_bad_response"),
        ],
    )
    def test_an_upstreams_fault_is_an_answer(
        self, admin: httpx2.Client, demo: DemoProcess, upstream_model: str, status: int | None, code: str
    ) -> None:
        answer = _test(admin, self._channel(admin, demo, upstream_model))
        assert (answer["ok"], answer["status"], answer["usage"]) == (False, status, None)
        assert answer["error"]["code"] == code
        assert answer["error"]["message"]

    def test_an_upstream_that_isnt_there(self, admin: httpx2.Client, demo: DemoProcess) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
        made = self._channel(admin, demo, "demo", base_url=f"http://127.0.0.1:{port}/v1")
        answer = _test(admin, made)
        assert (answer["ok"], answer["status"], answer["error"]["code"]) == (False, None, "upstream_unreachable")

    @pytest.mark.parametrize("options", [{}, {"headers": {"x-api-key": HEADER_SECRET}}])
    @pytest.mark.parametrize("shape", ["status=400", "status=400&body=string_error", "error_200=1", "status=500"])
    def test_an_upstream_that_repeats_its_key_is_not_repeated(
        self, gateway: Gateway, admin: httpx2.Client, demo: DemoProcess, options: dict[str, Any], shape: str
    ) -> None:
        made = self._channel(admin, demo, f"demo?echo_key=1&{shape}", options=options)
        answer = _test(admin, made)  # every answer is scanned for the secrets
        assert not answer["ok"]
        if shape == "status=400" and not options:
            assert "[redacted]" in answer["error"]["message"]
        assert not any(secret in gateway.log for secret in UPSTREAM_SECRETS)

    @pytest.mark.long
    def test_is_bounded(self, admin: httpx2.Client, demo: DemoProcess, idle_upstream: str) -> None:
        made = self._channel(admin, demo, "demo", base_url=idle_upstream)
        started = time.monotonic()
        response = admin.post(f"/channels/{made['id']}/test", timeout=40)
        assert 29 < time.monotonic() - started < 33
        assert response.json()["error"]["code"] == "upstream_timeout"
