"""btrfs whose quota an administrator switches off: limits are gone, and nothing says otherwise."""

from pathlib import Path
from uuid import uuid4

import pytest

from backends.base import Mount
from backends.systems.btrfs import BtrfsBackend
from core.errors import BackendFailed
from core.names import QuotaScope, ScopeKind
from tests.support.loops import mounted, run

MIB = 1 << 20


@pytest.mark.part("root")
@pytest.mark.part("btrfs")
def test_limits_that_are_gone_are_not_reported_as_held(tmp_path: Path) -> None:
    make = ["mkfs.btrfs", "-q", "-m", "single", "-d", "single"]
    with mounted(tmp_path / "btrfs", make, size_bytes=256 << 20) as top:
        backend, scope = BtrfsBackend(Mount("btrfs", top)), QuotaScope(ScopeKind.USER, uuid4())
        backend.probe()
        backend.create_scope(scope, MIB)
        assert backend.describe_scope(scope).enforced == "hard"
        run("btrfs", "quota", "disable", top)
        with pytest.raises(BackendFailed, match="does not count"):
            backend.describe_scope(scope)
        assert "quota" in backend.lacking()
        backend.probe()  # switches it on again; the kernel has forgotten the limits
        found = backend.describe_scope(scope)
        assert (found.limit_bytes, found.enforced) == (None, None)
        backend.set_limit(scope, MIB)
        assert backend.describe_scope(scope).limit_bytes == MIB
