"""Logging of a process: everything, uvicorn's and libraries' records included, as one line of JSON without secrets.

The standard library's logging with events and fields on top. structlog would do the same, and imports rich and pygments
wherever they are installed, which is 8 MB in every worker.
"""

from __future__ import annotations

import logging
import re
import sys
from datetime import UTC, datetime
from typing import Any

import orjson

from app.settings import Settings

_SECRET = re.compile(
    r"\b(?:sk|rga|xai|gsk)-[-_A-Za-z0-9]{8,}|\bAIza[-_A-Za-z0-9]{20,}"
    r"|(?i:bearer\s+)[^\s\"',]+|(postgres(?:ql)?://[^:/@\s]*:)[^@\s]+@"
)


class EventLog:
    """Writes events with fields: `log.warning("attempt_failed", channel=name)`."""

    __slots__ = ("_logger",)

    def __init__(self, name: str) -> None:
        self._logger = logging.getLogger(name)

    def info(self, event: str, **fields: Any) -> None:
        self._write(logging.INFO, event, fields)

    def warning(self, event: str, **fields: Any) -> None:
        self._write(logging.WARNING, event, fields)

    def error(self, event: str, **fields: Any) -> None:
        self._write(logging.ERROR, event, fields)

    def critical(self, event: str, **fields: Any) -> None:
        self._write(logging.CRITICAL, event, fields)

    def exception(self, event: str, **fields: Any) -> None:
        """An error with the story of the exception at hand."""
        self._write(logging.ERROR, event, {**fields, "exc_info": True})

    def _write(self, level: int, event: str, fields: dict[str, Any]) -> None:
        if self._logger.isEnabledFor(level):
            story = fields.pop("exc_info", None)
            self._logger.log(level, "%s", event, exc_info=story, extra={"fields": fields})


def get_log(name: str) -> EventLog:
    return EventLog(name)


class JsonLines(logging.Formatter):
    """One JSON object a record; the fields of an event beside the usual ones."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "timestamp": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            "logger": record.name,
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return hide_secrets(orjson.dumps(line, default=str).decode())


class PlainLines(logging.Formatter):
    """For people: time, level, event, fields."""

    def format(self, record: logging.LogRecord) -> str:
        fields = " ".join(f"{name}={value}" for name, value in getattr(record, "fields", {}).items())
        line = f"{self.formatTime(record, '%H:%M:%S')} {record.levelname.lower():8} {record.getMessage()} {fields}"
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return hide_secrets(line.rstrip())


def hide_secrets(text: str) -> str:
    """Whatever looks like a key, a token or a database password doesn't reach the log, wherever it came from."""
    return _SECRET.sub(lambda match: f"{match[1]}[redacted]@" if match[1] else "[redacted]", text)


def configure_logs(settings: Settings) -> None:
    """Sends all records of the process to stdout, in one format."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(PlainLines() if settings.log_format == "console" else JsonLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.log_level.upper())
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
    # What these say at INFO, the request log says better, or nobody needs.
    for name in ("alembic", "uvicorn.error", "uvicorn.access", "httpx2"):
        logging.getLogger(name).setLevel(logging.WARNING)
