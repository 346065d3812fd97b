"""Signatures against the specification's own example, and what stands for which key."""

from __future__ import annotations

import base64
import hashlib
import hmac
from uuid import UUID

import pytest

from app.webhooks.send import MAX_READ, write_answer
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
    ],
)
def test_what_is_signed_with(secret: str, key: bytes) -> None:
    assert key_of(secret) == key


@pytest.mark.parametrize("secret", ["whsec_not base64!", "whsec_", "whsec_abc"])
def test_the_prefix_promises_base64(secret: str) -> None:
    with pytest.raises(ValueError, match="must be followed by base64"):
        key_of(secret)


def test_an_answer_is_stored_as_text_without_secrets() -> None:
    assert write_answer(b"a\x00b\x1b[31m\xff\xe2\x80\xae\r\n\tc", []) == "a�b�[31m���\n\tc"
    assert write_answer(b"x whsec_YWJj YWJj y", ["whsec_YWJj"]) == "x [redacted] [redacted] y"
    assert write_answer(b"", ["s"]) == ""
    assert len(write_answer("é".encode() * 5000, [])) == 2048


LONG = "S" + "k" * 199 + "-the-end-of-it"


@pytest.mark.parametrize("cut", range(1, len(LONG), 13))
def test_no_part_of_a_secret_that_was_cut_slides_in_behind_one_that_was_taken_out(cut: int) -> None:
    filling = "x" * (MAX_READ - len(LONG) - cut)
    answer = (LONG + filling + LONG)[:MAX_READ].encode()
    assert write_answer(answer, [LONG]) == f"[redacted]{filling}[redacted]"[:2048]


def test_forms_of_secrets_that_overlap_are_taken_out_whole() -> None:
    assert write_answer(b"1abcabcab2", ["abcab"]) == "1[redacted]2"
    assert write_answer(b"1abcdef2", ["bcd", "abcdef"]) == "1[redacted]2"
    quoted = '"' * 250  # twice as long in JSON: longer than what is read beyond what is kept
    answer = ("x" * 2000 + '\\"' * 250)[:MAX_READ].encode()
    assert write_answer(answer, [quoted]) == "x" * 2000 + "[redacted]"


def test_an_answer_that_is_complete_keeps_its_end() -> None:
    assert write_answer(b"ok", ["key"]) == "ok"
