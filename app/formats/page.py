"""Writes docs/formats.md: what becomes of every field of every format, out of the tables that the conversion itself asks."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence

from app.formats import discover
from app.formats.base import Format
from app.formats.fields import Fate, Field, Verdict

SIGN = {Verdict.MAPPED: "mapped", Verdict.DROPPED: "dropped", Verdict.REFUSED: "**refused**"}

INTRODUCTION = """# Formats

<!-- Written by `python -m app.formats.page`; a test compares. Edit the tables in `app/formats/*/fields.py` instead. -->

Every chat model answers in every format that clients speak, whichever its upstream speaks:

| format | endpoint | clients |
|---|---|---|
| `openai_chat` | `POST /v1/chat/completions` | OpenAI's SDKs, and nearly everybody else's |
| `openai_responses` | `POST /v1/responses` | OpenAI's SDKs |
| `anthropic_messages` | `POST /v1/messages` | Anthropic's SDKs, Claude Code |
| `gemini_generate` | `POST /v1beta/models/{model}:generateContent`, `…:streamGenerateContent` | Google's SDKs |

**The same format on both sides**: the request goes on as it came, unknown fields and all; only the model's name, the output
cap where money runs short, and, for streams of Chat Completions, `stream_options.include_usage` are set. The answer comes
back byte by byte.

**Different formats**: the request is read into one model of conversations, and written in the upstream's format; the answer
likewise on its way back, event by event. Nothing is lost in silence. A field is

- **mapped**: carried, with what the note says is changed on the way;
- **dropped**: advisory, left out, and named in the answer's `x-relaygate-dropped` header;
- **refused**: the request gets a 400 with code `field_not_supported` that names the field, before anything is charged. Where
  another channel of the model can take it, that one is used instead.

A field that isn't listed here is refused in the same way where the formats differ. `null` is as good as absent, and so is a
value that asks for nothing (`n: 1`, `presence_penalty: 0`, `logprobs: false`).

A channel that speaks the client's own format goes before others of the same priority. A channel speaks what its provider
does; its option `formats` names others, or another order.
"""

SIGNATURES = """## Thoughts and their signatures

Vendors sign what their models thought, and want it back unchanged. Each format has a place for that, and SDK users who send
an assistant's turn back as they got it send the signature along: `signature` of Anthropic's thinking blocks,
`thoughtSignature` of Gemini's parts, `encrypted_content` of OpenAI's reasoning items. Another vendor's signature stands there
under the gateway's mark, and comes off when it goes back to that vendor. In Chat Completions they stand in
`reasoning_details` (OpenRouter's shape, whose `format` names the vendor), and Gemini's also in a tool call's
`extra_content.google.thought_signature`. No vendor is given another one's: a conversation that changes its vendor goes on
without the old one's thoughts, and `x-relaygate-dropped` says so.

How much a model thinks is one thing, whether its thoughts are shown another. `reasoning_effort` of Chat Completions only says
how much, as it does at OpenAI; `reasoning: {"effort": "high"}` (OpenRouter's words) shows them as well, at every vendor.

A custom tool of OpenAI's, which takes plain text, is a tool with one text field at other vendors, and comes back as a custom
call.
"""


def write_page(formats: Sequence[Format]) -> str:
    """The whole page, in Markdown."""
    parts = [INTRODUCTION, SIGNATURES]
    for client in formats:
        parts.append("\n".join(_section(client, [format for format in formats if format is not client])))
    return "\n".join(parts)


def _section(client: Format, upstreams: Sequence[Format]) -> Iterator[str]:
    yield f"## A client of {client.title}\n"
    yield f"| field | {' | '.join(f'`{upstream.name}`' for upstream in upstreams)} |"
    yield "|---" * (len(upstreams) + 1) + "|"
    for field in client.fields:
        fates = " | ".join(_tell(_fate(field, upstream)) for upstream in upstreams)
        yield f"| `{field.name}` | {fates} |"
    yield ""


def _fate(field: Field, upstream: Format) -> Fate:
    if field.attribute is None:
        assert field.fate is not None, f"{field.name} has neither attribute nor fate"
        return field.fate
    return upstream.carries[field.attribute]


def _tell(fate: Fate) -> str:
    note = fate.note.replace("|", "\\|")
    return f"{SIGN[fate.verdict]}: {note}" if note else SIGN[fate.verdict]


if __name__ == "__main__":
    sys.stdout.write(write_page(discover()))
