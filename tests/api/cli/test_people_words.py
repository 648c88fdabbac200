"""People's commands without a door: names, the progress line, exit statuses."""

from typing import Any

import pytest

from api.cli.forms import Output
from api.cli.people.calls import exit_status, refusal_of
from api.cli.people.progress import TransferLine
from api.cli.people.remote_names import parsed
from core.names import progress_text
from vfolder_client import TransferProgress, errors

ID = "6a3ce8b1-1b2c-4d5e-8f90-0123456789ab"


@pytest.mark.parametrize(
    ("text", "vfolder", "path", "is_directory"),
    [
        ("corpus:", "corpus", "", False),
        ("corpus:a/b", "corpus", "a/b", False),
        ("corpus:/a//b/", "corpus", "a/b", True),
        ("corpus:a:b", "corpus", "a:b", False),
        ("my corpus 2026:x", "my corpus 2026", "x", False),
        (f"{ID}:a", ID, "a", False),
        (f"local:{ID}", f"local:{ID}", "", False),
        (f"local:{ID}:a/b", f"local:{ID}", "a/b", False),
        (f"corpus:./{ID}", "corpus", ID, False),
        ("corpus:../x", "corpus", "../x", False),
    ],
)
def test_remote_names(text: str, vfolder: str, path: str, is_directory: bool) -> None:  # noqa: FBT001 - a column of the table
    found = parsed(text)
    assert found is not None
    assert (found.vfolder, found.path, found.is_directory) == (vfolder, path, is_directory)


@pytest.mark.parametrize("text", ["a", "a/b:c", "./a:b", "/a/b:c", ":a", ""])
def test_local_names(text: str) -> None:
    assert parsed(text) is None


def test_names_below_and_last_parts() -> None:
    found = parsed("corpus:a")
    assert found is not None
    assert str(found.below("b")) == "corpus:a/b"
    assert found.name == "a"
    root = parsed(f"local:{ID}")
    assert root is not None
    assert (str(root.below("b")), root.name) == (f"local:{ID}:b", ID)


def figures(line: TransferLine, *steps: tuple[float, int]) -> dict[str, Any]:
    for seconds, moved in steps:
        progress = TransferProgress("upload", moved + 100, 1100, 1, 3, 0, seconds, moved)
        line._remember(progress)
    return line._data(progress)


def test_the_rate_is_that_of_the_last_seconds() -> None:
    data = figures(TransferLine(Output()), *((float(at), 10 * at) for at in range(1, 41)))
    assert data["bytes_per_second"] == pytest.approx(10)
    assert data["eta_seconds"] == 60
    assert data["percent"] == pytest.approx(100 * 500 / 1100)
    assert progress_text(data) == "upload 45%  0.5/1.1 KiB  10 B/s  eta 1m00s  1/3 files"


def test_nothing_is_guessed_at_the_begin() -> None:
    line = TransferLine(Output())
    progress = TransferProgress("download", 0, None, 0, None, 0, 0.0, 0)
    line._remember(progress)
    data = line._data(progress)
    assert [data[name] for name in ("percent", "bytes_per_second", "eta_seconds")] == [None] * 3
    assert progress_text(data) == "download"


def test_what_stands_still_says_so() -> None:
    data = figures(TransferLine(Output()), (1.0, 500), (90.0, 500))
    assert data["stalled_seconds"] == 89
    assert "stalled 1m29s" in progress_text(data)
    assert data["eta_seconds"] is None


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.problem_of(401, {}), 5),
        (errors.problem_of(403, {}), 5),
        (errors.problem_of(404, {}), 6),
        (errors.problem_of(507, {}), 7),
        (errors.problem_of(422, {"type": "/problems/storage/quota/exceeded"}), 7),
        (errors.problem_of(400, {}), 2),
        (errors.problem_of(503, {}), 1),
        (errors.NotConnected("away"), 1),
        (errors.ContextError("none"), 2),
        (errors.JobFailed("failed", {"state": "failed"}), 1),
        (errors.JobFailed("partial", {"state": "partial"}), 3),
        (errors.JobFailed("cancelled", {"state": "cancelled"}), 4),
        (FileNotFoundError(2, "No such file"), 1),
    ],
)
def test_exit_statuses(error: Exception, status: int) -> None:
    assert exit_status(error) == status


def test_an_error_says_what_is_wrong_and_what_to_do() -> None:
    members = {
        "type": "/problems/storage/vfolder/not-found",
        "detail": "No such vfolder.",
        "error_code": "vfolder_read_not-found",
        "errors": [{"pointer": "/name", "detail": "is unknown"}],
    }
    refused = refusal_of(errors.problem_of(404, members))
    assert refused.message == "No such vfolder. [vfolder_read_not-found]"
    assert refused.fields == ("/name: is unknown",)
    assert "vfolder ls" in refused.hint
