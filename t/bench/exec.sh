#!/bin/sh
# exec.sh - what it costs a session of qpsmtpd that TLS and AUTH are configured, and the client uses neither
#
#   t/bench/exec.sh [PAIRS]               default 500
#
# qpsmtpd is started for each client, as tcpserver does it. First with the plugins rcpt_ok and queue/discard
# alone, then with those of config.sample: each time without tls and auth/auth_flat_file, and with them, by
# turns. Times have their spread; where strace(1) and valgrind(1) are installed, the system calls and the
# instructions of a session are counted as well, and these do not depend on what the machine does meanwhile.
set -eu
cd "$(dirname "$0")/../.."
pairs=${1:-500}
mkdir -p build/bench
work=$(mktemp -d "$PWD/build/bench/exec-XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM
${CC:-cc} -std=c17 -D_GNU_SOURCE -O2 -o build/bench/exec t/bench/exec.c

plugins/tls_cert "$work" mx.example.test >/dev/null

# configure NAME PLUGIN...: one without tls and AUTH, and one with them
configure() {
    name=$1
    shift
    for kind in without with; do
        dir=$work/$name.$kind
        mkdir -p "$dir" "$dir/spool"
        chmod 700 "$dir/spool"
        echo mx.example.test >"$dir/me"
        echo example.test >"$dir/rcpthosts"
        echo 3 >"$dir/loglevel"
        echo "$dir/spool" >"$dir/spool_dir"
        printf '%s\n' "$@" >"$dir/plugins"
    done
    printf '%s\n' tls auth/auth_flat_file "$@" >"$dir/plugins"
    echo 'joe@example.test:sesame' >"$dir/flat_auth_pw"
    chmod 600 "$dir/flat_auth_pw"
    cp -r "$work/ssl" "$dir/"
}

# announces CONFIG: is there what its name promises?
announces() {
    echo 'EHLO client.test' | env -i TCPREMOTEIP=127.0.0.1 ./qpsmtpd -C "$1" -P plugins >"$work/said"
    grep -q '^250.STARTTLS' "$work/said" && grep -q '^250.AUTH' "$work/said"
}

# watched CONFIG COMMAND...: a session in front of whose program these words stand
watched() {
    config=$1
    shift
    printf '#!/bin/sh\nexec %s "%s" "$@"\n' "$*" "$PWD/qpsmtpd" >"$work/wrapper"
    chmod 755 "$work/wrapper"
    build/bench/exec 1 "$work/wrapper" "$PWD/plugins" "$config" "$config" >"$work/said"
}

syscalls() {
    watched "$1" strace -f -o "$work/trace"
    grep -c '(' "$work/trace"
}

instructions() {
    watched "$1" valgrind --quiet --tool=callgrind --callgrind-out-file="$work/callgrind" 2>/dev/null
    sed -n 's/^\(summary\|totals\): *\([0-9]*\).*/\2/p' "$work/callgrind" | head -n 1
}

# counted WHAT NAME
counted() {
    a=$("$1" "$work/$2.without") b=$("$1" "$work/$2.with")
    printf '%-12s %16s %24s   ratio %s\n' "$1" "$a" "$b" "$(echo "$a $b" | awk '{ printf "%.3f", $2 / $1 }')"
}

configure short rcpt_ok queue/discard
# check_earlytalker would wait; the others go without their arguments.
# shellcheck disable=SC2046 # lines without blanks become words
configure sample $(sed -n 's/^\([a-z][a-z_/]*\).*/\1/p' config.sample/plugins | grep -v -e '^tls$' -e ^auth/ -e ^queue/ -e earlytalker) queue/discard

echo "$(uname -sr), $(nproc) cores, $pairs pairs; us: median (quartiles)"
for name in short sample; do
    echo "$name ($(wc -l <"$work/$name.without/plugins") plugins): without, with tls and auth/auth_flat_file"
    announces "$work/$name.with" || { cat "$work/said" >&2; exit 1; }
    build/bench/exec "$pairs" "$PWD/qpsmtpd" "$PWD/plugins" "$work/$name.without" "$work/$name.with"
    for what in strace:syscalls valgrind:instructions; do
        ! command -v "${what%%:*}" >/dev/null || counted "${what#*:}" "$name"
    done
done
