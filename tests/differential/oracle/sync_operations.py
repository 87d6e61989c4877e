"""Operations on locks and their kin."""

import pure_asyncio  # noqa: F401
import asyncio

import newest


class SyncOperations:
    def lock(self, name):
        return self.object("lock", name, asyncio.Lock)

    def semaphore(self, name):
        return self.object("semaphore", name, newest.Semaphore)

    def event(self, name):
        return self.object("event", name, asyncio.Event)

    def condition(self, name):
        return self.object("condition", name, newest.Condition)

    def barrier(self, name):
        return self.object("barrier", name, lambda: asyncio.Barrier(2))

    async def op_acquire(self, _frame, _label, name):
        await self.lock(name).acquire()

    async def op_release(self, _frame, _label, name):
        try:
            self.lock(name).release()
        except RuntimeError:
            return "RuntimeError"
        return True

    async def op_semaphore_acquire(self, _frame, _label, name):
        await self.semaphore(name).acquire()

    async def op_semaphore_release(self, _frame, _label, name):
        self.semaphore(name).release()

    def bounded(self, name):
        return self.object("bounded", name, lambda: newest.BoundedSemaphore(1 if name == "a" else 2))

    async def op_bounded_acquire(self, _frame, _label, name):
        await self.bounded(name).acquire()

    async def op_bounded_release(self, _frame, _label, name):
        try:
            self.bounded(name).release()
        except ValueError:
            return "ValueError"
        return True

    async def op_locked(self, _frame, _label, name):
        return [each(name).locked() for each in (self.lock, self.semaphore, self.bounded)]

    async def op_set(self, _frame, _label, name):
        self.event(name).set()

    async def op_clear(self, _frame, _label, name):
        self.event(name).clear()

    async def op_await_ev(self, _frame, _label, name):
        return await self.event(name).wait()

    async def op_cwait(self, _frame, _label, name):
        async with self.condition(name):
            return await self.condition(name).wait()

    async def op_cwaitf(self, _frame, _label, name):
        async with self.condition(name):
            return await self.condition(name).wait_for(lambda: self.flags.get(name, False))

    async def op_flag(self, _frame, _label, name, value):
        self.flags[name] = value

    async def op_cnotify(self, _frame, _label, name, count):
        async with self.condition(name):
            self.condition(name).notify(count)

    async def op_barrier(self, _frame, _label, name):
        return await self.barrier(name).wait()

    async def op_breset(self, _frame, _label, name):
        await self.barrier(name).reset()

    async def op_babort(self, _frame, _label, name):
        await self.barrier(name).abort()

    async def op_bstate(self, _frame, _label, name):
        return [self.barrier(name).n_waiting, self.barrier(name).broken]
