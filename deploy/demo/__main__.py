"""`python -m deploy.demo`, what `vfolder demo` becomes: exit status 0 only if everything held."""

import argparse
import sys
from pathlib import Path

import requests

from core.errors import ConfigurationError
from deploy.demo.node import demo_node
from deploy.demo.show import DemoFailed, Show
from deploy.demo.story import Story

_INTERRUPTED = 130


def main() -> None:
    """Tell the story on a node that runs, or on one of its own."""
    asked = _parser().parse_args()
    show = Show()
    try:
        with demo_node(asked.config, show) as node:
            Story(node, asked.tree, show).tell()
    except (DemoFailed, ConfigurationError, requests.RequestException) as error:
        show.fail(str(error))
        sys.exit(1)
    except KeyboardInterrupt:
        show.fail("interrupted")
        sys.exit(_INTERRUPTED)
    show.end()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="vfolder demo",
        description="Upload, clone, compare, download, measure and delete real files, with times.",
    )
    parser.add_argument(
        "--config", type=Path, metavar="FILE", help="the node to use, if it runs; else an own one"
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
