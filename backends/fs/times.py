"""Times of modification, and the ranges that file systems have for them."""

#: Times (nanoseconds) that nearly every file system has: they are not read back once they are set.
USUAL_NS = range(2**31 * 10**9)

#: The first and the last second of file systems: FAT and exFAT; an old XFS, ext4 with small inodes;
#: those with 32 bits and no sign; ext4; XFS with big times (s_time_min and s_time_max in Linux).
_FIRST_SECONDS = frozenset({-(2**31), 0, 315_532_800})
_LAST_SECONDS = frozenset({2**31 - 1, 2**32 - 1, 4_354_819_198, 15_032_385_535, 16_299_260_424})
_NS = 10**9


def is_nearest_time(time_ns: int, kept_ns: int) -> bool:
    """Return whether a file system that cannot have a time has the end of its range in its place.

    The kernel gives it that (inode(7)): 1901 or 2446 on ext4, 2038 on an older XFS.
    """
    seconds, rest_ns = divmod(kept_ns, _NS)
    if rest_ns or kept_ns == time_ns:
        return False
    return seconds in (_FIRST_SECONDS if time_ns < kept_ns else _LAST_SECONDS)


def is_same_time(time_ns: int, kept_ns: int, granularity_ns: int = 1) -> bool:
    """Return whether a file system that keeps times so exactly has a time as well as it can."""
    return abs(kept_ns - time_ns) < granularity_ns or is_nearest_time(time_ns, kept_ns)
