"""`[vfolder.access]`: what would let tokens be forged, or cannot work, stops the start."""

import json
from pathlib import Path

import pytest

from api.cli.configuration.check import check_file
from core.errors import ConfigurationError
from core.settings import Settings, effective, load, masked
from tests.support.doors import SECRET, TICKET_SECRET, settings_in

ISSUER = "issuer = 'https://id.example'\naudience = 'vfolder'\n"
LONG = "0123456789abcdef" * 2
CLIENT = "algorithms = ['RS256']\njwks-url = 'https://id.example/keys'"


def access(directory: Path, more: str = "") -> Settings:
    return settings_in(directory, more=f"[vfolder.access]\n{more}")


def issuer(text: str) -> str:
    return f"[[vfolder.access.issuer]]\n{ISSUER}{text}\n"


def test_without_the_table_there_is_no_access(tmp_path: Path) -> None:
    assert settings_in(tmp_path).vfolder.access is None


def test_the_only_volume_is_the_home_volume(tmp_path: Path) -> None:
    settings = access(tmp_path)
    assert settings.vfolder.access is not None
    assert settings.vfolder.access.home_volume(settings.volume) == "local"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("algorithms = ['none']", "not signed"),
        ("algorithms = ['RS256', 'NONE']\njwks-url = 'https://id.example/keys'", "not signed"),
        ("algorithms = []", "is empty"),
        ("algorithms = ['HS512']", "none of"),
        (f"algorithms = ['HS256', 'RS256']\nsecret = '{LONG}'", "stands alone"),
        ("algorithms = ['HS256']", "at least 32 bytes"),
        ("algorithms = ['HS256']\nsecret = 'short'", "at least 32 bytes"),
        (f"algorithms = ['HS256']\nsecret = '{TICKET_SECRET}'", "that of tickets"),
        (f"algorithms = ['HS256']\nsecret = '{LONG}'\njwks-file = 'x'", "remove jwks"),
        ("algorithms = ['RS256']", "needs one of"),
        (f"algorithms = ['RS256']\nsecret = '{LONG}'", "for HS256 alone"),
        ("algorithms = ['RS256']\njwks-url = 'http://id.example/keys'", "no https URL"),
        ("algorithms = ['RS256']\njwks-url = 'https://a:b@id.example/keys'", "has a password"),
        ("algorithms = ['RS256']\njwks-file = 'missing.json'", "does not exist"),
        (f"algorithms = ['HS256']\nsecret = '{LONG}'\nleeway = -1", "leeway is"),
        (f"algorithms = ['HS256']\nsecret = '{LONG}'\nmax-lifetime = 0", "max-lifetime"),
        (f"algorithms = ['HS256']\nsecret = '{LONG}'\nuser-claim = ''", "user-claim"),
        ("algorithms = ['HS256']\nsecret-file = 'missing'", "No such file"),
        (f"algorithms = ['HS256']\nsecret = '{LONG}'\nsecret-file = 'x'", "two values"),
        (f"algorithms = ['HS256']\nsecret = '{LONG}'\nclient-id = 'c'", "public keys"),
        (f"{CLIENT}\nclient-id = 'vfolder'", "a token for the API"),
        (f"{CLIENT}\nclient-id = 'c'\nname = 'The lab'", "name 'The lab' is not"),
        (f"{CLIENT}\nclient-id = 'c'", "name '' is not"),
        (f"{CLIENT}\nclient-id = 'c'\nname = 'lab'\nclient-scope = 'profile'", "lacks openid"),
        (f"{CLIENT}\nclient-id = 'c'\nname = 'lab'\nsign-in-seconds = 0", "sign-in-seconds is"),
        (f"{CLIENT}\nclient-secret = '{LONG}'", "need client-id"),
        (f"{CLIENT}\nclient-id = 'c'\nname = 'lab'", "sign-in-url is missing"),
    ],
)
def test_an_issuer_whose_tokens_could_be_forged_stops_the_start(
    tmp_path: Path, text: str, said: str
) -> None:
    with pytest.raises(ConfigurationError, match=said) as error:
        access(tmp_path, issuer(text))
    assert LONG not in error.value.detail


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("issuers = 1", "did you mean `issuer`"),
        ("operator-networks = ['10.0.0.1/8']", "operator-networks: 10.0.0.1/8"),
        ("origins = ['ui.example']", "is not an origin"),
        ("key-days = 400", "at most key-days-max"),
        ("failures = 0", "failures is a number above 0"),
        ("decider = 'callout'", "url is missing"),
        ("[vfolder.access.callout]\ntimeout = 1\n[volume.b]\nbackend='vfs'\npath='b'", "home is"),
    ],
)
def test_a_wrong_value_is_named(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        access(tmp_path, text)


def test_two_tables_of_one_issuer_stop_the_start(tmp_path: Path) -> None:
    one = issuer(f"algorithms = ['HS256']\nsecret = '{LONG}'")
    with pytest.raises(ConfigurationError, match="the same issuer"):
        access(tmp_path, one + one)


def test_a_browser_comes_back_by_https(tmp_path: Path) -> None:
    client = issuer(f"{CLIENT}\nclient-id = 'c'\nname = 'lab'")
    doors = "[vfolder.doors]\nclient-url = 'https://files.example'\n"
    assert access(tmp_path, client + doors).vfolder.access is not None
    for url in ("http://files.example", "https://files.example/?a=1", "files.example"):
        with pytest.raises(ConfigurationError, match="sign-in-url"):
            access(tmp_path, f"sign-in-url = '{url}'\n{client}{doors}")


def test_a_ticket_is_never_a_token(tmp_path: Path) -> None:
    text = issuer(f"algorithms = ['HS256']\nsecret = '{LONG}'").replace(
        "'vfolder'", "'vfolder-data'"
    )
    with pytest.raises(ConfigurationError, match="that of tickets"):
        access(tmp_path, text)


def test_secrets_come_from_files_and_are_not_shown(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(f"{LONG}\n")
    settings = access(tmp_path, issuer("algorithms = ['HS256']\nsecret_file = 'secret'"))
    assert settings.vfolder.access is not None
    assert settings.vfolder.access.issuer[0].secret == LONG
    shown = json.dumps({key: masked(key, value) for key, value in effective(settings)})
    assert "id.example" in shown
    assert LONG not in shown
    assert SECRET not in shown
    again = {"VFOLDER__VFOLDER__ACCESS__CALLOUT__TOKEN_FILE": str(tmp_path / "secret")}
    found = load(Path(settings.origin), again).vfolder.access
    assert found is not None
    assert found.callout.token == LONG


def test_a_check_says_what_will_surprise(tmp_path: Path) -> None:
    settings = access(tmp_path, "home = 'elsewhere'\n[vfolder.access.callout]\nca = 'gone.pem'")
    _, findings = check_file(Path(settings.origin))
    found = {one.key: one.level for one in findings if one.key.startswith("vfolder.")}
    assert found["vfolder.access.home"] == "note"
    assert found["vfolder.access.callout.ca"] == "error"
    assert found["vfolder.doors.trusted-proxies"] == "note"
