"""The same answers by a bare aiohttp server: `python -m benchmarks._bare_server PORT DIRECTORY`.

Checks the secret, parses the JSON body, and does the same work below a directory, with nothing
else: no schemas, no request ids, no deadlines, no containment, no logs.
"""

import asyncio
import heapq
import hmac
import json
import os
import stat
import sys
from datetime import UTC, datetime
from operator import attrgetter
from typing import Any

import marshmallow as ma
import orjson
from aiohttp import web

from core.process import request_end_with_parent

SECRET = "bench-secret"  # noqa: S105 - of a throw-away server
HEADER = "X-BackendAI-Storage-Auth-Token"
VOLUMES = 5


class Stat(ma.Schema):
    mode = ma.fields.Integer()
    size = ma.fields.Integer()
    created = ma.fields.DateTime()
    modified = ma.fields.DateTime()


class Entry(ma.Schema):
    name = ma.fields.String()
    type = ma.fields.String()
    stat = ma.fields.Nested(Stat)
    symlink_target = ma.fields.String()


class EntryList(ma.Schema):
    items = ma.fields.List(ma.fields.Nested(Entry))


def entries(directory: str, limit: int) -> list[dict[str, Any]]:
    with os.scandir(directory) as scan:
        name = attrgetter("name")
        chosen = heapq.nsmallest(limit, scan, key=name) if limit else sorted(scan, key=name)
    found = []
    for entry in chosen:
        status = entry.stat(follow_symlinks=False)
        found.append(
            {
                "name": entry.name,
                "type": "DIRECTORY" if stat.S_ISDIR(status.st_mode) else "FILE",
                "stat": {
                    "mode": status.st_mode,
                    "size": status.st_size,
                    "created": datetime.fromtimestamp(status.st_ctime, UTC),
                    "modified": datetime.fromtimestamp(status.st_mtime, UTC),
                },
                "symlink_target": "",
            },
        )
    return found


def application(directory: str) -> web.Application:
    def checked(request: web.Request) -> None:
        if not hmac.compare_digest(request.headers.get(HEADER, ""), SECRET):
            raise web.HTTPForbidden

    async def volumes(request: web.Request) -> web.Response:
        checked(request)
        found = [
            {
                "name": f"volume{number}",
                "backend": "vfs",
                "path": directory,
                "fsprefix": ".",
                "capabilities": ["vfolder"],
            }
            for number in range(VOLUMES)
        ]
        body = orjson.dumps({"volumes": found})
        return web.Response(body=body, content_type="application/json")

    async def listing(request: web.Request) -> web.Response:
        checked(request)
        asked = json.loads(await request.read())
        body = orjson.dumps({"items": entries(directory, asked.get("limit", 0))})
        return web.Response(body=body, content_type="application/json")

    async def listing_by_schema(request: web.Request) -> web.Response:
        checked(request)
        asked = json.loads(await request.read())
        found = EntryList().dump({"items": entries(directory, asked.get("limit", 0))})
        return web.Response(text=json.dumps(found), content_type="application/json")

    app = web.Application()
    app.router.add_get("/volumes", volumes)
    app.router.add_post("/folder/file/list", listing)
    app.router.add_post("/by-schema", listing_by_schema)
    return app


def serve(port: int, directory: str) -> None:
    """As many processes as processors, each with the port; none outlives who started it."""
    request_end_with_parent()
    for _ in range(len(os.sched_getaffinity(0)) - 1):
        if os.fork() == 0:
            request_end_with_parent()
            break
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    web.run_app(
        application(directory),
        host="127.0.0.1",
        port=port,
        reuse_port=True,
        access_log=None,
        print=None,
        loop=loop,
    )


if __name__ == "__main__":
    serve(int(sys.argv[1]), sys.argv[2])
