"""asyncio's task with the one thing that fibrio adds to cancellation: a mask.

While a task is masked a request is counted, and interrupts nothing. When the last mask is gone it is as if the request
came then: the next wait that suspends raises CancelledError. A request that was recorded but not delivered when the mask
began is kept in the same way. uncancel() to zero drops it.
"""

import asyncio
import contextlib


class MaskableTask(asyncio.Task):
    _masks = 0
    _postponed = False

    def cancel(self, msg=None):
        if self._masks == 0 or self.done():
            return super().cancel(msg)
        self._num_cancels_requested += 1
        self._cancel_message = msg
        self._postponed = True
        return True

    def uncancel(self):
        left = super().uncancel()
        if left == 0:
            self._postponed = False
        return left

    def is_masked(self):
        return self._masks > 0

    @contextlib.contextmanager
    def masked(self):
        self._masks += 1
        if self._must_cancel:
            self._must_cancel = False
            self._postponed = True
        try:
            yield
        finally:
            self._masks -= 1
            if self._masks == 0 and self._postponed:
                self._postponed = False
                self._must_cancel = True
