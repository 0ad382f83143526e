"""The aarch64 binary under qemu's user mode emulation, through a basic life-cycle: `make test-aarch64`.

Owns: the emulator's installation below target/, and what a client does. Never: anything outside of its own folder. The
servers are the machine's own programs; what is emulated is the daemon.
"""

import ctypes
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

PR_SET_CHILD_SUBREAPER = 36
TOKEN = "a-token-for-the-test"
# An emulated daemon is some ten times slower.
LIMIT_S = 60


def emulator(into):
    """The installed one, or Debian's package, unpacked into a folder and not installed."""
    installed = shutil.which("qemu-aarch64-static") or shutil.which("qemu-aarch64")
    if installed:
        return installed
    binary = os.path.join(into, "usr/bin/qemu-aarch64-static")
    if not os.path.exists(binary):
        os.makedirs(into, exist_ok=True)
        get = ["apt-get", "download", "qemu-user-static"]
        if subprocess.run(get, cwd=into, capture_output=True, check=False).returncode != 0:
            subprocess.run(["apt-get", "update"], capture_output=True, check=True)
            subprocess.run(get, cwd=into, capture_output=True, check=True)
        for name in os.listdir(into):
            if name.endswith(".deb"):
                subprocess.run(["dpkg", "-x", name, "."], cwd=into, check=True)
                os.remove(os.path.join(into, name))
    return binary


class Api:
    def __init__(self, port):
        self.port = port

    def __call__(self, method, path, data=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=LIMIT_S)
        headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
        connection.request(method, path, json.dumps(data) if data else None, headers)
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        return answer.status, json.loads(text) if text else None


def until(what, meant):
    limit = time.monotonic() + LIMIT_S
    while time.monotonic() < limit:
        result = what()
        if result:
            return result
        time.sleep(0.05)
    raise AssertionError(f"not within {LIMIT_S} s: {meant}")


def is_alive(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as stat:
            return stat.read().rsplit(") ", 1)[1][0] != "Z"
    except OSError:
        return False


def life(api):
    def health():
        try:
            return api("GET", "/health")[0] == 200
        except OSError:
            return False
    until(health, "the daemon answers")
    spec = {"slug": "app", "start": "echo out; echo err >&2; exec sleep 1000", "restart_policy": "always",
            "restart_delay_ms": 0, "stop_timeout_ms": 5000}
    status, created = api("POST", "/servers", spec)
    assert status == 201, created

    def server():
        return api("GET", "/servers/app")[1]["data"]["server"]
    first = until(lambda: server() if server()["status"] == "running" else None, "it is running")["pid"]
    assert is_alive(first)
    until(lambda: set(api("GET", "/servers/app/logs")[1]["data"]["logs"].split()) == {"out", "err"}, "its output")

    os.kill(first, signal.SIGKILL)
    second = until(lambda: server().get("pid") if server().get("pid") != first else None, "it is back after a crash")
    assert server()["restart_count"] == 1, server()
    status, restarted = api("POST", "/servers/app/restart")
    third = restarted["data"]["server"]["pid"]
    assert status == 200 and third not in (first, second) and not is_alive(second), restarted

    status, stopped = api("POST", "/servers/app/stop")
    assert status == 200 and stopped["data"]["server"]["status"] == "stopped" and not is_alive(third), stopped
    assert api("DELETE", "/servers/app") == (204, None)
    assert api("GET", "/servers/app")[0] == 404

    # One that listens is found, and one that is left is stopped with the daemon.
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    listen = f"{sys.executable} -m http.server --bind 127.0.0.1 $PORT"
    status, created = api("POST", "/servers", {"slug": "web", "start": listen, "port": port})
    assert status == 201, created
    status, ready = api("GET", f"/servers/web?wait_for=ready&timeout_ms={LIMIT_S * 1000 // 2}")
    assert ready["data"]["server"]["status"] == "ready" and ready["data"]["server"]["port"] == port, ready
    return ready["data"]["server"]["pid"]


def main():
    binary, into = map(os.path.abspath, sys.argv[1:])
    qemu = emulator(into)
    folder = tempfile.mkdtemp(prefix="aarch64-")
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    argv = [qemu, binary, "serve", "--listen", f"127.0.0.1:{port}", "--root", folder, "--state-dir", f"{folder}/state"]
    # The emulator does not know of subreapers, but a process that becomes it stays what it was.
    subreaper = lambda: ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    with subprocess.Popen(argv, env={**os.environ, "SERVISOR_ACCESS_TOKEN": TOKEN}, stderr=subprocess.PIPE,
                          preexec_fn=subreaper) as daemon:
        try:
            last = life(Api(port))
            daemon.send_signal(signal.SIGTERM)
            assert daemon.wait(LIMIT_S) == 0, daemon.returncode
            assert not is_alive(last), last
        except BaseException:
            daemon.kill()
            print(daemon.stderr.read().decode(), file=sys.stderr)
            raise
    shutil.rmtree(folder)
    print("aarch64: started, read, crashed, restarted, stopped, deleted, found ready, ended")


if __name__ == "__main__":
    main()
