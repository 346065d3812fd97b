"""Links to files: stable for hours, good for at least half their time, and of no use once a character is changed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import GatewayError
from app.media.links import Links

SINCE = datetime(2026, 11, 22, 12, 0, 0, 123_456, tzinfo=UTC)
KEY = "outputs/2026-11-22/abcdefghijklmnopqrst-_/1.mp4"
OLD, NEW = "old-secret-key-0123456789", "new-secret-key-0123456789"
HOURS = 24
STEP = timedelta(hours=12)


def links(*keys: str) -> Links:
    return Links(keys or (OLD,), "https://ai.example.com/", HOURS)


def read(url: str) -> tuple[str, str, str]:
    """Key, expiry and signature, as a server would read them."""
    parts = urlsplit(url)
    query = parse_qs(parts.query, strict_parsing=True)
    assert query.keys() == {"expires", "signature"}
    return parts.path.removeprefix("/v2/files/"), query["expires"][0], query["signature"][0]


def refusal(checked: Links, link: tuple[str, str, str], now: datetime = SINCE) -> str:
    with pytest.raises(GatewayError) as refused:
        checked.check(*link, now)
    assert refused.value.status == 403
    return refused.value.code


@pytest.mark.parametrize("hours", [-30, -1, 0, 1, 11.9, 12.1, 23, 24, 24 * 29.99, 24 * 365])
def test_a_link_is_good_for_at_least_half_its_time(hours: float) -> None:
    now = SINCE + timedelta(hours=hours)
    url = links().sign(KEY, SINCE, now)

    assert url.startswith(f"https://ai.example.com/v2/files/{KEY}?expires=")
    left = links().check(*read(url), now)
    assert STEP.total_seconds() <= left <= 2 * STEP.total_seconds()
    assert links().check(*read(url), now + timedelta(seconds=left - 1)) == 1
    assert refusal(links(), read(url), now + timedelta(seconds=left)) == "link_expired"


def test_a_link_changes_twice_a_day_and_no_more() -> None:
    minutes = range(0, 48 * 60, 7)
    urls = [links().sign(KEY, SINCE, SINCE + timedelta(minutes=minute)) for minute in minutes]
    assert len(set(urls)) == 4
    assert urls == sorted(urls, key=urls.index), "an old one doesn't come back"
    assert links().sign(KEY, SINCE) == links().sign(KEY, SINCE), "by the clock too"


@given(st.data())
def test_a_link_that_was_altered_anywhere_is_of_no_use(data: st.DataObject) -> None:
    key, expires, signature = read(links().sign(KEY, SINCE, SINCE))
    parts = [key, expires, signature]
    which = data.draw(st.integers(0, 2))
    place = data.draw(st.integers(0, len(parts[which]) - 1))
    character = data.draw(st.characters())
    altered = parts[which][:place] + character + parts[which][place + 1 :]
    if altered != parts[which]:
        parts[which] = altered
        assert refusal(links(), (parts[0], parts[1], parts[2])) == "link_invalid"


@pytest.mark.parametrize(
    ("key", "expires", "signature"),
    [
        (KEY, "", ""),
        (KEY, "{expires}", ""),
        (KEY, "", "{signature}"),
        (KEY, "{expires}", "{signature}="),
        (KEY, "{expires}", "{signature}{signature}"),
        (KEY, "+{expires}", "{signature}"),
        (KEY, " {expires}", "{signature}"),
        (KEY, "0{expires}", "{signature}"),
        (KEY, "9" * 5000, "{signature}"),
        ("", "{expires}", "{signature}"),
        ("../" + KEY, "{expires}", "{signature}"),
        (KEY + "\n{expires}", "", "{signature}"),
        (KEY, "{expires}", "ü" * 43),
        (KEY, "{expires}", "\ud800"),
        ("\ud800", "{expires}", "{signature}"),
    ],
)
def test_what_was_never_signed_is_refused(key: str, expires: str, signature: str) -> None:
    _, good_expires, good_signature = read(links().sign(KEY, SINCE, SINCE))
    good = {"expires": good_expires, "signature": good_signature}
    assert refusal(links(), (key.format(**good), expires.format(**good), signature.format(**good))) == "link_invalid"


def test_an_expired_link_that_was_altered_tells_nothing_of_its_time() -> None:
    key, expires, signature = read(links().sign(KEY, SINCE, SINCE))
    later = SINCE + timedelta(days=2)
    assert refusal(links(), (key, expires, signature), later) == "link_expired"
    assert refusal(links(), (key, str(int(expires) + 10**6), signature), later) == "link_invalid"


def test_secret_keys_can_be_replaced_one_by_one() -> None:
    before = read(links(OLD).sign(KEY, SINCE, SINCE))
    during = read(links(NEW, OLD).sign(KEY, SINCE, SINCE))

    for good in (before, during):
        assert links(NEW, OLD).check(*good, SINCE) > 0
    assert links(NEW).check(*during, SINCE) > 0, "the first key signs"
    assert refusal(links(NEW), before) == "link_invalid"


def test_only_keys_of_the_storage_are_signed() -> None:
    for text in ("", "outputs", KEY + "/..", "../" + KEY, KEY + "\n"):
        with pytest.raises(ValueError, match="not a key"):
            links().sign(text, SINCE)
