"""What a transfer moves and between which places. Knows no vendor and copies nothing."""
