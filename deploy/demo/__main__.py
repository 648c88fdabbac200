"""The program behind `vfolder demo`: its exit status is 0 only if every check passed."""

import argparse
import signal
import sys
from pathlib import Path

import requests

from core.errors import ConfigurationError
from deploy.demo.node import demo_node
from deploy.demo.show import DemoFailed, Show
from deploy.demo.story import Story
from deploy.greeting import console_of

_INTERRUPTED = 130
#: The exit status of a shell for a program that a signal ended is this plus the signal.
_SIGNALLED = 128
_SIGNALS = (signal.SIGTERM, signal.SIGHUP)


def main() -> None:
    """Run the demonstration on a running node, or on a node of its own."""
    options = _parser().parse_args()
    show = Show()

    def end(number: int, _frame: object) -> None:
        """End as by Ctrl-C, so that the temporary node and its directory go; a second one waits."""
        for one in _SIGNALS:
            signal.signal(one, signal.SIG_IGN)
        show.end_early(_SIGNALLED + number)

    for number in _SIGNALS:
        signal.signal(number, end)
    try:
        with demo_node(options.config, show) as node:
            Story(node, options.tree, show).run()
            look = "" if node.is_temporary else console_of(node.settings)
            is_temporary = node.is_temporary
        show.check()
    except (DemoFailed, ConfigurationError, requests.RequestException) as error:
        show.fail(str(error))
        sys.exit(1)
    except KeyboardInterrupt:
        show.fail("interrupted")
        sys.exit(_INTERRUPTED)
    show.end()
    if look:
        show.say(f"To look at folders in a browser: {look}")
    elif is_temporary:
        show.say("To look at folders in a browser: `make run` prints a link that signs you in.")
    else:
        show.say("To look at folders in a browser, turn on the console: see docs/console.md")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="vfolder demo",
        description="Upload, clone, compare, download, measure and delete real files, with times.",
    )
    parser.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="use this node, if it runs; else a temporary one",
    )
    parser.add_argument(
        "--tree",
        type=Path,
        metavar="DIR",
        default=Path(sys.prefix),
        help="the files to use (this program's own environment)",
    )
    return parser


if __name__ == "__main__":
    main()
