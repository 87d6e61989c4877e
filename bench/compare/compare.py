#!/usr/bin/env python3
"""Runs the comparison, writes its figures to a JSON file and makes the page of them; run.sh installs and builds what it
needs first.

  bench/compare/run.sh                       everything; rewrites docs/benchmarks.md and docs/benchmarks/results.json
  bench/compare/run.sh --update --only W1,W4 these again; the page keeps the rest
  bench/compare/run.sh --quick               little work, one round: does everything work?
  bench/compare/run.sh --only W1 --peers "fibrio;fibrio, eager" --rounds 9

Only a whole run and --update rewrite the page; others leave it alone and say where their figures are.

Rivals take turns, A B C A B C, so that drift of the machine meets all alike. With one worker a program has one CPU,
with two it has two (taskset). What each run came to is checked; it ends with 1 if something of fibrio's could not be
measured, or requests failed.

The file: {"machine": {name: text}, "versions": {peer: text}, "measured": {question: {"date", "fibrio": its version,
"machine": CPUs and system, "rounds", "noise": share of the CPUs' time that others took meanwhile}}, "quick": bool,
"rows": [...]}, a row being
  {"question": "W1", "peer": "Go", "workers": 1, "variant": "", "unit": "ns per task", "values": [one per round],
   "extra": {name: [one per round]}}
or, if it could not be measured, the same with "skipped": reason and no values. "scaled": 10 says that the peer did a
tenth of the work and its figures of all the work were multiplied. Network rows come from network.py in the same form.
"""

import argparse
import datetime
import json
import os
import pathlib
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time

import network
import report
from asked import at_least, names_among
from ending import end_in_order
from peers import PEERS, Fibrio, Missing
from questions import PYTHON, QUESTIONS

RUN_LIMIT_S = 120
PAGE_RESULTS = report.PAGE.parent / "benchmarks" / "results.json"


def log(text):
    print(text, file=sys.stderr, flush=True)


class Noise:
    """The share of the CPUs' time that others than our programs took since it was made."""

    def __init__(self):
        self.ours = 0.0
        self.busy, self.total = self.read()

    @staticmethod
    def read():
        ticks = [int(field) for field in pathlib.Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
        return sum(ticks) - ticks[3] - ticks[4], sum(ticks)  # all but idle and iowait

    def share(self):
        busy, total = self.read()
        tick = 1 / os.sysconf("SC_CLK_TCK")
        return max(0.0, ((busy - self.busy) * tick - self.ours) / max((total - self.total) * tick, tick))


def run_once(command, cpus, noise):
    """Runs a program and returns (what it printed as JSON, seconds of CPU, peak RSS in MiB). Raises Missing."""
    if shutil.which("taskset"):
        command = ["taskset", "-c", ",".join(map(str, cpus)), *command]
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, text=True)
        limit = threading.Timer(RUN_LIMIT_S, process.kill)
        limit.start()
        try:
            text = process.stdout.read()
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        except BaseException:
            process.kill()
            process.wait()
            raise
        finally:
            limit.cancel()
            process.stdout.close()
        cpu = usage.ru_utime + usage.ru_stime
        noise.ours += cpu
        if process.returncode != 0:
            errors.seek(0)
            last = (errors.read().strip().splitlines() or ["no message"])[-1]
            why = f"killed by signal {-process.returncode}" if process.returncode < 0 else f"failed: {last}"
            raise Missing(why)
    return json.loads(text), cpu, usage.ru_maxrss / 1024


def children_cpu_s():
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def available_gib():
    for line in pathlib.Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) / 1024 / 1024
    return 0.0


class Rivals:
    """The peers that are asked for, built: their commands, or why they are left out."""

    def __init__(self, build, peers_build, questions, wanted):
        self.commands, self.missing, self.versions = {}, {}, {}
        names = {name for question in questions if question.works for name in question.peers
                 if not wanted or name in wanted}
        for peer in (kind(build, peers_build) for kind in PEERS if kind.name in names):
            try:
                self.commands[peer.name] = peer.command()
                self.versions[peer.name] = peer.version()
            except Missing as reason:
                self.missing[peer.name] = str(reason)
                log(f"{peer.name}: left out: {reason}")

    def command(self, name):
        if name in self.missing:
            raise Missing(self.missing[name])
        return self.commands[name]

    def __contains__(self, name):
        return name in self.commands or name in self.missing


def measure_row(question, work, row, command, cpus, quick, noise):
    """One run of one peer, added to its row."""
    size = work.size_for(row["peer"], quick)
    try:
        if available_gib() < work.needs_gib:
            raise Missing(f"needs {work.needs_gib} GiB of free memory")
        asked = [question.id, str(size), "--workers", str(row["workers"])]
        got, cpu_s, rss_mib = run_once([*command, *asked], cpus, noise)
        if got["check"] != question.check(size):
            raise Missing(f"wrong result: {got['check']} instead of {question.check(size)}")
    except (Missing, ValueError) as reason:
        row.update(skipped=str(reason), values=[], extra={})
        log(f"{question.id} {row['peer']}: {reason}")
        return
    scale = question.units(work.size) / question.units(size) if question.units and not quick else 1
    if scale != 1:
        row["scaled"] = scale
    row["values"].append(got["value"] * scale)
    figures = {name: value for name, value in got.items()
               if name not in ("question", "workers", "value", "unit", "check") and (name != "cpu" or value)}
    if "cpu" in figures:
        figures["cpu"] *= scale
    for name, value in {**figures, "rss_mib": rss_mib, "process_cpu_s": cpu_s}.items():
        row["extra"].setdefault(name, []).append(value)


def measure_compute(question, rivals, rounds, quick, noise):
    cpus = sorted(os.sched_getaffinity(0))
    rows = []
    for work in question.works:
        for workers in question.workers:
            turns = []
            for peer in question.peers:
                if peer not in rivals or peer in work.left_out or (workers > 1 and peer in PYTHON):
                    continue
                row = {"question": question.id, "peer": peer, "workers": workers, "variant": work.variant,
                       "unit": question.unit, "values": [], "extra": {}}
                rows.append(row)
                try:
                    if workers > len(cpus):
                        raise Missing(f"this machine has {len(cpus)} CPU")
                    turns.append((row, rivals.command(peer)))
                except Missing as reason:
                    row["skipped"] = str(reason)
            for _ in range(rounds):
                for row, command in turns:
                    if "skipped" not in row:
                        measure_row(question, work, row, command, cpus[:workers], quick, noise)
    return rows


def measure_network(question, options):
    return network.measure({
        "build": str(options.build.resolve()), "peers_build": str(options.peers_build.resolve() / "network"),
        "rounds": options.rounds, "seconds": options.seconds, "quick": options.quick, "log": log,
        "only": {question.id}, "peers": options.peers})


def machine_facts():
    def first(path, key):
        lines = pathlib.Path(path).read_text().splitlines()
        return next((line.split(":", 1)[1].strip() for line in lines if line.startswith(key)), "unknown")

    def word(path):
        return pathlib.Path(path).read_text().strip() if os.path.exists(path) else "unknown"

    release = pathlib.Path("/etc/os-release")
    lines = release.read_text().splitlines() if release.exists() else []
    names = [line.split("=", 1)[1].strip('"') for line in lines if line.startswith("PRETTY_NAME=")]
    return {
        "CPUs": f"{len(os.sched_getaffinity(0))} of {os.cpu_count()}, {first('/proc/cpuinfo', 'model name')}"
                + (", virtual" if "hypervisor" in first("/proc/cpuinfo", "flags").split() else ""),
        "memory": f"{int(first('/proc/meminfo', 'MemTotal').split()[0]) / 1024 / 1024:.1f} GiB, transparent huge pages: "
                  f"{word('/sys/kernel/mm/transparent_hugepage/enabled')}",
        "system": f"{names[0] if names else 'unknown'}, Linux {os.uname().release}, "
                  f"clock {word('/sys/devices/system/clocksource/clocksource0/current_clocksource')}",
    }


def parse_options():
    every_peer = tuple(dict.fromkeys([kind.name for kind in PEERS] + list(network.PEERS)))
    parser = argparse.ArgumentParser(prog="run.sh", description=__doc__, allow_abbrev=False,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, default=report.ROOT / "build/release",
                        help="built by CMake (Release)")
    parser.add_argument("--peers-build", type=pathlib.Path, default=report.ROOT / "build/compare",
                        help="where Go and Rust are built")
    parser.add_argument("--rounds", type=at_least(1, int), help="5 if not said")
    parser.add_argument("--seconds", type=at_least(0.1, float),
                        help="of a network question's round; 3 if not said (W8 and W9 take more and shorter ones)")
    parser.add_argument("--only", type=names_among(QUESTIONS, ","), help="questions, separated by commas")
    parser.add_argument("--peers", type=names_among(every_peer, ";"), help="peers, separated by semicolons")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--update", action="store_true", help="keep what the page shows of other questions")
    parser.add_argument("--out", type=pathlib.Path, help="the JSON file; leaves the page alone")
    parser.add_argument("--check-only", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.update and (options.quick or options.out or options.peers):
        parser.error("--update goes without --quick, --out and --peers: the page shows whole questions, of whole rounds")
    try:
        options.kept = json.loads(PAGE_RESULTS.read_text()) if options.update else None
    except (OSError, ValueError) as reason:
        parser.error(f"--update: what is to be kept is not there: {PAGE_RESULTS}: {reason}")
    if options.update and not (isinstance(options.kept, dict) and {"versions", "measured", "rows"} <= options.kept.keys()):
        parser.error(f"--update: what is to be kept is not there: {PAGE_RESULTS} has no versions, measured and rows")
    options.rewrites_page = options.update or not (options.quick or options.out or options.peers or options.only)
    options.rounds = options.rounds or (1 if options.quick else 5)
    options.seconds = options.seconds or (1 if options.quick else 3)
    name = "quick.json" if options.quick else "results.json" if options.rewrites_page else "part.json"
    options.out = options.out or options.peers_build / name
    if not options.out.resolve().parent.is_dir() and options.out.parent != options.peers_build:
        parser.error(f"--out: there is no folder {options.out.parent}")
    if options.out.is_dir():
        parser.error(f"--out: {options.out} is a folder")
    return options


def write_results(results, path):
    """A row per line, its numbers with eight digits."""

    def rounded(value):
        if isinstance(value, float):
            return float(f"{value:.8g}")
        if isinstance(value, list):
            return [rounded(item) for item in value]
        return {name: rounded(item) for name, item in value.items()} if isinstance(value, dict) else value

    head = json.dumps({name: value for name, value in results.items() if name != "rows"}, indent=1)[:-2]
    rows = ",\n".join(f"  {json.dumps(rounded(row))}" for row in results["rows"])
    path.write_text(f'{head},\n "rows": [\n{rows}\n ]\n}}\n')


def main():
    options = parse_options()
    if options.check_only:
        return 0
    end_in_order()
    options.peers_build.mkdir(parents=True, exist_ok=True)
    wanted = [question for question in QUESTIONS.values() if not options.only or question.id in options.only]
    results = options.kept or {"versions": {}, "measured": {}, "rows": []}
    results["machine"], results["quick"] = machine_facts(), options.quick
    rivals = Rivals(options.build, options.peers_build, wanted, options.peers)
    results["versions"].update(rivals.versions)
    if any(not question.works for question in wanted):
        versions = network.net_servers.versions().items()
        results["versions"]["network questions"] = "; ".join(f"{name} {version}" for name, version in versions)
    failures = []
    for question in wanted:
        started, noise, spent = time.monotonic(), Noise(), children_cpu_s()
        if question.works:
            rows = measure_compute(question, rivals, options.rounds, options.quick, noise)
        else:
            rows = measure_network(question, options)
            noise.ours = children_cpu_s() - spent
        failures += network.failures(rows)
        others = noise.share()
        log(f"{question.id}: {time.monotonic() - started:.0f} s, others took {others:.0%} of the CPUs")
        if not rows:
            continue
        now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
        results["measured"][question.id] = {
            "date": now, "fibrio": Fibrio(options.build, options.peers_build).version().split(",")[0],
            "machine": report.machine_line(results["machine"]), "noise": round(others, 4),
            "rounds": max(len(row["values"]) for row in rows)}
        results["rows"] = [row for row in results["rows"] if row["question"] != question.id] + rows
        write_results(results, options.out)  # after each question, so that an interrupted run keeps what it has
    if not results["measured"]:
        log("nothing was measured")
        return 1
    log(f"figures: {options.out.resolve()}")
    if options.rewrites_page:
        shutil.copyfile(options.out, PAGE_RESULTS)
        report.write_page(results, report.PAGE)
    else:
        if options.quick:
            report.write_page(results, options.out.parent / "quick" / "benchmarks.md")
        log(f"{report.PAGE} was left alone: only a whole run, or --update, rewrites it")
    for line in failures:
        log(f"failed: {line}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
