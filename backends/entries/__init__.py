"""Entries of a vfolder: list, make, move, remove. Knows no job and no HTTP."""
