"""How the network questions are measured: servers side by side, in turn, and the rows that come of it."""
import collections
import os

from net_servers import Server, Unavailable


class Rows:
    """The rows in the order in which they were first seen."""

    def __init__(self):
        self.rows = collections.OrderedDict()

    def add(self, question, peer, workers, variant, unit, value, extra):
        key = (question, peer, workers, variant)
        empty = {"question": question, "peer": peer, "workers": workers, "variant": variant, "unit": unit}
        row = self.rows.setdefault(key, {**empty, "values": [], "extra": {}})
        row["values"].append(value)
        for name, number in extra.items():
            row["extra"].setdefault(name, []).append(number)

    def skip(self, question, peer, reason):
        row = {"question": question, "peer": peer, "workers": None, "variant": "", "unit": "", "values": []}
        self.rows[(question, peer)] = {**row, "extra": {}, "skipped": reason}


def two_cpus():
    """CPUs for a pinned server and its load; (None, None) where there are not two."""
    cpus = sorted(os.sched_getaffinity(0))
    return (cpus[0], cpus[1]) if len(cpus) > 1 else (None, None)


def turns_of(seconds, context):
    """How many turns, of how many seconds, for the time that all rounds come to: many short ones, as a machine may be
    slower for seconds at a time, and who is measured then would look worse than who was before."""
    if context["seconds"] <= seconds:
        return context["rounds"], context["seconds"]
    return round(context["rounds"] * context["seconds"] / seconds), seconds


def side_by_side(context, rows, question, peers, workers_wanted, variants, measure_one, turns=None, priority=0, site=None):
    """Starts the servers, and calls measure_one(server, cpu of the load, variant) in turn. `peers`: peer -> (how to get
    its command, the numbers of workers it is measured with). `turns`: as many as there are rounds, if not said."""
    server_cpu, load_cpu = two_cpus()
    servers = []
    try:
        for peer, (command, workers_of_peer) in peers.items():
            if context.get("peers") and peer not in context["peers"]:
                continue
            try:
                command = command(context)
                for workers in workers_wanted:
                    if workers in workers_of_peer:
                        cpu = server_cpu if workers == 1 else None
                        servers.append(Server(peer, workers, command, cpu, priority, site))
            except Unavailable as reason:
                rows.skip(question, peer, str(reason))
        servers.sort(key=lambda server: server.workers)
        turns = turns or context["rounds"]
        for turn in range(turns):
            context["log"](f"{question}: round {turn + 1} of {turns}")
            for variant in variants:
                for server in servers:
                    measure_one(server, load_cpu if server.pinned else None, variant)
    finally:
        for server in servers:
            server.stop()
