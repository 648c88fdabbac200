"""Names of remote entries: `NAME:path`, `ID:path` or `VOLUME:ID:path`; all else is local."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

import click

if TYPE_CHECKING:  # loading it takes longer than to print the help of a command
    from click.shell_completion import CompletionItem

    from vfolder_client import Client, VFolder


@dataclass(frozen=True, slots=True)
class RemoteName:
    """An entry of a vfolder as a person names it; the root has the empty path."""

    vfolder: str
    path: str
    #: A slash at its end: it is a directory.
    is_directory: bool = False

    def __str__(self) -> str:
        return f"{self.vfolder}:{self.path}"

    def below(self, name: str) -> "RemoteName":
        """Return the entry of this name in this directory."""
        path = f"{self.path}/{name}" if self.path else name
        return replace(self, path=path, is_directory=False)

    @property
    def name(self) -> str:
        """The last part of the path; of a root the name of the vfolder."""
        return self.path.rpartition("/")[2] or self.vfolder.rpartition(":")[2]


def parsed(text: str) -> RemoteName | None:
    """Return the remote entry that a text names; None where it is a local path.

    A text is remote where a colon comes before any slash. `./a:b` is local. `VOLUME:ID` is a
    vfolder: an entry whose path is a UUID is `NAME:./UUID`.
    """
    head, colon, rest = text.partition(":")
    if not colon or not head or "/" in head:
        return None
    second, _, path = rest.partition(":")
    if _is_id(second) and "/" not in second:
        return _remote(f"{head}:{second}", path)
    return _remote(head, rest)


def _remote(vfolder: str, path: str) -> RemoteName:
    parts = [part for part in path.split("/") if part not in ("", ".")]
    return RemoteName(vfolder, "/".join(parts), is_directory=path.endswith("/"))


def _is_id(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True


class Remote(click.ParamType[RemoteName]):
    """A remote entry; a name without a colon is the vfolder itself."""

    name = "name:path"

    def convert(
        self,
        value: Any,  # noqa: ANN401 - as click has it
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> RemoteName:
        """Return the entry, or fail with the forms that can be written."""
        if isinstance(value, RemoteName):
            return value
        found = parsed(value) or (_remote(value, "") if value and "/" not in value else None)
        if found is None:
            self.fail(f"{value!r} is no remote entry. Write NAME:path or ID:path.", param, ctx)
        return found

    def shell_complete(
        self,
        ctx: click.Context,
        param: click.Parameter,  # noqa: ARG002 - as click has it
        incomplete: str,
    ) -> "list[CompletionItem[str]]":
        """Return the remote names that begin so."""
        from api.cli.people.completing import remote_names  # noqa: PLC0415 - no other command needs it

        return remote_names(ctx, incomplete)


class RemoteOrLocal(click.ParamType["RemoteName | Path"]):
    """A remote entry, or a local path."""

    name = "path"

    def convert(
        self,
        value: Any,  # noqa: ANN401 - as click has it
        param: click.Parameter | None,  # noqa: ARG002 - as click has it
        ctx: click.Context | None,  # noqa: ARG002 - as click has it
    ) -> RemoteName | Path:
        """Return the entry or the path."""
        if isinstance(value, RemoteName | Path):
            return value
        return parsed(value) or Path(value)

    def shell_complete(
        self,
        ctx: click.Context,
        param: click.Parameter,  # noqa: ARG002 - as click has it
        incomplete: str,
    ) -> "list[CompletionItem[str]]":
        """Return the remote names that begin so, and let the shell add local files."""
        from click.shell_completion import CompletionItem  # noqa: PLC0415 - as above

        from api.cli.people.completing import remote_names  # noqa: PLC0415 - as above

        found = remote_names(ctx, incomplete)
        return found if parsed(incomplete) else [*found, CompletionItem(incomplete, type="file")]


class Folders:
    """The vfolders of one command: each name is looked up once."""

    def __init__(self, client: "Client") -> None:
        self._client = client
        self._known: dict[str, VFolder] = {}

    def of(self, name: RemoteName) -> "VFolder":
        """Return the vfolder of an entry."""
        if name.vfolder not in self._known:
            self._known[name.vfolder] = self._client.vfolder(name.vfolder)
        return self._known[name.vfolder]
