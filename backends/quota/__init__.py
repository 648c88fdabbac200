"""Limits of quota scopes: checks, soft limits, locks, the privileged helper. Knows no vendor."""
