"""What the lines of the audit log say of the requests of people, refused ones too."""

from uuid import uuid4

from tests.api.people.conftest import People, grant_to
from tests.support.node import wait_for


def test_a_refusal_names_what_was_asked_for(people: People) -> None:
    """Who looks for ids of others leaves lines that tell which."""
    owner, other = people.person(), people.person()
    vfolder, absent = people.vfolder(owner), str(uuid4())
    people.grant(vfolder, grant_to(other.word, "ro"))
    assert people.call(other, "GET", f"/v1/vfolders/{absent}").status_code == 404
    answer = people.call(other, "PATCH", f"/v1/vfolders/{vfolder.id}", {"name": "mine"})
    assert answer.status_code == 403
    assert people.call(other, "GET", f"/v1/jobs/{absent}").status_code == 404
    lines = people.call(other, "GET", "/v1/audit?decision=refused").json()["lines"]
    assert [(line.get("vfolder"), line.get("job_id")) for line in reversed(lines)] == [
        (absent, None),
        (f"local:{vfolder.id}", None),
        (None, absent),
    ]


def test_looks_leave_no_lines_and_openings_do(people: People) -> None:
    owner = people.person()
    vfolder = people.vfolder(owner, a="1")
    for path in ("me", "signins", "keys", "vfolders", f"vfolders/{vfolder.id}", "jobs", "audit"):
        assert people.call(owner, "GET", f"/v1/{path}").status_code == 200
    path = f"/v1/vfolders/{vfolder.id}"
    assert people.call(owner, "GET", f"{path}/content?path=a").status_code == 200
    assert people.call(owner, "PATCH", path, {"name": "b"}).status_code == 200

    def acts() -> list[str]:
        lines = people.call(owner, "GET", "/v1/audit?decision=allowed").json()["lines"]
        return sorted(line["act"] for line in lines)

    wait_for(lambda: acts() == ["entries.read", "vfolders.update"], 60)
