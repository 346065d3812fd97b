"""The Responses format, as pure functions."""
