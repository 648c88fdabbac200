"""Shares: made, looked up, limited and removed; files as the Anvil sees them."""

import hashlib
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import msgspec
from msgspec import Struct

from backends.mounted.rest import ArrayAnswer, ArrayRefused, Reason
from backends.systems.hammerspace.anvil import Anvil, HammerspaceOptions, Task, task_of
from core.errors import BackendFailed, Conflict

PUBLISHED, REMOVED = "PUBLISHED", "REMOVED"
#: Longer names of shares are refused (characters).
NAME_MAX = 80
#: What the Anvil says to the second removal of a share.
_GONE_WORDS = "Cannot remove a share with state REMOVED"
#: Tells administrators what made a share.
_MARK = {"created_by": "vfolder"}
_EXPORT_FIELDS = ("subnet", "accessPermissions", "rootSquash")


class Uoid(Struct):
    """An identifier of an object."""

    uuid: str


class ShareSpace(Struct):
    """Bytes of a share; a share without a limit has the sizes of the cluster."""

    used: str | int | None = None
    total: str | int | None = None


class HammerShare(Struct):
    """A share; numbers of bytes are strings."""

    uoid: Uoid
    name: str
    path: str
    shareState: str | None = None  # noqa: N815 - the Anvil's name
    shareSizeLimit: str | int | None = None  # noqa: N815 - the Anvil's name
    space: ShareSpace | None = None
    exportOptions: list[dict[str, Any]] | None = None  # noqa: N815 - the Anvil's name
    extendedInfo: dict[str, Any] | None = None  # noqa: N815 - the Anvil's name

    @property
    def is_ours(self) -> bool:
        """Return whether this service made it."""
        return _MARK.items() <= (self.extendedInfo or {}).items()

    @property
    def limit(self) -> int | None:
        """Return the size limit; None without one (null, absent, empty or 0)."""
        return number(self.shareSizeLimit) or None

    @property
    def used(self) -> int | None:
        """Return the bytes that it holds; None when unknown."""
        return number(self.space.used) if self.space else None


class File(Struct):
    """A file or directory in the Anvil's view."""

    name: str = ""
    createTime: str | int | None = None  # noqa: N815 - the Anvil's name
    children: list["File"] | None = None


class Shares:
    """The shares inside the one that is mounted; each is named for a directory at its top."""

    def __init__(self, anvil: Anvil, options: HammerspaceOptions) -> None:
        self._anvil = anvil
        self._base = options.base
        self._exports = options.export_options

    def path(self, below: str) -> str:
        """Return the path in Hammerspace's name space of a path of the volume."""
        return f"{self._base}/{below}"

    def name(self, directory: str) -> str:
        """Return the name of a share: names are unique in the cluster, directories are not.

        At the root of the name space it is the directory's, as in the reference product.
        """
        if not self._base:
            return directory
        digest = hashlib.blake2b(self._base.encode(), digest_size=4).hexdigest()
        return f"{directory}-{digest}"[:NAME_MAX]

    def find(self, directory: str) -> HammerShare | None:
        """Return the share of a directory; None without one.

        Raises:
            Conflict: the share of this name is of another path.
        """
        share: HammerShare | None = self._anvil.find(
            f"/shares/{quote(self.name(directory))}", HammerShare
        )
        if share is None or share.shareState == REMOVED:
            return None
        if share.path.rstrip("/") != self.path(directory):
            raise Conflict(
                f"Hammerspace has a share {share.name} of another directory; its name is needed "
                "for this quota scope. Rename that share, or check the option base_path.",
            )
        return share

    def make(self, directory: str, limit: int | None) -> HammerShare:
        """Make the share of a directory, and the directory if it is missing; return the share.

        A share that another process began to make is awaited, and may have another limit.

        Raises:
            ArrayRefused: the Anvil refused, or its task failed; nothing stays then.
        """
        share = self.find(directory)
        if share is not None and share.shareState == PUBLISHED:
            return share
        name = self.name(directory)
        task = self._anvil.making(name) if share else None
        if share is not None and task is None and share.is_ours:
            self.remove(share)  # a task that failed has left it
            share = None
        try:
            uuid = task.uuid if task else None if share else self._ask(directory, name, limit)
            return self._await(directory, uuid)
        except ArrayRefused:
            self._clear(directory)
            raise

    def limit(self, directory: str, limit: int | None) -> None:
        """Set the size limit of a share: its whole object is written back, with the limit changed.

        Raises:
            BackendFailed: there is no such share.
            ArrayRefused: the Anvil refused, or its task failed.
        """
        share = self.find(directory)
        if share is None:
            raise BackendFailed("Hammerspace has no share for the directory of this quota scope.")
        if share.limit == limit:
            return
        path = f"/shares/{share.uoid.uuid}"
        whole: dict[str, Any] = self._anvil.get(path, dict[str, Any])
        body = {**whole, "shareSizeLimit": limit}
        answer = self._anvil.client.send(self._anvil.request("PUT", path, body=body))
        self._anvil.finish(task_of(answer), lambda: self._holds(directory, limit))

    def remove(self, share: HammerShare) -> None:
        """Remove a share and keep its directory; a share that is gone is fine.

        Raises:
            ArrayRefused: the Anvil refused, or its task failed.
        """
        path, query = f"/shares/{share.uoid.uuid}", {"delete-path": False, "delete-delay": 0}
        try:
            answer = self._anvil.client.send(self._anvil.request("DELETE", path, query=query))
        except ArrayRefused as refusal:
            if refusal.reason is not Reason.NOT_FOUND and _GONE_WORDS not in refusal.detail:
                raise
        else:
            self._anvil.finish(task_of(answer), lambda: self._is_gone(share))

    def file(self, below: str) -> File | None:
        """Return a file or directory of the volume; None when the Anvil has none.

        The Anvil answers 500 to a missing path. So the root of the name space is requested then: an
        Anvil that does not know it either is ill.

        Raises:
            ArrayRefused, Busy, Lost: as `Client.get`.
        """
        try:
            found: File | None = self._anvil.find("/files", File, path=self.path(below))
        except ArrayRefused as refusal:
            if refusal.reason is not Reason.FAILED:
                raise
            self._anvil.get("/files", File, path="/")
            return None
        return found

    def _ask(self, directory: str, name: str, limit: int | None) -> str | None:
        """Request a new share; return the task that makes it, where there is one."""
        body: dict[str, Any] = {
            "name": name,
            "path": self.path(directory),
            "comment": "",
            "extendedInfo": _MARK,
            "exportOptions": self._exports_of_new(),
        }
        if limit is not None:
            body["shareSizeLimit"] = limit
        query = {"create-path": True, "validate-only": False}
        request = self._anvil.request("POST", "/shares", query=query, body=body)

        def look() -> HammerShare | Task | None:
            return self._anvil.making(name) or self.find(directory)

        found: ArrayAnswer | HammerShare | Task | None
        try:
            found = self._anvil.client.create(request, look)
        except ArrayRefused as refusal:  # another process makes it at the same time
            if refusal.reason is not Reason.INVALID or (found := look()) is None:
                raise
        if isinstance(found, ArrayAnswer):
            return task_of(found)
        return found.uuid if isinstance(found, Task) else None

    def _await(self, directory: str, task: str | None) -> HammerShare:
        """Return the share of a directory once it is published."""
        found: HammerShare | None = None

        def published() -> bool:
            nonlocal found
            found = self.find(directory)
            return found is not None and found.shareState == PUBLISHED

        self._anvil.finish(task, published)
        assert found is not None  # noqa: S101 - `finish` ends when it is published
        return found

    def _exports_of_new(self) -> list[Mapping[str, Any]]:
        """Return who may mount a new share: as the option says, or as the share around it."""
        if self._exports is not None:
            return [msgspec.to_builtins(export) for export in self._exports]
        around = self.around()
        exports = around.exportOptions if around else None
        return [
            {name: one[name] for name in _EXPORT_FIELDS if name in one} for one in exports or []
        ]

    def around(self) -> HammerShare | None:
        """Return the share that has the top of the volume in it; None when it is not known."""
        top = f"{self._base}/"
        found: HammerShare | None = None
        for share in self._anvil.get("/shares", list[HammerShare]):
            inside = share.shareState != REMOVED and top.startswith(f"{share.path.rstrip('/')}/")
            if inside and (found is None or len(share.path) > len(found.path)):
                found = share
        return found

    def _clear(self, directory: str) -> None:
        """Remove what a failed task left: a share that is not published would block the next."""
        share = self.find(directory)
        if share is not None and share.is_ours and share.shareState != PUBLISHED:
            self.remove(share)

    def _holds(self, directory: str, limit: int | None) -> bool:
        share = self.find(directory)
        return share is not None and share.limit == limit

    def _is_gone(self, share: HammerShare) -> bool:
        now: HammerShare | None = self._anvil.find(f"/shares/{share.uoid.uuid}", HammerShare)
        return now is None or now.shareState == REMOVED


def number(text: str | int | None) -> int | None:
    """Return a number that the Anvil writes as a string; None when it is no number."""
    try:
        return None if text is None else int(text)
    except ValueError:
        return None
