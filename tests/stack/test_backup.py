"""The backup of the store in docs/operations.md, run as it stands while the store changes."""

import os
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from uuid import uuid4

from core.jobs.requests import UsageRequest
from core.jobs.store import JobStore, Submission
from tests.support.node import ROOT
from tests.support.valkey import Valkey

DOCUMENT = (ROOT / "docs" / "operations.md").read_text("utf-8")
BLOCK = re.compile(r"^```sh\n# on the machine of the store\n(.*?)^```", re.MULTILINE | re.DOTALL)
#: Stands for valkey-cli, which the server's package has: the same words, the same protocol.
CLIENT = """#!{python}
import os, sys
from redis import Redis
host, port, *words = sys.argv[2], sys.argv[4], *sys.argv[5:]
with Redis(host, int(port), password=os.environ["REDISCLI_AUTH"], decode_responses=True) as client:
    client.set_response_callback("INFO", str)
    print(client.execute_command(*words))
"""


def test_a_backup_of_a_running_store_has_every_job(valkey: Valkey, tmp_path: Path) -> None:
    tools, home = tmp_path / "tools", tmp_path / "home"
    tools.mkdir()
    home.mkdir()
    (tools / "valkey-cli").write_text(CLIENT.format(python=sys.executable))
    (tools / "valkey-cli").chmod(0o755)
    (home / "store").symlink_to(valkey.directory)
    (home / "secrets.env").write_text(f"STORE_PASSWORD={valkey.password}\n")
    found = BLOCK.search(DOCUMENT)
    assert found is not None
    script = found[1].replace("/srv/vfolder", str(home))
    script = script.replace("192.0.2.11 -p 6379", f"127.0.0.1 -p {valkey.port}")
    with valkey.client() as client:
        store = JobStore(client, lambda _: None)
        before = [submit(store) for _ in range(50)]
        client.execute_command("WAITAOF", 1, 0, 60_000)
        stop = threading.Event()
        busy = threading.Thread(target=lambda: keep_submitting(valkey, stop))
        busy.start()
        try:
            environment = os.environ | {"PATH": f"{tools}:{os.environ['PATH']}"}
            subprocess.run(["bash", "-euc", script], env=environment, check=True, timeout=120)
        finally:
            stop.set()
            busy.join()
        assert client.config_get("auto-aof-rewrite-percentage") == {
            "auto-aof-rewrite-percentage": "100"
        }
    restored = Valkey(tmp_path / "restored")
    shutil.copytree(home / "backup", restored.directory)
    restored.start()
    try:
        with restored.client() as client:
            kept = JobStore(client, lambda _: None)
            assert [kept.get(job).id for job in before] == before
    finally:
        restored.kill()


def submit(store: JobStore) -> str:
    request = UsageRequest(volume="local", vfolder=f"user:{uuid4()}/{uuid4().hex}")
    return store.submit(Submission(request, requester="test")).id


def keep_submitting(valkey: Valkey, stop: threading.Event) -> None:
    with valkey.client() as client:
        store = JobStore(client, lambda _: None)
        while not stop.is_set():
            submit(store)
