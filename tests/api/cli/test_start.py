"""The command line starts quickly: a command loads what it uses, and no more."""

import subprocess
import sys

import pytest
from click.testing import CliRunner

from api.cli import main
from tests.support.node import ROOT

#: What no command of people needs, and `--version` even less.
SLOW = {"redis", "flask", "celery", "msgspec", "jwt", "boto3", "rich", "core.settings", "core.jobs"}


@pytest.mark.parametrize("words", [("--version",), ("completion", "bash")])
def test_short_commands_load_little(words: tuple[str, ...]) -> None:
    program = (
        "import sys\n"
        "from api.cli import main\n"
        "try:\n"
        "    main(sys.argv[1:])\n"
        "except SystemExit:\n"
        "    pass\n"
        "print(' '.join(sys.modules), file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert set(done.stderr.split()) & SLOW == set()


def test_each_command_is_where_the_table_says() -> None:
    for name in main.commands:
        assert main.commands[name].name == name


def test_an_unknown_command_is_a_usage_error() -> None:
    assert CliRunner().invoke(main, ["nonsense"]).exit_code == 2
