#!/bin/sh
# Runs a program in a root of its own, in which / is as it is outside but for what is laid into it: `room.sh ROOT COMMAND...`.
# ROOT is an empty directory; ROOT/app and ROOT/templates become /app and /templates. Nothing outside is changed: the
# mounts are seen by COMMAND and what descends from it alone. With ROOM_NET=own no port is taken there.
set -eu
if [ "${IN_ROOM:-}" != yes ]; then
    own=--mount
    [ "${ROOM_NET:-}" != own ] || own="$own --net"
    # Without root's rights a user namespace has them.
    [ "$(id -u)" = 0 ] || own="$own --user --map-root-user"
    # shellcheck disable=SC2086
    IN_ROOM=yes exec unshare $own "$0" "$@"
fi
root=$1
shift
[ "${ROOM_NET:-}" != own ] || ip link set lo up
mkdir -p "$root/app" "$root/templates"
for entry in /*; do
    case $entry in
    /app | /templates) ;;
    *)
        if [ -L "$entry" ]; then
            cp -P "$entry" "$root$entry"
        elif [ -d "$entry" ]; then
            mkdir "$root$entry"
            # Not what is mounted below /tmp: this root is there.
            [ "$entry" = /tmp ] && bind=--bind || bind=--rbind
            mount "$bind" "$entry" "$root$entry"
        fi
        ;;
    esac
done
directory=$PWD
exec chroot "$root" /bin/sh -c 'cd "$1" && shift && exec "$@"' room "$directory" "$@"
