"""The commands `vfolder link`."""

import sys
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from api.cli.forms import Output
from api.cli.people.calls import client_options, note
from api.cli.people.remote_names import Folders, Remote, RemoteName
from api.cli.people.search import Size
from api.cli.people.sharing import UNTIL, ends
from core.names import printable

if TYPE_CHECKING:  # loading it takes longer than to print the help of a command
    from vfolder_client import Client, Link

_COLUMNS = ("id", "kind", "entry", "ends", "downloads", "password", "note")


@click.group()
def link() -> None:
    """Links for visitors, who need no account: create, list, revoke."""


@link.command()
@click.argument("entry", type=Remote(), metavar="NAME[:PATH]")
@click.option("--drop", is_flag=True, help="A visitor sends files into this directory, blindly.")
@UNTIL
@click.option("--no-end", is_flag=True, help="It has no end, where the service permits that.")
@click.option("--password-stdin", is_flag=True, help="Read a password from the standard input.")
@click.option("--note", "remark", default="", help="A remark for the list.")
@click.option("--max-downloads", type=click.IntRange(1), help="It ends after so many downloads.")
@click.option("--max-total", "max_bytes", type=Size(), help="With --drop: all files together.")
@click.option("--max-file", "max_file_bytes", type=Size(), help="With --drop: the largest file.")
@client_options
def create(
    client: "Client",
    *,
    entry: RemoteName,
    drop: bool,
    until: datetime | None,
    no_end: bool,
    password_stdin: bool,
    remark: str,
    output: Output,
    **limits: int | None,
) -> None:
    """Make a link to a file or directory, and print its URL once. Who has the URL can use it.

    It ends after 7 days, and when you may not read the entry any more.
    """
    given: dict[str, Any] = {"drop": drop, "note": remark, **limits}
    if until is not None or no_end:
        given["expires_at"] = until
    if password_stdin:
        given["password"] = _password()
    made = Folders(client).of(entry).links.create(entry.path, **given)
    if output.is_data:
        output.data(made.document)
        return
    click.echo(made.url)
    note(f"This URL is not shown again; its id is {made.id}, and it ends {ends(made.expires_at)}.")


def _password() -> str:
    if sys.stdin.isatty():
        found: str = click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
        return found
    return sys.stdin.readline().rstrip("\r\n")


@link.command("list")
@click.argument("vfolder", type=Remote(), metavar="[NAME]", required=False)
@click.option("-a", "--all", "everything", is_flag=True, help="With NAME: also revoked ones.")
@client_options
def list_links(
    client: "Client", *, vfolder: RemoteName | None, everything: bool, output: Output
) -> None:
    """List the links that you made, or all of the vfolder NAME that you own."""
    found = client.links() if vfolder is None else Folders(client).of(vfolder).links.list()
    _show(found if everything else [one for one in found if one.revoked_at is None], output)


@link.command()
@click.argument("link_id", metavar="ID")
@client_options
def revoke(client: "Client", *, link_id: str, output: Output) -> None:  # noqa: ARG001 - there is nothing to print
    """End the link ID; `vfolder link list` shows it."""
    client.revoke_link(link_id)


def _show(found: "Sequence[Link]", output: Output) -> None:
    if output.is_data:
        for one in found:
            output.data(one.document)
        return
    rows = [
        [
            one.id,
            one.kind,
            printable(f"{one.vfolder}:{one.path}"),
            ends(one.expires_at),
            str(one.downloads) + ("" if one.max_downloads is None else f"/{one.max_downloads}"),
            "yes" if one.has_password else "no",
            one.note,
        ]
        for one in found
    ]
    output.table(_COLUMNS, rows, "There is no link.")
