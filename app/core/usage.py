"""What a request used, in one shape for every vendor."""

from __future__ import annotations

from dataclasses import dataclass

MAX_PLAUSIBLE_TOKENS = 20_000_000
"""Above any model's context. A larger count in an upstream's report is a fault of the upstream: believed, it would empty
a customer's account, so such a report counts as missing and is estimated."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Token counts. `input_tokens` includes cached and audio input; `output_tokens` includes reasoning and audio."""

    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    input_audio_tokens: int = 0
    output_audio_tokens: int = 0

    def counts(self) -> dict[str, int]:
        """The non-zero details beside the two totals, as they stand on an entry."""
        counts = {"input_tokens": self.input_tokens, "output_tokens": self.output_tokens}
        for name in (
            "cache_read_tokens",
            "cache_write_tokens",
            "reasoning_tokens",
            "input_audio_tokens",
            "output_audio_tokens",
        ):
            value: int = getattr(self, name)
            if value:
                counts[name] = value
        return counts
