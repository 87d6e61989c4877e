"""Operations that wait for several things, new tasks or (x) what there is."""

import pure_asyncio  # noqa: F401
import asyncio

import newest
from names import error_name


class WaitingOperations:
    async def op_wait_for(self, _frame, label, delay, body):
        return await newest.wait_for(self.start(body, label), delay)

    async def op_wait_forx(self, _frame, _label, delay, name):
        target = self.target(name)
        return await newest.wait_for(target, delay) if target is not None else None

    async def op_shield(self, _frame, label, body):
        return await asyncio.shield(self.start(body, label))

    async def op_shieldx(self, _frame, _label, name):
        target = self.target(name)
        return await asyncio.shield(target) if target is not None else None

    async def op_gather(self, _frame, label, return_exceptions, bodies):
        return await self.gather(return_exceptions, self.start_all(bodies, label))

    async def op_gatherx(self, _frame, _label, return_exceptions, names):
        return await self.gather(return_exceptions, self.targets(names))

    async def gather(self, return_exceptions, futures):
        results = await newest.gather(*futures, return_exceptions=return_exceptions)
        return [error_name(each) if isinstance(each, BaseException) else each for each in results]

    async def op_wait(self, _frame, label, delay, mode, bodies):
        return await self.wait(delay, mode, self.start_all(bodies, label))

    async def op_waitx(self, _frame, _label, delay, mode, names):
        tasks = [self.tasks[name] for name in names if name in self.tasks]
        return await self.wait(delay, mode, tasks) if tasks else None

    async def wait(self, delay, mode, tasks):
        done, pending = await asyncio.wait(tasks, timeout=delay, return_when=mode)
        return [[j for j, task in enumerate(tasks) if task in part] for part in (done, pending)]

    async def op_ascomp(self, _frame, label, delay, bodies):
        return await self.take_completed(delay, self.start_all(bodies, label))

    async def op_ascompx(self, _frame, _label, delay, names):
        return await self.take_completed(delay, [self.tasks[name] for name in names if name in self.tasks])

    async def take_completed(self, delay, tasks):
        results = []
        for each in asyncio.as_completed(tasks, timeout=delay):
            try:
                results.append(await each)
            except asyncio.CancelledError as error:
                if asyncio.current_task().cancelling():
                    raise
                results.append(error_name(error))
            except Exception as error:
                results.append(error_name(error))
        return results
