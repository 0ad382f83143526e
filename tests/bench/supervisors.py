"""servisor and its peers, each as a user would run it: with captured logs, restarts at once, one folder for everything.

Owns: each one's configuration, its start, and its requests. Never: a measurement.

None for an answer means that this one has no such thing. Servers are run by absolute path, without a shell that stays.
"""

import json
import os
import re
import shlex
import shutil
import socket
import subprocess
from dataclasses import dataclass
from xmlrpc.client import dumps

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
    name = "servisor"
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

    def kept(self, slug):
        data = json.loads(self.asked(self.request("GET", f"/servers/{slug}/logs?stream=stdout")))["data"]
        return len(data["logs"].encode()) + data["dropped_bytes"]


class Supervisord(Supervisor):
    name, needs = "supervisord", "Python"

    def size(self):
        return sum(machine.size_of(os.path.join(place, package)) for place, names, _ in os.walk(self.home)
                   for package in names if re.match(r"supervisor(-.*)?$", package))

    def configure(self, servers):
        self.servers, self.port = servers, machine.free_port()
        os.makedirs(self.path("logs"))
        text = [f"[supervisord]\nnodaemon=true\nlogfile={self.path('log')}\npidfile={self.path('pid')}\n"
                f"childlogdir={self.path('logs')}\nminfds=8192\n[inet_http_server]\nport=127.0.0.1:{self.port}\n"
                "[rpcinterface:supervisor]\n"
                "supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface\n"]
        text += [f"[program:{one.slug}]\ncommand={one.command}\nautorestart=true\nstartsecs=0\nstopwaitsecs=1\n"
                 f"stdout_logfile={self.path('logs', one.slug)}\nstdout_logfile_maxbytes=0\n" for one in servers]
        self.write("conf", "".join(text))

    def argv(self):
        return [f"{self.home}/bin/python", "-W", "ignore", f"{self.home}/bin/supervisord", "-c", self.path("conf")]

    def request(self, method, *arguments):
        return wire.request("POST", "/RPC2", {"Content-Type": "text/xml"}, dumps(arguments, f"supervisor.{method}"))

    def answers(self):
        return wire.answers(self.port, self.request("getState"))

    def confirmed_stop(self, slug):
        self.asked(self.request("stopProcess", slug, True))
        return True

    def status(self, slug):
        return self.request("getProcessInfo", slug)

    def tail(self, slug):
        return self.request("readProcessStdoutLog", slug, -65536, 0)


class Pm2(Supervisor):
    name, needs = "pm2", "Node"

    def size(self):
        return machine.size_of(os.path.join(self.home, "node_modules"))

    def configure(self, servers):
        self.servers = servers
        os.makedirs(self.path("logs"))
        apps = [{"name": one.slug, "script": one.argv[0], "args": one.argv[1:], "interpreter": "none",
                 "kill_timeout": KILL_MS, "max_restarts": 1000000, "out_file": self.path("logs", one.slug),
                 "error_file": self.path("errors")} for one in servers]
        self.write("eco.config.js", f"module.exports = {json.dumps({'apps': apps})}")
        self.environment.update(PM2_HOME=self.path("home"), PM2_DISABLE_VERSION_CHECK="true")
        self.node, self.driver = shutil.which("node"), None

    def launch(self):
        begin = "start" if self.servers else "ping"
        begun, _ = machine.spawn(
            [self.node, f"{self.home}/node_modules/pm2/bin/pm2", begin, self.path("eco.config.js")],
            self.environment, self.path("output"))
        return begun

    def answers(self):
        try:
            with socket.socket(socket.AF_UNIX) as one:
                one.connect(self.path("home", "rpc.sock"))
        except OSError:
            return False
        self.root = int(machine.read(self.path("home", "pm2.pid")) or "0")
        return self.root

    def drive(self, *order):
        if self.driver is None:
            script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "pm2.js")
            self.driver = subprocess.Popen(
                [self.node, script, f"{self.home}/node_modules/pm2"], env=self.environment, stdin=subprocess.PIPE,
                stdout=subprocess.PIPE, text=True)
            self.driver.stdout.readline()
        self.driver.stdin.write(json.dumps(order) + "\n")
        self.driver.stdin.flush()
        return json.loads(self.driver.stdout.readline())

    def confirmed_stop(self, slug):
        return self.drive("stop", slug)

    def load(self, slug, clients, seconds):
        return self.drive("load", slug, clients, seconds)


class SandboxAgent(Supervisor):
    name = "sandbox-agent"

    def __init__(self, *places):
        super().__init__(*places)
        self.binary = next(os.path.join(place, "sandbox-agent") for place, _, names in os.walk(self.home)
                           if "sandbox-agent" in names and place.endswith("x64/bin"))
        os.chmod(self.binary, 0o755)

    def size(self):
        return machine.size_of(self.binary)

    def configure(self, servers):
        self.servers, self.port, self.ids = servers, machine.free_port(), {}

    def argv(self):
        return [self.binary, "server", "--no-token", "--no-telemetry", "--host", "127.0.0.1", "--port", str(self.port)]

    def request(self, method, path, data=None):
        headers = {"Content-Type": "application/json"} if data else {}
        return wire.request(method, path, headers, json.dumps(data) if data else "")

    def answers(self):
        return wire.answers(self.port, self.request("GET", "/v1/processes"))

    def after_launch(self):
        with wire.Connection(self.port) as connection:
            if len(self.servers) > 60:
                config = json.loads(connection.ask(self.request("GET", "/v1/processes/config"))[1])
                connection.ask(self.request(
                    "POST", "/v1/processes/config", {**config, "maxConcurrentProcesses": len(self.servers) + 10}))
            for one in self.servers:
                status, body = connection.ask(self.request(
                    "POST", "/v1/processes", {"command": one.argv[0], "args": one.argv[1:]}))
                if status >= 300:
                    raise RuntimeError(f"sandbox-agent answered {status}: {body[:200]!r}")
                self.ids[one.slug] = json.loads(body)["id"]

    def confirmed_stop(self, slug):
        # It never sends SIGKILL by itself: that is a second request.
        path = f"/v1/processes/{self.ids[slug]}"
        reported = self.asked(self.request("POST", f"{path}/stop?waitMs={KILL_MS}"))
        if json.loads(reported)["status"] == "running":
            self.asked(self.request("POST", f"{path}/kill?waitMs=5000"))
        return True

    def status(self, slug):
        return self.request("GET", f"/v1/processes/{self.ids[slug]}")

    def tail(self, slug):
        return self.request("GET", f"/v1/processes/{self.ids[slug]}/logs?tail=8")

    def kept(self, slug):
        return None


class Tree(Supervisor):
    """Folders of scripts: runit and s6."""

    def configure(self, servers):
        self.servers = servers
        os.makedirs(self.path("scan"))
        for one in servers:
            self.write(f"scan/{one.slug}/run", f"#!/bin/sh\nexec 2>&1\nexec {one.command}\n", 0o700)
            os.makedirs(self.path("logs", one.slug))
            self.write(f"scan/{one.slug}/log/run", f"#!/bin/sh\nexec {self.logger(one.slug)}\n", 0o700)
            self.extras(one.slug)
        # In a folder that was changed this very second runsvdir first waits for the next one.
        os.utime(self.path("scan"), (1, 1))

    def answers(self):
        if not self.servers:
            return True
        try:
            os.close(os.open(self.path("scan", self.servers[0].slug, "supervise", "control"),
                             os.O_WRONLY | os.O_NONBLOCK))
        except OSError:
            return False
        return True

    def extras(self, slug):
        pass

    def tool(self, name):
        return f"{self.home}/usr/bin/{name}"

    def kept(self, slug):
        folder = self.path("logs", slug)
        return sum(machine.size_of(os.path.join(folder, name)) for name in os.listdir(folder)
                   if name == "current" or name.startswith("@"))


class Runit(Tree):
    name = "runit"

    def size(self):
        return machine.size_of(*(self.tool(name) for name in ("runsvdir", "runsv", "sv", "svlogd")))

    def logger(self, slug):
        self.write(f"logs/{slug}/config", "s0\nn0\n")
        return f"{self.tool('svlogd')} {self.path('logs', slug)}"

    def argv(self):
        self.environment["PATH"] = f"{self.home}/usr/bin:{os.environ['PATH']}"
        return [self.tool("runsvdir"), self.path("scan")]

    def confirmed_stop(self, slug):
        # It waits for a second, kills and says so; that the server is gone is a second request's answer then.
        self.run([self.tool("sv"), "-w", "1", "force-stop", self.path("scan", slug)], (0, 1))
        self.run([self.tool("sv"), "-w", "7", "stop", self.path("scan", slug)])
        return True


class S6(Tree):
    name = "s6"

    def libraries(self):
        return next(place for place, _, names in os.walk(self.home) if any(one.startswith("libs6.so") for one in names))

    def size(self):
        tools = ("s6-svscan", "s6-supervise", "s6-svc", "s6-svlisten1", "s6-log", "s6-ftrigrd")
        return machine.size_of(*(self.tool(name) for name in tools), self.libraries())

    def logger(self, slug):
        return f"{self.tool('s6-log')} n1000 s268435455 {self.path('logs', slug)}"

    def configure(self, servers):
        super().configure(servers)
        # See the installation.
        os.symlink(f"{self.home}/usr/bin", self.path("scan", ".s6--bin"))

    def extras(self, slug):
        self.write(f"scan/{slug}/timeout-kill", str(KILL_MS))

    def argv(self):
        self.environment.update(PATH=f"{self.home}/usr/bin:{os.environ['PATH']}", LD_LIBRARY_PATH=self.libraries())
        return [self.tool("s6-svscan"), "-c", str(2 * len(self.servers) + 10), self.path("scan")]

    def confirmed_stop(self, slug):
        self.run([self.tool("s6-svc"), "-wD", "-T", "10000", "-d", self.path("scan", slug)])
        return True


class Horust(Supervisor):
    name = "horust"

    def size(self):
        return machine.size_of(f"{self.home}/bin")

    def configure(self, servers):
        self.servers = servers
        os.makedirs(self.path("logs"))
        os.makedirs(self.path("uds"))
        os.makedirs(self.path("services"))
        for one in servers:
            log = self.path("logs", one.slug)
            self.write(f"services/{one.slug}.toml", f'command = "{one.command}"\nstdout = "{log}"\n'
                       'stdout-rotate-size = "100GB"\n[restart]\nstrategy = "always"\nbackoff = "0s"\n'
                       'attempts = 1000000\n[termination]\nsignal = "TERM"\nwait = "1s"\n')

    def argv(self):
        return [f"{self.home}/bin/horust", "--services-path", self.path("services"),
                "--uds-folder-path", self.path("uds")]

    def answers(self):
        for name in os.listdir(self.path("uds")):
            try:
                with socket.socket(socket.AF_UNIX) as one:
                    one.connect(self.path("uds", name))
                return True
            except OSError:
                pass
        return False


PEERS = [Supervisord, Pm2, SandboxAgent, S6, Runit, Horust]
