"""Where OpenAI-compatible vendors part from OpenAI: the fields that they add, and the requests that they refuse."""

from typing import Any

from app.demo.openai_errors import Refusal
from app.demo.openai_request import ChatRequest, read_messages, read_raw
from app.demo.options import Options

# Dialects that show their reasoning, and the field they show it in.
REASONING_FIELDS = {
    "deepseek": "reasoning_content",
    "ollama": "reasoning",
    "vllm": "reasoning",
    "openrouter": "reasoning",
    "qwen": "reasoning_content",
}
FILTERED = {
    "hate": {"filtered": False, "severity": "safe"},
    "violence": {"filtered": False, "severity": "safe"},
}


def reasoning_field(options: Options, request: ChatRequest) -> str | None:
    """The field in which reasoning is shown; None where it isn't."""
    if options.dialect == "qwen" and read_raw(request.enable_thinking) is not True:
        return None
    return REASONING_FIELDS.get(options.dialect)


def check_dialect(options: Options, request: ChatRequest) -> None:
    """Raises Refusal for what the dialect doesn't take, though OpenAI would."""
    match options.dialect:
        case "deepseek":
            _check_replayed(request)
        case "ollama":
            _check_images(request)
        case "xai" if options.reasoning:
            _check_reasoning_model(request)
        case "qwen" if read_raw(request.enable_thinking) is True and not request.stream:
            # The words are those of DashScope as its users report them.
            raise Refusal(400, "parameter.enable_thinking must be set to false for non-streaming calls")


def choice_extras(options: Options, matched: str | None = None, reason: str | None = None) -> dict[str, Any]:
    """The fields that a dialect adds to each choice; `reason` is the finish reason once there is one."""
    match options.dialect:
        case "azure":
            return {"content_filter_results": FILTERED}
        case "vllm":
            return {"stop_reason": matched, "token_ids": None}
        case "openrouter":
            return {"native_finish_reason": reason}
        case _:
            return {}


def prompt_filter_results() -> list[dict[str, Any]]:
    """What Azure found in the prompt."""
    return [{"prompt_index": 0, "content_filter_results": FILTERED}]


def _check_replayed(request: ChatRequest) -> None:
    # https://api-docs.deepseek.com/guides/thinking_mode: the thinking goes back with the tool calls; an empty one will do.
    for message in read_messages(request.messages):
        if message.get("role") == "assistant" and message.get("tool_calls") and "reasoning_content" not in message:
            text = "Missing `reasoning_content` field in the assistant message with tool calls."  # its words are unverified
            raise Refusal(400, text)


def _check_images(request: ChatRequest) -> None:
    for message in read_messages(request.messages):
        for part in message["content"] if isinstance(message.get("content"), list) else ():
            match part:
                case {"type": "image_url", "image_url": {"url": str(url)} | str(url)} if not url.startswith("data:"):
                    raise Refusal(400, "invalid image input", plain=True)


def _check_reasoning_model(request: ChatRequest) -> None:
    given = {
        "stop": request.stop,
        "presencePenalty": request.presence_penalty,
        "frequencyPenalty": request.frequency_penalty,
    }
    for name, raw in given.items():
        if read_raw(raw) is not None:
            raise Refusal(400, f"Argument not supported on this model: {name}", param=name)
