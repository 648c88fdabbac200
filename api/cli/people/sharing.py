"""The commands `vfolder share`, `key` and `folder`."""

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import click

from api.cli.forms import USAGE, ApiRefused, Output
from api.cli.people.calls import client_options, note
from api.cli.people.progress import JobLine
from api.cli.people.remote_names import Remote, RemoteName
from api.cli.people.subjects import Who, word_of
from core.names import parsed_moment, printable, text_of_moment

if TYPE_CHECKING:  # loading it takes longer than to print the help of a command
    from vfolder_client import ApiKey, Client, Grant, Job, VFolder

_GRANTED = click.Choice(["ro", "rw", "rwd"])
_GROUP_PERMISSIONS = click.Choice(["none", "ro", "rw", "rwd"])
_GRANT_COLUMNS = ("to", "permission", "ends", "note", "source", "id")
_KEY_COLUMNS = ("name", "scopes", "ends", "last used", "state", "id")
VFOLDER = click.argument("vfolder", type=Remote(), metavar="NAME")
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_AHEAD = re.compile(r"(\d{1,6})([mhdw])", re.ASCII)


class Until(click.ParamType[datetime]):
    """A moment to come: `7d` from now, a date, or RFC 3339; without an offset it is local."""

    name = "moment"

    def convert(
        self,
        value: Any,  # noqa: ANN401 - as click has it
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> datetime:
        """Return the moment, or fail with the forms that can be written."""
        if isinstance(value, datetime):
            return value
        if ahead := _AHEAD.fullmatch(value):
            return datetime.now(UTC) + timedelta(**{_UNITS[ahead[2]]: int(ahead[1])})
        try:
            return parsed_moment(value).astimezone()
        except ValueError:
            self.fail(f"{value!r} is no moment. Write 12h, 7d, 2027-01-31 or RFC 3339.", param, ctx)


UNTIL = click.option("--until", type=Until(), help="The end: 7d from now, a date, RFC 3339.")


def folder_of(client: "Client", name: RemoteName) -> "VFolder":
    """Return the vfolder of a name that has no path.

    Raises:
        ApiRefused: it has one.
    """
    if name.path:
        hint = f"name the vfolder: {name.vfolder}"
        raise ApiRefused("This concerns a vfolder, not an entry of it.", hint, USAGE)
    return client.vfolder(name.vfolder)


def ends(moment: datetime | None) -> str:
    """Return a moment for people; a dash where there is none."""
    return text_of_moment(moment, "minutes") or "-"


# -- Shares ----------------------------------------------------------------------------------------
@click.group()
def share() -> None:
    """Share a vfolder with users and groups: list, add, set, remove."""


@share.command("list")
@VFOLDER
@client_options
def list_grants(client: "Client", *, vfolder: RemoteName, output: Output) -> None:
    """List who shares NAME; those who do not own it see the owner and themselves."""
    _show_grants(list(folder_of(client, vfolder).grants()), output)


@share.command()
@VFOLDER
@click.argument("to", type=Who(), metavar="WHO")
@click.argument("permission", type=_GRANTED)
@UNTIL
@click.option("--note", "remark", default="", help="A remark for the list.")
@client_options
def add(
    client: "Client",
    *,
    vfolder: RemoteName,
    to: str,
    permission: str,
    until: datetime | None,
    remark: str,
    output: Output,
) -> None:
    """Share NAME with WHO: the name of a person or group, user:UUID or group:UUID.

    A name behind `user:` or `group:` means one of this kind. Where several have the name, nothing
    is shared, and the message has the choices. People read their own id in `vfolder whoami`.

    PERMISSION is ro (read), rw (also write) or rwd (also remove). It replaces what WHO had.
    """
    grant = folder_of(client, vfolder).share(
        word_of(client, to), permission, expires_at=until, note=remark
    )
    _show_grants([grant], output)


@share.command("set")
@VFOLDER
@click.argument("grant", metavar="WHO_OR_ID")
@click.option("--permission", type=_GRANTED)
@UNTIL
@click.option("--no-end", is_flag=True, help="It has no end.")
@click.option("--note", "remark", help="A remark for the list.")
@client_options
def change(
    client: "Client",
    *,
    vfolder: RemoteName,
    grant: str,
    permission: str | None,
    until: datetime | None,
    no_end: bool,
    remark: str | None,
    output: Output,
) -> None:
    """Change what WHO_OR_ID has on NAME; what no option names stays."""
    folder = folder_of(client, vfolder)
    given: dict[str, Any] = {"permission": permission, "expires_at": until, "note": remark}
    changes = {key: value for key, value in given.items() if value is not None}
    if no_end:
        changes["expires_at"] = None
    if not changes:
        raise click.UsageError("Say what to change: --permission, --until, --no-end or --note.")
    _show_grants([folder.change_grant(_grant_of(folder, grant), **changes)], output)


@share.command()
@VFOLDER
@click.argument("grant", metavar="WHO_OR_ID")
@client_options
def remove(client: "Client", *, vfolder: RemoteName, grant: str, output: Output) -> None:  # noqa: ARG001 - there is nothing to print
    """Take from WHO_OR_ID what it has on NAME; anyone may give back its own."""
    folder = folder_of(client, vfolder)
    folder.revoke_grant(_grant_of(folder, grant))


def _grant_of(folder: "VFolder", text: str) -> str:
    """Return the id of a grant, for its id or for who has it."""
    if ":" not in text:
        return text
    found = [one.id for one in folder.grants() if one.to == text.lower()]
    if not found:
        raise ApiRefused(f"{text} has no grant that you may see.", "`vfolder share list` shows all")
    return found[0]


def _show_grants(grants: "list[Grant]", output: Output) -> None:
    if output.is_data:
        for one in grants:
            output.data(one.document)
        return
    rows = [
        [one.to, one.permission, ends(one.expires_at), one.note, one.source, one.id]
        for one in grants
    ]
    output.table(_GRANT_COLUMNS, rows, "The vfolder is shared with no one.")


# -- Keys ------------------------------------------------------------------------------------------
@click.group()
def key() -> None:
    """Your API keys: list, create, rename, rotate, revoke."""


@key.command("list")
@click.option("-a", "--all", "everything", is_flag=True, help="Also those that have ended.")
@client_options
def list_keys(client: "Client", *, everything: bool, output: Output) -> None:
    """List your keys."""
    found = client.keys.all()
    now = datetime.now(UTC)
    live = [one for one in found if _state(one, now) == "valid"]
    _show_keys(found if everything else live, now, output)


@key.command()
@click.option("--name", default="", help="A name for the list.")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    required=True,
    help="What it may do: files:read, files:write, files:delete, vfolders:manage, "
    "shares:manage, jobs, keys. Repeat it.",
)
@click.option("--days", type=float, help="It ends after so many days.")
@click.option("--network", "networks", multiple=True, help="It is for callers of it alone.")
@click.option("--vfolder", "vfolders", multiple=True, help="It is for this vfolder alone: an id.")
@client_options
def create(
    client: "Client",
    *,
    name: str,
    scopes: tuple[str, ...],
    days: float | None,
    networks: tuple[str, ...],
    vfolders: tuple[str, ...],
    output: Output,
) -> None:
    """Make a key, and print it once. It never may more than the key that you use."""
    made = client.keys.create(
        scopes,
        name=name,
        networks=networks or None,
        vfolders=vfolders or None,
        expires_in_days=days,
    )
    _show_secret(made, output)


@key.command()
@click.argument("key_id", metavar="ID")
@click.argument("name")
@client_options
def rename(client: "Client", *, key_id: str, name: str, output: Output) -> None:
    """Give the key ID another NAME."""
    _show_keys([client.keys.rename(key_id, name)], datetime.now(UTC), output)


@key.command()
@click.argument("key_id", metavar="ID")
@click.option("--overlap", type=float, help="The old text is valid for so many seconds more.")
@client_options
def rotate(client: "Client", *, key_id: str, overlap: float | None, output: Output) -> None:
    """Give the key ID a new text, and print it once; `vfolder whoami` shows your own ID."""
    _show_secret(client.keys.rotate(key_id, overlap_seconds=overlap), output)


@key.command()
@click.argument("key_id", metavar="ID")
@client_options
def revoke(client: "Client", *, key_id: str, output: Output) -> None:  # noqa: ARG001 - there is nothing to print
    """End the key ID."""
    client.keys.revoke(key_id)


def _show_secret(made: "ApiKey", output: Output) -> None:
    if output.is_data:
        output.data(made.document)
        return
    click.echo(made.key)
    note(f"This key is not shown again; its id is {made.id}, and it ends {ends(made.expires_at)}.")


def _show_keys(keys: "list[ApiKey]", now: datetime, output: Output) -> None:
    if output.is_data:
        for one in keys:
            output.data(one.document)
        return
    rows = [
        [
            one.name or "-",
            " ".join(one.scopes),
            ends(one.expires_at),
            ends(one.last_used_at),
            _state(one, now),
            one.id,
        ]
        for one in keys
    ]
    output.table(_KEY_COLUMNS, rows, "You have no valid key.")


def _state(one: "ApiKey", now: datetime) -> str:
    if one.revoked_at is not None:
        return "revoked"
    return "ended" if one.expires_at is not None and one.expires_at <= now else "valid"


# -- VFolders --------------------------------------------------------------------------------------
@click.group()
def folder() -> None:
    """VFolders as such: create, clone, rename, delete and others. `vfolder ls` lists them."""


@folder.command("create")
@click.argument("name")
@click.option("--volume", help="The volume; needed where you may use several.")
@click.option("--group", help="The id of the group that owns it; you otherwise.")
@click.option("--group-permission", type=_GROUP_PERMISSIONS, help="What members of GROUP may do.")
@UNTIL
@client_options
def create_folder(
    client: "Client",
    *,
    name: str,
    volume: str | None,
    group: str | None,
    group_permission: str | None,
    until: datetime | None,
    output: Output,
) -> None:
    """Make an empty vfolder, and print its name for other commands: VOLUME:ID."""
    made = client.create_vfolder(
        name,
        volume=volume,
        owner=None if group is None else f"group:{group}",
        group_permission=group_permission,
        expires_at=until,
    )
    _show_folder(made, output)


@folder.command("rename")
@VFOLDER
@click.argument("name")
@client_options
def rename_folder(client: "Client", *, vfolder: RemoteName, name: str, output: Output) -> None:
    """Give the vfolder another name."""
    found = folder_of(client, vfolder)
    found.change(name=name)
    _show_folder(found, output)


@folder.command()
@VFOLDER
@click.option("--keep", type=click.IntRange(0), help="It can be restored for so many seconds.")
@client_options
def delete(client: "Client", *, vfolder: RemoteName, keep: int | None, output: Output) -> None:
    """Move the vfolder to the trash. It can be restored for 7 days."""
    show_end(folder_of(client, vfolder).delete(keep_seconds=keep), output)


@folder.command()
@click.argument("vfolder", metavar="NAME")
@client_options
def restore(client: "Client", *, vfolder: str, output: Output) -> None:
    """Restore a vfolder from the trash; `vfolder ls --trashed` lists those."""
    show_end(_trashed(client, vfolder).restore(), output)


@folder.command()
@click.argument("vfolder", metavar="NAME")
@client_options
def purge(client: "Client", *, vfolder: str, output: Output) -> None:
    """Remove a vfolder of the trash for good."""
    show_end(_trashed(client, vfolder).purge(), output)


def _trashed(client: "Client", name: str) -> "VFolder":
    """Return a vfolder of the trash by its name or id."""
    from vfolder_client import is_reference  # noqa: PLC0415 - see above

    if is_reference(name):
        return client.vfolder(name)
    wanted = name.casefold()
    found = [one for one in client.vfolders(trashed=True) if (one.name or "").casefold() == wanted]
    if len(found) != 1:
        how = "no vfolder" if not found else "several vfolders"
        text = f"The trash has {how} of the name {name}."
        raise ApiRefused(text, "`vfolder ls --trashed` shows them with their ids")
    return found[0]


def show_end(job: "Job", output: Output) -> None:
    """Follow a job, and print how it ended."""
    ended = JobLine(output).follow(job)
    if output.is_data:
        output.data(ended.document)
    else:
        click.echo(printable(ended.sentence))


def _show_folder(found: "VFolder", output: Output) -> None:
    info = found.info()
    output.data(info.document) if output.is_data else click.echo(info.reference)
