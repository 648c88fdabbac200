"""The fidelity receipt: what an engine did, and what could not be kept, by class, with examples."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

#: How many entries of each class a receipt names.
EXAMPLES_MAX = 10


class Loss(StrEnum):
    """Why an entry, or a quality of it, is not in the result.

    `unsettled` names a directory in which entries came or went since the plan: the copy has its
    files as they were at some moment. `appeared` names a directory that came after the plan: it is
    not in the copy, nor is what is below it.
    """

    DEVICE = "device"
    FIFO = "fifo"
    SOCKET = "socket"
    MOUNT = "mount"
    UNREADABLE = "unreadable"
    VANISHED = "vanished"
    CHANGED = "changed"
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


#: Losses after which the result lacks an entry that should be there.
GRAVE = frozenset({Loss.UNREADABLE, Loss.CHANGED, Loss.FAILED, Loss.DIFFERENT, Loss.CONFLICT})


@dataclass(slots=True)
class Receipt:
    """Sums of a run and of the runs it resumed; `directories` are those made in the target."""

    files: int = 0
    directories: int = 0
    links: int = 0
    hard_links: int = 0
    size_bytes: int = 0
    reused: int = 0
    losses: dict[Loss, int] = field(default_factory=dict)
    examples: dict[Loss, list[tuple[str, str]]] = field(default_factory=dict)

    def lose(self, loss: Loss, path: str, reason: str = "") -> None:
        """Count a loss; the first of each class are kept as examples."""
        self.losses[loss] = self.losses.get(loss, 0) + 1
        shown = self.examples.setdefault(loss, [])
        if len(shown) < EXAMPLES_MAX:
            shown.append((path, reason))

    @property
    def complete(self) -> bool:
        """Whether nothing that should be there is missing."""
        return not GRAVE & self.losses.keys()

    def missing(self) -> list[tuple[str, str]]:
        """Name entries that should be there, each with the reason; only examples are known."""
        return [
            (path, reason or loss.value)
            for loss in sorted(GRAVE & self.losses.keys())
            for path, reason in self.examples.get(loss, [])
        ]

    def add(self, other: "Receipt") -> None:
        """Add the sums of another stretch of work."""
        for name in ("files", "directories", "links", "hard_links", "size_bytes", "reused"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for loss, count in other.losses.items():
            self.losses[loss] = self.losses.get(loss, 0) + count
            shown = self.examples.setdefault(loss, [])
            shown += other.examples.get(loss, [])[: EXAMPLES_MAX - len(shown)]

    def to_wire(self) -> list[Any]:
        """Give the receipt as builtin values, for a message or a record."""
        sums = [self.files, self.directories, self.links, self.hard_links]
        sums += [self.size_bytes, self.reused]
        losses = [
            (loss.value, count, self.examples.get(loss, [])) for loss, count in self.losses.items()
        ]
        return [sums, losses]

    @classmethod
    def from_wire(cls, wire: Iterable[Any]) -> "Receipt":
        """Read what `to_wire` gave."""
        sums, losses = wire
        receipt = cls(*sums)
        for value, count, examples in losses:
            receipt.losses[Loss(value)] = count
            receipt.examples[Loss(value)] = [(path, reason) for path, reason in examples]
        return receipt
