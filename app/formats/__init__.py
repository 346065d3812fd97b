"""Client formats, one folder each: symmetric, without I/O. `openai_chat` is the first."""

from __future__ import annotations

import importlib
import pkgutil

from app.formats.base import Format


def discover() -> tuple[Format, ...]:
    """The format of every folder here."""
    return tuple(
        importlib.import_module(f"{__name__}.{folder.name}").FORMAT
        for folder in pkgutil.iter_modules(__path__)
        if folder.ispkg
    )
