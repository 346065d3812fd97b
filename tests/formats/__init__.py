"""Tests of the client formats, by folder."""
