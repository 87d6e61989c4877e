"""Operations on time, tasks, and requests to cancel them."""

import pure_asyncio  # noqa: F401
import asyncio

from names import error_name


class TaskOperations:
    async def op_sleep(self, _frame, _label, delay):
        await asyncio.sleep(delay)

    async def op_sleepu(self, _frame, _label, when):
        await asyncio.sleep(when - self.loop.time())

    async def op_busy(self, _frame, _label, duration):
        self.loop.advance(duration)

    async def op_spawn(self, _frame, label, body):
        self.start(body, label)
        return label

    async def op_eager(self, _frame, label, body):
        self.start(body, label, eager_start=True)
        return label

    async def op_cancel(self, _frame, _label, name):
        return self.tasks[name].cancel() if name in self.tasks else None

    async def op_cancelm(self, _frame, label, name):
        return self.tasks[name].cancel(label) if name in self.tasks else None

    async def op_join(self, _frame, _label, name):
        return await self.tasks[name] if name in self.tasks else None

    async def op_uncancel(self, _frame, _label):
        return asyncio.current_task().uncancel()

    async def op_raise(self, _frame, _label, which):
        raise KeyError("k") if which == "E1" else ValueError("v")

    async def op_try(self, frame, label, body, how, final):
        result, left_by = "ok", None
        try:
            await self.body(body, label, frame)
        except asyncio.CancelledError as error:
            if how == "swallow":
                result = "swallowed"
            else:
                left_by = error
        except Exception as error:
            result = ["caught", error_name(error)]
        await self.body(final, label + "f", frame)
        if left_by is not None:
            raise left_by
        return result

    async def op_msg(self, frame, label, body):
        try:
            await self.body(body, label, frame)
        except asyncio.CancelledError as error:
            return error.args[0] if error.args and error.args[0] is not None else ""

    async def op_mask(self, frame, label, body):
        with asyncio.current_task().masked():
            await self.body(body, label, frame)

    async def op_tstate(self, _frame, _label, name):
        if name not in self.tasks:
            return None
        task = self.tasks[name]
        if not task.done():
            return "pending"
        if task.cancelled():
            return "cancelled"
        return error_name(task.exception()) if task.exception() is not None else "finished"

    async def op_alive(self, _frame, _label):
        return len(asyncio.all_tasks())
