"""`vfolder trash`: deleted vfolders that are kept."""

from urllib.parse import quote

import click

from api.cli.http import Manager, manager_options, print_json
from api.cli.output import show_table

COLUMNS = ("id", "vfolder", "deleted", "kept until", "bytes", "entries", "restorable")


@click.group()
def trash() -> None:
    """Deleted vfolders that are kept; `vfolder jobs submit restore` brings one back."""


@trash.command("list")
@click.argument("volume")
@click.argument("scope")
@manager_options
def list_trash(door: Manager, *, volume: str, scope: str, as_json: bool) -> None:
    """List what the trash of a quota scope holds."""
    path = f"/v1/volumes/{quote(volume, safe='')}/scopes/{quote(scope, safe='')}/trash"
    found = door.ask("GET", path)
    if as_json:
        print_json(found)
        return
    rows = [
        [
            *(note[name] for name in ("id", "vfolder", "deleted_at", "expires_at")),
            *("" if note[name] is None else str(note[name]) for name in ("size_bytes", "entries")),
            "yes" if note["restorable"] else "no",
        ]
        for note in found["trash"]
    ]
    show_table(COLUMNS, rows)
