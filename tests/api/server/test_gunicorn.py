"""gunicorn as it was read: each method that we override, each name that we use, in its own words.

A digest of the source stands for what was read. When one differs, read the new source, check what
`api/server` makes of it, then renew the digest and "Read at" in docs/dependencies.md. The behaviour
of the doors is held by the other tests of this directory, by `tests/api/wire/test_door_worker.py`
and by `tests/api/client/test_sendfile_worker.py`.
"""

import hashlib
import inspect
from pathlib import Path
from typing import Any

import gunicorn
from gunicorn import arbiter, config, glogging, sock, util
from gunicorn.app.base import BaseApplication
from gunicorn.http import body, errors, message, parser, unreader, wsgi
from gunicorn.workers import base, gthread

from api.server import application, connection, heads, worker
from api.server.refusing import REFUSED
from api.server.sendfile_worker import SendfileWorker
from api.server.worker import DoorWorker

PAGE = Path(__file__).resolve().parents[3] / "docs" / "dependencies.md"
VERSION = (27, 0, 1)
#: What is overridden: the class of ours, and the digest of each upstream method.
OVERRIDDEN: dict[type, dict[str, tuple[Any, str]]] = {
    DoorWorker: {
        "init_process": (gthread.ThreadWorker, "e4fc63a1a68e4f48"),
        "init_signals": (base.Worker, "65442e0602b05f37"),
        "accept": (gthread.ThreadWorker, "f8dcead3dce5c851"),
        "enqueue_req": (gthread.ThreadWorker, "c9f428953d24acef"),
        "murder_pending": (gthread.ThreadWorker, "7bf11f46454296e1"),
        "murder_keepalived": (gthread.ThreadWorker, "4459960c4ccc36d4"),
        "_cap_keepalive": (gthread.ThreadWorker, "745c8ac37108c74d"),
        "_keepalive_after": (gthread.ThreadWorker, "4ebdbbc8bf5aafa5"),
        "handle": (gthread.ThreadWorker, "ca85c9be3df75da4"),
        "handle_request": (gthread.ThreadWorker, "6d0de5b919102efc"),
        "handle_error": (base.Worker, "75426448389bbac9"),
        "finish_request": (gthread.ThreadWorker, "616e7bb15a009ff7"),
    },
    SendfileWorker: {
        "_keepalive_after": (gthread.ThreadWorker, "4ebdbbc8bf5aafa5"),
    },
    heads.DoorConnection: {},
    connection.DoorUnreader: {"chunk": (unreader.SocketUnreader, "9f62532259f8468e")},
    connection.DoorBody: {"_read_reader": (body.Body, "443e7cfab4b8bad2")},
    connection.DoorRequest: {"set_body_reader": (message.Request, "db5c46d4c717f58a")},
    connection.DoorParser: {
        "finish_body": (parser.Parser, "54c5d0d28c2626ea"),
        "mesg_class": (parser.RequestParser, "5fb06ef65d3b892b"),
    },
    connection.DoorResponse: {
        "write": (wsgi.Response, "a13659ff072c00e1"),
        "send_headers": (wsgi.Response, "7aff3b7d004fc17b"),
        "_emit_body": (wsgi.Response, "df723e865a1e5adc"),
        "default_headers": (wsgi.Response, "cb490cea5d6f5408"),
    },
    application.ReloadArbiter: {
        "handle_hup": (arbiter.Arbiter, "50de80005cd672c7"),
        "spawn_worker": (arbiter.Arbiter, "6abc0d90b0b9f80b"),
    },
    application.ServerLog: {"setup": (glogging.Logger, "17c79acdddea07c6")},
    application.DoorApplication: {
        "load_config": (BaseApplication, "e6dd967d56d4aeb8"),
        "load": (BaseApplication, "e2d1c6bb2526a2a5"),
        "run": (BaseApplication, "4fcc52f6dfc0c8b9"),
    },
}
#: What is used beside that, with the digest of each.
USED: dict[str, tuple[Any, str]] = {
    "Worker.init_process": (base.Worker.init_process, "114caccd7a0e3c21"),
    "ThreadWorker.__init__": (gthread.ThreadWorker.__init__, "5681b8b542ea91bf"),
    "PollableMethodQueue.defer": (gthread.PollableMethodQueue.defer, "4d722900967b8ad2"),
    "TConn": (gthread.TConn, "e3a2878ba952710a"),
    "Arbiter.kill_workers": (arbiter.Arbiter.kill_workers, "00a2eb10d3493fd0"),
    "Config.forwarded_allow_networks": (config.Config.forwarded_allow_networks, "6639f50c71e26855"),
    "Config.__getattr__": (config.Config.__getattr__, "ff80f0fbda2e589b"),
    "wsgi.create": (wsgi.create, "2c35d4a2dc629ede"),
    "wsgi.default_environ": (wsgi.default_environ, "b7e18b84d829cb5a"),
    "wsgi.FileWrapper": (wsgi.FileWrapper, "8f7142e80806af83"),
    "Response.__init__": (wsgi.Response.__init__, "904d95d8358a3a76"),
    "Response.should_close": (wsgi.Response.should_close, "3888d47a96e289b3"),
    "Response.close": (wsgi.Response.close, "1e78fc7777ff09ae"),
    "Parser.__next__": (parser.Parser.__next__, "b8536520e95854d6"),
    "LengthReader": (body.LengthReader, "3b01bc7c21a27066"),
    "ChunkedReader.__init__": (body.ChunkedReader.__init__, "74626d236eb5d4ec"),
    "ChunkedReader.read": (body.ChunkedReader.read, "1aa9df6c4dcb23a0"),
    "ThreadWorker.run": (gthread.ThreadWorker.run, "f92c7394d85715a4"),
    "ThreadWorker.set_accept_enabled": (
        gthread.ThreadWorker.set_accept_enabled,
        "140150ebfd3cae34",
    ),
    "Message.set_body_reader": (message.Message.set_body_reader, "e3ba33f5ac7ca542"),
    "Request.parse": (message.Request.parse, "34c084607ae12d4f"),
    "Request._parse_python": (message.Request._parse_python, "ed07ffec51784055"),
    "Request.read_line": (message.Request.read_line, "13bf2e83f72a5e0d"),
    "Request.read_into": (message.Request.read_into, "3f959e4da304d883"),
    "Body.read": (body.Body.read, "c7bdfdd1c2c36fb2"),
    "Unreader.read": (unreader.Unreader.read, "cbfeead6687ff48b"),
    "Arbiter.stop": (arbiter.Arbiter.stop, "7138b6afd9c46ae0"),
    "BaseSocket.close": (sock.BaseSocket.close, "038267beee36ff69"),
    "sock.ssl_context": (sock.ssl_context, "069b9e2751d0b762"),
    "Unreader.take_buffered": (unreader.Unreader.take_buffered, "89cef5e60e6f09e1"),
    "Unreader.unread": (unreader.Unreader.unread, "8e325744dfcaca7f"),
    "util.close_graceful": (util.close_graceful, "0e5925bfc017bc4e"),
    "util.http_date": (util.http_date, "c67e491c15bd112c"),
}


def digest(thing: Any) -> str:
    return hashlib.sha256(inspect.getsource(thing).encode()).hexdigest()[:16]


def overrides(cls: type) -> set[str]:
    """The names of a class that replace one of gunicorn's."""
    upstream = [one for one in cls.__mro__[1:] if one.__module__.startswith("gunicorn")]
    known = {name for one in upstream for name in vars(one)}
    return {name for name, value in vars(cls).items() if callable(value)} & known - {"__init__"}


def test_the_pinned_version() -> None:
    assert gunicorn.version_info == VERSION


def test_every_override_is_listed_and_its_original_unchanged() -> None:
    wrong = []
    for cls, methods in OVERRIDDEN.items():
        listed = {name for one in cls.__mro__ for name in OVERRIDDEN.get(one, {})}
        wrong += [f"{cls.__name__}.{name}: not listed" for name in overrides(cls) - listed]
        for name, (upstream, read) in methods.items():
            if name not in vars(upstream):
                wrong.append(f"{upstream.__name__}.{name}: gone from gunicorn")
            elif digest(vars(upstream)[name]) != read:
                now = digest(vars(upstream)[name])
                wrong.append(f"{upstream.__name__}.{name}: {now}, not as it was read")
    assert not wrong, "\n".join(wrong)


def test_every_used_name_is_unchanged() -> None:
    wrong = [
        f"{name}: {digest(thing)}, not as it was read"
        for name, (thing, read) in USED.items()
        if digest(thing) != read
    ]
    assert not wrong, "\n".join(wrong)


def test_every_exception_of_the_parser_has_its_answer() -> None:
    known = {
        error
        for error in vars(errors).values()
        if inspect.isclass(error) and issubclass(error, errors.ParseException)
    }
    #: Of settings that the doors do not use, and those that the body translates.
    others = {"ParseException", "ConfigurationProblem", "InvalidSchemeHeaders", "InvalidH2CPreface"}
    others |= {"InvalidProxyLine", "InvalidProxyHeader", "ForbiddenProxyRequest"}
    others |= {"InvalidChunkSize", "ChunkMissingTerminator", "InvalidChunkExtension"}
    others |= {"InvalidResponseHeader", "InvalidResponseHeaderName"}
    assert {one.__name__ for one in known - set(REFUSED)} == others


def test_no_other_class_extends_gunicorn() -> None:
    ours = {
        cls
        for module in (application, connection, heads, worker)
        for cls in vars(module).values()
        if inspect.isclass(cls) and cls.__module__.startswith("api.")
    } | {SendfileWorker}
    extends = {cls for cls in ours if any(b.__module__.startswith("gunicorn") for b in cls.__mro__)}
    assert extends == set(OVERRIDDEN)


def test_the_page_lists_every_override() -> None:
    text = PAGE.read_text("utf-8")
    for cls, methods in OVERRIDDEN.items():
        for name, (upstream, _) in methods.items():
            assert f"`{upstream.__name__}.{name}`" in text, f"{cls.__name__}.{name}"
