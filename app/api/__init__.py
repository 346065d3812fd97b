"""The HTTP edge: relay routes, admin REST, health, metrics."""
