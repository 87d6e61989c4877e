"""An asyncio event loop on virtual time: integers, advanced only when nothing is ready, and the same every time.

A pass runs exactly the handles that are ready when it starts; what they schedule belongs to the next one. Then
timers that are due become ready in the order (deadline, creation): asyncio's own heap leaves equal deadlines in any
order. If nothing is ready and no timer is armed, the program is in a deadlock.
"""

import asyncio
import collections
import contextlib
import heapq
from asyncio import events


class Deadlock(Exception):
    """Nothing can ever run again."""


class VirtualLoop(asyncio.AbstractEventLoop):
    def __init__(self, task_class=asyncio.Task):
        self._task_class = task_class
        self._now = 0
        self._ready = collections.deque()
        self._timers = []
        self._armed = 0
        self._stopping = False
        self.has_met_cycle = False  # a callback cancelled tasks that await each other

    # ---- What the library asks of a loop -------------------------------------------------------------------

    def time(self):
        return self._now

    def get_debug(self):
        return False

    def is_running(self):
        return True

    def is_closed(self):
        return False

    def call_soon(self, callback, *args, context=None):
        handle = events.Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    call_soon_threadsafe = call_soon

    def call_later(self, delay, callback, *args, context=None):
        return self.call_at(self._now + delay, callback, *args, context=context)

    def call_at(self, when, callback, *args, context=None):
        timer = events.TimerHandle(when, callback, args, self, context)
        self._armed += 1
        heapq.heappush(self._timers, (when, self._armed, timer))
        return timer

    def _timer_handle_cancelled(self, handle):
        pass

    def create_future(self):
        return asyncio.Future(loop=self)

    def create_task(self, coro, **options):
        return self._task_class(coro, loop=self, **options)

    def call_exception_handler(self, context):
        self.has_met_cycle |= isinstance(context.get("exception"), RecursionError)

    def default_exception_handler(self, context):
        pass

    @contextlib.contextmanager
    def collecting(self):
        """What is scheduled inside is not: its handles are collected."""
        ready, self._ready = self._ready, collections.deque()
        try:
            yield self._ready
        finally:
            self._ready = ready

    # ---- Running -------------------------------------------------------------------------------------------

    def advance(self, duration):
        """Moves the clock without waiting."""
        self._now += duration

    def run_until_complete(self, coro):
        """Runs a coroutine as the main task; the pass in which it ends is the last, and so is the one after it,
        in which its done-callback stops the loop. Raises Deadlock."""
        events._set_running_loop(self)
        try:
            main = self.create_task(coro)
            main.add_done_callback(self._stop)
            while not self._stopping:
                self._run_pass()
            return main.result()
        finally:
            events._set_running_loop(None)

    def _stop(self, _main):
        self._stopping = True

    def _run_pass(self):
        timers, ready = self._timers, self._ready
        while timers and timers[0][2]._cancelled:
            heapq.heappop(timers)
        if not ready:
            if not timers:
                raise Deadlock
            self._now = max(self._now, timers[0][0])
        while timers and timers[0][0] <= self._now:
            timer = heapq.heappop(timers)[2]
            if not timer._cancelled:
                ready.append(timer)
        for _ in range(len(ready)):
            handle = ready.popleft()
            if not handle._cancelled:
                handle._run()
