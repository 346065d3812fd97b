"""Chaos: gateways between a crowd of clients and upstreams that fail in every way they can."""
