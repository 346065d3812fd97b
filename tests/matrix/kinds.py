"""The kinds of upstream: each a channel onto the demo, which plays that vendor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias
from uuid import uuid4

from tests.gateway import Operator
from tests.relay.calls import wait_until_served

Shows: TypeAlias = Literal["asked", "always", "never", "streams"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One kind. `base` follows the demo's origin. `shows`: when the text of reasoning can be seen. `signs`: with a proof.

    `replays`: the request that follows has to bring earlier reasoning back. `fetches`: it gets pictures by their address.
    """

    name: str
    format: str = "openai_chat"
    provider: str = ""
    base: str = "/v1"
    dialect: str = ""
    shows: Shows = "never"
    signs: bool = False
    replays: bool = False
    fetches: bool = True
    fields: Mapping[str, Any] = field(default_factory=dict)


CHAT_ALONE = {"options": {"formats": ["openai_chat"]}}

KINDS = (
    Kind(name="openai", fields=CHAT_ALONE),
    Kind(
        name="responses",
        format="openai_responses",
        provider="openai",
        shows="asked",
        signs=True,
        replays=True,
        fields={"options": {"formats": ["openai_responses"]}},
    ),
    Kind(name="anthropic", format="anthropic_messages", base="", shows="asked", signs=True, replays=True),
    Kind(name="gemini", format="gemini_generate", base="", shows="asked", signs=True, replays=True),
    Kind(name="deepseek", dialect="deepseek", shows="always", replays=True),
    Kind(name="xai", dialect="xai", fields=CHAT_ALONE),
    Kind(name="qwen", dialect="qwen", shows="streams"),
    Kind(name="openrouter", dialect="openrouter", shows="always", signs=True, replays=True),
    Kind(name="ollama", dialect="ollama", shows="always", fetches=False),
    Kind(name="vllm", dialect="vllm", shows="always"),
    Kind(name="azure", dialect="azure", fields=CHAT_ALONE),
)
"""OpenAI's chat says how much it thought, not what."""


@dataclass(frozen=True, slots=True)
class Served:
    """A model of the gateway's, and the name that its upstream knows it by."""

    kind: Kind
    model: str
    upstream: str


def serve_kinds(operator: Operator) -> Mapping[str, Served]:
    """A new model for each kind, over one channel, by the kind's name. Returns once the gateway serves them."""
    made = {kind.name: _make(operator, kind) for kind in KINDS}
    # The gateway hears of changes in their order.
    wait_until_served(operator, made[KINDS[-1].name].model)
    return made


def _make(operator: Operator, kind: Kind) -> Served:
    upstream = f"{kind.name}-{uuid4().hex[:8]}" + (f"?dialect={kind.dialect}" if kind.dialect else "")
    model = operator.model(max_output_tokens=8000)
    channel = {"provider": kind.provider or kind.name, "base_url": operator.demo_url + kind.base, **kind.fields}
    operator.channel(model, upstream, **channel)
    return Served(kind, model, upstream)
