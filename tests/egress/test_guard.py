"""Which addresses and URLs pass."""

from __future__ import annotations

import ipaddress

import pytest

from app.egress.guard import Guard, UrlRefused
from tests.egress.forms import PRIVATE_ADDRESSES, PUBLIC_ADDRESSES, url_of


@pytest.mark.parametrize("address", PRIVATE_ADDRESSES)
def test_what_is_not_public_is_refused(address: str) -> None:
    assert not Guard().allows(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", PUBLIC_ADDRESSES)
def test_what_is_public_passes(address: str) -> None:
    assert Guard().allows(ipaddress.ip_address(address))
    assert Guard().read_url(url_of(address, 443)).port == 443


@pytest.mark.parametrize(
    ("network", "address", "passes"),
    [
        ("127.0.0.0/8", "127.0.0.1", True),
        ("127.0.0.0/8", "::ffff:127.0.0.1", True),
        ("127.0.0.0/8", "64:ff9b::127.0.0.1", True),
        ("127.0.0.0/8", "2002:7f00:1::", False),
        ("127.0.0.0/8", "::127.0.0.1", False),
        ("127.0.0.0/8", "0.0.0.0", False),
        ("127.0.0.0/8", "::1", False),
        ("127.0.0.0/8", "10.0.0.1", False),
        ("10.1.0.0/16", "10.1.255.255", True),
        ("10.1.0.0/16", "10.2.0.0", False),
        ("fd00::/8", "fd00::1", True),
        ("fd00::/8", "fe80::1", False),
        ("::1/128", "::1", True),
    ],
)
def test_the_operator_may_allow_a_network(network: str, address: str, passes: bool) -> None:
    assert Guard([ipaddress.ip_network(network)]).allows(ipaddress.ip_address(address)) is passes


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com",
        "https://example.com:8443/a/b?c=d&e=%20#f",
        "http://hooks_1.example.com./x",
        "https://bücher.example/x",
        "https://example.com/@me?to=a@b.c",
        "https://1password.com/",
        "https://123.example/",
        "https://8.8.8.8/",
    ],
)
def test_ordinary_urls_pass(url: str) -> None:
    assert Guard().read_url(url).raw_host


def test_a_refusal_doesn_t_repeat_the_url() -> None:
    with pytest.raises(UrlRefused) as refusal:
        Guard().read_url("http://user:hunter2@example.com/")
    assert "hunter2" not in str(refusal.value)
