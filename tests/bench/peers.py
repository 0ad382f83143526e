"""servisor's peers, each as a user would run it: with captured logs, restarts at once, one folder for everything.

Owns: each one's configuration, its start, and its requests. Never: a measurement, what all have in common
(`supervisors.py`), or how one gets onto this machine (`peers_install.py`).
"""

import json
import os
import re
import shutil
import socket
import sqlite3
import subprocess
from contextlib import closing
from xmlrpc.client import dumps

import machine
import wire
from supervisors import KILL_MS, Supervisor


# 64 KiB of the lines that `flood` writes.
TAIL_LINES = 655


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


class Pitchfork(Supervisor):
    """With its HTTP API and short intervals: by default it restarts what has crashed every 10 s, and looks every 500 ms
    whether a server is ready."""

    name, reports_ready = "pitchfork", True

    def binary(self):
        return f"{self.home}/bin/pitchfork"

    def size(self):
        return machine.size_of(self.binary())

    def configure(self, servers):
        self.servers, self.port = servers, machine.free_port()
        # Nothing of the caller's: neither settings nor directories, nor the home of a user of sudo.
        for name in [name for name in self.environment if name.startswith(("PITCHFORK_", "XDG_", "SUDO_"))]:
            del self.environment[name]
        self.environment.update(
            PITCHFORK_CONFIG_DIR=self.path("config"), PITCHFORK_STATE_DIR=self.path("state"), PITCHFORK_LOG="warn",
            PITCHFORK_SUPERVISOR_AUTO_START="false", TMPDIR=self.folder)
        self.write_settings([self.daemon(one) + "boot_start = true\n" for one in servers])

    def write_settings(self, daemons):
        self.write("config/config.toml", "".join([
            f"[settings.api]\nauto_start = true\nbind_port = {self.port}\nport_attempts = 1\n",
            '[settings.general]\ninterval = "100ms"\n[settings.supervisor]\nready_check_interval = "10ms"\n',
            *daemons]))

    def daemon(self, one):
        # It starts the line by a shell, which `exec` ends.
        return (f"[daemons.{one.slug}]\nrun = {json.dumps('exec ' + one.command)}\nretry = true\n"
                f'stop_signal = {{ signal = "SIGTERM", timeout = "{KILL_MS}ms" }}\n'
                + (f"port = {one.port}\nready_port = {one.port}\n" if one.port else ""))

    def argv(self):
        return [self.binary(), "supervisor", "run", "--boot"]

    def launch(self):
        # It looks for settings and for git's worktrees above its working directory, and would find ours.
        here = os.getcwd()
        os.chdir("/")
        try:
            return super().launch()
        finally:
            os.chdir(here)

    def request(self, method, path):
        return wire.request(method, f"/api/{path}")

    def answers(self):
        return wire.answers(self.port, self.request("GET", "stats"))

    def require_ok(self, answer):
        if not json.loads(answer)["ok"]:
            raise RuntimeError(f"pitchfork answered {answer[:200]!r}")
        return True

    def confirmed_stop(self, slug):
        return self.require_ok(self.asked(self.request("POST", f"daemons/global%2F{slug}/stop")))

    def run_until_ready(self, connection, server):
        self.write_settings([self.daemon(server)])
        self.require_ok(connection.ask(self.request("POST", f"daemons/global%2F{server.slug}/start"))[1])

    def status(self, slug):
        return self.request("GET", f"daemons/global%2F{slug}")

    def tail(self, slug):
        return self.request("GET", f"logs/global%2F{slug}/tail?lines={TAIL_LINES}")

    def read_tail(self, connection, text):
        # The tail is the beginning of a stream of lines, which takes a connection of its own. With `before_id` it would
        # be a whole answer, but that sorts the log first: 200 ms and more.
        with wire.Connection(self.port) as stream:
            return stream.ask_until(text, b"}\n", TAIL_LINES)

    def kept(self, slug):
        with closing(sqlite3.connect(f"file:{self.path('state', 'logs', 'logs.db')}?mode=ro", uri=True)) as store:
            return store.execute("SELECT IFNULL(SUM(LENGTH(CAST(message AS BLOB)) + 1), 0) FROM log_entries "
                                 "WHERE daemon_id = ?", (f"global/{slug}",)).fetchone()[0]


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


PEERS = [Supervisord, Pm2, SandboxAgent, Pitchfork, S6, Runit, Horust]
