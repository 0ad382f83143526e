"""servisor and its peers side by side, measured in one run on one machine: `make bench`.

Owns: what is run in which order, what is kept (JSON), what is printed. Never: how something is measured (`rows.py`) or
run (`supervisors.py`, `peers.py`).

Everything is below one folder, on loopback, bounded in count and time, and ends only processes that it started.
"""

import argparse
import atexit
import datetime
import json
import os
import shutil
import signal
import sys
import time

import machine
import rows
import table
from peers import PEERS
from peers_install import Unavailable, install
from supervisors import Servisor

# Others at work on this machine make times longer. For so long, in all, is waited for them to end.
QUIET_LOAD, PATIENCE_S = 1.5, 120


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--servisor", required=True)
    parser.add_argument("--probe", required=True)
    parser.add_argument("--into", required=True)
    parser.add_argument("--rows", default="")
    parser.add_argument("--peers", default="")
    parser.add_argument("--smoke", action="store_true", help="a little of every row; alone, unless peers are named")
    return parser.parse_args()


def picked(text, known, what):
    names = [name for name in text.split(",") if name]
    unknown = [name for name in names if name not in known]
    if unknown:
        sys.exit(f"bench: {unknown[0]} is no {what}; there are: {', '.join(known)}")
    return names or list(known)


def quiet(found):
    """Waits for the machine to be idle, as long as there is patience left, and says how it is."""
    while machine.load_average() > QUIET_LOAD and found["waited_s"] < PATIENCE_S:
        time.sleep(2)
        found["waited_s"] += 2
    return machine.load_average()


def measured(bench, name, kind):
    begun = time.monotonic()
    try:
        result = rows.ROWS[name](bench, kind)
    except (RuntimeError, OSError, ValueError, StopIteration) as error:
        print(f"bench: {name} of {kind.name} failed: {error}", file=sys.stderr)
        result = {"failed": str(error)}
    finally:
        shutil.rmtree(os.path.join(bench.into, "run"), ignore_errors=True)
    print(f"  {name:7} {kind.name:14} {time.monotonic() - begun:5.1f} s", file=sys.stderr)
    return result


def main():
    options = arguments()
    into = os.path.abspath(options.into)
    wanted_rows = picked(options.rows, list(rows.ROWS), "row")
    alone = options.smoke and not options.peers
    wanted_peers = [] if alone else picked(options.peers, [kind.name for kind in PEERS], "peer")
    machine.adopt()
    # However it ends, nothing that it started is left.
    atexit.register(machine.end_all)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("bench: ended"))
    homes, kinds = {Servisor.name: os.path.abspath(options.servisor)}, [Servisor]
    for kind in PEERS:
        if kind.name in wanted_peers:
            try:
                homes[kind.name] = install(kind.name, os.path.join(into, "peers"))
                kinds.append(kind)
            except Unavailable as why:
                print(f"bench: {kind.name} is skipped: {why}")
    bench = rows.Bench(into, homes, os.path.abspath(options.probe), options.smoke)
    shutil.rmtree(os.path.join(into, "run"), ignore_errors=True)
    found = {"date": datetime.date.today().isoformat(), "machine": table.machine_kind(), "loads": {}, "rows": {},
             "waited_s": PATIENCE_S if options.smoke else 0}
    found["loads"]["floors"] = quiet(found)
    found["floors"] = rows.floors(bench)
    file = os.path.join(into, "smoke.json" if options.smoke else time.strftime("results-%Y%m%d-%H%M%S.json"))
    for name in wanted_rows:
        # Row by row, so that what is compared is measured close together.
        found["loads"][name] = quiet(found)
        found["rows"][name] = {kind.name: measured(bench, name, kind) for kind in kinds}
        with open(file, "w", encoding="utf-8") as out:
            json.dump(found, out, indent=1)
    print(table.markdown(found, [kind.name for kind in kinds]))
    print(f"raw results: {os.path.relpath(file)}")
    failed = [f"{name} of {kind}" for name, row in found["rows"].items() for kind, one in row.items()
              if one and "failed" in one]
    if failed:
        sys.exit(f"bench: not measured: {', '.join(failed)}")


if __name__ == "__main__":
    main()
