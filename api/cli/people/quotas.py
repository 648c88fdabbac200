"""The commands `vfolder quota` and `vfolder notices`."""

from typing import TYPE_CHECKING, Any

import click

from api.cli.forms import Output
from api.cli.people.calls import client_options, note
from api.cli.people.remote_names import RemoteName
from api.cli.people.search import Size
from api.cli.people.sharing import VFOLDER, ends, folder_of
from core.names import printable, size_text

if TYPE_CHECKING:  # loading it takes longer than to print the help of a command
    from vfolder_client import Client, Notice, Quota

_COLUMNS = ("of", "volume", "used", "limit", "left", "counted")
_NOTICE_COLUMNS = ("at", "new", "notice", "id")
_NONE = "none"


class SizeOrNone(Size):
    """A size, or `none`."""

    name = "limit"

    def convert(
        self,
        value: Any,  # noqa: ANN401 - as click has it
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> Any:  # noqa: ANN401 - None is no limit
        """Return the bytes; None for `none`."""
        return None if value in (None, _NONE) else super().convert(value, param, ctx)


_LIMIT = click.argument("limit", type=SizeOrNone(), metavar="SIZE|none")


@click.group()
def quota() -> None:
    """Limits and what is left: list, limit, set."""


@quota.command("list")
@click.option("--scope", help="That of user:ID or project:ID; operators see any.")
@click.option("--volume", help="Those on this volume.")
@client_options
def list_quotas(client: "Client", *, scope: str | None, volume: str | None, output: Output) -> None:
    """List what you and your groups hold and may hold, by volume."""
    _show(client.quotas(scope, volume=volume), output)


@quota.command()
@VFOLDER
@_LIMIT
@client_options
def limit(client: "Client", *, vfolder: RemoteName, limit: int | None, output: Output) -> None:
    """Limit the vfolder NAME, which you own: `10G`; `none` removes the limit."""
    info = folder_of(client, vfolder).change(limit_bytes=limit)
    if output.is_data:
        output.data(info.document)
    else:
        note(f"{vfolder.vfolder}: {_size(limit, _NONE)}.")


@quota.command("set")
@click.argument("scope")
@_LIMIT
@click.option("--volume", help="On this volume; needed where there are several.")
@click.option("--total", is_flag=True, help="Over all volumes.")
@click.option("--reason", default="", help="Why; the audit log keeps it.")
@client_options
def set_quota(
    client: "Client",
    *,
    scope: str,
    limit: int | None,
    volume: str | None,
    total: bool,
    reason: str,
    output: Output,
) -> None:
    """Limit SCOPE, which is user:ID or group:ID, as an operator; `none` removes the limit."""
    _show(client.set_quota(scope, limit, volume=volume, total=total, reason=reason), output)


@click.command()
@click.option("--new", "new", is_flag=True, help="Those that you have not read.")
@click.option("--mark-read", is_flag=True, help="Mark those that are shown as read.")
@client_options
def notices(client: "Client", *, new: bool, mark_read: bool, output: Output) -> None:
    """List what concerns you, the newest first: limits that are nearly reached, and the like."""
    found = [one for one in client.notices() if not (new and one.read)]
    if output.is_data:
        for one in found:
            output.data(one.document)
    else:
        rows = [[ends(one.at), "" if one.read else "*", _sentence(one), one.id] for one in found]
        output.table(_NOTICE_COLUMNS, rows, "No notices.")
    for one in found if mark_read else ():
        if not one.read:
            client.mark_notice_read(one.id)


def _show(found: "list[Quota]", output: Output) -> None:
    if output.is_data:
        for one in found:
            output.data(one.document)
        return
    rows = [
        [
            printable(one.scope),
            printable(one.volume or "all"),
            _size(one.used_bytes, "unknown"),
            _size(one.limit_bytes, _NONE),
            _size(one.left_bytes, "-"),
            ends(one.as_of),
        ]
        for one in found
    ]
    output.table(_COLUMNS, rows, "No quotas.")


def _size(number: int | None, otherwise: str) -> str:
    return otherwise if number is None else size_text(number)


def _sentence(one: "Notice") -> str:
    """Return what a notice says, for people."""
    facts = one.document
    if one.kind != "quota":
        return printable(f"{one.kind}: {facts.get('name') or facts.get('vfolder') or ''}")
    of = facts["vfolder"] or facts["scope"]
    where = f" on {facts['volume']}" if facts["volume"] else ""
    used, most = size_text(facts["used_bytes"]), size_text(facts["limit_bytes"])
    return printable(f"{of}{where} reached {facts['percent']} %: {used} of {most}")
