#!/bin/sh
# maildir.sh - durable messages a second, beside what the disk can do
#
#   t/bench/maildir.sh [DIRECTORY]        DIRECTORY: on the disk to be measured, default build/bench
#
# The preforking daemon with queue/maildir gets messages over as many connections as it has children; in
# the same run, and on the same disk, as many processes write files of the size that the daemon's have:
# write, fsync, rename, fsync of the directory. They take turns; for each size and number of connections
# the medians and their ratio are printed, and what they spread from.
#
#   SECONDS_EACH=3 ROUNDS=3 SIZES="2048 16384 131072" PARALLEL="1 8 32"   in the environment change what is done
set -eu
cd "$(dirname "$0")/../.."
seconds=${SECONDS_EACH:-3} rounds=${ROUNDS:-3} sizes=${SIZES:-2048 16384 131072} parallel=${PARALLEL:-1 8 32}
top=${1:-build/bench}
mkdir -p "$top" build/bench
work=$(mktemp -d "$top/maildir-XXXXXX")
work=$(cd "$work" && pwd)
daemon=
trap '[ -z "$daemon" ] || kill "$daemon" 2>/dev/null; [ -z "$daemon" ] || wait "$daemon" || :; rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM

for program in load disk; do
    ${CC:-cc} -std=c17 -D_GNU_SOURCE -O2 -o "build/bench/$program" "t/bench/$program.c"
done

mkdir "$work/config" "$work/spool"
chmod 700 "$work/spool"
echo mx.example.test >"$work/config/me"
echo example.test >"$work/config/rcpthosts"
echo 3 >"$work/config/loglevel"
echo 10000000 >"$work/config/size_threshold"
echo "$work/spool" >"$work/config/spool_dir"
printf 'rcpt_ok\nqueue/maildir %s/Maildir\n' "$work" >"$work/config/plugins"
port=$(perl -MIO::Socket::INET -e 'print IO::Socket::INET->new(LocalAddr => "127.0.0.1", Listen => 1)->sockport')
most=$(printf '%s\n' $parallel | sort -n | tail -n 1)
./qpsmtpd-prefork -C "$work/config" -P plugins -l 127.0.0.1 -p "$port" --user "$(id -un)" \
    --children $((most + 2)) --max-from-ip 0 --idle-children "$most" 2>"$work/log" &
daemon=$!
for try in 1 2 3 4 5 6 7 8 9 10; do
    build/bench/load -n 1 -m 0 127.0.0.1 "$port" >/dev/null 2>&1 && break
    [ "$try" != 10 ] || { cat "$work/log" >&2; exit 1; }
    sleep 0.3
done

# mails CONNECTIONS BYTES: messages a second
mails() {
    build/bench/load -c "$1" -t "$seconds" -m 50 -p -s "$2" 127.0.0.1 "$port" >"$work/out" || { cat "$work/out" "$work/log" >&2; exit 1; }
    sed -n 's/.* messages_s=\([0-9.]*\).*/\1/p' "$work/out"
}

# size_of_file: of what the daemon has written last, which has more lines on top and LF alone at their ends
size_of_file() {
    find "$work/Maildir/new" -type f -printf '%s\n' | tail -n 1
}

empty() {
    rm -rf "$work/Maildir/new" "$work/disk"
    mkdir "$work/Maildir/new" "$work/disk"
    sync
}

# median N...: "MEDIAN (LEAST-MOST)"
median() {
    printf '%s\n' "$@" | sort -n | awk '{ v[NR] = $1 } END { printf "%.0f (%.0f-%.0f)", v[int((NR + 1) / 2)], v[1], v[NR] }'
}

echo "$(uname -sr), $(nproc) cores, $(df --output=fstype "$work" | tail -n 1); $rounds rounds of $seconds s"
printf '%8s %12s %26s %26s %7s\n' bytes connections 'messages/s' 'files/s of the disk' ratio
for size in $sizes; do
    for n in $parallel; do
        ours='' disk=''
        for round in $(seq "$rounds"); do
            empty
            ours="$ours $(mails "$n" "$size")"
            bytes=$(size_of_file)
            empty
            disk="$disk $(build/bench/disk "$work/disk" "$n" "$seconds" "$bytes")"
        done
        # shellcheck disable=SC2086 # lists of numbers
        a=$(median $ours) b=$(median $disk)
        printf '%8s %12s %26s %26s %7s\n' "$size" "$n" "$a" "$b" \
            "$(echo "${a%% *} ${b%% *}" | awk '{ printf "%.2f", $1 / $2 }')"
    done
done
