"""Operations on queues."""

import pure_asyncio  # noqa: F401
import asyncio

import newest

kQueues = {
    "a": lambda: newest.Queue(1),
    "b": lambda: newest.Queue(0),
    "c": lambda: newest.Queue(2),
    "p": lambda: newest.PriorityQueue(2),
    "P": lambda: newest.PriorityQueue(0),
    "l": lambda: newest.LifoQueue(2),
    "L": lambda: newest.LifoQueue(0),
}


class QueueOperations:
    def queue(self, name):
        return self.object("queue", name, kQueues[name])

    async def op_put(self, _frame, label, name):
        await self.queue(name).put(label)

    async def op_get(self, _frame, _label, name):
        return await self.queue(name).get()

    async def op_nput(self, _frame, label, name):
        try:
            self.queue(name).put_nowait(label)
        except asyncio.QueueFull:
            return "QueueFull"
        return True

    async def op_nget(self, _frame, _label, name):
        try:
            return self.queue(name).get_nowait()
        except asyncio.QueueEmpty:
            return "QueueEmpty"

    async def op_tdone(self, _frame, _label, name):
        try:
            self.queue(name).task_done()
        except ValueError:
            return "ValueError"
        return True

    async def op_qjoin(self, _frame, _label, name):
        await self.queue(name).join()

    async def op_qshut(self, _frame, _label, name, immediate):
        self.queue(name).shutdown(immediate)

    async def op_qsize(self, _frame, _label, name):
        queue = self.queue(name)
        return [queue.qsize(), queue.empty(), queue.full()]
