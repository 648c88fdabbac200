"""What one-way synchronization has to do: a comparison of two looks, without any transfer."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from vfolder_client.documents import Entry

FILE, DIRECTORY, OTHER = "file", "directory", "other"


@dataclass(frozen=True, slots=True)
class Known:
    """What a look found at one path: a file, a directory, or something that is not copied."""

    kind: str
    size_bytes: int = 0
    #: Seconds since 1970; None is unknown.
    modified: float | None = None
    #: At the door only.
    entry: Entry | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class SyncAction:
    """One step; `reason` is `new`, `size`, `time`, `content`, `kind` or `extra`."""

    kind: Literal["copy", "mkdir", "delete"]
    path: str
    reason: str
    size_bytes: int | None = None


@dataclass(slots=True)
class Plan:
    """All steps, in the order in which they are taken."""

    #: What gives way to an entry of another kind; it goes before the copies.
    replaced: list[SyncAction] = field(default_factory=list)
    directories: list[SyncAction] = field(default_factory=list)
    copies: list[SyncAction] = field(default_factory=list)
    #: What the source does not have: the tops only, which go with all that is below them.
    extra: list[SyncAction] = field(default_factory=list)
    unchanged: int = 0
    #: Paths that cannot be copied, because an entry of another kind has the name.
    refused: list[tuple[str, str]] = field(default_factory=list)

    @property
    def actions(self) -> list[SyncAction]:
        """All of them."""
        return [*self.replaced, *self.directories, *self.copies, *self.extra]


#: Says why a file has to be copied again: `size`, `time`, `content`; None where it is the same.
Differs = Callable[[str, Known, Known], str | None]


def plan_of(
    source: Mapping[str, Known], target: Mapping[str, Known], differs: Differs, *, delete: bool
) -> Plan:
    """Return what makes the target like the source. Paths are relative to the tops of both.

    Without `delete` nothing is removed, and an entry of another kind stays. An entry of the source
    that cannot be copied protects what has its name at the target.
    """
    plan = Plan()
    refused: set[str] = set()
    replaced: set[str] = set()
    for path in sorted(source):
        here, there = source[path], target.get(path)
        if here.kind == OTHER or any(one in refused for one in above(path)):
            continue
        if there is not None and there.kind != here.kind:
            if not delete:
                refused.add(path)
                plan.refused.append((path, f"the target has a {_word(there)} of this name"))
                continue
            replaced.add(path)
            plan.replaced.append(SyncAction("delete", path, "kind"))
            there = None
        elif any(one in replaced for one in above(path)):
            there = None
        _compare(plan, path, here, there, differs)
    if delete:
        plan.extra = list(_extra(source, target, replaced))
    return plan


def _word(known: Known) -> str:
    return "symlink or special file" if known.kind == OTHER else known.kind


def _compare(plan: Plan, path: str, here: Known, there: Known | None, differs: Differs) -> None:
    if here.kind == DIRECTORY:
        if there is None:
            plan.directories.append(SyncAction("mkdir", path, "new"))
        return
    reason = "new" if there is None else differs(path, here, there)
    if reason is None:
        plan.unchanged += 1
    else:
        plan.copies.append(SyncAction("copy", path, reason, here.size_bytes))


def _extra(
    source: Mapping[str, Known], target: Mapping[str, Known], replaced: set[str]
) -> Iterator[SyncAction]:
    """Yield the tops of what the source does not have, and does not hide either."""
    gone = {*replaced, *(path for path, known in source.items() if known.kind == OTHER)}
    for path in sorted(target):
        if path not in source and not any(one in gone for one in above(path)):
            gone.add(path)
            yield SyncAction("delete", path, "extra")


def above(path: str) -> Iterator[str]:
    """Yield the directories that a path is in, but for the top."""
    at = path.find("/")
    while at >= 0:
        yield path[:at]
        at = path.find("/", at + 1)
