"""Runs schemathesis against a daemon of its own: run.py BINARY SECONDS"""

import os
import re
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
TOKEN = "schema-token"


def main(binary, seconds):
    with tempfile.TemporaryDirectory(prefix="servisor-schema-") as scratch:
        root = os.path.join(scratch, "root")
        for directory in ["sub", "template/node_modules/a", "template/src", "made"]:
            os.makedirs(os.path.join(root, directory))
        with open(os.path.join(root, "template/src/a.txt"), "w") as file:
            file.write("a\n")
        command = [binary, "serve", "--gateway", "--listen", "127.0.0.1:0", "--root", root]
        command += ["--state-dir", os.path.join(scratch, "state")]
        log = os.path.join(scratch, "log")
        with open(log, "w") as stderr:
            daemon = subprocess.Popen(command, stderr=stderr, env={**os.environ, "SERVISOR_ACCESS_TOKEN": TOKEN})
        try:
            address = wait_for_address(log, daemon)
            code = attack(address, root, scratch, seconds)
        finally:
            alive = daemon.poll() is None
            daemon.terminate()
            ended = daemon.wait(timeout=60)
        with open(log) as text:
            panics = [line for line in text if "panicked" in line or " error " in line]
    print(f"daemon: alive to the end: {alive}, exit code {ended}, errors in its log: {len(panics)}")
    print("".join(panics[:20]), end="")
    return code or (0 if alive and ended == 0 and not panics else 1)


def wait_for_address(log, daemon):
    while daemon.poll() is None:
        with open(log) as text:
            if found := re.search(r"listening on (http://\S+)", text.read()):
                return found[1]
    raise SystemExit("the daemon did not start")


def attack(address, root, scratch, seconds):
    checks = [
        "not_a_server_error", "status_code_conformance", "content_type_conformance", "response_schema_conformance",
        "response_headers_conformance", "unsupported_method", "allow_header_conformance", "ignored_auth",
        "status_is_documented",
    ]
    command = [
        os.path.join(os.path.dirname(sys.executable), "schemathesis"), "run", address + "/openapi.json", "--url", address,
        "--header", f"Authorization: Bearer {TOKEN}", "--checks", ",".join(checks), "--phases", "examples,coverage,fuzzing",
        "--max-examples", "60", "--max-time", seconds, "--request-timeout", "30", "--continue-on-failure", "--no-shrink",
        "--generation-database", "none", "--suppress-health-check", "all", "--warnings", "off", *sys.argv[3:],
    ]
    environment = {
        **os.environ, "PYTHONPATH": HERE, "SCHEMATHESIS_HOOKS": "hooks", "SCHEMA_ROOT": root, "PYTHONDONTWRITEBYTECODE": "1",
    }
    return subprocess.run(command, cwd=scratch, env=environment).returncode


if __name__ == "__main__":
    sys.exit(main(os.path.abspath(sys.argv[1]), sys.argv[2]))
