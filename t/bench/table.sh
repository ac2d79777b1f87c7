#!/bin/bash
# What a list costs: as text, cdb, LMDB and compiled (qpsmtpd-table), for each size that is given
# (default 1000 100000 1000000 10000000); libcmph's functions beside each other; sessions of qpsmtpd
# under tcpserver with a million rcpthosts in each form. One run, so that ratios compare like with like.
# Needs some 4 GB in TMPDIR; the text of ten million lines takes 2 GB of memory. Ends what it started.
set -euo pipefail
cd "$(dirname "$0")/../.."

.ci/need liblmdb-dev:lmdb.h tinycdb:cdb ucspi-tcp:tcpserver procps:ps >&2
make --no-print-directory all build/plain/t/bench/table build/plain/t/bench/functions >/dev/null
root=$PWD bench=$PWD/build/plain/t/bench/table
dir=$(mktemp -d "${TMPDIR:-/tmp}/bench-table.XXXXXX")
trap 'rm -rf "$dir"' EXIT

# timed COMMAND... - seconds; what it prints goes away
timed() {
    local start
    start=$(date +%s%N)
    "$@" >"$dir/said"
    echo $((($(date +%s%N) - start) / 1000000))
}

# rows N - for each form: size, build and open, ns of hit and miss, and the ratios to the cdb
rows() {
    awk -v n="$1" -v built="$2" -v sizes="$3" '
        function ratio(x, y) { return y > 0 ? sprintf("%.2f", x / y) : "-" }
        function line(f, name) {
            printf "%9d %-9s %9s %11s %10.1f  %7.1f (%6.1f-%7.1f) %5s  %7.1f (%6.1f-%7.1f) %5s\n",
                n, name, b[f], s[f], open[f], hit[f], hitmin[f], hitmax[f], ratio(hit[f], hit[base[f]]),
                miss[f], missmin[f], missmax[f], ratio(miss[f], miss[base[f]])
        }
        BEGIN {
            split(built, x); b["cdb"] = x[1]; b["lmdb"] = x[2]; b["mph"] = x[3]; b["text"] = "-"
            split(sizes, x); s["text"] = x[1]; s["cdb"] = x[2]; s["lmdb"] = x[3]; s["mph"] = x[4]
            base["text"] = base["cdb-table"] = base["mph-table"] = "cdb-table"
            base["cdb"] = base["lmdb"] = base["mph"] = "cdb"
            b["cdb-table"] = b["mph-table"] = s["cdb-table"] = s["mph-table"] = ""
        }
        { open[$1] = $2; hit[$1] = $3; hitmin[$1] = $4; hitmax[$1] = $5
          miss[$1] = $6; missmin[$1] = $7; missmax[$1] = $8 }
        END {
            line("cdb", "cdb"); line("lmdb", "LMDB"); line("mph", "mph")
            line("text", "text *"); line("cdb-table", "cdb *"); line("mph-table", "mph *")
        }'
}

size() { stat -c %s "$1"; }

echo "machine: $(sed -n 's/^model name.*: //p;T;q' /proc/cpuinfo), $(nproc) processors, Linux $(uname -r), load $(cut -d' ' -f1 /proc/loadavg)"
echo "date: $(date -u +%F), $(gcc --version | head -1), libcmph $(dpkg-query -Wf '${Version}' libcmph0), LMDB $(dpkg-query -Wf '${Version}' liblmdb-dev), tinycdb $(dpkg-query -Wf '${Version}' tinycdb)"
echo
echo "open: us, of cdb and mph the median of 21 times. hit, miss: ns of processor time, median (least-most) of"
echo "7 passes of 400000 keys by turns, and ratio to cdb. *: through conf/table, as a plugin asks; the others: the bare lookup."
echo
printf '%9s %-9s %9s %11s %10s  %s  %s\n' keys form 'build ms' bytes 'open' \
    'hit                       /cdb' 'miss                     /cdb'
for n in "${@:-1000 100000 1000000 10000000}"; do
    for n in $n; do
        mkdir -p "$dir/list/lmdb"
        "$bench" write "$n" "$dir/list/list"
        cdb=$(timed cdb -c -m "$dir/list/list.cdb" "$dir/list/list")
        lmdb=$(timed "$bench" lmdb "$dir/list/list" "$dir/list/lmdb")
        mph=$(timed ./qpsmtpd-table -k exact "$dir/list/list")
        said=$(sed 's/.*, //' "$dir/said")
        "$bench" ask "$n" cdb "$dir/list/list.cdb" lmdb "$dir/list/lmdb" mph "$dir/list/list.mph" \
            text "$dir/list" cdb-table "$dir/list/list.cdb" mph-table "$dir/list/list.mph" |
            rows "$n" "$cdb $lmdb $mph" \
                "$(size "$dir/list/list") $(size "$dir/list/list.cdb") $(size "$dir/list/lmdb/data.mdb") $(size "$dir/list/list.mph")"
        echo "          qpsmtpd-table: $said, read back and checked"
        rm -rf "$dir/list"
    done
done

# ---- functions ----

echo
printf "%9s %-18s %9s %8s  %s\n" keys "packed function" "build ms" "bits/key" "ns a search"
for n in 10000 100000 1000000; do
    "$root/build/plain/t/bench/functions" "$n"
done

# ---- sessions ----

# What tcpserver starts for each client: greeting, one recipient of the list, end. The forms take
# turns, one session each, so that whatever else the machine does meets all of them; the text of a
# million lines comes every 25th time only.
configure() {
    mkdir -p "$dir/$1" "$dir/spool"
    echo "$dir/spool" >"$dir/$1/spool_dir"
    echo mx.example.test >"$dir/$1/me"
    echo rcpt_ok >"$dir/$1/plugins"
    echo 2 >"$dir/$1/loglevel"
}

for form in short thousand million text cdb; do configure "$form"; done
echo host77.ex77.com >"$dir/short/rcpthosts"
"$bench" write 1000 "$dir/thousand/rcpthosts"
"$bench" write 1000000 "$dir/million/rcpthosts"
"$bench" write 1000000 "$dir/text/rcpthosts"
cdb -c -m "$dir/cdb/morercpthosts.cdb" "$dir/text/rcpthosts"
echo other.test >"$dir/cdb/rcpthosts"
./qpsmtpd-table "$dir/thousand/rcpthosts" "$dir/million/rcpthosts" >/dev/null

echo
perl -MIO::Socket::INET -MTime::HiRes=time,sleep -e '
    my ($dir, $root) = @ARGV;
    my @forms = (
        [short => "text, 1 line"], [thousand => "compiled, 1 k lines"], [million => "compiled, 1 M lines"],
        [cdb => "morercpthosts.cdb, 1 M"], [text => "text, 1 M lines"]);
    my (%port, %pid, %ms);
    END { local $?; kill TERM => values %pid; waitpid $_, 0 for values %pid }

    for (map { $_->[0] } @forms) {
        $port{$_} = IO::Socket::INET->new(LocalAddr => "127.0.0.1", LocalPort => 0, Listen => 1)->sockport;
        my $pid = fork;
        die "fork: $!" unless defined $pid;
        if ($pid == 0) {
            %pid = ();
            exec "tcpserver", qw(-q -R -H -l localhost 127.0.0.1), $port{$_}, "$root/qpsmtpd", "-C", "$dir/$_",
                "-P", "$root/plugins" or die "tcpserver: $!";
        }
        $pid{$_} = $pid;
    }
    sub session {
        my ($form) = @_;
        my ($s, $start);
        for (1 .. 100) {
            $start = time;
            $s = IO::Socket::INET->new("127.0.0.1:$port{$form}") and last;
            sleep 0.05;
        }
        die "$form: no server\n" unless $s;
        for my $say (undef, "HELO x", "MAIL FROM:<a\@b.test>", "RCPT TO:<x\@host77.ex77.com>", "QUIT") {
            print $s "$say\r\n" if defined $say;
            my $reply = <$s>;
            die "$form: $say: $reply" unless $reply =~ /^2/;
        }
        <$s>;
        return 1000 * (time - $start);
    }
    for my $round (-3 .. 249) {
        for (map { $_->[0] } @forms) {
            next if $_ eq "text" && $round % 25;
            my $ms = session($_);
            push @{$ms{$_}}, $ms if $round >= 0;
        }
    }
    printf "%-24s %10s  %s  %s\n", "rcpthosts (tcpserver)", "a second", "ms, median (least-most)", "to 1 line";
    my $base;
    for (@forms) {
        my ($form, $name) = @$_;
        my @sorted = sort { $a <=> $b } @{$ms{$form}};
        my $median = $sorted[@sorted / 2];
        $base ||= $median;
        printf "%-24s %10.1f  %8.2f (%.2f-%.2f) %10.2f\n", $name, 1000 / $median, $median, @sorted[0, -1], $median / $base;
    }
' "$dir" "$root"
