"""The console by keyboard alone, with the user's own colours, and without motion."""

import base64
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import pytest
from playwright.sync_api import Locator, Page, Route, expect

from tests.api.people.conftest import People, Person
from tests.api.people.console.conftest import PATIENCE_MS, Console
from tests.api.people.console.test_stories_of_operators import running_job, slow_copy

pytestmark = [pytest.mark.part("chromium"), pytest.mark.part("npm-packages")]
expect.set_options(timeout=PATIENCE_MS)

#: No page has more stops of the Tab key.
STOPS_MAX = 150
#: What Tab reaches, as the page has it: each control that is shown and works.
_CONTROLS = """
() => [...document.querySelectorAll(
    'a[href], button, input, select, textarea, summary, [tabindex="0"]')]
  .filter((one) => one.tabIndex >= 0 && !one.disabled && one.checkVisibility()
    && one.getClientRects().length && !one.closest('[popover]:not(:popover-open)'))
  .map((one, index) => { one.dataset.stop = index; return one.outerHTML.slice(0, 120); })
"""
#: Which control has the focus, and whether it can be seen: an outline, in the page, not covered.
_FOCUSED = """
() => {
  const one = document.activeElement, box = one.getBoundingClientRect();
  const style = getComputedStyle(one);
  const outlined = style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) > 0;
  const inside = box.bottom > 0 && box.top < innerHeight && box.right > 0 && box.left < innerWidth;
  const html = one.outerHTML.slice(0, 120);
  return {stop: one.dataset.stop ?? null, seen: outlined && inside, html};
}
"""
#: The number of colours of a picture of PNG.
_COLOURS = """
async (text) => {
  const bytes = Uint8Array.from(atob(text), (sign) => sign.charCodeAt(0));
  const picture = await createImageBitmap(new Blob([bytes], {type: 'image/png'}));
  const canvas = new OffscreenCanvas(picture.width, picture.height), pen = canvas.getContext('2d');
  pen.drawImage(picture, 0, 0);
  const data = new Uint32Array(pen.getImageData(0, 0, picture.width, picture.height).data.buffer);
  return new Set(data).size;
}
"""


@pytest.fixture(scope="module", name="operator")
def operator_of(people: People) -> Person:
    return people.operator()


def tab_to(page: Page, wanted: Locator) -> None:
    """Press Tab until a control has the focus."""
    for _ in range(STOPS_MAX):
        page.keyboard.press("Tab")
        if wanted.evaluate("(one) => one === document.activeElement"):
            return
    pytest.fail(f"Tab does not reach {wanted}")


def grid(page: Page) -> Locator:
    return page.get_by_role("main").get_by_role("grid")


@pytest.mark.parametrize("address", ["/console/f/{ref}", "/console/op/volumes/second"])
def test_tab_reaches_every_control_and_shows_where_it_is(
    console: Console, operator: Person, address: str
) -> None:
    folder = console.folder(**{"a.txt": "a", "b.txt": "b"})
    person = operator if "/op/" in address else console.owner
    page = console.open(person, address.format(ref=f"local:{folder.id}"))
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    expect(page.locator("[aria-busy=true]")).to_have_count(0)
    controls = dict(enumerate(page.evaluate(_CONTROLS)))
    unseen = []
    for _ in range(len(controls) + 5):
        page.keyboard.press("Tab")
        found = page.evaluate(_FOCUSED)
        if found["stop"] is not None:
            controls.pop(int(found["stop"]), None)
            if not found["seen"]:
                unseen.append(found["html"])
    assert not controls
    assert not unseen


def test_the_skip_link_leads_behind_the_navigation(console: Console) -> None:
    page = console.open(console.owner)
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    page.keyboard.press("Tab")
    skip = page.get_by_role("link", name="Skip to")
    expect(skip).to_be_focused()
    expect(skip).to_be_in_viewport()
    page.keyboard.press("Enter")
    expect(page.get_by_role("main")).to_be_focused()
    page.keyboard.press("Tab")
    inside = "document.activeElement.closest('main') !== null"
    assert page.evaluate(inside)


def test_directories_menus_and_dialogs_by_keys_give_the_focus_back(console: Console) -> None:
    folder = console.folder(**{"b.txt": "b", "c.txt": "c"})
    root = console.people.path(folder)
    (root / "a").mkdir()
    (root / "a/deep.txt").write_text("x")
    page = console.open(console.owner, f"/console/f/local:{folder.id}")
    row = page.get_by_role("row", name="Directory: a")
    expect(row).to_be_visible()
    tab_to(page, grid(page))
    page.keyboard.press("Home")
    page.keyboard.press("Enter")
    expect(page.get_by_role("row", name="deep.txt")).to_be_visible()
    expect(grid(page)).to_be_focused()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Backspace")
    expect(row).to_be_visible()
    expect(grid(page)).to_be_focused()
    page.keyboard.press("End")
    page.keyboard.press("Shift+F10")
    menu = page.get_by_role("menu")
    expect(menu.get_by_role("menuitem").first).to_be_focused()
    page.keyboard.press("ArrowDown")
    expect(menu.get_by_role("menuitem").nth(1)).to_be_focused()
    page.keyboard.press("Escape")
    expect(menu).to_have_count(0)
    expect(grid(page)).to_be_focused()
    page.keyboard.press("Shift+F10")
    page.get_by_role("menuitem", name="Copy to").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(grid(page)).to_be_focused()
    page.keyboard.press("Space")
    delete = page.get_by_role("toolbar").get_by_role("button", name="Delete")
    page.keyboard.press("Shift+Tab")
    tab_to(page, delete)
    page.keyboard.press("Enter")
    expect(page.get_by_role("row", name="c.txt")).to_have_count(0)
    expect(grid(page)).to_be_focused()
    page.keyboard.press("/")
    expect(page.get_by_role("searchbox").or_(page.get_by_label("Filter")).first).to_be_focused()


def test_the_menus_above_by_keys(console: Console) -> None:
    page = console.open(console.owner)
    theme = page.get_by_role("button", name="Theme")
    expect(theme).to_be_visible()
    tab_to(page, theme)
    page.keyboard.press("Enter")
    items = page.get_by_role("menu").get_by_role("menuitemradio")
    expect(items.first).to_be_focused()
    page.keyboard.press("End")
    expect(items.last).to_be_focused()
    page.keyboard.press("ArrowDown")
    expect(items.first).to_be_focused()
    page.keyboard.press("Escape")
    expect(theme).to_be_focused()


def test_a_job_is_found_and_cancelled_by_keys(console: Console) -> None:
    slow_copy(console)
    page = console.open(console.owner, "/console/jobs")
    expect(page.get_by_role("row", name="Copy entries")).to_contain_text("Running")
    tab_to(page, grid(page))
    page.keyboard.press("Enter")
    cancel = page.get_by_role("button", name="Cancel job")
    expect(cancel).to_be_visible()
    expect(page.get_by_role("main")).to_be_focused()
    tab_to(page, cancel)
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("button", name="Cancel", exact=True)).to_be_focused()
    page.keyboard.press("Escape")
    expect(cancel).to_be_focused()
    page.keyboard.press("Enter")
    tab_to(page, dialog.get_by_role("button", name="Cancel job"))
    page.keyboard.press("Enter")
    expect(page.locator(".bar .state")).to_have_text("Cancelled")
    expect(page.get_by_role("main")).to_be_focused()


def test_a_node_is_drained_by_keys(console: Console, operator: Person) -> None:
    page = console.open(operator, "/console/op/nodes")
    expect(page.get_by_role("row", name="node1")).to_contain_text("Takes jobs")
    try:
        tab_to(page, grid(page))
        for act, reason, after in (
            ("Drain node", "Kernel.", "Drain"),
            ("Undrain node", "", "Takes jobs"),
        ):
            page.keyboard.press("Shift+F10")
            expect(page.get_by_role("menuitem", name=act)).to_be_focused()
            page.keyboard.press("Enter")
            tab_to(page, page.get_by_role("dialog").get_by_role("textbox"))
            page.keyboard.type(reason)
            page.keyboard.press("Enter")
            expect(page.get_by_role("dialog")).to_have_count(0)
            expect(grid(page)).to_be_focused()
            expect(page.get_by_role("row", name="node1")).to_contain_text(re.compile(after))
    finally:
        console.people.call(operator, "POST", "/v1/nodes/node1/undrain")


@contextmanager
def emulated(
    page: Page,
    *,
    colours: Literal["active", "none"] = "none",
    motion: Literal["reduce", "no-preference"] = "no-preference",
) -> Iterator[None]:
    page.emulate_media(forced_colors=colours, reduced_motion=motion)
    yield
    page.emulate_media(forced_colors="none", reduced_motion="no-preference")


def colours(page: Page, one: Locator) -> int:
    """The number of colours that are seen in an element."""
    picture = base64.b64encode(one.screenshot()).decode()
    found: int = page.evaluate(_COLOURS, picture)
    return found


def shown(one: Locator, part: str, name: str) -> str:
    value: str = one.evaluate(
        "(one, [part, name]) => getComputedStyle(one, part)[name]", [part, name]
    )
    return value


def test_nothing_vanishes_in_the_colours_of_the_user(console: Console, operator: Person) -> None:
    page = console.open(operator, "/console/op/volumes")
    with emulated(page, colours="active"), running_job(console.people, console.owner) as job:
        here = page.get_by_role("navigation").get_by_role("link", name="Volumes")
        other = page.get_by_role("navigation").get_by_role("link", name="Nodes")
        expect(here).to_have_attribute("aria-current", "page")
        assert shown(here, "", "outlineStyle") != shown(other, "", "outlineStyle")
        bar = page.get_by_role("progressbar").first
        expect(bar).to_be_visible()
        assert colours(page, bar) > 1, "the share and the rest of a bar"
        dot = page.locator(".state.ok").first
        ground = shown(page.locator("body"), "", "backgroundColor")
        assert shown(dot, "::before", "backgroundColor") != ground
        grid(page).focus()
        rows = grid(page).locator(".grid-row")
        styles = [shown(rows.nth(index), "", "outlineStyle") for index in range(2)]
        assert len(set(styles)) == 2, "the active row"
        console.check(page)
        page.goto(f"{console.people.door.url}/console/op/jobs/{job}")
        event = page.get_by_role("listitem").filter(has_text="submitted")
        expect(event).to_be_visible()
        assert shown(event, "::before", "backgroundColor") != ground
        page.get_by_role("button", name="Cancel job").focus()
        assert shown(page.locator(":focus"), "", "outlineStyle") == "solid"
        console.check(page)


def test_nothing_moves_when_motion_is_reduced(console: Console) -> None:
    page = console.open(console.owner)
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    held: list[Route] = []

    def hold(route: Route) -> None:
        held.append(route)

    with emulated(page, motion="reduce"):
        page.route("**/v1/quotas*", hold)
        console.link(page, "Usage").click()
        bone = page.locator(".bone").first
        expect(bone).to_be_visible()
        assert page.evaluate("document.getAnimations().length") == 0
        assert shown(page.get_by_role("button").first, "", "transitionDuration") == "0s"
    assert page.evaluate("document.getAnimations().length") > 0, "else it would be shown"
    for route in held:
        route.continue_()
