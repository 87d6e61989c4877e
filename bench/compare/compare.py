#!/usr/bin/env python3
"""Runs the comparison and writes its figures to a JSON file; run.sh installs and builds what it needs, report.py makes
the page of it.

  python3 bench/compare/compare.py [--build build/release] [--rounds 5] [--only W1,W5] [--peers fibrio,Go]
                                   [--quick] [--update] [--out FILE]

Rivals take turns, A B C A B C, so that drift of the machine meets all alike. With one worker a program has one CPU,
with two it has two (taskset). What each run came to is checked. --quick: little work, one round, to see that everything
works. --update: what was not measured stays in the file as it is.

The file: {"machine": {name: text}, "versions": {peer: text}, "dates": {question: text}, "noise": {question: share of
the machine's CPU time that others took while it was measured}, "rows": [...]}, a row being
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

from peers import HERE, PEERS, Missing
from questions import PYTHON, QUESTIONS

RUN_LIMIT_S = 120


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

    def __init__(self, build, peers_build, wanted):
        self.commands, self.missing, self.versions = {}, {}, {}
        for peer in (kind(build, peers_build) for kind in PEERS if not wanted or kind.name in wanted):
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


def measure_network(wanted, options):
    """The rows, and the versions of what they are about."""
    import network
    context = {"build": str(options.build.resolve()), "peers_build": str(options.peers_build.resolve() / "network"),
               "rounds": options.rounds, "seconds": options.seconds, "quick": options.quick, "log": log, "only": wanted,
               "peers": options.peers}
    versions = "; ".join(f"{name} {version}" for name, version in network.net_servers.versions().items())
    return network.measure(context), versions


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
        "load average before": f"{os.getloadavg()[0]:.2f}",
    }


def parse_options():
    def names(text):
        return set(text.split(","))

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, default="build/release", help="CMake build folder (Release)")
    parser.add_argument("--peers-build", type=pathlib.Path, default="build/compare", help="where Go and Rust are built")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--seconds", type=float, help="per network measurement")
    parser.add_argument("--only", type=names, help="questions, comma-separated")
    parser.add_argument("--peers", type=names, help="peers, comma-separated")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--update", action="store_true")
    parser.add_argument("--out", type=pathlib.Path)
    options = parser.parse_args()
    if unknown := (options.only or set()) - set(QUESTIONS):
        parser.error(f"no such question: {', '.join(sorted(unknown))}")
    options.rounds = options.rounds or (1 if options.quick else 5)
    options.seconds = options.seconds or (1 if options.quick else 3)
    options.out = options.out or options.peers_build / ("quick.json" if options.quick else "results.json")
    return options


def main():
    options = parse_options()
    options.peers_build.mkdir(parents=True, exist_ok=True)
    wanted = [question for question in QUESTIONS.values() if not options.only or question.id in options.only]
    results = {"versions": {}, "dates": {}, "noise": {}, "rows": []}
    if options.update and options.out.exists():
        results = json.loads(options.out.read_text())
    results["machine"] = machine_facts()
    results["rounds"], results["quick"] = options.rounds, options.quick

    def store(rows):
        """After each question, so that an interrupted run keeps what it has."""
        measured = {row["question"] for row in rows}
        now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
        results["dates"].update({question: now for question in measured})
        results["machine"]["load average after"] = f"{os.getloadavg()[0]:.2f}"
        results["rows"] = [row for row in results["rows"] if row["question"] not in measured] + rows
        options.out.write_text(json.dumps(results, indent=1) + "\n")

    rivals = Rivals(options.build, options.peers_build, options.peers)
    results["versions"].update(rivals.versions)
    failed = False
    for question in (question for question in wanted if question.works):
        started, noise = time.monotonic(), Noise()
        rows = measure_compute(question, rivals, options.rounds, options.quick, noise)
        failed |= any("skipped" in row for row in rows if row["peer"] == "fibrio")
        results["noise"][question.id] = noise.share()
        log(f"{question.id}: {time.monotonic() - started:.0f} s, others took {noise.share():.0%} of the CPUs")
        store(rows)
    network = {question.id for question in wanted if not question.works}
    if network and (HERE / "network.py").exists():
        noise, spent = Noise(), children_cpu_s()
        rows, results["versions"]["network questions"] = measure_network(network, options)
        noise.ours = children_cpu_s() - spent
        results["noise"].update({question: noise.share() for question in network})
        store(rows)
    log(f"written: {options.out}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
