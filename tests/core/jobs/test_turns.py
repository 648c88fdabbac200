"""Which jobs on one vfolder run together, on a real Valkey: every cell of the page's table."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from core.errors import Locked
from core.jobs import State
from core.jobs.requests import (
    VERBS,
    AdoptRequest,
    AssistRequest,
    CloneRequest,
    DeleteFilesRequest,
    DeleteRequest,
    ExtractRequest,
    FindRequest,
    ImportRequest,
    ModelRevision,
    PurgeRequest,
    Request,
    RescanRequest,
    RestoreRequest,
    SnapshotRequest,
    TransferRequest,
    UsageRequest,
)
from core.jobs.store import Submission
from core.names import VFolderId
from tests.core.jobs.conftest import Desk, folder

PAGE = Path(__file__).parents[3] / "docs/jobs.md"
#: More slots than a test has jobs: only the vfolder makes a job wait.
SLOTS = 10_000
TRASH = "0190e9a2-0000-7000-8000-000000000000"


def snapshot(vfolder: str, **more: str) -> SnapshotRequest:
    return SnapshotRequest(volume="v", vfolder=vfolder, **more)  # type: ignore[arg-type] # keyword passing


#: The roles that a job has on a vfolder: by the words of the table, a request in that role.
ROLES: dict[str, Callable[[str], Request]] = {
    "`clone` from it": lambda v: CloneRequest(volume="v", source=v, target=folder()),
    "`transfer` from it": lambda v: TransferRequest(volume="v", source=v, target=folder()),
    "`transfer` that moves, from it": lambda v: TransferRequest(
        volume="v", source=v, target=folder(), remove_source=True
    ),
    "`usage`": lambda v: UsageRequest(volume="v", vfolder=v),
    "`snapshot` `create`": lambda v: snapshot(v, action="create", name=folder()[-8:]),
    "`snapshot` `list`": lambda v: snapshot(v, action="list"),
    "`snapshot` `restore` from it": lambda v: snapshot(
        v, action="restore", name="s", target=folder()
    ),
    "`clone` to it": lambda v: CloneRequest(volume="v", source=folder(), target=v),
    "`transfer` to it": lambda v: TransferRequest(
        volume="v", source=folder(), target=v, target_path=folder()[-8:]
    ),
    "`extract`": lambda v: ExtractRequest(
        volume="v", vfolder=v, source="a.tar", target=folder()[-8:], archive="tar"
    ),
    "`delete-files`": lambda v: DeleteFilesRequest(volume="v", vfolder=v, paths=["a"]),
    "`delete`": lambda v: DeleteRequest(volume="v", vfolder=v),
    "`restore`": lambda v: RestoreRequest(volume="v", vfolder=v),
    "`purge`": lambda v: PurgeRequest(volume="v", vfolder=v, trash=TRASH),
    "`snapshot` `delete`": lambda v: snapshot(v, action="delete", name=folder()[-8:]),
    "`snapshot` `restore` to it": lambda v: snapshot(
        folder(), action="restore", name="s", target=v
    ),
    "`rescan`": lambda v: RescanRequest(volume="v", owner=str(VFolderId.parse(v).scope)),
    "`adopt`": lambda v: AdoptRequest(
        volume="v", owner=str(VFolderId.parse(v).scope), limit_bytes=1
    ),
    "`assist`": lambda _: AssistRequest(volume="v", job=TRASH, number=0),
    "`import`": lambda v: ImportRequest(
        volume="v",
        vfolder=v,
        registry="hub",
        registry_type="huggingface",
        models=[ModelRevision(model_id="a/b", revision="main")],
    ),
    "`find`": lambda v: FindRequest(volume="v", vfolder=v, match="*"),
}
#: Verbs that need no vfolder.
ELSEWHERE = {"describe"}


def cells() -> dict[tuple[str, str], str]:
    """The page's table: what the second job does while the first runs."""
    text = PAGE.read_text().partition("## Turns")[2].partition("\n## ")[0]
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in text.splitlines()
        if line.startswith("|") and not re.fullmatch(r"[|\-: ]+", line)
    ]
    numbers = rows[0][1:]
    names = [re.sub(r"^\d+ ", "", row[0]) for row in rows[1:]]
    assert numbers == [str(number + 1) for number in range(len(names))]
    return {
        (names[first], names[second]): cell
        for first, row in enumerate(rows[1:])
        for second, cell in enumerate(row[1:])
    }


CELLS = cells()


def test_the_table_has_every_verb_in_both_directions() -> None:
    assert {first for first, _ in CELLS} == {second for _, second in CELLS} == set(ROLES)
    named = set(re.findall(r"`([a-z-]+)`", " ".join(ROLES)))
    assert named - {"create", "list"} == set(VERBS) - ELSEWHERE


@pytest.mark.parametrize("first", ROLES)
def test_the_second_job_does_what_its_cell_says(desk: Desk, first: str) -> None:
    desk.store.set_slots("v", SLOTS, SLOTS)
    for second, request in ROLES.items():
        vfolder = folder()
        one = desk.store.submit(Submission(ROLES[first](vfolder)))
        assert desk.claim(one) == "ok"
        submission = Submission(request(vfolder))
        cell = CELLS[first, second]
        if cell == "409":
            with pytest.raises(Locked):
                desk.store.submit(submission)
        elif cell == "same":
            assert desk.store.submit(submission).id == one.id
        else:
            other = desk.store.submit(submission)
            if cell == "waits":
                assert desk.claim(other, "r2") == "waiting", (first, second)
                assert desk.store.get(other.id).fields["waits_for"] == one.id
                desk.finish(one)
            assert cell in ("beside", "waits"), cell
            assert desk.claim(other, "r2") == "ok", (first, second)
            desk.finish(other, "r2")
        if desk.state(one) is State.RUNNING:
            desk.finish(one)


def test_a_clone_requested_after_an_extract_has_what_it_unpacks(desk: Desk) -> None:
    """The order of requests is the order of effects."""
    vfolder = folder()
    extract = desk.store.submit(Submission(ROLES["`extract`"](vfolder)))
    clone = desk.clone(vfolder, folder())
    assert desk.claim(clone) == "waiting"
    assert desk.claim(extract) == "ok"
    desk.finish(extract)
    assert desk.claim(clone) == "ok"
