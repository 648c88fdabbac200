"""Operators at the console: looking, pausing, draining, retrying; every page at both widths."""

import gzip
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

import pytest
from playwright.sync_api import Page, Route, expect

from core.jobs.requests import UsageRequest
from core.jobs.store import JobStore, Submission
from core.redis import Database, connect
from tests.api.people.conftest import People, Person, grant_to
from tests.api.people.console.conftest import PATIENCE_MS, Console
from tests.support.node import ROOT

pytestmark = [pytest.mark.part("chromium"), pytest.mark.part("npm-packages")]
expect.set_options(timeout=PATIENCE_MS)

DIST = ROOT / "api/doors/console/dist"
TEXTS = ROOT / "api/doors/console/app/src/texts"
#: By the segment of a page: its heading.
PAGES = {
    "overview": "Overview",
    "volumes": "Volumes",
    "volumes/local": "local",
    "nodes": "Nodes",
    "jobs": "All jobs",
    "uploads": "Uploads in flight",
    "quota": "Quota",
    "backlog": "Trash backlog",
    "orphans": "Orphans",
    "people": "People",
    "audit": "Audit",
    "events": "Events",
    "settings": "Settings",
    "diagnostics": "Diagnostics",
}
AWAY = {"detail": "The store does not answer.", "status": 503, "request_id": "r-1"}


@pytest.fixture(scope="module", name="operator")
def operator_of(people: People) -> Person:
    return people.operator()


def failed_job(people: People, owner: Person) -> str:
    """A count of a folder that failed before it ran."""
    with connect(people.settings, Database.JOBS) as client:
        store = JobStore(client, lambda _: None)
        request = UsageRequest(volume="local", vfolder=str(people.vfolder(owner)))
        job = store.submit(Submission(request, requester=owner.word))
        store.refuse(job.id, json.dumps({"error_code": "x_y_z", "detail": "The disk is gone."}))
        return job.id


def answer_away(route: Route) -> None:
    route.fulfill(status=503, content_type="application/problem+json", body=json.dumps(AWAY))


def give_reason(page: Page, act: str, reason: str) -> None:
    """Confirm the open dialog."""
    dialog = page.get_by_role("dialog")
    if reason:
        dialog.get_by_label("Reason").fill(reason)
    dialog.get_by_role("button", name=act, exact=True).click()
    expect(dialog).to_have_count(0)


@contextmanager
def paused_at_the_end(people: People, operator: Person, volume: str) -> Iterator[None]:
    """Resume a volume at the end, whatever happens."""
    try:
        yield
    finally:
        people.call(operator, "POST", f"/v1/volumes/{volume}/resume")


def test_a_volume_is_paused_with_a_reason_and_resumed(console: Console, operator: Person) -> None:
    page = console.open(operator, "/console/op/volumes")
    row = page.get_by_role("row", name="second")
    expect(row).to_contain_text("Ready")
    with paused_at_the_end(console.people, operator, "second"):
        page.get_by_role("grid").focus()
        page.keyboard.press("End")
        page.keyboard.press("Shift+F10")
        page.get_by_role("menuitem", name="Pause volume").click()
        expect(page.get_by_role("button", name="Pause volume")).to_be_disabled()
        console.check(page)
        give_reason(page, "Pause volume", "New disks.")
        expect(row).to_contain_text("Paused")
        page.get_by_role("link", name="Overview", exact=True).click()
        item = page.get_by_role("listitem").filter(has_text="volume second are paused: New disks.")
        expect(item).to_be_visible()
        item.get_by_role("button", name="Resume volume").click()
        give_reason(page, "Resume volume", "")
        expect(item).to_have_count(0)
    page.get_by_role("link", name="Audit", exact=True).click()
    expect(page.get_by_role("row").filter(has_text="New disks.").first).to_be_visible()


def test_a_node_is_drained_and_takes_jobs_again(console: Console, operator: Person) -> None:
    page = console.open(operator, "/console/op/nodes")
    row = page.get_by_role("row", name="node1")
    expect(row).to_contain_text("Takes jobs")
    try:
        row.get_by_role("button").click()
        page.get_by_role("menuitem", name="Drain node").click()
        give_reason(page, "Drain node", "Kernel update.")
        expect(row).to_contain_text(re.compile("Drain"))
    finally:
        console.people.call(operator, "POST", "/v1/nodes/node1/undrain")
    expect(row).to_contain_text("Takes jobs")


def test_a_failed_job_is_found_and_retried(console: Console, operator: Person) -> None:
    people = console.people
    owner = people.person()
    job = failed_job(people, owner)
    page = console.open(operator, f"/console/op/jobs?state=failed&requester={owner.word}")
    row = page.get_by_role("row", name="Count folder")
    expect(row).to_contain_text("The disk is gone.")
    row.get_by_role("link").click()
    expect(page).to_have_url(re.compile(job))
    expect(page.get_by_role("heading", name="Timeline")).to_be_visible()
    expect(page.get_by_role("listitem").filter(has_text="submitted")).to_be_visible()
    console.check(page)
    page.get_by_role("button", name="Retry job").click()
    give_reason(page, "Retry job", "The disk is back.")
    expect(page.get_by_text("Retry of")).to_be_visible()
    expect(page.get_by_text("Done", exact=True)).to_be_visible()
    page.go_back()
    expect(page).to_have_url(re.compile(job))


def test_every_page_at_both_widths(console: Console, operator: Person) -> None:
    for phone in (False, True):
        page = console.open(operator, "/console/op/overview", phone=phone)
        for path, heading in PAGES.items():
            page.goto(f"{console.people.door.url}/console/op/{path}")
            expect(page.get_by_role("heading", name=heading, exact=True).first).to_be_visible()
            expect(page.locator("[aria-busy=true]")).to_have_count(0)
            wide = page.evaluate("document.scrollingElement.scrollWidth - innerWidth")
            assert wide <= 0, path
            if not phone:
                console.check(page)


def test_figures_without_an_answer_show_their_age_and_acts_are_off(
    console: Console, operator: Person
) -> None:
    """The store goes away: what was known stays, says how old it is, and nothing can be done."""
    console.expected.append("503")
    page = console.open(operator, "/console/op/nodes")
    expect(page.get_by_role("row", name="node1")).to_be_visible()
    page.context.route("**/v1/nodes", answer_away)
    expect(page.get_by_role("alert")).to_contain_text("The store does not answer.")
    expect(page.get_by_text(re.compile("^Figures are .* old$"))).to_be_visible()
    page.get_by_role("row", name="node1").get_by_role("button").click()
    expect(page.get_by_role("menuitem", name="Drain node")).to_be_disabled()
    console.check(page)
    page.keyboard.press("Escape")
    page.context.unroute("**/v1/nodes")
    expect(page.get_by_text(re.compile("updated "))).to_be_visible()
    # A page that has nothing yet keeps its frame, too.
    page.context.route("**/v1/overview", answer_away)
    page.get_by_role("link", name="Overview", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text("The store does not answer.")
    expect(page.get_by_role("heading", name="Last hour")).to_be_visible()


def test_a_folder_is_read_with_a_reason(console: Console, operator: Person) -> None:
    """Its page says all the time that the operator is a guest, until when, and changes nothing."""
    vfolder = console.people.vfolder(console.people.person(), **{"plan.txt": "x"})
    page = console.open(operator, "/console/op/people")
    page.get_by_role("button", name="Read a folder with a reason").click()
    page.get_by_role("dialog").get_by_label("Folder").fill(f"local:{vfolder.id}")
    give_reason(page, "Read folder", "The owner asked for help.")
    expect(page.get_by_role("row", name="plan.txt")).to_be_visible()
    expect(page.get_by_text("You read this folder as an operator")).to_be_visible()
    expect(page.get_by_role("button", name="Upload")).to_have_count(0)
    console.check(page)


def test_a_user_is_found_and_a_decision_is_explained(console: Console, operator: Person) -> None:
    people = console.people
    user, vfolder = people.person(), people.vfolder(people.person())
    people.grant(vfolder, grant_to(user.word, "ro"))
    page = console.open(operator, "/console/op/people")
    find = page.get_by_label("Part of a name, or beginning of an id")
    find.fill("no name like this")
    find.press("Enter")
    expect(page.get_by_text("No user or group that is known here fits.")).to_be_visible()
    find.fill(str(user.id)[:13])
    find.press("Enter")
    row = page.get_by_role("row", name=str(user.id))
    expect(row).to_contain_text("Not blocked")
    row.get_by_role("link").click()
    page.get_by_label("Folder in question").fill(f"local:{vfolder.id}")
    page.get_by_role("button", name="Explain").click()
    steps = page.get_by_role("list", name="Steps of the decision").get_by_role("listitem")
    expect(steps.filter(has_text="A share counts")).to_contain_text("read")
    expect(page.get_by_text("Yes", exact=True)).to_be_visible()
    page.get_by_label("Act", exact=True).select_option(label="Upload, rename and change entries")
    expect(page.get_by_text("This user sees the folder, and has too little on it.")).to_be_visible()
    console.check(page)


def test_a_finding_is_looked_at_and_its_kind_repaired(console: Console, operator: Person) -> None:
    people = console.people
    top = people.path(people.vfolder(people.person())).parents[2]
    left = top / ".vfolder/meta" / UUID(int=5).hex
    left.parent.mkdir(parents=True, exist_ok=True)
    left.write_text("{}")
    job = people.call(operator, "POST", "/v1/volumes/local/rescan", {}).json()["id"]
    assert people.ended(operator, job)["state"] == "succeeded"
    page = console.open(operator, "/console/op/orphans")
    kind = page.get_by_role("row").filter(has_text="metadata-of-nobody")
    page.get_by_role("link", name="Each finding").first.click()
    expect(page.get_by_role("row").filter(has_text="its vfolder is gone")).to_be_visible()
    page.go_back()
    kind.get_by_role("button", name="Repair 1 finding").click()
    console.check(page)
    give_reason(page, "Repair 1 finding", "Looked at.")
    expect(page.get_by_text("Done", exact=True)).to_be_visible()
    assert not left.exists()


def test_a_volume_is_examined(console: Console, operator: Person) -> None:
    page = console.open(operator, "/console/op/volumes/second")
    page.get_by_role("button", name="Examine volume").click()
    expect(page.get_by_role("row").filter(has_text="mount").first).to_contain_text("OK")
    console.check(page)


def test_a_filter_of_jobs_is_kept_by_a_name(console: Console, operator: Person) -> None:
    page = console.open(operator, "/console/op/jobs?state=failed&volume=second")
    page.get_by_role("button", name="Save filter").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Name").fill("Failed on second")
    dialog.get_by_role("button", name="Save filter").click()
    page.goto(f"{console.people.door.url}/console/op/jobs")
    page.get_by_role("link", name="Failed on second").click()
    expect(page).to_have_url(re.compile(r"state=failed&volume=second$"))
    expect(page.get_by_label("Volume", exact=True)).to_have_value("second")
    console.check(page)
    page.get_by_role("button", name="Remove filter Failed on second").click()
    expect(page.get_by_role("link", name="Failed on second")).to_have_count(0)


def test_a_person_gets_no_page_of_operators(console: Console) -> None:
    asked: list[str] = []
    page = console.open(console.people.person())
    page.on("request", lambda request: asked.append(request.url))
    expect(page.get_by_text("No folders yet.")).to_be_visible()
    page.reload()
    expect(page.get_by_text("No folders yet.")).to_be_visible()
    expect(page.get_by_text("Operate", exact=True)).to_have_count(0)
    assert not [url for url in asked if "/operate" in url]


def test_a_bundle_is_downloaded(console: Console, operator: Person) -> None:
    page = console.open(operator, "/console/op/diagnostics")
    page.get_by_label("Metrics of this node").uncheck()
    with page.expect_download() as download:
        page.get_by_role("button", name="Make bundle").click()
    assert re.fullmatch(r"vfolder-diagnostics-[\dT-]+\.zip", download.value.suggested_filename)


def test_pages_of_operators_are_small_and_in_both_languages() -> None:
    packed = sum(len(gzip.compress(path.read_bytes())) for path in DIST.glob("operate*.js"))
    assert 0 < packed <= 60 * 1024
    english, korean = (
        json.loads((TEXTS / f"operate.{language}.json").read_text("utf-8"))
        for language in ("en", "ko")
    )
    assert list(english) == sorted(english) == list(korean)
    holes = {key: (_holes(text), _holes(korean[key])) for key, text in english.items()}
    assert not {key: found for key, found in holes.items() if not found[1] <= found[0]}


def _holes(text: str) -> set[str]:
    return set(re.findall(r"\{(\w+)\}", text))
