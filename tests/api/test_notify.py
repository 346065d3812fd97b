"""The `notify` field of accounts: set, changed in parts, removed, refused; its secret is never shown."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest

from tests.api.scan import assert_refused
from tests.egress.forms import PUBLIC_ADDRESSES, refused_urls, url_of
from tests.gateway import Gateway

SECRET = "notify-secret-0123456789"
URL = "https://1.1.1.1/hooks/quota?tenant=7"
NOTIFY = {"webhook_url": URL, "webhook_secret": SECRET, "threshold": "0.50"}
SHOWN = {
    "webhook_url": URL,
    "webhook_secret_set": True,
    "previous_secret_until": None,
    "threshold": "0.5",
    "thresholds": ["0.5"],
}


def patch(admin: httpx2.Client, account_id: int, notify: Any) -> httpx2.Response:
    return admin.patch(f"/accounts/{account_id}", json={"notify": notify})


def test_it_is_set_at_creation_and_shown_without_its_secret(admin: httpx2.Client, gateway: Gateway) -> None:
    made = admin.post("/accounts", json={"name": "told", "notify": NOTIFY})
    assert made.status_code == 201
    account = made.json()
    assert account["notify"] == SHOWN
    listed = admin.get("/accounts", params={"limit": 200}).text
    answers = [made.text, listed, admin.get(f"/accounts/{account['id']}").text]
    assert [text for text in [*answers, gateway.log] if SECRET in text] == []
    assert admin.get(f"/accounts/{account['id']}").json() == account


def test_an_account_has_none_by_itself(admin: httpx2.Client, account_id: int) -> None:
    assert admin.get(f"/accounts/{account_id}").json()["notify"] is None
    assert patch(admin, account_id, None).json()["notify"] is None


def test_it_is_changed_in_parts_and_removed(admin: httpx2.Client, account_id: int) -> None:
    assert patch(admin, account_id, NOTIFY).json()["notify"] == SHOWN
    assert patch(admin, account_id, {}).json()["notify"] == SHOWN
    assert admin.patch(f"/accounts/{account_id}", json={"name": "x"}).json()["notify"] == SHOWN
    changed = patch(admin, account_id, {"webhook_url": "http://8.8.8.8:8080/"}).json()["notify"]
    assert changed == SHOWN | {"webhook_url": "http://8.8.8.8:8080/"}
    changed = patch(admin, account_id, {"thresholds": ["1", 10, "0.000000001", "1.0"]}).json()["notify"]
    assert (changed["threshold"], changed["thresholds"]) == ("10", ["10", "1", "0.000000001"])
    changed = patch(admin, account_id, {"webhook_secret": "another-secret"}).json()["notify"]
    assert changed["previous_secret_until"] is not None
    assert patch(admin, account_id, None).json()["notify"] is None
    assert_refused(patch(admin, account_id, {"threshold": "1"}), "notify.webhook_url")


@pytest.mark.parametrize("missing", ["webhook_url", "webhook_secret", "threshold"])
def test_the_first_time_all_parts_are_needed(admin: httpx2.Client, account_id: int, missing: str) -> None:
    parts = {name: value for name, value in NOTIFY.items() if name != missing}
    assert_refused(patch(admin, account_id, parts), f"notify.{missing}")
    before = admin.get("/accounts", params={"limit": 200}).json()
    assert_refused(admin.post("/accounts", json={"name": "half", "notify": parts}), f"notify.{missing}")
    assert admin.get("/accounts", params={"limit": 200}).json() == before, "an account was made all the same"


@pytest.mark.parametrize("url", [*refused_urls(18017), "https://nowhere.invalid/", None, 5])
def test_a_url_that_must_not_be_called_is_refused(admin: httpx2.Client, account_id: int, url: Any) -> None:
    assert_refused(patch(admin, account_id, {**NOTIFY, "webhook_url": url}), "notify.webhook_url")
    assert admin.get(f"/accounts/{account_id}").json()["notify"] is None


@pytest.mark.parametrize("address", PUBLIC_ADDRESSES)
def test_public_addresses_pass(admin: httpx2.Client, account_id: int, address: str) -> None:
    url = url_of(address, 8443)
    assert patch(admin, account_id, {**NOTIFY, "webhook_url": url}).json()["notify"]["webhook_url"] == url


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("webhook_secret", ""),
        ("webhook_secret", None),
        ("webhook_secret", 5),
        ("webhook_secret", " padded"),
        ("webhook_secret", "padded "),
        ("webhook_secret", "two\r\nx-injected: 1"),
        ("webhook_secret", "nul\x00"),
        ("webhook_secret", "geheim-ß"),
        ("webhook_secret", "a" * 257),
        ("webhook_secret", "whsec_not base64!"),
        ("webhook_secret", "whsec_QUJDREVGR0g"),  # cut short
        ("threshold", None),
        ("threshold", "0"),
        ("threshold", "-1"),
        ("threshold", "NaN"),
        ("threshold", "0.0000000001"),
        ("threshold", "1e30"),
        ("threshold", True),
        ("thresholds", ["1"]),  # beside `threshold`
        ("overlap_hours", 5),  # without a new secret
        ("secret", "x"),
        ("balance", "5"),
    ],
)
def test_a_bad_part_is_refused_by_name(admin: httpx2.Client, account_id: int, field: str, value: Any) -> None:
    body = {"webhook_url": URL, "threshold": "1", field: value}
    refusal = patch(admin, account_id, body)
    assert_refused(refusal, f"notify.{field}")
    assert not (isinstance(value, str) and len(value) > 5 and value in refusal.text), "the refusal repeats it"


@pytest.mark.parametrize("value", [None, [], "1", [None], ["0"], [str(n) for n in range(1, 12)]])
def test_bad_thresholds_are_refused(admin: httpx2.Client, account_id: int, value: Any) -> None:
    refusal = patch(admin, account_id, {"webhook_url": URL, "webhook_secret": SECRET, "thresholds": value})
    assert refusal.status_code == 422
    assert refusal.json()["error"]["param"].startswith("notify.thresholds")


@pytest.mark.parametrize("hours", [-1, 169, "5", 1.5, None])
def test_a_bad_overlap_is_refused(admin: httpx2.Client, account_id: int, hours: Any) -> None:
    assert_refused(patch(admin, account_id, {**NOTIFY, "overlap_hours": hours}), "notify.overlap_hours")


@pytest.mark.parametrize("notify", ["https://1.1.1.1/", [], 5, True])
def test_what_is_no_object_is_refused(admin: httpx2.Client, account_id: int, notify: Any) -> None:
    assert_refused(patch(admin, account_id, notify), "notify")


def test_an_account_that_is_gone_has_none(admin: httpx2.Client, account_id: int) -> None:
    admin.delete(f"/accounts/{account_id}")
    for notify in (NOTIFY, None):
        assert_refused(patch(admin, account_id, notify), "", 404)
    assert_refused(patch(admin, 9_999_999, NOTIFY), "", 404)
