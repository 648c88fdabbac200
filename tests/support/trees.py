"""The contents of a tree, to compare."""

import os
from pathlib import Path


def snapshot(root: Path) -> dict[str, object]:
    """Names, kinds, modes and contents of everything below, without following links."""
    found: dict[str, object] = {}
    for directory, names, files in os.walk(root):
        for name in [*names, *files]:
            path = Path(directory, name)
            status = path.lstat()
            content = os.readlink(path) if path.is_symlink() else None
            if path.is_file() and not path.is_symlink():
                content = path.read_text(errors="surrogateescape")
            found[str(path.relative_to(root))] = (oct(status.st_mode), content)
    return found
