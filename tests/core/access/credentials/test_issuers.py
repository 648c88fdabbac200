"""Tokens: what is valid says who asks; every forgery is refused, with a reason for the log."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid4, uuid5

import jwt
import pytest

from core.access import DownloadTicket, Scope, TicketError, tickets
from core.access.credentials.issuers import CredentialRefused, Issuers, VerifiedToken
from core.settings import AccessTable, IssuerTable
from tests.support.issuer import AUDIENCE, NAME, SigningKey, by_parts, claims

SECRET = "a shared secret of the tests, long enough"
KEY = SigningKey("one")
RSA = SigningKey("rsa", "RS256")
EDDSA = SigningKey("ed", "EdDSA")
OTHER = SigningKey("one")  # the same name, another key


def issuers(directory: Path, *keys: SigningKey, **changed: Any) -> Issuers:
    """Issuers with one table: keys in a file, or the shared secret where there are none."""
    facts: dict[str, Any] = {"issuer": NAME, "audience": AUDIENCE, "algorithms": ["HS256"]}
    if keys:
        (directory / "keys.json").write_text(json.dumps({"keys": [key.jwk() for key in keys]}))
        facts |= {"algorithms": sorted({key.algorithm for key in keys}), "jwks_file": "keys.json"}
    else:
        facts |= {"secret": SECRET}
    return Issuers(AccessTable(issuer=[IssuerTable(**(facts | changed))]), directory)


def shared(**changed: Any) -> str:
    return jwt.encode(claims(**changed), SECRET, "HS256")


def refused(found: Issuers, token: str) -> str:
    with pytest.raises(CredentialRefused) as error:
        found.verified(token)
    return error.value.reason


@pytest.mark.parametrize("key", [KEY, RSA, EDDSA], ids=lambda key: key.algorithm)
def test_a_token_of_each_algorithm_is_valid(tmp_path: Path, key: SigningKey) -> None:
    found = issuers(tmp_path, key).verified(key.token(jti="t-1"))
    assert found.subject.word == f"user:{uuid5(uuid5(NAMESPACE_URL, NAME), 'alice')}"
    assert (found.credential.kind, found.credential.id) == ("token", "t-1")
    assert Scope.ADMIN_READ not in found.credential.scopes


def test_a_token_by_shared_secret_is_valid(tmp_path: Path) -> None:
    user = uuid4()
    found = issuers(tmp_path).verified(shared(sub=str(user), preferred_username="Alice"))
    assert (found.subject.id, found.subject.name) == (user, "Alice")


def test_claims_say_groups_admins_and_operators(tmp_path: Path) -> None:
    more = {"group_admin_claim": "lab.admin", "operator_role": "storage-operator"}
    group = uuid4()
    token = shared(
        groups=[str(group), "/nlp"],
        lab={"admin": ["/vision"]},
        realm_access={"roles": ["other", "storage-operator"]},
    )
    subject = issuers(tmp_path, **more).verified(token).subject
    named = uuid5(NAMESPACE_URL, NAME)
    vision = uuid5(named, "/vision")
    assert subject.groups == {group, uuid5(named, "/nlp"), vision}
    assert subject.admin_of == {vision}
    assert subject.kind == "operator"
    assert issuers(tmp_path).verified(token).subject.kind == "user", "no role was configured"


def test_a_claim_whose_name_has_dots_is_found(tmp_path: Path) -> None:
    name = "https://lab.example/groups"
    found = issuers(tmp_path, groups_claim=name).verified(shared(**{name: ["a"]}))
    assert len(found.subject.groups) == 1


def none_signed(**changed: Any) -> str:
    return by_parts({"alg": "none", "typ": "JWT", "kid": "one"}, claims(**changed))


def with_public_key() -> str:
    """HS256 with the public key as its secret: what a reader takes who trusts the header."""
    import hashlib  # noqa: PLC0415 - this forgery alone
    import hmac  # noqa: PLC0415 - as above

    unsigned = by_parts({"alg": "HS256", "kid": "one"}, claims()).rsplit(".", 1)[0]
    signature = hmac.digest(KEY.pem(), unsigned.encode(), hashlib.sha256)
    return f"{unsigned}.{by_parts(signature, b'').split('.')[0]}"


def at(seconds: float) -> float:
    """The moment so many seconds from now, when a test runs. It was collected long before."""
    return time.time() + seconds


ES256 = {"alg": "ES256", "kid": "one"}
FORGED: list[tuple[str, Callable[[], str], str]] = [
    ("not signed", none_signed, "algorithm"),
    ("not signed, in capitals", lambda: none_signed().replace("bm9uZS", "Tk9ORS"), "algorithm"),
    ("no algorithm", lambda: by_parts({"kid": "one"}, claims(), b"x"), "algorithm"),
    ("algorithm is a list", lambda: by_parts({"alg": ["ES256"]}, claims(), b"x"), "algorithm"),
    ("secret is the public key", with_public_key, "algorithm"),
    ("another key of this name", OTHER.token, "signature"),
    ("foreign kid", lambda: KEY.token({"kid": "foreign"}), "key"),
    ("kid is a number", lambda: by_parts({"alg": "ES256", "kid": 1}, claims(), b"x"), "header"),
    ("kid is a path", lambda: KEY.token({"kid": "../../etc/passwd"}), "key"),
    ("algorithm of another key", lambda: RSA.token({"kid": "one"}), "algorithm"),
    ("key by URL", lambda: KEY.token({"jku": "http://127.0.0.1/keys"}), "header"),
    ("certificate by URL", lambda: KEY.token({"x5u": "http://127.0.0.1/c"}), "header"),
    ("key inside", lambda: OTHER.token({"jwk": OTHER.jwk()}), "header"),
    ("critical", lambda: by_parts({"alg": "ES256", "crit": ["x"]}, claims(), b"x"), "header"),
    ("body elsewhere", lambda: by_parts({"alg": "ES256", "b64": False}, claims()), "header"),
    ("expired", lambda: KEY.token(iat=at(-400), exp=at(-100)), "expired"),
    ("issued in future", lambda: KEY.token(iat=at(900), exp=at(1000)), "too_early"),
    ("not yet", lambda: KEY.token(nbf=at(900)), "too_early"),
    ("lives too long", lambda: KEY.token(exp=at(9000)), "lifetime"),
    ("lives for ever", lambda: KEY.token(exp=10**30), "lifetime"),
    ("iat long ago", lambda: KEY.token(iat=0), "lifetime"),
    ("without exp", lambda: KEY.token(exp=None), "claims"),
    ("without iat", lambda: KEY.token(iat=None), "claims"),
    ("without aud", lambda: KEY.token(aud=None), "claims"),
    ("without iss", lambda: KEY.token(iss=None), "issuer"),
    ("without sub", lambda: KEY.token(sub=None), "claims"),
    ("exp is text", lambda: KEY.token(exp=str(int(at(60)))), "claims"),
    ("exp is infinite", lambda: KEY.token(exp=float("inf")), "malformed"),
    ("iat is not a number", lambda: KEY.token(iat=float("nan")), "malformed"),
    ("another audience", lambda: KEY.token(aud="account"), "audience"),
    ("audience begins the same", lambda: KEY.token(aud="vfolder2"), "audience"),
    ("audience of tickets", lambda: KEY.token(aud=["vfolder", "vfolder-data"]), "audience"),
    ("another issuer", lambda: KEY.token(iss="https://evil.example"), "issuer"),
    ("issuer with a slash", lambda: KEY.token(iss=f"{NAME}/"), "issuer"),
    ("issuer is a list", lambda: by_parts({"alg": "ES256"}, claims(iss=[NAME]), b"x"), "issuer"),
    ("user is a number", lambda: KEY.token(sub=None, uid=1), "claims"),
    ("groups are text", lambda: KEY.token(groups="admins"), "claims"),
    ("groups are objects", lambda: KEY.token(groups=[{}]), "claims"),
    ("header bomb", lambda: KEY.token({"pad": "x" * 2000}), "malformed"),
    ("header of many brackets", lambda: by_parts(b"[" * 700, claims(), b"x"), "malformed"),
    ("body of many brackets", lambda: by_parts({"alg": "ES256"}, b"[" * 9000, b"x"), "malformed"),
    ("too long", lambda: KEY.token(pad="x" * 20_000), "malformed"),
    ("two parts", lambda: KEY.token().rsplit(".", 1)[0], "malformed"),
    ("four parts", lambda: f"{KEY.token()}.x", "malformed"),
    ("five parts, encrypted", lambda: f"{KEY.token()}.x.y", "malformed"),
    ("empty", lambda: "", "malformed"),
    ("only dots", lambda: "..", "malformed"),
    ("no letters of ours", lambda: f"é{KEY.token()}", "malformed"),
    ("body is a list", lambda: by_parts({"alg": "ES256"}, [], b"x"), "malformed"),
    ("signature is cut", lambda: KEY.token()[:-1], "malformed"),
    ("signature is short", lambda: by_parts(ES256, claims(), bytes(58)), "signature"),
    ("signature of zeros", lambda: by_parts(ES256, claims(), bytes(64)), "signature"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("make", "reason"), [one[1:] for one in FORGED], ids=[o[0] for o in FORGED]
)
def test_a_forged_token_is_refused(tmp_path: Path, make: Callable[[], str], reason: str) -> None:
    assert refused(issuers(tmp_path, KEY), make()) == reason


def test_clocks_may_differ_by_the_leeway(tmp_path: Path) -> None:
    found = issuers(tmp_path, KEY, leeway=200)
    now = time.time()
    late = found.verified(KEY.token(iat=now - 400, exp=now - 100)).credential
    assert late.expires_at == now - 100
    assert not late.has_ended(now), "a decision would refuse what was just proved"
    assert late.has_ended(now + 101)
    assert found.verified(KEY.token(iat=now + 100, exp=now + 300))
    assert refused(found, KEY.token(iat=now - 900, exp=now - 600)) == "expired"


def test_an_ended_token_is_no_guess_and_a_forged_one_is(tmp_path: Path) -> None:
    found, now = issuers(tmp_path, KEY), time.time()
    for key, genuine in ((KEY, True), (OTHER, False)):
        with pytest.raises(CredentialRefused) as error:
            found.verified(key.token(iat=now - 900, exp=now - 600))
        assert error.value.genuine is genuine


def test_a_ticket_is_no_login_and_a_login_no_ticket(tmp_path: Path) -> None:
    ticket = DownloadTicket(volume="v", vfid="x", relpath="y", exp=time.time() + 300)
    assert refused(issuers(tmp_path), tickets.issue(ticket, SECRET)) == "issuer"
    with pytest.raises(TicketError):
        tickets.read(
            DownloadTicket, shared(volume="v", vfid="x", relpath="y", op="download"), "k" * 32
        )
    with pytest.raises(TicketError):
        tickets.read(DownloadTicket, shared(), SECRET)


def test_two_issuers_do_not_sign_for_each_other(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps({"keys": [KEY.jwk()]}))
    (tmp_path / "b.json").write_text(json.dumps({"keys": [OTHER.jwk()]}))
    tables = [
        IssuerTable(issuer=name, audience=AUDIENCE, algorithms=["ES256"], jwks_file=file)
        for name, file in ((NAME, "a.json"), ("https://b.example", "b.json"))
    ]
    found = Issuers(AccessTable(issuer=tables), tmp_path)
    mine = found.verified(KEY.token())
    theirs = found.verified(OTHER.token(iss="https://b.example"))
    assert mine.subject.id != theirs.subject.id, "a name belongs to its issuer"
    assert refused(found, OTHER.token()) == "signature"
    assert refused(found, KEY.token(iss="https://b.example")) == "signature"


def test_every_changed_byte_is_refused(tmp_path: Path) -> None:
    found, token = issuers(tmp_path, KEY), KEY.token()
    good: VerifiedToken = found.verified(token)
    assert isinstance(good.subject.id, UUID)
    for place in range(0, len(token) - 1, 3):  # the last digit has bits without a meaning
        other = "A" if token[place] != "A" else "B"
        refused(found, token[:place] + other + token[place + 1 :])
