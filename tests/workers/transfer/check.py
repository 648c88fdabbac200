"""Whether two trees are equal, in the eyes of rsync."""

import subprocess
from pathlib import Path


def differences(source: Path, target: Path) -> str:
    """What rsync would still do to make the target equal, content and attributes."""
    command = ["rsync", "-aHAXn", "--checksum", "--delete", "--itemize-changes"]
    done = subprocess.run([*command, f"{source}/", f"{target}/"], capture_output=True, check=True)
    return done.stdout.decode("utf-8", "backslashreplace")
