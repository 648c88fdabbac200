"""The internal door: metrics and gauges for monitors. Knows no ticket and no secret."""
