"""Parents of every backend whose volume is a mounted directory. Knows no vendor."""
