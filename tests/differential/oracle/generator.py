"""Makes random programs. A seed gives the same program in every version of Python: only random() is used.

Every program draws on a part of the operations only, so that those it has meet more often. Delays coincide (kDelays),
and most programs have a race: on one primitive a wait is completed, cancelled and timed out in the same pass, in any
order and from tasks as well as from callbacks.
"""

import random

kDelays = (0, 0, 1, 1, 2, 3)
kModes = ("ALL_COMPLETED", "FIRST_COMPLETED", "FIRST_EXCEPTION")
kQueueNames = "abcpPlL"

# What may wait for ever, and what ends that wait: (wait, completion).
kRaces = (
    (["fawait", "x"], ["fset", "x"]),
    (["fawait", "x"], ["fexc", "x"]),
    (["fawait", "x"], ["fcancel", "x"]),
    (["shieldx", "f:x"], ["fset", "x"]),
    (["gatherx", False, ["f:x", "f:y"]], ["fexc", "x"]),
    (["gatherx", True, ["f:x"]], ["fset", "x"]),
    (["wait_forx", 1, "f:x"], ["fset", "x"]),
    (["wait_forx", 2, "f:x"], ["fset", "x"]),
    (["acquire", "a"], ["release", "a"]),
    (["sem-", "a"], ["sem+", "a"]),
    (["bsem-", "a"], ["bsem+", "a"]),
    (["await_ev", "a"], ["set", "a"]),
    (["cwait", "a"], ["cnotify", "a", 1]),
    (["cwaitf", "a"], ["cnotify", "a", 9]),
    (["barrier", "a"], ["barrier", "a"]),
    (["barrier", "a"], ["breset", "a"]),
    (["barrier", "a"], ["babort", "a"]),
    (["get", "a"], ["nput", "a"]),
    (["get", "p"], ["nput", "p"]),
    (["get", "l"], ["nput", "l"]),
    (["get", "b"], ["qshut", "b", False]),
    (["put", "a"], ["nget", "a"]),
    (["put", "p"], ["nget", "p"]),
    (["put", "a"], ["qshut", "a", True]),
    (["qjoin", "b"], ["tdone", "b"]),
    (["qjoin", "b"], ["qshut", "b", True]),
)
# What makes the completion of a race wait, not its first step: the lock is held, the queue is full.
kOccupy = {
    "acquire": ["acquire", "a"],
    "sem-": ["sem-", "a"],
    "bsem-": ["bsem-", "a"],
    "put": ["nput", None],
    "qjoin": ["nput", "b"],
}


class Generator:
    def __init__(self, seed, without=()):
        self.without = without
        self.random = random.Random(seed).random
        self.labels = ["m"]
        self.registered = ["m.0"]  # labels of timers, callbacks and tokens
        self.budget = 6 + int(self.random() * 26)
        self.makers = [each for each in kMakers if self.random() < 0.45] or list(kMakers)
        self.total = sum(weight for weight, _ in self.makers)

    # ---- Choices -------------------------------------------------------------------------------------------

    def pick(self, choices):
        return choices[int(self.random() * len(choices))]

    def chance(self, probability):
        return self.random() < probability

    def delay(self):
        return self.pick(kDelays)

    def limit(self):
        return None if self.chance(0.1) else self.delay()

    def name(self):
        return "a" if self.chance(0.7) else "b"

    def label(self):
        if self.chance(0.15):
            return f"m.{int(self.random() * 4)}.{int(self.random() * 3)}"
        return self.pick(self.labels[-6:])

    def target(self):
        return "f:" + self.future() if self.chance(0.4) else "t:" + self.label()

    def future(self):
        return "x" if self.chance(0.7) else "y"

    def noted(self):
        return self.pick(self.registered[-4:])

    # ---- Bodies --------------------------------------------------------------------------------------------

    def program(self):
        body = []
        kind = self.random()
        if kind < 0.45:
            self.race(body, "m")
        elif kind < 0.6:
            self.abort(body, "m")
        body += self.body("m", 0, 3 + int(self.random() * 6), len(body))
        if self.chance(0.7):  # time for the others to go on
            body.append(["sleep", self.pick((0, 1, 2, 8))])
        return body

    def body(self, path, depth, length=None, first=0):
        length = 1 + int(self.random() * 4) if length is None else length
        operations = []
        for i in range(first, first + length):
            if self.budget <= 0:
                break
            operations.append(self.operation(f"{path}.{i}", depth))
        return operations or [["sleep", self.delay()]]

    def operation(self, path, depth):
        self.budget -= 1
        at = self.random() * self.total
        for weight, maker in self.makers:
            at -= weight
            if at < 0:
                break
        operation = maker(self, path, depth)
        if operation is None or operation[0] in self.without:  # too deep, or not wanted
            return ["sleep", self.delay()]
        if operation[0] in kMayHang and self.chance(0.6):
            operation = ["timeout", self.delay(), [operation]]
            if self.chance(0.8):
                operation = ["try", [operation], "swallow" if self.chance(0.2) else "reraise", []]
        return operation

    def child(self, path, depth):
        """A body that becomes a task of that name."""
        self.labels.append(path)
        return self.body(path, depth + 1)

    def children(self, path, depth):
        return [self.child(f"{path}.{j}", depth) for j in range(1 + int(self.random() * 3))]

    # ---- Races ---------------------------------------------------------------------------------------------

    def race(self, body, path):
        """Waiters, then what completes, cancels and times out their waits at the same time."""
        when = self.delay()
        wait, completion = self.pick(kRaces)
        if wait[0] in kOccupy:
            occupy = kOccupy[wait[0]]
            body.append([occupy[0], wait[1] if occupy[1] is None else occupy[1]])
        waiters = []
        for _ in range(1 + int(self.random() * 3)):
            waiters.append(f"{path}.{len(body)}")
            starter = self.pick(("spawn", "spawn", "spawn", "eager"))
            body.append(["spawn" if starter in self.without else starter, self.waiter(list(wait), when)])
        self.labels += waiters
        actions = [list(completion)]
        for waiter in waiters:
            if self.chance(0.6):
                actions.append([self.pick(("cancel", "cancel", "cancelm")), waiter])
            if self.chance(0.2):
                actions.append(["cbcancel", None, "t:" + waiter])
        if self.chance(0.3):
            actions.append(list(completion))
        if self.chance(0.3):  # somebody who comes when it is the others' turn
            actions.append(["try", [["timeout", self.delay(), [list(wait)]]], "reraise", []])
        if self.chance(0.2):
            body.append(["cbcancel", when, "t:" + self.pick(waiters)])
        if self.chance(0.2):
            body.append(["cbset", when, "x"])
        self.shuffle(actions)
        if self.chance(0.3):
            actions.insert(int(self.random() * len(actions)), ["sleep", 0])
        if self.chance(0.5):
            body.append(["spawn", [["sleep", when]] + actions])
        else:
            body.append(["sleep", when])
            body.extend(actions)

    def abort(self, body, path):
        """A group that fails, or is cancelled, and whose task is cancelled, at the same time."""
        when = self.delay()
        children = [[["sleep", when], self.pick((["raise", "E1"], ["raise", "E2"], ["gcancel"], ["sleep", 0]))]]
        for _ in range(int(self.random() * 3)):
            children.append(self.waiter(["sleep", self.pick((when, when + 1, 3))], when))
        self.shuffle(children)
        inside = self.pick(([["sleep", when + 1]], [["sleep", when]], [["sleep", when], ["raise", "E2"]],
                            [["sleep", when], ["gcancel"]], [["mask", [["sleep", when + 1]]]]))
        scope = ["group", children, inside]
        if self.chance(0.3):
            scope = ["timeout", when, [scope]]
        task = f"{path}.{len(body)}"
        self.labels.append(task)
        body.append(["spawn", [["try", [scope], self.pick(("reraise", "swallow")), []],
                               self.pick((["sleep", 0], ["sleep", 1], ["uncancel"])), ["sleep", 0]]])
        if self.chance(0.3):
            body.append(["cbcancel", when, "t:" + task])
        body.append(["sleep", when])
        body += [["sleep", 0]] * int(self.random() * 3)
        if self.chance(0.8):
            body.append(["cancel", task])
        if self.chance(0.2):
            body.append(["cancel", self.pick((task, f"{task}.0.0", f"{task}.0.1"))])

    def shuffle(self, items):
        for i in range(len(items) - 1, 0, -1):
            j = int(self.random() * (i + 1))
            items[i], items[j] = items[j], items[i]

    def waiter(self, wait, when):
        kind = int(self.random() * 10)
        if kind < 2:
            body = [["timeout", when, [wait]]]
        elif kind < 3:
            body = [["wait_for", when, [wait]]]
        elif kind < 4:
            body = [["shield", [wait]]]
        elif kind < 5:
            body = [["mask", [wait]]]
        elif kind < 6:
            body = [["group", [[wait]], [["sleep", when]]]]
        elif kind < 7:
            body = [["timeout_at", when, [["timeout", when, [wait]]]]]
        else:
            body = [wait]
        if self.chance(0.4):
            body = [["try", body, self.pick(("swallow", "reraise")), [["sleep", 0]] if self.chance(0.5) else []]]
        elif self.chance(0.1):
            body = [["msg", body]]
        if self.chance(0.5):
            body.append(["sleep", 0])
        return body


def _noting(make):
    """For operations whose label another one may name later."""
    def maker(g, path, depth):
        operation = make(g)
        g.registered.append(path)
        return operation
    return maker


def _plain(make):
    return lambda g, path, depth: make(g)


def _nested(make):
    return lambda g, path, depth: make(g, path, depth) if depth < 3 and g.budget > 0 else None


def _try(g, path, depth):
    body = g.body(path, depth + 1)
    return ["try", body, g.pick(("swallow", "reraise")), g.body(path + "f", depth + 2) if g.chance(0.3) else []]


def _group(g, path, depth):
    return ["group", g.children(path, depth), g.body(path, depth + 1)]


kMakers = (
    (10, _plain(lambda g: ["sleep", g.delay()])),
    (2, _plain(lambda g: ["sleepu", g.delay()])),
    (2, _plain(lambda g: ["busy", g.delay()])),
    (8, _nested(lambda g, path, depth: ["spawn", g.child(path, depth)])),
    (3, _nested(lambda g, path, depth: ["eager", g.child(path, depth)])),
    (5, _plain(lambda g: ["cancel", g.label()])),
    (2, _plain(lambda g: ["cancelm", g.label()])),
    (4, _plain(lambda g: ["join", g.label()])),
    (2, _plain(lambda g: ["uncancel"])),
    (2, _plain(lambda g: ["raise", g.pick(("E1", "E2"))])),
    (4, _nested(_try)),
    (2, _nested(lambda g, path, depth: ["msg", g.body(path, depth + 1)])),
    (2, _nested(lambda g, path, depth: ["mask", g.body(path, depth + 1)])),
    (1, _plain(lambda g: ["tstate", g.label()])),
    (1, _plain(lambda g: ["alive"])),
    (4, _nested(lambda g, path, depth: ["timeout", g.limit(), g.body(path, depth + 1)])),
    (2, _nested(lambda g, path, depth: ["timeout_at", g.limit(), g.body(path, depth + 1)])),
    (2, _plain(lambda g: ["resched", g.limit()])),
    (3, _nested(lambda g, path, depth: ["wait_for", g.limit(), g.child(path, depth)])),
    (2, _nested(lambda g, path, depth: ["shield", g.child(path, depth)])),
    (3, _nested(lambda g, path, depth: ["gather", g.chance(0.4), g.children(path, depth)])),
    (4, _nested(_group)),
    (3, _plain(lambda g: ["gcancel"])),
    (2, _nested(lambda g, path, depth: ["gspawn", g.child(path, depth)])),
    (1, _nested(lambda g, path, depth: ["geager", g.child(path, depth)])),
    (3, _nested(lambda g, path, depth: ["wait", g.limit(), g.pick(kModes), g.children(path, depth)])),
    (3, _nested(lambda g, path, depth: ["ascomp", g.limit(), g.children(path, depth)])),
    (2, _plain(lambda g: ["wait_forx", g.limit(), g.target()])),
    (2, _plain(lambda g: ["shieldx", g.target()])),
    (2, _plain(lambda g: ["gatherx", g.chance(0.4), [g.target() for _ in range(int(g.random() * 4))]])),
    (2, _plain(lambda g: ["waitx", g.limit(), g.pick(kModes), [g.label() for _ in range(int(g.random() * 3))]])),
    (1, _plain(lambda g: ["ascompx", g.limit(), [g.label() for _ in range(int(g.random() * 3))]])),
    (3, _plain(lambda g: ["acquire", g.name()])),
    (3, _plain(lambda g: ["release", g.name()])),
    (3, _plain(lambda g: ["sem-", g.name()])),
    (3, _plain(lambda g: ["sem+", g.name()])),
    (3, _plain(lambda g: ["bsem-", g.name()])),
    (3, _plain(lambda g: ["bsem+", g.name()])),
    (1, _plain(lambda g: ["locked", g.name()])),
    (3, _plain(lambda g: ["set", g.name()])),
    (2, _plain(lambda g: ["clear", g.name()])),
    (3, _plain(lambda g: ["await_ev", g.name()])),
    (3, _plain(lambda g: ["cwait", g.name()])),
    (2, _plain(lambda g: ["cwaitf", g.name()])),
    (2, _plain(lambda g: ["flag", g.name(), g.chance(0.7)])),
    (3, _plain(lambda g: ["cnotify", g.name(), g.pick((1, 1, 2, 9))])),
    (3, _plain(lambda g: ["barrier", g.name()])),
    (1, _plain(lambda g: ["breset", g.name()])),
    (1, _plain(lambda g: ["babort", g.name()])),
    (1, _plain(lambda g: ["bstate", g.name()])),
    (4, _plain(lambda g: ["put", g.pick(kQueueNames)])),
    (4, _plain(lambda g: ["get", g.pick(kQueueNames)])),
    (2, _plain(lambda g: ["nput", g.pick(kQueueNames)])),
    (2, _plain(lambda g: ["nget", g.pick(kQueueNames)])),
    (2, _plain(lambda g: ["tdone", g.pick(kQueueNames)])),
    (2, _plain(lambda g: ["qjoin", g.pick(kQueueNames)])),
    (2, _plain(lambda g: ["qshut", g.pick(kQueueNames), g.chance(0.4)])),
    (1, _plain(lambda g: ["qsize", g.pick(kQueueNames)])),
    (3, _plain(lambda g: ["fset", g.future()])),
    (2, _plain(lambda g: ["fexc", g.future()])),
    (2, _plain(lambda g: ["fcancel", g.future()])),
    (3, _plain(lambda g: ["fawait", g.future()])),
    (1, _plain(lambda g: ["fstate", g.future()])),
    (2, _plain(lambda g: ["fdone", g.future()])),
    (2, _noting(lambda g: ["done", g.target()])),
    (2, _plain(lambda g: ["undone", g.noted()])),
    (2, _plain(lambda g: ["soon"])),
    (2, _noting(lambda g: ["later", g.delay()])),
    (1, _plain(lambda g: ["unlater", g.noted()])),
    (2, _plain(lambda g: ["cbcancel", g.limit(), g.target()])),
    (2, _plain(lambda g: ["cbset", g.limit(), g.future()])),
    (3, _noting(lambda g: ["vset", g.pick("vw")])),
    (3, _plain(lambda g: ["vget", g.pick("vw")])),
    (2, _plain(lambda g: ["vreset", g.noted()])),
    (2, _plain(lambda g: ["vcb", g.limit(), g.pick("vw")])),
    (2, _plain(lambda g: ["vdone", g.target(), g.pick("vw")])),
    (1, _plain(lambda g: ["vrun", g.pick("vw")])),
)

kMayHang = {
    "join", "wait_forx", "shieldx", "gatherx", "waitx", "ascompx", "acquire", "sem-", "bsem-", "await_ev", "cwait",
    "cwaitf", "barrier", "put", "get", "qjoin", "fawait",
}


def generate(seed, without=()):
    """The program of that seed; `without` names operations that it must not use."""
    return Generator(seed, without).program()
