#!/usr/bin/perl
# run.pl - how fast this server receives mail, beside the least that it can cost and beside other servers
#
#   make bench [BENCH='OPTION ...']
#   t/bench/run.pl [--rounds N] [--seconds N] [--measures LETTERS] [--dir DIRECTORY] [NAME ...]
#
#   --rounds N     default 3: figures are medians of them
#   --seconds N    of one sample, default 3
#   --measures     default abpdchge, of
#       a  sessions/s, one message of 4 KB each, 20 at the same time; and the server's processor time for them
#       b  messages/s, 100 on each of 20 connections             p  the same with PIPELINING
#       d  MB/s, messages of 64 MB, on 1 and on 4 connections
#       c  as a, but a message is on the disk before its 250; and, against a loop that writes files of that
#          size and does nothing else, messages/s on 20 connections that stay
#       h  as a, with 1, 20, 200 and 1000 at the same time; and the processor time with 20 and with 1000
#       g  as a, under tcpserver
#       e  memory of a connection: what PSS grows by from 100 idle ones to 500
#   --dir          where servers keep what they write, on the disk to be measured; default build/bench
#   NAME           servers, default all that can run here: see Bench/Peers.pm
#
# All servers are up at the same time, on their own ports of 127.0.0.1, and are loaded in turn, round by round,
# so that whatever else the machine does meets all of them. A ratio is the median of those within a round;
# ratios can be compared with other runs, figures cannot. Nothing is installed, and all that was started ends.
# Ctrl-C ends it with what is known by then.

use strict;
use warnings;

use Cwd qw(abs_path);
use File::Basename qw(dirname);
use File::Path qw(make_path remove_tree);
use File::Temp qw(tempdir);
use Getopt::Long qw(:config bundling no_ignore_case);
use POSIX qw(strftime);

use lib dirname(abs_path(__FILE__));
use Bench::Peers;
use Bench::Server;

my %o = (rounds => 3, seconds => 3, measures => 'abpdchge', dir => 'build/bench');
my $command = join ' ', 't/bench/run.pl', @ARGV;
GetOptions(\%o, 'rounds=i', 'seconds=f', 'measures=s', 'dir=s') or exit 2;
chdir dirname(abs_path(__FILE__)) . '/../..' or die "the root of the tree: $!\n";
$| = 1;

# ---- the servers -----------------------------------------------------------------------------------

make_path($o{dir});
my $work = tempdir('run-XXXXXX', DIR => abs_path($o{dir}), CLEANUP => 1);
chmod 0755, $work;
my (@servers, @absent);

for my $name (@ARGV ? @ARGV : Bench::Peers::names()) {
    my %how = eval { Bench::Peers::describe($name) };
    if ($@) {
        push @absent, "$name: $@";
        next;
    }
    my $dir = "$work/" . $name =~ s/\W+/-/gr;
    make_path($dir);
    push @servers, Bench::Server->new(name => $name, dir => $dir, %how);
}
$SIG{$_} = sub { exit 1 } for qw(HUP TERM);
my $owner = $$;
END {
    if ($$ == ($owner || 0)) {
        local $?;
        $_->stop for @servers;
    }
}

sub progress { print STDERR strftime('%H:%M:%S ', localtime), "@_\n" }

# ---- measures --------------------------------------------------------------------------------------

my $t = $o{seconds};

# key => letter of the measure, arguments of the load, and which of its figures are kept under which name
my @steps = (
    [a     => 'a', ['-c', 20, '-t', $t],                     {a => 'sessions_s', p50 => 'p50_ms', p99 => 'p99_ms'}],
    [b     => 'b', ['-c', 20, '-t', $t, '-m', 100],          {b => 'messages_s'}],
    [p     => 'p', ['-c', 20, '-t', $t, '-m', 100, '-p'],    {p => 'messages_s'}],
    [d1    => 'd', ['-c', 1, '-t', 1, '-s', 64_000_000],     {d1 => 'mbyte_s'}],
    [d4    => 'd', ['-c', 4, '-t', 1, '-s', 64_000_000],     {d4 => 'mbyte_s'}],
    [h1    => 'h', ['-c', 1, '-t', $t],                      {h1 => 'sessions_s'}],
    [h20   => 'h', ['-c', 20, '-t', $t],                     {h20 => 'sessions_s'}],
    [h200  => 'h', ['-c', 200, '-t', $t],                    {h200 => 'sessions_s'}],
    [h1000 => 'h', ['-c', 1000, '-t', $t],                   {h1000 => 'sessions_s', h1000p99 => 'p99_ms'}],
);

my @others;

# sample - one run of the load, and what is kept of it
sub sample {
    my ($s, $step) = @_;
    my ($key, $letter, $args, $keep) = @$step;
    my $r = $s->load(@$args);

    push @{$s->{results}{$_}}, $r->{$keep->{$_}} for keys %$keep;
    push @{$s->{results}{"cpu_$key"}}, $r->{sessions} ? 1000 * $r->{server_s} / $r->{sessions} : undef;
    push @others, $r->{others};
}

sub wants {
    my ($s, $letter) = @_;
    my $measure = $s->{tcpserver} ? 'g' : $letter;

    # Under tcpserver there is but one measure.
    return 0 if $s->{tcpserver} && $letter ne 'a';
    return $o{measures} =~ /$measure/ && $s->{without} !~ /$letter/;
}

sub throwing_away {
    my @up = grep { my $s = $_; grep { wants($s, $_->[1]) } @steps } @servers;
    @up = grep { $_->start('null') && $_->load('-c', 20, '-t', 0.7) } @up;

    for my $round (1 .. $o{rounds}) {
        for my $step (@steps) {
            for my $s (grep { wants($_, $step->[1]) } @up) {
                sample($s, $step);
                next if $step->[0] ne 'h1000';
                # The processes of a thousand clients would be in the way of the others.
                $s->stop;
                $s->start('null');
                $s->load('-c', 20, '-t', 0.7);
            }
        }
        progress("round $round of $o{rounds}");
    }
    $_->stop for @up;
}

# ---- on the disk -----------------------------------------------------------------------------------

# disk - files a second of that size, by as many processes; of a directory of its own
sub disk {
    my ($bytes) = @_;
    my $dir = "$work/disk";

    remove_tree($dir);
    mkdir $dir or die "$dir: $!\n";
    chomp(my $rate = `build/bench/disk '$dir' 20 @{[int($t + 0.5) || 1]} $bytes`);
    return $rate;
}

# file_size - of what the server has written last; undef: it keeps no Maildir
sub file_size {
    my ($s) = @_;

    opendir my $dir, $s->dir . '/Maildir/new' or return undef;
    my ($name) = grep { !/^\./ } readdir $dir;
    return defined $name ? -s $s->dir . "/Maildir/new/$name" : undef;
}

sub keeping {
    my @up = grep { $_->has('durable') && $_->{without} !~ /c/ } @servers;
    my ($ours) = grep { $_->name eq 'qpsmtpd-prefork' } @up;

    for my $round (1 .. $o{rounds}) {
        for my $s (@up) {
            # Started anew: with an empty directory.
            $s->start('durable') && $s->load('-c', 20, '-t', 0.5) or next;
            my $r = $s->load('-c', 20, '-t', $t);
            push @{$s->{results}{c}}, $r->{sessions_s};
            if ($ours && $s == $ours) {
                $r = $s->load('-c', 20, '-t', $t, '-m', 50, '-p');
                push @{$s->{results}{k}}, $r->{messages_s};
                my $size = file_size($s);
                $s->stop;
                push @{$s->{results}{disk}}, disk($size);
            }
            $s->stop;
        }
        progress("durable, round $round of $o{rounds}");
    }
}

# ---- memory ----------------------------------------------------------------------------------------

sub remembering {
    for my $s (grep { wants($_, 'e') && !$_->{tcpserver} } @servers) {
        my %kb;
        for my $n (100, 500) {
            $s->start('null', workers => $n + 20) && $s->load('-c', 20, '-t', 0.7) or last;
            my $connections = $s->idle($n);
            $s->settle;
            $kb{$n} = $s->memory if $connections;
            undef $connections;
            $s->stop;
        }
        push @{$s->{results}{e}}, ($kb{500} - $kb{100}) / 400 if $kb{500};
        progress('memory of ' . $s->name);
    }
}

# ---- the table -------------------------------------------------------------------------------------

sub median {
    my @sorted = sort { $a <=> $b } grep { defined } @_;

    return @sorted ? ($sorted[$#sorted / 2] + $sorted[@sorted / 2]) / 2 : undef;
}

my %by_name = map { $_->name => $_ } @servers;

# results - of a server, "NAME KEY", round by round
sub results {
    my ($what) = @_;
    my ($name, $key) = $what =~ /(.*) (\w+)/;

    return $by_name{$name} ? @{$by_name{$name}{results}{$key} || []} : ();
}

# ratio - the median of those within a round
sub ratio {
    my ($x, $y) = map { [results($_)] } @_;

    return median(map { defined $x->[$_] && $y->[$_] ? $x->[$_] / $y->[$_] : undef } 0 .. $#$x);
}

sub figure {
    my ($x) = @_;

    return '-' unless defined $x;
    return sprintf $x >= 100 ? '%.0f' : $x >= 10 ? '%.1f' : $x >= 0.1 ? '%.2f' : '%.3f', $x;
}

sub line {
    my ($first, @rest) = @_;

    return sprintf("%-20s", $first) . join('', map { sprintf '%9s', $_ } @rest) . "\n";
}

sub print_table {
    my @columns = ([a => 'sess/s'], [p50 => 'p50 ms'], [p99 => 'p99 ms'], [cpu_a => 'cpu s'], [b => 'b msg/s'], [p => 'p msg/s'],
        [d1 => 'd1 MB/s'], [d4 => 'd4 MB/s'], [h1 => 'h1'], [h20 => 'h20'], [h200 => 'h200'], [h1000 => 'h1000'], [h1000p99 => 'p99 ms'],
        [c => 'c sess/s'], [e => 'e KB']);

    print line('', map { $_->[1] } @columns);
    for my $s (@servers) {
        print line($s->name, map { figure(median(@{$s->{results}{$_->[0]} || []})) } @columns);
    }
    print "\ncpu s: of the server, for 1000 sessions; p99 ms behind h1000 belongs to it.\n";
    printf "On connections that stay, durable: %s messages/s; the bare loop: %s files/s.\n",
        figure(median(results('qpsmtpd-prefork k'))), figure(median(results('qpsmtpd-prefork disk')))
        if $o{measures} =~ /c/;
    printf "Others used %.0f %% of the machine at the median of all samples, %.0f %% at most.\n", 100 * median(@others),
        100 * (sort { $a <=> $b } @others)[-1] if @others;
    print "not here: $_" for @absent;
    for my $s (grep { @{$_->{errors}} } @servers) {
        print $s->name, ': ', scalar @{$s->{errors}}, " errors, the first: $s->{errors}[0]\n";
    }
}

# ---- goals -----------------------------------------------------------------------------------------

my $ours = 'qpsmtpd-prefork';

# flat - from 20 connections on, the worst rate beside the best: of the medians, as the worst of a round's
# samples is a matter of what else the machine did
sub flat {
    my ($name) = @_;
    my @sorted = sort { $a <=> $b } grep { defined } map { median(results("$name $_")) } qw(h20 h200 h1000);

    return @sorted == 3 ? $sorted[0] / $sorted[2] : undef;
}

# beside - the load has the same processors as the servers, and slows down with its connections as well
sub beside {
    my ($ours, $sink) = @_;

    return defined $ours && $sink ? $ours / $sink : undef;
}

# What, its figure, '>=' or '<=', the goal.
sub goals {
    my @real = ('OpenSMTPD', 'Postfix', 'Exim');
    my ($b_best) = sort { ($b->[1] || 0) <=> ($a->[1] || 0) } map { [$_, median(results("$_ b"))] } @real;

    return (
        ['sessions/s, of the sink',             ratio("$ours a", 'sink a'),                 '>=', 0.7],
        ['sessions/s, of OpenSMTPD',            ratio("$ours a", 'OpenSMTPD a'),            '>=', 2.8],
        ['sessions/s, of Perl qpsmtpd',         ratio("$ours a", 'Perl qpsmtpd a'),         '>=', 20],
        ['messages/s, of the sink',             ratio("$ours b", 'sink b'),                 '>=', 0.7],
        ['... pipelined, of the sink',          ratio("$ours p", 'sink p'),                 '>=', 0.7],
        ["messages/s, of $b_best->[0]",         ratio("$ours b", "$b_best->[0] b"),         '>=', 4],
        ["... pipelined, of $b_best->[0]'s best", best_of_both("$ours p", @real),           '>=', 4],
        ['MB/s, 1 connection, of the sink',     ratio("$ours d1", 'sink d1'),               '>=', 0.7],
        ['MB/s, 4 connections, of the sink',    ratio("$ours d4", 'sink d4'),               '>=', 0.7],
        ['MB/s, 1 connection, of OpenSMTPD',    ratio("$ours d1", 'OpenSMTPD d1'),          '>=', 4],
        ['MB/s, 4 connections, of OpenSMTPD',   ratio("$ours d4", 'OpenSMTPD d4'),          '>=', 4],
        (map { ["durable sessions/s, of $_",    ratio("$ours c", "$_ c"),                   '>=', 1] } @real),
        ['durable messages/s, of the bare loop', ratio("$ours k", "$ours disk"),            '>=', 0.8],
        ['KB of an idle connection',            median(results("$ours e")),                 '<=', 68],
        ['cpu s for 1000 sessions',             median(results("$ours cpu_a")),              '<=', 0.3],
        ['tcpserver, of qmail-smtpd',           ratio('tcpserver qpsmtpd a', 'tcpserver qmail a'), '>=', 1],
        ['tcpserver, qmail\'s checks, of the sink', ratio('tcpserver, checks a', 'tcpserver sink a'), '>=', 0.51],
        ['tcpserver, all plugins, of the sink', ratio('tcpserver qpsmtpd a', 'tcpserver sink a'), '>=', 0.51],
        ['tcpserver, pool, of the sink there',  ratio('tcpserver --pool a', 'tcpserver sink a'), '>=', 0.8],
        ['20 to 1000: worst of best',           flat($ours),                                '>=', 0.9],
        ['... beside the sink\'s own',          beside(flat($ours), flat('sink')),          '>=', 0.9],
        ['cpu s at 1000, of that at 20',        ratio("$ours cpu_h1000", "$ours cpu_h20"),  '<=', 1.1],
        ['p99 at 1000, of the sink\'s',         ratio("$ours h1000p99", 'sink h1000p99'),   '<=', 2],
    );
}

# best_of_both - against the best of what the others do, pipelined or not
sub best_of_both {
    my ($what, @names) = @_;
    my @ratios = grep { defined } map { my $n = $_; map { ratio($what, "$n $_") } qw(b p) } @names;

    return scalar @ratios ? (sort { $a <=> $b } @ratios)[0] : undef;
}

sub print_goals {
    printf "\n%-40s %8s %8s\n", 'goal', 'is', 'wanted';
    for my $g (goals()) {
        my ($what, $is, $relation, $wanted) = @$g;
        next unless defined $is;
        my $held = $relation eq '>=' ? $is >= $wanted : $is <= $wanted;
        printf "%-40s %8s %3s %5s  %s\n", $what, figure($is), $relation, $wanted, $held ? 'held' : 'NOT HELD';
    }
}

sub print_machine {
    open my $fh, '<', '/proc/cpuinfo' or die "/proc/cpuinfo: $!\n";
    my @models = map { /^model name\s*: (.*)/ ? $1 : () } <$fh>;
    my @u = POSIX::uname();

    printf "%s; %s, %d processors, %s %s\n", strftime('%Y-%m-%d %H:%M UTC', gmtime), $models[0] || 'unknown processor',
        scalar @models, @u[0, 2];
    print "$command\n";
    my @packages = map { $_->{package} ? $_->{package} . ' ' . version($_->{package}) : () } @servers;
    print join(', ', @packages, 'ucspi-tcp ' . (`dpkg-query -Wf '\${Version}' ucspi-tcp 2>/dev/null` || '?')), "\n\n";
}

sub version {
    my ($package) = @_;

    return `LC_ALL=C apt-cache policy '$package' 2>/dev/null` =~ /Candidate: (\S+)/ ? $1 : '?';
}

print_machine();
eval {
    local $SIG{INT} = sub { die "interrupted: these are the figures so far\n" };
    keeping() if $o{measures} =~ /c/;
    remembering() if $o{measures} =~ /e/;
    throwing_away();
    1;
} or print $@;
print_table();
print_goals();
