"""The command `vfolder simulate`."""

import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType
from typing import NoReturn

import click

from simulators.rules import Rule, RuledFaults, WrongRule, parsed
from simulators.serving import Entry
from simulators.versions import VERSIONS
from simulators.volume import SimulatedVolume, simulated

_PAUSE_SECONDS = 0.2
_FORMS = "ACTION[:LIMIT=VALUE,…]"


def _rule(text: str) -> Rule:
    try:
        return parsed(text)
    except WrongRule as error:
        raise click.BadParameter(str(error)) from None


@click.command()
@click.argument("name", type=click.Choice(list(VERSIONS)))
@click.option("--profile", "version", help="The release of the array; the newest when left out.")
@click.option(
    "--fault",
    "rules",
    multiple=True,
    metavar=_FORMS,
    callback=lambda _context, _parameter, words: [_rule(word) for word in words],
    help="What goes wrong, such as status:status=503,every=10; may be given several times.",
)
@click.option("--seed", default=0, help="Chooses the requests of rules with a probability.")
@click.option(
    "--root",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="The directory that is mounted; one of its own, removed at the end, when left out.",
)
@click.option("--port", default=0, help="Where the array listens; a free port when left out.")
@click.option("-v", "--verbose", is_flag=True, help="Print each request.")
def main(
    name: str,
    version: str | None,
    rules: list[Rule],
    *,
    seed: int,
    root: Path | None,
    port: int,
    verbose: bool,
) -> None:
    """Run a simulated array, so that a configuration can be tried without one.

    NAME is the name of a backend. Printed are the address and the tables of the configuration. The
    array serves until Ctrl-C. It keeps its directories on this machine: on btrfs, for root, limits
    stop writers; elsewhere they are only counted.

    A rule of --fault is an action (delay, drop_after_effect, drop_before, empty_200,
    expire_all_tokens, html_502, html_502_after_effect, slow_body, status, stuck_body, truncate,
    wrong_json) and what limits it: method, path (a regular expression), nth, every, after_s,
    probability, times; status and seconds say what the action needs.
    """
    versions = VERSIONS[name]
    chosen = next(iter(versions)) if version is None else version
    if chosen not in versions:
        known = ", ".join(versions)
        raise click.UsageError(f"{name} has no profile {chosen}; profiles are: {known}.")
    with TemporaryDirectory(prefix="vfolder-simulate-") as given:
        directory = Path(given)
        directory.chmod(0o755)  # the user of the doors reads the certificate
        top = root.absolute() if root else directory / "volume"
        top.mkdir(exist_ok=True)
        faults = RuledFaults(rules, seed)
        try:
            with _ending(), simulated(name, directory, top, chosen, faults, port=port) as volume:
                _show(volume, chosen)
                _serve(volume, verbose=verbose)
        except OSError as error:
            raise click.ClickException(f"It cannot start: {error.strerror}.") from error


def _show(volume: SimulatedVolume, version: str) -> None:
    where = f" at {volume.address}" if volume.address else ""
    click.echo(f"# {volume.name} {version}{where}; Ctrl-C ends it\n{volume.table}", nl=False)
    if volume.secret_file is not None:
        click.echo("# and in the environment of every process of the service:")
        click.echo(f"# export {volume.variable}={volume.secret_file}")
    if not volume.enforces:
        click.echo("# limits stop no writer in this directory")
    sys.stdout.flush()


def _serve(volume: SimulatedVolume, *, verbose: bool) -> None:
    while True:
        time.sleep(_PAUSE_SECONDS)
        for entry in volume.taken_requests():
            if verbose:
                click.echo(_line(entry), err=True)


def _line(entry: Entry) -> str:
    answer = f"{entry.status}" if entry.status else "no answer"
    return f"{entry.method} {entry.path} {answer}{f' ({entry.fault})' if entry.fault else ''}"


@contextmanager
def _ending() -> Iterator[None]:
    """End the block by Ctrl-C and by SIGTERM, which is how it ends."""
    before: Callable[[int, FrameType | None], object] | int | None
    before = signal.signal(signal.SIGTERM, _end)
    try:
        yield
    except KeyboardInterrupt:
        pass
    finally:
        signal.signal(signal.SIGTERM, before)


def _end(number: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    main(prog_name="vfolder simulate")
