"""Anthropic's Messages format: how its usage reads."""
