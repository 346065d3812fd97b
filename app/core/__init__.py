"""Pure building blocks: money, usage, ids, tokens, SSE framing. No I/O, no clock but the one passed in."""
