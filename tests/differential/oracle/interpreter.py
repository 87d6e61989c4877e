"""Runs one program on asyncio and returns its trace. ../README.md is the language.

Each operation is a method op_<name>; characters that names of methods cannot have are spelled out in kSpelling.
"""

import pure_asyncio  # noqa: F401
import asyncio
import contextvars
import json

import newest
from maskable_task import MaskableTask
from virtual_loop import Deadlock, VirtualLoop


class LeftOut(Exception):
    """The program does what no two implementations need to agree on: it cancels tasks that await each other in a
    cycle, which asyncio leaves with a RecursionError; or it ends while a masked task waits for another one, perhaps
    itself, so that nothing could ever end it."""


class Frame:
    """What a running task is inside of."""

    def __init__(self, group=None):
        self.timeouts = []
        self.groups = [] if group is None else [group]


def error_name(error):
    if isinstance(error, BaseExceptionGroup):
        members = (json.dumps(error_name(each), separators=(",", ":")) for each in error.exceptions)
        return ["EG", *sorted(members)]
    return type(error).__name__


class Interpreter:
    def __init__(self):
        self.loop = VirtualLoop(MaskableTask)
        self.trace = []
        self.over = False
        self.left_out = False
        self.masked_waits = 0  # for what was there before
        self.tasks = {}
        self.named = {}
        self.timers = {}
        self.registrations = {}
        self.flags = {}
        self.tokens = {}

    def emit(self, *event):
        if not self.over:
            self.trace.append([self.loop.time(), *event])

    def run(self, program):
        try:
            self.loop.run_until_complete(self.main(program))
            self.emit("end", "ok")
        except Deadlock:
            self.emit("end", "deadlock")
        self.over = True
        if self.left_out or self.masked_waits or self.loop.has_met_cycle:
            raise LeftOut
        return self.trace

    async def main(self, program):
        task = self.start(program, "m")
        try:
            value = await task
        except (Exception, asyncio.CancelledError) as error:
            value = ["!", error_name(error)]
        self.emit("main", value)

    def start(self, body, name, **options):
        self.tasks[name] = task = self.loop.create_task(self.task(body, name), **options)
        return task

    def start_child(self, group, body, name, **options):
        self.tasks[name] = group.create_task(self.task(body, name, group), **options)

    def start_all(self, bodies, label):
        return [self.start(body, f"{label}.{j}") for j, body in enumerate(bodies)]

    async def task(self, body, name, group=None):
        await self.body(body, name, Frame(group))
        return name

    async def body(self, body, name, frame):
        task = asyncio.current_task()
        for i, (op, *arguments) in enumerate(body):
            call = getattr(self, "op_" + kSpelling.get(op, op))
            masked_wait = op in kWaitsForOld and task.is_masked()
            self.masked_waits += masked_wait
            try:
                result = await call(frame, f"{name}.{i}", *arguments)
            except (Exception, asyncio.CancelledError) as error:
                self.left_out |= isinstance(error, RecursionError)
                self.emit(name, i, op, "!", error_name(error), task.cancelling())
                self.masked_waits -= masked_wait
                raise
            self.masked_waits -= masked_wait
            self.emit(name, i, op, result, task.cancelling())

    def target(self, target):
        """A task or a future, by what a program calls it: "t:m.1" or "f:x". None: no such task yet."""
        return self.future(target[2:]) if target[0] == "f" else self.tasks.get(target[2:])

    def targets(self, names):
        return [target for target in map(self.target, names) if target is not None]

    def object(self, kind, name, make):
        key = (kind, name)
        if key not in self.named:
            self.named[key] = make()
        return self.named[key]

    # ---- Time, tasks, cancellation -------------------------------------------------------------------------

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

    async def op_cancelm(self, _frame, label, name):
        return self.tasks[name].cancel(label) if name in self.tasks else None

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

    # ---- Scopes and composition ----------------------------------------------------------------------------

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

    async def op_wait_for(self, _frame, label, delay, body):
        return await newest.wait_for(self.start(body, label), delay)

    async def op_shield(self, _frame, label, body):
        return await asyncio.shield(self.start(body, label))

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

    async def op_wait_forx(self, _frame, _label, delay, name):
        target = self.target(name)
        return await newest.wait_for(target, delay) if target is not None else None

    async def op_shieldx(self, _frame, _label, name):
        target = self.target(name)
        return await asyncio.shield(target) if target is not None else None

    async def op_gatherx(self, _frame, _label, return_exceptions, names):
        return await self.gather(return_exceptions, self.targets(names))

    async def op_gather(self, _frame, label, return_exceptions, bodies):
        return await self.gather(return_exceptions, self.start_all(bodies, label))

    async def gather(self, return_exceptions, futures):
        results = await newest.gather(*futures, return_exceptions=return_exceptions)
        return [error_name(each) if isinstance(each, BaseException) else each for each in results]

    # ---- Locks and their kin -------------------------------------------------------------------------------

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

    # ---- Queues --------------------------------------------------------------------------------------------

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

    # ---- Futures, callbacks, timers ------------------------------------------------------------------------

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

    # ---- Context variables ---------------------------------------------------------------------------------

    async def op_vset(self, _frame, label, name):
        self.tokens[label] = kVariables[name], kVariables[name].set(label)

    async def op_vget(self, _frame, _label, name):
        return kVariables[name].get()

    async def op_vreset(self, _frame, _label, label):
        if label not in self.tokens:
            return None
        variable, token = self.tokens[label]
        try:
            variable.reset(token)
        except (ValueError, RuntimeError) as error:
            return type(error).__name__
        return True

    async def op_vcb(self, _frame, label, delay, name):
        self.call_back(delay, label, kVariables[name].get)

    async def op_vdone(self, _frame, label, target, name):
        future = self.target(target)
        if future is not None:
            future.add_done_callback(lambda _: self.emit("cb", label, kVariables[name].get()))

    async def op_vrun(self, _frame, label, name):
        def set_and_get():
            kVariables[name].set(label)
            return kVariables[name].get()
        return contextvars.copy_context().run(set_and_get)


kSpelling = {
    "sem-": "semaphore_acquire",
    "sem+": "semaphore_release",
    "bsem-": "bounded_acquire",
    "bsem+": "bounded_release",
}
kWaitsForOld = {"join", "wait_forx", "shieldx", "gatherx", "waitx", "ascompx"}
kQueues = {
    "a": lambda: newest.Queue(1),
    "b": lambda: newest.Queue(0),
    "c": lambda: newest.Queue(2),
    "p": lambda: newest.PriorityQueue(2),
    "P": lambda: newest.PriorityQueue(0),
    "l": lambda: newest.LifoQueue(2),
    "L": lambda: newest.LifoQueue(0),
}
kVariables = {name: contextvars.ContextVar(name, default="none") for name in ("v", "w")}


def run_program(program):
    return Interpreter().run(program)
