"""The questions of the comparison: what is asked, how much work one run does, what the answer must be checked with,
and which figure is the target.

Compute questions are answered by programs (peers.py), called as

    <program> <question> <size> --workers N

that do the work once and print one JSON line: {"question": "W1", "workers": 1, "value": 80.1, "cpu": 79.8, "check":
2000000}. `value` is the figure in the question's unit, `cpu` the CPU time per unit (0 if the unit is none of time),
`check` what the work came to. More keys are more figures. Network questions are answered by network.py.
"""

import dataclasses
import typing

PYTHON = ("asyncio", "uvloop")
ALL_PEERS = ("fibrio", "Boost.Fiber", "Go", "Tokio", *PYTHON)
AND_EAGER = ("fibrio", "fibrio, eager", *ALL_PEERS[1:])


@dataclasses.dataclass(frozen=True)
class Work:
    """One size of a question. `small` is the size for peers that would take too long, named in `slow`."""

    size: int
    small: int
    quick: int
    slow: tuple = PYTHON
    left_out: tuple = ()
    variant: str = ""
    needs_gib: float = 0.5

    def size_for(self, peer, quick):
        size = self.small if peer in self.slow else self.size
        return min(size, self.quick) if quick else size


@dataclasses.dataclass(frozen=True)
class Target:
    """At most `limit`: of the figure (`metric` "value") or of a named extra one; with `of`, times that peer's."""

    workers: int
    limit: float
    metric: str = "value"
    of: str = ""
    peer: str = "fibrio"
    variant: str | None = None  # None: each


@dataclasses.dataclass(frozen=True)
class Question:
    id: str
    title: str
    unit: str
    text: str
    works: tuple = ()  # none: network.py answers it
    check: typing.Callable | None = None  # size -> what `check` must be
    units: typing.Callable | None = None  # size -> units of work: the figure is of all the work, not per unit
    workers: tuple = (1, 2)
    peers: tuple = ALL_PEERS
    yardsticks: tuple = ("plain threads", "raw epoll", "oneTBB")  # shown, but no rivals: they cannot do what fibrio does
    shown: tuple = ("cpu",)  # extra figures in the tables
    targets: tuple = ()


def sum_below(n):
    return n * (n - 1) // 2


def fibonacci(n):
    a, b = 0, 1
    for _ in range(n):
        a, b = b, a + b
    return a


def all_peers_but(*names):
    return tuple(name for name in ALL_PEERS if name not in names)


COMPUTE = (
    Question(
        "W1", "Spawn and join", "ns per task",
        "One root task spawns 100 tasks that do nothing and awaits them all, many times over.",
        (Work(20_000, 400, 100),), lambda size: 100 * size, peers=AND_EAGER, targets=(Target(1, 50), Target(2, 100))),
    Question(
        "W2", "Yield among 1,000", "ns per yield",
        "1,000 tasks give way to one another.",
        (Work(5_000, 500, 50),), lambda size: 1000 * size, targets=(Target(1, 12), Target(2, 20))),
    Question(
        "W2b", "Yield between two", "ns per yield",
        "Two tasks give way to one another.",
        (Work(2_500_000, 200_000, 20_000),), lambda size: 2 * size),
    Question(
        "W3", "Ping-pong", "ns per round trip",
        "Two tasks exchange messages over two queues of capacity 1.",
        (Work(1_000_000, 30_000, 2_000, (*PYTHON, "plain threads")),), sum_below,
        peers=(*ALL_PEERS, "plain threads"), targets=(Target(1, 90), Target(2, 150))),
    Question(
        "W4", "Skynet", "ms",
        "A tree of tasks with fan-out 10 and 1,000,000 leaves, summed through the tasks' results.",
        (Work(1_000_000, 100_000, 10_000, (*PYTHON, "Boost.Fiber")),), sum_below, lambda size: size,
        peers=(*AND_EAGER, "oneTBB"), shown=("cpu", "rss_mib"),
        targets=(Target(1, 150), Target(2, 110))),
    Question(
        "W5", "A million sleepers", "s of CPU",
        "1,000,000 tasks each sleep a pseudo-random 1 to 1,000 ms; wait for all.",
        (Work(1_000_000, 100_000, 10_000, (*PYTHON, "Boost.Fiber"), needs_gib=7),), lambda size: size,
        lambda size: size, shown=("wall_s", "rss_mib"),
        targets=(Target(1, 1.9), Target(1, 4.7 * 1024, "rss_mib"))),
    Question(
        "W6", "Overshoot of a sleep", "µs, median",
        "sleep(1 ms) again and again on an idle loop: how much later than asked does it return?",
        (Work(1_000, 1_000, 100),), lambda size: size, workers=(1,), peers=(*ALL_PEERS, "plain threads"),
        shown=("p99", "early", "cpu"), targets=(Target(1, 45), Target(1, 110, "p99"), Target(1, 0, "early"))),
    Question(
        "W7", "Memory of a parked task", "bytes of RSS per task",
        "Tasks wait for one event; what did each of them add to the process's resident memory?",
        (Work(100_000, 100_000, 5_000, variant="100,000 tasks", needs_gib=2),
         Work(1_000_000, 1_000_000, 10_000, left_out=(*PYTHON, "Boost.Fiber"), variant="1,000,000 tasks",
              needs_gib=7)),
        lambda size: size, workers=(1,), shown=("page_tables",), targets=(Target(1, 4500),)),
    Question(
        "W10", "Fork and join", "ms",
        "fib(30), where every call with n >= 2 spawns one child and joins it: 1.3 million tasks.",
        (Work(30, 25, 16, (*PYTHON, "Boost.Fiber"), needs_gib=7),), fibonacci, lambda size: fibonacci(size + 1) - 1,
        peers=(*AND_EAGER, "oneTBB"), shown=("cpu", "rss_mib"), targets=(Target(1, 130), Target(2, 75))),
    Question(
        "W11", "A call on the blocking pool", "ns per round trip",
        "One task awaits a call that does nothing on the pool of blocking threads, again and again.",
        (Work(50_000, 5_000, 500),), lambda size: size,
        peers=(*all_peers_but("Boost.Fiber", "Go"), "plain threads"), targets=(Target(1, 10_000),)),
    Question(
        "W12", "Many to many", "ns per item",
        "4 producers and 4 consumers on one queue of capacity 1024.",
        (Work(8_000_000, 400_000, 10_000),), lambda size: 4 * sum_below(size // 4),
        peers=(*ALL_PEERS, "plain threads"), targets=(Target(1, 17), Target(2, 60))),
    Question(
        "W13", "Cancel", "ns per task",
        "100,000 tasks are in a long sleep; cancel all, join all.",
        (Work(100_000, 100_000, 5_000),), lambda size: size, peers=all_peers_but("Boost.Fiber"),
        targets=(Target(1, 1400),)),
    Question(
        "W14", "A contended lock", "ns per lock and unlock",
        "8 tasks lock and unlock one Lock; inside, they count.",
        (Work(1_000_000, 100_000, 2_000),), lambda size: 8 * size, peers=(*ALL_PEERS, "plain threads"),
        targets=(Target(1, 12), Target(2, 80))),
)

_WEB_TARGETS = tuple(Target(workers, 1, of=peer) for workers in (1, 2) for peer in ("nginx", "hyper", "Go net/http"))
_LATENCY = ("requests_per_s", "p50_us", "p99_us", "p999_us")
NETWORK = (
    Question(
        "W8", "TCP echo", "µs of the server's CPU per request",
        "64-byte requests and answers, a task per connection. One worker: server on one CPU, load on the other; two: "
        "both on both.", shown=_LATENCY,
        targets=(Target(1, 1.02, of="raw epoll"), Target(1, 1, "p99_us", "raw epoll"),
                 Target(1, 1, "p999_us", "raw epoll"))),
    Question(
        "W9", "HTTP/1.1 keep-alive", "µs of the server's CPU per request",
        "A plain-text answer under wrk; requests per second say more about wrk than about a good server. fibrio is "
        "examples/http_server, with Boost.Beast's parser; \"by hand\" parses no more than the benchmark needs.",
        shown=_LATENCY[:3],
        targets=(Target(1, 1.02, of="raw epoll", peer="fibrio, by hand"), Target(1, 1, of="nginx"))),
    Question(
        "W15", "Latency beside requests that compute", "µs, p99 of clean requests",
        "Echo with 256 connections and an open loop at 10,000 requests/s; some of them burn CPU in the handler, the "
        "others are clean. Latency counts from the scheduled instant.", workers=(2,), shown=("p50_us", "p999_us"),
        targets=(Target(2, 0.5, of="raw epoll"), Target(2, 0.5, of="Go"), Target(2, 1, "p50_us", "raw epoll"),
                 Target(2, 1, "p50_us", "Go"))),
    Question(
        "W16", "An idle loop", "% of a core",
        "10,000 open idle connections and 10,000 timers an hour away.", shown=(),
        targets=(Target(1, 0.05), Target(2, 0.05))),
    Question(
        "W17", "HTTP and HTTPS", "µs of the server's CPU per request",
        "GETs with keep-alive, over 64 connections where nothing else is said. TLS 1.3 with AES-128-GCM. Of each answer "
        "status and body are checked. fibrio is fibrio::http with fibrio::tls (bench/servers/web.cpp), which has OpenSSL, as "
        "nginx has; hyper has rustls, if nothing else is said. One worker: server on one CPU, load on the other; two: both on both.",
        shown=_LATENCY, targets=_WEB_TARGETS),
    Question(
        "W18", "TLS handshakes", "µs of the server's CPU per connection",
        "16 clients connect, shake hands (TLS 1.3, X25519, a P-256 certificate), GET 14 bytes, take the server's end of the "
        "connection, and connect again: with full handshakes, or each resumed by the ticket of the one before. Latency is "
        "from the connect to the answer.", shown=_LATENCY, targets=_WEB_TARGETS),
    Question(
        "W19", "A file", "ms of the server's CPU per GiB",
        "GETs of a file of 1 MiB over 16 connections with keep-alive. What the servers send is compared with the file.",
        shown=("mib_per_s", *_LATENCY[1:]), targets=_WEB_TARGETS),
)

QUESTIONS = {question.id: question for question in sorted(
    COMPUTE + NETWORK, key=lambda question: (int(question.id[1:].rstrip("b")), question.id))}
