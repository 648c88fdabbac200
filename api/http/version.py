"""Which version of this service answers."""

from importlib.metadata import version

VERSION = version("vfolder")
