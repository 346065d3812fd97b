"""Named deviations of servers that speak Chat Completions: what a provider's row says, and requests and answers heed.

Two of usage stand in `usage.py`: `reasoning_outside_completion`, `output_only_in_total`.
"""

from __future__ import annotations

REPLAYS_REASONING = "replays_reasoning"
"""DeepSeek: an assistant's turn with tool calls must carry `reasoning_content` while the model thinks, be it empty."""

THINKING_SWITCH = "thinking_switch"
"""DeepSeek: `thinking {type: enabled | disabled}`, on by default, and efforts `low`, `high`, `max` alone."""

ENABLE_THINKING = "enable_thinking"
"""Qwen: `enable_thinking` and `thinking_budget` in the place of an effort."""

REASONING_DETAILS = "reasoning_details"
"""OpenRouter: takes `reasoning_details` back, every vendor's; `format` in each says whose it is."""

GOOGLE_SIGNATURES = "google_signatures"
"""Gemini's OpenAI-compatible endpoint: `extra_content.google.thought_signature` of tool calls must come back."""

NO_STOP_WITH_REASONING = "no_stop_with_reasoning"
"""xAI: a model that thinks refuses `stop` and penalties, and can't be told not to think."""

NO_IMAGE_URLS = "no_image_urls"
"""Ollama: pictures come as data, never by address."""

NO_TOOL_CHOICE = "no_tool_choice"
"""Ollama: `tool_choice` isn't heeded."""

NO_CHOICES = "no_choices"
"""Ollama: `n` isn't heeded."""

STRICT_FIELDS = "strict_fields"
"""Servers that refuse fields they don't know (Mistral, Groq; unverified: reported by users of them): what is merely advisory
and not known to every server is left out."""

SHORT_CALL_IDS = "short_call_ids"
"""Mistral: ids of tool calls are nine letters and digits (unverified: reported in its refusals)."""
