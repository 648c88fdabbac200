"""The commands `vfolder ls`, `stat`, `cat`, `mkdir`, `mv`, `rm` and `du`."""

import sys
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from api.cli.forms import ABSENT, FAILED, PARTIAL, USAGE, ApiRefused, Output
from api.cli.output import text_of
from api.cli.people.calls import client_options, note
from api.cli.people.follow import follow
from api.cli.people.progress import JobLine
from api.cli.people.remote_names import Folders, Remote, RemoteName
from core.names import printable, size_text, text_of_moment

if TYPE_CHECKING:  # loading it takes longer than to print the help of a command
    from vfolder_client import Client, Entry, Job, VFolder

_MARKS = {"directory": "/", "symlink": "@"}
_VFOLDER_COLUMNS = ("name", "volume", "permission", "owner", "used", "id")
_ENTRY_COLUMNS = ("kind", "size", "modified", "name")
_REMOVED_COLUMNS = ("job", "removed", "kept until", "size", "entries")
#: Removed paths of one job that a table names.
_PATHS_SHOWN = 3
_RAW = click.option("-0", "raw", is_flag=True, help="Names as they are, each with a NUL behind it.")
_CHUNK_BYTES = 1024 * 1024


# -- Look ------------------------------------------------------------------------------------------
@click.command()
@click.argument("entries", nargs=-1, type=Remote(), metavar="[NAME:PATH]...")
@click.option("-l", "long", is_flag=True, help="Also kind, size and time of modification.")
@click.option("-R", "recursive", is_flag=True, help="Also everything below.")
@click.option("--trashed", is_flag=True, help="The trash: vfolders, or what was removed of NAME.")
@_RAW
@client_options
def ls(
    client: "Client",
    *,
    entries: Sequence[RemoteName],
    long: bool,
    recursive: bool,
    trashed: bool,
    raw: bool,
    output: Output,
) -> None:
    """List vfolders, or the entries of directories."""
    if not entries:
        _list_vfolders(client.vfolders(trashed=True if trashed else None), output, raw=raw)
        return
    folders = Folders(client)
    if trashed:
        _list_removed([folders.of(one) for one in entries], output)
        return
    shown = _EntryPrinter(output, raw=raw, long=long or output.is_wide)
    for name in entries:
        if len(entries) > 1 and not (output.is_data or raw):
            click.echo(printable(f"{name}:"))
        shown.show(_found(folders.of(name), name, recursive=recursive), below=name.path)


def _found(folder: "VFolder", name: RemoteName, *, recursive: bool) -> "Iterable[Entry]":
    """Return what a name lists: the entries of a directory, or the entry itself."""
    entry = folder.stat(name.path)
    if not entry.is_directory:
        return [entry]
    return folder.walk(name.path) if recursive else folder.list(name.path)


class _EntryPrinter:
    """Prints entries as they come; a table on a terminal waits for all of them."""

    def __init__(self, output: Output, *, raw: bool, long: bool) -> None:
        self._output = output
        self._raw = raw
        self._long = long

    def show(self, entries: "Iterable[Entry]", below: str) -> None:
        """Print the entries; names are relative to the directory `below`."""
        if self._output.is_data:
            for entry in entries:
                self._output.data({"path": entry.path, **entry.document})
        elif self._raw:
            for entry in entries:
                sys.stdout.buffer.write(_bytes(_relative(entry, below)) + b"\0")
        elif self._long:
            rows = [self._row(entry, _relative(entry, below)) for entry in entries]
            self._output.table(_ENTRY_COLUMNS, rows, "The directory is empty.")
        else:
            for entry in entries:
                mark = _MARKS.get(entry.kind, "") if self._output.for_people else ""
                click.echo(printable(_relative(entry, below)) + mark)

    def _row(self, entry: "Entry", name: str) -> list[str]:
        size = "-" if entry.size_bytes is None else str(entry.size_bytes)
        if self._output.for_people and entry.size_bytes is not None:
            size = size_text(entry.size_bytes)
        arrow = f" -> {entry.symlink_target}" if entry.symlink_target else ""
        return [entry.kind, size, _moment(entry.modified_at), f"{name}{arrow}"]


def _relative(entry: "Entry", below: str) -> str:
    return entry.path.removeprefix(f"{below}/") if below != entry.path else entry.name


def _bytes(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")


def _moment(value: datetime | None) -> str:
    return text_of_moment(value) or "-"


def _list_vfolders(found: "Iterator[VFolder]", output: Output, *, raw: bool) -> None:
    infos = [one.info() for one in found]
    if output.is_data:
        for info in infos:
            output.data(info.document)
        return
    if raw:
        for info in infos:
            sys.stdout.buffer.write(_bytes(info.name or info.reference) + b"\0")
        return
    rows = [
        [
            info.name or "-",
            info.volume,
            info.permission,
            info.owner_name or info.owner,
            "-" if info.used_bytes is None else size_text(info.used_bytes),
            info.id,
        ]
        for info in infos
    ]
    output.table(_VFOLDER_COLUMNS, rows, "You see no vfolder; `vfolder folder create` makes one.")


def _list_removed(found: "Iterable[VFolder]", output: Output) -> None:
    removed = [one for folder in found for one in folder.trash.list()]
    if output.is_data:
        for one in removed:
            output.data(one.document)
        return
    rows = [
        [
            one.id,
            _moment(one.removed_at),
            _moment(one.expires_at),
            "-" if one.size_bytes is None else size_text(one.size_bytes),
            ", ".join(one.paths[:_PATHS_SHOWN])
            + (f" and {one.count - _PATHS_SHOWN} more" if one.count > _PATHS_SHOWN else ""),
        ]
        for one in removed
    ]
    output.table(_REMOVED_COLUMNS, rows, "Nothing that was removed can be restored.")


@click.command()
@click.argument("entries", nargs=-1, required=True, type=Remote(), metavar="NAME:PATH...")
@client_options
def stat(client: "Client", *, entries: Sequence[RemoteName], output: Output) -> None:
    """Show what is known of entries; of a vfolder without a path, its record."""
    folders = Folders(client)
    for name in entries:
        folder = folders.of(name)
        if name.path:
            entry = folder.stat(name.path)
            document = {"path": entry.path, **entry.document, "etag": entry.etag}
        else:
            document = dict(folder.info().document)
        if output.is_data:
            output.data(document)
        else:
            _show_facts(document)


def _show_facts(document: dict[str, Any], above: str = "") -> None:
    for name, value in document.items():
        if isinstance(value, dict):
            if name != "links_to":
                _show_facts(value, f"{above}{name}.")
        elif value not in (None, "", []):
            text = f"{value:o}" if name == "mode" else text_of(value, name)
            click.echo(f"{above}{name}: {printable(text)}")


@click.command()
@click.argument("entries", nargs=-1, required=True, type=Remote(), metavar="NAME:PATH...")
@click.option("--range", "span", help="These bytes only: FIRST-LAST, from 0; LAST may be absent.")
@click.option("--tail", type=click.IntRange(0), help="The last bytes only, so many.")
@click.option(
    "-f", "--follow", "follows", is_flag=True, help="Go on with what is added, as tail -f."
)
@client_options
def cat(
    client: "Client",
    *,
    entries: Sequence[RemoteName],
    span: str | None,
    tail: int | None,
    follows: bool,
    output: Output,  # noqa: ARG001 - content is what it is
) -> None:
    """Print the content of files. With -f it goes on until it is interrupted."""
    first, last = _span(span)
    folders = Folders(client)
    if follows:
        if len(entries) > 1 or span is not None:
            raise click.UsageError("-f is for one file, and not with --range.")
        follow(folders.of(entries[0]), entries[0], tail)
    for name in entries:
        with folders.of(name).open(name.path) as file:
            size = file.raw.size  # type: ignore[attr-defined] # a BufferedReader around ours
            begin = max(0, size - tail) if tail is not None else first
            end = size if last is None or tail is not None else min(size, last + 1)
            file.seek(begin)
            while begin < end and (data := file.read(min(_CHUNK_BYTES, end - begin))):
                begin += len(data)
                sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def _span(text: str | None) -> tuple[int, int | None]:
    first, dash, last = (text or "0-").partition("-")
    if not dash or not first.isdecimal() or not (last.isdecimal() or not last):
        raise click.UsageError(f"{text} is no range; write FIRST-LAST, for instance 0-1023.")
    return int(first), int(last) if last else None


@click.command()
@click.argument("entries", nargs=-1, required=True, type=Remote(), metavar="NAME[:PATH]...")
@client_options
def du(client: "Client", *, entries: Sequence[RemoteName], output: Output) -> None:
    """Count the files and bytes below directories, by a look at each of them.

    `vfolder stat NAME` shows the last figures of a vfolder without a count.
    """
    folders = Folders(client)
    rows = []
    for name in entries:
        files, size = _counted(folders.of(name), name.path)
        if output.is_data:
            document = {"vfolder": name.vfolder, "path": name.path}
            output.data({**document, "files": files, "size_bytes": size})
        else:
            shown = size_text(size) if output.for_people else str(size)
            rows.append([shown, str(files), str(name)])
    if not output.is_data:
        output.table(("size", "files", "entry"), rows, "")


def _counted(folder: "VFolder", path: str) -> tuple[int, int]:
    entry = folder.stat(path)
    found = folder.walk(path) if entry.is_directory else [entry]
    sizes = [one.size_bytes or 0 for one in found if one.is_file]
    return len(sizes), sum(sizes)


# -- Change ----------------------------------------------------------------------------------------
@click.command()
@click.argument("entries", nargs=-1, required=True, type=Remote(), metavar="NAME:PATH...")
@click.option("-p", "--parents", is_flag=True, help="Also make what is missing above; none fails.")
@client_options
def mkdir(
    client: "Client", *, entries: Sequence[RemoteName], parents: bool, output: Output
) -> None:
    """Make directories."""
    folders = Folders(client)
    wrong = 0
    for name in entries:
        folder = folders.of(name)
        if not parents and folder.exists(name.path):
            raise ApiRefused(f"{name} exists.", "leave it, or use -p")
        (result,) = folder.mkdir(name.path, parents=parents)
        if output.is_data:
            output.data({"path": result.path, "problem": result.problem})
        if result.problem is not None:
            wrong += 1
            note(f"{name}: {result.problem.get('detail')}")
    if wrong:
        sys.exit(FAILED if wrong == len(entries) else PARTIAL)


@click.command()
@click.argument("sources", nargs=-1, required=True, type=Remote(), metavar="NAME:PATH...")
@click.argument("target", type=Remote(), metavar="NAME:PATH")
@click.option("-f", "--force", is_flag=True, help="Replace a file that has the name.")
@click.option("--no-wait", is_flag=True, help="Between vfolders: print the ids of the jobs, leave.")
@client_options
def mv(
    client: "Client",
    *,
    sources: Sequence[RemoteName],
    target: RemoteName,
    force: bool,
    no_wait: bool,
    output: Output,
) -> None:
    """Rename an entry, or move entries into a directory.

    Between vfolders each SOURCE is moved by one job: it is copied, compared, and what arrived goes
    to the trash of its vfolder for 7 days. What changed meanwhile stays.
    """
    folders = Folders(client)
    folder = folders.of(target)
    into = is_directory(folder, target)
    if len(sources) > 1 and not into:
        raise ApiRefused(f"{target} is no directory.", "several entries need one", USAGE)
    for name in sources:
        to = target.below(name.name) if into else target
        source = folders.of(name)
        if source.is_same(folder):
            folder.move(name.path, to.path, overwrite=force)
            continue
        on_conflict = "replace" if force else "fail"
        job = source.move_to(folder, name.path, to.path, on_conflict=on_conflict)
        _show_job(job, output, no_wait=no_wait)


def _show_job(job: "Job", output: Output, *, no_wait: bool) -> None:
    """Follow a job that removes entries to its end, or print its id."""
    if no_wait:
        output.data(job.document) if output.is_data else click.echo(job.id)
        return
    ended = JobLine(output).follow(job)
    if output.is_data:
        output.data(ended.document)
    elif ended.result.get("trash"):
        note(f"`vfolder undo {ended.id}` brings back what was removed")


def is_directory(folder: "VFolder", name: RemoteName) -> bool:
    """Return whether a name is an existing directory.

    Raises:
        ApiRefused: it has a slash at its end, and is none.
    """
    from vfolder_client.errors import EntryNotFound  # noqa: PLC0415 - see above

    try:
        found = not name.path or folder.stat(name.path).is_directory
    except EntryNotFound:
        found = False
    if name.is_directory and not found:
        raise ApiRefused(f"{name} is no directory.", f"`vfolder mkdir {name}` makes one", ABSENT)
    return found


@click.command()
@click.argument("entries", nargs=-1, required=True, type=Remote(), metavar="NAME:PATH...")
@click.option("-r", "--recursive", is_flag=True, help="Also directories, with all that they have.")
@click.option("-f", "--force", is_flag=True, help="Absent entries are no error.")
@click.option("--now", is_flag=True, help="For good, past the trash; an owner may.")
@click.option("--no-wait", is_flag=True, help="Print the ids of the jobs, and leave.")
@client_options
def rm(
    client: "Client",
    *,
    entries: Sequence[RemoteName],
    recursive: bool,
    force: bool,
    now: bool,
    no_wait: bool,
    output: Output,
) -> None:
    """Remove entries, by a job for each vfolder. `vfolder undo JOB` brings them back for 7 days."""
    folders = Folders(client)
    wanted: dict[str, tuple[VFolder, list[str]]] = {}
    for name in entries:
        folder = folders.of(name)
        if _is_removable(folder, name, recursive=recursive, force=force):
            wanted.setdefault(folder.reference, (folder, []))[1].append(name.path)
    for folder, paths in wanted.values():
        job = folder.remove(
            *paths,
            recursive=recursive,
            keep_seconds=0 if now else None,
            held_seconds=0 if no_wait else 1,
        )
        _show_job(job, output, no_wait=no_wait)


def _is_removable(folder: "VFolder", name: RemoteName, *, recursive: bool, force: bool) -> bool:
    """Return whether there is something to remove.

    Raises:
        ApiRefused: it is a root, or a directory without `-r`.
    """
    from vfolder_client.errors import EntryNotFound  # noqa: PLC0415 - see above

    if not name.path:
        hint = f"`vfolder folder delete {name.vfolder}` moves a vfolder to the trash"
        raise ApiRefused("This is a vfolder, not an entry of it.", hint, USAGE)
    try:
        entry = folder.stat(name.path)
    except EntryNotFound:
        if force:
            return False
        raise
    if entry.is_directory and not recursive:
        raise ApiRefused(f"{name} is a directory.", "remove it with -r", USAGE)
    return True
