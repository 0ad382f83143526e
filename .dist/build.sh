#!/bin/bash
# Fills a directory with what is shipped, from binaries that are built: `make dist`.
#
#   .dist/build.sh INTO x86_64=BINARY aarch64=BINARY
#
# Owns: the layout of archives and packages. Never: a build, or the network. Files get the time of the commit
# (SOURCE_DATE_EPOCH) and fixed owners, modes and order, so that the same binaries give the same bytes.
# Each command of a pipe has to succeed: the archive of a `tar` that fails would only be short.
set -euo pipefail
umask 022
export LC_ALL=C TZ=UTC
here=$(dirname "$0") into=$1
shift
version=$(sed -n '/^version = /{s/.*"\(.*\)"/\1/p;q}' Cargo.toml)
: "${SOURCE_DATE_EPOCH:=$(git log -1 --format=%ct)}" "${COMMIT:=$(git describe --always --abbrev=40 --dirty --exclude='*')}"
: "${SOURCE_DATE_EPOCH:?no commit here: say its time (and COMMIT)}"
# One thread: the bytes of xz then don't depend on the number of processors.
export SOURCE_DATE_EPOCH COMMIT DPKG_DEB_THREADS_MAX=1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
rm -rf "$into"
mkdir -p "$into" "$work/completions"

# archive FILE DIRECTORY NAME: DIRECTORY/NAME as FILE.
archive() {
    tar --sort=name --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner --mode=u=rwX,go=rX --format=ustar \
        -C "$2" -cf - "$3" | gzip -9n > "$into/$1"
}

# npm DIRECTORY NAME FIELDS: DIRECTORY/package as a package with these fields of package.json.
npm() {
    cp LICENSE README.md "$1/package/"
    printf '{\n  "name": "%s",\n  "version": "%s",\n  "description": "%s",\n  "license": "MIT",\n%s\n}\n' \
        "$2" "$version" "$description" "$3" > "$1/package/package.json"
    archive "$2-$version.tgz" "$1" package
}

description=$(sed -n 's/^description = "\(.*\)"/\1/p' Cargo.toml)
machine=$(uname -m)
for built in "$@"; do
    case $built in "$machine"=*) host=${built#*=} ;; esac
done
: "${host:?no binary for this machine, which has to print the completions}"
"$host" completion bash > "$work/completions/servisor.bash"
"$host" completion zsh > "$work/completions/_servisor"
"$host" completion fish > "$work/completions/servisor.fish"

optional=
for built in "$@"; do
    machine=${built%%=*} binary=${built#*=}
    case $machine in
        x86_64) debian=amd64 node=x64 ;;
        aarch64) debian=arm64 node=arm64 ;;
        *) echo "no name for $machine in Debian and Node.js" >&2; exit 1 ;;
    esac

    name=servisor-$version-$machine-linux-musl
    mkdir -p "$work/tar/$name"
    install -m 755 "$binary" "$work/tar/$name/servisor"
    cp -r LICENSE README.md "$work/completions" "$work/tar/$name/"
    archive "$name.tar.gz" "$work/tar" "$name"

    deb=$work/deb-$debian
    install -D -m 755 "$binary" "$deb/usr/bin/servisor"
    install -D -m 644 LICENSE "$deb/usr/share/doc/servisor/copyright"
    install -m 644 README.md "$deb/usr/share/doc/servisor/README.md"
    install -D -m 644 "$work/completions/servisor.bash" "$deb/usr/share/bash-completion/completions/servisor"
    install -D -m 644 "$work/completions/_servisor" "$deb/usr/share/zsh/vendor-completions/_servisor"
    install -D -m 644 "$work/completions/servisor.fish" "$deb/usr/share/fish/vendor_completions.d/servisor.fish"
    kib=$(find "$deb" -type f -printf '%s\n' | awk '{ kib += int(($1 + 1023) / 1024) } END { print kib }')
    mkdir "$deb/DEBIAN"
    cat > "$deb/DEBIAN/control" <<CONTROL
Package: servisor
Version: $version
Architecture: $debian
Maintainer: The servisor authors <servisor@localhost>
Installed-Size: $kib
Section: admin
Priority: optional
Description: supervisor of the servers in a sandbox, with an HTTP API
 A static binary: a daemon that installs, starts, watches, restarts and stops
 servers with their whole process tree, and its command line. The package
 starts nothing.
CONTROL
    (cd "$deb" && find usr -type f -exec md5sum {} + | sort -k 2) > "$work/md5sums"
    mv "$work/md5sums" "$deb/DEBIAN/md5sums"
    find "$deb" -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" {} +
    dpkg-deb --root-owner-group -Zxz --build "$deb" "$into/servisor_${version}_$debian.deb" > /dev/null

    install -D -m 755 "$binary" "$work/npm-$node/package/bin/servisor"
    npm "$work/npm-$node" "servisor-linux-$node" "  \"os\": [\"linux\"],
  \"cpu\": [\"$node\"],
  \"preferUnplugged\": true"
    optional="$optional${optional:+,
}    \"servisor-linux-$node\": \"$version\""
done

install -D -m 755 "$here/servisor.js" "$work/npm/package/servisor.js"
npm "$work/npm" servisor "  \"bin\": { \"servisor\": \"servisor.js\" },
  \"engines\": { \"node\": \">=18\" },
  \"optionalDependencies\": {
$optional
  }"

install -m 644 "$here/Dockerfile.scratch" "$into/"
python3 "$here/describe.py" "$into" "$version"
(cd "$into" && sha256sum -- * > "$work/SHA256SUMS" && mv "$work/SHA256SUMS" .)
ls -l "$into"
