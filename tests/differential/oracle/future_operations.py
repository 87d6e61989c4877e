"""Operations on futures, callbacks and timers."""

import pure_asyncio  # noqa: F401
import asyncio


class FutureOperations:
    def future(self, name):
        return self.object("future", name, self.loop.create_future)

    def callback(self, label):
        return lambda *_: self.emit("cb", label)

    async def op_fset(self, _frame, label, name):
        try:
            self.future(name).set_result(label)
        except asyncio.InvalidStateError:
            return "InvalidStateError"
        return True

    async def op_fexc(self, _frame, _label, name):
        try:
            self.future(name).set_exception(KeyError("f"))
        except asyncio.InvalidStateError:
            return "InvalidStateError"
        return True

    async def op_fcancel(self, _frame, _label, name):
        return self.future(name).cancel()

    async def op_fawait(self, _frame, _label, name):
        return await self.future(name)

    async def op_fdone(self, _frame, label, name):
        self.future(name).add_done_callback(self.callback(label))

    async def op_soon(self, _frame, label):
        self.loop.call_soon(self.callback(label))

    async def op_later(self, _frame, label, delay):
        self.timers[label] = self.loop.call_later(delay, self.callback(label))

    async def op_unlater(self, _frame, _label, label):
        if label not in self.timers:
            return None
        self.timers[label].cancel()
        return True

    async def op_fstate(self, _frame, _label, name):
        future = self.future(name)
        if not future.done():
            return "pending"
        if future.cancelled():
            return "cancelled"
        return "failed" if future.exception() is not None else "finished"

    async def op_done(self, _frame, label, name):
        target = self.target(name)
        if target is None:
            return None
        callback = self.callback(label)
        target.add_done_callback(callback)
        self.registrations[label] = target, callback
        return True

    async def op_undone(self, _frame, _label, label):
        if label not in self.registrations:
            return None
        target, callback = self.registrations[label]
        return target.remove_done_callback(callback)

    def call_back(self, delay, label, action):
        """What a callback does, and when: None soon, a number of seconds later."""
        def callback():
            try:
                result = action()
            except RecursionError:
                self.left_out = True
                return
            self.emit("cb", label, result)
        if delay is None:
            self.loop.call_soon(callback)
        else:
            self.loop.call_later(delay, callback)

    async def op_cbcancel(self, _frame, label, delay, name):
        def cancel():
            target = self.target(name)
            return target.cancel() if target is not None else None
        self.call_back(delay, label, cancel)

    async def op_cbset(self, _frame, label, delay, name):
        def set_result():
            if self.future(name).done():
                return False
            self.future(name).set_result(label)
            return True
        self.call_back(delay, label, set_result)
