"""The admin API through the front door: a real gateway, a real database, the demo upstream."""
