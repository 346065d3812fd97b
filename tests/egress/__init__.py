"""Tests of what users may make the gateway call."""
