"""Whole gateways under concurrency, crashes and outages."""
