"""What: the compute questions of the comparison (../questions.py) on asyncio, or on uvloop with --loop uvloop; called
and answering as ../support.hpp says. There is one event loop: --workers is 1."""

import argparse
import asyncio
import json
import time


class Stopwatch:
    def __init__(self):
        self.wall = time.perf_counter_ns()
        self.cpu = time.process_time_ns()

    def spent(self):
        return time.perf_counter_ns() - self.wall, time.process_time_ns() - self.cpu

    def per_unit(self, units, check):
        wall, cpu = self.spent()
        return {"value": wall / units, "cpu": cpu / units, "check": check}

    def in_ms(self, check):
        return self.per_unit(1e6, check)


async def noop():
    pass


async def spawn_and_join(rounds):
    joined = 0
    watch = Stopwatch()
    for _ in range(rounds):
        tasks = [asyncio.create_task(noop()) for _ in range(100)]
        for task in tasks:
            await task
            joined += 1
    return watch.per_unit(rounds * 100, joined)


async def yields(count, each):
    async def body():
        done = 0
        while done < each:
            await asyncio.sleep(0)
            done += 1
        return done

    watch = Stopwatch()
    total = sum(await asyncio.gather(*(body() for _ in range(count))))
    return watch.per_unit(count * each, total)


async def yield_many(each):
    return await yields(1000, each)


async def yield_two(each):
    return await yields(2, each)


async def ping_pong(trips):
    there = asyncio.Queue(1)
    back = asyncio.Queue(1)

    async def echo():
        for _ in range(trips):
            await back.put(await there.get())

    task = asyncio.create_task(echo())
    total = 0
    watch = Stopwatch()
    for i in range(trips):
        await there.put(i)
        total += await back.get()
    answer = watch.per_unit(trips, total)
    await task
    return answer


async def skynet_node(base, leaves):
    if leaves == 1:
        return base
    share = leaves // 10
    return sum(await asyncio.gather(*(skynet_node(base + i * share, share) for i in range(10))))


async def skynet(leaves):
    watch = Stopwatch()
    return watch.in_ms(await asyncio.create_task(skynet_node(0, leaves)))


async def sleep_many(count):
    async def body(i):
        await asyncio.sleep((1 + i * 7919 % 1000) / 1000)
        return 1

    watch = Stopwatch()
    tasks = [asyncio.create_task(body(i)) for i in range(count)]
    woken = 0
    for task in tasks:
        woken += await task
    wall, cpu = watch.spent()
    return {"value": cpu / 1e9, "cpu": cpu / 1e9, "check": woken, "wall_s": wall / 1e9}


async def overshoot(sleeps):
    late = []
    watch = Stopwatch()
    for _ in range(sleeps):
        before = time.perf_counter_ns()
        await asyncio.sleep(0.001)
        late.append((time.perf_counter_ns() - before) / 1e3 - 1000)
    _, cpu = watch.spent()
    late.sort()
    return {"value": late[sleeps // 2], "cpu": cpu / 1e3 / sleeps, "check": sleeps,
            "p99": late[sleeps * 99 // 100], "early": sum(1 for us in late if us < 0)}


def memory():
    """Resident and page-table bytes of this process."""
    with open("/proc/self/status") as status:
        kib = {key: value.split()[0] for key, _, value in (line.partition(":") for line in status)
               if key in ("VmRSS", "VmPTE")}
    return int(kib["VmRSS"]) * 1024, int(kib["VmPTE"]) * 1024


async def parked_memory(count):
    event = asyncio.Event()
    parked = 0

    async def body():
        nonlocal parked
        parked += 1
        await event.wait()
        return 1

    resident, page_tables = memory()
    tasks = [asyncio.create_task(body()) for _ in range(count)]
    while parked < count:
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.01)
    resident_after, page_tables_after = memory()
    event.set()
    woken = 0
    for task in tasks:
        woken += await task
    return {"value": (resident_after - resident) / count, "cpu": 0, "check": woken,
            "page_tables": (page_tables_after - page_tables) / count}


async def fib(n):
    if n < 2:
        return n
    child = asyncio.create_task(fib(n - 1))
    other = await fib(n - 2)
    return await child + other


async def fork_join(n):
    watch = Stopwatch()
    return watch.in_ms(await fib(n))


async def offload(calls):
    def one():
        return 1

    total = 0
    watch = Stopwatch()
    for _ in range(calls):
        total += await asyncio.to_thread(one)
    return watch.per_unit(calls, total)


async def many_to_many(items):
    queue = asyncio.Queue(1024)
    each = items // 4

    async def produce():
        for i in range(each):
            await queue.put(i)

    async def consume():
        total = 0
        for _ in range(each):
            total += await queue.get()
        return total

    watch = Stopwatch()
    producers = [asyncio.create_task(produce()) for _ in range(4)]
    total = sum(await asyncio.gather(*(consume() for _ in range(4))))
    await asyncio.gather(*producers)
    return watch.per_unit(each * 4, total)


async def cancel_many(count):
    tasks = [asyncio.create_task(asyncio.sleep(3600)) for _ in range(count)]
    await asyncio.sleep(0.1)
    cancelled = 0
    watch = Stopwatch()
    for task in tasks:
        task.cancel()
    for task in tasks:
        try:
            await task
        except asyncio.CancelledError:
            cancelled += 1
    return watch.per_unit(count, cancelled)


async def lock_shared(each):
    lock = asyncio.Lock()
    counter = 0

    async def body():
        nonlocal counter
        for _ in range(each):
            async with lock:
                counter += 1

    watch = Stopwatch()
    await asyncio.gather(*(body() for _ in range(8)))
    return watch.per_unit(each * 8, counter)


QUESTIONS = {
    "W1": spawn_and_join, "W2": yield_many, "W2b": yield_two, "W3": ping_pong, "W4": skynet, "W5": sleep_many,
    "W6": overshoot, "W7": parked_memory, "W10": fork_join, "W11": offload, "W12": many_to_many,
    "W13": cancel_many, "W14": lock_shared,
}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("question", choices=QUESTIONS)
    parser.add_argument("size", type=int)
    parser.add_argument("--workers", type=int, choices=[1], required=True)
    parser.add_argument("--loop", choices=["asyncio", "uvloop"], default="asyncio")
    arguments = parser.parse_args()
    new_loop = None
    if arguments.loop == "uvloop":
        import uvloop
        new_loop = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=new_loop) as runner:
        answer = runner.run(QUESTIONS[arguments.question](arguments.size))
    print(json.dumps({"question": arguments.question, "workers": 1, **answer}))


if __name__ == "__main__":
    main()
