"""The receipt of a copy: what it did and what could not be kept, by class, with examples."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

#: Most entries of each class that a receipt names.
EXAMPLES_MAX = 10


class Loss(StrEnum):
    """Why an entry, or an attribute of it, is not in the result.

    `unsettled` names a directory in which entries appeared or vanished since the plan: the copy has
    its files as they were at some moment. `appeared` names an entry that was created after the
    plan: the copy has neither this entry nor the entries below it. `vanished` names an entry that
    was planned and was gone at its turn. `as-met` names an entry that changed while it was copied:
    the copy has what was met; `changed-since` one that changed afterwards.
    `changed` names a file that a strict copy gave up for that reason.
    """

    DEVICE = "device"
    FIFO = "fifo"
    SOCKET = "socket"
    MOUNT = "mount"
    UNREADABLE = "unreadable"
    VANISHED = "vanished"
    CHANGED = "changed"
    AS_MET = "as-met"
    CHANGED_SINCE = "changed-since"
    UNSETTLED = "unsettled"
    APPEARED = "appeared"
    FAILED = "failed"
    DIFFERENT = "different"
    OWNER = "owner"
    MODE = "mode"
    TIMES = "times"
    XATTR = "xattr"
    ACL = "acl"
    FLAGS = "flags"
    LINK = "hard-link"
    CONFLICT = "conflict"


#: Losses after which an entry that the result should have is missing.
SERIOUS = frozenset({Loss.UNREADABLE, Loss.CHANGED, Loss.FAILED, Loss.DIFFERENT, Loss.CONFLICT})


#: A change of the source during a copy: why (`Loss`), the path, and words for people.
Noted = tuple[str, str, str]


@dataclass(slots=True)
class Receipt:
    """Sums of a run and of the runs it resumed; `directories` counts those made in the target.

    `size_bytes` is what the copied files hold (`backends.fs.space`), at one of their names.
    """

    files: int = 0
    directories: int = 0
    links: int = 0
    hard_links: int = 0
    size_bytes: int = 0
    reused: int = 0
    losses: dict[Loss, int] = field(default_factory=dict)
    examples: dict[Loss, list[tuple[str, str]]] = field(default_factory=dict)

    def add_loss(self, loss: Loss, path: str, reason: str = "") -> None:
        """Count a loss; keep the first of each class as examples."""
        self.losses[loss] = self.losses.get(loss, 0) + 1
        examples = self.examples.setdefault(loss, [])
        if len(examples) < EXAMPLES_MAX:
            examples.append((path, reason))

    @property
    def complete(self) -> bool:
        """Whether the result has every entry that it should have."""
        return not SERIOUS & self.losses.keys()

    def missing(self) -> list[tuple[str, str]]:
        """Return missing entries, each with the reason; only the examples are known."""
        return [
            (path, reason or loss.value)
            for loss in sorted(SERIOUS & self.losses.keys())
            for path, reason in self.examples.get(loss, [])
        ]

    def add(self, other: "Receipt") -> None:
        """Add the sums of another part of the work."""
        for name in ("files", "directories", "links", "hard_links", "size_bytes", "reused"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for loss, count in other.losses.items():
            self.losses[loss] = self.losses.get(loss, 0) + count
            examples = self.examples.setdefault(loss, [])
            examples += other.examples.get(loss, [])[: EXAMPLES_MAX - len(examples)]

    def to_wire(self) -> list[Any]:
        """Return the receipt as builtin values, for a message or a record."""
        sums = [self.files, self.directories, self.links, self.hard_links]
        sums += [self.size_bytes, self.reused]
        losses = [
            (loss.value, count, self.examples.get(loss, [])) for loss, count in self.losses.items()
        ]
        return [sums, losses]

    @classmethod
    def from_wire(cls, wire: Iterable[Any]) -> "Receipt":
        """Return the receipt that `to_wire` encoded."""
        sums, losses = wire
        receipt = cls(*sums)
        for value, count, examples in losses:
            receipt.losses[Loss(value)] = count
            receipt.examples[Loss(value)] = [(path, reason) for path, reason in examples]
        return receipt
