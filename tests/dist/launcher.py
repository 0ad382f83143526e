"""The npm packages, installed without a network, and their launcher: exit codes, signals, a terminal.

Owns: a project with the packages, and daemons of its own. Never: the registry, or the npm configuration of the user.
"""

import contextlib
import json
import os
import pathlib
import pty
import signal
import subprocess
import time

LIMIT_S = 60
# As Node.js before 22.15, which can't become another program.
OLD = "delete process.execve;\n"
# In the place of the binary: it writes down each signal that it gets, and ends after a last one.
SIGNALS = ["HUP", "INT", "PWR", "QUIT", "USR1", "USR2", "TERM"]
WRITER = "".join(["#!/bin/sh\n", *(f"trap 'echo {name} >>got' {name}\n" for name in SIGNALS),
                  "touch begun; until grep -q TERM got 2>/dev/null; do sleep 0.05; done; exit 7\n"])
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


def check_errors(launch, binary, spawns):
    """One sentence when there is no program that can run. The binary is put back."""
    kept = binary.with_name("kept")
    binary.rename(kept)
    # A program that may run, and whose interpreter is missing; execve() of Node.js aborts with an error of its own then.
    cases = {None: "is not installed", 0o644: "EACCES", **({0o755: "ENOENT"} if spawns else {})}
    for mode, reason in cases.items():
        if mode is not None:
            binary.write_text("#!/nowhere\n", encoding="utf-8")
            binary.chmod(mode)
        done = launch("--version")
        lines = done.stderr.splitlines()
        assert done.returncode == 1 and len(lines) == 1 and lines[0].startswith("servisor: ") and reason in lines[0], done
    kept.replace(binary)


def check_signals(servisor, binary, folder, env):
    """Each signal arrives, once; what ends the program is the launcher's end too."""
    kept = binary.with_name("kept")
    binary.rename(kept)
    binary.write_text(WRITER, encoding="utf-8")
    binary.chmod(0o755)
    folder.mkdir()
    process = subprocess.Popen([str(servisor)], cwd=folder, env=env, start_new_session=True)
    until((folder / "begun").exists, "the program runs")
    got = folder / "got"
    try:
        for count, name in enumerate(SIGNALS, 1):
            process.send_signal(getattr(signal, f"SIG{name}"))
            until(lambda: got.exists() and len(got.read_text().split()) >= count, f"SIG{name} arrives")
        status = process.wait(LIMIT_S)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    assert (status, got.read_text().split()) == (7, SIGNALS), (status, got.read_text())
    kept.replace(binary)


def check(dist, version, node, project):
    servisor = install(dist, version, project)
    binary, = project.glob("node_modules/servisor-linux-*/bin/servisor")
    (project / "old.js").write_text(OLD, encoding="utf-8")
    # npm's command asks the PATH for Node.js.
    modes = {"new": {"PATH": f"{pathlib.Path(node).parent}:{os.environ['PATH']}"}, "old": {"NODE_OPTIONS": f"--require={project}/old.js"}}
    for name, more in modes.items():
        env = {**{key: value for key, value in os.environ.items() if not key.startswith("SERVISOR_")}, **more}
        kind = subprocess.run(["node", "-p", "typeof process.execve"], env=env, capture_output=True, text=True, check=True).stdout.strip()
        assert kind == {"new": "function", "old": "undefined"}[name], f"{name}: process.execve is {kind}"

        def launch(*words):
            return subprocess.run([str(servisor), *words], env=env, capture_output=True, text=True, check=False)

        def answer(*words):
            done = launch(*words)
            return done.returncode, done.stdout
        assert answer("--version") == (0, f"servisor {version}\n")
        assert answer("no-such-command")[0] == 2
        assert answer("ps", "--address", f"unix:{project}/none")[0] == 3
        check_errors(launch, binary, spawns=name == "old")
        check_signals(servisor, binary, project / f"{name}-signals", env)

        for number in [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGPWR]:
            daemon = Daemon(servisor, project / f"{name}-{number.name}", env)
            # These are for the log only; without a listener the first two end Node.js.
            for ignored in [signal.SIGHUP, signal.SIGUSR2, signal.SIGUSR1]:
                os.kill(daemon.pid, ignored)
            os.kill(daemon.pid, number)
            assert daemon.status() == 0 and daemon.ended_well(), f"{name}: {number.name} is not passed"

        for key, typed in {"C": b"\x03", "backslash": b"\x1c"}.items():
            daemon = Daemon(servisor, project / f"{name}-terminal-{key}", env, on_terminal=True)
            os.write(daemon.terminal, typed)
            assert daemon.status() == 0 and daemon.ended_well(), f"{name}: Ctrl-{key} came twice"

        # The daemon itself is killed: a launcher that is still there ends the same way.
        daemon = Daemon(servisor, project / f"{name}-killed", env)
        tree = below(daemon.pid)
        daemon_pid, = (pid for pid in tree if os.readlink(f"/proc/{pid}/exe").endswith("bin/servisor"))
        os.kill(daemon_pid, signal.SIGKILL)
        assert daemon.status() == -signal.SIGKILL, f"{name}: the death of the daemon is not passed"
        for pid in tree[tree.index(daemon_pid) + 1:]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
