"""What a copy hands out when all parts are done: further names of files, directories to seal."""

import itertools
import os
from collections.abc import Callable, Iterator

from backends.tree.backlog import Sorter
from backends.tree.channel import Message
from backends.tree.checking import Taken
from backends.tree.feed import BATCH_UNITS
from backends.tree.ledger import INODE, Ledger
from backends.tree.plan import SLICE_NS

#: Most names of one file linked in one batch.
BATCH_NAMES = 500


def giving(messages: Iterator[Message]) -> Callable[[], Message | None]:
    """Hand out messages to a crew until there are no more."""
    return lambda: next(messages, None)


def seals(ledger: Ledger) -> Iterator[Message]:
    """Give all directories that get their attributes, children before parents."""
    for part in ledger.parts(backwards=True):
        paths = [(unit[0], unit[4]) for unit in part.units if unit[4] != SLICE_NS][::-1]
        for start in range(0, len(paths), BATCH_UNITS):
            yield ("seal", paths[start : start + BATCH_UNITS])


def first_names(links: Sorter) -> Iterator[Taken]:
    """Give each file that has several names by its first one; no digest was taken of it."""
    for _, records in itertools.groupby(links, key=lambda record: record[: INODE.size]):
        yield os.fsdecode(next(records)[INODE.size :]), 0, None


def link_groups(links: Sorter) -> Iterator[Message]:
    """Give all names of one file, in batches that each name its first one.

    The last batch of a file tells how many names it has in the tree, the others 0.
    """
    for _, records in itertools.groupby(links, key=lambda record: record[: INODE.size]):
        names = (os.fsdecode(record[INODE.size :]) for record in records)
        first = next(names)
        total = 1
        for number in itertools.count():
            batch = list(itertools.islice(names, BATCH_NAMES))
            total += len(batch)
            last = len(batch) < BATCH_NAMES
            yield ("links", first, batch, number == 0, total if last else 0)
            if last:
                break
