"""Tests of Google's generateContent format."""
