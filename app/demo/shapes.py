"""Shapes of JSON values, to refuse a request as strictly as its vendor does; the vendor words the refusal."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

Path = tuple[str | int, ...]
Problem = Literal["missing", "extra", "type", "choice", "tag", "range", "pattern"]


class Misfit(Exception):
    """The first thing wrong with a value: where, what kind of wrong, and what would be right.

    `path` ends with the name of the field that is missing or one too many. `wanted` is the name of a type in JSON's words, a
    bound (`>= 1`), a pattern, or the choices.
    """

    def __init__(self, path: Path, problem: Problem, wanted: tuple[str, ...], value: object = None) -> None:
        super().__init__(f"{path}: {problem} {wanted}")
        self.path = path
        self.problem = problem
        self.wanted = wanted
        self.value = value


class Shape(Protocol):
    """What a value has to look like."""

    def read(self, value: Any, path: Path) -> Any:
        """The value with its fields under their own names; raises Misfit."""


@dataclass(frozen=True, slots=True)
class Text:
    """A string: one of the choices if there are any, of the pattern if there is one."""

    choices: tuple[str, ...] = ()
    pattern: str | None = None

    def read(self, value: Any, path: Path) -> Any:
        """Raises Misfit."""
        if not isinstance(value, str):
            raise Misfit(path, "type", ("string",), value)
        if self.choices and value not in self.choices:
            raise Misfit(path, "choice", self.choices, value)
        if self.pattern is not None and re.fullmatch(self.pattern, value) is None:
            raise Misfit(path, "pattern", (f"^{self.pattern}$",), value)
        return value


@dataclass(frozen=True, slots=True)
class Number:
    """A number within bounds; an integer unless `fractions`."""

    least: float | None = None
    most: float | None = None
    fractions: bool = False

    def read(self, value: Any, path: Path) -> Any:
        """Raises Misfit."""
        kinds = (int, float) if self.fractions else (int,)
        if isinstance(value, bool) or not isinstance(value, kinds):
            raise Misfit(path, "type", ("number" if self.fractions else "integer",), value)
        if self.least is not None and value < self.least:
            raise Misfit(path, "range", (">=", f"{self.least:g}"), value)
        if self.most is not None and value > self.most:
            raise Misfit(path, "range", ("<=", f"{self.most:g}"), value)
        return value


@dataclass(frozen=True, slots=True)
class Flag:
    """A boolean."""

    def read(self, value: Any, path: Path) -> Any:
        """Raises Misfit."""
        if not isinstance(value, bool):
            raise Misfit(path, "type", ("boolean",), value)
        return value


@dataclass(frozen=True, slots=True)
class Anything:
    """Any value."""

    def read(self, value: Any, path: Path) -> Any:
        """Never raises."""
        return value


@dataclass(frozen=True, slots=True)
class Open:
    """An object with whatever fields."""

    def read(self, value: Any, path: Path) -> Any:
        """Raises Misfit."""
        if not isinstance(value, dict):
            raise Misfit(path, "type", ("object",), value)
        return value


@dataclass(frozen=True, slots=True)
class ListOf:
    """An array of one shape."""

    item: Shape
    most: int | None = None

    def read(self, value: Any, path: Path) -> Any:
        """Raises Misfit."""
        if not isinstance(value, list):
            raise Misfit(path, "type", ("array",), value)
        if self.most is not None and len(value) > self.most:
            raise Misfit(path, "range", ("<=", f"{self.most} items"), value)
        return [self.item.read(each, (*path, index)) for index, each in enumerate(value)]


@dataclass(frozen=True, slots=True)
class MapOf:
    """An object with whatever names, whose values have one shape; protobuf calls them entries with a `value`."""

    item: Shape

    def read(self, value: Any, path: Path) -> Any:
        """Raises Misfit."""
        if not isinstance(value, dict):
            raise Misfit(path, "type", ("object",), value)
        named = enumerate(value.items())
        return {name: self.item.read(each, (*path, index, "value")) for index, (name, each) in named}


@dataclass(frozen=True, slots=True)
class Record:
    """An object with known fields. With `nulls` a null is as good as no field; with `snake` so is another spelling; with
    `open` unknown fields are left out without a word.
    """

    needs: Mapping[str, Shape] = field(default_factory=dict)
    may: Mapping[str, Shape] = field(default_factory=dict)
    nulls: bool = False
    snake: bool = False
    open: bool = False

    def read(self, value: Any, path: Path) -> Any:
        """Raises Misfit."""
        if not isinstance(value, dict):
            raise Misfit(path, "type", ("object",), value)
        found: dict[str, Any] = {}
        for given, each in value.items():
            name = to_camel(given) if self.snake else given
            shape = self.needs.get(name) or self.may.get(name)
            if shape is None and self.open:
                continue
            if shape is None:
                raise Misfit((*path, given), "extra", (), each)
            if each is not None or not self.nulls:
                found[name] = shape.read(each, (*path, name))
        for name in self.needs:
            if name not in found:
                raise Misfit((*path, name), "missing", ())
        return found


@dataclass(frozen=True, slots=True)
class Tagged:
    """An object whose field `tag` tells which of the shapes it has; `default` is for one without.

    `steps_in` puts the tag into the path, as pydantic does.
    """

    tag: str
    kinds: Mapping[str, Shape]
    default: str | None = None
    steps_in: bool = False

    def read(self, value: Any, path: Path) -> Any:
        """Raises Misfit."""
        if not isinstance(value, dict):
            raise Misfit(path, "type", ("object",), value)
        name = value.get(self.tag, self.default)
        if name is None:
            raise Misfit((*path, self.tag), "missing", ())
        shape = self.kinds.get(name) if isinstance(name, str) else None
        if shape is None:
            raise Misfit((*path, self.tag), "tag", tuple(self.kinds), name)
        return shape.read(value, (*path, name) if self.steps_in else path)


@dataclass(frozen=True, slots=True)
class Either:
    """One shape for strings, another for what isn't one."""

    text: Shape
    other: Shape

    def read(self, value: Any, path: Path) -> Any:
        """Raises Misfit."""
        return (self.text if isinstance(value, str) else self.other).read(value, path)


@dataclass(frozen=True, slots=True)
class Maybe:
    """A shape, or null."""

    shape: Shape

    def read(self, value: Any, path: Path) -> Any:
        """Raises Misfit."""
        return None if value is None else self.shape.read(value, path)


def to_camel(name: str) -> str:
    """`max_output_tokens` as `maxOutputTokens`."""
    first, *rest = name.split("_")
    return first + "".join(part[:1].upper() + part[1:] for part in rest) if first else name


def to_snake(name: str) -> str:
    """`maxOutputTokens` as `max_output_tokens`."""
    return re.sub(r"(?<!^)([A-Z])", lambda match: f"_{match[1].lower()}", name)
