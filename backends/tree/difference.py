"""What two trees may differ in, and what to look at."""

from dataclasses import dataclass
from enum import StrEnum

from backends.tree.effort import DEFAULT_EFFORT, Effort


class Aspect(StrEnum):
    """What two entries may differ in."""

    MISSING = "missing"
    EXTRA = "extra"
    TYPE = "type"
    SIZE = "size"
    CONTENT = "content"
    TARGET = "target"
    MODE = "mode"
    OWNER = "owner"
    TIME = "time"
    XATTR = "xattr"
    FLAGS = "flags"
    HOLES = "holes"
    LINK = "hard-link"
    UNREADABLE = "unreadable"


#: Aspects in which a difference means that data is not there, not only its attributes.
SUBSTANCE = frozenset(
    {
        Aspect.MISSING,
        Aspect.TYPE,
        Aspect.SIZE,
        Aspect.CONTENT,
        Aspect.TARGET,
        Aspect.UNREADABLE,
    },
)


@dataclass(frozen=True, slots=True, order=True)
class Difference:
    """One entry, one aspect, and both sides' values in words."""

    path: str
    aspect: Aspect
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CompareOptions:
    """What to compare. `digest` names one of `content.DIGESTS`, None compares sizes only.

    With `from_disk` the second tree's files are read from the storage again where their pages in
    memory are clean.
    """

    digest: str | None = "xxh3"
    skip: frozenset[Aspect] = frozenset()
    specials: bool = False
    from_disk: bool = False
    effort: Effort = DEFAULT_EFFORT
