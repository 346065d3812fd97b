"""OpenAI's Responses format: how its usage reads."""
