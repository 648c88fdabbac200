"""The house rules that no linter knows: sizes, parameters, names of modules."""

import statistics
from collections.abc import Iterator
from pathlib import Path

from tests.support.syntax import Definition, definitions_of, our_files

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("core", "backends", "workers", "api", "deploy", "vfolder_client")
FILE_LINES_MAX = 600
FILE_LINES_P90_MAX = 350
FUNCTION_LINES_MAX = 50
FUNCTION_LINES_MEDIAN_MAX = 8
PARAMETERS_MAX = 5
BANNED_MODULES = {
    "utils",
    "util",
    "helpers",
    "helper",
    "common",
    "misc",
    "manager",
    "service",
    "services",
}
#: The manager door is named for whose calls it answers: those of the manager service.
ALLOWED_PACKAGES = {
    Path("api/doors/manager"),
    Path("api/doors/manager/artifacts"),
}
#: Helper is the word for a process that shares the work of a transfer.
ALLOWED_MODULES = {Path("workers/verbs/transfer/helpers.py")}


def sources() -> list[Path]:
    return [path for room in ROOMS for path in our_files(ROOT / room)]


def lines_of(path: Path) -> list[str]:
    return path.read_text("utf-8").splitlines()


def functions() -> Iterator[tuple[str, Definition]]:
    for path in sources():
        for one in definitions_of(path):
            if not one.is_class:
                yield f"{path.relative_to(ROOT)}:{one.line} {one.name}", one


def test_no_file_is_long() -> None:
    long = {str(path): len(lines_of(path)) for path in sources()}
    assert not {path: lines for path, lines in long.items() if lines > FILE_LINES_MAX}


def test_most_files_are_short() -> None:
    sizes = sorted(len(lines_of(path)) for path in sources())
    assert sizes[int(len(sizes) * 0.9)] <= FILE_LINES_P90_MAX


def test_no_function_is_long() -> None:
    wrong = [
        f"{where}: {one.lines}" for where, one in functions() if one.lines > FUNCTION_LINES_MAX
    ]
    assert not wrong, "\n".join(wrong)


def test_most_functions_are_short() -> None:
    sizes = [one.lines for _, one in functions()]
    assert statistics.median(sizes) <= FUNCTION_LINES_MEDIAN_MAX


def test_no_function_takes_many_parameters() -> None:
    wrong = [where for where, one in functions() if one.positional > PARAMETERS_MAX]
    assert not wrong, "\n".join(wrong)


def test_no_module_is_named_for_nothing() -> None:
    for path in sources():
        relative = path.relative_to(ROOT)
        if relative not in ALLOWED_MODULES:
            assert relative.stem not in BANNED_MODULES, relative
        banned = set(relative.parent.parts) & BANNED_MODULES
        assert not banned or relative.parent in ALLOWED_PACKAGES, relative


def test_every_ignored_rule_has_its_reason() -> None:
    inside = False
    for line in (ROOT / "pyproject.toml").read_text("utf-8").splitlines():
        if line.startswith(("ignore = [", '"tests/**" = [', '"benchmarks/**" = [')):
            inside = True
        elif line.startswith("]"):
            inside = False
        elif inside:
            assert "#" in line, f"no reason: {line}"


def test_every_suppression_names_rule_and_reason() -> None:
    wrong = []
    for path in sources():
        for number, line in enumerate(lines_of(path), 1):
            for mark in ("# noqa", "# type: ignore"):
                if mark not in line:
                    continue
                rest = line.split(mark, 1)[1]
                if not rest.startswith((": ", "[")) or not (" - " in rest or rest.count("#")):
                    wrong.append(f"{path}:{number}")
    assert not wrong, "\n".join(wrong)
