#!/usr/bin/env python3
"""The network questions side by side: echo (W8), HTTP keep-alive (W9), echo beside requests that compute (W15), an idle
loop (W16); those about HTTPS and files are web.py's (W17 to W19).

  python3 bench/compare/network.py --build build/release [--rounds 5] [--seconds 3] [--only W8,W15] [--peers "fibrio;..."]

Servers are up all the time, idle but for the one that is measured, and take turns, so that drift meets all alike. With
one worker the server has one CPU and the load generator another; with two workers all three share the machine, and
latency and requests per second are those of the three together. What to look at: the server's CPU time per request (the
load generators cost as much as a good server, so requests per second say more about them), and in W15 the latency.
Figures are only comparable within one run.
"""
import argparse
import os
import re
import shutil
import statistics
import subprocess
import sys

import net_servers
import web
from asked import at_least, names_among
from ending import end_in_order
from net_servers import Unavailable, build_go, build_rust, find_program, python_server
from turns import Rows, side_by_side, turns_of

W15_MIXES = {"2 % x 1 ms": (0.02, 1_000_000), "0.5 % x 5 ms": (0.005, 5_000_000), "5 % x 1 ms": (0.05, 1_000_000)}
W15_CONNECTIONS, W15_RATE = 256, 10_000
# Real-time priorities, where they are allowed: other work would add milliseconds to the tail, and a generator that waits
# for a CPU behind a server that computes would measure the kernel's scheduler.
GENERATOR_PRIORITY, SERVER_PRIORITY = 2, 1

# question -> peer -> (how to get its command, the numbers of workers it is measured with)
ECHO = {
    "raw epoll": (lambda context: find_program(context, "raw_epoll_echo"), (1, 2)),
    "fibrio": (lambda context: find_program(context, "server_echo"), (1, 2)),
    "Tokio": (lambda context: build_rust(context, "net_echo"), (1, 2)),
    "Go": (lambda context: build_go(context, "net_echo"), (1, 2)),
    "uvloop": (lambda context: python_server("echo", True), (1,)),
    "asyncio": (lambda context: python_server("echo", False), (1,)),
}
HTTP = {
    "raw epoll": (lambda context: find_program(context, "raw_epoll_http"), (1, 2)),
    "fibrio, by hand": (lambda context: find_program(context, "server_http"), (1, 2)),
    "fibrio": (lambda context: find_program(context, "http_server") + ["--port", "0"], (1, 2)),
    "fibrio, SO_REUSEPORT": (
        lambda context: find_program(context, "http_server") + ["--port", "0", "--accept", "reuseport"],
        (2,),
    ),
    "nginx": (lambda context: [net_servers.find_nginx()], (1, 2)),
    "hyper": (lambda context: build_rust(context, "net_http"), (1, 2)),
    "Go net/http": (lambda context: build_go(context, "net_http"), (1, 2)),
    "uvloop, by hand": (lambda context: python_server("http", True), (1,)),
    "asyncio, by hand": (lambda context: python_server("http", False), (1,)),
}


def measure_echo(context, rows):
    load = find_program(context, "raw_echo_load")
    turns, seconds = turns_of(1, context)

    def measure_one(server, cpu, connections):
        command = [*load, "--port", server.port, "--pid", server.pid]
        command += ["--connections", connections, "--seconds", seconds]
        seen = net_servers.parse_load(net_servers.run_load([str(part) for part in command], cpu, seconds))
        cpu_us = seen.pop("server_cpu_us")
        rows.add("W8", server.peer, server.workers, f"{connections} connections", "us CPU per request", cpu_us, seen)

    side_by_side(context, rows, "W8", ECHO, (1, 2), (64,) if context.get("quick") else (64, 1000), measure_one, turns)


def measure_http(context, rows):
    wrk = shutil.which("wrk")
    if wrk is None:
        rows.skip("W9", "all", "no wrk (Debian: wrk)")
        return
    turns, seconds = turns_of(2, context)  # a shorter one would measure how connections are accepted
    seconds = max(1, round(seconds))  # wrk knows whole ones

    def measure_one(server, cpu, connections):
        server.check_body()
        url = f"http://127.0.0.1:{server.port}/"
        before = server.cpu_ns()
        text = net_servers.run_load([wrk, "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", url], cpu, seconds)
        spent = server.cpu_ns() - before
        requests = int(re.search(r"(\d+) requests in", text)[1])
        socket_errors = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", text)
        refused = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
        errors = [*(socket_errors.groups() if socket_errors else ()), *(refused.groups() if refused else ())]
        extra = {
            "requests_per_s": float(re.search(r"Requests/sec:\s*([\d.]+)", text)[1]),
            "errors": sum(map(int, errors)),
        }
        for name, percent in (("p50_us", "50%"), ("p99_us", "99%")):
            number, unit = re.search(rf"^\s*{percent}\s+([\d.]+)(us|ms|s)", text, re.MULTILINE).groups()
            extra[name] = float(number) * {"us": 1, "ms": 1e3, "s": 1e6}[unit]
        cpu_us = spent / 1000 / max(requests, 1)
        rows.add("W9", server.peer, server.workers, f"{connections} connections", "us CPU per request", cpu_us, extra)

    side_by_side(context, rows, "W9", HTTP, (1, 2), (64,) if context.get("quick") else (64, 1000), measure_one, turns)


def measure_stalls(context, rows):
    load = find_program(context, "raw_echo_open_load")
    seconds = context["seconds"]

    def measure_one(server, cpu, mix):
        share, burn_ns = W15_MIXES[mix]
        command = [*load, "--port", server.port, "--pid", server.pid, "--connections", W15_CONNECTIONS]
        command += ["--rate", W15_RATE, "--seconds", seconds, "--share", share, "--burn-ns", burn_ns]
        text = net_servers.run_load([str(part) for part in command], cpu, seconds, GENERATOR_PRIORITY)
        seen = net_servers.parse_load(text)
        seen["errors"] += abs(seen["sent"] - seen["answered"])
        rows.add("W15", server.peer, server.workers, mix, "us p99 of clean requests", seen["p99_us"], seen)

    side_by_side(context, rows, "W15", ECHO, (2,), W15_MIXES, measure_one, priority=SERVER_PRIORITY)


def measure_idle(context, rows):
    program = find_program(context, "bench_idle_cpu")
    for _ in range(context["rounds"]):
        for workers in (1, 2):
            command = [*program, "--workers", str(workers), "--seconds", str(context["seconds"])]
            seen = net_servers.parse_load(net_servers.run_load(command, None, context["seconds"] + 30))
            variant = f"{seen['connections']} connections, {seen['timers']} timers"
            rows.add("W16", "fibrio", workers, variant, "% of a core", seen["cpu_percent"], {})


QUESTIONS = {"W8": measure_echo, "W9": measure_http, "W15": measure_stalls, "W16": measure_idle, **web.QUESTIONS}


PEERS = tuple(dict.fromkeys((*HTTP, *ECHO, *web.PEERS)))


def measure(context):
    """The rows of the network questions. `context`: build, peers_build, rounds, seconds, quick, log; optional: only (a
    set of questions), peers (a set of names)."""
    rows = Rows()
    for question, measure_question in QUESTIONS.items():
        if context.get("only") and question not in context["only"]:
            continue
        try:
            measure_question(context, rows)
        except (Unavailable, RuntimeError, OSError, subprocess.SubprocessError) as reason:
            rows.skip(question, "all", str(reason))
    return list(rows.rows.values())


def failures(rows):
    """What went wrong, a line each: requests without their answer, and what of fibrio's could not be measured."""
    lines = []
    for row in rows:
        where = ", ".join([row["peer"], *([row["variant"]] if row["variant"] else []),
                           *([f"{row['workers']} worker(s)"] if row["workers"] else [])])
        if errors := sum(row["extra"].get("errors", [])):
            lines.append(f"{row['question']} {where}: {errors} requests failed")
        if "skipped" in row and (row["peer"] == "all" or row["peer"].startswith("fibrio")):
            lines.append(f"{row['question']} {where}: {row['skipped']}")
    return lines


def show(rows):
    def spread(values, digits):
        middle = statistics.median(values)
        return f"{middle:.{digits}f} ({min(values):.{digits}f}-{max(values):.{digits}f})"

    columns = ("requests_per_s", "p50_us", "p99_us", "p999_us")
    last = None
    for row in sorted(rows, key=lambda row: (row["question"], row["workers"] or 0, row["variant"])):
        place = (row["question"], row["workers"], row["variant"])
        if place != last and "skipped" not in row:
            print(f"\n{row['question']}, {row['variant']}, {row['workers']} worker(s); {row['unit']}; "
                  "requests/s; p50, p99, p99.9 us")
            last = place
        if "skipped" in row:
            print(f"\n{row['question']} {row['peer']}: skipped, {row['skipped']}")
            continue
        extra = "  ".join(f"{spread(row['extra'][name], 0):>24}" for name in columns if name in row["extra"])
        errors = sum(row["extra"].get("errors", []))
        print(f"  {row['peer']:<22}{spread(row['values'], 3):>26}  {extra}" + (f"  {errors} errors" if errors else ""))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
                                     allow_abbrev=False)
    parser.add_argument("--build", required=True, help="CMake build folder with our programs (Release)")
    parser.add_argument("--peers-build", help="where Go's and Rust's programs are built (default: peers in --build)")
    parser.add_argument("--rounds", type=at_least(1, int), default=5)
    parser.add_argument("--seconds", type=at_least(0.1, float), default=3)
    parser.add_argument("--only", type=names_among(QUESTIONS, ","), help="questions, comma-separated")
    parser.add_argument("--peers", type=names_among(PEERS, ";"), help="names of servers, separated by semicolons")
    parser.add_argument("--quick", action="store_true", help="W8 and W9: 64 connections only")
    options = parser.parse_args()
    end_in_order()
    context = {
        "build": options.build,
        "peers_build": options.peers_build or os.path.join(options.build, "peers"),
        "rounds": options.rounds,
        "seconds": options.seconds,
        "quick": options.quick,
        "only": options.only,
        "peers": options.peers,
        "log": lambda text: print(text, file=sys.stderr, flush=True),
    }
    print(f"{os.cpu_count()} CPUs, Linux {os.uname().release}, {net_servers.versions()}, {options.rounds} rounds of "
          f"{options.seconds:g} s, load average {os.getloadavg()[0]:.1f}")
    rows = measure(context)
    show(rows)
    print(f"\nload average {os.getloadavg()[0]:.1f}")
    for line in (failed := failures(rows)):
        print(f"failed: {line}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
