"""The npm packages, installed without a network, and their launcher: exit codes, signals, a terminal.

Owns: a project with the packages, and daemons of its own. Never: the registry, or the npm configuration of the user.
"""

import contextlib
import json
import os
import pty
import signal
import subprocess
import time

LIMIT_S = 60
# As Node.js before 22.15, which can't become another program.
OLD = "delete process.execve;\n"
# Asked to stop, it says so and takes its time: a daemon that gets a second signal kills it.
SLOW = "trap 'sleep 1; echo well >ended; exit 0' INT TERM; touch begun; while :; do sleep 0.1; done"


def until(fact, meant):
    limit = time.monotonic() + LIMIT_S
    while not fact():
        assert time.monotonic() < limit, f"not within {LIMIT_S} s: {meant}"
        time.sleep(0.05)


def install(dist, version, project):
    project.mkdir()
    (project / "package.json").write_text(json.dumps({"name": "project", "private": True}), encoding="utf-8")
    node = {"x86_64": "x64", "aarch64": "arm64"}[os.uname().machine]
    packages = [dist / f"servisor-{name}{version}.tgz" for name in [f"linux-{node}-", ""]]
    env = {**os.environ, "HOME": str(project), "npm_config_cache": str(project / "cache")}
    wrap = ["unshare", *([] if os.getuid() == 0 else ["--map-root-user"]), "--net"]
    command = [*wrap, "npm", "install", "--offline", "--no-audit", "--no-fund", *map(str, packages)]
    done = subprocess.run(command, cwd=project, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return project / "node_modules/.bin/servisor"


class Daemon:
    """`servisor serve` by the launcher, with one server that is slow to stop."""

    def __init__(self, servisor, folder, env, on_terminal=False):
        folder.mkdir()
        self.folder = folder
        self.env = {**env, "SERVISOR_STATE_DIR": str(folder / "state"), "HOME": str(folder)}
        command = [str(servisor), "serve", "--listen", f"unix:{folder}/socket", "--root", str(folder)]
        if on_terminal:
            self.pid, self.terminal = pty.fork()
            if self.pid == 0:
                os.execve(command[0], command, self.env)
        else:
            process = subprocess.Popen(command, env=self.env, stderr=subprocess.DEVNULL, start_new_session=True)
            self.pid, self.terminal = process.pid, None
        until((folder / "state/address").exists, "the daemon listens")
        subprocess.run([str(servisor), "run", "slow", "--no-wait", "--", SLOW], env=self.env, check=True, capture_output=True)
        until((folder / "begun").exists, "the server runs")

    def status(self):
        """How the launcher ends, as a negative number by a signal."""
        if self.terminal is not None:
            os.set_blocking(self.terminal, False)
        limit = time.monotonic() + LIMIT_S
        while True:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                return os.waitstatus_to_exitcode(status)
            # Who writes to a terminal that is not read waits.
            try:
                os.read(self.terminal, 65536) if self.terminal is not None else time.sleep(0.05)
            except OSError:
                time.sleep(0.05)
            assert time.monotonic() < limit, "the launcher does not end"

    def ended_well(self):
        return (self.folder / "ended").exists()


def below(pid):
    """The process and what descends from it."""
    children = []
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/children", encoding="ascii") as file:
            children += map(int, file.read().split())
    return [pid, *(one for child in children for one in below(child))]


def check(dist, version, project):
    servisor = install(dist, version, project)
    (project / "old.js").write_text(OLD, encoding="utf-8")
    for name, more in {"new": {}, "old": {"NODE_OPTIONS": f"--require={project}/old.js"}}.items():
        env = {**{key: value for key, value in os.environ.items() if not key.startswith("SERVISOR_")}, **more}

        def answer(*words):
            done = subprocess.run([str(servisor), *words], env=env, capture_output=True, text=True, check=False)
            return done.returncode, done.stdout
        assert answer("--version") == (0, f"servisor {version}\n")
        assert answer("no-such-command")[0] == 2
        assert answer("ps", "--address", f"unix:{project}/none")[0] == 3

        for number in [signal.SIGTERM, signal.SIGINT]:
            daemon = Daemon(servisor, project / f"{name}-{number.name}", env)
            os.kill(daemon.pid, number)
            assert daemon.status() == 0 and daemon.ended_well(), f"{name}: {number.name} is not passed"

        daemon = Daemon(servisor, project / f"{name}-terminal", env, on_terminal=True)
        os.write(daemon.terminal, b"\x03")
        assert daemon.status() == 0 and daemon.ended_well(), f"{name}: Ctrl-C came twice"

        # The daemon itself is killed: a launcher that is still there ends the same way.
        daemon = Daemon(servisor, project / f"{name}-killed", env)
        tree = below(daemon.pid)
        daemon_pid, = (pid for pid in tree if os.readlink(f"/proc/{pid}/exe").endswith("bin/servisor"))
        os.kill(daemon_pid, signal.SIGKILL)
        assert daemon.status() == -signal.SIGKILL, f"{name}: the death of the daemon is not passed"
        for pid in tree[tree.index(daemon_pid) + 1:]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
