"""Tests of where the database comes from, its migrations and its tables."""
