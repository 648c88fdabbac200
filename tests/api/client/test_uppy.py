"""Uppy as it was published, in a real browser, on a page of another origin, with a tree ticket."""

import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from contract.waiting import eventually
from tests.api.client.chromium import browser
from tests.api.client.conftest import Folder
from tests.api.client.test_uploads import staged
from tests.support.node import ROOT

PACKAGES = ROOT / "tests/support/npm"
RELEASES = ["uppy-3", "uppy-4", "uppy-5", "uppy-6"]
PAGE = """<!doctype html><div id="here"></div><script src="bundle.js"></script>"""
SCRIPT = """
import Uppy from "@uppy/core";
import Dashboard from "@uppy/dashboard";
import Tus from "@uppy/tus";
window.uppy = new Uppy()
  .use(Dashboard, { inline: true, target: "#here", fileManagerSelectionType: "both" })
  .use(Tus, { endpoint: ENDPOINT, chunkSize: CHUNK });
window.uppy.on("complete", (result) => { window.result = result; });
"""
CHUNK_BYTES = 500_000

pytestmark = [
    pytest.mark.part("chromium"),
    pytest.mark.part("node"),
    pytest.mark.part("npm-packages"),
]


@contextmanager
def page_of(release: str, endpoint: str, directory: Path) -> Iterator[str]:
    """Serve a page with that release; yield its address."""
    directory.mkdir()
    words = [PACKAGES / "node_modules/.bin/esbuild", "--bundle", "--log-level=error"]
    words += [f"--define:ENDPOINT={endpoint!r}", f"--define:CHUNK={CHUNK_BYTES}"]
    words += [f"--outfile={directory / 'bundle.js'}"]
    subprocess.run(words, cwd=PACKAGES / release, input=SCRIPT.encode(), check=True, timeout=120)
    (directory / "index.html").write_text(PAGE)
    handler = partial(SimpleHTTPRequestHandler, directory=str(directory))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    top = tmp_path / "source"
    for name, size in {
        "one/a ü.txt": 10,
        "two/b.bin": 3 * CHUNK_BYTES + 1,
        "dir/c": 7,
        "dir/sub/c": 8,
        "dir/sub/empty": 0,
    }.items():
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_bytes(os.urandom(size))
    return top


@pytest.mark.parametrize("release", RELEASES)
def test_files_and_folders(folder: Folder, tmp_path: Path, source: Path, release: str) -> None:
    url = folder.upload("base", 1 << 30, tree=True)
    with (
        page_of(release, url, tmp_path / "page") as page,
        browser(tmp_path / "profile") as seen,
    ):
        seen.open(page)
        seen.choose("input.uppy-Dashboard-input:not([webkitdirectory])", list(source.glob("*/*.*")))
        seen.until("window.uppy.getFiles().length === 2")
        seen.value("window.uppy.upload().then(() => 0)")
        seen.until("window.result && window.result.successful.length === 2")
        seen.value("window.uppy.getFiles().forEach((file) => window.uppy.removeFile(file.id))")
        seen.choose("input.uppy-Dashboard-input[webkitdirectory]", [source / "dir"])
        seen.until("window.uppy.getFiles().length === 3")
        seen.value("window.uppy.upload().then(() => 0)")
        seen.until("window.result.successful.length === 3")
        assert seen.value("window.result.failed.length") == 0
    base = folder.path / "base"
    found = {str(path.relative_to(base)): path for path in base.rglob("*") if path.is_file()}
    assert set(found) == {"a ü.txt", "b.bin", "dir/c", "dir/sub/c", "dir/sub/empty"}
    for name, path in found.items():
        [original] = [one for one in source.rglob("*") if str(one).endswith(f"/{name}")]
        assert path.read_bytes() == original.read_bytes()
    assert staged(folder) == []


@pytest.mark.parametrize("release", [RELEASES[0], RELEASES[-1]])
def test_a_file_that_is_taken_out(
    folder: Folder, tmp_path: Path, source: Path, release: str
) -> None:
    """Its upload is given up, and leaves nothing."""
    url = folder.upload("base", 1 << 30, tree=True)
    with (
        page_of(release, url, tmp_path / "page") as page,
        browser(tmp_path / "profile") as seen,
    ):
        seen.open(page)
        seen.choose("input.uppy-Dashboard-input:not([webkitdirectory])", [source / "two/b.bin"])
        seen.until("window.uppy.getFiles().length === 1")
        seen.value(
            "window.uppy.on('upload-progress', (file, progress) => {"
            " if (progress.bytesUploaded > 0) window.uppy.removeFile(file.id); })"
        )
        seen.value("window.uppy.upload().then(() => 0)")
        seen.until("window.uppy.getFiles().length === 0")
        eventually(lambda: staged(folder) == [])
    assert not (folder.path / "base").exists()
