"""The route of news: one stream of events for all that a page shows."""

from flask import Response, request

from api.jobs import pointer
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
from core.errors import Unavailable
from core.jobs import Job
from core.jobs.store import Query

blueprint = PeopleResource("news", __name__, description="News of what the caller may see.")

#: By topic, the act that it needs: of people, and of operators.
_ACTS = {
    "jobs": ("jobs.list", "queue.read"),
    "volumes": ("volumes.list", "volumes.read"),
    "nodes": ("nodes.read", "nodes.read"),
    "audit": ("audit.read", "audit.read"),
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

    `id` says what changed; an event of `jobs` has its `version` and its `document`, too. A reader
    that is behind gets the newest event of each thing, or `lost`: then it has to look by itself.
    People get their own jobs, operators all. `nodes` and `audit` are for operators.
    """
    topics = _topics()
    _decide(asked, topics)
    asked.service.streams.check(asked.caller.subject.word)
    door, since = current_door(), _last_event_id()

    def sees(job: Job) -> bool:
        own = job.fields.get("requester") == asked.caller.subject.word
        return (asked.is_operator or own) and asked.service.is_covered(asked.caller, job)

    follower = door.live.open_feed(door.feed, topics, sees)
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

    asked.service.streams.add(follower.body, asked.caller.subject.word, decide_again)
    return job_answers.followed_by(follower.body)


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
