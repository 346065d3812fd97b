"""A client's body, field by field: what is read is checked and taken out, and what is left goes on as it came."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

import orjson

from app.errors import invalid_request

MAX_TEXT = 200
MAX_EXTRA = 64 * 1024
"""Bytes of JSON that all fields together may have which the gateway doesn't know: they stand on the task's row."""

MAX_DEPTH = 16
"""How deep a field that the gateway doesn't know may be nested."""

_NUMBER = re.compile(r"[0-9]{1,6}(\.[0-9]{1,3})?", re.ASCII)
_NAME = re.compile(r"[ -~]*", re.ASCII)
_LARGEST = 2**63


class Fields:
    """The fields of one body. Every method raises GatewayError 400 naming the field; null is the same as absent."""

    def __init__(self, body: Mapping[str, Any]) -> None:
        self._left = {name: value for name, value in body.items() if value is not None}
        self._known: set[str] = set()

    def __contains__(self, name: str) -> bool:
        self._known.add(name)
        return name in self._left

    def take(self, name: str) -> Any:
        """The value as it is; None: absent."""
        self._known.add(name)
        return self._left.pop(name, None)

    def text(self, name: str, most: int = MAX_TEXT) -> str | None:
        """A text of at most `most` UTF-8 bytes that isn't blank."""
        value = self.take(name)
        if value is None:
            return None
        if not isinstance(value, str):
            raise invalid_request(f"{name}: must be a text.", name)
        _check_text(value, name, name)
        if not value.strip():
            raise invalid_request(f"{name}: must not be empty.", name)
        # Four bytes are the most that a character takes: a huge text isn't encoded to be refused.
        if len(value) > most or len(value.encode()) > most:
            raise invalid_request(f"{name}: is longer than {most} bytes.", name)
        return value

    def needed(self, name: str, most: int = MAX_TEXT) -> str:
        """A text that must be there."""
        value = self.text(name, most)
        if value is None:
            raise invalid_request(f"{name}: is required.", name)
        return value

    def pattern(self, name: str, pattern: re.Pattern[str], wanted: str) -> str | None:
        """A text of a certain form."""
        value = self.text(name)
        if value is not None and pattern.fullmatch(value) is None:
            raise invalid_request(f"{name}: must be {wanted}.", name)
        return value

    def flag(self, name: str) -> bool | None:
        """True or false; never a text or a number that looks like one."""
        self.check_flag(name)
        value = self.take(name)
        return None if value is None else bool(value)

    def check_flag(self, name: str) -> None:
        """As `flag`, but leaves the field where it is."""
        self._known.add(name)
        if not isinstance(self._left.get(name, False), bool):
            raise invalid_request(f"{name}: must be true or false.", name)

    def number(self, name: str, least: float, most: float) -> float | None:
        """A number of seconds, or the text of one: the contract writes lengths as text."""
        value = self.take(name)
        if value is None:
            return None
        if isinstance(value, str) and _NUMBER.fullmatch(value):
            value = float(value)
        if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
            raise invalid_request(f"{name}: must be a number of seconds from {least:g} to {most:g}.", name)
        return float(value)

    def count(self, name: str, most: int) -> int | None:
        """A whole number from one to `most`."""
        value = self.take(name)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most):
            raise invalid_request(f"{name}: must be a whole number from 1 to {most}.", name)
        return value

    def texts(self, name: str, most: int) -> list[str]:
        """A list of at most `most` texts; empty where it is absent."""
        value = self.take(name)
        if value is None:
            return []
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise invalid_request(f"{name}: must be a list of texts.", name)
        if len(value) > most:
            raise invalid_request(f"{name}: holds {len(value)}, and at most {most} are taken.", name)
        return value

    def rest(self, *spelled: str) -> dict[str, Any]:
        """What was not taken, as it came; bounded in size and depth, since it is stored. `spelled`: names that have to be
        written in no other way, as those of the fields that were looked for.
        """
        known = self._known.union(spelled)
        for name, value in self._left.items():
            _check_name(name, name)
            _check_spelling(name, known)
            _check_value(value, name[:MAX_TEXT], MAX_DEPTH)
        if len(orjson.dumps(self._left)) > MAX_EXTRA:
            largest = max(self._left, key=lambda name: len(orjson.dumps(self._left[name])))
            message = (
                f"{largest[:MAX_TEXT]}: is too large; the fields beside the known ones have {MAX_EXTRA // 1024} KiB."
            )
            raise invalid_request(message, largest[:MAX_TEXT])
        return self._left


def _check_value(value: Any, name: str, depth: int) -> None:
    match value:
        case str():
            _check_text(value, name, name)
        case list() | dict() if depth == 0:
            raise invalid_request(f"{name}: is nested more than {MAX_DEPTH} deep.", name)
        case list():
            for item in value:
                _check_value(item, name, depth - 1)
        case dict():
            for key, item in value.items():
                _check_name(key, name)
                _check_value(item, name, depth - 1)
        case int() if not -_LARGEST <= value < _LARGEST:
            raise invalid_request(f"{name}: holds a number that is out of range.", name)


def _check_name(key: str, name: str) -> None:
    # Upstreams that take forms get it as a header's parameter, which can't say everything.
    if _NAME.fullmatch(key) is None:
        message = f"{name[:MAX_TEXT]}: the name of a field must hold printable ASCII characters only."
        raise invalid_request(message, name[:MAX_TEXT])


def _check_spelling(name: str, known: Collection[str]) -> None:
    """`Duration` is `duration` to upstreams written in Go, and `duration[]` to readers of forms: what is made would then be
    something else than what is paid for.
    """
    plain = name.partition("[")[0].strip().lower()
    if plain in known and name not in known:
        raise invalid_request(f"{name[:MAX_TEXT]}: must be written `{plain}`.", name[:MAX_TEXT])


def _check_text(value: str, name: str, what: str) -> None:
    # PostgreSQL stores any character but this one; and a half of a surrogate pair is no character.
    if "\0" in value:
        raise invalid_request(f"{what}: must not hold a NUL character.", name)
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise invalid_request(f"{what}: holds half a character (a lone surrogate).", name) from error
