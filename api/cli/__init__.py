"""The command `vfolder`: it starts a node and calls the manager door. Knows no store, no volume."""

from api.cli.command import main

__all__ = [
    "main",
]
