"""Client formats, one folder each: symmetric, without I/O. Folders that offer no `FORMAT` only read usage so far."""

from __future__ import annotations

import importlib
import pkgutil

from app.formats.base import Format


def discover() -> tuple[Format, ...]:
    """The format of every folder here that offers one."""
    folders = [folder.name for folder in pkgutil.iter_modules(__path__) if folder.ispkg]
    modules = [importlib.import_module(f"{__name__}.{folder}") for folder in folders]
    return tuple(module.FORMAT for module in modules if hasattr(module, "FORMAT"))


def by_name() -> dict[str, Format]:
    """The formats by their names."""
    return {format.name: format for format in discover()}
