"""The name of an upload below a directory: what clients send for it, and for none."""

import base64
import re
from urllib.parse import urljoin

import pytest

from tests.api.client.conftest import Folder
from tests.api.client.test_uploads import meta, patch, post, problem

#: `String(null)` and `String(undefined)` of JavaScript, and nothing.
NO_NAMES = ["null", "undefined", ""]
WINDOWS = ["dir\\a.txt", "C:\\a.txt", "C:/dir/a.txt", "\\\\server\\share\\a.txt", "\\a.txt", "a\\"]


def send(folder: Folder, data: bytes, **words: str) -> None:
    url = folder.upload("base", 100, tree=True)
    made = post(url, Upload_Length=str(len(data)), Upload_Metadata=meta(**words))
    assert made.status_code == 201, made.text
    assert patch(urljoin(url, made.headers["Location"]), 0, data).status_code == 204


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def found(folder: Folder) -> dict[str, bytes]:
    top = folder.path / "base"
    files = [path for path in top.rglob("*") if path.is_file()]
    return {str(path.relative_to(top)): path.read_bytes() for path in files}


@pytest.mark.parametrize("none", NO_NAMES)
def test_a_word_for_no_path_falls_back_to_the_name(folder: Folder, none: str) -> None:
    """Two files without a path stay two files."""
    send(folder, b"one", relativePath=none, name="one", filename="one")
    send(folder, b"two", relativePath=none, filename="two")
    send(folder, b"three", relativePath=none, filename=none, name="three")
    assert found(folder) == {"one": b"one", "two": b"two", "three": b"three"}


#: What released clients send for a file `a b.txt`, and for one of a folder: `{}` is in base64.
SENT = {
    "uppy": "relativePath {null},name {a b.txt},type {a/b},filetype {a/b},filename {a b.txt}",
    "uppy, a folder": "relativePath {dir/a b.txt},name {a b.txt},type {},filename {a b.txt}",
    "tus-js-client": "filename {a b.txt},filetype {undefined}",
    "tusc": "filename {a b.txt},",
    "tusc.sh": "filename {a b.txt}",
    "rclone": "mtime {1764406800},filetype {text/plain},filename {a b.txt}",
}


@pytest.mark.parametrize("client", SENT)
def test_what_released_clients_send(folder: Folder, client: str) -> None:
    words = re.sub(r"{(.*?)}", lambda word: encoded(word[1]), SENT[client])
    url = folder.upload("base", 100, tree=True)
    made = post(url, Upload_Length="4", Upload_Metadata=words)
    assert made.status_code == 201, made.text
    assert patch(urljoin(url, made.headers["Location"]), 0, b"data").status_code == 204
    assert found(folder) == {"dir/a b.txt" if "folder" in client else "a b.txt": b"data"}


@pytest.mark.parametrize("none", NO_NAMES)
def test_an_upload_without_any_name_is_refused(folder: Folder, none: str) -> None:
    url = folder.upload("base", 100, tree=True)
    for words in ({"filename": none}, dict.fromkeys(("relativePath", "filename", "name"), none)):
        answer = post(url, Upload_Length="4", Upload_Metadata=meta(**words))
        problem(answer, 400)
        assert "Upload-Metadata" in answer.json()["data"]
    problem(post(url, Upload_Length="4", Upload_Metadata="filename"), 400)
    assert not (folder.path / "base").exists()


def test_a_name_may_hold_such_a_word(folder: Folder) -> None:
    names = ["dir/null", "null/undefined", "nullable", "Null", "undefined.txt"]
    for name in names:
        send(folder, name.encode(), relativePath=name, filename=name.rpartition("/")[2])
    assert found(folder) == {name: name.encode() for name in names}


@pytest.mark.parametrize("key", ["relativePath", "filename", "name"])
@pytest.mark.parametrize("path", [*WINDOWS, "/home/me/a.txt", "/a.txt", "//a", "../a.txt"])
def test_paths_of_the_sender_are_refused(folder: Folder, key: str, path: str) -> None:
    url = folder.upload("base", 100, tree=True)
    words = {"name": "a.txt", key: path}
    problem(post(url, Upload_Length="4", Upload_Metadata=meta(**words)), 400)
    assert not (folder.path / "base").exists()


@pytest.mark.parametrize("path", ["a\\b.txt", "null", "C:"])
def test_a_ticket_for_one_file_has_any_name(folder: Folder, path: str) -> None:
    """The name is the ticket's; the metadata may say what it likes."""
    url = folder.upload(path, 4)
    made = post(url, Upload_Length="4", Upload_Metadata=meta(filename="C:\\x", relativePath="null"))
    assert patch(urljoin(url, made.headers["Location"]), 0, b"data").status_code == 204
    assert (folder.path / path).read_bytes() == b"data"


def test_the_name_of_an_archive_to_unpack(folder: Folder) -> None:
    url = folder.upload("base", 100, tree=True)
    for name in (*NO_NAMES, *WINDOWS):
        words = {"extract": "tar", "relativePath": name}
        problem(post(url, Upload_Length="4", Upload_Metadata=meta(**words)), 400)


def test_an_upload_that_would_replace_an_entry(folder: Folder) -> None:
    """The client asks for it (`If-None-Match: *`), and may ask its user then."""
    folder.write("base/dir/a", b"old")
    url = folder.upload("base", 100, tree=True)
    for name in ("dir/a", "dir"):
        words = {"Upload_Length": "4", "Upload_Metadata": meta(relativePath=name)}
        refused = post(url, **words, If_None_Match="*")
        problem(refused, 412)
        assert "If-None-Match" in refused.headers["Access-Control-Allow-Headers"]
    send(folder, b"new", relativePath="dir/a")
    assert found(folder) == {"dir/a": b"new"}
    words = {"Upload_Length": "0", "Upload_Metadata": meta(relativePath="dir/b")}
    assert post(url, **words, If_None_Match="*").status_code == 201
    assert post(url, **words, If_None_Match="*").status_code == 412
