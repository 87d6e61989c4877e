"""Imports asyncio in the form in which it can be an oracle: pure Python, and the same every time.

Import this module before anything that imports asyncio. Two things are changed, neither of them a meaning:
  * the accelerator module is left out, so that futures and tasks are asyncio's own Python classes;
  * every set in asyncio.tasks and asyncio.taskgroups keeps the order of insertion. asyncio iterates over sets of
    tasks (wait, as_completed, a group's abort) in the order of their hashes, which is to say of their addresses.
Where the installed version is older than the one whose semantics count, `newest` replaces the parts that changed.
"""

import ast
import importlib.abc
import importlib.machinery
import sys

kOrdered = ("asyncio.tasks", "asyncio.taskgroups")


class OrderedSet:
    """As much of a set as asyncio uses, in order of insertion."""

    def __init__(self, items=()):
        self._items = dict.fromkeys(items)

    def add(self, item):
        self._items[item] = None

    def discard(self, item):
        self._items.pop(item, None)

    def remove(self, item):
        del self._items[item]

    def clear(self):
        self._items.clear()

    def __contains__(self, item):
        return item in self._items

    def __iter__(self):
        return iter(self._items)

    def __len__(self):
        return len(self._items)


class _OrderSets(ast.NodeTransformer):
    def visit_SetComp(self, node):
        self.generic_visit(node)
        items = ast.GeneratorExp(node.elt, node.generators)
        return ast.Call(ast.Name("set", ast.Load()), [items], [])

    def visit_Set(self, node):
        self.generic_visit(node)
        return ast.Call(ast.Name("set", ast.Load()), [ast.List(node.elts, ast.Load())], [])


class _Loader(importlib.machinery.SourceFileLoader):
    def get_code(self, fullname):  # never from the byte code cache
        tree = _OrderSets().visit(ast.parse(self.get_data(self.path)))
        return compile(ast.fix_missing_locations(tree), self.path, "exec")

    def exec_module(self, module):
        module.set = OrderedSet
        super().exec_module(module)


class _Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, fullname, path, target=None):
        if fullname not in kOrdered:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path)
        spec.loader = _Loader(spec.loader.name, spec.loader.path)
        return spec


if "asyncio" in sys.modules:
    raise ImportError("pure_asyncio must come before asyncio")
sys.modules["_asyncio"] = None
sys.meta_path.insert(0, _Finder())
import asyncio  # noqa: E402,F401
