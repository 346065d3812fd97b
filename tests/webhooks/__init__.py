"""Tests of webhooks: a real receiver on loopback, real gateways, a real outbox."""
