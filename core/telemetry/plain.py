"""structlog, loaded without rich.

Where rich is installed, structlog loads it with Pygments and attrs to draw tracebacks on terminals.
Our lines have plain tracebacks (`core.telemetry.logs`), and it would take each process and each
command a tenth of a second of the processor. No setting of structlog 26.1 leaves it out. With None
in `sys.modules` its import fails as if it were not installed (Python Language Reference, 5.3.1).
"""

import sys
from typing import Any, cast

_RICH = "rich"
_modules = cast("dict[str, Any]", sys.modules)
_hidden = _RICH not in _modules
if _hidden:
    _modules[_RICH] = None
try:
    import structlog
    from structlog.typing import EventDict, Processor
finally:
    if _hidden:
        del _modules[_RICH]

__all__ = ["EventDict", "Processor", "structlog"]
