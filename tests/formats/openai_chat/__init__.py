"""Tests of the Chat Completions format."""
