"""Run one door: `python -m api.serve manager|client|internal`."""

import importlib
import sys

from backends.fs import check_mounts, inheritance, native
from core.errors import ConfigurationError
from core.process import end_unstarted, loading, metrics_files
from core.settings import load
from core.telemetry import logs

DOORS = ("manager", "client", "internal")
_USAGE = f"usage: python -m api.serve {'|'.join(DOORS)}"


def main() -> None:
    """Serve the door that the first argument names until SIGTERM."""
    if len(sys.argv) != 2 or sys.argv[1] not in DOORS:  # noqa: PLR2004 - the program and its argument
        sys.exit(_USAGE)
    door = sys.argv[1]
    inheritance.set_umask()
    logs.configure(door)
    try:
        settings = load()
    except ConfigurationError as error:
        end_unstarted(error)
    logs.set_level(settings.log_level)
    native.report()
    # Set the variable before the first import of prometheus_client, which reads it once.
    try:
        check_mounts(settings)
        counters = metrics_files.start_fresh(settings, door)
    except ConfigurationError as error:
        end_unstarted(error)
    with loading():
        application = importlib.import_module("api.server.application")
    application.run(door, settings, counters)


if __name__ == "__main__":
    main()
