"""Brings the peers into target/bench/peers, from the usual registries by their usual clients.

Owns: where each peer's files are, and how it is installed. Never: running one, installing anything into the system.
"""

import os
import shutil
import subprocess
import sys

VERSIONS = {"supervisor": "4.3.0", "pm2": "7.0.4", "sandbox-agent": "0.4.2", "horust": "0.1.14",
            "pitchfork-cli": "2.22.0", "http-proxy": "1.18.1"}
# pitchfork took 16 minutes on two processors that others used too.
PATIENCE_S, BUILD_PATIENCE_S = 900, 3600
# The system has these already, if it has anything.
SYSTEM = {"libc6"}


class Unavailable(Exception):
    """One line: why this peer can't be installed here."""


def quietly(command, timeout=PATIENCE_S, **options):
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=timeout,
        check=False, **options)
    if done.returncode != 0:
        last = (done.stdout.strip().splitlines() or ["no message"])[-1]
        raise Unavailable(f"{' '.join(command[:3])} ended with {done.returncode}: {last}")


def needs(*tools):
    for tool in tools:
        if shutil.which(tool) is None:
            raise Unavailable(f"it takes {tool} to install it")


def supervisord(home):
    needs("python3")
    quietly([sys.executable, "-m", "venv", home])
    quietly([f"{home}/bin/pip", "install", "-q", f"supervisor=={VERSIONS['supervisor']}", "setuptools<81"])


def npm(package):
    def install(home):
        needs("node", "npm")
        os.makedirs(home, exist_ok=True)
        quietly(["npm", "install", "--no-audit", "--no-fund", "--prefix", home, f"{package}@{VERSIONS[package]}"])
    return install


def with_libraries(package):
    """Its own libraries have the version in their names, which is another one in each Debian."""
    reported = subprocess.run(["apt-cache", "depends", package], capture_output=True, text=True, timeout=60, check=False)
    depends = [line.split()[1] for line in reported.stdout.splitlines() if line.startswith("  Depends: lib")]
    return [package, *(name for name in depends if name not in SYSTEM)]


def debian(name):
    def install(home):
        needs("apt-get", "dpkg")
        os.makedirs(home, exist_ok=True)
        try:
            quietly(["apt-get", "download", *with_libraries(name)], cwd=home)
        except Unavailable:
            # Without lists nothing is found.
            quietly(["apt-get", "update"])
            quietly(["apt-get", "download", *with_libraries(name)], cwd=home)
        for file in os.listdir(home):
            if file.endswith(".deb"):
                quietly(["dpkg", "-x", f"{home}/{file}", home])
                os.remove(f"{home}/{file}")
    return install


# s6's programs run each other by these names; ours are not there, but where the working directory says. As long as
# the other, so that it can take its place in the files.
S6_BUILT_IN, S6_PLACE = b"/usr/bin/s6-", b".s6--bin/s6-"


def s6(home):
    debian("s6")(home)
    for place, _, names in os.walk(home):
        for file in (os.path.join(place, name) for name in names):
            if os.path.isfile(file) and not os.path.islink(file):
                with open(file, "rb") as program:
                    text = program.read()
                if S6_BUILT_IN in text:
                    with open(file, "wb") as program:
                        program.write(text.replace(S6_BUILT_IN, S6_PLACE))
            if os.path.basename(file).startswith("libs6.so"):
                libraries = place
    # This one is run without any environment, so it needs to know again where the libraries are.
    real, named = f"{home}/usr/bin/s6-ftrigrd.real", f"{home}/usr/bin/s6-ftrigrd"
    os.rename(named, real)
    with open(named, "w", encoding="utf-8") as script:
        script.write(f"#!/bin/sh\nLD_LIBRARY_PATH={libraries} exec {real}\n")
    os.chmod(named, 0o755)


def cargo(crate):
    def install(home):
        needs("cargo")
        # Its build does not belong to ours: neither our flags nor our lock.
        quietly(["nice", "cargo", "install", crate, "--version", VERSIONS[crate], "--locked", "--root", home,
                 "--target-dir", f"{home}/build"], BUILD_PATIENCE_S, cwd=os.path.dirname(home))
        shutil.rmtree(f"{home}/build", ignore_errors=True)
    return install


CRATES = {"horust": "horust", "pitchfork": "pitchfork-cli"}
RECIPES = {
    "supervisord": supervisord,
    "pm2": npm("pm2"),
    "sandbox-agent": npm("sandbox-agent"),
    "runit": debian("runit"),
    "s6": s6,
    **{name: cargo(crate) for name, crate in CRATES.items()},
    "caddy": debian("caddy"),
    "http-proxy": npm("http-proxy"),
}


def install(name, peers):
    """The folder that `name` is in. A folder is complete when its mark is there; half of one begins anew."""
    home = os.path.join(peers, name)
    # cargo puts the program there when all of it is built, and a build is too long to be done twice.
    mark = os.path.join(home, "bin", name) if name in CRATES else os.path.join(home, ".complete")
    if not os.path.exists(mark):
        shutil.rmtree(home, ignore_errors=True)
        os.makedirs(peers, exist_ok=True)
        try:
            RECIPES[name](home)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise Unavailable(str(error)) from error
        if name not in CRATES:
            with open(mark, "w", encoding="utf-8"):
                pass
    return home


if __name__ == "__main__":
    for peer in sys.argv[2:] or RECIPES:
        try:
            print(install(peer, sys.argv[1]))
        except Unavailable as why:
            print(f"{peer}: skipped: {why}")
