"""Who is asked for limits and counts: the kernel, or the tool where the client has no such call."""

from collections.abc import Callable
from typing import Concatenate, ParamSpec, TypeVar

from backends.mounted import ProjectUsage
from backends.systems.lustre import quotactl
from backends.systems.lustre.answers import LustreUsage, NotLustre, NoTool
from backends.systems.lustre.lfs import Lfs

R = TypeVar("R")
P = ParamSpec("P")


class KernelFirst:
    """The ioctl of the client; the tool where the mounted file system has none.

    The kernel is asked every time: another file system may be mounted meanwhile. Errors are
    those of `quotactl`, or of `Lfs`.
    """

    def __init__(self, tool: Lfs) -> None:
        self._tool = tool

    def counted(self, fd: int, project: int) -> LustreUsage:
        """See `Lfs.counted`."""
        return _first(quotactl.counted, self._tool.counted, fd, project)

    def usage(self, fd: int, project: int) -> ProjectUsage:
        """See `project_ids.Counts.usage`."""
        return self.counted(fd, project).complete()

    def set_limit(self, fd: int, project: int, limit_bytes: int) -> None:
        """See `project_ids.Counts.set_limit`; limits of inodes stay, a soft limit goes."""
        _first(quotactl.set_limit, self._tool.set_limit, fd, project, limit_bytes)

    def forget(self, fd: int, project: int) -> None:
        """See `project_ids.Counts.forget`."""
        _first(quotactl.forget, self._tool.forget, fd, project)


def _first(
    by_kernel: Callable[Concatenate[int, P], R],
    by_tool: Callable[Concatenate[int, P], R],
    fd: int,
    /,
    *given: P.args,
    **named: P.kwargs,
) -> R:
    try:
        return by_kernel(fd, *given, **named)
    except NotLustre as error:
        try:
            return by_tool(fd, *given, **named)
        except NoTool:
            raise error from None
