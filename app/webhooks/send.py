"""One attempt at a delivery: what is sent, and what is kept of the answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from datetime import UTC, datetime

import orjson

from app.catalog.vault import Vault
from app.egress.client import Egress, EgressError, read_start
from app.errors import GatewayError
from app.webhooks.outbox import Claim, Outcome
from app.webhooks.retry import HEEDED, read_retry_after
from app.webhooks.sign import PREFIX, sign

TIMEOUT = 10.0
"""Seconds for an attempt in all, from the look-up of the name to the end of the answer."""

MAX_ANSWER = 2048
MAX_SECRET = 256


async def send(egress: Egress, vault: Vault, claim: Claim) -> Outcome:
    """Posts the body, byte for byte as it stands in the outbox. A fault of the receiver is an outcome, not an error."""
    url = claim.url or claim.webhook_url
    if url is None:
        return Outcome(0, error="The account has no webhook any more.", hopeless=True)
    try:
        secrets = [vault.decrypt(secret) for secret in (claim.secret, claim.previous_secret) if secret is not None]
    except GatewayError:
        return Outcome(0, error="The webhook's secret can't be decrypted: RELAYGATE_SECRET_KEY has changed.")
    body = claim.body.encode()
    headers = {"Content-Type": "application/json", **sign(secrets, claim.event_id, int(time.time()), body)}
    # The bearer is for the account's own webhook: a receiver named elsewhere must not learn it.
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
            answer = await read_start(response, MAX_ANSWER + MAX_SECRET)
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

    `answer` is longer than what is kept by a secret's length, so that none is cut in half and passes unseen.
    """
    text = answer.decode("utf-8", "replace")
    for secret in secrets:
        for form in (secret, orjson.dumps(secret)[1:-1].decode(), secret.removeprefix(PREFIX)):
            text = text.replace(form, "[redacted]") if form else text
    kept = text[:MAX_ANSWER]
    return "".join(character if character.isprintable() or character in "\n\t" else "\ufffd" for character in kept)
