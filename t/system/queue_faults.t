# What can go wrong while a message leaves, and what comes of it: a table of faults and queue plugins.
#
# The invariant: who saw 250 has the message at the next place exactly once. Who saw 4xx, 5xx or nothing
# may find it there or not, but whole; and the next try succeeds.
#
# A cell is "REPLY COPIES": the code that the client got ("none": the connection ended), and how many whole
# copies the next place has. "x3": so many different places of that fault. Faults of the disk are made by
# t/system/fault_preload.c in the server; the next places are played.
use strict;
use warnings;
use lib 't/system';

use Cwd qw(abs_path);
use POSIX ();
use Storable qw(nstore retrieve);
use Test::More;

use Probe;
use Qpsmtpd::Cleanup;
use Qpsmtpd::NextHop;
use Qpsmtpd::Test qw(slurp wait_for sanitized);

plan skip_all => 'sanitizers want to be loaded first themselves' if sanitized();

my $build = File::Temp->newdir('qpsmtpd-faults-XXXXXX', TMPDIR => 1);
my $preload = abs_path(Probe::build('t/system/fault_preload.c', "$build/fault_preload.so", '-Wall'));

# A plugin that leaves nobody, as a milter may, for one message.
open my $source, '>', "$build/nobody.c" or die "nobody.c: $!";
print $source <<'END';
#include <qpsmtpd/plugin.h>
static enum qp_rc
on_data_post(struct qp *q)
{
    while (qp_env(q, "NOBODY") && qp_rcpt_count(q) > 0)
        qp_rcpt_remove(q, qp_rcpt(q, 0)->address);
    return QP_DECLINED;
}
QP_PLUGIN(.name = "nobody", .data_post = on_data_post);
END
close $source;
Probe::build("$build/nobody.c", "$build/nobody.so");

# ---- rows ------------------------------------------------------------------------------------------

# A fault of the disk is tried at the first, second, ... call of its kind, until there are no more calls.
# DISK is the part of file names that the column cares for.
my @rows = (
    ['no fault'],
    ['disk full', preload => 'write:ENOSPC:0:DISK'],
    ['EIO, each open', preload => 'open:EIO:N:DISK'],
    ['EIO, each unnamed file', preload => 'tmpfile:EIO:N:DISK'],
    ['EIO, each write', preload => 'write:EIO:N:DISK'],
    ['EIO, each fsync', preload => 'fsync:EIO:N:DISK'],
    ['EIO, each link', preload => 'link:EIO:N:DISK'],
    ['EIO, each rename', preload => 'rename:EIO:N:DISK'],
    ['EIO, each spool read', preload => 'pread:EIO:N:spool/'],
    ['no more processes', preload => 'clone:EAGAIN:N:'],
    ['no more pipes', preload => 'pipe:EIO:N:'],
    ['nobody to send it to', env => {NOBODY => 1}],
    ['SIGKILL at each open', preload => 'open:KILL:N:DISK', killed => 1],
    ['SIGKILL at each write', preload => 'write:KILL:N:DISK', killed => 1],
    ['SIGKILL at each fsync', preload => 'fsync:KILL:N:DISK', killed => 1],
    ['SIGKILL at each link', preload => 'link:KILL:N:DISK', killed => 1],
    ['SIGKILL at each spool read', preload => 'pread:KILL:N:spool/', killed => 1],
    map { [$_, peer => 1] } 'nobody there', 'its disk is full', 'dies before the dot', 'dies during the message',
        'dies after the dot', 'dies after it took it', 'answers garbage', 'answers without newline', 'answers 1000 lines',
        'hangs at the end',
);

# ---- columns ---------------------------------------------------------------------------------------

my $limit = 3 * ($ENV{TEST_SLOW} || 1);

# A program of ours: does what the file `do` says, keeps messages in far/, whole or not at all.
my $program = <<'PERL';
use strict;
use warnings;
my ($dir) = $0 =~ m{(.*)/};
my $do = do { open my $fh, '<', "$dir/do" or die; local $/; <$fh> };
sub all { my ($fd) = @_; open my $fh, '<&=', $fd or die; binmode $fh; local $/; my $text = <$fh>; defined $text ? $text : '' }
sub keep { open my $fh, '>:raw', "$dir/far.tmp.$$" or die; print $fh $_[0]; close $fh; rename "$dir/far.tmp.$$", "$dir/far/$$" }
sub some { sysread STDIN, my $x, 1000 }
sub say6 { open my $fh, '>&=', 6 or die; syswrite $fh, $_[0] }
sub die_now { kill KILL => $$; sleep 10 }
sub envelope { all(1) =~ /\0\0\z/ or exit 54 }
sub batch { my ($m) = all(0) =~ /\nDATA\n(.*\n)\.\nQUIT\n\z/s or do { print "421 lost\n"; exit 2 }; $m =~ s/^\.\././mg; $m }
eval "$do; 1" or die $@;
exit 0;
PERL

# by_program - a column whose next place is such a program. take: Perl that takes a message into $m
sub by_program {
    my ($plugin, $take, $full, $garbage, $no_newline, $many) = @_;
    my $t = Qpsmtpd::Test->new(plugin_dirs => ["$build"]);
    my $path = $t->file('bin/program', "#!$^X\n$program");

    mkdir $t->dir . '/bin/far';
    chmod 0755, $path;
    my $does = sub { $t->file('bin/do', $_[0]) };
    return {
        t => $t, disk => 'spool/', plugin => $plugin =~ s/PROGRAM/$path/r . ($plugin =~ /timeout/ ? '' : " timeout ${limit}s"),
        far => sub { map { slurp($_) } glob $t->dir . '/bin/far/*' },
        well => sub { rename "$path.gone", $path; unlink glob $t->dir . '/bin/far/*'; $does->("$take; keep(\$m)") },
        peer => {
            'nobody there' => sub { rename $path, "$path.gone" },
            'its disk is full' => sub { $does->("$take; $full") },
            'dies before the dot' => sub { $does->('die_now') },
            'dies during the message' => sub { $does->('some; die_now') },
            'dies after the dot' => sub { $does->("$take; die_now") },
            'dies after it took it' => sub { $does->("$take; keep(\$m); die_now") },
            'answers garbage' => sub { $does->("$take; $garbage") },
            'answers without newline' => sub { $does->("$take; $no_newline") },
            'answers 1000 lines' => sub { $does->("$take; $many") },
            'hangs at the end' => sub { $does->("$take; sleep 60") },
        },
    };
}

# by_hop - one whose next place speaks SMTP or LMTP
sub by_hop {
    my ($name, $lmtp) = @_;
    my $t = Qpsmtpd::Test->new(plugin_dirs => ["$build"]);
    my $hop = Qpsmtpd::NextHop->new($t, lmtp => $lmtp);
    my %does = (
        'its disk is full' => {dot => '452 4.3.1 disk full'},
        'dies before the dot' => {DATA => {then => 'die'}},
        'dies during the message' => {message => {then => 'die'}},
        'dies after the dot' => {dot => {then => 'die'}},
        'dies after it took it' => {dot => {send => '250 o', then => 'die'}},
        'answers garbage' => {dot => {send => "\0\xff\r\n"}},
        'answers without newline' => {dot => {send => '550 no', then => 'silent'}},
        'answers 1000 lines' => {dot => {send => "451-x\r\n" x 1000, then => 'silent'}},
        'hangs at the end' => {dot => {then => 'silent'}},
    );
    my %peer = map { my $does = $does{$_}; ($_ => sub { $hop->does(%$does) }) } keys %does;
    my $stopped = 0;

    $peer{'nobody there'} = sub { $hop->stop; $stopped = 1 };
    return {
        t => $t, disk => 'spool/', plugin => "queue/$name 127.0.0.1:" . $hop->port . ' ' . $Qpsmtpd::NextHop::limits =~ s/ 1s/ ${limit}s/gr,
        far => sub { map { s/\r\n/\n/gr =~ s/^\.\././mgr } $hop->messages },
        well => sub { $hop->start if $stopped; $stopped = 0; $hop->clear; $hop->does },
        peer => \%peer,
    };
}

sub by_cleanup {
    my $t = Qpsmtpd::Test->new(plugin_dirs => ["$build"]);
    my $path = $t->dir . '/cleanup';
    my $c = Qpsmtpd::Cleanup->new($path);
    my %does = (
        'its disk is full' => 'hello; message; forget; status(2)',
        'dies before the dot' => 'hello',
        'dies during the message' => 'hello; part(1000)',
        'dies after the dot' => 'hello; message; forget',
        'dies after it took it' => 'hello; message',
        'answers garbage' => 'hello; message; forget; say_raw("\xff\0\xfe\0\0")',
        'answers without newline' => 'hello; message; forget; say_raw("status")',
        'answers 1000 lines' => 'hello; message; forget; attributes(map { ("n$_", "x") } 1 .. 1000)',
        'hangs at the end' => 'hello; message; forget; sleep 60',
    );
    my %peer = map { my $does = $does{$_}; ($_ => sub { $c->does($does) }) } keys %does;

    $peer{'nobody there'} = sub { rename $path, "$path.gone" };
    return {
        t => $t, disk => 'spool/', plugin => "queue/postfix-queue $path timeout ${limit}s",
        far => sub { map { $_->{lines} } $c->messages },
        # One connection at a time: who still sleeps for the fault before is put away.
        well => sub { rename "$path.gone", $path; $c->restart; $c->does('hello; message; status(0)') },
        peer => \%peer,
    };
}

# by_maildir - a column that is its own next place
sub by_maildir {
    my ($line, $always, @boxes) = @_;
    my $t = Qpsmtpd::Test->new(plugin_dirs => ["$build"]);
    my @dirs = map { $t->dir . "/$_" } @boxes ? map({ "Maildir/$_" } @boxes) : 'Maildir';

    return {
        t => $t, disk => 'Maildir', plugin => "queue/maildir $line", always => $always,
        to => @boxes ? [map { "$_\@example.test" } @boxes] : undef,
        well => sub { unlink map { glob "$_/new/*" } @dirs },
        # What only some of the boxes have is no copy.
        far => sub {
            my %in;
            for my $box (@dirs) { $in{$_}{$box}++ for map { slurp($_) } glob "$box/new/*" }
            return map { my $text = $_; my ($least) = sort { $a <=> $b } map { $in{$text}{$_} || 0 } @dirs; ($text) x $least } keys %in;
        },
    };
}

my @columns = (
    ['maildir', sub { by_maildir('Maildir') }],
    ['maildir, named', sub { by_maildir('Maildir', 'tmpfile:EOPNOTSUPP:0:Maildir') }],
    ['maildir, 3 links', sub { by_maildir('Maildir %l', '', qw(a b c)) }],
    ['qmail-queue', sub { by_program('queue/qmail-queue PROGRAM', 'my $m = all(0); envelope', 'exit 53',
        'say6("\xff\0\xfe"); exit 82', 'say6("Dno"); exit 82', 'say6("Zx\n" x 1000); exit 82') }],
    ['pipe', sub { by_program("queue/pipe timeout ${limit}s PROGRAM", 'my $m = all(0)', 'exit 74',
        'print "\xff\0\n"; exit 75', 'print "no"; exit 67', 'print "x\n" x 1000; exit 75') }],
    ['exim-bsmtp', sub { by_program('queue/exim-bsmtp exim_path PROGRAM', 'my $m = batch', 'print "452 full\n"; exit 2',
        'print "\xff\0\n"; exit 2', 'print "550 no"; exit 2', 'print "451-x\n" x 1000; exit 2') }],
    ['postfix-queue', \&by_cleanup],
    ['smtp-forward', sub { by_hop('smtp-forward', 0) }],
    ['lmtp', sub { by_hop('lmtp', 1) }],
);

# Where a refusal is what the next place has said, and it was told well: the program's or Exim's words.
my %final = map { $_ => 1 } 'qmail-queue/answers without newline', 'pipe/answers without newline', 'exim-bsmtp/answers without newline';

# ---- one cell --------------------------------------------------------------------------------------

my $lines = join '', map { "$_ " . 'x' x 70 . "\n" } 1 .. 1200;
my $serial = 0;

# try - one message in a session of its own: [code, whole copies of it, broken ones]
sub try {
    my ($c, $id, $fault, $peer, $env) = @_;
    my @faults = grep { defined && length } $c->{always}, $fault;
    my $d = $c->{t}->dialogue(env => {LD_PRELOAD => $preload, FAULT => join(';', @faults), FAULT_DONE => $c->{t}->dir . '/done',
        %{$env || {}}});
    my $body = "\n$id\n$lines$id end\n";
    $peer->() if $peer;
    my $reply = $d->deliver('x@client.test', $c->{to} || 'a@example.test', "Subject: $id\n$body");
    my @all = grep { /^Subject: \Q$id\E$/m } $c->{far}->();
    my @whole = grep { /\n\Q$body\E\z/ } @all;

    $d->hangup;
    $d->status;
    return [$reply =~ /^(\d{3})/ ? $1 : 'none', scalar @whole, @all - @whole];
}

# cell - what a row does to a column: its text for the table, and what is wrong with it
sub cell {
    my ($c, $name, $row) = @_;
    my ($what, %row) = @$row;
    my (@outcomes, @wrong);

    return {text => '-', wrong => []} if $row{peer} && !$c->{peer};
    my $peer = $c->{peer} && $c->{peer}{$what};
    for my $n (1 .. 40) {
        my $id = sprintf '%s-%d', $name =~ s/\W/_/gr, ++$serial;
        my $fault = defined $row{preload} ? $row{preload} =~ s/:N:/:$n:/r =~ s/DISK/$c->{disk}/r : '';

        unlink $c->{t}->dir . '/done';
        $c->{well}->() if $c->{well};
        my $o = try($c, $id, $fault, $peer, $row{env});
        my ($code, $whole, $broken) = @$o;
        my $which = length($c->{always} // '') ? 1 : 0;
        my $happened = !defined $row{preload} || (slurp($c->{t}->dir . '/done') // '') =~ /$which/;
        last unless $happened;
        push @outcomes, $o;
        push @wrong, "$n: 250, but $whole copies" if $code =~ /^2/ && $whole != 1;
        push @wrong, "$n: $code, and $whole copies" if $code !~ /^2/ && $whole > 1;
        push @wrong, "$n: $broken broken copies" if $broken;
        push @wrong, "$n: $code is no 4xx" if $code =~ /^5/ && !$final{"$name/$what"} && !$row{env};
        push @wrong, "$n: $code for nobody" if $code !~ /^5/ && $row{env};
        push @wrong, "$n: $code, and it lives on" if $row{killed} && $code ne 'none';
        push @wrong, "$n: no reply" if !$row{killed} && $code eq 'none';
        # Nothing of the fault stays: the same message again.
        $c->{well}->() if $c->{well};
        my $again = try($c, "$id-again", '');
        push @wrong, "$n: afterwards @$again" if "@$again" ne '250 1 0';
        last unless defined $row{preload} && $row{preload} =~ /:N:/;
    }
    return {text => 'no such call', wrong => []} unless @outcomes;
    my (%count, @texts);
    for my $o (@outcomes) {
        my $text = "$o->[0] $o->[1]";
        push @texts, $text unless $count{$text}++;
    }
    return {text => join(', ', map { $count{$_} > 1 ? "$_ x$count{$_}" : $_ } @texts), wrong => \@wrong};
}

# column - all cells of one, in a process of its own
sub column {
    my ($name, $make, $file) = @_;
    my $c = $make->();
    my %cells;

    $c->{t}->config(plugins => ['rcpt_ok', 'nobody', $c->{plugin}]);
    $c->{t}->config(rcpthosts => 'example.test');
    $c->{t}->config(size_threshold => 0); # everything into the spool
    $c->{t}->config(loglevel => 4);
    for my $row (@rows) {
        $cells{$row->[0]} = eval { cell($c, $name, $row) } || {text => 'died', wrong => [$@]};
    }
    nstore(\%cells, $file);
}

# ---- the table -------------------------------------------------------------------------------------

my (%pid, %table);
for my $i (0 .. $#columns) {
    my $pid = fork // die "fork: $!";
    if ($pid == 0) {
        column(@{$columns[$i]}, "$build/$i");
        exit 0;
    }
    $pid{$pid} = $i;
    wait_for(sub { delete $pid{$_} for grep { waitpid($_, POSIX::WNOHANG()) > 0 } keys %pid; keys %pid < 4 }, 250, 'a column');
}
wait_for(sub { delete $pid{$_} for grep { waitpid($_, POSIX::WNOHANG()) > 0 } keys %pid; !%pid }, 250, 'the last columns');
for my $i (0 .. $#columns) {
    $table{$columns[$i][0]} = -e "$build/$i" ? retrieve("$build/$i") : {};
}

my $first = 27;
for my $part ([0 .. 2], [3 .. 5], [6 .. 8]) {
    my @names = map { $columns[$_][0] } @$part;
    diag sprintf "%-${first}s" . ' %-24s' x @names, 'fault', @names;
    for my $row (@rows) {
        diag sprintf "%-${first}s" . ' %-24s' x @names, $row->[0], map { $table{$_}{$row->[0]}{text} // '?' } @names;
    }
    diag '';
}
for my $name (map { $_->[0] } @columns) {
    for my $row (map { $_->[0] } @rows) {
        my $cell = $table{$name}{$row} || {wrong => ['no result']};
        is join("\n", @{$cell->{wrong}}), '', "$name: $row";
    }
}

# The table must not be empty where it matters.
isnt $table{$_->[0]}{$_->[1]}{text}, 'no such call', "$_->[0]: $_->[1]: happens"
    for (map { my $column = $_; map { [$column, $_] } 'disk full', 'EIO, each open', 'EIO, each write', 'EIO, each fsync', 'EIO, each link' } 'maildir', 'maildir, named', 'maildir, 3 links'),
    (map { [$_, 'EIO, each spool read'] } grep { !/pipe|maildir/ } map { $_->[0] } @columns), (map { [$_, 'no more processes'] } 'qmail-queue', 'pipe', 'exim-bsmtp');
is $table{$_}{'no fault'}{text}, '250 1', "$_: without a fault" for map { $_->[0] } @columns;
done_testing;
