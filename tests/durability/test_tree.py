"""A node whose power fails while it helps another node to copy: the other trusts nothing of it."""

from contextlib import suppress
from pathlib import Path

import pytest

from backends.fs import descriptors
from backends.tree import CopyOptions, TreeManifest, copy_tree
from backends.tree.copy import ledger
from core.jobs import Released, Unattended
from tests.durability.site import Crash, Site
from tests.support.trees import attributes

pytestmark = pytest.mark.part("fuse")

MANIFEST = "it.manifest"


class UntilPhase(Unattended):
    """A control that ends the run when a phase begins."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = name

    def phase(self, name: str) -> None:
        if name == self._name:
            raise Released("here")


def copy(source: Path, target: Path, control: Unattended, *, parts_only: bool = False) -> None:
    options = CopyOptions(parts_only=parts_only)
    with (
        descriptors.opened(str(source)) as source_fd,
        descriptors.opened(str(target)) as target_fd,
        descriptors.opened(str(target.parent)) as directory,
    ):
        manifest = TreeManifest.open(directory, MANIFEST)
        try:
            copy_tree(source_fd, target_fd, control=control, manifest=manifest, options=options)
        finally:
            manifest.close()


def test_what_a_helper_had_not_synced_is_copied_again(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = site.path(site.filled(1))
    target = site.volume.path / "copy" / "tree"
    target.mkdir(parents=True)
    wanted = attributes(source)
    monkeypatch.setattr(ledger, "boot_id", lambda: "of the first node")
    with suppress(Released):
        copy(source, target, UntilPhase("copy"))

    def act() -> None:
        monkeypatch.setattr(ledger, "boot_id", lambda: "of its helper")
        copy(source, target, Unattended(), parts_only=True)

    def right(_: Crash) -> None:
        monkeypatch.setattr(ledger, "boot_id", lambda: "of the first node")
        copy(source, target, Unattended())
        assert attributes(target) == wanted

    site.crash(act, right, [])
