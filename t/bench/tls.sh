#!/bin/bash
# tls.sh - TLS sessions a second, beside the least that a server with OpenSSL can be
#
#   t/bench/tls.sh
#
# qpsmtpd-prefork and tls_accept (a bare loop of accept, handshake, two lines) serve on a TLS port, with as many
# processes, the same certificates and the same settings. A client makes sessions of a greeting and QUIT, with
# and without resumption, with TLS 1.2 and 1.3; the two servers take turns. Printed are the medians and what they
# spread from, the ratio of the medians, and the processor time that each server has used for a session.
#
#   SECONDS_EACH=2 ROUNDS=5 PARALLEL=4          in the environment change what is done
set -euo pipefail
cd "$(dirname "$0")/../.."
seconds=${SECONDS_EACH:-2} rounds=${ROUNDS:-5} parallel=${PARALLEL:-4}
mkdir -p build/bench
work=$(mktemp -d "$PWD/build/bench/tls-XXXXXX")
declare -A pid port
trap '[ -z "${pid[*]-}" ] || { kill "${pid[@]}" || :; wait; } 2>/dev/null; rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM
for program in tls_accept tls_load; do
    "${CC:-cc}" -std=c17 -D_GNU_SOURCE -O2 -o "build/bench/$program" "t/bench/$program.c" -lssl -lcrypto
done

free_port() {
    perl -MIO::Socket::INET -e 'print IO::Socket::INET->new(LocalAddr => "127.0.0.1", Listen => 1)->sockport'
}

mkdir -p "$work/config" "$work/spool"
chmod 700 "$work/spool"
plugins/tls_cert "$work/config" mx.example.test >/dev/null
echo mx.example.test >"$work/config/me"
echo 3 >"$work/config/loglevel"
echo "$work/spool" >"$work/config/spool_dir"
printf 'tls\nqueue/discard\n' >"$work/config/plugins"
port[qpsmtpd]=$(free_port) port[openssl]=$(free_port)
./qpsmtpd-prefork -C "$work/config" -P plugins -l 127.0.0.1 -p "$(free_port)" --tls-port "${port[qpsmtpd]}" --no-rdns \
    --user "$(id -un)" --children "$((parallel + 1))" --idle-children "$parallel" --max-from-ip 0 \
    --child-lifetime 0 2>"$work/log" &
pid[qpsmtpd]=$!
ssl=$work/config/ssl/qpsmtpd-server
build/bench/tls_accept "$parallel" 127.0.0.1 "${port[openssl]}" "$ssl.crt" "$ssl.key" "$ssl.ecdsa.crt" "$ssl.ecdsa.key" &
pid[openssl]=$!

# cpu SERVER: ticks of its processes
cpu() {
    local p
    for p in "${pid[$1]}" $(ps -o pid= --ppid "${pid[$1]}"); do
        sed 's/.*) //' "/proc/$p/stat"
    done | awk '{ t += $12 + $13 } END { print t }'
}

# load SERVER VERSION HOW: sessions a second, and ticks
load() {
    local before rate
    before=$(cpu "$1")
    rate=$(build/bench/tls_load "$parallel" "$seconds" "$2" "$3" 127.0.0.1 "${port[$1]}") || { cat "$work/log" >&2; exit 1; }
    echo "$rate" >>"$work/rate.$1"
    echo "$(($(cpu "$1") - before)) $rate" >>"$work/cpu.$1"
}

for server in qpsmtpd openssl; do
    for try in 1 2 3 4 5 6 7 8 9 10; do
        build/bench/tls_load "$parallel" 0.2 1.3 new 127.0.0.1 "${port[$server]}" >/dev/null 2>&1 && break
        [ "$try" != 10 ] || { cat "$work/log" >&2; exit 1; }
        sleep 0.3
    done
done

median() {
    sort -n "$1" | awk '{ v[NR] = $1 } END { printf "%.0f (%.0f-%.0f)", v[int((NR + 1) / 2)], v[1], v[NR] }'
}

# each: us of processor time for a session
each() {
    awk -v hz="$(getconf CLK_TCK)" -v s="$seconds" '{ t += $1 / hz; n += $2 * s } END { printf "%.0f", t / n * 1e6 }' "$1"
}

echo "$(uname -sr), $(nproc) cores, $(openssl version | cut -d' ' -f1,2), $parallel processes, $parallel clients; $rounds rounds of $seconds s"
printf '%-4s %-8s %22s %22s %6s %16s %16s %6s\n' TLS session 'qpsmtpd sessions/s' 'OpenSSL sessions/s' ratio \
    'qpsmtpd us' 'OpenSSL us' ratio
for version in 1.2 1.3; do
    for how in new resumed; do
        rm -f "$work"/rate.* "$work"/cpu.*
        for _ in $(seq "$rounds"); do
            load qpsmtpd "$version" "$how"
            load openssl "$version" "$how"
        done
        a=$(median "$work/rate.qpsmtpd") b=$(median "$work/rate.openssl")
        x=$(each "$work/cpu.qpsmtpd") y=$(each "$work/cpu.openssl")
        printf '%-4s %-8s %22s %22s %6s %16s %16s %6s\n' "$version" "$how" "$a" "$b" \
            "$(echo "${a%% *} ${b%% *}" | awk '{ printf "%.2f", $1 / $2 }')" "$x" "$y" \
            "$(echo "$x $y" | awk '{ printf "%.2f", $1 / $2 }')"
    done
done
