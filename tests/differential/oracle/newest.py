"""The parts of asyncio that are newer than the installed version, in own words, each only where it is missing.

The semantics that count are those of 3.14, and TaskGroup.cancel of 3.15. differences() names what was replaced; the
golden programs, whose traces come from 3.14.6, tell whether that is all.
"""

import pure_asyncio  # noqa: F401
import asyncio
import sys
from asyncio import CancelledError


class _TaskGroup:
    """A task group with cancel(), and what 3.14 and 3.15 changed: an eager child that fails interrupts the parent at its
    next wait only, and belongs to the group from its beginning."""

    def __init__(self):
        self._children = {}
        self._errors = []
        self._aborting = self._left = self._asked_parent = False
        self._join = self._request = None

    async def __aenter__(self):
        self._loop = asyncio.get_running_loop()
        self._parent = asyncio.current_task()
        return self

    def create_task(self, coro, **options):
        if self._aborting or (self._left and not self._children):
            coro.close()
            raise RuntimeError("the group takes no more children")
        task = self._loop.create_task(self._child(coro), **options)
        self._children[task] = None
        task.add_done_callback(self._on_done)
        return task

    async def _child(self, coro):
        self._children[asyncio.current_task()] = None  # one that is started eagerly may cancel the group
        return await coro

    def cancel(self):
        if not (self._left and not self._children):
            self._abort_all()

    def _abort_all(self):
        if not self._aborting:
            self._abort()
        if not self._asked_parent:
            self._asked_parent = True
            self._request = self._parent.cancel_for_scope()

    def _abort(self):
        self._aborting = True
        for task in list(self._children):
            if not task.done():
                task.cancel()

    def _on_done(self, task):
        self._children.pop(task, None)
        if self._join is not None and not self._children and not self._join.done():
            self._join.set_result(None)
        if task.cancelled() or task.exception() is None:
            return
        self._errors.append(task.exception())
        if not self._aborting and not self._asked_parent:
            self._abort_all()

    async def __aexit__(self, kind, error, _traceback):
        self._left = True
        was_cancelled = kind is not None and issubclass(kind, CancelledError)
        interrupted = error if was_cancelled else None
        if kind is not None and not self._aborting:
            self._abort()
        while self._children:
            self._join = self._loop.create_future()
            foreign = self._parent.cancelling() - self._asked_parent
            try:
                await self._join
            except CancelledError as cancelled:
                if not self._aborting:
                    interrupted = cancelled
                    self._abort()
                elif self._parent.cancelling() - self._asked_parent > foreign:
                    interrupted = cancelled
            self._join = None
        if self._asked_parent and self._parent.withdraw(self._request) == 0:
            interrupted = None
        if kind is not None and not was_cancelled:
            self._errors.append(error)
        if not self._errors:
            if interrupted is not None:
                raise interrupted
            return was_cancelled
        if self._parent.cancelling():
            self._parent.uncancel()
            self._parent.cancel()
        try:
            raise BaseExceptionGroup("unhandled errors in a TaskGroup", self._errors) from None
        finally:
            self._errors = None


TaskGroup = asyncio.TaskGroup if hasattr(asyncio.TaskGroup, "cancel") else _TaskGroup
Queue = asyncio.Queue
PriorityQueue = asyncio.PriorityQueue
LifoQueue = asyncio.LifoQueue


def replaced():
    """The names of the parts that the installed version does not have."""
    return [each.__name__.lstrip("_") for each in (TaskGroup,) if each.__module__ == __name__]
