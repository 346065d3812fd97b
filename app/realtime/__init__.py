"""OpenAI's Realtime: sessions over WebSocket, secrets for browsers, and calls whose media flows past the gateway."""
