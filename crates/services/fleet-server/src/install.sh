#!/bin/sh
# Fetches the program from this Fleet Server, checks it, and joins this host to the fleet.
# Options are those of `flotilla agent install`. Without systemd the host is enrolled only, and the program kept in
# FLOTILLA_BIN_DIR (/usr/local/bin). All is in a function, so that half a script does nothing.
set -eu

fail() {
    echo "error: $*" >&2
    exit 1
}

join_fleet() {
    url=https://@HOST@/install
    machine=$(uname -m)
    [ "$(uname -s)" = Linux ] || fail "this program runs on Linux only"
    case $machine in
@CASES@
        *) fail "this Fleet Server has no program for $machine" ;;
    esac
    for tool in curl sha512sum; do
        command -v "$tool" >/dev/null || fail "$tool is needed"
    done
    folder=$(mktemp -d)
    trap 'rm -rf "$folder"' EXIT INT TERM
    program=$folder/flotilla
    echo "fetching the program for $machine .." >&2
    # The sum below came with this script, over the connection that was checked, so it alone decides.
    curl -fsS --insecure --retry 3 -o "$program" "$url/flotilla-linux-$machine" || fail "the program could not be fetched"
    echo "$sum  $program" | sha512sum -c - >/dev/null 2>&1 || fail "the program is not the one that this script belongs to"
    chmod 755 "$program"
    if [ -d /run/systemd/system ]; then
        "$program" agent install --non-interactive "$@" </dev/null
        return
    fi
    kept=${FLOTILLA_BIN_DIR:-/usr/local/bin}/flotilla
    mkdir -p "${kept%/*}"
    cp "$program" "$kept.new"
    mv "$kept.new" "$kept"
    "$kept" agent enroll --force "$@" </dev/null
}

join_fleet "$@"
