"""The command `vfolder`: starts a node, and is a client of its API."""

from api.cli.command import main

__all__ = [
    "main",
]
