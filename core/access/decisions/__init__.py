"""Decisions: the table of acts, who may do what, and why. Knows no volume, job and HTTP.

`callout` is imported by name: it loads a library that most processes do not need.
"""

from core.access.decisions.deciders import Deciders
from core.access.decisions.decision import (
    AccessReason,
    DeciderKind,
    Decision,
    Held,
    JobResource,
    ProtectedResource,
    ScopeResource,
    VFolderResource,
    combined,
    covers_places,
    decide,
    decide_rule,
    held,
)
from core.access.decisions.explanation import explained
from core.access.decisions.rules import ACTS, AccessRule, Need, Role

__all__ = [
    "ACTS",
    "AccessReason",
    "AccessRule",
    "DeciderKind",
    "Deciders",
    "Decision",
    "Held",
    "JobResource",
    "Need",
    "ProtectedResource",
    "Role",
    "ScopeResource",
    "VFolderResource",
    "callout",
    "combined",
    "covers_places",
    "decide",
    "decide_rule",
    "explained",
    "held",
]
