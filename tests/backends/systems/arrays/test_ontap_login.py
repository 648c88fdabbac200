"""Logins at ONTAP: certificates, tokens of an authorization server; and several addresses."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from backends.base import Mount
from backends.systems.netapp.backend import NetAppBackend
from core import errors
from simulators.arrays import ontap
from simulators.arrays.ontap import login
from simulators.serving import Server, certificate, serving
from simulators.shelf import Shelf
from tests.backends.systems.arrays.simulated import trusting
from tests.backends.systems.arrays.watching import Watch
from tests.support.ports import free_port

MIB = 1 << 20
THREADS = 50


def backend(top: Path, url: str, **more: Any) -> NetAppBackend:
    """Return a backend that has no password."""
    options = trusting(ontap.options(url))
    for name in ("netapp_ontap_user", "netapp_ontap_password"):
        del options[name]
    return NetAppBackend(Mount("array", top, {**options, **more}))


@contextmanager
def asking_for_certificates(top: Path, *, must: bool = False) -> Iterator[Server]:
    simulator = ontap.OntapSim(Shelf(top), ontap.Profile(quota="on"))
    with serving(simulator, client_ca=certificate(ontap.USER)[0], client_must=must) as server:
        yield server


def files(name: str) -> dict[str, str]:
    cert, key = certificate(name)
    return {"netapp_client_certificate": str(cert), "netapp_client_key": str(key)}


@pytest.mark.parametrize("must", [False, True])
def test_a_certificate_is_a_login(tmp_path: Path, *, must: bool) -> None:
    with asking_for_certificates(tmp_path, must=must) as server:
        mine = backend(tmp_path, server.url, **files(ontap.USER))
        assert mine.array_capacity().used_bytes == 10 << 30
        assert server.simulator.wrong_passwords == 0  # type: ignore[attr-defined] # the simulator's


def test_a_certificate_that_is_not_accepted_says_so(tmp_path: Path) -> None:
    with asking_for_certificates(tmp_path, must=True) as server:
        mine = backend(tmp_path, server.url, **files("another"))
        with pytest.raises(errors.BackendFailed, match="does not accept the certificate"):
            mine.array_capacity()
    with asking_for_certificates(tmp_path) as server:
        mine = backend(tmp_path, server.url, netapp_ontap_user="a", netapp_ontap_password="b")
        for _ in range(2):
            with pytest.raises(errors.BackendFailed, match="user or the password"):
                mine.array_capacity()
        assert len(server.journal) == 1


@contextmanager
def with_tokens(
    top: Path,
) -> Iterator[tuple[Server, ontap.OntapSim, login.AuthorizationServer, dict[str, Any]]]:
    simulator, issuer = (
        ontap.OntapSim(Shelf(top), ontap.Profile(quota="on")),
        login.AuthorizationServer(),
    )
    simulator.issuer = issuer
    with serving(simulator) as server, serving(issuer) as tokens:
        options = {
            "netapp_oauth_token_url": f"{tokens.url}{login.PATH}",
            "netapp_oauth_client_id": login.CLIENT_ID,
            "netapp_oauth_client_secret": login.CLIENT_SECRET,
            "netapp_oauth_scope": login.SCOPE,
            "netapp_oauth_ca_bundle": str(certificate()[0]),
        }
        yield server, simulator, issuer, options


def test_a_token_is_a_login_and_is_renewed_once_for_all(tmp_path: Path, watch: Watch) -> None:
    with with_tokens(tmp_path) as (server, _, issuer, options):
        mine = backend(tmp_path, server.url, **options)

        def ask(_: int) -> int | None:
            return mine.array_capacity().used_bytes

        with ThreadPoolExecutor(THREADS) as pool:
            assert set(pool.map(ask, range(THREADS))) == {10 << 30}
            assert issuer.issued == 1
            issuer.expire()
            assert set(pool.map(ask, range(THREADS))) == {10 << 30}
        assert issuer.issued == 2
        watch.holds(login.CLIENT_SECRET, *issuer.valid)


def test_a_refused_client_is_asked_for_once(tmp_path: Path) -> None:
    with with_tokens(tmp_path) as (server, _, issuer, options):
        mine = backend(tmp_path, server.url, **{**options, "netapp_oauth_client_secret": "wrong"})
        for _ in range(3):
            with pytest.raises(errors.BackendFailed, match="invalid_client") as error:
                mine.array_capacity()
            assert "wrong" not in error.value.detail
        assert issuer.refused == 1
        assert server.journal == []


def test_a_token_that_ontap_refuses_rests(tmp_path: Path) -> None:
    with with_tokens(tmp_path) as (server, simulator, issuer, options):
        simulator.issuer = login.AuthorizationServer()
        mine = backend(tmp_path, server.url, **options)
        for _ in range(3):
            with pytest.raises(errors.BackendFailed, match="access token"):
                mine.array_capacity()
        assert issuer.issued == 1
        assert len(server.journal) == 1


def test_another_address_is_asked_when_one_is_away(tmp_path: Path) -> None:
    simulator = ontap.OntapSim(Shelf(tmp_path), ontap.Profile(quota="on"))
    options = {"netapp_ontap_user": ontap.USER, "netapp_ontap_password": ontap.PASSWORD}
    away = f"https://127.0.0.1:{free_port()}"
    with serving(simulator) as second:
        mine = backend(tmp_path, away, **options, netapp_ontap_endpoints=[second.url])
        assert mine.array_capacity().used_bytes == 10 << 30
        assert second.journal != []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "one way to log in"),
        ({"netapp_ontap_user": "a"}, "netapp_ontap_password"),
        ({"netapp_client_certificate": "/none", "netapp_client_key": "/none"}, "cannot be read"),
        ({"netapp_ontap_user": "a", "netapp_oauth_client_id": "b"}, "one way to log in"),
    ],
)
def test_options_describe_one_login(tmp_path: Path, options: dict[str, str], words: str) -> None:
    with pytest.raises(errors.ConfigurationError, match=words):
        backend(tmp_path, "https://array", **options)
