"""The distribution of the client library has all of its packages, and its version."""

import tomllib
from pathlib import Path

import vfolder_client

TOP = Path(vfolder_client.__file__).parent


def test_all_packages_and_the_version() -> None:
    document = tomllib.loads((TOP / "pyproject.toml").read_text("utf-8"))
    packages = {
        ".".join(("vfolder_client", *found.parent.relative_to(TOP).parts))
        for found in TOP.rglob("__init__.py")
        if "build" not in found.parts
    }
    assert {*document["tool"]["setuptools"]["packages"]} == packages
    assert document["project"]["version"] == vfolder_client.__version__
