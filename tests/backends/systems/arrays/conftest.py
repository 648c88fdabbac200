"""What tests of arrays share."""

import logging
from collections.abc import Iterator

import pytest
import structlog

from tests.backends.systems.arrays.watching import Watch


@pytest.fixture
def watch(caplog: pytest.LogCaptureFixture) -> Iterator[Watch]:
    """Every line that is logged, by us and by libraries, at every level."""
    with caplog.at_level(logging.DEBUG), structlog.testing.capture_logs() as lines:
        yield Watch(lines, caplog)
