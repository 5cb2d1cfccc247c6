# scripts/common.sh: functions for all scripts; to be sourced by bash.
#
# The scripts have two phases: installation of packages, build and installation of pg_eddy run as the
# caller (root, or a user with sudo); servers, brokers and tests run as an unprivileged user, in a
# scratch directory, because PostgreSQL refuses to run as root.

project=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

fail() {
    echo "${0##*/}: $*" >&2
    exit 1
}

# Prints a progress message, on a terminal in bold.
say() {
    if [ -t 1 ]; then
        printf '\033[1m%s\033[0m\n' "$*"
    else
        printf '%s\n' "$*"
    fi
}

# Runs a command as root.
as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        fail "\"$*\" requires root, and sudo is not installed"
    fi
}

# Prints the pg_config to build with: $PG_CONFIG, else one in the PATH, else the newest one of
# Debian. A pg_config without the server's development files is ignored.
find_pg_config() {
    local candidate pgxs
    for candidate in ${PG_CONFIG:-$(command -v pg_config)} \
        $(ls -d /usr/lib/postgresql/*/bin/pg_config 2>/dev/null | sort -rV); do
        pgxs=$("$candidate" --pgxs 2>/dev/null) || continue
        if [ -e "$pgxs" ]; then
            echo "$candidate"
            return 0
        fi
    done
    return 1
}

# Prints the user that runs servers: the caller, or postgres if the caller is root.
find_server_user() {
    if [ "$(id -u)" != 0 ]; then
        id -un
    elif id -u postgres >/dev/null 2>&1; then
        echo postgres
    else
        fail "user \"postgres\" does not exist; run this as an ordinary user"
    fi
}

# as_user USER COMMAND...: runs a command as that user, with the scratch directory as home directory.
# No intermediate process remains, so that the command receives signals from the terminal.
as_user() {
    local user=$1
    shift
    if [ "$(id -un)" = "$user" ]; then
        "$@"
    else
        setpriv --reuid "$user" --regid "$(id -g "$user")" --init-groups \
            env HOME="$scratch" USER="$user" LOGNAME="$user" "$@"
    fi
}

# make_scratch NAME USER: creates a directory under /tmp that USER owns; sets $scratch.
make_scratch() {
    scratch=$(mktemp -d "${TMPDIR:-/tmp}/pg_eddy-$1.XXXXXX")
    chmod 755 "$scratch"
    [ "$(id -un)" = "$2" ] || chown "$2" "$scratch"
}

# copy_tree FOLDER USER: copies the sources and the built files, without unneeded files. The
# server's user may not be able to read the checkout, and tests write into their input directories.
copy_tree() {
    mkdir -p "$1"
    tar -C "$project" --exclude=./.git --exclude=./results --exclude='*.o' --exclude='*.d' -cf - . |
        tar -C "$1" --no-same-owner -xf -
    chmod -R u+rwX,go+rX "$1"
    [ "$(id -un)" = "$2" ] || chown -R "$2" "$1"
}

# build_and_install: builds with all CPUs and installs into the PostgreSQL of $pg_config.
build_and_install() {
    local log=$1 jobs
    jobs=$(nproc 2>/dev/null || echo 2)
    make --no-print-directory -C "$project" -j"$jobs" PG_CONFIG="$pg_config" all tools >"$log" 2>&1 ||
        { grep -Ev '^(gcc|g\+\+|cc|c\+\+) ' "$log" | tail -n 40 >&2; fail "the build failed"; }
    if [ -w "$("$pg_config" --pkglibdir)" ]; then
        make -C "$project" PG_CONFIG="$pg_config" install >>"$log" 2>&1
    else
        as_root make -C "$project" PG_CONFIG="$pg_config" install >>"$log" 2>&1
    fi || { tail -n 40 "$log" >&2; fail "the installation failed"; }
}

# server_reports LOG...: prints the failed assertions and reports of UBSan in logs of servers, each with
# its stack; returns whether there are any. Logs that do not exist are no error.
server_reports() {
    local found
    # the status of grep is that of a failure if a file is missing, whether it has found anything or not
    found=$(grep -hE -A 30 'TRAP:|:[0-9]+:[0-9]+: runtime error: ' "$@" 2>/dev/null || true)
    [ -n "$found" ] && printf '%s\n' "$found"
}
