"""Documents that a look into a file lays out: Markdown and notebooks, also hostile ones."""

import base64
import json

import pytest
from playwright.sync_api import expect

from tests.api.people.console.conftest import Console
from tests.api.people.console.test_sharing_of_console import png
from tests.support.node import wait_for

pytestmark = [pytest.mark.part("chromium"), pytest.mark.part("npm-packages")]

_MARKDOWN = """# Corpus &amp; models

Some **bold** words with `code`, see [the paper](http://elsewhere.test/p).

* [x] counted
* [ ] checked

| file | size |
|---|--:|
| a.bin | 3 |

![a plan](http://elsewhere.test/plan.png)
[press](javascript:document.title='ran')
<img src=x onerror="document.title='ran'">
"""
_NOTEBOOK = {
    "nbformat": 4,
    "cells": [
        {"cell_type": "markdown", "source": ["## Loss\n", "of run 7"]},
        {
            "cell_type": "code",
            "execution_count": 3,
            "source": "plot(loss)",
            "outputs": [
                {"output_type": "stream", "text": ["epoch 1\n", "epoch 2\n"]},
                {
                    "output_type": "display_data",
                    "data": {
                        "image/png": base64.b64encode(png()).decode(),
                        "text/plain": "<Figure>",
                    },
                },
                {
                    "output_type": "execute_result",
                    "data": {"text/html": "<script>document.title='ran'</script>"},
                },
                {
                    "output_type": "error",
                    "ename": "ValueError",
                    "evalue": "no",
                    "traceback": ["\x1b[0;31mValueError\x1b[0m: no"],
                },
            ],
        },
        "no cell",
        {"cell_type": "code", "source": {"no": "text"}, "outputs": 5},
    ],
}


def test_markdown_is_laid_out_and_nothing_of_it_acts(console: Console) -> None:
    deep = "> " * 20_000 + "end"
    folder = console.folder(**{"a.md": _MARKDOWN, "b.md": deep, "c.md": "x" * 300_000})
    page = console.open(console.owner, f"/console/f/local:{folder.id}?preview=a.md")
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("heading", name="Corpus & models")).to_be_visible()
    expect(dialog.locator("strong")).to_have_text("bold")
    expect(dialog.get_by_role("checkbox", name="not done")).not_to_be_checked()
    expect(dialog.get_by_role("checkbox", name="done", exact=True)).to_be_checked()
    expect(dialog.get_by_role("cell", name="a.bin")).to_be_visible()
    expect(dialog.get_by_text("[picture: a plan]")).to_be_visible()
    expect(dialog.get_by_text('<img src=x onerror="')).to_be_visible()
    assert dialog.locator("a, img").count() == 0
    console.check(page)
    dialog.get_by_text("press").click()
    page.get_by_role("button", name="As text").click()
    expect(dialog.locator("pre")).to_contain_text("# Corpus &amp; models")
    page.get_by_role("button", name="Next file").click()
    expect(dialog).to_contain_text("b.md")
    expect(dialog.locator(".markdown, pre").first).to_contain_text("end")
    page.get_by_role("button", name="Next file").click()
    expect(dialog.locator("pre")).to_contain_text("xxx")
    assert "ran" not in page.title()


def test_a_notebook_shows_its_cells_and_what_is_none_is_text(console: Console) -> None:
    folder = console.folder(**{"a.ipynb": json.dumps(_NOTEBOOK), "b.ipynb": '{"nbformat": 3}'})
    page = console.open(console.owner, f"/console/f/local:{folder.id}?preview=a.ipynb")
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("heading", name="Loss")).to_be_visible()
    cell = dialog.get_by_role("region", name="Cell 3")
    expect(cell).to_contain_text("plot(loss)")
    expect(cell).to_contain_text("epoch 2")
    expect(cell.locator("pre").last).to_have_text("ValueError: no")
    expect(cell).to_contain_text("A result of the kind text/html is not shown.")
    picture = cell.get_by_role("img", name="<Figure>")
    wait_for(lambda: picture.evaluate("(one) => one.naturalWidth") == 1)
    console.check(page)
    page.get_by_role("button", name="As text").click()
    expect(dialog.locator("pre")).to_contain_text('"nbformat"')
    page.get_by_role("button", name="Next file").click()
    expect(dialog.locator("pre")).to_contain_text('{"nbformat": 3}')
    assert "ran" not in page.title()
