"""The examining process: it makes one check after the other and prints each result.

It prints one line of JSON when a check begins, and one when it ends. It may be killed at any time.
"""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import BinaryIO

import msgspec

from api.cli.doctor import own_scope, reading, writing
from api.cli.doctor.reading import Examined, Found, milliseconds
from api.cli.doctor.results import CheckResult, NotAvailable, Order, ProgressLine, Wrong, encoded
from backends.fs import reason_of
from backends.volumes import raised
from core import settings as configuration
from core.errors import StorageError
from core.process import privileges

Check = Callable[[Examined], Found]

#: What a check needs to have succeeded; others need nothing.
_NEEDS = {
    "configuration": "",
    "mount": "configuration",
    "credentials": "mount",
    "health": "mount",
    "volume": "mount",
    "rights": "leftovers",
    "removal": "leftovers",
}
_CHANGES = {
    "mount": "Mount the volume at its path, and compare [volume.{}] with what is mounted.",
    "volume": "Compare [volume.{}] with what is mounted, and how, and with the storage system; "
    "check the login.",
    "capacity": "Give the user of [volume.{}.options] the right to read the volume's figures.",
    "rates": "Give the user of [volume.{}.options] the right to read the volume's rates.",
    "removal": "Remove this quota scope of volume {} by hand, or run the command again.",
}
_RIGHTS_CHANGE = (
    "Give the user of [volume.{}.options], and the user that runs the workers, the rights that "
    "docs/backends.md lists for this backend; see what the storage system answered."
)


class Examiner:
    """Makes the checks of one order."""

    def __init__(self, order: Order, out: BinaryIO) -> None:
        self._order = order
        self._out = out
        self._statuses: dict[str, str] = {}
        self._lock: int | None = None

    def run(self) -> None:
        """Make every check; print each."""
        settings = configuration.load(Path(self._order.config), ask_etcd=False)
        examined = Examined(
            settings,
            self._order.volume,
            read_only=not (self._order.write or self._order.clean),
            big_bytes=self._order.big_bytes,
        )
        # As every process of the service does where root could write past limits.
        privileges.drop(privileges.CAP_SYS_RESOURCE)
        for name, check in self._checks().items():
            self._make(name, partial(check, examined))

    def _checks(self) -> dict[str, Check]:
        if self._order.clean:
            return {"removal": self._clean}
        checks: dict[str, Check] = {
            "configuration": reading.configuration,
            "mount": reading.mount,
            "credentials": reading.credentials,
            "health": reading.health,
            "volume": reading.volume,
            "capacity": reading.capacity,
            "rates": reading.rates,
        }
        if self._order.write:
            return checks | {
                "leftovers": self._leftovers,
                "rights": writing.rights,
                "quota": writing.quota,
                "further limits": writing.further_limits,
                "usage": writing.usage,
                "snapshot": writing.snapshot,
                "clone": writing.clone,
                "locks": writing.locks,
                "speed": writing.bytes_speed,
                "small files": writing.small_files,
                "removal": self._removal,
            }
        return checks | {
            "leftovers": reading.leftovers,
            "rights": reading.rights,
            "quota": reading.quota,
            "snapshot": reading.snapshot,
            "clone": reading.needs_write,
            "speed": reading.needs_write,
        }

    # -- One check ---------------------------------------------------------------------------------
    def _make(self, name: str, check: Callable[[], Found]) -> None:
        needed = _NEEDS.get(name, "rights" if self._lock is not None else "volume")
        if self._order.clean:
            needed = ""
        if needed and self._statuses.get(needed) != "ok":
            result = CheckResult(name, "not available", f"The check `{needed}` did not succeed.")
        else:
            self._out.write(encoded(ProgressLine(name)))
            self._out.flush()
            began = time.perf_counter()
            result = self._judged(name, check)
            seconds = round(time.perf_counter() - began, 3)
            result = msgspec.structs.replace(result, seconds=seconds)
        self._statuses[name] = result.status
        self._out.write(encoded(ProgressLine(name, result)))
        self._out.flush()

    def _judged(self, name: str, check: Callable[[], Found]) -> CheckResult:
        change = _CHANGES.get(name, _RIGHTS_CHANGE).format(self._order.volume)
        try:
            text, figures = check()
        except NotAvailable as reason:
            return CheckResult(name, "not available", str(reason))
        except Wrong as fault:
            return CheckResult(name, "wrong", str(fault), fault.change)
        except StorageError as error:
            return CheckResult(name, "wrong", error.detail, change)
        except OSError as error:
            return CheckResult(
                name, "wrong", f"The file system failed: {reason_of(error)}.", change
            )
        except Exception as error:  # noqa: BLE001 - the code of a plugin; the next check is made
            return CheckResult(name, "wrong", f"The backend {raised(error)}.", "Mend the backend.")
        return CheckResult(name, "ok", text, figures=figures)

    # -- What is left, and removed -----------------------------------------------------------------
    def _leftovers(self, examined: Examined) -> Found:
        was_left = own_scope.is_left(examined.mounted)
        self._lock = own_scope.lock(examined.mounted)
        if not was_left:
            return "No earlier run left anything.", {}
        own_scope.remove(examined.mounted)
        return f"Removed quota scope {own_scope.SCOPE}, which an earlier run left.", {}

    def _removal(self, examined: Examined) -> Found:
        began = time.perf_counter()
        own_scope.remove(examined.mounted)
        seconds = time.perf_counter() - began
        if self._lock is not None:
            own_scope.unlock(examined.mounted, self._lock)
        text = f"Quota scope {own_scope.SCOPE} is removed, with everything that was made."
        return text, {"milliseconds": milliseconds(seconds)}

    def _clean(self, examined: Examined) -> Found:
        if not own_scope.is_left(examined.mounted):
            return "Nothing is left.", {}
        self._lock = own_scope.lock(examined.mounted)
        return self._removal(examined)
