#!/usr/bin/env python3
"""Compares fibrio with asyncio. docs/differential.md tells how it works; `differential.py --help` what it does."""

import argparse
import collections
import json
import multiprocessing
import os
import subprocess
import sys
import time
import warnings

kFolder = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(kFolder, "oracle"))
import interpreter  # noqa: E402
import generator  # noqa: E402
import newest  # noqa: E402
import shrinker  # noqa: E402

kBatch = 500
kShortTrace = 300  # characters: shorter ones are not worth keeping
kReplaySeconds = 60  # for one batch: it takes less than one


def text_of(value):
    return json.dumps(value, separators=(",", ":"))


def expected_trace(program):
    """As text; None if the program is left out."""
    try:
        return text_of(interpreter.run_program(program))
    except interpreter.LeftOut:
        return None


def replay(command, programs):
    """The traces that fibrio leaves, as texts. A program that ends the process leaves "crash: ...", one that does not
    end "hang"."""
    traces = []
    while len(traces) < len(programs):
        left = "".join(text_of(program) + "\n" for program in programs[len(traces):])
        try:
            run = subprocess.run(command, input=left, capture_output=True, text=True, timeout=kReplaySeconds)
            output, why = run.stdout, f"crash: code {run.returncode}: {run.stderr[-300:]}"
        except subprocess.TimeoutExpired as expired:
            output, why = (expired.stdout or b"").decode(), "hang"
        lines = output.split("\n")[:-1]
        traces += lines
        if len(traces) < len(programs):
            traces.append(why)
    return traces


# Legitimate differences: name -> matcher of (program, asyncio's events, fibrio's). docs/asyncio_differences.md has
# the list. Each is counted, so that one that is never met can be seen and taken out.
def is_message_of_several_cancels(_program, expected, got):
    """A task that is cancelled several times before it hears of it gets the message of the cancel that ended its wait;
    where asyncio waits in several steps that may be another one."""
    if len(expected) != len(got):
        return False
    sent = {""}
    for event, other in zip(expected, got):
        if event[2:] and event[3:4] == ["cancelm"] and event[4] is True:
            sent.add(f"{event[1]}.{event[2]}")
        if event != other:
            if event[3:4] != ["msg"] or event[:4] + event[5:] != other[:4] + other[5:]:
                return False
            if event[4] not in sent or other[4] not in sent:
                return False
    return True


def is_abandoned_timer(_program, expected, got):
    """as_completed that is left before its time is up: asyncio's timer stays armed, so that a program that then ends in
    a deadlock does so later."""
    *events, end = expected
    *others, other_end = got
    return (events == others and end[1:] == other_end[1:] == ["end", "deadlock"] and end[0] > other_end[0]
            and any(event[3:4] in (["ascomp"], ["ascompx"]) for event in events))


def is_end_of_run_on_a_strand(_program, expected, got):
    """asyncio ends one pass after its main function. A strand is one of many things that a loop with 4 workers runs: how
    much of that pass it still sees, and so what time it is in the end, is not determined."""
    def after_main(events):
        names = [event[1] for event in events]
        return names.index("main") + 1 if "main" in names else len(events)
    at = after_main(expected)
    if expected[:at] != got[:at] or expected[-1][1:] != got[-1][1:]:
        return False
    rest, other = expected[at:-1], got[at:-1]
    shorter = min(len(rest), len(other))
    return rest[:shorter] == other[:shorter]


kStrandDifferences = {"end_of_run_on_a_strand": is_end_of_run_on_a_strand}
kDifferences = {"abandoned_as_completed": is_abandoned_timer,
                "message_of_several_cancels": is_message_of_several_cancels}


def explain(command, program, expected, got):
    """None if the traces are the same, the name of a legitimate difference, or "unexplained"."""
    if expected == got:
        return None
    if got.startswith("["):
        differences = {**kDifferences, **kStrandDifferences} if "--strand" in command else kDifferences
        for name, matches in differences.items():
            if matches(program, json.loads(expected), json.loads(got)):
                return name
    return "unexplained"


class Comparison:
    """What many programs showed."""

    def __init__(self):
        self.programs = self.left_out = self.deadlocks = 0
        self.operations = collections.Counter()
        self.differences = collections.Counter()
        self.unexplained = []  # (seed, program)

    def add(self, other):
        self.programs += other.programs
        self.left_out += other.left_out
        self.deadlocks += other.deadlocks
        self.operations += other.operations
        self.differences += other.differences
        self.unexplained += other.unexplained

    def count(self, expected):
        self.programs += 1
        self.deadlocks += expected.endswith('"deadlock"]]')
        self.operations.update(operations_of(expected))


def compare_seeds(command, seeds, without, stop_at=None):
    result = Comparison()
    for start in range(0, len(seeds), kBatch):
        batch = []
        for seed in seeds[start:start + kBatch]:
            program = generator.generate(seed, without)
            expected = expected_trace(program)
            if expected is None:
                result.left_out += 1
                continue
            batch.append((seed, program, expected))
        for (seed, program, expected), got in zip(batch, replay(command, [each[1] for each in batch])):
            result.count(expected)
            why = explain(command, program, expected, got)
            if why is not None:
                result.differences[why] += 1
            if why == "unexplained":
                result.unexplained.append((seed, program))
        if stop_at is not None and len(result.unexplained) >= stop_at:
            break
    return result


def differing(command, programs):
    kept = [(program, expected_trace(program)) for program in programs]
    kept = [(program, expected) for program, expected in kept if expected is not None]
    traces = replay(command, [program for program, _ in kept])
    return [program for (program, expected), got in zip(kept, traces)
            if explain(command, program, expected, got) == "unexplained"]


def print_difference(command, seed, program):
    small = shrinker.shrink(program, lambda programs: differing(command, programs))
    got = replay(command, [small])[0]
    print(f"\nseed {seed}: {text_of(small)}")
    expected = json.loads(expected_trace(small))
    if not got.startswith("["):
        print(f"  {got}")
        return
    got = json.loads(got)
    for i in range(max(len(expected), len(got))):
        left = text_of(expected[i]) if i < len(expected) else ""
        right = text_of(got[i]) if i < len(got) else ""
        print(f"  {' ' if left == right else '!'} {left:<60} {right}")


def replay_command(options):
    return [options.replay] + (["--strand"] if options.strand else [])


def fuzz(options):
    command = replay_command(options)
    seeds = range(options.seed, options.seed + options.programs)
    without = frozenset(options.without.split(","))
    started = time.time()
    result = Comparison()
    # Without --stop-at each job gets one part of every round, so that a difference is shown early.
    round_size = options.jobs * kBatch * (1 if options.stop_at else 8)
    with multiprocessing.Pool(options.jobs) as pool:
        for start in range(0, len(seeds), round_size):
            part = seeds[start:start + round_size]
            jobs = [(command, part[i::options.jobs], without) for i in range(options.jobs)]
            for each in pool.starmap(compare_seeds, jobs):
                result.add(each)
            if options.stop_at and len(result.unexplained) >= options.stop_at:
                break
    print(f"{result.programs} programs compared with asyncio of Python {sys.version.split()[0]}"
          f"{' and ' + ', '.join(newest.replaced()) if newest.replaced() else ''}, "
          f"{'inside a strand, 4 workers' if options.strand else 'one worker'}, in {time.time() - started:.0f} s")
    print(f"seeds {seeds.start} to {seeds.start + result.programs + result.left_out - 1}; {result.left_out} left out "
          f"(cycles of tasks that are cancelled); {result.deadlocks} end in a deadlock")
    for name, count in sorted(result.differences.items()):
        print(f"difference {name}: {count} programs")
    print(f"unexplained differences: {len(result.unexplained)}")
    print("programs in which an operation was carried out:")
    counts = sorted(result.operations.items())
    for i in range(0, len(counts), 6):
        print("  " + "".join(f"{name:>10} {count:<7}" for name, count in counts[i:i + 6]).rstrip())
    if result.unexplained:
        first = min(result.unexplained)[0] - options.seed
        print(f"the first after {first + 1} programs")
    for seed, program in sorted(result.unexplained)[:options.show]:
        print_difference(command, seed, program)
    return 1 if result.unexplained else 0


def derive(options):
    """Traces of the programs on stdin."""
    for line in sys.stdin:
        print(expected_trace(json.loads(line)))


def check(options):
    """Derives the traces of a corpus again and compares them with the kept ones."""
    bad = count = 0
    for corpus in options.corpus:
        folder = os.path.join(kFolder, corpus)
        with open(f"{folder}/programs.jsonl") as programs, open(f"{folder}/traces.jsonl") as traces:
            for number, (program, trace) in enumerate(zip(programs, traces), 1):
                if number % options.every != 0:
                    continue
                count += 1
                if expected_trace(json.loads(program)) != trace.rstrip("\n"):
                    bad += 1
                    print(f"{corpus}, line {number}: asyncio leaves another trace: {program}", end="")
    print(f"{count} programs derived with Python {sys.version.split()[0]}, replaced: "
          f"{', '.join(newest.replaced()) or 'nothing'}; {bad} differ from the corpus")
    return 1 if bad else 0


def operations_of(trace):
    return {event[3] for event in json.loads(trace) if isinstance(event[2], int)}


def make_corpus(options):
    """Writes a corpus of programs with operations that the golden ones do not have, without those that meet one of the
    named differences."""
    folder = os.path.join(kFolder, "corpus")
    with open(os.path.join(kFolder, "golden", "traces.jsonl")) as traces:
        golden = set().union(*map(operations_of, traces))
    kept = []
    seed = options.seed
    while len(kept) < options.programs:
        batch = []
        for seed in range(seed, seed + kBatch):
            program = generator.generate(seed, frozenset(options.without.split(",")))
            expected = expected_trace(program)
            if expected is not None and len(expected) > kShortTrace and not operations_of(expected) <= golden:
                batch.append((program, expected))
        seed += 1
        traces = replay(replay_command(options), [program for program, _ in batch])
        kept += [each for each, got in zip(batch, traces)
                 if explain([], *each, got) in (None, "unexplained")]
    with open(f"{folder}/programs.jsonl", "w") as programs, open(f"{folder}/traces.jsonl", "w") as traces:
        for program, trace in kept[:options.programs]:
            programs.write(text_of(program) + "\n")
            traces.write(trace + "\n")
    print(f"{options.programs} programs of seeds from {options.seed}, with Python {sys.version.split()[0]}")
    return 0


def main():
    sys.unraisablehook = lambda _: None  # coroutines of programs that end in a deadlock are closed while they wait
    warnings.simplefilter("ignore")
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    generating = argparse.ArgumentParser(add_help=False)
    generating.add_argument("--programs", type=int, default=10000)
    generating.add_argument("--seed", type=int, default=1, help="of the first program; the next have the next ones")
    generating.add_argument("--without", default="", help="operations not to be used: a,b,c")
    generating.add_argument("--replay", required=True, help="the program differential_replay")
    generating.add_argument("--strand", action="store_true", help="inside one strand of a loop with 4 workers")
    each = commands.add_parser("fuzz", parents=[generating], help="compare fresh random programs")
    each.add_argument("--jobs", type=int, default=os.cpu_count())
    each.add_argument("--show", type=int, default=5, help="differences to shrink and print")
    each.add_argument("--stop-at", type=int, default=0, help="stop when so many differ")
    each.set_defaults(run=fuzz)
    each = commands.add_parser("derive", help=derive.__doc__)
    each.set_defaults(run=derive)
    each = commands.add_parser("check", help=check.__doc__)
    each.add_argument("corpus", nargs="*", default=["golden", "corpus"])
    each.add_argument("--every", type=int, default=1, help="only every n-th program")
    each.set_defaults(run=check)
    each = commands.add_parser("make-corpus", parents=[generating], help=make_corpus.__doc__)
    each.set_defaults(run=make_corpus)
    options = parser.parse_args()
    return options.run(options)


if __name__ == "__main__":
    sys.exit(main())
