"""Key echo: an upstream that repeats its key in an answer that succeeds. Errors and headers: tests/relay/test_headers.py."""

from __future__ import annotations

from uuid import uuid4

import httpx2
import pytest

from tests.gateway import Gateway, Operator

CHAT = {"messages": [{"role": "user", "content": "Hi"}]}


def _answer(gateway: Gateway, operator: Operator, key: str, format: str) -> httpx2.Response:
    model, customer = operator.model(), operator.customer()
    upstream = f"u-{uuid4().hex[:12]}?echo_key=1"
    operator.channel(model, upstream, api_key=key, options={"formats": [format]})
    answer = httpx2.post(
        f"{gateway.base_url}/chat/completions", json={"model": model, **CHAT}, headers=customer.headers
    )
    assert answer.status_code == 200, answer.text
    return answer


@pytest.mark.parametrize("format", ["openai_chat", "openai_responses"])
def test_key_echo_in_an_answer(gateway: Gateway, operator: Operator, format: str) -> None:
    """Passed on as it came, or converted."""
    secret = f"sk-{uuid4().hex}"
    answer = _answer(gateway, operator, secret, format)
    assert secret not in answer.text + repr(answer.headers.multi_items())
    assert "(key: Bearer [redacted])" in answer.json()["choices"][0]["message"]["content"]


def test_key_echo_of_a_key_that_is_a_word(gateway: Gateway, operator: Operator) -> None:
    """Servers without keys are given words, which an answer may hold."""
    answer = _answer(gateway, operator, "ollama", "openai_chat")
    assert "(key: Bearer ollama)" in answer.json()["choices"][0]["message"]["content"]
