"""The route of news: one stream of events for all that a page shows."""

from typing import Any

from flask import Response, request

from api.access import scopes_of, words_of
from api.doors.client import upload_session
from api.jobs import FeedReader, pointer
from api.routes import (
    PeopleResource,
    PersonRequest,
    Route,
    RouteAnswer,
    current_door,
    job_answers,
    needs,
    parameters,
)
from core.access import ACTS
from core.errors import StorageError, Unavailable
from core.jobs import Job
from core.jobs.store import Query

blueprint = PeopleResource("news", __name__, description="News of what the caller may see.")

#: By topic, the act that it needs: of people, and of operators.
_ACTS = {
    "jobs": ("jobs.list", "queue.read"),
    "uploads": ("uploads.list", "uploads.read"),
    "vfolders": ("vfolders.list", "vfolders.list"),
    "quota": ("quotas.read", "volumes.read"),
    "volumes": ("volumes.list", "volumes.read"),
    "nodes": ("nodes.read", "nodes.read"),
    "audit": ("audit.read", "audit.read"),
    "events": ("settings.read", "settings.read"),
    "findings": ("settings.read", "settings.read"),
}
#: Jobs that a stream which begins again looks through for those that changed meanwhile.
_MISSED_MAX = 200
_ID_DIGITS = 16


@blueprint.operation(
    "GET",
    "/v1/events",
    Route(
        gives={200: RouteAnswer("Events.", content_type="text/event-stream")},
        parameters=(
            parameters.in_query(
                "topics", f"Some of {', '.join(_ACTS)}, with commas between.", minLength=1
            ),
            parameters.in_query(
                "last_event_id", "As the header `Last-Event-ID`.", pattern=r"^[0-9]{1,16}$"
            ),
            job_answers.LAST_EVENT_ID,
        ),
        refuses=(Unavailable,),
    ),
)
@needs("events.read")
def follow_events(asked: PersonRequest) -> Response:
    """Follow what the caller may see, as server-sent events; the name of an event is its topic.

    `id` says what changed; null says that something may have, and is not named. An event of `jobs`
    has its `version` and its `document`, too. A stream begins with `alive`, and says it again when
    nothing happened for ten seconds. A reader that is behind gets the newest event of each thing,
    or `lost`: then it has to look by itself. People get their own jobs and uploads, the vfolders
    that they see, and quotas and notices of theirs and of their groups. Operators get all jobs and
    vfolders; of `uploads` that some began, moved on or ended, of `quota` the volumes whose alerts
    changed. `nodes`, `audit`, `events` (of the manager) and `findings` (a rescan or a sweep of a
    volume ended) are for operators.
    """
    topics = _topics()
    _decide(asked, topics)
    asked.service.streams.check(asked.caller.subject.word)
    door, since = current_door(), _last_event_id()

    if "vfolders" in topics:
        door.vfolder_news.begin()
    follower = door.live.open_feed(door.feed, topics, _reader(asked))
    try:
        if since is not None and "jobs" in topics:
            filters = {} if asked.is_operator else {"requester": asked.caller.subject.word}
            page = door.jobs.lists.page(Query(filters=filters, limit=_MISSED_MAX))
            door.feed.catch_up(follower, page.jobs, since)
    except BaseException:
        follower.body.close()
        raise

    def decide_again() -> None:
        asked.caller = asked.service.again(asked.caller)
        _decide(asked, topics)
        before, follower.reader = follower.reader.words, _reader(asked)
        if "vfolders" in topics and follower.reader.words != before:  # it joined or left a group
            follower.add("vfolders", door.feed.now_ms(), None)

    asked.service.streams.add(follower.body, asked.caller.subject.word, decide_again)
    return job_answers.followed_by(follower.body)


def _reader(asked: PersonRequest) -> FeedReader:
    """Return who reads: what it may see is decided when there is news."""
    caller, service = asked.caller, asked.service
    subject, of_all = caller.subject, asked.is_operator

    def sees(job: Job) -> bool:
        own = job.fields.get("requester") == subject.word
        return (of_all or own) and service.is_covered(caller, job)

    def admits(topic: str, state: Any) -> bool:  # noqa: ANN401 - as `Door.feed` makes it
        if topic != "uploads" or of_all:
            return True
        _, volume, vfolder = state
        try:
            return service.may_write(caller, volume, vfolder)
        except StorageError:  # what is not known is not named
            return False

    def sees_vfolder(reference: str) -> bool:
        return bool(service.find(caller, ACTS["vfolders.read"], reference))

    scopes = tuple(map(str, scopes_of(subject)))
    own = {"quota": scopes, "uploads": (upload_session.PERSON_SESSION + subject.word,)}
    return FeedReader(
        sees=sees,
        subjects=dict.fromkeys(own, ("",)) if of_all else own,
        admits=admits,
        words=None if of_all else frozenset(words_of(subject)),
        sees_vfolder=sees_vfolder,
    )


def _decide(asked: PersonRequest, topics: frozenset[str]) -> None:
    for topic in sorted(topics):
        asked.decide(_ACTS[topic][asked.is_operator])


def _topics() -> frozenset[str]:
    given = [one for one in request.args.get("topics", "").split(",") if one]
    unknown = sorted(set(given) - set(_ACTS))
    if unknown or not given:
        raise pointer("topics", f"has some of {', '.join(_ACTS)}, with commas between")
    if more := sorted(set(request.args) - {"topics", "last_event_id"}):
        raise pointer(more[0], "is not a parameter of this route")
    return frozenset(given)


def _last_event_id() -> int | None:
    """Return the moment where a broken stream ended (milliseconds); None for a new one."""
    text = request.headers.get("Last-Event-ID") or request.args.get("last_event_id", "")
    known = text.isascii() and text.isdigit() and len(text) <= _ID_DIGITS
    return int(text) if known else None
