"""What a supervisor is to a measurement, and servisor itself; its peers are in `peers.py`.

Owns: one life in a folder of its own, and servisor's configuration, start and requests. Never: a measurement.

None for an answer means that this one has no such thing. Servers are run by absolute path, without a shell that stays.
"""

import json
import os
import shlex
import subprocess
from dataclasses import dataclass

import machine
import wire

SLEEP = "/bin/sleep"
TOKEN = "a-token-for-the-benchmark"
KILL_MS = 1000


@dataclass
class Server:
    slug: str
    argv: list
    port: int = 0

    @property
    def command(self):
        return shlex.join(self.argv)


class Supervisor:
    """One life of a supervisor in a folder of its own."""

    name = ""
    needs = "nothing"
    # Whether it has a request that is answered when a server listens.
    reports_ready = False

    def __init__(self, home, folder, probe):
        self.home, self.folder, self.probe = home, folder, probe
        self.environment = dict(os.environ, HOME=folder)
        self.root, self.servers, self.port = 0, [], 0
        os.makedirs(folder)

    def path(self, *parts):
        return os.path.join(self.folder, *parts)

    def write(self, name, text, mode=0o600):
        os.makedirs(os.path.dirname(self.path(name)), exist_ok=True)
        with open(self.path(name), "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(self.path(name), mode)

    def launch(self):
        """Starts it; gives the time just before."""
        begun, self.root = machine.spawn(self.argv(), self.environment, self.path("output"))
        return begun

    def after_launch(self):
        """What has to be said to it once it answers."""

    def own(self):
        """Its processes, without the servers'."""
        servers = (SLEEP, self.probe)
        return [pid for pid in machine.tree(self.root) if machine.program(pid) not in servers]

    def used(self):
        """All its processor time so far, helpers that have ended included; without the servers'."""
        return machine.accounts(self.own())[0]

    def kept(self, slug):
        """Bytes of the server's output that it has or has counted as dropped."""
        return machine.size_of(self.path("logs", slug))

    def confirmed_stop(self, slug):
        return None

    def status(self, slug):
        return None

    def tail(self, slug):
        return None

    def read_tail(self, connection, text):
        """Status and body of the request `text` for a tail."""
        return connection.ask(text)

    def run_until_ready(self, connection, server):
        """Starts one more server and waits until it listens; only for one that `reports_ready`."""
        raise NotImplementedError

    def run(self, argv, allowed=(0,)):
        done = subprocess.run(argv, env=self.environment, cwd=self.path("scan"), stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=60, check=False)
        if done.returncode not in allowed:
            raise RuntimeError(f"{argv[0]} ended with {done.returncode}: {(done.stdout + done.stderr)[-300:]}")

    def asked(self, text):
        status, body = wire.ask(self.port, text)
        if status >= 300:
            raise RuntimeError(f"{self.name} answered {status}: {body[:300]!r}")
        return body


class Servisor(Supervisor):
    name, reports_ready = "servisor", True
    authorized = {"Authorization": f"Bearer {TOKEN}"}

    def size(self):
        return machine.size_of(self.home)

    def configure(self, servers):
        self.servers, self.port = servers, machine.free_port()
        specs = [{"slug": one.slug, "start": one.command, "restart_policy": "always", "restart_delay_ms": 0,
                  "stop_timeout_ms": KILL_MS, **({"port": one.port} if one.port else {})} for one in servers]
        self.write("setup.json", json.dumps({"overlays": [], "servers": specs}))
        self.environment["SERVISOR_ACCESS_TOKEN"] = TOKEN

    def argv(self):
        return [self.home, "serve", "--listen", f"127.0.0.1:{self.port}", "--root", self.folder,
                "--state-dir", self.path("state"), "--setup", self.path("setup.json"), "--log-level", "warn"]

    def request(self, method, path):
        return wire.request(method, path, self.authorized)

    def answers(self):
        return wire.answers(self.port, self.request("GET", "/servers"))

    def confirmed_stop(self, slug):
        self.asked(self.request("POST", f"/servers/{slug}/stop"))
        return True

    def status(self, slug):
        return self.request("GET", f"/servers/{slug}")

    def tail(self, slug):
        return self.request("GET", f"/servers/{slug}/logs?stream=stdout&tail=655")

    def run_until_ready(self, connection, server):
        spec = {"slug": server.slug, "start": server.command, "port": server.port}
        connection.ask(wire.request(
            "POST", "/servers", {**self.authorized, "Content-Type": "application/json"}, json.dumps(spec)))
        connection.ask(self.request("GET", f"/servers/{server.slug}?wait_for=ready&timeout_ms=20000"))

    def kept(self, slug):
        data = json.loads(self.asked(self.request("GET", f"/servers/{slug}/logs?stream=stdout")))["data"]
        return len(data["logs"].encode()) + data["dropped_bytes"]
