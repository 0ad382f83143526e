"""Results as one Markdown table.

Owns: labels, units and digits. Never: a measurement.
"""

import os
import platform

import machine

NOTHING = "–"


def machine_kind():
    gib = int(machine.read("/proc/meminfo").split()[1]) / (1 << 20)
    return f"{os.cpu_count()} cores, {gib:.0f} GiB, {platform.system()} {platform.machine()}"


def digits(value):
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def spread(one, scale=1.0):
    low, high = digits(one["min"] * scale), digits(one["max"] * scale)
    return f"{digits(one['median'] * scale)} ({low}–{high})"


def mib(kib):
    return digits(kib / 1024)


def lines():
    """The row that each line is made from, its label, and its text for one supervisor's result."""
    yield "size", "size, KiB; what else it needs", lambda one: f"{one['kib']:,.0f}; {one['needs']}"
    for count in ("0", "10", "100", "500"):
        yield ("memory", f"memory (PSS) with {count} idle servers, MiB",
               lambda one, count=count: mib(one[count]["Pss"]) if count in one else NOTHING)
    yield "cold", "exec to first answer of the API, ms", lambda one: spread(one["answers"])
    yield "cold", "exec to first instruction of the first server, ms", lambda one: spread(one["first"])
    yield "many", "exec to the last of 100 servers, ms", lambda one: spread(one["last"])
    yield ("many", "… found in the state directory, ms",
           lambda one: spread(one["again"]) if "again" in one else NOTHING)
    yield "many", "… processor time of the supervisor, ms", lambda one: spread(one["cpu_ms"])
    yield "crash", "crash to the next process, ms", spread
    yield "stop", "stop, request to confirmed, ms", lambda one: spread(one["obeys"])
    yield "stop", "kill timeout overshot by, ms", lambda one: spread(one["ignores"])
    yield "ready", "listen() to a waiting client's answer, ms", spread
    yield "logs", "logs, MB/s", lambda one: spread(one["mb_s"])
    yield "logs", "… CPU s/GiB", lambda one: spread(one["cpu_s_gib"])
    yield "logs", "… bytes lost unreported", lambda one: NOTHING if one["lost"] is None else f"{one['lost']:,}"
    yield "logs", "… memory growth, MiB", lambda one: spread(one["growth_kib"], 1 / 1024)
    yield "logs", "tail of 64 KiB by API, ms", lambda one: spread(one["tail"]) if one["tail"] else NOTHING
    for clients in ("1", "8", "64"):
        yield ("api", f"API, {clients} client{'s' if clients != '1' else ''}: requests/s; p99 ms; lost",
               lambda one, clients=clients: request_rate(one[clients]) if clients in one else NOTHING)
    yield "starved", "status with 4 busy processes a processor, 10 floods: median ms", lambda one: spread(one["p50_ms"])
    yield "starved", "… p99 ms", lambda one: spread(one["p99_ms"])
    yield ("starved", "… longest ms; answers; lost",
           lambda one: f"{digits(one['max_ms'])}; {one['answers']:,}; {one['lost']}")
    yield "idle", "idle, 100 servers: switches/min; CPU ms/min", lambda one: f"{one['switches']:.0f}; {one['cpu_ms']:.1f}"
    for key, label in (("pss_kib", "memory, MiB"), ("start_ms", "start, ms"), ("list_ms", "list, ms"),
                       ("stop_ms", "stop, ms")):
        yield ("growth", f"1 / 10 / 100 / 1,000 servers: {label}",
               lambda one, key=key: " / ".join(
                   mib(point[key]) if key == "pss_kib" else digits(point[key]) for point in one.values()))


def request_rate(one):
    starved = "" if one["least"] else ", some starved"
    return f"{spread(one['rps'])}; {digits(one['p99_us']['median'] / 1000)}; {one['lost']}{starved}"


def cell(of, one):
    if one is None:
        return NOTHING
    return "failed" if "failed" in one else of(one)


def floor_line(floors):
    spawn, restart = floors["spawn_us"][0] / 1000, floors["restart_us"][0] / 1000
    pipe = sorted(one["pipe_mb_s"] for one in floors["pipes"])
    return (f"Floors of this machine: spawn, exec and wait {spawn:.2f} ms; kill, wait, spawn to first instruction "
            f"{restart:.2f} ms; {spread(floors['many_ms'])} ms for a program that only spawns the 100, "
            f"{spread(floors['many_shell_ms'])} if it starts each by a shell; a bare reader of a "
            f"1 MiB pipe {pipe[len(pipe) // 2]:,} MB/s ({pipe[0]:,}–{pipe[-1]:,}).")


def load_line(loads):
    """Whether the machine was quiet: a load is of the last minute, and most of it is of the row before."""
    row = max(loads, key=loads.get)
    return f"Load average when a row began: {loads[row]:.1f} at most (before {row})."


def markdown(found, names):
    text = [f"{found['date']}, {found['machine']}; median (lowest–highest).", "", floor_line(found["floors"]), "",
            load_line(found["loads"]), "",
            f"| | {' | '.join(names)} |", f"|---|{'---|' * len(names)}"]
    for row, label, of in lines():
        if row in found["rows"]:
            cells = [cell(of, found["rows"][row][name]) for name in names]
            if any(text_of != NOTHING for text_of in cells):
                text.append(f"| {label} | {' | '.join(cells)} |")
    return "\n".join([*text, ""])
