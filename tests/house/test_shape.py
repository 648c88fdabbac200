"""The house rules that no linter knows: sizes, parameters, names of modules."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("core", "backends", "workers", "api", "deploy")
FILE_LINES_MAX = 300
FUNCTION_LINES_MAX = 50
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
#: The manager door is named for whom it serves: the manager service.
ALLOWED_PACKAGES = {Path("api/doors/manager"), Path("api/doors/manager/pages")}


#: Helper is the word for a process that shares the work of a transfer.
ALLOWED_MODULES = {Path("workers/verbs/transfer/helpers.py")}


def sources() -> list[Path]:
    return [path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))]


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


@pytest.mark.parametrize("path", sources(), ids=lambda p: str(p.relative_to(ROOT)))
def test_sizes(path: Path) -> None:
    lines = len(path.read_text("utf-8").splitlines())
    assert lines <= FILE_LINES_MAX, f"{path} has {lines} lines"
    for function in functions(path):
        size = (function.end_lineno or 0) - function.lineno + 1
        assert size <= FUNCTION_LINES_MAX, f"{path}:{function.lineno} {function.name}: {size} lines"
        arguments = function.args
        positional = [
            a for a in arguments.posonlyargs + arguments.args if a.arg not in ("self", "cls")
        ]
        assert len(positional) <= PARAMETERS_MAX, f"{path}:{function.lineno} {function.name}"


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


@pytest.mark.parametrize("path", sources(), ids=lambda p: str(p.relative_to(ROOT)))
def test_every_suppression_names_rule_and_reason(path: Path) -> None:
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        for mark in ("# noqa", "# type: ignore"):
            if mark in line:
                rest = line.split(mark, 1)[1]
                assert rest.startswith((": ", "[")), f"{path}:{number}: no rule"
                assert " - " in rest or rest.count("#"), f"{path}:{number}: no reason"
