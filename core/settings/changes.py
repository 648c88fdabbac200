"""What a running process takes over from the file when it is told to read it again (SIGHUP).

Volumes that are new, the volumes' bandwidth, and the level of the logs. Everything else waits for a
restart, and is named in the log.
"""

import msgspec
from msgspec import structs

from core.settings.report import effective
from core.settings.settings import Settings, load

#: What is taken over, beside new volumes: dotted keys by their beginnings.
TAKEN = ("logging.level", "vfolder.bandwidth")


def reread(running: Settings) -> tuple[Settings, list[str]]:
    """The running settings with what the file may change, and the changed keys that must wait.

    Raises:
        ConfigurationError: the file cannot be read, or has a wrong key or value.
    """
    written = load()
    new = {name: table for name, table in written.volume.items() if name not in running.volume}
    followed = structs.replace(
        running,
        volume={**running.volume, **new},
        logging=written.logging,
        vfolder=structs.replace(running.vfolder, bandwidth=written.vfolder.bandwidth),
    )
    before, after = dict(effective(followed)), dict(effective(written))
    waits = [key for key in before | after if before.get(key, _NONE) != after.get(key, _NONE)]
    return followed, sorted(waits)


_NONE = msgspec.UNSET
