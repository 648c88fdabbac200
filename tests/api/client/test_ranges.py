"""RFC 9110 as a table: the part of a file of 1000 bytes that a request with these headers gets."""

from hypothesis import given
from hypothesis import strategies as st

from api.streaming.ranges import (
    Complete,
    NotModified,
    PartialContent,
    PreconditionFailed,
    Representation,
    RequestedRanges,
    Unsatisfiable,
    choose,
    parse_http_date,
)

ETAG = '"1f-3e8-17"'
DATE = "Sun, 06 Nov 1994 08:49:37 GMT"
EARLIER = "Sun, 06 Nov 1994 08:49:36 GMT"
LATER = "Sun, 06 Nov 1994 08:49:38 GMT"
FILE = Representation(1000, ETAG, 784111777)
EMPTY = Representation(0, ETAG, 784111777)
STREAM = Representation(None, None, None)

RANGES = [
    ("bytes=0-99", PartialContent(0, 100)),
    ("bytes=0-0", PartialContent(0, 1)),
    ("bytes=999-999", PartialContent(999, 1)),
    ("bytes=500-", PartialContent(500, 500)),
    ("bytes=0-", PartialContent(0, 1000)),
    ("bytes=-1", PartialContent(999, 1)),
    ("bytes=-100", PartialContent(900, 100)),
    ("bytes=-1000", PartialContent(0, 1000)),
    ("bytes=-5000", PartialContent(0, 1000)),
    ("bytes=0-5000", PartialContent(0, 1000)),
    ("bytes=900-1000", PartialContent(900, 100)),
    ("Bytes=1-2", PartialContent(1, 2)),
    ("BYTES=1-2", PartialContent(1, 2)),
    ("bytes= 1-2", PartialContent(1, 2)),
    ("bytes=1-2,", PartialContent(1, 2)),
    ("bytes=,,1-2 ,", PartialContent(1, 2)),
    ("bytes=007-009", PartialContent(7, 3)),
    (f"bytes=1-{'9' * 5000}", PartialContent(1, 999)),
    (f"bytes=-{'9' * 5000}", PartialContent(0, 1000)),
    ("bytes=1000-", Unsatisfiable()),
    ("bytes=1000-1001", Unsatisfiable()),
    (f"bytes={'9' * 5000}-", Unsatisfiable()),
    ("bytes=-0", Unsatisfiable()),
    ("bytes=0-1,5-6", Complete()),
    ("bytes=0-1, 2000-", Complete()),
    ("bytes=5-2", Complete()),
    ("bytes=-", Complete()),
    ("bytes=", Complete()),
    ("bytes", Complete()),
    ("", Complete()),
    ("bytes=a-b", Complete()),
    ("bytes=1-2x", Complete()),
    ("bytes=1 - 2", Complete()),
    ("bytes=+1-2", Complete()),
    ("bytes=1--2", Complete()),
    ("bytes=0x1-0x2", Complete()),
    ("bytes=\u0661-\u0662", Complete()),
    ("items=0-1", Complete()),
    ("seconds=1-2", Complete()),
    ("bytes:0-1", Complete()),
]


RANGES_OF_NOTHING = [
    ("bytes=0-", Unsatisfiable()),
    ("bytes=0-0", Unsatisfiable()),
    ("bytes=-0", Unsatisfiable()),
    ("bytes=-5", Complete()),
    ("bytes=0-1,2-3", Complete()),
]


def test_ranges() -> None:
    chosen = [(header, choose(FILE, RequestedRanges(range=header))) for header, _ in RANGES]
    assert chosen == RANGES


def test_ranges_on_head_are_ignored() -> None:
    heads = [RequestedRanges(method="HEAD", range=header) for header, _ in RANGES]
    assert [head for head in heads if choose(FILE, head) != Complete()] == []


def test_ranges_of_an_empty_file() -> None:
    chosen = [
        (header, choose(EMPTY, RequestedRanges(range=header))) for header, _ in RANGES_OF_NOTHING
    ]
    assert chosen == RANGES_OF_NOTHING


def test_an_unknown_size_has_no_ranges() -> None:
    assert choose(STREAM, RequestedRanges(range="bytes=0-1")) == Complete()


CONDITIONS = [
    # If-Range decides whether Range counts
    ({"range": "bytes=0-9", "if_range": ETAG}, PartialContent(0, 10)),
    ({"range": "bytes=0-9", "if_range": DATE}, PartialContent(0, 10)),
    ({"range": "bytes=0-9", "if_range": "Sunday, 06-Nov-94 08:49:37 GMT"}, PartialContent(0, 10)),
    ({"range": "bytes=0-9", "if_range": '"other"'}, Complete()),
    ({"range": "bytes=0-9", "if_range": f"W/{ETAG}"}, Complete()),
    ({"range": "bytes=0-9", "if_range": EARLIER}, Complete()),
    ({"range": "bytes=0-9", "if_range": LATER}, Complete()),
    ({"range": "bytes=0-9", "if_range": "yesterday"}, Complete()),
    ({"range": "bytes=0-9", "if_range": ""}, Complete()),
    ({"range": "bytes=2000-", "if_range": '"other"'}, Complete()),
    ({"range": "bytes=2000-", "if_range": ETAG}, Unsatisfiable()),
    ({"if_range": '"other"'}, Complete()),
    # If-None-Match: 304 by weak comparison
    ({"if_none_match": ETAG}, NotModified()),
    ({"if_none_match": f"W/{ETAG}"}, NotModified()),
    ({"if_none_match": f'"a", {ETAG}'}, NotModified()),
    ({"if_none_match": f'"a,b" ,W/{ETAG},'}, NotModified()),
    ({"if_none_match": "*"}, NotModified()),
    ({"if_none_match": '"other"'}, Complete()),
    ({"if_none_match": ETAG.strip('"')}, Complete()),
    ({"if_none_match": ""}, Complete()),
    ({"if_none_match": ETAG, "method": "HEAD"}, NotModified()),
    # … and hides If-Modified-Since
    ({"if_none_match": '"other"', "if_modified_since": DATE}, Complete()),
    ({"if_none_match": ETAG, "if_modified_since": EARLIER}, NotModified()),
    ({"if_modified_since": DATE}, NotModified()),
    ({"if_modified_since": LATER}, NotModified()),
    ({"if_modified_since": EARLIER}, Complete()),
    ({"if_modified_since": "Sun Nov  6 08:49:37 1994"}, NotModified()),
    ({"if_modified_since": "06 Nov 1994"}, Complete()),
    ({"if_modified_since": f"{DATE}, {DATE}"}, Complete()),
    # a 304 comes before any range
    ({"if_none_match": ETAG, "range": "bytes=0-9"}, NotModified()),
    ({"if_modified_since": DATE, "range": "bytes=2000-"}, NotModified()),
    ({"if_none_match": '"other"', "range": "bytes=0-9"}, PartialContent(0, 10)),
    # If-Match: 412 by strong comparison, and hides If-Unmodified-Since
    ({"if_match": ETAG}, Complete()),
    ({"if_match": f'"a", {ETAG}'}, Complete()),
    ({"if_match": "*"}, Complete()),
    ({"if_match": f"W/{ETAG}"}, PreconditionFailed()),
    ({"if_match": '"other"'}, PreconditionFailed()),
    ({"if_match": ""}, PreconditionFailed()),
    ({"if_match": '"other"', "method": "HEAD"}, PreconditionFailed()),
    ({"if_match": ETAG, "range": "bytes=0-9"}, PartialContent(0, 10)),
    ({"if_match": '"other"', "range": "bytes=0-9"}, PreconditionFailed()),
    ({"if_match": '"other"', "if_none_match": ETAG}, PreconditionFailed()),
    ({"if_match": ETAG, "if_none_match": ETAG}, NotModified()),
    ({"if_match": ETAG, "if_unmodified_since": EARLIER}, Complete()),
    ({"if_unmodified_since": DATE}, Complete()),
    ({"if_unmodified_since": LATER}, Complete()),
    ({"if_unmodified_since": EARLIER}, PreconditionFailed()),
    ({"if_unmodified_since": "never"}, Complete()),
]


def test_conditions() -> None:
    chosen = [(headers, choose(FILE, RequestedRanges(**headers))) for headers, _ in CONDITIONS]
    assert chosen == CONDITIONS


def test_unknown_validators_match_no_header() -> None:
    assert choose(STREAM, RequestedRanges(if_modified_since=DATE)) == Complete()
    assert choose(STREAM, RequestedRanges(if_match=ETAG)) == PreconditionFailed()


@given(st.text(), st.integers(0, 2000))
def test_any_header_gets_an_answer_inside_the_file(header: str, size: int) -> None:
    choice = choose(Representation(size, ETAG, 1), RequestedRanges(range=f"bytes={header}"))
    if isinstance(choice, PartialContent):
        assert 0 <= choice.start < choice.start + choice.length <= size


@given(st.integers(0, 3000), st.integers(0, 3000))
def test_a_range_is_what_python_slices(first: int, last: int) -> None:
    body = bytes(range(250)) * 4
    choice = choose(FILE, RequestedRanges(range=f"bytes={first}-{last}"))
    if isinstance(choice, PartialContent):
        assert body[choice.start : choice.start + choice.length] == body[first : last + 1]
    else:
        assert isinstance(choice, Unsatisfiable if first <= last else Complete)


def test_only_http_dates_are_dates() -> None:
    assert parse_http_date(DATE) == 784111777
    assert parse_http_date("1994-11-06T08:49:37Z") is None
