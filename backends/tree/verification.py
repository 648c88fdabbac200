"""Verify a finished copy: by reading both trees again, or the target against digests taken before.

Reading both finds whatever differs now. Digests taken while the copy read its source spare the
second reading of it, and say: the target, read back from the storage where the system allows,
holds what was read when it was copied. What the source's storage would give a second time is not
asked; a source that is still in memory would not be asked either way. Files of which no digest
could be taken (those that share extents, have holes, several names or were there already) are
read on both sides. A very big file has one digest for each of its pieces.
"""

from backends.tree import checking
from backends.tree.anchor import Anchor
from backends.tree.channel import Message
from backends.tree.compare import compare_trees
from backends.tree.crew import Crew
from backends.tree.difference import SUBSTANCE, Aspect, CompareOptions
from backends.tree.effort import Effort
from backends.tree.finishing import first_names, giving
from backends.tree.ledger import Ledger
from backends.tree.receipt import Loss, Receipt
from core.jobs import Control, Counter


class Verification:
    """Adds to the receipt of a copy what differs."""

    def __init__(
        self, source: Anchor, target: Anchor, receipt: Receipt, control: Control, effort: Effort
    ) -> None:
        self._source = source
        self._target = target
        self._receipt = receipt
        self._control = control
        self._effort = effort
        self._checked = 0

    def both(self, digest: str | None) -> None:
        """Compare the trees as they are now, by this digest or only by size.

        What differs from a source that is as it was, has failed.
        """
        options = CompareOptions(
            digest=digest,
            skip=frozenset(Aspect) - SUBSTANCE - {Aspect.TIME},
            from_disk=True,
            effort=self._effort,
        )
        newer: set[str] = set()
        differences = compare_trees(
            self._source.fd, self._target.fd, control=self._control, options=options
        )
        for difference in differences:
            path = difference.path
            if difference.aspect == Aspect.TIME:
                newer.add(path)
            elif difference.aspect in SUBSTANCE and path not in self._lost():
                loss = Loss.CHANGED if path in newer else Loss.DIFFERENT
                self._lose(path, loss, str(difference.aspect))

    def taken(self, digest: str, crew: Crew, ledger: Ledger) -> None:
        """Compare the trees by size, and the content of the target with the digests taken.

        Should any file be without a record, all are read on both sides.
        """
        files = ledger.digests()
        crew.run(giving(checking.batches(files)), self._settle)
        crew.run(giving(checking.batches(first_names(ledger.links))), self._settle)
        self.both(digest if self._checked != self._receipt.files else None)

    def _settle(self, reply: Message) -> None:
        checked, differing = reply
        self._checked += checked
        for path, loss, words in differing:
            if path not in self._lost():
                self._lose(path, Loss(loss), words)

    def _lose(self, path: str, loss: Loss, words: str) -> None:
        self._receipt.lose(loss, path, words)
        self._control.fault(path, f"The copy differs: {words}.")
        self._control.count(Counter.FAILED, 1)

    def _lost(self) -> set[str]:
        """Give the entries that are known to be missing, as far as they are named."""
        return {path for named in self._receipt.examples.values() for path, _ in named}
