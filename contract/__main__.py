"""The command `vfolder contract`."""

import sys
from importlib.util import find_spec
from pathlib import Path

import click

from core.errors import ConfigurationError
from core.settings import find

_HERE = Path(__file__).parent
_NO_PYTEST = "The suite needs pytest: pip install pytest"
_KEPT = "Volume {}: the contract is kept."
_BROKEN = "Volume {}: the contract is broken where a test failed."


@click.command()
@click.argument("volume", metavar="NAME")
@click.option(
    "--config",
    "file",
    type=click.Path(path_type=Path),
    help="The configuration file; searched like the node does when absent.",
)
@click.option("-k", "only", metavar="WORDS", help="Only tests with these words in their name.")
@click.option("-v", "--verbose", is_flag=True, help="Print the name of each test.")
def main(volume: str, file: Path | None, only: str | None, *, verbose: bool) -> None:
    """Prove that the backend of a volume keeps the contract of backends.

    NAME is a volume of the configuration. The suite makes quota scopes of its own on it, and
    removes them. It touches nothing else. A test that needs root, strace or a skill of the backend
    that is not there is skipped and named. The exit status is 0 when no test fails.
    """
    if find_spec("pytest") is None:
        raise click.ClickException(_NO_PYTEST)
    try:
        config = (file or find()).absolute()
        _check(volume, config)
    except ConfigurationError as error:
        raise click.ClickException(error.detail) from None
    status = _run(volume, config, only, verbose=verbose)
    click.echo((_BROKEN if status else _KEPT).format(volume))
    sys.exit(1 if status else 0)


def _check(volume: str, config: Path) -> None:
    """Make the backend once, so that a mistake in the file is one sentence.

    Raises:
        ConfigurationError: the file or an option is wrong, or it has no such volume.
    """
    from contract.site import configured  # noqa: PLC0415 - it needs pytest

    configured(volume, str(config))


def _run(volume: str, config: Path, only: str | None, *, verbose: bool) -> int:
    import pytest  # noqa: PLC0415 - it may be missing

    words = ["-c", "/dev/null", f"--rootdir={_HERE}", "--import-mode=importlib", "-rfE"]
    words += ["-p", "no:cacheprovider", "-p", "no:randomly", "-p", "contract.plugin"]
    words += [f"--volume={volume}", f"--config={config}", "-v" if verbose else "-q"]
    if only:
        words += ["-k", only]
    return int(pytest.main([*words, str(_HERE)]))


if __name__ == "__main__":
    main(prog_name="vfolder contract")
