"""The commands `vfolder undo`, `snapshot`, and of `vfolder folder`: clone, offer, accept, count."""

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import click

from api.cli.forms import USAGE, ApiRefused, Output
from api.cli.people.calls import client_options
from api.cli.people.remote_names import Folders, Remote, RemoteName
from api.cli.people.sharing import VFOLDER, ends, folder, folder_of, show_end
from api.cli.people.subjects import Who, word_of

if TYPE_CHECKING:  # loading it takes longer than to print the help of a command
    from vfolder_client import Client, Job, VFolder

_SNAPSHOT_COLUMNS = ("name", "created", "ends")
_VERIFY = click.Choice(["none", "size", "checksum"])


# -- Removed entries -------------------------------------------------------------------------------
@click.command()
@click.argument("job_id", metavar="JOB")
@click.option("--in", "top", type=Remote(), metavar="NAME", help="The vfolder of a job of old.")
@client_options
def undo(client: "Client", *, job_id: str, top: RemoteName | None, output: Output) -> None:
    """Bring back what the job JOB of `vfolder rm` or `mv` removed; `folder delete` likewise.

    Entries come back to their former places. `vfolder ls --trashed NAME` shows the jobs.
    """
    if top is not None:
        show_end(Folders(client).of(top).trash.restore(job_id), output)
        return
    job = client.jobs.get(job_id)
    found = _folder_of_job(client, job)
    if job.verb == "delete":
        show_end(found.restore(job.id), output)
    elif (
        job.verb == "delete-files"
        or job.document["request"].get("over")
        or job.document["request"].get("remove_source")
    ):
        show_end(found.trash.restore(job.id), output)
    else:
        hint = "`vfolder jobs list --verb delete-files` shows those that removed entries"
        raise ApiRefused(f"The job {job.id} removed nothing: it is a {job.verb}.", hint, USAGE)


def _folder_of_job(client: "Client", job: "Job") -> "VFolder":
    request: dict[str, Any] = job.document["request"]
    named = request.get("vfolder") or request.get("source", "")
    place = str(named).rpartition("/")[2]
    return client.vfolder(f"{request.get('volume')}:{place}")


# -- Copies and owners -----------------------------------------------------------------------------
@folder.command()
@VFOLDER
@click.argument("name", metavar="NEW")
@click.option("--volume", help="The volume of the copy; that of NAME otherwise.")
@click.option("--group", help="The id of the group that owns the copy; you otherwise.")
@click.option("--verify", type=_VERIFY, help="How the copy is compared (size).")
@client_options
def clone(
    client: "Client",
    *,
    vfolder: RemoteName,
    name: str,
    volume: str | None,
    group: str | None,
    verify: str | None,
    output: Output,
) -> None:
    """Copy the vfolder NAME to a NEW one, by a job of the service."""
    owner = None if group is None else f"group:{group}"
    job = folder_of(client, vfolder).clone(name, volume=volume, owner=owner, verify=verify)
    show_end(job, output)


@folder.command()
@VFOLDER
@client_options
def count(client: "Client", *, vfolder: RemoteName, output: Output) -> None:
    """Count files and bytes of the vfolder, by a job of the service."""
    show_end(folder_of(client, vfolder).count(), output)


@folder.command()
@VFOLDER
@click.argument("to", type=Who(), metavar="[WHO]", required=False)
@client_options
def offer(client: "Client", *, vfolder: RemoteName, to: str | None, output: Output) -> None:
    """Offer the vfolder to WHO, as `vfolder share add` has it; without WHO take the offer back.

    It is yours until WHO accepts it.
    """
    found = folder_of(client, vfolder)
    info = found.offer(None if to is None else word_of(client, to))
    output.data(info.document) if output.is_data else click.echo(found.reference)


@folder.command()
@VFOLDER
@client_options
def accept(client: "Client", *, vfolder: RemoteName, output: Output) -> None:
    """Become the owner of a vfolder that was offered to you; NAME is its id."""
    found = folder_of(client, vfolder)
    info = found.accept()
    output.data(info.document) if output.is_data else click.echo(found.reference)


# -- Snapshots -------------------------------------------------------------------------------------
@click.group()
def snapshot() -> None:
    """Snapshots of a vfolder, where its storage has any: list, create, restore, delete."""


@snapshot.command("list")
@VFOLDER
@client_options
def list_snapshots(client: "Client", *, vfolder: RemoteName, output: Output) -> None:
    """List the snapshots of the vfolder."""
    found = folder_of(client, vfolder).snapshots.list()
    if output.is_data:
        for one in found:
            output.data(one.document)
        return
    rows = [[one.name, ends(one.created_at), ends(one.expires_at)] for one in found]
    output.table(_SNAPSHOT_COLUMNS, rows, "The vfolder has no snapshot.")


@snapshot.command()
@VFOLDER
@click.argument("name", metavar="SNAPSHOT")
@click.option("--keep-days", type=click.FloatRange(0, min_open=True), help="It ends then.")
@client_options
def create(
    client: "Client", *, vfolder: RemoteName, name: str, keep_days: float | None, output: Output
) -> None:
    """Make a snapshot of the vfolder."""
    keep = None if keep_days is None else timedelta(days=keep_days).total_seconds()
    show_end(folder_of(client, vfolder).snapshots.create(name, keep_seconds=keep), output)


@snapshot.command()
@VFOLDER
@click.argument("name", metavar="SNAPSHOT")
@click.argument("new_name", metavar="[NEW]", required=False)
@click.option(
    "--over", is_flag=True, help="In place of the vfolder, whose entries go to the trash."
)
@client_options
def restore(
    client: "Client",
    *,
    vfolder: RemoteName,
    name: str,
    new_name: str | None,
    over: bool,
    output: Output,
) -> None:
    """Restore a snapshot to a NEW vfolder; the present one stays unchanged, unless with --over."""
    if over == bool(new_name):
        hint = "write the name of a new vfolder, or --over for the present one"
        raise ApiRefused("A restore has one target.", hint, USAGE)
    snapshots = folder_of(client, vfolder).snapshots
    job = snapshots.restore_over(name) if over else snapshots.restore(name, new_name=new_name)
    show_end(job, output)


@snapshot.command()
@VFOLDER
@click.argument("name", metavar="SNAPSHOT")
@client_options
def delete(client: "Client", *, vfolder: RemoteName, name: str, output: Output) -> None:
    """Delete a snapshot."""
    show_end(folder_of(client, vfolder).snapshots.delete(name), output)
