"""A copy in its own process, for tests that kill it.

Usage: `killed_copy.py SOURCE TARGET DIRECTORY_OF_MANIFEST c|python [ENTRIES_OF_A_PART]`.
"""

import os
import sys

from backends.tree import CopyOptions, Effort, TreeManifest, copy_tree
from backends.tree.copy import plan
from backends.tree.fast import Loops
from core.jobs import Unattended

source, target, directory, native, *part = sys.argv[1:]
if part:
    plan.PART_ENTRIES = int(part[0])
manifest = TreeManifest.open(os.open(directory, os.O_RDONLY), "job.manifest")
receipt = copy_tree(
    os.open(source, os.O_PATH),
    os.open(target, os.O_PATH),
    control=Unattended(),
    manifest=manifest,
    options=CopyOptions(effort=Effort(helpers=2, loops=Loops(native=native == "c"))),
)
sys.stdout.write(f"{receipt}\n")
