"""Tests of models, prices and channels."""
