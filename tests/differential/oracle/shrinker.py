"""Makes a program that differs smaller, while it still differs."""

import copy


def _is_operation(value):
    return isinstance(value, list) and value and isinstance(value[0], str) and value[0].islower()


def _is_body(value):
    return isinstance(value, list) and value and all(map(_is_operation, value))


def _places(value, path=()):
    """The paths of all lists of operations, and of all lists of bodies, outermost first."""
    if not isinstance(value, list):
        return
    if _is_body(value) or (value and all(map(_is_body, value))):
        yield path
    for i, each in enumerate(value):
        yield from _places(each, path + (i,))


def _at(program, path):
    for i in path:
        program = program[i]
    return program


def candidates(program):
    """Programs that are one step smaller."""
    for path in _places(program):
        for i in range(len(_at(program, path))):
            smaller = copy.deepcopy(program)
            removed = _at(smaller, path).pop(i)
            if smaller and (path == () or _at(smaller, path)):
                yield smaller
            if not _is_operation(removed):
                continue
            for argument in removed[1:]:  # what is inside a block instead of the block
                if _is_body(argument):
                    unwrapped = copy.deepcopy(smaller)
                    _at(unwrapped, path)[i:i] = argument
                    yield unwrapped
            for j, argument in enumerate(removed[1:], 1):  # no final body, smaller numbers
                if _is_body(argument) and removed[0] == "try" and j == 3:
                    simpler = copy.deepcopy(program)
                    _at(simpler, path)[i][j] = []
                    yield simpler
                elif isinstance(argument, int) and not isinstance(argument, bool) and argument > 0:
                    simpler = copy.deepcopy(program)
                    _at(simpler, path)[i][j] = argument - 1
                    yield simpler


def shrink(program, still_differ):
    """still_differ: from a list of programs to those of them that differ, in order."""
    while True:
        found = still_differ(list(candidates(program)))
        if not found:
            return program
        program = min(found, key=lambda each: len(str(each)))
