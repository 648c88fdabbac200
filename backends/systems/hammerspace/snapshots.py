"""Snapshots of shares: the Anvil keeps a whole share, and its mount shows it in `.snapshot`."""

from datetime import UTC, datetime
from urllib.parse import quote

from backends.mounted.rest import ArrayAnswer, ArrayRefused, Reason
from backends.retention import ArraySnapshot
from backends.systems.hammerspace.anvil import Anvil, task_of
from backends.systems.hammerspace.shares import HammerShare, Shares, number

#: The directory at the top of each share in which its snapshots are.
DIRECTORY = ".snapshot"
#: The Anvil lists the present state of the share under this name.
_CURRENT = "current"
_LISTS = "/share-snapshots/snapshot-{verb}/{share}"
_MS_PER_SECOND = 1000


class ShareSnapshots:
    """The snapshots of the shares of a volume."""

    def __init__(self, anvil: Anvil, shares: Shares) -> None:
        self._anvil = anvil
        self._shares = shares

    def names(self, share: HammerShare) -> list[str]:
        """Return the names of all snapshots of a share; none of a share that is gone."""
        path = _LISTS.format(verb="list", share=share.uoid.uuid)
        found: list[str] = self._anvil.find(path, list[str]) or []
        return [name for name in found if name != _CURRENT]

    def known(self, directory: str, prefix: str) -> list[ArraySnapshot]:
        """Return the snapshots of a directory's share whose names begin so; two requests."""
        share = self._shares.find(directory)
        names = [one for one in self.names(share) if one.startswith(prefix)] if share else []
        if not names:
            return []
        room = self._shares.file(f"{directory}/{DIRECTORY}")
        times = {one.name: number(one.createTime) for one in (room and room.children) or []}
        return [_snapshot(name, times.get(name)) for name in names]

    def make(self, share: HammerShare, name: str) -> None:
        """Make a snapshot of a share by this name, which is new."""
        path = _LISTS.format(verb="create", share=share.uoid.uuid)
        request = self._anvil.request("POST", path, query={"snapshot-name": name})
        answer = self._anvil.client.create(request, lambda: name in self.names(share) or None)
        task = task_of(answer) if isinstance(answer, ArrayAnswer) else None
        self._anvil.finish(task, lambda: name in self.names(share))

    def drop(self, directory: str, name: str) -> None:
        """Delete a snapshot of a directory's share; a missing one is fine."""
        share = self._shares.find(directory)
        if share is None:
            return
        path = f"{_LISTS.format(verb='delete', share=share.uoid.uuid)}/{quote(name)}"
        request = self._anvil.request("POST", path)
        try:
            answer = self._anvil.client.create(
                request, lambda: name not in self.names(share) or None
            )
        except ArrayRefused as refusal:
            if refusal.reason is not Reason.NOT_FOUND:
                raise
            return
        task = task_of(answer) if isinstance(answer, ArrayAnswer) else None
        self._anvil.finish(task, lambda: name not in self.names(share))


def _snapshot(name: str, milliseconds: int | None) -> ArraySnapshot:
    if milliseconds is None:
        return ArraySnapshot(name, 0)
    return ArraySnapshot(
        name, milliseconds, datetime.fromtimestamp(milliseconds / _MS_PER_SECOND, UTC)
    )
