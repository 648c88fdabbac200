"""The Chromium that draws the pages of the tests."""

import shutil


def program() -> str | None:
    """Return the path of Chromium; None without it.

    The shell without windows is the same engine, and takes less of the processor for each page.
    """
    return shutil.which("chromium-headless-shell") or shutil.which("chromium")
