"""Operations that are blocks: timeouts and groups."""

import pure_asyncio  # noqa: F401
import asyncio

import newest


class ScopeOperations:
    async def op_timeout(self, frame, label, delay, body):
        return await self.inside(asyncio.timeout(delay), frame, label, body)

    async def op_timeout_at(self, frame, label, when, body):
        return await self.inside(asyncio.timeout_at(when), frame, label, body)

    async def inside(self, scope, frame, label, body):
        async with scope:
            frame.timeouts.append(scope)
            try:
                await self.body(body, label, frame)
            finally:
                frame.timeouts.pop()
        return scope.expired()

    async def op_resched(self, frame, _label, delay):
        if not frame.timeouts:
            return None
        try:
            frame.timeouts[-1].reschedule(None if delay is None else self.loop.time() + delay)
        except RuntimeError:
            return "RuntimeError"
        return True

    async def op_group(self, frame, label, bodies, body):
        async with newest.TaskGroup() as group:
            for j, child in enumerate(bodies):
                self.start_child(group, child, f"{label}.{j}")
            frame.groups.append(group)
            try:
                await self.body(body, label, frame)
            finally:
                frame.groups.pop()

    async def op_gcancel(self, frame, _label):
        if not frame.groups:
            return None
        frame.groups[-1].cancel()
        return True

    async def op_gspawn(self, frame, label, body, eager=False):
        if not frame.groups:
            return None
        try:
            self.start_child(frame.groups[-1], body, label, **({"eager_start": True} if eager else {}))
        except RuntimeError:
            return "RuntimeError"
        return label

    async def op_geager(self, frame, label, body):
        return await self.op_gspawn(frame, label, body, True)
