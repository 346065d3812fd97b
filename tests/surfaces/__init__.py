"""Tests of the surfaces beside chat."""
