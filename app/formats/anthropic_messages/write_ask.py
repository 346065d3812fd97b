"""A canonical request, written for Anthropic, in whichever API version can carry it.

Source: Anthropic's "Versions" page. 2026-10-21 has no sampling parameters, and refuses them even at their defaults. So a
request that samples goes out as 2023-06-01: older models still heed it there, the newest refuse it in their own words. A
system message in the middle of a conversation is folded into a user's turn there, since only the new version has such.
"""

from __future__ import annotations

from typing import Any

from app.core.conversation import Ask, Reasoning
from app.errors import GatewayError
from app.formats.anthropic_messages.fields import CARRIES, TITLE
from app.formats.anthropic_messages.request import LEAST_BUDGET
from app.formats.anthropic_messages.write_messages import MessageWriter, write_cache, write_texts
from app.formats.anthropic_messages.write_tools import write_tools
from app.formats.base import Target, Written
from app.formats.fields import cannot_carry, check_fates
from app.formats.framing import write_json

VERSION_HEADER = "anthropic-version"
SAMPLES = "2023-06-01"
NEWEST = "2026-10-21"

VERSION_2026 = "version_2026"
"""Quirk of an upstream that knows the newest API version only: sampling is refused by name."""

FAST_BETA = "fast-mode-2026-02-01"
"""Some models demand it of a request with `speed` (`message_create_params.py`)."""

SAMPLING = ("temperature", "top_p", "top_k")
DEFAULTS = {"temperature": 1.0, "top_p": 1.0}

EFFORTS = {"minimal": "low"}
TIERS = {
    "default": {"service_tier": "standard_only"},
    "auto": {},
    "fast": {"speed": "fast"},
    "priority": {"speed": "fast"},
}


def write_ask(ask: Ask, target: Target) -> Written:
    """Raises GatewayError 400 naming the client's field that can't be carried."""
    _check(ask)
    left_out = check_fates(ask, CARRIES, TITLE, without=(*SAMPLING, "service_tier", "modalities"))
    sampling = _sampling(ask, target, left_out)
    version = SAMPLES if sampling else NEWEST
    headers = {VERSION_HEADER: version}
    messages = MessageWriter(ask, fold_system=version == SAMPLES)
    cap = _cap(ask, target)
    body: dict[str, Any] = {"model": target.model, "max_tokens": cap, **sampling}
    system = [messages.text(text) for text in ask.system if text.text]
    if system:
        body["system"] = write_texts(system)
    body["messages"] = messages.write()
    body.update(write_tools(ask))
    body.update(_thinking(ask, cap, left_out))
    output = _output_config(ask)
    if output:
        body["output_config"] = output
    body.update(_simple(ask))
    tier = TIERS.get(ask.service_tier or "auto")
    if tier is None:
        left_out.append(ask.field("service_tier"))
    elif tier:
        body.update(tier)
        if "speed" in tier:
            headers["anthropic-beta"] = FAST_BETA
    return Written(write_json(body), tuple(dict.fromkeys([*left_out, *messages.left_out])), headers)


def _check(ask: Ask) -> None:
    if ask.choices > 1:
        raise cannot_carry(ask.field("choices"), TITLE, CARRIES["choices"].note)
    if any(modality != "text" for modality in ask.modalities):
        raise cannot_carry(ask.field("modalities"), TITLE, CARRIES["modalities"].note)
    if ask.response_format is not None and ask.response_format.schema is None:
        raise cannot_carry(ask.field("response_format"), TITLE, CARRIES["json_object"].note)


def _simple(ask: Ask) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if ask.stop:
        found["stop_sequences"] = ask.stop
    if ask.stream:
        found["stream"] = True
    if ask.user is not None:
        found["metadata"] = {"user_id": ask.user}
    if ask.cache is not None:
        found["cache_control"] = write_cache(ask.cache)
    return found


def _cap(ask: Ask, target: Target) -> int:
    cap = target.default_cap if ask.output_cap is None else ask.output_cap
    return cap if target.output_cap is None else min(cap, target.output_cap)


def _sampling(ask: Ask, target: Target, left_out: list[str]) -> dict[str, Any]:
    """The sampling that the request goes out with; none where all of it is the default, which the newest version refuses."""
    asked = {name: value for name in SAMPLING if (value := getattr(ask, name)) is not None}
    if all(value == DEFAULTS.get(name) for name, value in asked.items()):
        left_out += [ask.field(name) for name in asked]
        return {}
    if VERSION_2026 in target.quirks:
        name = next(name for name, value in asked.items() if value != DEFAULTS.get(name))
        raise cannot_carry(ask.field(name), TITLE, f"API version {NEWEST} has no sampling parameters")
    if asked.get("temperature", 0.0) > 1.0:
        raise _too_hot(ask)
    return asked


def _too_hot(ask: Ask) -> GatewayError:
    return cannot_carry(ask.field("temperature"), TITLE, "there it is at most 1")


def _thinking(ask: Ask, cap: int, left_out: list[str]) -> dict[str, Any]:
    """The field `thinking`: off, a budget, or the model's own choice. An effort alone goes into `output_config`."""
    reasoning = ask.reasoning
    if reasoning is None:
        return {}
    if reasoning.budget == 0 or (reasoning.effort == "none" and reasoning.budget is None and not reasoning.adaptive):
        return {"thinking": {"type": "disabled"}}
    thinking: dict[str, Any]
    if reasoning.budget is not None and reasoning.budget > 0:
        if cap <= LEAST_BUDGET:  # no budget fits below such a cap
            left_out.append(ask.field("reasoning"))
            return {}
        budget = max(reasoning.budget, LEAST_BUDGET)
        if budget >= cap:  # some of the cap is for the answer
            budget = min(max(cap * 3 // 4, LEAST_BUDGET), cap - 1)
        thinking = {"type": "enabled", "budget_tokens": budget}
    elif reasoning.adaptive or reasoning.budget is not None or reasoning.show:
        thinking = {"type": "adaptive"}  # what is to be shown must be thought
    else:
        return {}
    if reasoning.show is not None:
        thinking["display"] = "summarized" if reasoning.show else "omitted"
    return {"thinking": thinking}


def _output_config(ask: Ask) -> dict[str, Any]:
    found: dict[str, Any] = {}
    effort = _effort(ask.reasoning)
    if effort is not None:
        found["effort"] = effort
    if ask.response_format is not None:
        found["format"] = {"type": "json_schema", "schema": ask.response_format.schema}
    return found


def _effort(reasoning: Reasoning | None) -> str | None:
    if reasoning is None or reasoning.effort in (None, "none"):
        return None
    return EFFORTS.get(reasoning.effort or "", reasoning.effort)
