"""The price catalogue: searched, fetched anew, and applied to what follows it."""

from __future__ import annotations

import gzip
import socket
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import httpx2
import pytest

from tests.api.scan import assert_refused
from tests.catalog.lists import published
from tests.catalog.publisher import Publisher, run_publisher
from tests.gateway import Gateway


@pytest.fixture(scope="module")
def publisher() -> Iterator[Publisher]:
    with run_publisher() as running:
        yield running


@pytest.fixture
def fresh(start_gateway: Callable[..., Gateway], publisher: Publisher) -> Iterator[httpx2.Client]:
    """The admin API of a gateway that fetches from the publisher; another gateway's catalogue stays as shipped."""
    publisher.publish(published(1))
    publisher.asked.clear()
    with start_gateway(RELAYGATE_PRICE_UPDATE_URL=publisher.url).admin() as client:
        yield client


def _search(admin: httpx2.Client, query: str, **params: Any) -> dict[str, Any]:
    response = admin.get("/price-catalogue", params={"query": query, **params})
    assert response.status_code == 200, response.text
    page: dict[str, Any] = response.json()
    return page


def _call(admin: httpx2.Client, method: str, path: str, body: Any = None) -> dict[str, Any]:
    response = admin.request(method, path, json=body)
    assert response.is_success, response.text
    answer: dict[str, Any] = response.json()
    return answer


def test_what_came_with_the_release_is_searched(admin: httpx2.Client) -> None:
    page = _search(admin, "gpt-4o-mini openai", limit=200)
    assert (page["source"].startswith("genai-prices "), page["fetched_at"]) == (True, None)
    (entry,) = [entry for entry in page["data"] if entry["ref"] == "openai/gpt-4o-mini"]
    assert (entry["provider"], entry["model"]) == ("openai", "gpt-4o-mini")
    assert entry["price"]["input_mtok"] == "0.15"
    assert entry["pricing_url"].startswith("https://")
    assert _search(admin, "no such model anywhere")["data"] == []


def test_pages_go_on_where_they_stopped(admin: httpx2.Client) -> None:
    whole = [entry["ref"] for entry in _search(admin, "claude sonnet", limit=200)["data"]]
    seen: list[str] = []
    cursor: str | None = None
    while True:
        page = _search(admin, "claude sonnet", limit=7, **({} if cursor is None else {"cursor": cursor}))
        seen += [entry["ref"] for entry in page["data"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert len(whole) > 7
    assert seen == whole


def test_bad_questions_are_refused(admin: httpx2.Client) -> None:
    assert_refused(admin.get("/price-catalogue", params={"query": "x" * 201}), "query")
    assert_refused(admin.get("/price-catalogue", params={"model": "x"}), "model")
    assert_refused(admin.get("/price-catalogue", params={"cursor": "!"}), "cursor", 400)
    assert_refused(admin.post("/price-catalogue/apply", json={"dry_run": "yes"}), "dry_run")
    assert_refused(admin.post("/price-catalogue/apply", json={"model": "x"}), "model")


def test_an_update_replaces_the_catalogue_and_changes_no_model(fresh: httpx2.Client, publisher: Publisher) -> None:
    before = _call(fresh, "PUT", "/models/gpt-4o-mini", {"kind": "chat"})
    assert publisher.asked == []  # never unasked
    update = _call(fresh, "POST", "/price-catalogue/update")
    assert publisher.asked == ["/v2/data.json"]
    assert update == {"source": publisher.url, "fetched_at": update["fetched_at"], "providers": 5, "models": 100}
    page = _search(fresh, "vendor0 model0")
    assert (page["source"], page["fetched_at"]) == (publisher.url, update["fetched_at"])
    assert page["data"][0]["price"] == {
        "input_mtok": "1",
        "output_mtok": "8",
        "variants": [{"when": {"context_over": 200000}, "output_mtok": "9"}],
    }
    assert _search(fresh, "gpt")["data"] == []
    assert fresh.patch("/models/gpt-4o-mini", json={}).json() == before
    assert _call(fresh, "PUT", "/models/model7-2030", {"kind": "chat"})["price_ref"] == "vendor0/model7"
    publisher.publish(published(2))
    again = _call(fresh, "POST", "/price-catalogue/update")
    assert again["fetched_at"] > update["fetched_at"]
    assert _search(fresh, "vendor0 model0")["data"][0]["price"]["input_mtok"] == "2"


def test_what_follows_the_catalogue_is_brought_up_to_it(fresh: httpx2.Client, publisher: Publisher) -> None:
    _call(fresh, "POST", "/price-catalogue/update")
    follows = _call(fresh, "PUT", "/models/model0", {"kind": "chat"})
    own = _call(fresh, "PUT", "/models/model1", {"kind": "chat", "price": follows["price"]})
    _call(fresh, "PUT", "/models/model2", {"kind": "chat", "free": True})
    goes = _call(fresh, "PUT", "/models/model3", {"kind": "chat"})
    served = [
        {"model": "model0"},
        {"model": "model1", "cost": {"per_call": "1"}},
        {"model": "a", "upstream_model": "model5", "price": {"per_call": "2"}},
    ]
    body = {"name": "c", "provider": "openai_compatible", "base_url": "http://api.vendor1.test/v1", "models": served}
    channel = _call(fresh, "POST", "/channels", body)
    assert [item["cost_ref"] for item in channel["models"]] == ["vendor1/model5", "vendor1/model0", None]
    assert _call(fresh, "POST", "/price-catalogue/apply") == {"dry_run": False, "data": []}

    newer = published(2.5)
    newer[0]["models"] = [model for model in newer[0]["models"] if model["id"] != "model3"] + [
        {"id": f"more{number}", "match": {"equals": f"more{number}"}, "prices": {}} for number in range(5)
    ]
    publisher.publish(newer)
    _call(fresh, "POST", "/price-catalogue/update")

    before, after = follows["price"], follows["price"] | {"input_mtok": "2.5"}
    change = {"before": before, "after": after}
    differences = [
        {"model": "a", "channel": "c", "ref": "vendor1/model5", **change},
        {"model": "model0", "channel": None, "ref": "vendor0/model0", **change},
        {"model": "model0", "channel": "c", "ref": "vendor1/model0", **change},
        {"model": "model3", "channel": None, "ref": "vendor0/model3", "before": before, "after": None},
    ]
    for _ in range(2):
        dry = _call(fresh, "POST", "/price-catalogue/apply", {"dry_run": True})
        assert dry == {"dry_run": True, "data": differences}
    assert fresh.patch("/models/model0", json={}).json()["price"] == before
    assert _call(fresh, "POST", "/price-catalogue/apply", {}) == {"dry_run": False, "data": differences}

    changed = fresh.patch("/models/model0", json={}).json()
    assert (changed["price"], changed["price_ref"]) == (after, "vendor0/model0")
    assert fresh.patch("/models/model1", json={}).json() | {"channels": [], "channel_prices": []} == own
    assert fresh.patch("/models/model3", json={}).json() == goes
    models = fresh.get(f"/channels/{channel['id']}").json()["models"]
    assert [item["cost"] for item in models] == [after, after, {"per_call": "1"}]
    assert [item["price"] for item in models] == [{"per_call": "2"}, None, None]
    assert _call(fresh, "POST", "/price-catalogue/apply")["data"] == differences[3:]


def _negative() -> list[dict[str, Any]]:
    return published(1, prices={"input_mtok": -1})


REFUSED: list[tuple[str, Any, int, dict[str, str], str]] = [
    ("not found", b"", 404, {}, "price_source_unreachable"),
    ("moved away", b"", 302, {"location": "http://127.0.0.1:1/"}, "price_source_unreachable"),
    ("no JSON", b"<html>", 200, {}, "price_source_invalid"),
    ("no list", {"providers": []}, 200, {}, "price_source_invalid"),
    ("an empty list", [], 200, {}, "price_source_invalid"),
    ("too few", published(1)[:4], 200, {}, "price_source_invalid"),
    ("a bad pattern", published(1, match={"regex": "("}), 200, {}, "price_source_invalid"),
    ("an unknown clause", published(1, match={"sounds_like": "x"}), 200, {}, "price_source_invalid"),
    ("a text for an amount", published(1, prices={"input_mtok": "dear"}), 200, {}, "price_source_invalid"),
    ("an amount below zero", _negative(), 200, {}, "price_source_invalid"),
    ("too large", gzip.compress(b" " * (33 * 1024 * 1024)), 200, {"content-encoding": "gzip"}, "price_source_invalid"),
    ("half an answer", gzip.compress(b"x")[:5], 200, {"content-encoding": "gzip"}, "price_source_invalid"),
]


@pytest.mark.long
def test_a_failed_update_changes_nothing(fresh: httpx2.Client, publisher: Publisher) -> None:
    before = _call(fresh, "POST", "/price-catalogue/update")
    for name, content, status, headers, code in REFUSED:
        publisher.publish(content, status, **headers)
        response = fresh.post("/price-catalogue/update")
        assert (response.status_code, response.json()["error"]["code"]) == (502, code), (name, response.text)
        assert _search(fresh, "vendor0")["fetched_at"] == before["fetched_at"], name


def test_an_update_without_a_source_says_so(start_gateway: Callable[..., Gateway]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with start_gateway(RELAYGATE_PRICE_UPDATE_URL=f"http://127.0.0.1:{port}/").admin() as admin:
        response = admin.post("/price-catalogue/update")
        assert (response.status_code, response.json()["error"]["code"]) == (502, "price_source_unreachable")
        assert _search(admin, "gpt-4o")["fetched_at"] is None


def test_strangers_are_refused(gateway: Gateway) -> None:
    for method, path in (("GET", ""), ("POST", "/update"), ("POST", "/apply")):
        url = f"{gateway.url}/admin/v1/price-catalogue{path}"
        assert httpx2.request(method, url, headers={"authorization": f"Bearer {uuid4()}"}).status_code == 401
