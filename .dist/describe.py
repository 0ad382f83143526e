"""What the binaries are made of: `servisor-V.cdx.json`, a CycloneDX list of packages, and `BUILDINFO`. Called by `build.sh`.

Owns: both files. Never: the time of day, a path of this machine, or the network.
"""

import json
import os
import pathlib
import subprocess
import sys
import tomllib

TARGETS = ["x86_64-unknown-linux-musl", "aarch64-unknown-linux-musl"]


def output(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def metadata(*options):
    return json.loads(output("cargo", "metadata", "--locked", "--offline", "--format-version", "1", *options))


def linked():
    """The ids of the packages whose code is in a binary: without those of other systems and of macros."""
    found = set()
    for target in TARGETS:
        known = metadata("--filter-platform", target)
        is_macro = {package["id"] for package in known["packages"]
                    if any("proc-macro" in one["kind"] for one in package["targets"])}
        depends = {node["id"]: node["deps"] for node in known["resolve"]["nodes"]}
        rest = [known["resolve"]["root"]]
        while rest:
            package = rest.pop()
            if package in found or package in is_macro:
                continue
            found.add(package)
            rest += [one["pkg"] for one in depends[package] if any(kind["kind"] is None for kind in one["dep_kinds"])]
    return found


def reference(package):
    kind = "cargo" if package["source"] else "generic"
    return f"pkg:{kind}/{package['name']}@{package['version']}"


def component(package, scope, checksum):
    purl = reference(package)
    described = {"type": "library" if package["source"] else "application", "bom-ref": purl, "name": package["name"],
                 "version": package["version"], "scope": scope}
    if checksum:
        described["hashes"] = [{"alg": "SHA-256", "content": checksum}]
    described["licenses"] = [{"expression": package["license"].replace("/", " OR ")}]
    described["purl"] = purl
    if package["repository"]:
        described["externalReferences"] = [{"type": "vcs", "url": package["repository"]}]
    return described


def bill():
    known, in_binary = metadata(), linked()
    locked = tomllib.loads(pathlib.Path("Cargo.lock").read_text(encoding="utf-8"))["package"]
    checksums = {(one["name"], one["version"]): one.get("checksum") for one in locked}
    packages = {package["id"]: package for package in known["packages"]}
    components = []
    for key, package in packages.items():
        scope = "required" if key in in_binary else "excluded"
        components.append(component(package, scope, checksums[package["name"], package["version"]]))
    components.sort(key=lambda one: one["bom-ref"])
    own = next(one for one in components if one["type"] == "application")
    components.remove(own)
    depends = [{"ref": reference(packages[node["id"]]),
                "dependsOn": sorted(reference(packages[one]) for one in node["dependencies"])}
               for node in known["resolve"]["nodes"]]
    return {"bomFormat": "CycloneDX", "specVersion": "1.5", "version": 1, "metadata": {"component": own},
            "components": components, "dependencies": sorted(depends, key=lambda one: one["ref"])}


def build_info(version):
    settings = tomllib.loads(pathlib.Path(".cargo/config.toml").read_text(encoding="utf-8"))
    rustc = dict(line.split(": ", 1) for line in output("rustc", "-vV").splitlines() if ": " in line)
    lines = [("servisor", version), ("commit", os.environ["COMMIT"]), ("epoch", os.environ["SOURCE_DATE_EPOCH"]),
             ("rustc", f"{rustc['release']} ({rustc['commit-hash']}), LLVM {rustc['LLVM version']}"),
             ("build", os.environ["BUILD_COMMAND"]), ("nounwind in alloc", os.environ["NO_UNWIND_IN"])]
    lines += [(f"rustflags {target}", " ".join(settings["target"][target]["rustflags"])) for target in TARGETS]
    for tool in ["tar", "gzip", "xz", "dpkg-deb"]:
        lines.append((tool, output(tool, "--version").splitlines()[0]))
    return "".join(f"{name}: {value}\n" for name, value in lines)


def main():
    into, version = pathlib.Path(sys.argv[1]), sys.argv[2]
    text = json.dumps(bill(), indent=2, ensure_ascii=False)
    (into / f"servisor-{version}.cdx.json").write_text(f"{text}\n", encoding="utf-8")
    (into / "BUILDINFO").write_text(build_info(version), encoding="utf-8")


if __name__ == "__main__":
    main()
