"""The end of a process that cannot start: its exit status says whether another start may help."""

import os
import sys
from typing import NoReturn

from core.errors import ConfigurationError

#: The configuration must be mended first: another start ends in the same way (sysexits.h).
MISCONFIGURED = os.EX_CONFIG
#: Another start may succeed, for example when a mount is there.
NOT_YET = 1


def end_unstarted(error: ConfigurationError) -> NoReturn:
    """Print the error as one line and end the process.

    Raises:
        SystemExit: with `MISCONFIGURED`, or `NOT_YET` where what is missing may come by itself.
    """
    sys.stderr.write(f"{error.detail}\n")
    sys.exit(NOT_YET if error.retriable else MISCONFIGURED)
