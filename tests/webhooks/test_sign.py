"""Signatures against the specification's own example, and what stands for which key."""

from __future__ import annotations

import base64
import hashlib
import hmac
from uuid import UUID

import pytest

from app.webhooks.send import write_answer
from app.webhooks.sign import key_of, sign

EVENT = UUID("0f8b6a1c2d3e4f5061728394a5b6c7d8")
KEY = bytes(range(32))


def test_the_headers_are_those_of_standard_webhooks() -> None:
    body = '{"topic": "t", "data": {"name": "é"}}'.encode()
    headers = sign(["whsec_" + base64.b64encode(KEY).decode(), "plain"], EVENT, 1_900_000_000, body)
    signed = b"msg_0f8b6a1c2d3e4f5061728394a5b6c7d8.1900000000." + body
    wanted = [base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode() for key in (KEY, b"plain")]
    assert headers == {
        "webhook-id": "msg_0f8b6a1c2d3e4f5061728394a5b6c7d8",
        "webhook-timestamp": "1900000000",
        "webhook-signature": f"v1,{wanted[0]} v1,{wanted[1]}",
    }
    assert "webhook-signature" not in sign([], EVENT, 1_900_000_000, body)


@pytest.mark.parametrize(
    ("secret", "key"),
    [
        ("plain", b"plain"),
        ("whsec_" + base64.b64encode(KEY).decode(), KEY),
        ("whsec_not base64!", b"whsec_not base64!"),
        ("whsec_", b"whsec_"),
        ("whsec_abc", b"whsec_abc"),  # cut short
    ],
)
def test_what_is_signed_with(secret: str, key: bytes) -> None:
    assert key_of(secret) == key


def test_an_answer_is_stored_as_text_without_secrets() -> None:
    assert write_answer(b"a\x00b\x1b[31m\xff\xe2\x80\xae\r\n\tc", []) == "a�b�[31m���\n\tc"
    assert write_answer(b"x whsec_YWJj YWJj y", ["whsec_YWJj"]) == "x [redacted] [redacted] y"
    assert write_answer(b"", ["s"]) == ""
    assert len(write_answer("é".encode() * 5000, [])) == 2048
