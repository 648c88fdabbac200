"""People at the console, from signing in to a restored folder; axe-core looks at each page."""

import json
import re
import subprocess
import sys

import pytest
from playwright.sync_api import expect

from tests.api.people.console.conftest import Console
from tests.support.node import ROOT

pytestmark = [pytest.mark.part("chromium"), pytest.mark.part("npm-packages")]


def test_signing_in_by_key_and_out_again(console: Console) -> None:
    console.expected.append("401")
    person = console.people.person()
    page = console.open(None, "/console/jobs")
    key = page.get_by_label("API key")
    key.fill("vfk_no-such-key")
    key.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("not valid")
    console.check(page)
    key.fill(person.key)
    key.press("Enter")
    expect(page.get_by_text("No jobs yet.")).to_be_visible()
    cookie = page.context.cookies()[0]
    assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")
    kept = page.evaluate("JSON.stringify([{...localStorage}, {...sessionStorage}])")
    assert person.key not in kept
    assert person.key not in page.content()
    page.get_by_role("button", name=re.compile(str(person.id)[:8])).click()
    page.get_by_role("menuitem", name="Sign out").click()
    expect(page.get_by_label("API key")).to_be_visible()


def test_a_one_time_link_signs_one_browser_in(console: Console) -> None:
    command = [sys.executable, "-m", "api.cli", "access", "user", "ada", "--link"]
    made = subprocess.run(
        [*command, "--config", console.people.settings.origin],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    link = made.stdout.strip()
    code, verifier = link.partition("#code=")[2].split(".")
    door, path = console.people.door, "/v1/signin/code"
    body = {"code": code, "verifier": verifier}
    assert door.call("POST", path, body).status_code == 403, "a page of others sends no header"
    console.expected.append("401")
    page = console.open(None, f"/console{link.partition('/console')[2]}")
    expect(page.get_by_text("No folders yet.")).to_be_visible()
    assert code not in page.url
    expect(page.get_by_role("button", name="ada")).to_be_visible()
    again = console.open(None, f"/console{link.partition('/console')[2]}")
    expect(again.get_by_text("This link was used before")).to_be_visible()
    own = {"X-VFolder": "1", "Origin": door.url}
    assert door.call("POST", path, body, headers=own).status_code == 401


def test_a_folder_is_made_deleted_and_restored(console: Console) -> None:
    page = console.open(console.people.person())
    expect(page.get_by_text("No folders yet.")).to_be_visible()
    console.check(page)
    page.get_by_role("button", name="New folder").first.click()
    page.get_by_label("Name").fill("corpus")
    page.get_by_role("button", name="Create folder").click()
    expect(page).to_have_url(re.compile(r"/console/f/local:"))
    console.link(page, "Files").click()
    row = page.get_by_role("row", name="corpus")
    expect(row).to_be_visible()
    console.check(page)
    page.get_by_role("grid").focus()
    page.keyboard.press("Shift+F10")
    page.get_by_role("menuitem", name="Delete folder").click()
    console.check(page)
    page.get_by_role("dialog").get_by_role("button", name="Delete folder").click()
    expect(page.get_by_text("corpus is in the trash.")).to_be_visible()
    expect(row).to_have_count(0)
    console.link(page, "Trash").click()
    expect(row).to_be_visible()
    console.check(page)
    page.get_by_role("button", name="Undo").click()
    console.link(page, "Files").click()
    expect(row).to_be_visible()
    console.link(page, "Jobs").click()
    page.get_by_role("row", name="Restore").get_by_role("link").click()
    expect(page.get_by_role("heading", name="What happened")).to_be_visible()
    console.check(page)


def test_a_job_is_watched_paused_and_cancelled_while_it_runs(console: Console) -> None:
    source, target = console.folder(big="x" * 30_000_000), console.folder()
    people = console.people
    body = {"to": f"local:{target.id}", "bytes_per_second": 100_000}
    path = f"/v1/vfolders/local:{source.id}/transfer"
    job = people.call(console.owner, "POST", path, body).json()
    page = console.open(console.owner, f"/console/jobs/{job['id']}")
    expect(page.locator(".state.busy")).to_have_text("Running")
    console.check(page)
    streams: list[str] = []
    other = page.context.new_page()
    other.on("request", lambda one: streams.append(one.url) if "/v1/events" in one.url else None)
    other.goto(f"{people.door.url}/console/jobs")
    expect(other.get_by_role("row", name="Copy entries")).to_contain_text("Running")
    page.get_by_role("button", name="Pause job").click()
    expect(page.locator(".bar .state")).to_have_text("Paused")
    page.get_by_role("button", name="Resume job").click()
    expect(page.locator(".bar .state")).to_have_text("Running")
    page.get_by_role("button", name="Cancel job").click()
    page.get_by_role("dialog").get_by_role("button", name="Cancel job").click()
    expect(page.locator(".bar .state")).to_have_text("Cancelled")
    expect(page.get_by_role("button", name="Try again as a new job")).to_be_visible()
    expect(other.get_by_role("row", name="Copy entries")).to_contain_text("Cancelled")
    assert not streams, "one stream of news for all tabs"


def test_problems_say_what_to_do_and_keep_the_frame(console: Console) -> None:
    console.expected.append("503")
    page = console.open(None)
    problem = {"detail": "Volume local does not answer.", "status": 503, "request_id": "r-1"}
    page.context.route(
        "**/v1/vfolders?*",
        lambda route: route.fulfill(
            status=503, content_type="application/problem+json", body=json.dumps(problem)
        ),
    )
    console.expected.append("401")
    page.get_by_label("API key").fill(console.people.person().key)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_contain_text("Volume local does not answer.")
    expect(page.get_by_role("button", name="Copy details")).to_be_visible()
    expect(console.link(page, "Jobs")).to_be_visible()
    console.check(page)
    page.context.unroute("**/v1/vfolders?*")
    page.get_by_role("button", name="Try again").click()
    expect(page.get_by_text("No folders yet.")).to_be_visible()


def test_a_phone_shows_everything_without_scrolling_sideways(console: Console) -> None:
    person = console.people.person()
    console.people.vfolder(person)
    page = console.open(person, phone=True)
    expect(page.get_by_role("row")).to_have_count(1)
    wide = "document.scrollingElement.scrollWidth - innerWidth"
    assert page.evaluate(wide) <= 0
    for name in ("Jobs", "Trash"):
        console.link(page, name).click()
        expect(page.get_by_role("heading", name=name)).to_be_visible()
        assert page.evaluate(wide) <= 0
    console.check(page)
