"""One attempt at a delivery: what is sent, and what is kept of the answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from itertools import groupby

import orjson

from app.catalog.vault import Vault
from app.egress.client import Egress, EgressError, read_start
from app.errors import GatewayError
from app.webhooks.claims import Claim
from app.webhooks.outbox import Outcome
from app.webhooks.retry import HEEDED, read_retry_after
from app.webhooks.sign import PREFIX, sign

TIMEOUT = 10.0
"""Seconds for an attempt in all, from the look-up of the name to the end of the answer."""

MAX_ANSWER = 2048
MAX_SECRET = 256
MAX_READ = MAX_ANSWER + MAX_SECRET
"""More than is kept: what is taken out leaves room."""

_REDACTED = "[redacted]"


async def send(egress: Egress, vault: Vault, claim: Claim) -> Outcome:
    """Posts the body, byte for byte as it stands in the outbox. A fault of the receiver is an outcome, not an error."""
    if claim.deleted:
        return Outcome(0, error="The account has been deleted.", hopeless=True)
    url = claim.url or claim.webhook_url
    if url is None:
        return Outcome(0, error="The account has no webhook any more.", hopeless=True)
    try:
        secrets = [] if claim.secret is None else [vault.decrypt(claim.secret)]
    except GatewayError:
        what = "webhook's" if claim.url is None else "callback"
        return Outcome(0, error=f"The {what} secret can't be decrypted: RELAYGATE_SECRET_KEY has changed.")
    if claim.previous_secret is not None:
        # The current one is enough to deliver with.
        with suppress(GatewayError):
            secrets.append(vault.decrypt(claim.previous_secret))
    body = claim.body.encode()
    headers = {"Content-Type": "application/json", **sign(secrets, claim.event_id, int(time.time()), body)}
    # The bearer is for the account's own webhook. A callback goes wherever the holder of a key wrote: whoever is there must
    # not learn what would let them sign in the gateway's name.
    if claim.url is None:
        headers["Authorization"] = f"Bearer {secrets[0]}"
    if claim.test:
        headers["Relaygate-Test"] = "true"
    return await _post(egress, url, headers, body, secrets)


async def _post(egress: Egress, url: str, headers: dict[str, str], body: bytes, secrets: Sequence[str]) -> Outcome:
    clock = asyncio.get_running_loop().time
    started = clock()
    status: int | None = None
    retry_after: float | None = None
    answer: bytes | None = None
    fault: str | None = None
    try:
        async with egress.request("POST", url, timeout=TIMEOUT, headers=headers, body=body) as response:
            status = response.status
            if status in HEEDED:
                retry_after = read_retry_after(response.headers.get("Retry-After"), datetime.now(UTC))
            answer = await read_start(response, MAX_READ)
    except EgressError as error:
        fault = str(error)
    latency_ms = int((clock() - started) * 1000)
    if fault is None and status is not None and not 200 <= status < 300:
        fault = f"The receiver answered {status}."
        if 300 <= status < 400:
            fault = f"The receiver answered {status}: redirects aren't followed."
    kept = None if answer is None else write_answer(answer, secrets)
    return Outcome(latency_ms, status, kept, fault, retry_after)


def write_answer(answer: bytes, secrets: Sequence[str]) -> str:
    """The beginning of an answer as text that may be stored and shown, without the secrets it may repeat.

    `answer` is what was read of it, at most MAX_READ bytes. Where that is all, there may be more: an end that a secret
    begins with is taken for one that was cut in half.
    """
    text = answer.decode("utf-8", "replace")
    forms = [
        form
        for secret in secrets
        for form in (secret, orjson.dumps(secret)[1:-1].decode(), secret.removeprefix(PREFIX))
        if form
    ]
    hidden = bytearray(len(text))
    for start, end in _places(text, forms, cut=len(answer) >= MAX_READ):
        hidden[start:end] = b"\x01" * (end - start)
    runs = groupby(zip(text, hidden, strict=True), key=lambda pair: pair[1])
    shown = "".join(_REDACTED if secret else "".join(character for character, _ in run) for secret, run in runs)
    kept = shown[:MAX_ANSWER]
    return "".join(character if character.isprintable() or character in "\n\t" else "\ufffd" for character in kept)


def _places(text: str, forms: Sequence[str], *, cut: bool) -> Iterator[tuple[int, int]]:
    """Where the forms stand, overlapping ones too; with `cut`, also where the text ends within one."""
    for form in forms:
        start = text.find(form)
        while start >= 0:
            yield start, start + len(form)
            start = text.find(form, start + 1)
        if cut:
            for length in range(min(len(form) - 1, len(text)), 0, -1):
                if text.endswith(form[:length]):
                    yield len(text) - length, len(text)
                    break
