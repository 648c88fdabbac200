"""What is kept for a while: trash and snapshots with an end. Knows no vendor."""
