"""Abuse of the socket."""
