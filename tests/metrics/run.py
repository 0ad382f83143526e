"""Reads /metrics by the parser of the Prometheus client, of a daemon with all kinds of servers: run.py BINARY"""

import json
import os
import re
import subprocess
import sys
import tempfile
import time
import urllib.request

from prometheus_client.parser import text_string_to_metric_families

TOKEN = "metrics-token"
LIMIT = 60
# The longest slug there is, one of a single character, and those that look like numbers or words of the format.
SLUGS = ["a", "0", "1e9", "nan", "inf", "help", "a-b-c", "x" * 63]


def main(binary):
    with tempfile.TemporaryDirectory(prefix="servisor-metrics-") as scratch:
        root = os.path.join(scratch, "root")
        os.makedirs(root)
        command = [binary, "serve", "--listen", "127.0.0.1:0", "--root", root]
        command += ["--state-dir", os.path.join(scratch, "state")]
        log = os.path.join(scratch, "log")
        with open(log, "w") as stderr:
            daemon = subprocess.Popen(command, stderr=stderr, env={**os.environ, "SERVISOR_ACCESS_TOKEN": TOKEN})
        try:
            client = Client(wait_for_address(log, daemon))
            check(client)
        finally:
            daemon.terminate()
            ended = daemon.wait(timeout=LIMIT)
    assert ended == 0, f"the daemon ended with code {ended}"


class Client:
    def __init__(self, address):
        self.address = address

    def ask(self, method, path, body=None):
        head = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.address + path, data, head, method=method)
        with urllib.request.urlopen(request, timeout=LIMIT) as answer:
            return answer.headers, answer.read().decode()

    def scrape(self):
        """All samples as (name, labels) to value, and the families by name."""
        head, text = self.ask("GET", "/metrics")
        assert head["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8", head["Content-Type"]
        assert text.endswith("\n")
        families, samples = {}, {}
        for family in text_string_to_metric_families(text):
            assert family.name not in families, f"{family.name} comes twice"
            assert family.documentation and family.type in ("gauge", "counter"), vars(family)
            families[family.name] = family
            for sample in family.samples:
                key = (sample.name, tuple(sorted(sample.labels.items())))
                assert key not in samples, f"{key} comes twice"
                assert sample.value == sample.value and sample.value >= 0, sample
                # A counter loses its suffix in the parser's name of the family.
                assert sample.name == family.name + ("_total" if family.type == "counter" else ""), sample
                samples[key] = sample.value
        # What the parser does not understand it may leave out: each line is a sample.
        lines = [line for line in text.splitlines() if not line.startswith("#")]
        assert len(lines) == len(samples), (len(lines), len(samples))
        return families, samples


def check(client):
    families, samples = client.scrape()
    empty = len(samples)
    for number, slug in enumerate(SLUGS):
        spec = {"slug": slug, "start": "echo out; echo err >&2; exec sleep 600"}
        if number == 1:
            spec |= {"start": "exit 3", "restart_policy": "always", "restart_delay_ms": 20}
        if number == 2:
            spec |= {"start": "python3 -m http.server --bind 127.0.0.1 $PORT", "health_check": {"interval_ms": 50}}
        if number == 3:
            spec |= {"start": "kill -9 $$"}
        client.ask("POST", "/servers", spec)
    slug = SLUGS[1]
    exits = ("servisor_server_exits_total", (("reason", "exit"), ("slug", slug)))
    restarts = ("servisor_server_restarts_total", (("slug", slug),))
    healthy = ("servisor_server_healthy", (("slug", SLUGS[2]),))
    goals = {exits: 20, restarts: 20, healthy: 1}
    scrapes, deadline = 0, time.monotonic() + LIMIT
    before = {}
    while any(samples.get(key, 0) < goal for key, goal in goals.items()):
        assert time.monotonic() < deadline, {key: samples.get(key) for key in goals}
        for slug in [SLUGS[0]] + ([SLUGS[2]] if scrapes < 3 else []):
            client.ask("POST", f"/servers/{slug}/restart")
        families, samples = client.scrape()
        scrapes += 1
        for (name, labels), value in before.items():
            if name.endswith("_total"):
                assert samples.get((name, labels), -1) >= value, f"{name} {labels} went back from {value}"
        before = samples
    signal = ("servisor_server_exits_total", (("reason", "signal"), ("slug", SLUGS[3])))
    assert samples[signal] == 1, "the end by a signal was counted once"
    for name in ["servers", "server_status", "server_start_time_seconds", "server_cpu_seconds", "server_memory_bytes",
                 "server_processes", "server_log_bytes", "server_health_check_seconds", "api_connections"]:
        assert families[f"servisor_{name}"].samples, f"no sample of {name}"
    slugs = {dict(labels).get("slug") for _, labels in samples} - {None}
    assert slugs == set(SLUGS), slugs
    for slug in SLUGS:
        client.ask("DELETE", f"/servers/{slug}")
    after = client.scrape()[1]
    assert len(after) == empty, "nothing is left of a server that was deleted"
    print(f"{len(families)} families, {len(before)} samples, {scrapes} scrapes of {len(SLUGS)} servers: all accepted")


def wait_for_address(log, daemon):
    while daemon.poll() is None:
        with open(log) as text:
            if found := re.search(r"listening on (http://\S+)", text.read()):
                return found[1]
        time.sleep(0.02)
    raise SystemExit("the daemon did not start")


if __name__ == "__main__":
    main(*sys.argv[1:])
