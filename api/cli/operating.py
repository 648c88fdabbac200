"""The commands of operators: `vfolder nodes`, `node`, `volumes` and `trash`."""

from pathlib import Path
from typing import Any
from urllib.parse import quote

import click

from api.cli.forms import Output, door_group
from api.cli.http import Manager, manager_options
from core.errors import StorageError
from core.names import size_text
from core.settings import load, size_bytes

NODE_COLUMNS = ("node", "state", "running", "slots", "load", "version", "volumes")
BANDWIDTH_COLUMNS = ("volume", "limit", "jobs", "streams")
PURGE_COLUMNS = ("volume", "limit", "limit of each", "purges", "entries/s", "as of")
VOLUME_COLUMNS = ("volume", "backend", "jobs", "nodes", "capabilities")


@click.group(invoke_without_command=True)
@door_group
@click.pass_context
def nodes(context: click.Context) -> None:
    """Nodes: the machines that run jobs."""
    if context.invoked_subcommand is None:
        _list_by_default(context, list_nodes)


@nodes.command("list")
@manager_options
def list_nodes(door: Manager, *, output: Output) -> None:
    """List the nodes seen in the last day."""
    found = door.request_json("GET", "/v1/nodes")
    if output.is_data:
        output.data(found)
        return
    rows = [_node_row(node) for node in found["nodes"]]
    output.table(NODE_COLUMNS, rows, "No node was seen in the last day.")


def _node_row(node: dict[str, Any]) -> list[str]:
    state = "draining" if node["draining"] else "alive"
    if not node["alive"]:
        silent = node["silent_seconds"]
        state = "gone" if silent is None else f"silent {silent:.0f}s"
    volumes = [
        name if volume["proven"] else f"{name} (not proven: {volume['reason']})"
        for name, volume in sorted(node["volumes"].items())
    ]
    numbers = [str(node["running"]), str(node["slots"]), f"{node['load']:.1f}"]
    return [node["id"], state, *numbers, node["version"], ", ".join(volumes)]


@click.group()
@door_group
def node() -> None:
    """One node: drain it, or let it take jobs again."""


@node.command()
@click.argument("name", metavar="NODE")
@manager_options
def drain(door: Manager, *, name: str, output: Output) -> None:
    """Drain a node: it releases its jobs to other nodes and takes no new one."""
    _post(door, f"/v1/nodes/{quote(name, safe='')}/drain", {"node": name, "draining": True}, output)


@node.command()
@click.argument("name", metavar="NODE")
@manager_options
def undrain(door: Manager, *, name: str, output: Output) -> None:
    """Let a drained node take jobs again."""
    path = f"/v1/nodes/{quote(name, safe='')}/undrain"
    _post(door, path, {"node": name, "draining": False}, output)


@click.group(invoke_without_command=True)
@door_group
@click.pass_context
def volumes(context: click.Context) -> None:
    """Storage volumes."""
    if context.invoked_subcommand is None:
        _list_by_default(context, list_volumes)


@volumes.command("list")
@manager_options
def list_volumes(door: Manager, *, output: Output) -> None:
    """List the volumes and the nodes that serve them."""
    found = door.request_json("GET", "/volumes")["volumes"]
    known = door.request_json("GET", "/v1/nodes")
    for volume in found:
        volume["at_rest"] = volume["name"] in known["volumes_at_rest"]
        volume["nodes"] = [
            one["id"]
            for one in known["nodes"]
            if one["alive"] and one["volumes"].get(volume["name"], {}).get("proven")
        ]
    if output.is_data:
        output.data({"volumes": found})
        return
    rows = [_volume_row(volume) for volume in found]
    output.table(VOLUME_COLUMNS, rows, "No volume is configured.")


def _volume_row(volume: dict[str, Any]) -> list[str]:
    jobs = "paused" if volume["at_rest"] else "run"
    lists = [", ".join(volume["nodes"]) or "none", ", ".join(volume["capabilities"])]
    return [volume["name"], volume["backend"], jobs, *lists]


@volumes.command()
@click.argument("name", metavar="VOLUME")
@manager_options
def pause(door: Manager, *, name: str, output: Output) -> None:
    """Pause all jobs of a volume."""
    path = f"/v1/volumes/{quote(name, safe='')}/pause"
    _post(door, path, {"volume": name, "paused": True}, output)


@volumes.command()
@click.argument("name", metavar="VOLUME")
@manager_options
def resume(door: Manager, *, name: str, output: Output) -> None:
    """Let the jobs of a volume continue."""
    path = f"/v1/volumes/{quote(name, safe='')}/resume"
    _post(door, path, {"volume": name, "paused": False}, output)


@volumes.command()
@click.argument("name", metavar="VOLUME")
@click.argument("limit", required=False, callback=lambda _context, _parameter, word: _limit(word))
@manager_options
def bandwidth(door: Manager, *, name: str, limit: tuple[int | None] | None, output: Output) -> None:
    """Show the bandwidth limit of a volume (bytes per second), and what shares it.

    With LIMIT, set it first: bytes, or a number with k, m, g or t ("200m"); "none" lifts the limit.
    It limits running jobs, downloads, archives and uploads, all together.
    """
    path = f"/v1/volumes/{quote(name, safe='')}/bandwidth"
    if limit is not None:
        door.request_json("PUT", path, json={"bytes_per_second": limit[0]})
    found = door.request_json("GET", path)
    if output.is_data:
        output.data({"volume": name, **found})
        return
    limit_text = _amount(found["bytes_per_second"], output, "/s") or "none"
    shares = ["none" if found[word] is None else str(found[word]) for word in ("jobs", "streams")]
    output.table(BANDWIDTH_COLUMNS, [[name, limit_text, *shares]], "")


@volumes.command("purge-rate")
@click.argument("name", metavar="VOLUME")
@click.argument("limit", required=False, callback=lambda _context, _parameter, word: _rate(word))
@manager_options
def purge_rate(
    door: Manager, *, name: str, limit: tuple[int | None] | None, output: Output
) -> None:
    """Show what limits the purges of a volume (entries per second), and how fast they go.

    With LIMIT, set it first: a number that the running purges share; "none" lifts the limit.
    """
    path = f"/v1/volumes/{quote(name, safe='')}/purge-rate"
    if limit is not None:
        door.request_json("PUT", path, json={"entries_per_second": limit[0]})
    found = door.request_json("GET", path)
    if output.is_data:
        output.data({"volume": name, **found})
        return
    words = ["entries_per_second", "each_entries_per_second"]
    limits = ["none" if found[word] is None else f"{found[word]:g}" for word in words]
    observed = found["observed_entries_per_second"]
    speed = "unknown" if observed is None else f"{observed:.1f}"
    row = [name, *limits, str(found["purges"]), speed, found["as_of"] or "unknown"]
    output.table(PURGE_COLUMNS, [row], "")


@volumes.command()
@click.argument("name", metavar="VOLUME")
@click.option("--new", is_flag=True, help="Give the file system another id, as a copy needs.")
@click.option(
    "--config",
    "file",
    type=click.Path(path_type=Path),
    help="The configuration file; searched like the node does when absent.",
)
def adopt(name: str, file: Path | None, *, new: bool) -> None:
    """Take what is mounted on this node now for the volume.

    Run it on a node that mounts the volume, after a disk was replaced on purpose. Every node then
    serves the volume only where it finds this file system.
    """
    from backends.base import MountedBackend  # noqa: PLC0415 - no other command pays for it
    from backends.fs import descriptors, translated  # noqa: PLC0415 - see above
    from backends.volumes import MarkerIdentity, Volumes  # noqa: PLC0415 - see above

    try:
        settings = load(file.absolute() if file else None)
        mounted = Volumes(settings).get(name).skill(MountedBackend)
        if mounted is None:
            raise click.UsageError(f"Volume {name} is no mounted directory; it has no id.")
        with translated(), descriptors.opened(str(mounted.mount.path)) as root:
            found = MarkerIdentity(settings, name).adopt(root, new=new)
    except StorageError as error:
        raise click.ClickException(error.detail) from None
    click.echo(f"Volume {name} is the file system with the id {found} now.")


def _limit(word: str | None) -> tuple[int | None] | None:
    if word is None:
        return None
    try:
        return (None if word == "none" else size_bytes(word),)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def _rate(word: str | None) -> tuple[int | None] | None:
    if word in (None, "none"):
        return (None,) if word else None
    if not (word.isascii() and word.isdecimal() and int(word) > 0):
        raise click.BadParameter(f"{word!r} is not a number of entries per second, or none")
    return (int(word),)


def _amount(number: int | None, output: Output, per: str = "") -> str:
    """Return a size: with a unit for people, in bytes for pipes; empty where it is not known."""
    if number is None:
        return ""
    return f"{size_text(number)}{per}" if output.for_people else str(number)


def _list_by_default(context: click.Context, command: click.Command) -> None:
    """Run the list command of a group; its options come from the environment."""
    with command.make_context("list", [], parent=context) as below:
        command.invoke(below)


def _post(door: Manager, path: str, done: dict[str, Any], output: Output) -> None:
    door.request_json("POST", path)
    if output.is_data:
        output.data(done)
    elif output.for_people:
        what, state = ((key, done[key]) for key in done)
        word = state[0] if state[1] else f"not {state[0]}"
        click.echo(f"{what[0]} {what[1]} is {word}")


COLUMNS = ("id", "vfolder", "deleted", "kept until", "size", "entries", "restorable")


@click.group()
@door_group
def trash() -> None:
    """Deleted vfolders that are kept; `vfolder jobs submit restore` restores one."""


@trash.command("list")
@click.argument("volume")
@click.argument("scope")
@manager_options
def list_trash(door: Manager, *, volume: str, scope: str, output: Output) -> None:
    """List the trash of a quota scope."""
    path = f"/v1/volumes/{quote(volume, safe='')}/scopes/{quote(scope, safe='')}/trash"
    found = door.request_json("GET", path)
    if output.is_data:
        output.data(found)
        return
    rows = [
        [
            *(deleted[name] for name in ("id", "vfolder", "deleted_at", "expires_at")),
            _amount(deleted["size_bytes"], output),
            "" if deleted["entries"] is None else str(deleted["entries"]),
            "yes" if deleted["restorable"] else "no",
        ]
        for deleted in found["trash"]
    ]
    output.table(COLUMNS, rows, f"The trash of {scope} on {volume} is empty.")
