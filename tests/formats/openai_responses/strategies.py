"""Random conversations and answers, as far as this format tells them apart."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from app.core.conversation import (
    Answer,
    Choice,
    Citation,
    Finish,
    Refusal,
    Signature,
    Text,
    Thinking,
    Token,
    ToolCall,
)
from app.core.usage import Usage

# Lone surrogates, line ends of all kinds, quotes: what breaks JSON and event streams.
WORDS = st.text(st.sampled_from('ab é"\\\n\r\u2028\x85\ud83d😀{}'), max_size=12)
SAID = WORDS.filter(bool)
IDS = st.text("abc123_", min_size=1, max_size=6)

# -- requests ----------------------------------------------------------------------------------------------------------


def some(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Objects with any of these fields."""
    return st.fixed_dictionaries({}, optional=fields)


_text = st.fixed_dictionaries({"type": st.just("input_text"), "text": WORDS})
_image = st.fixed_dictionaries(
    {
        "type": st.just("input_image"),
        "detail": st.sampled_from(["auto", "low", "high", "original"]),
        "image_url": st.sampled_from(["https://x.test/a.png", "data:image/png;base64,AAAA"]),
    }
)
_file = st.sampled_from(
    [
        {"type": "input_file", "file_id": "file_1"},
        {"type": "input_file", "file_url": "https://x.test/a.pdf"},
        {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,QQ=="},
    ]
)
_source = st.fixed_dictionaries(
    {
        "type": st.just("url_citation"),
        "url": st.just("https://x.test"),
        "title": WORDS,
        "start_index": st.integers(0, 9),
        "end_index": st.integers(0, 9),
    }
)
_spoken = st.fixed_dictionaries(
    {"type": st.just("output_text"), "text": WORDS, "annotations": st.lists(_source, max_size=2)}
)
_refusal = st.fixed_dictionaries({"type": st.just("refusal"), "refusal": WORDS})


def _parts(*kinds: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
    return st.lists(st.one_of(*kinds), min_size=1, max_size=3)


_output = st.one_of(SAID, st.just(""), st.lists(st.one_of(_text, _image, _file), min_size=2, max_size=3))
_ITEMS = st.one_of(
    st.fixed_dictionaries(
        {"type": st.just("message"), "role": st.just("user"), "content": _parts(_text, _image, _file)}
    ),
    st.fixed_dictionaries(
        {"type": st.just("message"), "role": st.just("assistant"), "content": _parts(_spoken, _refusal)}
    ),
    st.fixed_dictionaries({"type": st.just("message"), "role": st.just("system"), "content": _parts(_text)}),
    st.fixed_dictionaries(
        {
            "type": st.just("reasoning"),
            "id": IDS,
            "summary": st.lists(st.fixed_dictionaries({"type": st.just("summary_text"), "text": SAID}), max_size=1),
            "encrypted_content": st.just("gAAA"),
        }
    ),
    st.fixed_dictionaries({"type": st.just("function_call"), "call_id": IDS, "name": IDS, "arguments": SAID}),
    st.fixed_dictionaries({"type": st.just("custom_tool_call"), "call_id": IDS, "name": IDS, "input": WORDS}),
    st.fixed_dictionaries(
        {
            "type": st.sampled_from(["function_call_output", "custom_tool_call_output"]),
            "call_id": IDS,
            "output": _output,
        }
    ),
)
_first = st.just({"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}]})
INPUTS = st.tuples(_first, st.lists(_ITEMS, max_size=6)).map(lambda found: [found[0], *found[1]])

_tool = st.one_of(
    st.fixed_dictionaries(
        {
            "type": st.just("function"),
            "name": IDS,
            "parameters": st.sampled_from([None, {"type": "object", "properties": {"a": {"type": "string"}}}]),
            "strict": st.booleans(),
        },
        optional={"description": WORDS},
    ),
    st.fixed_dictionaries({"type": st.just("custom"), "name": IDS, "format": st.just({"type": "text"})}),
)
_choice = st.sampled_from(
    [
        "none",
        "required",
        {"type": "function", "name": "zz"},
        {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "zz"}]},
        {
            "type": "allowed_tools",
            "mode": "required",
            "tools": [{"type": "function", "name": "zz"}, {"type": "function", "name": "yy"}],
        },
    ]
)
_schema = st.fixed_dictionaries(
    {"type": st.just("json_schema"), "name": IDS, "schema": st.just({"type": "object"})},
    optional={"strict": st.booleans(), "description": WORDS},
)
FIELDS = some(
    instructions=WORDS,
    max_output_tokens=st.integers(1, 10_000),
    temperature=st.floats(0, 2).filter(lambda value: value != 1),
    top_p=st.floats(0, 0.99),
    tools=st.lists(_tool, min_size=1, max_size=3),
    tool_choice=_choice,
    parallel_tool_calls=st.just(False),
    stream=st.just(True),
    text=some(
        format=st.one_of(st.just({"type": "json_object"}), _schema), verbosity=st.sampled_from(["low", "high"])
    ).filter(bool),
    service_tier=st.sampled_from(["flex", "priority", "default"]),
    safety_identifier=WORDS,
    prompt_cache_key=WORDS,
    prompt_cache_options=st.just({"ttl": "12h"}),
)

# -- answers -----------------------------------------------------------------------------------------------------------

_citations = st.builds(Citation, st.just("https://x.test"), WORDS, st.integers(0, 9), st.integers(0, 9))
_signatures = st.builds(Signature, st.sampled_from(["anthropic", "google", "openai"]), SAID)


def _thought(text: str, signature: Signature | None, redacted: bool) -> Thinking:
    if signature is None or text:
        return Thinking(text, signature)
    return Thinking("", signature, redacted or signature.origin == "openai")


_thoughts = st.one_of(
    st.builds(_thought, WORDS, _signatures, st.booleans()), st.builds(_thought, SAID, st.none(), st.just(False))
)
BLOCKS = st.one_of(
    st.builds(Text, WORDS, st.lists(_citations, max_size=2).map(tuple)),
    st.builds(Refusal, WORDS),
    _thoughts,
    st.builds(ToolCall, IDS, IDS, SAID, st.booleans()),
)
_tokens = st.builds(Token, WORDS, st.floats(-9, 0), st.lists(st.tuples(WORDS, st.floats(-9, 0)), max_size=2).map(tuple))
USAGES = st.builds(
    lambda inside, outside, read, written, long, thought, tier: Usage(
        inside,
        outside,
        cache_read_tokens=min(read, inside),
        cache_write_tokens=min(written, inside),
        cache_write_1h_tokens=min(long, written, inside),
        reasoning_tokens=min(thought, outside),
        service_tier=tier,
    ),
    *[st.integers(0, 20_000_000)] * 6,
    st.sampled_from([None, "flex", "priority"]),
)


@st.composite
def answers(draw: st.DrawFn) -> Answer:
    blocks = tuple(draw(st.lists(BLOCKS, max_size=5)))
    whole = Finish.TOOL_CALLS if any(isinstance(block, ToolCall) for block in blocks) else Finish.STOP
    finish = draw(st.sampled_from([whole, Finish.LENGTH, Finish.FILTERED, Finish.PAUSED]))
    spoken = any(isinstance(block, Text) for block in blocks)
    tokens = tuple(draw(st.lists(_tokens, max_size=2))) if spoken else ()
    return Answer(
        id="up_1",
        model="up",
        choices=(Choice(blocks, finish, logprobs=tokens),),
        usage=draw(st.one_of(st.none(), USAGES)),
    )
