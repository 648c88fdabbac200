"""The list of all users and groups that are known, for operators: by name, then those without one.

Known are those with a record, the members of kept groups, and those that records of vfolders name.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from heapq import merge, nsmallest
from itertools import islice
from typing import NamedTuple
from uuid import UUID

from backends.volumes.access.subject_index import IndexView
from core.access import records

#: Returns up to so many words of the index of vfolders that begin with a text and come after one:
#: `words(prefix, after, limit)`, in the order of words.
Words = Callable[[str, str, int], list[str]]
#: Words of one question to the index of vfolders.
_CHUNK = 1000
_BEGIN_OF_ID = re.compile(r"[0-9a-f-]{0,36}")


class SubjectFilter(NamedTuple):
    """What a list is about; an empty text is everything."""

    #: A part of a name, or the beginning of an id.
    text: str = ""
    kind: str = ""
    blocked: bool | None = None


class SubjectPlace(NamedTuple):
    """The place of a user or group in the list; those with a name come first."""

    is_unnamed: bool
    name_key: str
    word: str


_FIRST = SubjectPlace(is_unnamed=False, name_key="", word="")


class ListedSubject(NamedTuple):
    """A user or group, as the indexes know it; it may have no record of its own."""

    kind: str
    id: UUID
    name: str
    blocked: bool
    keys: int
    #: Of a group that is kept here, its members and admins; else None.
    members: int | None

    @property
    def word(self) -> str:
        """Return it as records name it."""
        return f"{self.kind}:{self.id}"

    @property
    def place(self) -> SubjectPlace:
        """Return its place in the list."""
        return SubjectPlace(not self.name, records.name_key(self.name), self.word)


def listed_subjects(
    view: IndexView, words: Words, wanted: SubjectFilter, after: SubjectPlace | None, limit: int
) -> list[ListedSubject]:
    """Return the next users and groups behind a place, or from the beginning.

    Costs one look at each name, and one question to the index of vfolders for each 1,000 words that
    it looks through; the words of those with a name are looked through as well.
    """
    found = list[ListedSubject]()
    if after is None or not after.is_unnamed:
        places = nsmallest(limit, _named(view, wanted, after or _FIRST))
        found = [_listed(view, place.word) for place in places]
    if len(found) < limit:
        last = after.word if after is not None and after.is_unnamed else ""
        found += islice(_unnamed(view, words, wanted, last), limit - len(found))
    return found


def _named(view: IndexView, wanted: SubjectFilter, after: SubjectPlace) -> Iterator[SubjectPlace]:
    """Yield the places of those with a name that a list is about, in no order."""
    text = records.name_key(wanted.text.strip())
    for key, subjects in view.named.items():
        if key < after.name_key:
            continue
        for one in subjects:
            known = view.summaries[one]
            place = SubjectPlace(is_unnamed=False, name_key=key, word=f"{known.kind}:{one}")
            is_meant = text in key or str(one).startswith(text)
            if is_meant and place > after and _is_of(wanted, known.kind, blocked=known.blocked):
                yield place


def _unnamed(
    view: IndexView, words: Words, wanted: SubjectFilter, after: str
) -> Iterator[ListedSubject]:
    """Yield those without a name behind a word, by their words."""
    text = wanted.text.strip().lower()
    if not _BEGIN_OF_ID.fullmatch(text):
        return
    for kind in ("group", "user"):
        prefix = f"{kind}:{text}"
        here = {word for word in _words_here(view, kind) if word > after}
        for word in _merged(sorted(here), _all_words(words, prefix, after)):
            one = _listed(view, word)
            is_of = _is_of(wanted, kind, blocked=one.blocked)
            if not one.name and word.startswith(prefix) and is_of:
                yield one


def _words_here(view: IndexView, kind: str) -> Iterator[str]:
    """Yield the words of those without a name that records of the home volume know."""
    for subject, summary in view.summaries.items():
        if summary.kind == kind and not summary.name:
            yield f"{kind}:{subject}"
        if kind == "user":
            others = (one for one in summary.members if one not in view.summaries)
            yield from (f"user:{member}" for member in others)


def _all_words(words: Words, prefix: str, after: str) -> Iterator[str]:
    while True:
        chunk = words(prefix, after, _CHUNK)
        yield from chunk
        if len(chunk) < _CHUNK:
            return
        after = chunk[-1]


def _merged(here: list[str], others: Iterable[str]) -> Iterator[str]:
    """Yield the words of two ordered lists in order, each once."""
    last = ""
    for word in merge(here, others):
        if word != last:
            yield word
        last = word


def _listed(view: IndexView, word: str) -> ListedSubject:
    kind, _, text = word.partition(":")
    subject = UUID(text)
    known = view.summaries.get(subject)
    if known is None or known.kind != kind:
        return ListedSubject(kind, subject, "", blocked=False, keys=0, members=None)
    members = len(known.members) if known.members_kept else None
    return ListedSubject(kind, subject, known.name, known.blocked, len(known.keys), members)


def _is_of(wanted: SubjectFilter, kind: str, *, blocked: bool) -> bool:
    return wanted.kind in ("", kind) and wanted.blocked in (None, blocked)
