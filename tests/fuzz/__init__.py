"""Random and hostile input, end to end: against the gateway's own description, its relay edge, and from upstreams."""
