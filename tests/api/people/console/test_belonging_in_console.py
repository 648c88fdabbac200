"""Who a folder belongs to: groups and their members, another owner, and the details of an entry."""

import re

import pytest
from playwright.sync_api import expect

from tests.api.people.console.conftest import Console
from tests.support.node import wait_for

pytestmark = [pytest.mark.part("chromium"), pytest.mark.part("npm-packages")]


def test_an_admin_changes_the_members_of_a_group(console: Console) -> None:
    friend = console.people.person()
    group = console.people.group(admins=(console.owner,))
    page = console.open(console.owner, "/console")
    console.link(page, "Groups").click()
    card = page.get_by_role("region", name=str(group)[:8])
    expect(card).to_contain_text("you are an admin of it")
    card.get_by_label("Add a user").fill(friend.word)
    card.get_by_role("button", name="Add member").click()
    role = card.get_by_role("combobox", name=f"Role of user {str(friend.id)[:8]}")
    expect(role).to_have_value("member")
    console.check(page)
    links = card.get_by_role("checkbox", name="Links for visitors")
    expect(links).to_be_checked()
    links.uncheck()
    page.reload()
    expect(links).not_to_be_checked()
    role.select_option("admin")
    theirs = console.open(friend, "/console/groups")
    expect(theirs.get_by_text("you are an admin of it")).to_be_visible()
    card.get_by_role("button", name=re.compile(f"Remove user {str(friend.id)[:8]}")).click()
    page.get_by_role("button", name="Remove member").click()
    expect(role).to_have_count(0)
    console.expected.append("409")
    card.get_by_role("combobox", name="Role of me").select_option("member")
    expect(page.get_by_text("A group keeps its last admin")).to_be_visible()
    expect(card.get_by_role("combobox", name="Role of me")).to_have_value("admin")
    wait_for(lambda: not console.people.call(friend, "GET", "/v1/groups").json()["groups"])
    theirs.reload()
    expect(theirs.get_by_text("You are in no group.")).to_be_visible()


def test_a_folder_gets_another_owner_who_accepts(console: Console) -> None:
    folder = console.folder(**{"a.txt": "a"})
    friend = console.people.person()
    page = console.open(console.owner, "/console")
    row = page.get_by_role("row", name=str(folder.id))

    def act(name: str) -> None:
        row.click(button="right")
        page.get_by_role("menuitem", name=name).click()

    act("Give to another owner")
    page.get_by_label("Next owner").fill(friend.word)
    page.get_by_role("button", name="Offer folder").click()
    address = page.get_by_role("dialog").locator("code").inner_text()
    console.check(page)
    page.get_by_role("button", name="Take offer back").click()
    expect(page.get_by_text("The folder stays yours.")).to_be_visible()
    console.expected.append("404")
    theirs = console.open(friend, "/console")
    theirs.goto(address)
    theirs.get_by_role("button", name="Accept folder").click()
    expect(theirs.get_by_role("alert")).to_be_visible()
    act("Give to another owner")
    page.get_by_label("Next owner").fill(friend.word)
    page.get_by_role("button", name="Offer folder").click()
    expect(page.get_by_role("dialog").locator("code")).to_be_visible()  # the offer was made
    page.get_by_role("button", name="Cancel").click()
    act("See the offer to another owner")
    expect(page.get_by_role("dialog")).to_contain_text(str(friend.id)[:8])
    console.check(theirs)
    theirs.get_by_role("button", name="Accept folder").click()
    expect(theirs.get_by_role("row", name="a.txt")).to_be_visible()
    page.reload()
    expect(page.get_by_text("No folders yet.")).to_be_visible()


def test_the_details_of_an_entry_are_shown(console: Console) -> None:
    folder = console.folder(**{"a.txt": "four"})
    (console.people.path(folder) / "a.txt").chmod(0o640)
    (console.people.path(folder) / "link").symlink_to("a.txt")
    page = console.open(console.owner, f"/console/f/local:{folder.id}")
    dialog = page.get_by_role("dialog")
    for name, text in (("a.txt", "rw-r----- (640)"), ("link", "Leads to")):
        page.get_by_role("row", name=name).first.click(button="right")
        page.get_by_role("menuitem", name="Details").click()
        expect(dialog).to_contain_text(text)
        expect(dialog).to_contain_text("me (owner)")
        console.check(page)
        page.keyboard.press("Escape")
        expect(dialog).to_have_count(0)
