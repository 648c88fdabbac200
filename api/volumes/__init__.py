"""Volumes as the doors reach them: here or on another node. Knows no route."""
