"""Every example of a page about a backend is a volume that can be made."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from backends.base import Mount
from backends.volumes import backend_factory
from core.errors import ConfigurationError

DOCS = Path(__file__).resolve().parents[3] / "docs"
#: A page about all backends, not about one.
ALL = DOCS / "backends" / "faults.md"
PAGES = [DOCS / "backends.md", *sorted({*(DOCS / "backends").glob("*.md")} - {ALL})]
TOML = re.compile(r"```toml\n(.*?)```", re.DOTALL)


def volumes() -> list[Any]:
    """Every volume of an example that names its backend."""
    found = []
    for page in PAGES:
        for block in TOML.findall(page.read_text("utf-8")):
            tables = tomllib.loads(block).get("volume", {})
            named = {name: table for name, table in tables.items() if "backend" in table}
            found += [pytest.param(t, id=f"{page.stem}-{name}") for name, t in named.items()]
    return found


@pytest.mark.parametrize("table", volumes())
def test_an_example_is_a_volume(table: dict[str, Any]) -> None:
    mount = Mount("example", Path(table["path"]), table.get("options", {}))
    assert backend_factory(table["backend"])(mount).name == table["backend"]


@pytest.mark.parametrize("table", volumes())
def test_an_option_that_does_not_exist_is_refused(table: dict[str, Any]) -> None:
    if not table.get("options"):
        pytest.skip("the example has no options")
    options = {**table["options"], "no_such_option": 1}
    with pytest.raises(ConfigurationError, match="no_such_option"):
        backend_factory(table["backend"])(Mount("example", Path(table["path"]), options))


@pytest.mark.parametrize("page", PAGES[1:], ids=lambda page: page.stem)
def test_a_page_answers_what_an_operator_asks(page: Path) -> None:
    headings = re.findall(r"^## (.*)$", page.read_text("utf-8"), re.MULTILINE)
    wanted = ["Needs", "Rights", "Configuration", "What works", "What does not"]
    assert headings == [*wanted, "What a fault looks like"]
