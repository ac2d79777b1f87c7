# What a session costs: system calls and instructions, beside the figures in cost.baseline. Neither
# depends on how busy the machine is, nor on how fast; what grows by more than a tenth is a failure.
# Whoever accepts the growth writes the new figure into that file.

use strict;
use warnings;

use Cwd qw(abs_path);
use File::Basename qw(basename dirname);
use Test::More;
use Qpsmtpd::Test qw(sanitized slurp wait_for);

plan skip_all => 'sanitizers change what is counted' if sanitized;

my $here = abs_path(dirname(__FILE__));
my %baseline = slurp("$here/cost.baseline") =~ /^([a-z]\S*)\s+([\d.]+)/mg;
my ($sessions, $calls_max, $growth) = (10, 30, 1.1);

# config.sample with every message thrown away
my $t = Qpsmtpd::Test->new(config => {me => undef, spool_dir => undef, loglevel => undef});
$t->config(basename($_) => slurp($_)) for grep { -f } glob "$here/../../config.sample/*";
$t->config(plugins => slurp("$here/../../config.sample/plugins") =~ s{^queue/maildir .*}{queue/discard}mr);

# message - of so many bytes on the wire
sub message {
    my ($size) = @_;
    my $head = "From: <a\@client.test>\nDate: Mon, 02 Mar 2026 01:02:03 +0000\nSubject: cost\n\n";
    my $line = 'the quick brown fox jumps over the lazy dog, and packs five dozen jugs' . "\n";

    return $head . $line x (($size - length $head) / (1 + length $line));
}

# start - the daemon as some tool's victim, with one process that ends after so many sessions
sub start {
    my ($lifetime, @tool) = @_;

    return $t->serve(sub {
        return (@tool, $t->program('qpsmtpd-prefork'), $t->options, '-H', '-l', '127.0.0.1', '-p', $_[0],
            '--user', scalar getpwuid $<, '--children', 1, '--idle-children', 1, '--child-lifetime', $lifetime);
    });
}

# session - one message, and wait until the server has closed
sub session {
    my ($server, $message) = @_;
    my $d = $server->connect;
    my $reply = $d->deliver('a@client.test', 'b@example.test', $message);

    $reply =~ /^250 / or die "$reply\n" . $d->log;
    $d->quit;
    $d->eof or die 'the connection stays open';
    return;
}

# no_more_than - the figure, beside its baseline
sub no_more_than {
    my ($name, $figure) = @_;
    my $limit = $baseline{$name} * $growth;

    my $good = cmp_ok $figure, '<=', $limit, sprintf '%s: %.6g, baseline %.6g', $name, $figure, $baseline{$name};
    note "t/system/cost.baseline could be lowered" if $figure < $baseline{$name} / $growth;
    return $good;
}

is join(' ', sort keys %baseline), 'instructions instructions_per_byte process_instructions process_system_calls system_calls',
    'cost.baseline is whole';

# process - a session as under tcpserver, whose program is some tool's victim from its start to its end
sub process {
    my (@tool) = @_;
    my $wrapper = $t->file('wrapper', '#!/bin/sh' . "\nexec @tool '" . $t->program('qpsmtpd') . "' \"\$@\"\n");

    chmod 0755, $wrapper;
    no warnings 'redefine';
    local *Qpsmtpd::Test::program = sub { $wrapper };
    my $d = $t->dialogue;
    my $reply = $d->deliver('a@client.test', 'b@example.test', message(4096));
    $reply =~ /^250 / or die "$reply\n" . $d->log;
    $d->quit;
    is $d->status, 0, 'a process for one session';
}

# ---- system calls ----

# Between the end of the first session and that of the last: what a process does once does not count.
# -D: the daemon is our child, strace is not. A call that another process interrupts has two lines.
SKIP: {
    my ($status, $said) = $t->run('strace', '-o', '/dev/null', 'true');
    skip "processes cannot be traced here: $said", 2 if $status != 0;

    my $trace = $t->dir . '/strace';
    my $server = start($sessions + 2, 'strace', '-D', '-f', '-qq', '-e', 'signal=none', '-o', $trace);
    my $message = message(4096);
    session($server, $message) for 0 .. $sessions;
    $server->stop;

    # accept4 begins a session; one more may come when the socket is shut down, unless the signal was faster.
    my (%accepts, %calls);
    for (split /\n/, slurp($trace)) {
        my ($pid, $call) = /^(\d+) +([a-z]\w*)\(/ or next;
        $accepts{$pid}++ if $call eq 'accept4';
        push @{$calls{$pid}[$accepts{$pid}]}, $call if $accepts{$pid};
    }
    my ($pid) = grep { $accepts{$_} > $sessions } keys %accepts;
    ok $pid, "one process has served all sessions" or diag explain \%accepts;
    my %count;
    $count{$_}++ for map { @{$calls{$pid}[$_]} } 2 .. $sessions + 1;
    my $sum = 0;
    $sum += $_ for values %count;
    my $good = no_more_than(system_calls => $sum / $sessions);
    $good &= cmp_ok $sum / $sessions, '<=', $calls_max, "at most $calls_max system calls a session";
    $good or diag map { sprintf "%6.1f %s\n", $count{$_} / $sessions, $_ } sort { $count{$b} <=> $count{$a} } keys %count;
}

SKIP: {
    my $trace = $t->dir . '/strace.process';
    my ($status, $said) = $t->run('strace', '-o', '/dev/null', 'true');
    skip "processes cannot be traced here: $said", 2 if $status != 0;

    process('strace', '-qq', '-e', 'signal=none', '-o', $trace);
    my %count;
    $count{$_}++ for slurp($trace) =~ /^([a-z]\w*)\(/mg;
    my $sum = 0;
    $sum += $_ for values %count;
    no_more_than(process_system_calls => $sum)
        or diag map { sprintf "%6d %s\n", $count{$_}, $_ } sort { $count{$b} <=> $count{$a} } keys %count;
}

# ---- instructions ----

# counted - by callgrind, in sessions alone, for so many of them in one process
sub counted {
    my ($n, $message) = @_;
    my $out = $t->dir . "/callgrind.$n." . length $message;
    my $server = start($n, 'valgrind', '--tool=callgrind', '--toggle-collect=session_run', "--callgrind-out-file=$out.%p");
    my ($count, $served);

    session($server, $message) for 1 .. $n;
    # The process writes its file when it has ended; the listener and the next process have collected nothing.
    wait_for(sub { ($count) = grep { $_ } map { slurp($_) =~ /^totals: (\d+)/m } glob "$out.*" }, 20, 'the count');
    $server->stop;
    return $count;
}

# platform - what else decides about instructions: compiler, library, processor
sub platform {
    my ($compiler, $version) = `readelf -p .comment '@{[$t->program('qpsmtpd-prefork')]}'` =~ /\] +(\w+).* (\d+)\./;
    my @levels = (slurp("$here/../../build/plain/flags") || '-O2') =~ /(?<!\S)-O(\S*)/g;
    chomp(my $libc = `getconf GNU_LIBC_VERSION`);
    chomp(my $machine = `uname -m`);
    return "$compiler $version -O$levels[-1], $libc, $machine";
}

SKIP: {
    my ($wanted) = slurp("$here/cost.baseline") =~ /^# instructions: (.*)/m;
    my $platform = platform();
    skip "the baseline is for $wanted, this is $platform", 4 if $platform ne $wanted;

    my ($small, $big) = (message(4096), message(1 << 24));
    my $first = counted(1, $small);
    no_more_than(instructions => (counted($sessions + 1, $small) - $first) / $sessions);
    no_more_than(instructions_per_byte => (counted(1, $big) - $first) / (length($big) - length $small));

    my $out = $t->dir . '/callgrind.process';
    process('valgrind', '--quiet', '--tool=callgrind', "--callgrind-out-file=$out");
    my ($process) = slurp($out) =~ /^totals: (\d+)/m;
    no_more_than(process_instructions => $process);
}

done_testing;
