"""Relaygate, a self-hosted AI API gateway; `app.main.create_app` and `app.cli` are the ways in."""
