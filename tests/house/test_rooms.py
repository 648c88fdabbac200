"""A room is entered by its front: what others import is what its `__init__` exports."""

import ast
import importlib
import re
from collections.abc import Iterator
from pathlib import Path

from tests.support.syntax import our_files, parsed

ROOT = Path(__file__).resolve().parents[2]
TOPS = ("core", "backends", "workers", "api", "vfolder_client")
#: Most entries that a stranger sees when opening a room of the first level.
ENTRIES_MAX = 12


def modules() -> dict[str, Path]:
    found = {}
    for top in TOPS:
        for path in our_files(ROOT / top):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()
PACKAGES = {name for name, path in MODULES.items() if path.name == "__init__.py"}


def imports(path: Path) -> Iterator[tuple[str, str]]:
    """Every (module, name) that a file takes from one of our rooms."""
    for node in ast.walk(parsed(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] in TOPS:
            yield from ((node.module, alias.name) for alias in node.names)


def exports(package: str) -> set[str]:
    tree = parsed(MODULES[package].read_text("utf-8"))
    for node in tree.body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__":
            return set(ast.literal_eval(node.value))
    return set()


def room_entered(importer: str, module: str) -> str | None:
    """The innermost package that holds `module` and not the importer, below the first level."""
    parts = module.split(".")
    for length in range(len(parts), 1, -1):
        package = ".".join(parts[:length])
        if package in PACKAGES and not f"{importer}.".startswith(f"{package}."):
            return package
    return None


def test_other_rooms_take_only_what_a_room_exports() -> None:
    wrong = []
    for importer, path in MODULES.items():
        for module, name in imports(path):
            package = room_entered(importer, module)
            if package is None:
                continue
            taken = name if module == package else module[len(package) + 1 :]
            if taken not in exports(package) and f"{module}.{name}" not in PACKAGES:
                wrong.append(f"{importer}: from {module} import {name}")
    assert not wrong, "\n".join(sorted(wrong))


def test_every_export_exists() -> None:
    for package in PACKAGES:
        for name in exports(package):
            found = importlib.import_module(package)
            if not hasattr(found, name):
                importlib.import_module(f"{package}.{name}")


def test_rooms_show_at_most_a_dozen_entries() -> None:
    for top in TOPS:
        shown = {
            path.stem
            for path in (ROOT / top).iterdir()
            if not path.name.startswith("__") and path.name not in ("py.typed", "build")
            if path.suffix != ".egg-info"  # what `pip install ./vfolder_client` leaves
        }
        assert len(shown) <= ENTRIES_MAX, f"{top}: {sorted(shown)}"


def test_every_room_says_in_one_line_what_it_is() -> None:
    for package in PACKAGES:
        text = ast.get_docstring(parsed(MODULES[package].read_text("utf-8"))) or ""
        assert len(text.splitlines()[0] if text else "") > len("A room."), package


#: Backends that are asked for by `backend.skill(…)`: a wrapper is no instance of them.
SKILLS = re.compile(r"isinstance\([^()]*,\s*(?:\w+\.)?(?:Has\w+|MountedBackend|PosixBackend)\b")


def test_skills_are_asked_of_the_backend() -> None:
    wrong = [
        name
        for name, path in MODULES.items()
        if not name.startswith("backends.mounted") and SKILLS.search(path.read_text("utf-8"))
    ]
    assert not wrong, "\n".join(wrong)
