import re
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.streaming import attachment

FORM = re.compile(
    r"attachment; filename=\"(?P<plain>[\x20\x21\x23-\x5b\x5d-\x7e]*)\"; "
    r"filename\*=UTF-8''(?P<full>(?:[A-Za-z0-9!#$&+.^_`|~-]|%[0-9A-F]{2})*)"
)


@pytest.mark.parametrize(
    ("name", "header"),
    [
        ("a.txt", "attachment; filename=\"a.txt\"; filename*=UTF-8''a.txt"),
        ("a b", "attachment; filename=\"a b\"; filename*=UTF-8''a%20b"),
        ('q".txt', "attachment; filename=\"q_.txt\"; filename*=UTF-8''q%22.txt"),
        ("b\\s", "attachment; filename=\"b_s\"; filename*=UTF-8''b%5Cs"),
        ("ünï", "attachment; filename=\"_n_\"; filename*=UTF-8''%C3%BCn%C3%AF"),
        ("new\r\nline", "attachment; filename=\"new__line\"; filename*=UTF-8''new%0D%0Aline"),
        ("100%41", "attachment; filename=\"100_41\"; filename*=UTF-8''100%2541"),
        ("\udcff", "attachment; filename=\"_\"; filename*=UTF-8''%EF%BF%BD"),
        ("", "attachment; filename=\"download\"; filename*=UTF-8''download"),
    ],
)
def test_known_names(name: str, header: str) -> None:
    assert attachment(name) == header


@given(st.text(alphabet=st.characters(exclude_characters="\0/")))
def test_any_name_makes_a_header_that_gives_it_back(name: str) -> None:
    raw = name.encode("utf-8", "replace").decode("utf-8", "surrogateescape")
    match = FORM.fullmatch(attachment(raw))
    assert match
    assert unquote(match["full"]) == (raw or "download")
