"""What runs inside the user-mode kernel, and the one test outside that starts it."""

import os

INSIDE = "UML_XFS" in os.environ
collect_ignore = (
    ["test_user_mode.py"]
    if INSIDE
    else [
        "test_doctor.py",
        "test_projects.py",
        "test_tools.py",
        "test_nfs.py",
        "test_power.py",
    ]
)
