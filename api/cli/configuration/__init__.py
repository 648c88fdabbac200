"""The commands `vfolder config`, and what a check of the configuration finds."""

from api.cli.configuration.check import ERROR, option_findings
from api.cli.configuration.command import config

__all__ = [
    "ERROR",
    "config",
    "option_findings",
]
