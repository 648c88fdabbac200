"""The command `vfolder doctor`: runs the examination, and prints what it found."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import NoReturn

import click
import msgspec

from api.cli.doctor.examination import Died, Hung, examine
from api.cli.doctor.results import CheckResult, Figures, Order
from api.cli.forms import FAILED, INTERRUPTED, OK, Output, output_options
from core.errors import ConfigurationError
from core.names import took
from core.settings import find, load, size_bytes

_COLUMNS = ("check", "status", "found")
_WIDE_COLUMNS = ("check", "status", "took", "figures", "found")
_DEFAULT_SECONDS = 120.0
_SIZE = "256m"


@click.command()
@click.argument("volume", shell_complete=lambda _context, _parameter, word: _volumes(word))
@click.option("--write", is_flag=True, help="Also make a quota scope of its own, and remove it.")
@click.option(
    "--size",
    default=_SIZE,
    show_default=True,
    callback=lambda _context, _parameter, word: _bytes(word),
    help="Bytes that the check of speed writes.",
)
@click.option(
    "--deadline",
    "seconds",
    type=click.FloatRange(min=0.1),
    default=_DEFAULT_SECONDS,
    show_default=True,
    help="Seconds that one check may take.",
)
@click.option(
    "--config",
    "file",
    type=click.Path(path_type=Path),
    help="The configuration file; searched like the node does when absent.",
)
@output_options
@click.pass_context
def doctor(
    context: click.Context,
    volume: str,
    file: Path | None,
    seconds: float,
    *,
    size: int,
    write: bool,
    output: Output,
) -> None:
    """Check VOLUME on this node: mount, credentials, rights, quota, snapshot, clone, speed.

    Run it on a node that mounts the volume, as the user that runs the workers. No other process of
    the service needs to run. Without --write nothing is changed, on the mount and on the storage
    system. With --write everything happens in a quota scope of this command, which is removed at
    the end. What a killed run left is removed by the next one.

    Each check is ok, not available (with the reason), or wrong (with what to change). The exit
    status is 1 when something is wrong.
    """
    order = _order(volume, file, Order("", "", write=write, big_bytes=size))
    examination = _Examination(order, seconds)
    with _interruptible():
        interrupted = examination.run()
    _show(examination, output)
    if interrupted:
        context.exit(INTERRUPTED)
    context.exit(FAILED if examination.is_wrong else OK)


def _volumes(begin: str) -> list[str]:
    """Return the volumes of the configuration whose names begin so, for a shell."""
    try:
        return [name for name in load(find(), ask_etcd=False).volume if name.startswith(begin)]
    except ConfigurationError:
        return []


def _bytes(word: str) -> int:
    try:
        return size_bytes(word)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def _order(volume: str, file: Path | None, order: Order) -> Order:
    """Return the order, after a check of the file and of the volume's name."""
    try:
        path = (file or find()).absolute()
        settings = load(path, ask_etcd=False)
    except ConfigurationError as error:
        raise click.ClickException(error.detail) from None
    if volume not in settings.volume:
        known = ", ".join(sorted(settings.volume)) or "none"
        raise click.UsageError(f"There is no [volume.{volume}]; the volumes are: {known}.")
    return msgspec.structs.replace(order, volume=volume, config=str(path))


class _Examination:
    """One run: its results, also when it ends early."""

    def __init__(self, order: Order, seconds: float) -> None:
        self.order = order
        self.results: list[CheckResult] = []
        self._seconds = seconds

    @property
    def is_wrong(self) -> bool:
        """Whether something is wrong."""
        return any(one.status == "wrong" for one in self.results)

    def run(self) -> bool:
        """Make the checks, and clean up after an early end; return whether it was interrupted."""
        interrupted = False
        try:
            self._collect(self.order)
        except KeyboardInterrupt:
            interrupted = True
        if self.order.write and not self._has_ended:
            try:
                self._collect(msgspec.structs.replace(self.order, write=False, clean=True))
            except KeyboardInterrupt:
                interrupted = True
                self._add("removal", "It was interrupted; the quota scope may be left.")
        return interrupted

    @property
    def _has_ended(self) -> bool:
        return any(one.check == "removal" for one in self.results)

    def _collect(self, order: Order) -> None:
        try:
            self.results += examine(order, self._seconds, _announce)
        except Hung as hung:
            self._add(
                hung.check or "start",
                f"No answer within {self._seconds:g} s: the storage hangs.",
                "See why the mount or the storage system does not answer; a longer --deadline "
                "waits longer.",
            )
        except Died as death:
            self._add(death.check or "start", f"The examining process ended by {death.status}.")

    def _add(self, check: str, text: str, change: str = "") -> None:
        again = f"Run `vfolder doctor {self.order.volume} --write` again, which removes leftovers."
        seconds = self._seconds if change else 0.0
        self.results.append(CheckResult(check, "wrong", text, change or again, seconds))


def _announce(check: str) -> None:
    """Name the check that begins, for a person who waits."""
    if sys.stderr.isatty():
        click.echo(f"checking {check} …", err=True)


@contextmanager
def _interruptible() -> Iterator[None]:
    """Let SIGTERM do what Ctrl-C does."""
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    del number, frame
    raise KeyboardInterrupt


def _show(examination: _Examination, output: Output) -> None:
    order = examination.order
    if output.is_data:
        output.data(
            {
                "volume": order.volume,
                "write": order.write,
                "ok": not examination.is_wrong,
                "checks": [msgspec.to_builtins(one) for one in examination.results],
            }
        )
        return
    rows = [_row(one, wide=output.is_wide) for one in examination.results]
    output.table(_WIDE_COLUMNS if output.is_wide else _COLUMNS, rows, "No check was made.")


def _row(result: CheckResult, *, wide: bool) -> list[str]:
    found = f"{result.text} Change: {result.change}" if result.change else result.text
    if not wide:
        return [result.check, result.status, found]
    return [result.check, result.status, took(result.seconds), _text(result.figures), found]


def _text(figures: Figures) -> str:
    return ", ".join(f"{name} {value}" for name, value in figures.items()) or "none"
