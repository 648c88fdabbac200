"""gunicorn's threaded worker, with connections closed beside its main thread.

A connection that is to be closed is half-closed, then read until the other side closes too, for
two seconds at most (RFC 9112 §9.6). gunicorn does that on the thread that accepts and dispatches:
one caller who asks for `Connection: close` and stays would keep everybody waiting. Here a few
threads of their own do it.
"""

from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from gunicorn.workers.gthread import ThreadWorker

#: Threads that see callers off. They only wait; a crowd that never closes waits for each other.
CLOSERS = 8


class LingeringCloseWorker(ThreadWorker):
    """See the module."""

    nr_conns: int

    def init_process(self) -> None:
        """Make the pool in the worker process; its threads start when they are needed."""
        self._closers = ThreadPoolExecutor(CLOSERS, thread_name_prefix="closer")
        super().init_process()

    def finish_request(self, conn: Any, fs: Any) -> None:  # noqa: ANN401 - gunicorn is untyped
        """As gthread, on the main thread, but for the close after an answer."""
        over = not fs.cancelled() and fs.exception() is None and fs.result() is False
        if not over:
            super().finish_request(conn, fs)
            return
        closing = self._closers.submit(conn.close, graceful=True)
        closing.add_done_callback(lambda done: self.method_queue.defer(self._closed, conn, done))

    def _closed(self, conn: Any, done: "Future[None]") -> None:  # noqa: ANN401 - gunicorn is untyped
        self.nr_conns -= 1
        if done.exception() is not None:
            conn.close()
