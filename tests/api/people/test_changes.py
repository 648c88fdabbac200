"""Changes of records start from the file: another process may have changed it a moment ago."""

from msgspec import structs

from core.access import records
from tests.api.people.conftest import People


def test_a_change_knows_the_revision_that_another_process_wrote(people: People) -> None:
    owner = people.person()
    vfolder = people.vfolder(owner)
    path = f"/v1/vfolders/{vfolder.id}"
    record = records.implied("local", vfolder)
    for revision in range(1, 20, 2):
        assert people.call(owner, "GET", path).status_code == 200  # the process keeps what it read
        people.write(structs.replace(record, revision=revision), vfolder)
        headers = {"If-Match": f'"{revision}"'}
        answer = people.call(owner, "PATCH", path, {"name": f"n{revision}"}, headers=headers)
        assert answer.status_code == 200, answer.text
        assert answer.headers["ETag"] == f'"{revision + 1}"'
