"""The command `vfolder doctor`: checks a volume on this node, each with measured figures.

    command         the options, the output, the exit status
    examination     the process that checks: killed when the storage hangs, and started to clean up
    examiner        the program of that process: runs one check after the other
    reading         the checks that change nothing
    writing         the checks that work in a quota scope of their own
    objects         the same where vfolders are objects of a bucket
    speed           how fast bytes and small files are
    own_scope       that quota scope: its lock, and its removal

It uses the contract of backends only, so that it works for every backend.
"""

from api.cli.doctor.command import doctor

__all__ = [
    "doctor",
]
