"""Ids of objects in requests: nobody's request may name what another account has made."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

from app.errors import invalid_request
from app.formats.body import decode_json
from app.surfaces.form import Form

ID = re.compile(r"(?:file|vs|batch|conv|resp|cntr|upload|asst|thread|eval|ftjob|skill)[-_][A-Za-z0-9_-]{6,}")
"""What OpenAI's and Anthropic's ids of top-level objects look like."""

_IN_CHAT = re.compile(rb'"(?:file_id|container|container_id)"\s*:\s*"([A-Za-z0-9_-]{8,200})"')
_LISTS_IN_CHAT = re.compile(rb'"(?:vector_store_ids|file_ids)"\s*:\s*\[([^\]]*)\]')
_QUOTED = re.compile(rb'"([A-Za-z0-9_-]{8,200})"')
_WORDS = (b'"file_id', b'"container', b'"vector_store_ids"')
_DISGUISE = re.compile(rb"\\u00(?:2[dD]|3[0-9]|[46][1-9a-fA-F]|5[0-9aAfF]|7[0-9aA])")
"""An escaped letter, digit, underscore or hyphen: no JSON writer escapes those; who does may mean to hide an id."""

MAX_IDS = 1000


def references_in_chat(body: bytes) -> tuple[str, ...]:
    """The ids that a chat request names where such requests name objects: files, vector stores, containers.

    Raises GatewayError 400 for more than anybody needs.
    """
    if b"\\u00" in body and _DISGUISE.search(body):
        body = json.dumps(decode_json(body)).encode()
    if not any(word in body for word in _WORDS):
        return ()
    found = [match[1] for match in _IN_CHAT.finditer(body)]
    for match in _LISTS_IN_CHAT.finditer(body):
        found += _QUOTED.findall(match[1])
    return _bounded(id.decode() for id in found)


def references_in(body: bytes, form: Form | None) -> tuple[str, ...]:
    """Every id of an object in the JSON of a call about objects, or in a form's fields. Raises GatewayError 400."""
    if form is not None:
        return _bounded(text for part in form.parts if part.filename is None for text in form.texts(part.name))
    return _bounded(_texts(decode_json(body))) if body else ()


def _bounded(texts: Iterable[str]) -> tuple[str, ...]:
    ids = tuple(dict.fromkeys(text for text in texts if ID.fullmatch(text)))
    if len(ids) > MAX_IDS:
        raise invalid_request(f"The request names more than {MAX_IDS} objects.")
    return ids


def _texts(value: Any) -> Iterator[str]:
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, str):
            yield item
        elif isinstance(item, dict):
            waiting += item.values()
        elif isinstance(item, list):
            waiting += item
