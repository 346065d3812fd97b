"""Logging of a process: everything, uvicorn's and libraries' records included, as one line of JSON without secrets."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any

import orjson
import structlog

from app.settings import Settings

_SECRET = re.compile(
    r"\b(sk|rga|xai|AIza|gsk)[-_A-Za-z0-9]{12,}|(?i:bearer\s+)[^\s\"',]+|(postgres(?:ql)?://[^:/@\s]*:)[^@\s]+@"
)


def _hide_secrets(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Whatever looks like a key, a token or a database password doesn't reach the log, wherever it came from."""
    for name, value in event.items():
        if isinstance(value, str):
            event[name] = _SECRET.sub(_mask, value)
    return event


def _mask(match: re.Match[str]) -> str:
    return f"{match[2]}[redacted]@" if match[2] else "[redacted]"


def _render(_logger: object, _method: str, event: MutableMapping[str, Any]) -> str:
    return orjson.dumps(event, default=str).decode()


def configure_logs(settings: Settings) -> None:
    """Routes structlog and the standard library's logging to stdout, in one format."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        _hide_secrets,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    render: Any = structlog.dev.ConsoleRenderer() if settings.log_format == "console" else _render
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, render],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.log_level.upper())
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
    for name in ("alembic", "uvicorn.error", "uvicorn.access", "httpx2"):
        logging.getLogger(name).setLevel(logging.WARNING)
