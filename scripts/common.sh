# scripts/common.sh: what the scripts share; to be sourced by bash.
#
# Two phases are kept apart everywhere: packages, build and installation run as whoever calls
# (root, or a user with sudo); servers, brokers and tests run as an unprivileged user, in a scratch
# folder of their own, because PostgreSQL refuses to run as root.

project=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

fail() {
    echo "${0##*/}: $*" >&2
    exit 1
}

# Says what is being done, on a terminal in bold.
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
        fail "\"$*\" needs root, and sudo is not installed"
    fi
}

# Prints the pg_config to build with: $PG_CONFIG, else one in the PATH, else the newest of
# Debian's. Only one whose development files are there counts.
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

# Prints the user that runs servers: the caller, or for root the owner of PostgreSQL's files.
find_server_user() {
    if [ "$(id -u)" != 0 ]; then
        id -un
    elif id -u postgres >/dev/null 2>&1; then
        echo postgres
    else
        fail "there is no user \"postgres\" to run servers as; run this as an ordinary user"
    fi
}

# as_user USER COMMAND...: runs a command as that user, whose home is then the scratch folder. No
# process stays in between, so signals from the terminal reach the command and nobody else.
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

# make_scratch NAME USER: makes a folder of its own for USER under /tmp; sets $scratch.
make_scratch() {
    scratch=$(mktemp -d "${TMPDIR:-/tmp}/pg_eddy-$1.XXXXXX")
    chmod 755 "$scratch"
    [ "$(id -un)" = "$2" ] || chown "$2" "$scratch"
}

# copy_tree FOLDER USER: a copy of the sources and of what is built, without what is not needed.
# The server's user may not be able to read the checkout, and tests write beside their inputs.
copy_tree() {
    mkdir -p "$1"
    tar -C "$project" --exclude=./.git --exclude=./results --exclude='*.o' --exclude='*.d' -cf - . |
        tar -C "$1" --no-same-owner -xf -
    chmod -R u+rwX,go+rX "$1"
    [ "$(id -un)" = "$2" ] || chown -R "$2" "$1"
}

# build_and_install: builds with all processors and installs into the PostgreSQL of $pg_config.
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
