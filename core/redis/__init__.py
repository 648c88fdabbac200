"""Connections to Redis, scripts and JSON for it. Knows nothing of what is stored."""
