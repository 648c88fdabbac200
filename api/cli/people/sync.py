"""The command `vfolder sync`."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from api.cli.forms import USAGE, ApiRefused, Output
from api.cli.people.calls import client_options, note
from api.cli.people.progress import TransferLine
from api.cli.people.remote_names import Folders, RemoteName, RemoteOrLocal
from api.cli.people.sharing import show_end
from api.cli.people.transfers import NO_RESUME, PARALLEL, leave_with, result_document, summary
from core.names import counted, printable

if TYPE_CHECKING:  # loading it takes longer than to print the help of a command
    from vfolder_client import Client, SyncAction, SyncResult

_WORDS: Mapping[str, str] = {"copy": "copy", "mkdir": "make", "delete": "delete"}


@click.command()
@click.argument("source", type=RemoteOrLocal(), metavar="SOURCE")
@click.argument("target", type=RemoteOrLocal(), metavar="TARGET")
@click.option("--delete", is_flag=True, help="Remove at TARGET what SOURCE does not have.")
@click.option("--checksum", is_flag=True, help="Compare bytes, not times; reads both sides.")
@click.option("--dry-run", is_flag=True, help="Only print what would be done.")
@PARALLEL
@NO_RESUME
@client_options
def sync(
    client: "Client",
    *,
    source: RemoteName | Path,
    target: RemoteName | Path,
    delete: bool,
    checksum: bool,
    dry_run: bool,
    parallel: int,
    no_resume: bool,
    output: Output,
) -> None:
    """Make the directory TARGET like the directory SOURCE; NAME:path is one of a vfolder.

    Copies what is absent or differs in size or time. SOURCE itself never changes. Nothing is
    removed after a look that was not complete, nor after a copy that failed. Between two vfolders
    a job of the service copies; what it removes or replaces is gone for good.
    """
    from vfolder_client import SyncOptions  # noqa: PLC0415 - see above

    folders = Folders(client)
    if isinstance(source, RemoteName) and isinstance(target, RemoteName):
        if checksum or dry_run:
            raise ApiRefused("Between vfolders there is no --checksum and no --dry-run.", "", USAGE)
        terms = {"on_conflict": "replace", "delete_extra": delete}
        to = folders.of(target)
        show_end(folders.of(source).transfer(source.path, to, target.path, **terms), output)
        return
    options = SyncOptions(
        delete=delete,
        checksum=checksum,
        dry_run=dry_run,
        resume=not no_resume,
        parallel=parallel,
    )
    line = TransferLine(output)
    try:
        if isinstance(source, Path) and isinstance(target, RemoteName):
            folder = folders.of(target)
            result = folder.sync_up(source, target.path, options, on_progress=line)
        elif isinstance(source, RemoteName) and isinstance(target, Path):
            folder = folders.of(source)
            result = folder.sync_down(source.path, target, options, on_progress=line)
        else:
            raise ApiRefused("Both names are local.", "NAME:path is one of a vfolder", USAGE)
    finally:
        line.end()
    _show(result, output, dry_run=dry_run)


def _show(result: "SyncResult", output: Output, *, dry_run: bool) -> None:
    if dry_run:
        for action in result.actions:
            _show_action(action, output)
    if output.is_data:
        if not dry_run:
            output.data(_document(result))
    elif not dry_run:
        deleted = f", {counted(result.deleted, 'entry', 'entries')} deleted"
        click.echo(summary(result) + (deleted if result.deleted else ""), err=True)
    if result.delete_refused:
        note(f"nothing was deleted: {result.delete_refused}")
    leave_with(result)


def _show_action(action: "SyncAction", output: Output) -> None:
    if output.is_data:
        output.data(
            {
                "action": action.kind,
                "path": action.path,
                "reason": action.reason,
                "size_bytes": action.size_bytes,
            }
        )
        return
    word = _WORDS[action.kind]
    click.echo("\t".join((word, action.reason, printable(action.path))))


def _document(result: "SyncResult") -> dict[str, Any]:
    document = result_document(result)
    return {**document, "deleted": result.deleted, "delete_refused": result.delete_refused}
