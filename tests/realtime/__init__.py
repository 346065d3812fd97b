"""Tests of Realtime: sessions over WebSocket against a real gateway, a real upstream and a real PostgreSQL."""
