"""The public URLs beside other proxies, in one run on one machine: `make bench-proxy`.

Owns: large bodies each way, small requests, and what each proxy needs for it. Never: the client and the server, which are the probe's
(`probe/web.rs`, `probe/load.rs`).
"""

import argparse
import atexit
import json
import os
import shutil
import statistics
import subprocess
import tempfile

import machine
import table
import wire
from peers_install import Unavailable, install

GIB = 1 << 30
TOKEN = "t" * 32
SMALL = "/1000"


class Peer:
    """A proxy: how it is run, and the host by which it finds the server."""

    def __init__(self, folder, peers, servisor, server):
        self.folder, self.peers, self.servisor, self.server = folder, peers, servisor, server
        self.port, self.host = machine.free_port(), "localhost"


class Direct(Peer):
    name = "direct"

    def argv(self):
        self.port = self.server
        return None


class Servisor(Peer):
    """It starts the server itself, and so knows its port."""

    name = "servisor"

    def argv(self):
        self.host = f"web.localhost:{self.port}"
        return [self.servisor, "serve", "--listen", f"127.0.0.1:{self.port}", "--proxy", "--root", self.folder,
                "--state-dir", f"{self.folder}/state", "--log-level", "warn"]


class Caddy(Peer):
    name = "caddy"

    def argv(self):
        home = install("caddy", self.peers)
        file = f"{self.folder}/Caddyfile"
        with open(file, "w", encoding="utf-8") as text:
            text.write("{\n admin off\n auto_https off\n}\n"
                       f"http://localhost:{self.port} {{\n bind 127.0.0.1\n reverse_proxy 127.0.0.1:{self.server}\n}}\n")
        return [f"{home}/usr/bin/caddy", "run", "--adapter", "caddyfile", "--config", file]


class Node(Peer):
    name = "node"

    def argv(self):
        home = install("http-proxy", self.peers)
        script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "proxy.js")
        return [shutil.which("node"), script, home, str(self.port), f"http://127.0.0.1:{self.server}"]


def probe(program, *words, **environment):
    done = subprocess.run([program, *map(str, words)], env={**os.environ, **environment}, capture_output=True, text=True,
                          timeout=300, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{words} ended with {done.returncode}: {done.stderr.strip()[-300:]}")
    return json.loads(done.stdout)


def kib(pid, field):
    line = next(line for line in machine.read(f"/proc/{pid}/status").splitlines() if line.startswith(field))
    return int(line.split()[1])


def start(peer, program):
    """Gives the pid of the proxy once it passes a request on; none without a proxy."""
    argv = peer.argv()
    environment = {**os.environ, "HOME": peer.folder, "SERVISOR_ACCESS_TOKEN": TOKEN}
    pid = machine.spawn(argv, environment, f"{peer.folder}/log")[1] if argv else None
    if isinstance(peer, Servisor):
        body = json.dumps({"slug": "web", "start": f"exec {program} web", "port": peer.server, "strict_port": True})
        headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
        make = wire.request("POST", "/servers", headers, body)
        if not machine.wait_for(lambda: wire.answers(peer.port, make)):
            raise RuntimeError("servisor does not answer")
    text = wire.request("GET", SMALL).replace("Host: localhost", f"Host: {peer.host}")

    def passes():
        try:
            return wire.ask(peer.port, text) == (200, b"x" * 1000)
        except (OSError, ValueError, IndexError):
            return False
    if not machine.wait_for(passes):
        raise RuntimeError(f"{peer.name} passes nothing on: {machine.read(f'{peer.folder}/log')[-500:]}")
    return pid


def measure(peer, program, rounds, size, seconds):
    pid = start(peer, program)
    address, found = f"127.0.0.1:{peer.port}", {}
    if pid:
        found["idle_kib"] = kib(pid, "VmRSS")
    for direction in ("pull", "push"):
        before = machine.used_ever(pid) if pid else 0
        speeds = [probe(program, direction, address, peer.host, size)["mb_s"] for _ in range(rounds)]
        used = (machine.used_ever(pid) - before if pid else 0) / (rounds * size / GIB)
        found[direction] = {"mb_s": statistics.median(speeds), "cpu_s_gib": used}
    request = wire.request("GET", SMALL).replace("Host: localhost", f"Host: {peer.host}")
    for clients in (1, 16, 64):
        before = machine.used_ever(pid) if pid else 0
        result = probe(program, "load", address, clients, seconds, REQUEST=request)
        used = machine.used_ever(pid) - before if pid else 0
        found[f"small_{clients}"] = {**result, "cpu_us": used / max(1, result["answers"]) * 1e6}
    if pid:
        found["peak_kib"] = kib(pid, "VmHWM")
    return found


def lines(found):
    def row(label, text):
        cells = [text(one) for one in found.values()]
        return f"| {label} | {' | '.join(cells)} |"
    yield f"| | {' | '.join(found)} |"
    yield f"|---|{'---|' * len(found)}"
    for direction, label in (("pull", "large answers"), ("push", "large requests")):
        yield row(f"{label}, MB/s", lambda one, way=direction: table.digits(one[way]["mb_s"]))
        yield row("… CPU s/GiB of the proxy", lambda one, way=direction: table.digits(one[way]["cpu_s_gib"]))
    for clients in (1, 16, 64):
        def text(one, name=f"small_{clients}"):
            result = one[name]
            return f"{result['rps']:,.0f}; {table.digits(result['p99_us'] / 1000)}; {result['lost']}"
        yield row(f"1,000 bytes, {clients} client{'s' * (clients > 1)}: requests/s; p99 ms; lost", text)
    yield row("… CPU µs a request, 64 clients", lambda one: table.digits(one["small_64"]["cpu_us"]))
    for name, label in (("idle_kib", "memory (RSS) after the first request, MiB"), ("peak_kib", "… at most, in all of this")):
        yield row(label, lambda one, name=name: table.mib(one[name]) if name in one else table.NOTHING)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("--servisor", "--probe", "--into"):
        parser.add_argument(name, required=True)
    parser.add_argument("--smoke", action="store_true", help="a little of it, of servisor alone")
    given = parser.parse_args()
    program, into = os.path.abspath(given.probe), os.path.abspath(given.into)
    rounds, size, seconds = (1, GIB // 64, 1) if given.smoke else (3, 2 * GIB, 5)
    machine.adopt()
    atexit.register(machine.end_all)
    os.makedirs(into, exist_ok=True)
    found = {}
    for kind in [Servisor] if given.smoke else [Direct, Servisor, Caddy, Node]:
        folder = tempfile.mkdtemp(prefix=f"proxy-{kind.name}-", dir=into)
        server = machine.free_port()
        if kind is not Servisor:
            machine.spawn([program, "web"], {**os.environ, "PORT": str(server)})
        try:
            found[kind.name] = measure(kind(folder, f"{into}/peers", os.path.abspath(given.servisor), server), program, rounds, size, seconds)
        except (RuntimeError, OSError, Unavailable) as why:
            if given.smoke:
                raise
            print(f"{kind.name}: skipped: {why}")
        machine.end_all()
        shutil.rmtree(folder)
    with open(f"{into}/proxy.json", "w", encoding="utf-8") as file:
        json.dump(found, file, indent=1)
    print(f"{table.machine_kind()}, load {machine.load_average()}; {rounds} bodies of {size // (1 << 20)} MiB, {seconds} s of small requests\n")
    print("\n".join(lines(found)))


if __name__ == "__main__":
    main()
