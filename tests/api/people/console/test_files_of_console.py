"""What the door serves for the console, its texts, colours and size. No browser is needed."""

import gzip
import json
import re
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from api.app import client_door
from api.doors.console.routes import built_files
from tests.support.doors import settings_in
from tests.support.node import ROOT

APP = ROOT / "api/doors/console/app"
TEXTS = APP / "src/texts"
ACCESS = '[vfolder.access]\nhome = "local"\n'
PEOPLE_BYTES_MAX = 90 * 1024
ALL_BYTES_MAX = 250 * 1024


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Any:
    settings = settings_in(tmp_path_factory.mktemp("door"), more=ACCESS)
    return client_door(settings).test_client()


def test_every_address_below_the_console_is_the_page(client: Any) -> None:
    pages = [client.get(path) for path in ("/console", "/console/", "/console/f/a:b/c%ff/d")]
    assert {page.status_code for page in pages} == {200}
    assert len({page.data for page in pages}) == 1
    page = pages[0]
    assert page.headers["Cache-Control"] == "no-cache"
    again = client.get("/console", headers={"If-None-Match": page.headers["ETag"]})
    assert (again.status_code, again.data) == (304, b"")
    policy = page.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert page.headers["X-Content-Type-Options"] == "nosniff"
    assert page.headers["Referrer-Policy"] == "no-referrer"
    text = page.get_data(as_text=True)
    assert not re.search(r"<script(?! type=\"module\" src=)|<style|style=|\son\w+=", text)


def test_files_with_a_digest_in_their_name_are_kept_for_good(client: Any) -> None:
    names = re.findall(r"/console/assets/([^\"]+)", client.get("/console").get_data(as_text=True))
    # The page asks for all modules of the start together.
    assert {name.rpartition(".")[2] for name in names} == {"svg", "css", "js"}
    for name in names:
        plain = client.get(f"/console/assets/{name}")
        packed = client.get(f"/console/assets/{name}", headers={"Accept-Encoding": "gzip"})
        assert "immutable" in plain.headers["Cache-Control"]
        assert packed.headers["Content-Encoding"] == "gzip"
        assert gzip.decompress(packed.data) == plain.data
        assert packed.headers["ETag"] != plain.headers["ETag"]
    assert client.get(f"/console/assets/{names[0]}x").status_code == 404
    assert client.get("/console/assets/index.html").status_code == 404
    assert client.get("/console/assets/../routes.py").status_code in (200, 404)


def test_the_console_can_be_switched_off(tmp_path: Path) -> None:
    off = settings_in(tmp_path, more=f"{ACCESS}[vfolder.console]\nenabled = false\n")
    assert client_door(off).test_client().get("/console").status_code == 404


def test_without_people_there_is_no_console(tmp_path: Path) -> None:
    assert client_door(settings_in(tmp_path)).test_client().get("/console").status_code == 404


@pytest.mark.parametrize("name", sorted(path.name[:-8] for path in TEXTS.glob("*.en.json")))
def test_both_languages_have_the_same_texts(name: str) -> None:
    english = json.loads((TEXTS / f"{name}.en.json").read_text("utf-8"))
    korean = json.loads((TEXTS / f"{name}.ko.json").read_text("utf-8"))
    assert list(english) == sorted(english), "sorted, so that two changes seldom meet"
    assert list(english) == list(korean)
    for key, text in english.items():
        values = set(re.findall(r"\{(\w+)\}", text))
        assert set(re.findall(r"\{(\w+)\}", korean[key])) <= values | {"n"}, key
        assert values - {"n"} <= set(re.findall(r"\{(\w+)\}", korean[key])), key
    same = [key for key in english if english[key] == korean[key] and len(english[key]) > 12]
    assert not same, "not translated"


def test_texts_say_what_is_and_what_to_do() -> None:
    banned = re.compile(
        r"\boops\b|something went wrong|\berror \d|\bplease\b|\binvalid\b", re.IGNORECASE
    )
    for path in TEXTS.glob("*.en.json"):
        wrong = [
            text for text in json.loads(path.read_text("utf-8")).values() if banned.search(text)
        ]
        assert not wrong


def test_every_text_is_used_and_none_is_in_code() -> None:
    sources = {path: path.read_text("utf-8") for path in (APP / "src").rglob("*.ts*")}
    code = "\n".join(sources.values())
    families = [
        re.compile(re.sub(r"\\\$\\\{.*?\\\}", "[\\\\w.-]+", re.escape(one)))
        for one in re.findall(r"`([a-z][\w.-]*\$\{[^`]*\}[\w.-]*)`", code)
    ]
    for path in TEXTS.glob("*.en.json"):
        for key in json.loads(path.read_text("utf-8")):
            used = f'"{key}"' in code or any(one.fullmatch(key) for one in families)
            assert used, f"{key} is used nowhere"
    for path, text in sources.items():
        found = re.findall(r">\s*([A-Z][a-z]+(?: [a-z]+)+)[.!]?\s*</", text)
        assert not found, f"{path.name}: {found}"
        assert "innerHTML" not in text, path.name
        assert "insertAdjacentHTML" not in text, path.name


# -- Colours ---------------------------------------------------------------------------------------
def _tokens(which: int) -> dict[str, str]:
    css = (APP / "src/styles/tokens.css").read_text("utf-8")
    pairs = re.findall(r"--([\w-]+): light-dark\((#\w{6}), (#\w{6})\)", css)
    return {one[0]: one[1 + which] for one in pairs}


def _luminance(colour: str) -> float:
    """The relative luminance of WCAG 2.2."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _contrast(one: str, other: str) -> float:
    low, high = sorted((_luminance(one), _luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("which", [0, 1], ids=["light", "dark"])
def test_every_text_stands_out_from_its_ground(which: int) -> None:
    colours = _tokens(which)
    texts = ("text", "muted", "ok", "warn", "bad", "accent")
    for text, ground in product(texts, ("bg", "surface", "raised", "hover", "chosen")):
        if ground in ("hover", "chosen") and text in ("ok", "warn", "bad"):
            continue  # states are words in the colour of text, beside a coloured mark
        assert _contrast(colours[text], colours[ground]) >= 4.5, (text, ground)
    assert _contrast(colours["on-accent"], colours["accent"]) >= 4.5
    assert _contrast(colours["on-bad"], colours["bad"]) >= 4.5
    assert _contrast(colours["control"], colours["bg"]) >= 3


# -- Size, and what is built -----------------------------------------------------------------------
def test_the_first_load_is_small() -> None:
    files = built_files()
    page = files["index.html"].data.decode()
    first = set(re.findall(r"/console/assets/([^\"]+)", page))
    waiting = list(first)
    while waiting:
        text = files[waiting.pop()].data.decode()
        # What a module imports at once; `import("…")` comes later.
        more = set(re.findall(r"(?:from|import) ?\"\./([\w.-]+\.js)\"", text)) - first
        first |= more
        waiting += more
    assert any("chunk-" in name for name in first)
    size = sum(len(files[name].packed) for name in {*first, "index.html"})
    assert size <= PEOPLE_BYTES_MAX, size
    assert sum(len(one.packed) for one in files.values()) <= ALL_BYTES_MAX


def test_the_lock_names_no_place_to_download_from() -> None:
    packages = json.loads((APP / "package-lock.json").read_text("utf-8"))["packages"]
    assert not [name for name, one in packages.items() if "resolved" in one]
    assert all("integrity" in one for name, one in packages.items() if name)
