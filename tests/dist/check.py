"""What is shipped, as its users get it: `make dist-check`.

    check.py DIST EMULATOR NODE

Owns: a second build somewhere else, and an empty root for each file. Never: the network, or a change of this machine. A
binary of another machine is run by qemu, which `tests/aarch64` puts into EMULATOR. NODE has `process.execve`.
"""

import hashlib
import json
import os
import pathlib
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib

import launcher

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../aarch64"))
from lifecycle import emulator  # noqa: E402

MACHINES = {"x86_64": ("amd64", "x64"), "aarch64": ("arm64", "arm64")}
# As root in a namespace of its own, for who is not root.
ROOT = [] if os.getuid() == 0 else ["unshare", "--map-root-user"]


def run(*command, status=0, **options):
    ended = subprocess.run([str(one) for one in command], capture_output=True, text=True, check=False, **options)
    assert ended.returncode == status, f"{command} ended with {ended.returncode}:\n{ended.stdout}{ended.stderr}"
    return ended.stdout


def rust(variable, folder):
    return os.environ.get(variable, os.path.expanduser(f"~/{folder}"))


def build_elsewhere(into):
    """`make dist` in a copy, without a network, with another home, time zone, umask, package folder and flags."""
    copy = into / "a/longer/path/than/before"
    copy.mkdir(parents=True)
    names = run("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard").split("\0")
    for name in filter(os.path.exists, filter(None, names)):
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(name, copy / name)
    packages = into / "packages"
    shutil.copytree(os.path.join(rust("CARGO_HOME", ".cargo"), "registry"), packages / "registry", symlinks=True)
    said = {name: run("git", *command.split()).strip() for name, command in {
        "SOURCE_DATE_EPOCH": "log -1 --format=%ct",
        "COMMIT": "describe --always --abbrev=40 --dirty --exclude=*"}.items()}
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS", "CARGO"))}
    env = {**kept, **said, "RUSTUP_HOME": rust("RUSTUP_HOME", ".rustup"), "CARGO_HOME": str(packages), "HOME": str(into),
           "TZ": "Pacific/Chatham", "LC_ALL": "C.UTF-8"}
    # The Makefile takes these out: they would replace the flags of the configuration.
    env |= {name: "--no-such-flag" for name in ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS"]}
    # The wrapper of rustup looks for its tools beside itself or in PATH.
    env["PATH"] = f"{os.path.join(rust('CARGO_HOME', '.cargo'), 'bin')}:{env['PATH']}"
    run("unshare", *([] if os.getuid() == 0 else ["--map-root-user"]), "--net", "sh", "-c", "umask 077; make dist", cwd=copy, env=env)
    return copy / "target/dist"


def same(first, second):
    sums = [dict(reversed(line.split("  ")) for line in (one / "SHA256SUMS").read_text().splitlines()) for one in (first, second)]
    files = [sorted(path.name for path in one.iterdir() if path.name != "SHA256SUMS") for one in (first, second)]
    assert files[0] == files[1] == sorted(sums[0]), files
    differ = [name for name in sums[0] if sums[0][name] != sums[1].get(name)]
    assert not differ, f"not the same in both builds: {differ}"


def boot(binary, root, qemu, version):
    """Runs the only program of a root."""
    inside = ["/" + str(binary.relative_to(root))]
    if qemu:
        shutil.copy(qemu, root / "qemu")
        inside.insert(0, "/qemu")
    env = {"PATH": os.environ["PATH"]}
    said = run(*ROOT, "chroot", root, *inside, "--version", env=env)
    assert said == f"servisor {version}\n", said
    headers = run("readelf", "--wide", "--dynamic", "--program-headers", binary)
    assert "NEEDED" not in headers and "INTERP" not in headers, headers


# A network and a process namespace of its own; the daemon has nothing there but its binary.
ALONE = """
python3 -c "import fcntl, socket, struct; fcntl.ioctl(socket.socket(), 0x8914, struct.pack('16sh22x', b'lo', 0x41))"
chroot "$0" "$@" serve --state-dir /state 2>"$0/log" & daemon=$!
for try in $(seq 600); do chroot "$0" "$@" ps --state-dir /state 2>/dev/null && break; sleep 0.1; done
kill -TERM $daemon; wait $daemon
"""


def serve(root, inside):
    """The daemon and its client in a root that has no file but this one."""
    flags = ["--net", "--pid", "--fork", "--kill-child", *(["--map-root-user"] if ROOT else [])]
    said = run("unshare", *flags, "sh", "-c", ALONE, root, *inside, env={"PATH": os.environ["PATH"]})
    assert said.startswith("NAME "), said + (root / "log").read_text()
    shutil.rmtree(root / "state")


def unpack(file, into):
    into.mkdir()
    with tarfile.open(file) as archive:
        for member in archive.getmembers():
            assert (member.uid, member.gid, member.uname) == (0, 0, "") and member.mode in (0o644, 0o755), member
    run("tar", "-xzf", file, "-C", into)
    return into


def install(package, into, debian):
    """`dpkg -i` into an empty root, and out of it again."""
    for name in ["updates", "info", "triggers"]:
        (into / "var/lib/dpkg" / name).mkdir(parents=True)
    for name in ["status", "available"]:
        (into / "var/lib/dpkg" / name).touch()
    dpkg = [*ROOT, "dpkg", f"--root={into}", "--force-not-root"]
    if debian != run("dpkg", "--print-architecture").strip():
        dpkg.append("--force-architecture")
    run(*dpkg, "-i", package)
    assert run(*dpkg, "--verify", "servisor") == ""
    scripts = {path.name for path in (into / "var/lib/dpkg/info").iterdir()} - {"format"}
    assert scripts == {"servisor.list", "servisor.md5sums"}, scripts
    return lambda: run(*dpkg, "--purge", "servisor")


def lay_out(dockerfile, context, root):
    """What `docker build` makes of a Dockerfile that starts from nothing and copies files."""
    first, *rest = dockerfile.read_text(encoding="utf-8").splitlines()
    assert first == "FROM scratch" and rest, first
    root.mkdir()
    for line in rest:
        instruction, source, target = line.split()
        assert instruction == "COPY" and target.startswith("/"), line
        (root / target[1:]).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(context / source, root / target[1:])


# What a copy of this machine needs to run the lines of the guide: changes go to a file system in memory.
COPY = """
mount -t tmpfs none "$0" && mkdir "$0/upper" "$0/work" "$0/root" && cp -r "$1" "$0/upper/dist"
mount -t overlay overlay -o lowerdir=/,upperdir="$0/upper",workdir="$0/work" "$0/root"
mount -t tmpfs none "$0/root/tmp" && mount --rbind /dev "$0/root/dev" && mount --rbind /proc "$0/root/proc"
exec chroot "$0/root" sh -c 'cd /dist && export HOME=/tmp npm_config_offline=true && set -e; '"$2"
"""


def follow_guide(dist, version, machine, work):
    """Each block of the guide's installation that says so is run as printed, for this machine's architecture."""
    debian, node = MACHINES[machine]
    text = pathlib.Path("docs/guide.md").read_text(encoding="utf-8")
    section = text.split("\n## Installation\n")[1].split("\n## ")[0]
    named = set(re.findall(r"`([\w.-]+\.(?:gz|deb|tgz|json)|BUILDINFO|SHA256SUMS|Dockerfile\.scratch)`", section))
    assert named == {path.name for path in dist.iterdir()}, named ^ {path.name for path in dist.iterdir()}
    blocks = re.findall(r"<!-- test: skip `make dist-check` [^\n]*-->\n```sh\n(.*?)```", section, re.DOTALL)
    assert len(blocks) == 4, blocks
    for number, block in enumerate(blocks):
        lines = block.replace("x86_64", machine).replace("amd64", debian).replace("linux-x64", f"linux-{node}")
        root = work / f"copy{number}"
        root.mkdir()
        said = run("unshare", *(["--map-root-user"] if ROOT else []), "--mount", "--net", "sh", "-ec", COPY, root, dist, lines)
        assert f"servisor {version}\n" in said or "BUILDINFO: OK" in said, said


def check_bill(bill, lock):
    described = json.loads(bill.read_text(encoding="utf-8"))
    assert "timestamp" not in described["metadata"]
    everything = [described["metadata"]["component"], *described["components"]]
    found = {(one["name"], one["version"], one.get("hashes", [{}])[0].get("content")) for one in everything}
    packages = tomllib.loads(lock.read_text(encoding="utf-8"))["package"]
    assert found == {(one["name"], one["version"], one.get("checksum")) for one in packages}, "SBOM and Cargo.lock differ"
    assert len(found) == len(everything)
    names = {one["bom-ref"]: one["name"] for one in everything}
    edges = {(names[one["ref"]], names[other]) for one in described["dependencies"] for other in one["dependsOn"]}
    locked = {(one["name"], other.split()[0]) for one in packages for other in one.get("dependencies", [])}
    assert edges == locked, edges ^ locked


def check_build_info(file, version):
    """BUILDINFO says what git, the compiler, the configuration and the Makefile say, and nothing else."""
    said = dict(line.split(": ", 1) for line in file.read_text(encoding="utf-8").splitlines())
    rustc = run("rustc", "-vV")
    release, commit, llvm = (re.search(f"^{key}: (.+)$", rustc, re.MULTILINE)[1] for key in ["release", "commit-hash", "LLVM version"])
    changed = run("git", "status", "--porcelain", "--untracked-files=no") != ""
    wanted = {"servisor": version, "commit": run("git", "rev-parse", "HEAD").strip() + ("-dirty" if changed else ""),
              "epoch": run("git", "show", "--no-patch", "--format=%ct", "HEAD").strip(),
              "rustc": f"{release} ({commit}), LLVM {llvm}"}
    targets = tomllib.loads(pathlib.Path(".cargo/config.toml").read_text(encoding="utf-8"))["target"]
    assert {target.split("-")[0] for target in targets} == set(MACHINES), targets
    env = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    for target, settings in targets.items():
        wanted[f"rustflags {target}"] = " ".join(settings["rustflags"])
        # What make would run, up to the flags that it searches for; the functions that they name have a line of their own.
        commands = run("make", "--dry-run", "release", f"TARGET={target}", env=env).splitlines()
        command = next(line for line in commands if "cargo build" in line and "--config" in line)
        command, _, search = command.partition(' --config "')
        assert command.startswith("RUSTC_BOOTSTRAP=1 cargo build --locked --release "), command
        wanted["build"] = command.replace(target, "TARGET")
        wanted["nounwind in alloc"] = re.search(r"_5alloc\\\((.*?)\\\)", search)[1].replace("\\|", " ")
    wanted |= {tool: run(tool, "--version").splitlines()[0] for tool in ["tar", "gzip", "xz", "dpkg-deb"]}
    differ = {name: (said.get(name), wanted.get(name)) for name in said | wanted if said.get(name) != wanted.get(name)}
    assert not differ, f"BUILDINFO has, and should have: {differ}"


def check_package(package, more):
    """The fields of an npm package: all that a registry and npm decide by."""
    known = tomllib.loads(pathlib.Path("Cargo.toml").read_text(encoding="utf-8"))["package"]
    wanted = {"version": known["version"], "description": known["description"], "license": "MIT", **more}
    fields = json.loads((package / "package/package.json").read_text(encoding="utf-8"))
    assert fields == wanted, f"package.json has {fields}, should have {wanted}"


def check_paths(folder, forbidden):
    """No file names a place of the machine that built it."""
    for path in (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink() and path.name != "qemu"):
        data = path.read_bytes()
        found = [word for word in forbidden if word.encode() in data]
        assert not found, f"{path} has {found}"


def check_that_paths_are_found(folder, forbidden):
    """A control: each of them, in the middle of a file, fails the check."""
    for number, word in enumerate(forbidden):
        planted = folder / f"{number}/a/file"
        planted.parent.mkdir(parents=True)
        planted.write_bytes(b"\x7fELF\0" + word.encode() + b"src/lib.rs\0")
        try:
            check_paths(folder / str(number), forbidden)
        except AssertionError:
            continue
        raise AssertionError(f"{word} in {planted} is not found")


def main():
    dist, qemu_folder = pathlib.Path(sys.argv[1]).resolve(), os.path.abspath(sys.argv[2])
    version = tomllib.loads(pathlib.Path("Cargo.toml").read_text(encoding="utf-8"))["package"]["version"]
    work = pathlib.Path(tempfile.mkdtemp(prefix="servisor-dist-"))
    run("sha256sum", "--strict", "-c", "SHA256SUMS", cwd=dist)
    check_bill(dist / f"servisor-{version}.cdx.json", pathlib.Path("Cargo.lock"))
    check_build_info(dist / "BUILDINFO", version)
    check_that_paths_are_found(work / "control", forbidden(dist))
    print("sums, SBOM and BUILDINFO are right", flush=True)

    seen = work / "seen"
    seen.mkdir()
    for machine, (debian, node) in MACHINES.items():
        qemu = None if machine == platform.machine() else emulator(qemu_folder)
        name = f"servisor-{version}-{machine}-linux-musl"
        root = unpack(dist / f"{name}.tar.gz", seen / machine)
        assert sorted(path.name for path in (root / name).iterdir()) == ["LICENSE", "README.md", "completions", "servisor"]
        boot(root / name / "servisor", root, qemu, version)
        if not qemu:
            serve(root, [f"/{name}/servisor"])
        image = seen / f"image-{machine}"
        lay_out(dist / "Dockerfile.scratch", root / name, image)
        boot(image / "servisor", image, qemu, version)

        root = seen / debian
        root.mkdir()
        purge = install(dist / f"servisor_{version}_{debian}.deb", root, debian)
        boot(root / "usr/bin/servisor", root, qemu, version)

        package = unpack(dist / f"servisor-linux-{node}-{version}.tgz", seen / f"npm-{node}")
        boot(package / "package/bin/servisor", package, qemu, version)
        check_package(package, {"name": f"servisor-linux-{node}", "os": ["linux"], "cpu": [node], "preferUnplugged": True})

        copies = [seen / machine / name / "servisor", root / "usr/bin/servisor", package / "package/bin/servisor", image / "servisor"]
        digests = {hashlib.sha256(path.read_bytes()).hexdigest() for path in copies}
        assert len(digests) == 1, "the binaries of one machine differ"
        check_paths(seen, forbidden(dist))
        purge()
        assert not (root / "usr").exists(), "dpkg leaves files"
        print(f"{machine}: archive, Debian package, npm package and image run in an empty root", flush=True)
    package = unpack(dist / f"servisor-{version}.tgz", seen / "npm")
    check_package(package, {"name": "servisor", "bin": {"servisor": "servisor.js"}, "engines": {"node": ">=18"},
                            "optionalDependencies": {f"servisor-linux-{node}": version for _, node in MACHINES.values()}})
    assert os.access(package / "package/servisor.js", os.X_OK), "npm's command is not executable"
    check_paths(seen, forbidden(dist))
    check_paths(dist, forbidden(dist))

    follow_guide(dist, version, platform.machine(), work)
    print("the lines of the guide do what they say", flush=True)

    launcher.check(dist, version, os.path.abspath(sys.argv[3]), work / "npm")
    print("npm: installed without a network; exit codes, signals and errors pass, with process.execve and without", flush=True)

    same(dist, build_elsewhere(work))
    print("built again elsewhere: the same bytes")
    shutil.rmtree(work)


def forbidden(dist):
    folders = [dist.parent.parent, rust("CARGO_HOME", ".cargo"), rust("RUSTUP_HOME", ".rustup"), os.path.expanduser("~"),
               run("rustc", "--print", "sysroot").strip()]
    # The last two are part of the path of every package's source, on any machine.
    return [*(f"{folder}/" for folder in map(str, folders) if folder != "/"), "/.cargo/", "registry/src/"]


if __name__ == "__main__":
    main()
