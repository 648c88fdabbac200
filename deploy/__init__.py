"""How the processes of one node are started and kept running. Knows settings, not storage."""
