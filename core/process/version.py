"""The version of this software, which doors, nodes and service discovery report.

Import this module by name: `importlib.metadata` takes a tenth of a second to load.
"""

from importlib.metadata import version

VERSION = version("vfolder")
