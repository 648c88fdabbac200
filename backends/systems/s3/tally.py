"""The figures of a vfolder of objects, from their listing."""

from itertools import takewhile

from backends.systems.s3.objects import StoredObject
from backends.tree import Usage

_DAY_SECONDS = 86_400


class ObjectTally:
    """The figures of keys that come in their order: a directory counts once."""

    def __init__(self, prefix: str, ages_at: int = 0) -> None:
        self._found = Usage()
        self._ages_at = ages_at
        self._start = len(prefix)
        self._directory: list[str] = []
        self._top: dict[str, list[int]] = {}

    def add(self, one: StoredObject) -> None:
        """Count the next object."""
        *directory, name = one.key[self._start :].split("/")
        pairs = zip(self._directory, directory, strict=False)
        common = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
        self._directory = directory
        found = self._found
        found.directories += len(directory) - common
        if not name:  # a marker
            return
        found.files += 1
        found.size_bytes += one.size
        found.allocated_bytes += one.size
        power = one.size.bit_length()
        found.histogram[power] = found.histogram.get(power, 0) + 1
        if self._ages_at and one.modified is not None:
            days = max(0, int((self._ages_at - one.modified.timestamp()) / _DAY_SECONDS))
            files, size_bytes = found.ages.get(days.bit_length(), (0, 0))
            found.ages[days.bit_length()] = (files + 1, size_bytes + one.size)
        if directory:
            sums = self._top.setdefault(directory[0], [0, 0])
            sums[0] += one.size
            sums[1] += 1

    def usage(self, top: int) -> Usage:
        """Return the figures, with the `top` biggest directories of the first level."""
        biggest = sorted(self._top.items(), key=lambda one: one[1], reverse=True)[:top]
        self._found.top = [(name, size, files) for name, (size, files) in biggest]
        return self._found
