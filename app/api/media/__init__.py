"""Media over HTTP: the unified API, OpenAI's videos, stored files, and characters."""
