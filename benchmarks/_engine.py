"""The engine as the benchmarks call it: in a fresh child, as a worker would."""

import os
from collections.abc import Callable
from pathlib import Path

from backends.tree import (
    CopyOptions,
    Effort,
    RemoveOptions,
    UsageOptions,
    copy_tree,
    measure_tree,
    remove_tree,
)
from core.jobs import Unattended


def anchor(path: Path) -> int:
    path.mkdir(parents=True, exist_ok=True)
    return os.open(path, os.O_PATH | os.O_DIRECTORY)


def must_be(good: bool, what: object) -> None:  # noqa: FBT001 - a condition
    if not good:
        raise SystemExit(f"not complete: {what}")


def copying(
    source: Path,
    target: Path,
    helpers: int | None,
    *,
    durable: bool = False,
    verify: str | None = None,
    digest: str | None = None,
) -> Callable[[], object]:
    def run() -> None:
        effort = Effort(helpers=helpers)
        options = CopyOptions(durable=durable, verify=verify, digest=digest, effort=effort)
        receipt = copy_tree(anchor(source), anchor(target), control=Unattended(), options=options)
        must_be(receipt.complete, receipt)

    return run


def removing(path: Path, helpers: int | None) -> Callable[[], object]:
    def run() -> None:
        options = RemoveOptions(effort=Effort(helpers=helpers))
        removal = remove_tree(anchor(path.parent), path.name, control=Unattended(), options=options)
        must_be(removal.complete, removal)

    return run


def measuring(path: Path, helpers: int | None) -> Callable[[], object]:
    def run() -> None:
        options = UsageOptions(effort=Effort(helpers=helpers))
        usage = measure_tree(anchor(path), control=Unattended(), options=options)
        must_be(usage.complete, usage)

    return run
