"""Tests of the vendors: what is sent to them, and how their answers are read."""
