# In the place of qmail-smtpd: tcpserver, a control directory, and no configuration of our own. What
# qmail-smtpd does, this does: relays for RELAYCLIENT, refuses badmailfrom, accepts rcpthosts and
# morercpthosts.cdb, and hands the message to qmail-queue.

use strict;
use warnings;

use File::Basename qw(dirname);
use File::Copy qw(copy);
use File::Path qw(make_path);
use Test::More;

use Qpsmtpd::Test qw(slurp wait_for);

# QMAIL is $t->dir/qmail for all that the harness starts.
my $t = Qpsmtpd::Test->new(plugins => []);
my $qmail = $t->dir . '/qmail';
my $control = "$qmail/control";

# The program in a directory of its own: plugins/ beside it, no config/.
my $build = dirname($t->program('qpsmtpd'));
my $home = $t->dir . '/bin';
make_path($home, $control, "$qmail/bin");
copy("$build/qpsmtpd", "$home/qpsmtpd") or die "qpsmtpd: $!";
chmod 0755, "$home/qpsmtpd";
symlink "$build/plugins", "$home/plugins" or die "plugins: $!";
unlink $t->dir . '/config/plugins';
my ($compiled_in) = do {
    my $program = slurp("$home/qpsmtpd");
    grep { -d } $program =~ m{\0(/[\w./-]+/qpsmtpd)\0}g;
};

# control - a control file; without content it goes
sub control {
    my ($name, $content) = @_;

    return defined $content ? $t->file("qmail/control/$name", $content) : unlink "$control/$name";
}

# The stand-in keeps what it gets and ends as it is told; it says its id, as qmail-queue is known by.
$t->file('qmail/bin/qmail-queue', <<'END');
#!/bin/sh
dir=${0%/*}
cat >"$dir/message.new"
cat <&1 >"$dir/envelope"
echo $$ >"$dir/pid"
mv "$dir/message.new" "$dir/message"
[ ! -e "$dir/exit" ] || exit "$(cat "$dir/exit")"
END
chmod 0755, "$qmail/bin/qmail-queue";

# queued - what qmail-queue got: message, envelope; both are gone afterwards
sub queued {
    my @got = map { slurp("$qmail/bin/$_") } qw(message envelope);

    unlink map { "$qmail/bin/$_" } qw(message envelope);
    return @got;
}

# exits - how qmail-queue ends from now on
sub exits {
    my ($code) = @_;

    return $code ? $t->file('qmail/bin/exit', $code) : unlink "$qmail/bin/exit";
}

# cdb - made by cdb(1) from lines "key" or "key value"
sub cdb {
    my ($file, @keys) = @_;
    my $text = join '', map { sprintf "+%d,0:%s->\n", length, $_ } @keys;
    my ($status, $output) = $t->run({stdin => "$text\n"}, 'cdb', '-c', '-t', "$file.tmp", $file);

    die "cdb: $output" if $status;
}

sub rules {
    my (@lines) = @_;
    my ($status, $output) = $t->run({stdin => join '', map { "$_\n" } @lines}, 'tcprules', $t->dir . '/tcp.cdb', $t->dir . '/tcp.tmp');

    die "tcprules: $output" if $status;
}

SKIP: {
skip "an installed configuration is here: $compiled_in", 1 if $compiled_in;

control(me => "mx.ours.test\n");
control(rcpthosts => "# ours\nours.test\n.sub.test\nMixed.Test  \n");
control(badmailfrom => "spam\@bad.test\n\@evil.test\n");
rules('127.0.0.2:allow,RELAYCLIENT=""', '127.0.0.3:allow,RELAYCLIENT="@fix.test"', '127.0.0.4:deny',
    '127.0.0.5:allow,DATABYTES="100"', '127.0.0.6:allow,DATABYTES="0"', ':allow');

my $s = $t->serve(sub {
    my ($port) = @_;
    return ('tcpserver', qw(-v -R -H -l mx.ours.test -x), $t->dir . '/tcp.cdb', '127.0.0.1', $port, "$home/qpsmtpd");
});

# session - MAIL, RCPT for each recipient, DATA: the replies of all
sub session {
    my ($from, $to, %arg) = @_;
    my $d = $s->connect($arg{from} ? (from => $arg{from}) : ());
    my @replies = $d->say('EHLO client.test');

    push @replies, $d->say("MAIL FROM:$from"), map { $d->say("RCPT TO:$_") } ref $to ? @$to : $to;
    push @replies, $d->data(defined $arg{message} ? $arg{message} : "Subject: hi\n\nhello\n") if $replies[-1] =~ /^2/;
    is $d->quit =~ /^221 / ? 1 : 0, 1, "QUIT after $from";
    return @replies;
}

# rcpt - the reply to one recipient
sub rcpt {
    my ($to, %arg) = @_;
    my $d = $s->connect($arg{from} ? (from => $arg{from}) : ());
    $d->say($_) for 'EHLO client.test', 'MAIL FROM:' . ($arg{sender} // '<a@client.test>');
    my $reply = $d->say("RCPT TO:$to");

    $d->quit;
    return $reply;
}

# ---- a message ----

{
    my $d = $s->connect;
    like $d->greeting, qr/^220 mx\.ours\.test ESMTP/, 'the greeting has control/me';
    like $d->deliver('Joe@client.test', ['you@ours.test', 'two@ours.test'], "Message-Id: <1\@client.test>\nSubject: hi\n\n.dot\n"),
        qr/^250 Queued! \d+ qp \d+ <1\@client\.test>$/, 'the reply: time, qp and qmail-queue\'s id';
    my ($time, $qp) = $d->reply =~ /(\d+) qp (\d+)/;
    is $qp, slurp("$qmail/bin/pid") + 0, 'which is its process id';
    cmp_ok abs($time - time), '<', 60, 'and now';
    like $d->quit, qr/^221 mx\.ours\.test /, 'QUIT';
    my ($message, $envelope) = queued();
    is $envelope, "FJoe\@client.test\0Tyou\@ours.test\0Ttwo\@ours.test\0\0", 'the envelope';
    like $message, qr/\A(?:Authentication-Results: [^\n]+\n)?Received: from \S+ \(HELO client\.example\.test\) \(127\.0\.0\.1\)\n    by mx\.ours\.test \(qpsmtpd\/\S+\) with ESMTP; [^\n]+\nMessage-Id: <1\@client\.test>\nSubject: hi\n\n\.dot\n\z/,
        'the message: Received, then what was sent';
    my ($pid) = $s->wait_log(qr/tcpserver: pid (\d+) from 127\.0\.0\.1$/m);
    ok $s->wait_log(qr/^tcpserver: ok $pid mx\.ours\.test:127\.0\.0\.1:\d+ :127\.0\.0\.1::\d+$/m), 'tcpserver says who it was';
    ok $s->wait_log(qr/^tcpserver: end $pid status 0$/m), 'and that it went well';
    ok $s->wait_log(qr/^tcpserver: status: 0\/40$/m), 'and that nobody is left';
}

# ---- recipients ----

like rcpt('<you@ours.test>'), qr/^250 /, 'rcpthosts';
like rcpt('<you@OURS.test>'), qr/^250 /, 'rcpthosts: in any case';
like rcpt('<you@mixed.test>'), qr/^250 /, 'rcpthosts: in any case there, too';
like rcpt('<you@a.sub.test>'), qr/^250 /, 'rcpthosts: .suffix';
like rcpt('<you@b.a.sub.test>'), qr/^250 /, 'rcpthosts: of any depth';
like rcpt('<you@sub.test>'), qr/^550 /, 'rcpthosts: but not the name behind the dot itself';
like rcpt('<you@mx.ours.test>'), qr/^250 /, 'me';
like rcpt('<postmaster>'), qr/^250 /, 'postmaster without a domain';
like rcpt('<you@else.test>'), qr/^550 /, 'others are refused';
like rcpt('<you@notours.test>'), qr/^550 /, 'a longer name is another one';
like rcpt('<you%else.test@else.test>'), qr/^550 /, 'so is a route in the local part';
like rcpt('<@ours.test:you@else.test>'), qr/^5\d\d /, 'or before it';
like rcpt('<you@bymore.test>'), qr/^550 /, 'morercpthosts.cdb: not there yet';
cdb("$control/morercpthosts.cdb", 'bymore.test', '.moresub.test');
like rcpt('<you@bymore.test>'), qr/^250 /, 'morercpthosts.cdb';
like rcpt('<you@ByMore.test>'), qr/^250 /, 'morercpthosts.cdb: in any case';
like rcpt('<you@a.moresub.test>'), qr/^250 /, 'morercpthosts.cdb: .suffix';
like rcpt('<you@moresub.test>'), qr/^550 /, 'morercpthosts.cdb: and only that';
like rcpt('<you@else.test>'), qr/^550 /, 'morercpthosts.cdb: others are refused still';
control('morercpthosts.cdb', "\xff" x 4096); # each of its tables lies behind its end
like rcpt('<you@else.test>'), qr/^4\d\d /, 'morercpthosts.cdb: a damaged one is nobody\'s fault';
like rcpt('<you@ours.test>'), qr/^250 /, 'morercpthosts.cdb: and nobody asks it for what is in rcpthosts';
control('morercpthosts.cdb', 'no cdb');
like $s->connect->greeting, qr/^421 /, 'morercpthosts.cdb: where it can be seen at once, nobody is served';
ok $s->wait_log(qr/morercpthosts\.cdb: too short for a cdb/), 'morercpthosts.cdb: and the log says why';
control('morercpthosts.cdb');
control(rcpthosts => '');
like rcpt('<you@ours.test>'), qr/^550 /, 'an empty rcpthosts accepts nothing';
like rcpt('<you@mx.ours.test>'), qr/^250 /, 'but me';
control('rcpthosts');
like rcpt('<you@else.test>'), qr/^550 /, 'without rcpthosts nobody may relay';
like rcpt('<you@ours.test>'), qr/^550 /, 'to anywhere';
like rcpt('<you@mx.ours.test>'), qr/^250 /, 'and me is served';
control(rcpthosts => "ours.test\n");

# ---- relaying ----

{
    my @r = session('<a@client.test>', ['<x@else.test>', '<you@ours.test>'], from => '127.0.0.2');
    like $r[-1], qr/^250 Queued/, 'RELAYCLIENT="" relays';
    is +(queued())[1], "Fa\@client.test\0Tx\@else.test\0Tyou\@ours.test\0\0", 'to the recipients as they are';
    @r = session('<a@client.test>', ['<x@else.test>', '<you@ours.test>'], from => '127.0.0.3',
        message => "To: x\@else.test\nSubject: hi\n\nhello\n");
    like $r[-1], qr/^250 Queued/, 'RELAYCLIENT="@fix.test" relays';
    my ($message, $envelope) = queued();
    is $envelope, "Fa\@client.test\0Tx\@else.test\@fix.test\0Tyou\@ours.test\@fix.test\0\0", 'with its suffix in the envelope';
    unlike $message, qr/fix\.test/, 'and nowhere else';
    unlike "@r", qr/fix\.test/, 'nor in a reply';
    is $s->connect(from => '127.0.0.4', greeting => 0)->read_greeting, '', 'deny: not a word';
    ok $s->wait_log(qr/^tcpserver: deny \d+ mx\.ours\.test:127\.0\.0\.1:\d+ :127\.0\.0\.4::\d+$/m), 'and tcpserver tells';
}

# ---- senders ----

{
    for my $sender ('<spam@bad.test>', '<anyone@evil.test>', '<SPAM@Bad.Test>') {
        my @r = session($sender, '<you@ours.test>');
        like $r[1], qr/^250 /, "badmailfrom: $sender passes MAIL";
        like $r[2], qr/^55\d /, 'and is refused at RCPT';
    }
    like rcpt('<you@ours.test>', sender => '<ham@bad.test>'), qr/^250 /, 'badmailfrom: another sender there is not';
    like rcpt('<x@else.test>', sender => '<spam@bad.test>', from => '127.0.0.2'), qr/^55\d /, 'badmailfrom: nor does RELAYCLIENT help';
    my @r = session('<>', '<you@ours.test>');
    like $r[-1], qr/^250 Queued/, 'the null sender';
    is +(queued())[1], "F\0Tyou\@ours.test\0\0", 'in the envelope';
    @r = session('<#@[]>', '<you@ours.test>');
    like $r[-1], qr/^250 Queued/, 'the sender of double bounces';
    is +(queued())[1], "F\0Tyou\@ours.test\0\0", 'becomes the null sender';
}

# ---- size ----

{
    # n bytes are what qmail-queue would get without Received.
    my $text = sub { my ($n) = @_; my $head = "Subject: x\n\n"; $head . 'x' x ($n - length($head) - 1) . "\n" };
    my $big = $text->(5_000);
    control(databytes => "1000\n");
    like +(session('<a@client.test>', '<you@ours.test>', message => $text->(1000)))[-1], qr/^250 Queued/, 'databytes: that many';
    like +(session('<a@client.test>', '<you@ours.test>', message => $text->(1001)))[-1], qr/^552 /, 'databytes: and no more';
    queued();
    my @r = session('<a@client.test>', '<you@ours.test>', message => $big);
    like $r[0], qr/^250[- ]SIZE 1000$/m, 'EHLO tells';
    is_deeply [queued()], [undef, undef], 'qmail-queue never hears of it';
    like +(session('<a@client.test> SIZE=1001', '<you@ours.test>'))[1], qr/^552 /, 'databytes: SIZE= is refused at once';
    like +(session('<a@client.test>', '<you@ours.test>', message => $big, from => '127.0.0.6'))[-1], qr/^250 /, 'DATABYTES="0": no limit';
    like +(session('<a@client.test>', '<you@ours.test>', message => $text->(101), from => '127.0.0.5'))[-1], qr/^552 /, 'DATABYTES="100"';
    like +(session('<a@client.test>', '<you@ours.test>', message => $text->(100), from => '127.0.0.5'))[-1], qr/^250 /, 'exactly';
    control('databytes');
    like +(session('<a@client.test>', '<you@ours.test>', message => $big))[-1], qr/^250 Queued/, 'without databytes there is no limit';
    my @hops = map { "Received: hop $_\n" } 1 .. 100;
    like +(session('<a@client.test>', '<you@ours.test>', message => "@hops[0 .. 98]Subject: x\n\nx\n"))[-1], qr/^250 /, '99 hops';
    like +(session('<a@client.test>', '<you@ours.test>', message => join('', @hops) . "Subject: x\n\nx\n"))[-1],
        qr/^554 too many hops, this message is looping \(#5\.4\.6\)$/, '100 hops: a loop';
    queued();
}

# ---- what qmail-queue says ----

for my $case (
    [11 => 554, '#5.1.3'], [31 => 554, '#5.3.0'], [40 => 554, '#5.3.0'], [51 => 451, '#4.3.0'], [52 => 451, '#4.3.0'],
    [53 => 451, '#4.3.0'], [54 => 451, '#4.3.0'], [61 => 451, '#4.3.0'], [71 => 451, '#4.3.0'], [72 => 451, '#4.4.1'],
    [74 => 451, '#4.4.2'], [81 => 451, '#4.3.0'], [91 => 451, '#4.3.0'], [1 => 451, '#4.3.0'], [120 => 451, '#4.3.0'],
) {
    my ($exit, $code, $status) = @$case;
    exits($exit);
    like +(session('<a@client.test>', '<you@ours.test>'))[-1], qr/^$code .*\(\Q$status\E\)$/, "qmail-queue exits $exit";
}
exits(0);
queued();
rename "$qmail/bin/qmail-queue", "$qmail/bin/other" or die "rename: $!";
like +(session('<a@client.test>', '<you@ours.test>'))[-1], qr/^451 /, 'no qmail-queue: later';
rename "$qmail/bin/other", "$qmail/bin/qmail-queue" or die "rename: $!";
like +(session('<a@client.test>', '<you@ours.test>'))[-1], qr/^250 Queued/, 'it is back';
queued();

# ---- how it ends ----

{
    my $end = sub {
        my ($name, $do, $want) = @_;
        my $d = $s->connect;
        # Of all connections the last one is ours: its clients speak one after the other.
        my @pids = $s->log =~ /^tcpserver: pid (\d+) from/mg;
        $do->($d);
        ok $s->wait_log(qr/^tcpserver: end $pids[-1] status $want$/m), "$name: status $want";
    };
    $end->('QUIT', sub { $_[0]->quit }, 0);
    $end->('hang-up', sub { $_[0]->hangup }, 0);
    $end->('hang-up in DATA', sub {
        my ($d) = @_;
        $d->say($_) for 'EHLO x', 'MAIL FROM:<a@client.test>', 'RCPT TO:<you@ours.test>', 'DATA';
        $d->raw("Subject: x\r\n\r\nhalf");
        $d->hangup;
    }, 0);
    is_deeply [queued()], [undef, undef], 'what was not complete is not queued';
    control(timeoutsmtpd => "1\n");
    $end->('a silent client', sub { $_[0]->eof; like $_[0]->read_reply, qr/^4\d1 /, 'a silent client is told' }, 0);
    control('timeoutsmtpd');
    control(plugins => "no_such_plugin\n");
    my $d = $s->connect;
    like $d->greeting, qr/^421 /, 'a broken configuration: 421';
    ok $s->wait_log(qr/^tcpserver: end \d+ status 28416$/m), 'and status 111';
    ok $s->wait_log(qr{^qpsmtpd: .*control/plugins:1: plugin no_such_plugin not found}m), 'and a line in the log';
    control('plugins');
    unlink "$control/me";
    $d = $s->connect;
    like $d->greeting, qr/^220 \S+ ESMTP/, 'without me the host\'s name is taken';
    $d->quit;
}
$s->signal('TERM');
$s->{process}->wait(10);
}

done_testing;
