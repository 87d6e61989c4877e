"""asyncio's task and timeout with what fibrio adds to cancellation.

Masks. While a task is masked a request is counted, and interrupts nothing. When the last mask is gone it is as if the
request came then: the next wait that suspends raises CancelledError. uncancel() to zero drops it.

Scopes take back exactly their own request. When a timeout or a group ends whose request was not delivered yet (the task
was masked, or cancelled its own group and did not wait since), that request goes, and older ones stay: with
uncancel() alone, which drops requests only when none is counted, the task would be interrupted by a request that
nobody makes any more. Neither can happen in asyncio without masks and without TaskGroup.cancel.
"""

import asyncio
import contextlib
import sys
from asyncio import tasks, timeouts


class MaskableTask(asyncio.Task):
    _masks = 0
    _pending = 0  # requests that were made and not delivered
    _epoch = 0  # moves when requests are delivered, or dropped

    def __init__(self, coro, *, loop, eager_start=False, **options):
        if not eager_start:
            super().__init__(coro, loop=loop, **options)
        elif sys.version_info >= (3, 12):
            super().__init__(coro, loop=loop, eager_start=True, **options)
        else:
            with loop.collecting() as handles:
                super().__init__(coro, loop=loop, **options)
            creator = tasks._current_tasks.pop(loop, None)
            handles[0]._run()  # the first step
            if creator is not None:
                tasks._current_tasks[loop] = creator

    @property
    def _must_cancel(self):  # as asyncio's task calls it
        return self._pending > 0 and self._masks == 0

    @_must_cancel.setter
    def _must_cancel(self, value):
        if value:
            self._pending += 1
        elif self._pending:
            self._pending = 0
            self._epoch += 1

    def uncancel(self):
        left = super().uncancel()
        if left == 0:
            self._must_cancel = False  # 3.13: a request that is taken back is not delivered
        return left

    def cancel(self, msg=None):
        if self._masks == 0 or self.done():
            return super().cancel(msg)
        self._num_cancels_requested += 1
        self._cancel_message = msg
        self._pending += 1
        return True

    def cancel_for_scope(self):
        """Returns what withdraw() wants to know."""
        before = self._pending
        self.cancel()
        return self._epoch if self._pending > before else None

    def withdraw(self, request):
        """Takes a scope's request back; returns how many are left."""
        left = self.uncancel()
        if request == self._epoch and self._pending:
            self._pending -= 1
        return left

    def is_masked(self):
        return self._masks > 0

    @contextlib.contextmanager
    def masked(self):
        self._masks += 1
        try:
            yield
        finally:
            self._masks -= 1


class Timeout(asyncio.Timeout):
    _request = None

    async def __aenter__(self):
        self._count_at_entry = asyncio.current_task().cancelling()
        return await super().__aenter__()

    def _on_timeout(self):
        before = self._task._pending
        super()._on_timeout()
        if self._task._pending > before:
            self._request = self._task._epoch

    async def __aexit__(self, kind, error, traceback):
        was_expiring = self.expired()
        try:
            if await super().__aexit__(kind, error, traceback):
                return True
            # 3.11.3: requests that were there at the entry do not count.
            if was_expiring and kind is not None and issubclass(kind, asyncio.CancelledError):
                if self._task.cancelling() <= self._count_at_entry:
                    raise TimeoutError from error
        finally:
            task = self._task
            if self._request == task._epoch and task._pending:
                task._pending -= 1


timeouts.Timeout = Timeout
