"""Runs one program on asyncio and returns its trace. ../README.md is the language.

An operation is a method op_<name> of one of the classes in *_operations.py, which share what Interpreter has. Its
arguments are what surrounds it (Frame), its label and what the program gives it; kSpelling has the names that no method
can have.
"""

import pure_asyncio  # noqa: F401
import asyncio

from context_operations import ContextOperations
from future_operations import FutureOperations
from maskable_task import MaskableTask
from names import error_name
from queue_operations import QueueOperations
from scope_operations import ScopeOperations
from sync_operations import SyncOperations
from task_operations import TaskOperations
from virtual_loop import Deadlock, VirtualLoop
from waiting_operations import WaitingOperations

kSpelling = {
    "sem-": "semaphore_acquire",
    "sem+": "semaphore_release",
    "bsem-": "bounded_acquire",
    "bsem+": "bounded_release",
}
kWaitsForOld = {"join", "wait_forx", "shieldx", "gatherx", "waitx", "ascompx"}


class LeftOut(Exception):
    """The program does what no two implementations need to agree on: it cancels tasks that await each other in a
    cycle, which asyncio leaves with a RecursionError; or it ends while a masked task waits for another one, perhaps
    itself, so that nothing could ever end it."""


class Frame:
    """What a running task is inside of."""

    def __init__(self, group=None):
        self.timeouts = []
        self.groups = [] if group is None else [group]


class Interpreter(TaskOperations, ScopeOperations, WaitingOperations, SyncOperations, QueueOperations,
                  FutureOperations, ContextOperations):
    def __init__(self):
        self.loop = VirtualLoop(MaskableTask)
        self.trace = []
        self.over = False
        self.own_error = None  # a mistake in here, not an error of the program
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
        if self.own_error is not None:
            raise self.own_error
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
                if isinstance(error, (NameError, AttributeError, TypeError)):
                    self.own_error = error
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


def run_program(program):
    return Interpreter().run(program)
