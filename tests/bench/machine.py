"""Processes and what the kernel knows of them.

Owns: spawning, the end of everything that was spawned, memory, time and switches from /proc. Never: whose process it is.
"""

import ctypes
import os
import signal
import socket
import time

PR_SET_CHILD_SUBREAPER = 36
TICK = 1 / os.sysconf("SC_CLK_TCK")


def adopt():
    """Whatever leaves its parent becomes our child: so everything that we started can be found and ended."""
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError("can't become a subreaper")


def now():
    return time.monotonic_ns()


def wait_for(what, seconds=20.0, pause=0.0005):
    """The first result of `what` that is true, and None when there is none in time."""
    limit = time.monotonic() + seconds
    while True:
        result = what()
        if result or time.monotonic() > limit:
            return result or None
        time.sleep(pause)


def spawn(argv, environment=None, output="/dev/null"):
    """Starts a program in the quickest way there is; gives the time just before, and its pid."""
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, output, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
        (os.POSIX_SPAWN_DUP2, 1, 2),
    ]
    environment = dict(os.environ if environment is None else environment)
    begun = now()
    return begun, os.posix_spawn(argv[0], argv, environment, file_actions=actions)


def read(path):
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def parents():
    found = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            stat = read(f"/proc/{entry}/stat")
            if stat:
                found[int(entry)] = int(stat.rsplit(") ", 1)[1].split()[1])
    return found


def tree(root):
    """`root` and all who descend from it."""
    children = {}
    for pid, parent in parents().items():
        children.setdefault(parent, []).append(pid)
    found, queue = [], [root]
    while queue:
        pid = queue.pop()
        found.append(pid)
        queue += children.get(pid, [])
    return found


def reap():
    try:
        while os.waitpid(-1, os.WNOHANG)[0] != 0:
            pass
    except ChildProcessError:
        pass


def end_all():
    """Ends every process that descends from this one, and no other."""
    limit = time.monotonic() + 20
    while time.monotonic() < limit:
        reap()
        rest = tree(os.getpid())[1:]
        if not rest:
            return
        for pid in rest:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        time.sleep(0.02)
    raise RuntimeError(f"these can't be ended: {rest}")


def program(pid):
    return read(f"/proc/{pid}/cmdline").split("\0")[0]


def memory(pids):
    """PSS, RSS and anonymous memory of all of them, in KiB."""
    total = {"Pss": 0, "Rss": 0, "Anonymous": 0}
    for pid in pids:
        for line in read(f"/proc/{pid}/smaps_rollup").splitlines():
            name = line.split(":")[0]
            if name in total:
                total[name] += int(line.split()[1])
    return total


def accounts(pids):
    """Seconds on a processor, and context switches, of all their threads."""
    nanos = switches = 0
    for pid in pids:
        try:
            tasks = os.listdir(f"/proc/{pid}/task")
        except OSError:
            continue
        for task in tasks:
            here = f"/proc/{pid}/task/{task}"
            nanos += int((read(f"{here}/schedstat") or "0").split()[0])
            for line in read(f"{here}/status").splitlines():
                if "voluntary_ctxt_switches" in line:
                    switches += int(line.split()[1])
    return nanos / 1e9, switches


def used_ever(pid):
    """Seconds of the process and of those of its children that have ended and been waited for."""
    stat = read(f"/proc/{pid}/stat")
    return sum(int(field) for field in stat.rsplit(") ", 1)[1].split()[11:15]) * TICK if stat else 0.0


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def size_of(*paths):
    """Apparent bytes of files, and of all files below directories; a name that is linked twice counts once."""
    seen, total = set(), 0
    for path in paths:
        files = [path] if not os.path.isdir(path) else (
            os.path.join(folder, name) for folder, _, names in os.walk(path) for name in names)
        for file in files:
            status = os.lstat(file)
            if (status.st_dev, status.st_ino) not in seen:
                seen.add((status.st_dev, status.st_ino))
                total += status.st_size
    return total


def load_average():
    return float(read("/proc/loadavg").split()[0])
