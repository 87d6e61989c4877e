"""Operations on context variables."""

import pure_asyncio  # noqa: F401
import contextvars

kVariables = {name: contextvars.ContextVar(name, default="none") for name in ("v", "w")}


class ContextOperations:
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
