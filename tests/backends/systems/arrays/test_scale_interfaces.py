"""What the interfaces of Storage Scale offer: page, sites of the contract and code agree."""

import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from backends.base import CAPABILITIES, Mount, MountedBackend, capabilities
from backends.systems.gpfs.backend import GpfsBackend, GpfsCommandBackend, GpfsNativeBackend, gpfs
from simulators.programs.mmfs import standin
from simulators.serving import serving
from simulators.shelf import Shelf
from simulators.systems import SYSTEMS
from tests.backends.systems.arrays.simulated import trusting
from tests.contract.sites import SCALE_SKILLS
from tests.support.node import ROOT

PAGE = (ROOT / "docs/backends/gpfs.md").read_text("utf-8")
TABLE = PAGE.partition("### Interfaces\n\n")[2].partition("\n\n")[0].splitlines()


def offered(interface: str) -> dict[str, bool]:
    """What the page says of an interface, by capability; a no has its reason."""
    _, *columns = (cell.strip(" `") for cell in TABLE[0].strip("|").split("|"))
    found = {}
    for line in TABLE[2:]:
        names, *cells = (cell.strip() for cell in line.strip("|").split("|"))
        cell = cells[columns.index(interface)]
        assert re.fullmatch(r"yes|no: .{20,}", cell), f"{names}: {cell}"
        found |= dict.fromkeys(re.findall(r"`([\w-]+)`", names), cell == "yes")
    return found


@contextmanager
def by_rest(top: Path, *, native: bool) -> Iterator[MountedBackend]:
    simulator = SYSTEMS["gpfs"].simulate(Shelf(top), native=native)
    with serving(simulator) as server:
        given = {**SYSTEMS["gpfs"].options(server.url), **simulator.further_options}
        yield gpfs(Mount("array", top, trusting(given)))


@contextmanager
def by_commands(top: Path) -> Iterator[MountedBackend]:
    programs = top.parent / "bin"
    programs.mkdir()
    with standin.commands(programs, Shelf(top)):
        yield gpfs(Mount("array", top, standin.options(programs, Shelf(top))))


INTERFACES: dict[str, Callable[[Path], AbstractContextManager[MountedBackend]]] = {
    "v2": lambda top: by_rest(top, native=False),
    "v3": lambda top: by_rest(top, native=True),
    "commands": by_commands,
}


@pytest.mark.parametrize("interface", INTERFACES)
def test_the_page_says_what_an_interface_offers(interface: str, tmp_path: Path) -> None:
    top = tmp_path / "research"
    top.mkdir()
    with INTERFACES[interface](top) as backend:
        found = capabilities(backend)
    said = offered(interface)
    assert {name: name in found for name in said} == said
    assert set(found) - {"vfolder", "reflink"} <= set(said)


@pytest.mark.parametrize(
    ("interface", "kind"), [("v3", GpfsNativeBackend), ("commands", GpfsCommandBackend)]
)
def test_the_contract_demands_all_that_an_interface_has(
    interface: str, kind: type[GpfsBackend]
) -> None:
    asked = {CAPABILITIES[name] for name in offered("v2")}
    has = {skill for skill in asked if issubclass(kind, skill)}
    assert has == set(SCALE_SKILLS[interface])
