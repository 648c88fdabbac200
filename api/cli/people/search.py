"""The command `vfolder find`."""

import sys
from typing import TYPE_CHECKING, Any

import click

from api.cli.forms import Output
from api.cli.moments import Moment
from api.cli.people.calls import client_options
from api.cli.people.remote_names import Folders, Remote, RemoteName
from core.names import printable, size_text, text_of_moment

if TYPE_CHECKING:  # loading it takes longer than to print the help of a command
    from vfolder_client import Client, FoundEntry

_COLUMNS = ("kind", "size", "modified", "path")
_KINDS = click.Choice(["file", "directory", "symlink"])


class Size(click.ParamType[int]):
    """A number of bytes: `4096`, `10M`, `1.5G` (powers of 1024)."""

    name = "size"

    def convert(
        self,
        value: Any,  # noqa: ANN401 - as click has it
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> int:
        """Return the bytes, or fail with the forms that can be written."""
        from core.settings import size_bytes  # noqa: PLC0415 - settings take long to load

        try:
            return size_bytes(value)
        except ValueError:
            self.fail(f"{value!r} is no size. Write 4096, 10M or 2G.", param, ctx)


@click.command()
@click.argument("top", type=Remote(), metavar="NAME[:PATH]")
@click.option("--match", help="A pattern of names, such as '*.csv'; with / one of paths.")
@click.option("--kind", type=_KINDS, help="Only those of this kind.")
@click.option("--min", "min_bytes", type=Size(), help="Files of this size at least: 10M.")
@click.option("--max", "max_bytes", type=Size(), help="Files of this size at most.")
@click.option("--newer", type=Moment(), help="Modified since: 7d ago, a date, RFC 3339.")
@click.option("--older", type=Moment(), help="Modified before.")
@click.option("-l", "long", is_flag=True, help="Also kind, size and time of modification.")
@click.option("-0", "raw", is_flag=True, help="Paths as they are, each with a NUL behind it.")
@client_options
def find(
    client: "Client",
    *,
    top: RemoteName,
    match: str | None,
    kind: str | None,
    min_bytes: int | None,
    max_bytes: int | None,
    newer: str | None,
    older: str | None,
    long: bool,
    raw: bool,
    output: Output,
) -> None:
    """Find entries below a directory, in the order of their paths. The service looks.

    Paths are below NAME. A big search is a job, and of its entries behind the first 1,000 only the
    paths are known.
    """
    found = (
        Folders(client)
        .of(top)
        .find(
            top.path,
            match=match,
            kind=kind,
            min_bytes=min_bytes,
            max_bytes=max_bytes,
            newer_than=newer,
            older_than=older,
        )
    )
    if output.is_data:
        for one in found:
            output.data(_document(one))
    elif raw:
        for one in found:
            sys.stdout.buffer.write(one.path.encode("utf-8", "surrogateescape") + b"\0")
    elif long or output.is_wide:
        output.table(_COLUMNS, [_row(one, output) for one in found], "Nothing was found.")
    else:
        for one in found:
            click.echo(printable(one.path))


def _document(one: "FoundEntry") -> dict[str, Any]:
    return {
        "path": one.path,
        "kind": one.kind,
        "size_bytes": one.size_bytes,
        "modified_at": text_of_moment(one.modified_at, "auto"),
    }


def _row(one: "FoundEntry", output: Output) -> list[str]:
    size = "-" if one.size_bytes is None else str(one.size_bytes)
    if output.for_people and one.size_bytes is not None:
        size = size_text(one.size_bytes)
    return [one.kind or "-", size, _document(one)["modified_at"] or "-", one.path]
