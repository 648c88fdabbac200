"""The commands `vfolder cp`, `upload` and `download`."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from api.cli.forms import FAILED, PARTIAL, USAGE, ApiRefused, Output
from api.cli.people.calls import client_options, exit_status, note
from api.cli.people.entries import is_directory
from api.cli.people.progress import TransferLine
from api.cli.people.remote_names import Folders, Remote, RemoteName, RemoteOrLocal
from core.names import counted, size_text

if TYPE_CHECKING:  # loading it takes longer than to print the help of a command
    from vfolder_client import Client, TransferResult

_EXISTING = click.Path(exists=True, path_type=Path)
PARALLEL = click.option(
    "-j",
    "--parallel",
    type=click.IntRange(1, 64),
    default=4,
    show_default=True,
    help="Requests side by side.",
)
NO_RESUME = click.option(
    "--no-resume", is_flag=True, help="Begin again; use nothing that is there."
)
_NO_CLOBBER = click.option("-n", "--no-clobber", is_flag=True, help="Replace nothing.")
#: Left out entries and errors that are printed one by one.
_SHOWN_MAX = 20


@dataclass(frozen=True, slots=True)
class _Options:
    """How entries are copied."""

    recursive: bool
    parallel: int
    resume: bool
    overwrite: bool
    skip_same: bool = False


@click.command()
@click.argument("sources", nargs=-1, required=True, type=RemoteOrLocal(), metavar="SOURCE...")
@click.argument("target", type=RemoteOrLocal(), metavar="TARGET")
@click.option("-r", "--recursive", is_flag=True, help="Also directories.")
@PARALLEL
@NO_RESUME
@_NO_CLOBBER
@client_options
def cp(
    client: "Client",
    *,
    sources: Sequence[RemoteName | Path],
    target: RemoteName | Path,
    recursive: bool,
    parallel: int,
    no_resume: bool,
    no_clobber: bool,
    output: Output,
) -> None:
    """Copy files: from here to a vfolder, from a vfolder to here, or between vfolders.

    A remote name is NAME:path, a local one has no colon before its first slash. A copy between
    vfolders passes through this machine.
    """
    if not any(isinstance(one, RemoteName) for one in (*sources, target)):
        raise ApiRefused("No name is remote.", "write NAME:path for an entry of a vfolder", USAGE)
    options = _Options(recursive, parallel, not no_resume, not no_clobber)
    _CopyCommand(client, output, options).run(sources, target)


@click.command()
@click.argument("sources", nargs=-1, required=True, type=_EXISTING, metavar="LOCAL...")
@click.argument("target", type=Remote(), metavar="NAME[:PATH]")
@click.option(
    "--skip-same",
    is_flag=True,
    help="Leave files of directories that are there with the same size, and newer.",
)
@PARALLEL
@NO_RESUME
@_NO_CLOBBER
@client_options
def upload(
    client: "Client",
    *,
    sources: Sequence[Path],
    target: RemoteName,
    skip_same: bool,
    parallel: int,
    no_resume: bool,
    no_clobber: bool,
    output: Output,
) -> None:
    """Upload files and directories. An interrupted upload goes on where it was."""
    options = _Options(
        recursive=True,
        parallel=parallel,
        resume=not no_resume,
        overwrite=not no_clobber,
        skip_same=skip_same,
    )
    _CopyCommand(client, output, options).run(sources, target)


@click.command()
@click.argument("sources", nargs=-1, required=True, type=Remote(), metavar="NAME[:PATH]...")
@click.argument("target", type=click.Path(path_type=Path), metavar="LOCAL")
@PARALLEL
@NO_RESUME
@_NO_CLOBBER
@client_options
def download(
    client: "Client",
    *,
    sources: Sequence[RemoteName],
    target: Path,
    parallel: int,
    no_resume: bool,
    no_clobber: bool,
    output: Output,
) -> None:
    """Download files and directories. An interrupted download goes on where it was."""
    options = _Options(
        recursive=True, parallel=parallel, resume=not no_resume, overwrite=not no_clobber
    )
    _CopyCommand(client, output, options).run(sources, target)


class _CopyCommand:
    """The sources of one command, on their way to its target."""

    def __init__(self, client: "Client", output: Output, options: _Options) -> None:
        self._folders = Folders(client)
        self._output = output
        self._options = options

    def run(self, sources: Sequence[RemoteName | Path], target: RemoteName | Path) -> None:
        """Copy all of them; the exit status says whether all came."""
        from vfolder_client import TransferResult  # noqa: PLC0415 - see above

        into = self._is_directory(target)
        if len(sources) > 1 and not into:
            raise ApiRefused(f"{target} is no directory.", "several sources need one", USAGE)
        result, line = TransferResult(), TransferLine(self._output)
        try:
            for source in sources:
                result.add(self._copied(source, _below(target, source) if into else target, line))
        finally:
            line.end()
        _finish(result, self._output)

    def _is_directory(self, target: RemoteName | Path) -> bool:
        if isinstance(target, RemoteName):
            return is_directory(self._folders.of(target), target)
        return target.is_dir()

    def _copied(
        self, source: RemoteName | Path, target: RemoteName | Path, line: TransferLine
    ) -> "TransferResult":
        options: dict[str, Any] = {"overwrite": self._options.overwrite, "on_progress": line}
        if isinstance(source, Path):
            return self._uploaded(source, target, options)
        folder = self._folders.of(source)
        if not self._options.recursive and folder.stat(source.path).is_directory:
            raise _directory_refused(source)
        if isinstance(target, RemoteName):
            to = self._folders.of(target)
            return folder.copy(source.path, target.path, to=to, **options)
        options |= {"parallel": self._options.parallel, "resume": self._options.resume}
        return folder.download(source.path, target, **options)

    def _uploaded(
        self, source: Path, target: RemoteName | Path, options: dict[str, Any]
    ) -> "TransferResult":
        if not isinstance(target, RemoteName):
            raise ApiRefused(f"{source} and {target} are both local.", "use cp(1)", USAGE)
        if source.is_dir() and not self._options.recursive:
            raise _directory_refused(source)
        return self._folders.of(target).upload(
            source,
            target.path,
            parallel=self._options.parallel,
            resume=self._options.resume,
            skip_same=self._options.skip_same,
            **options,
        )


def _directory_refused(source: RemoteName | Path) -> ApiRefused:
    return ApiRefused(f"{source} is a directory.", "copy it with -r", USAGE)


def _below(target: RemoteName | Path, source: RemoteName | Path) -> RemoteName | Path:
    """Return the name of a source in the directory that is the target."""
    name = source.name if isinstance(source, RemoteName) else source.resolve().name
    return target.below(name) if isinstance(target, RemoteName) else target / name


def _finish(result: "TransferResult", output: Output) -> None:
    """Print what was done, and leave with the exit status of it."""
    if output.is_data:
        output.data(result_document(result))
    else:
        click.echo(summary(result), err=True)
    leave_with(result)


def summary(result: "TransferResult") -> str:
    """Return what a transfer did, as a line."""
    unchanged = f", {counted(result.unchanged, 'file')} unchanged" if result.unchanged else ""
    return f"{counted(result.files, 'file')}, {size_text(result.size_bytes)}{unchanged}"


def leave_with(result: "TransferResult") -> None:
    """Name what was left out and what failed; leave with a status of its own where some failed."""
    _name(result.left_out, "left out")
    _name(result.failed, "failed")
    if result.failed:
        some = result.files or result.unchanged
        sys.exit(PARTIAL if some else exit_status(result.failed[0][1]) or FAILED)


def _name(found: Sequence[tuple[str, object]], what: str) -> None:
    for path, reason in found[:_SHOWN_MAX]:
        note(f"{what}: {path}: {reason}")
    if len(found) > _SHOWN_MAX:
        note(f"{what}: {counted(len(found) - _SHOWN_MAX, 'more entry', 'more entries')}")


def result_document(result: "TransferResult") -> dict[str, Any]:
    """Return what a transfer did, for programs."""
    return {
        "files": result.files,
        "size_bytes": result.size_bytes,
        "unchanged": result.unchanged,
        "left_out": [{"path": path, "reason": reason} for path, reason in result.left_out],
        "failed": [{"path": path, "reason": str(error)} for path, error in result.failed],
    }
