# DATA: where a message ends, what is stored of it, limits, and every way to end it otherwise.
use strict;
use warnings;

use File::Basename qw(dirname);
use Test::More;

use lib dirname(__FILE__);
use Probe;
use Qpsmtpd::Test qw(peak_memory sanitized);

my $t = Qpsmtpd::Test->new(plugin_dirs => [Probe::dir()], plugins => ['probe'],
    config => {'me-auth-results' => 'none', loglevel => 'notice'});
my $smuggled = '421 See https://cr.yp.to/docs/smtplf.html';
my ($d, $server);

# fresh - a new dialogue in $d, up to the 354
sub fresh {
    my ($probe, %env) = @_;

    $d->hangup if $d;
    $d = $server ? $server->connect : $t->dialogue(env => {PROBE => $probe || '', QUEUED => $t->dir . '/queued', %env});
    $d->say('EHLO client.test');
    return envelope();
}

sub envelope {
    $d->say('MAIL FROM:<a@client.test>');
    $d->say('RCPT TO:<b@example.test>');
    return $d->say('DATA');
}

# oracle - the state table of the specification, byte by byte: END or BARE, how many bytes were used,
# what is stored
sub oracle {
    my ($mode, $in) = @_;
    my ($state, $out, $used) = ('BOL', '', 0);
    my $bare_cr = sub {
        $out .= $mode eq 'normalize' ? ' ' : "\r";
        return $mode eq 'reject';
    };

    for my $b (split //, $in) {
        $used++;
        if ($state =~ /^DOT(X?)$/) {
            my $x = $1;
            return ('BARE', $used) if $b eq "\n";
            $state = $b eq "\r" ? "DOT${x}CR" : 'TXT';
            next if $b eq "\r";
        } elsif ($state =~ /^DOT(X?)CR$/) {
            return ($1 ? 'BARE' : 'END', $used, $out) if $b eq "\n";
            return ('BARE', $used) if $bare_cr->();
            $state = 'TXT';
        } elsif ($state eq 'CR') {
            if ($b eq "\n") {
                $out .= "\n";
                $state = 'BOL';
                next;
            }
            return ('BARE', $used) if $bare_cr->();
            $state = 'TXT';
        } elsif ($state =~ /^BOL(X?)$/) {
            if ($b eq '.') {
                $state = "DOT$1";
                next;
            }
            $state = 'TXT';
        }
        if ($b eq "\r") {
            $state = 'CR';
        } elsif ($b eq "\n") {
            return ('BARE', $used) if $mode eq 'reject';
            $out .= "\n";
            $state = 'BOLX';
        } else {
            $out .= $b;
        }
    }
    return ('MORE', $used, $out);
}

# seen - what the server makes of these bytes, in pieces: the reply and the message, or the closing.
# What is behind the end are commands: all up to VRFY, which answers 252.
sub seen {
    my (@pieces) = @_;
    my (@replies, $reply);

    for my $i (0 .. $#pieces) {
        $d->raw($pieces[$i]);
        Probe::sync($d) if $i < $#pieces;
    }
    $d->raw("\r\nVRFY x\r\n");
    do {
        $reply = $d->read_reply;
        push @replies, $reply if length $reply;
    } while (length $reply && $reply !~ /^252/);
    return ['BARE', @replies == 1 && $replies[0] eq $smuggled ? '' : "@replies"] unless length $reply;
    return ['END', $replies[0] =~ /^250 / ? Probe::queued($t) : "@replies"];
}

# expected - the same as the oracle tells
sub expected {
    my ($mode, $in) = @_;
    my ($end, undef, $out) = oracle($mode, $in);

    return [$end, ''] if $end eq 'BARE';
    $out .= "\n" if length $out && $out !~ /\n\z/; # a header without its last line end
    return [$end, $out];
}

# differs - for one input in pieces; '' when all is well
sub differs {
    my ($mode, @pieces) = @_;
    my $got = seen(@pieces);
    my $want = expected($mode, join '', @pieces);
    my $show = sub { join(' ', map { defined $_ ? $_ : '(nothing)' } @_) =~ s/([\r\n])/$1 eq "\r" ? '\r' : '\n'/ger };

    $got->[0] eq 'BARE' ? fresh() : envelope();
    return '' if $show->(@$got) eq $show->(@$want);
    return $show->('input', join('|', @pieces), 'got', @$got, 'expected', @$want);
}

# strings - all of that length of these four bytes
sub strings {
    my ($n) = @_;

    return '' if $n == 0;
    return map { my $s = $_; map { $s . $_ } "\r", "\n", '.', 'a' } strings($n - 1);
}

# A thousand connections: from the server whose processes stay.
$t->{env} = {PROBE => '', QUEUED => $t->dir . '/queued'};
for my $mode (qw(reject normalize legacy)) {
    $t->config(bare_newlines => $mode);
    $server = $t->prefork('--children', 2);
    fresh();
    my $length = $mode eq 'legacy' ? 4 : 3; # the others refuse sooner, or differ in what is stored only
    my @wrong = grep { length } map { differs($mode, "$_\r\n.\r\n") } map { strings($_) } 0 .. $length;
    is "@wrong[0 .. ($#wrong > 4 ? 4 : $#wrong)]", '', "$mode: every string of up to $length bytes of CR LF . a";
    $d->hangup;
    $server->stop;
    undef $_ for $server, $d;

    fresh();

    for my $case (
        ['.CRLF at once',                 ".\r\n"],
        ['a message',                     "a: b\r\n\r\nbody\r\n.\r\n"],
        ['dots',                          "..\r\n...\r\n.a\r\n..a\r\na.\r\n.\r\n"],
        ['LF . LF',                       "a\n.\n\r\n.\r\n"],
        ['LF . CR LF',                    "a\n.\r\n\r\n.\r\n"],
        ['CR LF . LF',                    "a\r\n.\n\r\n.\r\n"],
        ['CR . CR LF',                    "a\r.\r\n\r\n.\r\n"],
        ['CR . CR',                       "a\r.\rb\r\n.\r\n"],
        ['CR LF . CR CR LF',              "a\r\n.\r\r\n.\r\n"],
        ['CR LF CR . CR LF',              "a\r\n\r.\r\n.\r\n"],
        ['CR CR LF . CR LF',              "a\r\r\n.\r\n"],
        ['LF CR . CR LF',                 "a\n\r.\r\n\r\n.\r\n"],
        ['LF LF . CR LF',                 "a\n\n.\r\n\r\n.\r\n"],
        ['CR LF NUL . CR LF',             "a\r\n\0.\r\n.\r\n"],
        ['CR LF . NUL CR LF',             "a\r\n.\0\r\n.\r\n"],
        ['CR LF . blank CR LF',           "a\r\n. \r\n.\r\n"],
        ['LF .. CR LF',                   "a\n..\r\n.\r\n"],
        ['a second message is commands',  "a\r\n.\r\nMAIL FROM:<evil\@x.test>\r\n"],
    ) {
        my ($name, $in) = @$case;
        my ($end, $used) = oracle($mode, $in);
        # A refusal costs a process: cut where it falls.
        my @cuts = $end eq 'BARE' ? grep { $_ >= 0 } $used - 2 .. $used : 0 .. length $in;
        my @wrong = grep { length } map { differs($mode, substr($in, 0, $_), substr($in, $_)) } @cuts;
        is $wrong[0] || '', '', "$mode: $name, cut anywhere";
        is differs($mode, split //, $in), '', "$mode: $name, byte by byte";
    }
}

# Nothing behind a refused end is run.
for my $mode (qw(reject normalize legacy)) {
    $t->config(bare_newlines => $mode);
    for my $end ("\n.\n", "\n.\r\n", "\r\n.\n", $mode eq 'reject' ? ("\r.\r", "\n\n.\r\n", "\r\n\r.\r\n") : ()) {
        fresh();
        $d->raw("a: b\r\n\r\nfirst${end}MAIL FROM:<evil\@x.test>\r\nRCPT TO:<b\@example.test>\r\nDATA\r\n"
                . "smuggled\r\n.\r\nQUIT\r\n");
        is $d->read_reply, $smuggled, "$mode: a smuggled end " . ($end =~ s/([\r\n])/$1 eq "\r" ? '\r' : '\n'/ger);
        ok $d->eof, 'ends the connection';
        is_deeply [Probe::events($d, qr/mail|queue|data_post/)], ['mail <a@client.test>'], 'nothing behind it is run';
    }
}
$t->config(bare_newlines => 'reject');

# ---- header and body ----

for my $case (
    ['no header',                      "\nbody\n"],
    ['no body',                        "a: b\nc: d\n"],
    ['a separator and no body',        "a: b\n\n"],
    ['nothing but an empty line',      "\n"],
    ['lines that are no fields',       "a: b\nbroken line\nc\n\nbody\n"],
    ['blanks before the colon',        "a : b\nc \t :d\n e\n\nbody\n"],
    ['a From with a blank',            "From : me\n\nbody\n"],
    ['a line of blanks is no end',     "a: b\n \t\nc: d\n\nbody\n"],
    ['folds as they came',             "a: b\n  c\n\td\nA: E\n\nbody\n"],
    ['a continuation first',           " a\nb: c\n\nbody\n"],
    ['a From in the body',             "a: b\n\nFrom me\n"],
    ['Received fields',                "Received: x\n\ty\nreceived: z\n\nbody\n"],
    ['all bytes but CR LF',            "a: b\n\n" . join('', map { chr } 0 .. 9, 11, 12, 14 .. 255) . "\n"],
    ['NUL and 8 bit in the header',    "a\0: b\nc: \0\xe4\nd\xe4: e\n\nbody\n"],
    ['long lines',                     'a: ' . 'x' x 100_000 . "\n\n" . 'y' x 100_000 . "\n"],
) {
    my ($name, $message) = @$case;
    for my $threshold (0, 1_000_000) {
        $t->config(size_threshold => $threshold);
        fresh();
        $d->raw(($message =~ s/\n/\r\n/gr) . ".\r\n");
        is $d->read_reply, '250 Queued', $name;
        ok Probe::queued($t) eq $message, "$name: byte for byte, size_threshold $threshold";
    }
}
unlink $t->dir . '/config/size_threshold';
fresh();
$d->raw("From me Sat\r\na: b\r\n\r\n.\r\n");
is $d->read_reply, '250 Queued', 'mbox';
is Probe::queued($t), "Mail-From: me Sat\na: b\n\n", 'its From becomes Mail-From:';
is_deeply [glob $t->dir . '/spool/*'], [], 'nothing stays in spool_dir';

# ---- size ----

my $message = "a: b\n\n" . 'x' x 93 . "\n"; # 100 bytes as stored
for my $case ([100, '250 Queued'], [99, '552 Message too big!'], [101, '250 Queued'], [1, '552 Message too big!'],
    [0, '250 Queued']) {
    my ($limit, $reply) = @$case;
    fresh('', DATABYTES => $limit);
    $d->raw(($message =~ s/\n/\r\n/gr) . ".\r\n");
    is $d->read_reply, $reply, "100 bytes, $limit allowed";
    like $d->say('RCPT TO:<b@example.test>'), qr/^503 /, 'the transaction is over';
    is scalar(grep { /^(data_post|queue)/ } Probe::events($d)), $reply =~ /^250/ ? 5 : 0, 'hooks run when it fits';
}
$t->config(databytes => 100);
fresh();
$d->raw(('.' . $message =~ s/\n/\r\n/gr) =~ s/^\.a/..a/r . ".\r\n");
is $d->read_reply, '552 Message too big!', 'a stuffed dot counts once: 101 bytes';
fresh();
$d->raw("a: b\r\n\r\n" . '..' . 'x' x 92 . "\r\n.\r\n");
is $d->read_reply, '250 Queued', 'as stored, not as sent';
is envelope(), '354 go ahead', 'the next one is welcome';
$d->raw("a: b\r\n\r\n" . 'x' x 200_000 . "\r\n" . "y\r\n" x 1000);
$d->raw("bare\n.\r\n");
is $d->read_reply, $smuggled, 'bare newlines are seen beyond the limit';
$t->config(databytes => 0);
fresh();
$d->raw("a: b\r\n" . "x: y\r\n" x 300_000 . "\r\nbody\r\n.\r\n");
is $d->read_reply, '552 Message header too big!', 'a header without end';
fresh();
$d->raw('a: ' . 'x' x 3_000_000 . "\r\n\r\n.\r\n");
is $d->read_reply, '552 Message header too big!', 'a field without end';
fresh();
$d->raw('x' x 3_000_000 . "\r\n.\r\n");
is $d->read_reply, '250 Queued', 'much without a header is a body';
ok Probe::queued($t) eq 'x' x 3_000_000 . "\n", 'byte for byte';

fresh();
{
    my $line = "a: b\r\n\r\n" . join('', map { sprintf '%08x', $_ } 1 .. 8192) x 160;
    $d->raw($line);
    Probe::sync($d);
    my $peak = peak_memory($d->pid);
    $d->raw("\r\n.\r\n");
    is $d->read_reply, '250 Queued', 'a line of 10 MiB';
    ok Probe::queued($t) eq ($line =~ s/\r\n/\n/gr) . "\n", 'byte for byte';
    SKIP: {
        skip 'sanitizers take memory of their own', 1 if sanitized();
        cmp_ok $peak, '<', 16 * 1024, 'in little memory';
    }
}

# ---- hops ----

for my $case ([100, 99, '250 Queued'], [100, 100, '554 too many hops, this message is looping (#5.4.6)'],
    [2, 1, '250 Queued'], [2, 2, '554 too many hops, this message is looping (#5.4.6)'], [0, 500, '250 Queued']) {
    my ($max, $n, $reply) = @$case;
    $t->config(max_hops => $max);
    fresh();
    $d->raw(join('', map { $_ % 2 ? "receiveD: x\r\n" : "Delivered-To: y\r\n" } 1 .. $n)
            . "Received-SPF: no\r\n\r\nReceived: in the body\r\n.\r\n");
    is $d->read_reply, $reply, "$n hops, max_hops $max";
}
unlink $t->dir . '/config/max_hops';

# ---- ends that are none ----

for my $part ('', "a: b\r\n", "a: b\r\n\r\nbody", "a: b\r\n\r\nbody\r\n.", "a: b\r\n\r\nbody\r\n.\r") {
    fresh();
    $d->raw($part);
    $d->hangup('write');
    is $d->read_reply, '451 Incomplete DATA', 'the connection ends after ' . length($part) . ' bytes';
    ok $d->eof, 'and is closed';
    is $d->status, 0, 'status 0';
    is_deeply [grep { /data_post|queue/ } Probe::events($d)], [], 'nothing is queued';
    is scalar(Probe::events($d, qr/disconnect/)), 1, 'disconnect hooks run once';
    is scalar(Probe::events($d, qr/reset_transaction/)), 4, 'reset_transaction: EHLO, MAIL, DATA, disconnect';
    undef $d;
}

# ---- told to end ----

fresh();
$d->raw("a: b\r\n\r\nbo");
Probe::sync($d);
kill TERM => $d->pid;
$d->raw("dy\r\n.\r\nNOOP\r\n");
is $d->read_reply, '250 Queued', 'SIGTERM in DATA: the message is taken';
is Probe::queued($t), "a: b\n\nbody\n", 'as a whole';
my $last = $d->read_reply;
$last = $d->read_reply if $last eq '250 OK'; # what was said before may still be answered
is $last, '421 closing connection: the server is going down', 'and then it is over';
is $d->status, 0, 'status 0';
undef $d;

# ---- no place for it ----

$t->config(spool_dir => '/dev/null/nowhere');
$t->config(size_threshold => 10);
fresh();
$d->raw("a: b\r\n\r\n" . "body\r\n" x 100 . ".\r\n");
is $d->read_reply, '451 Message denied temporarily', 'no spool_dir';
is envelope(), '354 go ahead', 'the session goes on';
$d->raw("a: b\r\n" . 'x' x 1_000_000 . "\r\n.\r\n");
is $d->read_reply, '451 Message denied temporarily', 'also for much without an empty line';
is envelope(), '354 go ahead', 'again';
$d->raw("a: b\r\n\r\nbody\r\n.\r\n");
is $d->read_reply, '250 Queued', 'a message that needs no file is taken';
$t->config(spool_dir => $t->dir . '/made');
$t->config(spool_perms => '0750');
fresh();
$d->raw("a: b\r\n\r\n" . "body\r\n" x 100 . ".\r\n");
is $d->read_reply, '250 Queued', 'a missing spool_dir is made';
is sprintf('%04o', (stat $t->dir . '/made')[2] & 07777), '0750', 'with spool_perms';
$t->config(spool_dir => $t->dir . '/spool');
unlink $t->dir . '/config/spool_perms', $t->dir . '/config/size_threshold';

# ---- the order of things ----

fresh();
is $d->reply, '354 go ahead', 'DATA';
$d->raw(".\r\n");
is $d->read_reply, '250 Queued', 'an empty message';
is Probe::queued($t), '', 'is only our Received field';
is $d->say('DATA'), '503 MAIL first', 'the transaction is over';
like $d->say('MAIL FROM:<a@client.test>'), qr/^250/, 'another one';
like $d->say('RCPT TO:<b@example.test>'), qr/^250/, 'may follow';
is $d->say('DATA with arguments'), '354 go ahead', 'DATA ignores its arguments';
$d->raw(".\r\n");
is $d->read_reply, '250 Queued', 'the same session';

fresh();
$d->raw("RSET\r\n.\r\n");
is $d->read_reply, '250 Queued', 'commands in DATA';
is Probe::queued($t), "RSET\n", 'are text';

done_testing;
