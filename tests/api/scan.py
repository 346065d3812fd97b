"""What no answer of the admin API may hold, looked for in every one; and what a refusal looks like."""

from __future__ import annotations

import base64
import hashlib
import re

import httpx2

UPSTREAM_SECRETS = ("upstream-secret-0123456789", "upstream-secret-changed-9876543210", "header-secret-0123456789")
"""Every secret that a test gives to a channel."""

_ISSUES_KEYS = re.compile(r"/admin/v1/keys(/\d+/rotate)?")


class Scanner:
    """Fails on an upstream's secret, on a digest of a key, and on a key anywhere but where it is issued."""

    def __init__(self) -> None:
        self.checked = 0
        self._keys: set[str] = set()
        self._forbidden: set[str] = set(UPSTREAM_SECRETS)

    def check(self, response: httpx2.Response) -> None:
        response.read()
        self.checked += 1
        text = response.text + repr(response.headers.multi_items())
        for secret in self._forbidden:
            assert secret not in text, f"{response.request.method} {response.request.url} shows a secret"
        if (
            response.is_success
            and response.request.method == "POST"
            and _ISSUES_KEYS.fullmatch(response.request.url.path)
        ):
            key = response.json()["key"]
            assert text.count(key) == 1
            self._remember(key)
            return
        for key in self._keys:
            assert key not in text, f"{response.request.method} {response.request.url} shows a key"

    def _remember(self, key: str) -> None:
        digest = hashlib.sha256(key.encode()).digest()
        self._keys.add(key)
        self._forbidden |= {digest.hex(), base64.b64encode(digest).decode(), base64.urlsafe_b64encode(digest).decode()}


def assert_refused(response: httpx2.Response, field: str, status: int = 422) -> None:
    """A refusal in OpenAI's shape that names the field."""
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert (error["param"] or "").removeprefix("query.").removeprefix("path.") == field, error
    assert error["message"]
