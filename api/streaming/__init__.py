"""Bodies of answers: ranges, archives, pacing, preconditions. Knows no Flask request."""
