"""Which of the systematic cases of schemathesis are sent: one of each kind.

For one part of one request it makes several of a kind, such as wrong types: null, a number, a text.
A method that an operation has not is refused by one piece of code, whichever method it is.
"""

import schemathesis
from schemathesis.generation.meta import CoveragePhaseData, CoverageScenario

from tests.support.thoroughness import THOROUGH

_sent: set[tuple[object, ...]] = set()


def is_new(case: schemathesis.Case) -> bool:
    """Return whether none like it was sent for this part of this request; note it.

    All are new for `make thorough`, and so are those of chance.
    """
    data = case.meta.phase.data if case.meta else None
    if THOROUGH or not isinstance(data, CoveragePhaseData):
        return True
    kind: tuple[object, ...] = (case.operation.label, data.scenario)
    if data.scenario != CoverageScenario.UNSPECIFIED_HTTP_METHOD:
        part = (data.parameter_location, data.parameter, data.location)
        kind = (*kind, case.method, data.description, *part)
    if kind in _sent:
        return False
    _sent.add(kind)
    return True
