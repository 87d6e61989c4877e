"""The parts of asyncio that are newer than the installed version, in own words, each only where it is missing.

The semantics that count are those of 3.14, and TaskGroup.cancel of 3.15. replaced() names what was replaced here;
maskable_task replaces the rest (Task, Timeout). The golden programs, whose traces come from 3.14.6, tell whether that
is all: they are derived again with every version.
"""

import pure_asyncio  # noqa: F401
import asyncio
import collections
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


class _Condition(asyncio.Condition):
    """3.13: a waiter that was notified and leaves by an exception passes the notification on."""

    async def wait(self):
        if not self.locked():
            raise RuntimeError("the lock is not held")
        notified = asyncio.get_running_loop().create_future()
        self.release()
        try:
            try:
                self._waiters.append(notified)
                try:
                    await notified
                finally:
                    self._waiters.remove(notified)
            finally:
                await self._reacquire()
        except BaseException:
            self.notify(1)
            raise
        return True

    async def _reacquire(self):
        interrupted = None
        while True:
            try:
                await self.acquire()
                break
            except CancelledError as cancelled:
                interrupted = cancelled
        if interrupted is not None:
            raise interrupted


class _Semaphore(asyncio.Semaphore):
    """3.13: a waiter that leaves wakes as many as there are units for."""

    async def acquire(self):
        if not self.locked():
            self._value -= 1
            return True
        if self._waiters is None:
            self._waiters = collections.deque()
        turn = asyncio.get_running_loop().create_future()
        self._waiters.append(turn)
        try:
            try:
                await turn
            finally:
                self._waiters.remove(turn)
        except CancelledError:
            if turn.done() and not turn.cancelled():
                self._value += 1
            raise
        finally:
            while self._value > 0 and any(not each.done() for each in self._waiters):
                self._wake_up_next()
        return True


class _BoundedSemaphore(_Semaphore):
    def __init__(self, value=1):
        self._bound = value
        super().__init__(value)

    def release(self):
        if self._value >= self._bound:
            raise ValueError("released too many times")
        super().release()


class QueueShutDown(Exception):
    pass


class _Shutdown:
    """3.13: Queue.shutdown."""

    _is_shut_down = False

    async def put(self, item):
        while self.full() and not self._is_shut_down:
            await self._turn(self._putters, lambda: not self.full())
        return self.put_nowait(item)

    async def get(self):
        while self.empty() and not self._is_shut_down:
            await self._turn(self._getters, lambda: not self.empty())
        return self.get_nowait()

    async def _turn(self, waiters, is_possible):
        turn = asyncio.get_running_loop().create_future()
        waiters.append(turn)
        try:
            await turn
        except BaseException:
            turn.cancel()
            if turn in waiters:
                waiters.remove(turn)
            if is_possible() and not turn.cancelled():
                self._wakeup_next(waiters)
            raise

    def put_nowait(self, item):
        if self._is_shut_down:
            raise QueueShutDown
        super().put_nowait(item)

    def get_nowait(self):
        if self._is_shut_down and self.empty():
            raise QueueShutDown
        return super().get_nowait()

    def shutdown(self, immediate=False):
        self._is_shut_down = True
        if immediate:
            while not self.empty():
                self._get()
                self._unfinished_tasks = max(0, self._unfinished_tasks - 1)
            if self._unfinished_tasks == 0:
                self._finished.set()
        for waiters in (self._getters, self._putters):
            while waiters:
                self._wakeup_next(waiters)


class _Queue(_Shutdown, asyncio.Queue):
    pass


class _PriorityQueue(_Shutdown, asyncio.PriorityQueue):
    pass


class _LifoQueue(_Shutdown, asyncio.LifoQueue):
    pass


async def _wait_for(future, timeout):
    """3.12: a timeout block around the await; the task that waits is never left with a result and without its
    cancellation."""
    if timeout is not None and timeout <= 0:
        return await asyncio.wait_for(future, timeout)
    async with asyncio.timeout(timeout):
        return await future


def _gather(*futures, return_exceptions=False):
    """3.12: what is done already is counted at once."""
    with asyncio.get_running_loop().collecting() as done_callbacks:
        outer = asyncio.gather(*futures, return_exceptions=return_exceptions)
    for callback in done_callbacks:
        callback._run()
    return outer


def _newest(name, since, replacement):
    if sys.version_info >= since:
        return getattr(asyncio, name)
    _replaced.append(name)
    return replacement


_replaced = []
Condition = _newest("Condition", (3, 13), _Condition)
Semaphore = _newest("Semaphore", (3, 13), _Semaphore)
BoundedSemaphore = _newest("BoundedSemaphore", (3, 13), _BoundedSemaphore)
Queue = _newest("Queue", (3, 13), _Queue)
PriorityQueue = _newest("PriorityQueue", (3, 13), _PriorityQueue)
LifoQueue = _newest("LifoQueue", (3, 13), _LifoQueue)
wait_for = _newest("wait_for", (3, 12), _wait_for)
gather = _newest("gather", (3, 12), _gather)
TaskGroup = _newest("TaskGroup", (3, 15), _TaskGroup)


def replaced():
    """The names of the parts that the installed version does not have in their newest form."""
    return _replaced
