"""What is measured, and how: one function a row, each with supervisors of its own.

Owns: the methods. Never: how a supervisor is configured, how a result is shown.

A row gives plain data, or None for a supervisor that has no such thing. Times are in milliseconds, memory in KiB.
"""

import json
import os
import signal
import statistics
import subprocess
import time
from contextlib import contextmanager

import machine
import wire
from supervisors import KILL_MS, SLEEP, Server, Servisor

GIB = 1 << 30


def summary(values):
    return {"median": statistics.median(values), "min": min(values), "max": max(values), "all": values}


def since(begun, at=None):
    return ((at or machine.now()) - begun) / 1e6


class Bench:
    """Where it happens, and how much of it."""

    def __init__(self, into, homes, probe, quick):
        self.into, self.homes, self.probe, self.quick = into, homes, probe, quick
        self.lives = 0

    def times(self, full, quick):
        return quick if self.quick else full

    def stamps(self, file):
        """The pids and times that servers have written as their first act."""
        return [tuple(map(int, line.split())) for line in machine.read(file).splitlines()]

    def folder(self):
        self.lives += 1
        return os.path.join(self.into, "run", str(self.lives))

    @contextmanager
    def life(self, kind, servers, order=None):
        """A supervisor that answers and has all its servers; `stamps` is the file of their first acts."""
        one = kind(self.homes[kind.name], self.folder(), self.probe)
        one.stamps = one.path("stamps")
        if order:
            argv = [self.probe, order[0], one.stamps, *order[1:]]
            servers = [Server(f"s{number}", argv) for number in range(servers)]
        else:
            servers = [Server(f"s{number}", [SLEEP, "100000"]) for number in range(servers)]
        try:
            one.configure(servers)
            one.begun = one.launch()
            if not machine.wait_for(one.answers, 60):
                raise RuntimeError(f"{kind.name} does not answer; see {one.path('output')}")
            one.answered = machine.now()
            one.after_launch()
            yield one
        finally:
            machine.end_all()

    def first_acts(self, life, count, seconds=60):
        def enough():
            found = self.stamps(life.stamps)
            return found if len(found) >= count else None
        found = machine.wait_for(enough, seconds)
        if not found:
            raise RuntimeError(f"{life.name}: {len(self.stamps(life.stamps))} of {count} servers run")
        return found


def asleep(life):
    return sum(machine.program(pid) == SLEEP for pid in machine.tree(life.root)) >= len(life.servers)


def size(bench, kind):
    with_folder = kind(bench.homes[kind.name], bench.folder(), bench.probe)
    return {"kib": with_folder.size() / 1024, "needs": kind.needs}


def memory(bench, kind):
    """PSS of all that is its own, some seconds after the last server is up."""
    found = {}
    for count in bench.times([0, 10, 100, 500], [0, 10]):
        if kind.name == "horust" and count == 0:
            continue
        with bench.life(kind, count) as life:
            machine.wait_for(lambda: asleep(life), 120, 0.05)
            time.sleep(bench.times(4, 1))
            own = life.own()
            found[str(count)] = {**machine.memory(own), "processes": len(own)}
    return found


def idle(bench, kind):
    """Switches and time of all its threads, for a minute or scaled to one."""
    seconds = bench.times(60 if kind is Servisor else 15, 2)
    with bench.life(kind, bench.times(100, 10)) as life:
        machine.wait_for(lambda: asleep(life), 120, 0.05)
        # What has begun ends: a server is a worker after 10 s without a port.
        time.sleep(bench.times(15 if kind is Servisor else 5, 1))
        own = life.own()
        cpu, switches = machine.accounts(own)
        time.sleep(seconds)
        cpu_after, switches_after = machine.accounts(own)
    scale = 60 / seconds
    return {"cpu_ms": (cpu_after - cpu) * 1000 * scale, "switches": (switches_after - switches) * scale}


def cold(bench, kind):
    answers, firsts = [], []
    for _ in range(bench.times(10, 2)):
        with bench.life(kind, 1, ["stamp"]) as life:
            answers.append(since(life.begun, life.answered))
            firsts.append(since(life.begun, bench.first_acts(life, 1)[0][1]))
    return {"answers": summary(answers), "first": summary(firsts)}


def many(bench, kind):
    """From exec to the first act of the last of 100 servers that it was configured with."""
    count, lasts, cpus, again = bench.times(100, 10), [], [], []
    for _ in range(bench.times(5, 1)):
        with bench.life(kind, count, ["stamp"]) as life:
            lasts.append(since(life.begun, max(at for _, at in bench.first_acts(life, count))))
            cpus.append(life.used() * 1000)
            if kind is Servisor:
                # Once more in the same state directory, where it finds them: nothing has to be written.
                os.kill(life.root, signal.SIGTERM)
                machine.wait_for(lambda: len(machine.tree(os.getpid())) == 1 or machine.reap(), 20)
                os.remove(life.stamps)
                begun = life.launch()
                again.append(since(begun, max(at for _, at in bench.first_acts(life, count))))
    found = {"last": summary(lasts), "cpu_ms": summary(cpus)}
    return {**found, "again": summary(again)} if again else found


def crash(bench, kind):
    """SIGKILL to the first act of the next process; each had lived for two seconds."""
    if kind.name == "sandbox-agent":
        return None
    times = []
    with bench.life(kind, 1, ["stamp"]) as life:
        for turn in range(bench.times(8, 2)):
            pid, _ = bench.first_acts(life, turn + 1)[-1]
            time.sleep(bench.times(2.3, 0.6))
            killed = machine.now()
            os.kill(pid, signal.SIGKILL)
            times.append(since(killed, bench.first_acts(life, turn + 2)[-1][1]))
    return summary(times)


def stop(bench, kind):
    """The request to its confirmation, for a server that obeys and for one that has to be killed."""
    if kind.name == "horust":
        return None
    found = {}
    for what, order, count in [("obeys", "stamp", bench.times(10, 2)), ("ignores", "stubborn", bench.times(3, 1))]:
        times = []
        with bench.life(kind, count, [order]) as life:
            pids = {pid for pid, _ in bench.first_acts(life, count)}
            time.sleep(1)
            if kind.name == "pm2":
                life.drive("load", "s0", 1, 0.1)
            for one in life.servers:
                begun = machine.now()
                life.confirmed_stop(one.slug)
                times.append(since(begun))
            alive = [pid for pid in pids if machine.program(pid) == bench.probe]
            if alive:
                raise RuntimeError(f"{kind.name} has confirmed the stop of what lives: {alive}")
        found[what] = summary([time - KILL_MS for time in times] if what == "ignores" else times)
    return found


def ready(bench, kind):
    """`listen()` to the answer of a client that waits for it."""
    if not kind.reports_ready:
        return None
    times = []
    for _ in range(bench.times(20, 2)):
        with bench.life(kind, 0) as life, wire.Connection(life.port) as connection:
            life.run_until_ready(connection, Server("app", [bench.probe, "listen", life.stamps], machine.free_port()))
            at = machine.now()
            times.append(since(bench.first_acts(life, 1)[0][1], at))
    return summary(times)


def logs(bench, kind):
    """One server writes lines of 100 bytes as fast as they are taken; then the end of them is read by the API."""
    seconds, limit, runs = bench.times(4, 1), bench.times(GIB, GIB // 32), []
    for _ in range(bench.times(3, 1)):
        one = kind(bench.homes[kind.name], bench.folder(), bench.probe)
        result = one.path("result")
        # It waits until the memory before is known.
        wait = f"while ! test -e {one.path('go')}; do sleep 0.05; done; exec {bench.probe} flood {result} {seconds} {limit}"
        one.write("flood.sh", f"#!/bin/sh\n{wait}\n", 0o700)
        one.argv_of_server = [one.path("flood.sh")]
        try:
            runs.append(flooded(one, result, seconds))
        finally:
            machine.end_all()
            subprocess.run(["rm", "-rf", one.folder], check=False)
    tails = [run.pop("tail") for run in runs]
    found = {key: summary([run[key] for run in runs]) for key in ("mb_s", "cpu_s_gib", "growth_kib")}
    lost = [run["lost"] for run in runs]
    return {**found, "lost": None if None in lost else max(lost), "tail": tails[-1]}


def flooded(one, result, seconds):
    one.configure([Server("s0", one.argv_of_server)])
    one.launch()
    if not machine.wait_for(one.answers, 60):
        raise RuntimeError(f"{one.name} does not answer")
    one.after_launch()
    time.sleep(1)
    own = [pid for pid in one.own() if machine.program(pid) not in ("sleep", "/bin/sh")]
    before, peak, cpu = machine.memory(own)["Pss"], 0, machine.accounts(own)[0]
    one.write("go", "")
    limit = time.monotonic() + seconds + 30
    while not machine.read(result).endswith("\n") and time.monotonic() < limit:
        time.sleep(0.1)
        peak = max(peak, machine.memory(own)["Pss"])
    written, took = map(int, machine.read(result).split())

    def missing():
        kept = one.kept("s0")
        return None if kept is None else written - kept
    # A supervisor that has fallen behind gets some time.
    machine.wait_for(lambda: missing() in (0, None), 10, 0.2)
    peak = max(peak, machine.memory(own)["Pss"])
    cpu = machine.accounts(own)[0] - cpu
    return {"mb_s": written / 1e6 / (took / 1e9), "cpu_s_gib": cpu / (written / GIB), "growth_kib": peak - before,
            "lost": missing(), "tail": tail(one)}


def tail(one):
    text = one.tail("s0")
    if text is None:
        return None
    times = []
    with wire.Connection(one.port) as connection:
        for _ in range(60):
            begun = machine.now()
            status, body = one.read_tail(connection, text)
            times.append(since(begun))
            if status != 200 or (len(body) < 60_000 and one.name != "sandbox-agent"):
                raise RuntimeError(f"{one.name} gives no tail: {status}, {len(body)} bytes: {body[:200]!r}")
    return summary(times[10:])


def api(bench, kind):
    """The status of one of ten servers, by clients that each keep a connection."""
    seconds, found = bench.times(2, 1), {}
    with bench.life(kind, 10) as life:
        time.sleep(1)
        if not hasattr(life, "load") and life.status("s0") is None:
            return None
        for clients in bench.times([1, 8, 64], [1, 8]):
            runs = [load(bench, life, clients, seconds) for _ in range(bench.times(3, 1))]
            found[str(clients)] = {
                "rps": summary([run["rps"] for run in runs]), "p99_us": summary([run["p99_us"] for run in runs]),
                "lost": sum(run["lost"] for run in runs), "least": min(run.get("least", 1) for run in runs)}
    return found


def load(bench, life, clients, seconds):
    if hasattr(life, "load"):
        return life.load("s0", clients, seconds)
    reported = subprocess.run([bench.probe, "load", f"127.0.0.1:{life.port}", str(clients), str(seconds)], check=True,
                          env={**os.environ, "REQUEST": life.status("s0")}, capture_output=True, text=True, timeout=60)
    return json.loads(reported.stdout)


def starved(bench, kind):
    """The status of a server by one client, among ten that flood their logs and four busy processes a processor."""
    if kind.name not in ("servisor", "supervisord", "pitchfork"):
        return None
    # A flood ends by its time: of 4 GiB each, servisor took all within the 12 s.
    floods, limit, seconds, runs = 10, 64 * GIB, bench.times(4, 1), []
    patience = str(10 * seconds)
    with bench.life(kind, floods, ["flood", patience, str(limit)]) as life:
        machine.wait_for(lambda: sum(machine.program(pid) == bench.probe for pid in machine.tree(life.root)) >= floods)
        for _ in range(4 * os.cpu_count()):
            machine.spawn([bench.probe, "spin", patience])
        for _ in range(bench.times(3, 1)):
            runs.append(load(bench, life, 1, seconds))
        if bench.stamps(life.stamps):
            raise RuntimeError("a flood was over before the last answer")
    found = {f"{key}_ms": summary([run[f"{key}_us"] / 1000 for run in runs]) for key in ("p50", "p99")}
    return {**found, "max_ms": max(run["max_us"] for run in runs) / 1000,
            "answers": sum(run["answers"] for run in runs), "lost": sum(run["lost"] for run in runs)}


def growth(bench, kind):
    """What 1, 10, 100 and 1,000 servers take; only servisor, for it is the shape of the curve that matters."""
    if kind is not Servisor:
        return None
    found = {}
    for count in bench.times([1, 10, 100, 1000], [1, 10]):
        with bench.life(kind, count, ["stamp"]) as life:
            last = since(life.begun, max(at for _, at in bench.first_acts(life, count)))
            time.sleep(bench.times(3, 1))
            listed = []
            with wire.Connection(life.port) as connection:
                for _ in range(10):
                    begun = machine.now()
                    connection.ask(life.request("GET", "/servers"))
                    listed.append(since(begun))
            pss = machine.memory(life.own())["Pss"]
            begun = machine.now()
            os.kill(life.root, signal.SIGTERM)
            machine.wait_for(lambda: machine.reap() or not os.path.exists(f"/proc/{life.root}"), 60)
            found[str(count)] = {"pss_kib": pss, "start_ms": last, "list_ms": statistics.median(listed),
                                 "stop_ms": since(begun)}
    return found


def floors(bench):
    """What this machine allows at best, now."""
    def reported(*orders):
        done = subprocess.run([bench.probe, *map(str, orders)], check=True, capture_output=True, text=True, timeout=60)
        return json.loads(done.stdout)
    found = {**reported("floor-spawn", bench.times(300, 20)), **reported("floor-restart", bench.times(30, 3)),
             "pipes": [reported("floor-pipe", bench.times(2, 1)) for _ in range(bench.times(3, 1))]}
    many = {name: summary([spawned(bench, order) for _ in range(bench.times(5, 1))])
            for name, order in (("many_ms", "floor-many"), ("many_shell_ms", "floor-many-shell"))}
    return {**found, **many}


def spawned(bench, order):
    """From exec to the first act of the last that a program spawns which does nothing else."""
    count, folder = bench.times(100, 10), bench.folder()
    os.makedirs(folder)
    file, begun = os.path.join(folder, "stamps"), machine.now()
    with subprocess.Popen([bench.probe, order, str(count), file], stdin=subprocess.PIPE) as child:
        machine.wait_for(lambda: len(bench.stamps(file)) >= count)
        child.stdin.close()
    return since(begun, max(at for _, at in bench.stamps(file)))


ROWS = {row.__name__: row for row in (size, memory, cold, many, crash, stop, ready, logs, api, starved, idle, growth)}
