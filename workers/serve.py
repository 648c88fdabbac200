"""Start one of the Celery processes of a node: `python -m workers.serve worker|beat|flower`.

Secrets go by environment and configuration, never by argument: all users can read arguments.
"""

import importlib
import sys
from typing import Any

from backends.fs import check_mounts, inheritance, native
from core import settings as configuration
from core.errors import ConfigurationError
from core.process import end_unstarted, identity, loading, metrics_files
from core.telemetry import logs

NAMES = ("worker", "beat", "flower")
#: The exit status for wrong arguments, as of most command lines.
USAGE = 2


def main(arguments: list[str]) -> int:
    """Run the named process; return its exit status."""
    if len(arguments) != 1 or arguments[0] not in NAMES:
        sys.stderr.write(f"usage: python -m workers.serve {'|'.join(NAMES)}\n")
        return USAGE
    logs.configure(arguments[0])
    try:
        settings = configuration.load()
        logs.set_level(settings.log_level)
        if arguments[0] == "worker":
            inheritance.set_umask()
            native.report()
            check_mounts(settings)
        counters = metrics_files.start_fresh(settings, arguments[0])
        if arguments[0] == "flower":  # it serves web pages, and needs no privileges
            identity.become(identity.configured(settings.storage_proxy), counters)
            identity.check_code()
        # Import prometheus_client only now: it reads its environment variable once.
        with loading():
            processes: Any = importlib.import_module("workers.processes")
        processes.run(arguments[0], settings)
    except ConfigurationError as error:
        end_unstarted(error)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
