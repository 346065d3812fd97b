"""Tests of media tasks."""
