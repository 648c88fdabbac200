"""Bytes of uploads on a volume: staging, reservation, expiry. Knows no HTTP and no vendor."""
