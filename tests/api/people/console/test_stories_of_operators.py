"""What operators do at the console, one story each: what they press, and what it does."""

import csv
import io
import json
import re
import subprocess
import zipfile
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, Route, expect

from core.jobs import State
from core.jobs.requests import UsageRequest
from core.jobs.store import JobEnd, JobStore, Submission
from core.redis import Database, connect
from tests.api.people.conftest import People, Person
from tests.api.people.console.conftest import PATIENCE_MS, Console
from tests.api.people.console.test_operators_of_console import failed_job, give_reason
from tests.support.node import wait_for

pytestmark = [pytest.mark.part("chromium"), pytest.mark.part("npm-packages")]
expect.set_options(timeout=PATIENCE_MS)

LEASE_SECONDS = 600.0
RUN = "run-of-a-test"


@pytest.fixture(scope="module", name="operator")
def operator_of(people: People) -> Person:
    return people.operator()


@contextmanager
def running_job(people: People, owner: Person) -> Iterator[str]:
    """A job that node1 runs until the end of the block, whatever the node does meanwhile."""
    with connect(people.settings, Database.JOBS) as client:
        store = JobStore(client, lambda _: None)
        request = UsageRequest(volume="local", vfolder=str(people.vfolder(owner)))
        job = store.submit(Submission(request, requester=owner.word)).id
        wait_for(lambda: store.claim(job, RUN, "node1", LEASE_SECONDS) == "ok")
        try:
            yield job
        finally:
            store.finish(job, RUN, JobEnd(State.SUCCEEDED))


def slow_copy(console: Console) -> str:
    """A copy of the owner that takes minutes."""
    source, target = console.folder(big="x" * 30_000_000), console.folder()
    body = {"to": f"local:{target.id}", "bytes_per_second": 100_000}
    path = f"/v1/vfolders/local:{source.id}/transfer"
    job: str = console.people.call(console.owner, "POST", path, body).json()["id"]
    return job


def region(page: Page, name: str) -> Locator:
    return page.get_by_role("region", name=name, exact=True)


def newest(people: People, operator: Person, act: str) -> dict[str, Any]:
    """The newest line of the audit log about an act."""
    found: list[dict[str, Any]] = people.call(operator, "GET", f"/v1/audit?act={act}").json()[
        "lines"
    ]
    return found[0]


def test_a_node_that_drains_says_what_it_waits_for(console: Console, operator: Person) -> None:
    people = console.people
    page = console.open(operator, "/console/op/nodes")
    row = page.get_by_role("grid").get_by_role("row", name="node1")
    expect(row).to_contain_text("Takes jobs")
    try:
        with running_job(people, console.owner) as job:
            expect(row).to_contain_text("1 of")
            row.get_by_role("button").click()
            page.get_by_role("menuitem", name="Drain node").click()
            dialog = page.get_by_role("dialog")
            expect(dialog).to_contain_text("1 job that it runs goes to another node")
            expect(dialog.get_by_role("listitem")).to_contain_text(console.owner.word)
            console.check(page)
            give_reason(page, "Drain node", "Kernel update.")
            expect(row).to_contain_text("Drains, 1 job left")
            left = region(page, "Jobs of draining nodes").get_by_role("link")
            expect(left).to_have_attribute("href", f"/console/op/jobs/{job}")
            console.check(page)
        expect(row).to_contain_text("Drained")
        expect(region(page, "Jobs of draining nodes")).to_have_count(0)
        row.get_by_role("button").click()
        page.get_by_role("menuitem", name="Undrain node").click()
        give_reason(page, "Undrain node", "")
        expect(row).to_contain_text("Takes jobs")
    finally:
        people.call(operator, "POST", "/v1/nodes/node1/undrain")


def test_a_volume_stops_with_its_jobs_and_goes_on(console: Console, operator: Person) -> None:
    people, job = console.people, slow_copy(console)
    try:
        page = console.open(operator, f"/console/op/jobs/{job}")
        state = page.locator(".health .state")
        expect(state).to_have_text("Running")
        page.get_by_role("link", name="local", exact=True).click()
        page.get_by_role("button", name="Pause volume").click()
        expect(page.get_by_role("dialog")).to_contain_text("1 running job stops")
        give_reason(page, "Pause volume", "New disks.")
        expect(page.get_by_text("The jobs of this volume are paused: New disks.")).to_be_visible()
        page.go_back()
        expect(page.get_by_text("paused until it is resumed: New disks.")).to_be_visible()
        page.go_forward()
        page.get_by_role("button", name="Resume volume").click()
        give_reason(page, "Resume volume", "")
        page.go_back()
        expect(state).to_have_text("Running")
    finally:
        people.call(operator, "POST", "/v1/volumes/local/resume")
        people.call(console.owner, "POST", f"/v1/jobs/{job}/cancel")


def test_a_bandwidth_is_chosen_by_the_slider(console: Console, operator: Person) -> None:
    people = console.people
    page = console.open(operator, "/console/op/volumes/second")
    try:
        slider = page.get_by_role("slider")
        slider.focus()
        page.keyboard.press("Home")
        expect(slider).to_have_attribute("aria-valuetext", re.compile(r"^1(\.0+)? MiB/s$"))
        page.keyboard.press("End")
        expect(slider).to_have_attribute("aria-valuetext", re.compile(r"^10(\.0+)? GiB/s$"))
        page.keyboard.press("Home")
        page.get_by_role("button", name="Set limit").click()
        expect(page.get_by_role("dialog")).to_contain_text("The limit now: no limit")
        give_reason(page, "Set limit", "Backups run.")
        expect(page.get_by_text(re.compile(r"^Limit 1(\.0+)? MiB/s, shared by"))).to_be_visible()
        share = people.call(operator, "GET", "/v1/volumes/second").json()["bandwidth"]
        assert share["bytes_per_second"] == 1 << 20
        page.get_by_role("button", name="Lift the limit").click()
        give_reason(page, "Lift the limit", "")
        expect(page.get_by_text("No limit.", exact=True)).to_be_visible()
    finally:
        body = {"bytes_per_second": None}
        people.call(operator, "PUT", "/v1/volumes/second/bandwidth", body)


@pytest.mark.part("root")
def test_only_what_failed_is_tried_again(console: Console, operator: Person) -> None:
    people = console.people
    folder = console.folder(**dict.fromkeys(("a.txt", "b.txt", "kept.txt"), "x"))
    root, aside = people.path(folder), people.settings.directory / "aside"
    aside.touch()
    subprocess.run(["mount", "--bind", aside, root / "kept.txt"], check=True)
    try:
        body = {"paths": ["a.txt", "b.txt", "kept.txt"], "keep_seconds": 0}
        path = f"/v1/vfolders/local:{folder.id}/delete"
        job = people.call(console.owner, "POST", path, body).json()["id"]
        assert people.ended(console.owner, job)["state"] == "partial"
    finally:
        subprocess.run(["umount", root / "kept.txt"], check=True)
    page = console.open(operator, f"/console/op/jobs/{job}")
    report = region(page, "What failed")
    expect(report.get_by_role("row", name="kept.txt")).to_be_visible()
    expect(report.get_by_role("row")).to_have_count(2)
    console.check(page)
    with page.expect_download() as download:
        page.get_by_role("link", name="Report as CSV").click()
    rows = list(csv.reader(io.StringIO(Path(download.value.path()).read_text("utf-8"), newline="")))
    assert [row[0] for row in rows] == ["path", "kept.txt"]
    page.get_by_role("button", name="Retry what failed").click()
    give_reason(page, "Retry what failed", "")
    expect(page.get_by_text("Retry of")).to_be_visible()
    expect(page.get_by_text("Done", exact=True)).to_be_visible()
    again = people.call(operator, "GET", f"/v1/jobs/{page.url.rpartition('/')[2]}").json()
    assert again["request"]["paths"] == ["kept.txt"]
    assert not (root / "kept.txt").exists()


def test_a_waiting_job_goes_first_and_many_are_cancelled(
    console: Console, operator: Person
) -> None:
    people, owner = console.people, console.owner
    people.call(operator, "POST", "/v1/volumes/second/pause", {"reason": "test"})
    try:
        for _ in range(3):
            folder = people.vfolder(owner, "second")
            people.call(owner, "POST", f"/v1/vfolders/second:{folder.id}/usage")
        page = console.open(operator, f"/console/op/jobs?state=queued&requester={owner.word}")
        expect(page.get_by_role("row")).to_have_count(4)
        put_first(people, operator, page)
        page.get_by_role("grid").focus()
        page.keyboard.press("Control+a")
        page.get_by_role("button", name="Cancel 3 jobs").click()
        expect(page.get_by_role("dialog").get_by_role("listitem")).to_have_count(3)
        console.check(page)
        give_reason(page, "Cancel 3 jobs", "Not needed.")
        expect(page.get_by_text("No job matches these filters.")).to_be_visible()
    finally:
        people.call(operator, "POST", "/v1/volumes/second/resume")


def put_first(people: People, operator: Person, page: Page) -> None:
    """Open the first job of the list, let it go first, and go back."""
    page.get_by_role("grid").focus()
    page.keyboard.press("Enter")
    page.get_by_label("Priority", exact=True).select_option("0")
    expect(page.get_by_role("dialog")).to_contain_text("A lower number goes first.")
    give_reason(page, "Set priority", "A deadline.")
    expect(page.get_by_label("Priority", exact=True)).to_have_value("0")
    job = page.url.rpartition("/")[2]
    assert people.call(operator, "GET", f"/v1/jobs/{job}").json()["priority"] == 0
    assert newest(people, operator, "jobs.prioritize")["reason"] == "A deadline."
    page.go_back()


def test_a_bundle_has_no_secret_and_leaves_out_what_is_unticked(
    console: Console, operator: Person
) -> None:
    people = console.people
    owner = people.person()
    failed_job(people, owner)
    page = console.open(operator, "/console/op/diagnostics")
    page.get_by_label("Metrics of this node").uncheck()
    with page.expect_download() as download:
        page.get_by_role("button", name="Make bundle").click()
    archive = zipfile.ZipFile(io.BytesIO(Path(download.value.path()).read_bytes()))
    texts = {name: archive.read(name).decode() for name in archive.namelist()}
    assert sorted(texts) == [
        *("health.json", "jobs.json", "nodes.json", "settings.json", "versions.json"),
        "volumes.json",
    ]
    everything = "".join(texts.values())
    secrets = (people.settings.storage_proxy.secret, people.settings.api.manager.secret)
    for hidden in (*secrets, operator.key, owner.key, str(owner.id), owner.id.hex):
        assert hidden not in everything
    assert str(people.settings.directory) not in everything
    assert "x_y_z" in texts["jobs.json"]


def test_an_upload_is_ended_and_its_row_goes(console: Console, operator: Person) -> None:
    people = console.people
    sender = people.person()
    folder = people.vfolder(sender)
    name = b64encode(b"endless.bin").decode()
    head = {
        "Tus-Resumable": "1.0.0",
        "Upload-Length": "5",
        "Upload-Metadata": f"relativePath {name}",
    }
    people.call(sender, "POST", f"/v1/vfolders/{folder.id}/uploads", headers=head)
    page = console.open(operator, "/console/op/uploads")
    row = page.get_by_role("row", name="endless.bin")
    expect(row).to_contain_text(sender.word)
    row.get_by_role("button").click()
    page.get_by_role("menuitem", name="End upload").click()
    expect(page.get_by_role("dialog")).to_contain_text("The sender has to begin again.")
    console.check(page)
    give_reason(page, "End upload", "It fills the disk.")
    expect(row).to_have_count(0)
    assert people.call(sender, "GET", "/v1/uploads").json()["uploads"] == []
    assert newest(people, operator, "uploads.steer")["reason"] == "It fills the disk."


def answer_enforced(route: Route) -> None:
    """The true answer, as if the storage system enforced the limits."""
    answer = route.fetch()
    found = answer.json()
    for one in found["quotas"]:
        one["enforced"] = "hard"
    route.fulfill(response=answer, json=found)


def test_a_limit_is_set_with_its_effect_and_an_old_tree_is_adopted(
    console: Console, operator: Person
) -> None:
    people, owner = console.people, console.owner
    console.folder(**{"a.bin": "x" * 1000})
    limit = {"limit_bytes": 1 << 31, "volume": "local"}
    people.call(operator, "PUT", f"/v1/quotas/{owner.word}", limit)
    page = console.open(operator, f"/console/op/quota?scope={owner.word}")
    row = region(page, owner.word).get_by_role("row").filter(has_text="local")
    expect(row).to_contain_text("2 GiB")
    row.get_by_role("button", name="Set limit").click()
    page.get_by_label("New limit in GiB").fill("3")
    expect(page.get_by_role("dialog").get_by_role("status")).to_contain_text("3 GiB")
    console.check(page)
    page.get_by_role("dialog").get_by_role("button", name="Set limit").click()
    expect(row).to_contain_text("3 GiB")
    # This storage system enforces nothing, so nothing is there to adopt into.
    expect(row.get_by_role("button", name="Recount")).to_be_visible()
    expect(row.get_by_role("button", name="Adopt content")).to_have_count(0)
    page.context.route("**/v1/quotas/**", answer_enforced)
    page.reload()
    row.get_by_role("button", name="Adopt content").click()
    give_reason(page, "Adopt content", "An old tree.")
    # The job finds that out, too, and changes nothing.
    expect(page.get_by_text("enforces no limits").first).to_be_visible()
    job = people.call(operator, "GET", f"/v1/jobs/{page.url.rpartition('/')[2]}").json()
    assert (job["verb"], job["state"]) == ("adopt", "failed")


def test_a_deleted_folder_is_purged_before_its_time(console: Console, operator: Person) -> None:
    people, owner = console.people, console.owner
    folder = console.folder(**{"a.txt": "a"})
    job = people.call(owner, "DELETE", f"/v1/vfolders/local:{folder.id}").json()["id"]
    people.ended(owner, job)
    page = console.open(operator, f"/console/op/backlog?volume=local&scope={owner.word}")
    row = page.get_by_role("row").filter(has_text=folder.id.hex)
    row.get_by_role("button", name="Purge now").click()
    expect(page.get_by_role("dialog")).to_contain_text("This cannot be taken back.")
    console.check(page)
    give_reason(page, "Purge now", "Space.")
    expect(page.get_by_text("Done", exact=True)).to_be_visible()
    page.go_back()
    expect(page.get_by_text("Nothing is kept here.")).to_be_visible()


def test_the_purge_rate_of_a_volume_is_set_and_lifted(console: Console, operator: Person) -> None:
    people = console.people

    def limit() -> int | None:
        found = people.call(operator, "GET", "/v1/trash").json()["volumes"]
        (rate,) = [
            one["purges"]["entries_per_second"] for one in found if one["volume"] == "second"
        ]
        return int(rate) if rate is not None else None

    page = console.open(operator, "/console/op/backlog")
    row = page.get_by_role("row").filter(has=page.get_by_role("rowheader", name="second"))
    expect(row).to_contain_text("no limit")
    row.get_by_role("button", name="Change rate").click()
    dialog = page.get_by_role("dialog")
    entries = dialog.get_by_label("Entries per second")
    for wrong in ("0", "1.5", "fast", "1000000001"):
        entries.fill(wrong)
        expect(dialog.get_by_role("button", name="Set rate")).to_be_disabled()
    entries.fill("500")
    console.check(page)
    give_reason(page, "Set rate", "Slow disks.")
    expect(row).to_contain_text("500 entries/s")
    assert limit() == 500
    assert newest(people, operator, "trash.steer")["reason"] == "Slow disks."
    row.get_by_role("button", name="Change rate").click()
    expect(dialog).to_contain_text("The limit now: 500 entries/s.")
    entries.fill("")
    give_reason(page, "Lift the limit", "")
    expect(row).to_contain_text("no limit")
    assert limit() is None


def test_a_user_is_blocked_and_the_audit_log_is_exported(
    console: Console, operator: Person
) -> None:
    people = console.people
    user = people.person()
    page = console.open(operator, f"/console/op/people?user={user.id}")
    page.get_by_role("button", name="Block user").click()
    give_reason(page, "Block user", "A lost laptop.")
    expect(page.get_by_role("button", name="Unblock user")).to_be_visible()
    wait_for(lambda: people.call(user, "GET", "/v1/me").status_code in (401, 403))
    page.get_by_role("button", name="Unblock user").click()
    give_reason(page, "Unblock user", "")
    wait_for(lambda: people.call(user, "GET", "/v1/me").status_code == 200)
    page.get_by_role("button", name="Revoke key").click()
    give_reason(page, "Revoke key", "It was in a chat.")
    wait_for(lambda: people.call(user, "GET", "/v1/me").status_code == 401)
    page.goto(f"{people.door.url}/console/op/audit?target=user:{user.id}")
    for reason in ("A lost laptop.", "It was in a chat."):
        expect(page.get_by_role("row").filter(has_text=reason)).to_be_visible()
    with page.expect_download() as download:
        page.get_by_role("button", name=re.compile("^Export")).click()
    text = Path(download.value.path()).read_text("utf-8")
    reasons = [json.loads(line).get("reason") for line in text.splitlines()]
    assert {"A lost laptop.", "It was in a chat."} <= set(reasons)


def test_settings_of_two_nodes_are_compared(console: Console, operator: Person) -> None:
    found = console.people.call(operator, "GET", "/v1/settings").json()["settings"]
    values = {one["key"]: one["value"] for one in found}
    limit = "storage-proxy.scandir-limit"
    assert limit in values
    lines = [f"{key} = {value}" for key, value in values.items()]
    elsewhere = [line for line in lines if not line.startswith(limit)]
    page = console.open(operator, "/console/op/settings")

    def compare(text: list[str]) -> None:
        page.get_by_role("button", name="Compare values").click()
        page.get_by_label("Values of the other node").fill("\n".join(text))
        dialog = page.get_by_role("dialog")
        dialog.get_by_role("button", name="Compare values").click()

    compare(lines)
    expect(page.get_by_text("No value differs.")).to_be_visible()
    compare([*elsewhere, f"{limit} = 7", 'volume.far.backend = "vfs"'])
    expect(page.get_by_text("2 values differ.")).to_be_visible()
    expect(page.get_by_role("row", name=limit)).to_contain_text(f"{values[limit]}7")
    expect(page.get_by_role("row", name="volume.far.backend")).to_contain_text('\u2013"vfs"')
    console.check(page)
    page.get_by_role("button", name="End comparison").click()
    expect(page.get_by_role("row", name="storage-proxy.secret")).to_have_count(1)


def test_settings_are_found_and_secrets_are_masked(console: Console, operator: Person) -> None:
    people = console.people
    page = console.open(operator, "/console/op/settings")
    page.get_by_label("Filter", exact=True).fill("secret")
    row = page.get_by_role("row", name="storage-proxy.secret")
    expect(row).to_be_visible()
    assert people.settings.storage_proxy.secret not in page.content()
    page.get_by_role("button", name="Set values only").click()
    page.get_by_label("Filter", exact=True).fill("key-days")
    expect(page.get_by_text("No key matches.")).to_be_visible()
    console.check(page)
