"""Tests of the request path, by the front door: a real gateway, the demo upstream, a real database."""
