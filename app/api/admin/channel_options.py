"""The options of a channel: its deviations from its provider, and which of them operators never see again."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, TypeAdapter, WithJsonSchema

from app.api.admin.shapes import AMOUNT_SCHEMA, MAX_INT, Amount, Name, Shape, refuse
from app.catalog.families import is_family
from app.core.money import write_amount

HIDDEN = "[hidden]"
"""What is shown instead of a header or query value that looks like a credential."""

MAX_FIELDS = 50

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,200}")  # field-name, RFC 9110 §5.1
_CREDENTIAL = re.compile(r"auth|key|token|secret|cookie|passw|credential|signature", re.IGNORECASE)
_OURS = frozenset(
    {
        "accept-encoding",
        "connection",
        "content-encoding",
        "content-length",
        "expect",
        "host",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
"""Headers that belong to the connection and to how bodies are framed: set by a channel, they would break every call."""


def _check_header_text(value: str) -> str:
    """Visible latin-1 (RFC 9110 §5.5): CR, LF or NUL would end the header and begin another."""
    if any(not (" " <= character <= "~" or "\xa0" <= character <= "\xff") for character in value):
        refuse("must hold visible latin-1 characters only: no line breaks, no NUL")
    if value != value.strip():
        refuse("must not begin or end with a space")
    if value == HIDDEN:
        refuse(f"{HIDDEN} stands for a value that isn't shown; give the value itself")
    return value


def _check_headers(values: dict[str, str]) -> dict[str, str]:
    for name in values:
        if _TOKEN.fullmatch(name) is None:
            refuse("a header name holds letters, digits and hyphens")
        if name.lower() in _OURS:
            refuse(f"{name.lower()} is set by the gateway")
    if len({name.lower() for name in values}) < len(values):
        refuse("a header stands twice")
    return values


def _check_passes(values: dict[str, str | None]) -> dict[str, str | None]:
    for family in values:
        if not is_family(family):
            refuse(
                "a path begins with up to three words of a-z, 0-9 and _, and not as one that the gateway serves itself"
            )
    return values


def check_once(values: list[str]) -> list[str]:
    """A list without repeats."""
    if len(set(values)) < len(values):
        refuse("one stands twice")
    return values


def _write_nano(value: object) -> object:
    return value if value is None else write_amount(_NANO.validate_python(value))


_NANO: TypeAdapter[int] = TypeAdapter(Amount)
AmountText = Annotated[str, BeforeValidator(_write_nano), WithJsonSchema(AMOUNT_SCHEMA)]
HeaderText = Annotated[str, Field(max_length=8192), AfterValidator(_check_header_text)]
Seconds = Annotated[float, Field(strict=True, gt=0, le=86_400, allow_inf_nan=False)]
Cap = Annotated[int, Field(strict=True, ge=1, le=MAX_INT)]
Ability = Literal["vision", "tools", "json_schema", "files", "audio"]
Abilities = Annotated[list[Ability], Field(max_length=5), AfterValidator(check_once)]
Label = Annotated[str, Field(min_length=1, max_length=50, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
TaskCalls = Annotated[int, Field(strict=True, ge=1, le=1000)]


class Options(Shape):
    """Deviations of one channel. Times are seconds and go before the gateway's own."""

    connect_timeout: Seconds | None = None
    first_byte_timeout: Seconds | None = None
    idle_timeout: Seconds | None = None
    headers: Annotated[dict[str, HeaderText], Field(max_length=MAX_FIELDS), AfterValidator(_check_headers)] = Field(
        default_factory=dict,
        description="Sent with every call, over the provider's own. Values of credentials aren't shown",
    )
    query: Annotated[dict[Name, HeaderText], Field(max_length=MAX_FIELDS)] = Field(
        default_factory=dict, description="Added to every URL, such as Azure's `api-version`"
    )
    formats: Annotated[list[Name], Field(max_length=MAX_FIELDS), AfterValidator(check_once)] = Field(
        default_factory=list,
        description="The wire formats to speak with this upstream, the preferred one first; empty: the provider's own",
    )
    project: Name | None = Field(None, description="Vertex: the Google Cloud project")
    location: Name | None = Field(None, description="Vertex: the region, such as `us-central1`, or `global`")
    label: Label | None = Field(
        None,
        alias="class",
        description="What clients are told in `x-relaygate-channel`; null: the provider's name",
    )
    concurrency: Cap | None = Field(None, description="Requests under way at once, over all processes")
    rpm: Cap | None = Field(None, description="Requests a minute, over all processes")
    tpm: Cap | None = Field(None, description="Tokens a minute, over all processes")
    lacks: Abilities = Field(
        default_factory=list, description="What its models can't do here: requests that need it go elsewhere"
    )
    passes: Annotated[dict[Name, AmountText | None], Field(max_length=MAX_FIELDS), AfterValidator(_check_passes)] = (
        Field(
            default_factory=dict,
            description="Paths that are passed on as they come, by how they begin (`files`, `fine_tuning/jobs`), and dollars "
            "for each POST; null: not passed on, though the provider is known for it",
        )
    )
    task_calls: TaskCalls | None = Field(
        None, description="Media tasks: calls to this upstream at a time, of one process; null: 128"
    )

    def column(self) -> dict[str, Any]:
        values = self.model_dump(exclude_none=True, by_alias=True) | {"passes": dict(self.passes)}
        return {name: value for name, value in values.items() if value not in ({}, [])}


class OptionsOut(Shape):
    """The options that are set; what looks like a credential is hidden."""

    connect_timeout: float | None = None
    first_byte_timeout: float | None = None
    idle_timeout: float | None = None
    headers: dict[str, str] = Field(default_factory=dict)
    query: dict[str, str] = Field(default_factory=dict)
    formats: list[str] = Field(default_factory=list)
    project: str | None = None
    location: str | None = None
    label: str | None = Field(None, alias="class")
    concurrency: int | None = None
    rpm: int | None = None
    tpm: int | None = None
    lacks: list[str] = Field(default_factory=list)
    passes: dict[str, str | None] = Field(default_factory=dict)
    task_calls: int | None = None


def looks_secret(name: str) -> bool:
    """Whether the value of a header or query field of this name is likely a credential."""
    return _CREDENTIAL.search(name) is not None


def show_options(options: Mapping[str, Any]) -> OptionsOut:
    """The options as operators see them."""
    shown = dict(options)
    for part in ("headers", "query"):
        values = shown.get(part, {})
        shown[part] = {name: HIDDEN if looks_secret(name) else value for name, value in values.items()}
    return OptionsOut(**shown)
