"""Starts the processes of one node and keeps them running. Knows settings, no storage."""
