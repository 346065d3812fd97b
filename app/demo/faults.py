"""Scripted faults, and the faults that strike before any wire format has a say."""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from app.demo.asgi import Headers
from app.demo.exchange import Exchange
from app.demo.media.options import NAMES, read_media_options
from app.demo.options import Options, OptionsError, read_options

JSON: tuple[bytes, bytes] = (b"content-type", b"application/json")
HTML: tuple[bytes, bytes] = (b"content-type", b"text/html; charset=utf-8")
HTML_PAGE = b"<!DOCTYPE html>\n<html><head><title>%d</title></head><body><h1>Upstream trouble (%d)</h1></body></html>\n"
ANY_MODEL = "*"


@dataclass(frozen=True, slots=True)
class Script:
    """The faults that the next requests for one model get, in order."""

    faults: deque[Mapping[str, Any]]
    repeat: bool


@dataclass(slots=True)
class FaultScripts:
    """The scripts by model name; `*` stands for every model that has none."""

    _scripts: dict[str, Script] = field(default_factory=dict)

    def put(self, model: str, faults: Sequence[Mapping[str, Any]], *, repeat: bool) -> None:
        """Replaces the script of a model; with `repeat` it starts over at its end. Raises OptionsError."""
        for fault in faults:
            _check(fault)
        if faults:
            self._scripts[model] = Script(deque(faults), repeat)
        else:
            self._scripts.pop(model, None)

    @property
    def loaded(self) -> bool:
        """Whether any request could get a fault."""
        return bool(self._scripts)

    def take(self, model: str, name: str) -> Mapping[str, Any] | None:
        """The fault for this request, by the model as received or by its name without options."""
        for key in (model, name, ANY_MODEL):
            script = self._scripts.get(key)
            if script is None:
                continue
            fault = script.faults.popleft()
            if script.repeat:
                script.faults.append(fault)
            elif not script.faults:
                del self._scripts[key]
            return fault
        return None

    def clear(self) -> None:
        """Forgets every script."""
        self._scripts.clear()


def _check(fault: Mapping[str, Any]) -> None:
    # Chat and media have options of their own, some under one name: a fault has to be good for one of them.
    try:
        read_options(fault)
    except OptionsError:
        if not NAMES.issuperset(fault):
            raise
        read_media_options(fault)


async def strike_early(exchange: Exchange, options: Options, answer_headers: Headers) -> bool:
    """Delays, stalls, drops or redirects as the options say; true when the exchange is over."""
    if options.delay_ms:
        await exchange.pause(options.delay_ms / 1000)
    if options.drop:
        await exchange.drop()
        return True
    if options.redirect is not None:
        await exchange.respond(302, ((b"location", options.redirect.encode()),), b"")
        return True
    if options.stall == "headers":
        await exchange.stall()
    if options.stall == "first":
        await exchange.start(options.status or 200, answer_headers)
        await exchange.stall()
    return False


def strange_body(options: Options, message: str) -> tuple[int, Headers, bytes] | None:
    """The error bodies that belong to no format of their own; None when `body` is not set."""
    match options.body:
        case None:
            return None
        case "html":
            status = options.status or 200
            return status, (HTML,), HTML_PAGE % (status, status)
        case "string_error":
            return options.status or 500, (JSON,), orjson.dumps({"error": message})
        case "array_error":
            status = options.status or 500
            error = {
                "code": status,
                "message": message,
                "status": "UNAVAILABLE" if status >= 500 else "INVALID_ARGUMENT",
            }
            return status, (JSON,), orjson.dumps([{"error": error}])
