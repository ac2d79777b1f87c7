# BDAT (RFC 3030): chunks, their sizes and order, refusals, and that no byte of a chunk is a command.
use strict;
use warnings;

use File::Basename qw(dirname);
use Test::More;

use lib dirname(__FILE__);
use Probe;
use Qpsmtpd::Test qw(peak_memory sanitized);

my $t = Qpsmtpd::Test->new(plugin_dirs => [Probe::dir()], plugins => ['probe'],
    config => {'me-auth-results' => 'none'});
my $d;

# fresh - a new dialogue in $d, up to the recipient
sub fresh {
    my ($probe, %env) = @_;

    $d->hangup if $d;
    unlink $t->dir . "/queued";
    $d = $t->dialogue(env => {PROBE => $probe || '', QUEUED => $t->dir . '/queued', %env});
    $d->say('EHLO client.test');
    return envelope();
}

sub envelope {
    $d->say('MAIL FROM:<a@client.test>');
    return $d->say('RCPT TO:<b@example.test>');
}

# chunks - send them all at once, the last one with LAST; their replies
sub chunks {
    my (@chunks) = @_;
    my $last = pop @chunks;

    $d->raw(join '', map({ 'BDAT ' . length($_) . "\r\n$_" } @chunks), 'BDAT ' . length($last) . " LAST\r\n$last");
    return map { $d->read_reply } 0 .. @chunks;
}

# ---- messages ----

my $message = "a: b\r\n\r\nbody\r\n.\r\n..\r\nmore\r\n";
my $stored = $message =~ s/\r\n/\n/gr;
fresh();
my @wrong;
for my $cut (0 .. length $message) {
    my @got = chunks(substr($message, 0, $cut), substr $message, $cut);
    push @wrong, "$cut: @got" if "@got" ne "250 $cut octets received 250 Queued" || Probe::queued($t) ne $stored;
    envelope();
}
is "@wrong", '', 'two chunks, cut anywhere, CR LF too; a dot means nothing';
is_deeply [chunks(split //, $message)], [('250 1 octets received') x (length($message) - 1), '250 Queued'], 'byte by byte';
is Probe::queued($t), $stored, 'arrives the same';

for my $case (
    ['bare LF and CR',         "a: b\n\nx\ry\r\rz\n\r\r\n", "a: b\n\nx\ry\r\rz\n\r\n"],
    ['a CR at the end',        "a: b\r\n\r\nx\r", "a: b\n\nx\r"],
    ['no line end',            "a: b\r\n\r\nx", "a: b\n\nx"],
    ['no body',                "a: b\r\n", "a: b\n"],
    ['no body, no line end',   'a: b', "a: b\n"],
    ['a separator and no body', "a: b\r\n\r\n", "a: b\n\n"],
    ['nothing',                '', ''],
    ['NUL and 8 bit',          "a: b\r\n\r\n\0\xff\0\r\n", "a: b\n\n\0\xff\0\n"],
    ['an end of DATA',         "a: b\r\n\r\n\r\n.\r\nQUIT\r\n", "a: b\n\n\n.\nQUIT\n"],
    ['smuggling',              "a: b\r\n\r\nx\n.\n\n.\r\nMAIL FROM:<>\r\n", "a: b\n\nx\n.\n\n.\nMAIL FROM:<>\n"],
) {
    my ($name, $sent, $kept) = @$case;
    for my $chunks ([$sent], [split //, $sent], [$sent, ''], ['', $sent]) {
        fresh() unless $d->reply =~ /^250/;
        envelope();
        my @got = chunks(@$chunks ? @$chunks : '');
        is $got[-1], '250 Queued', "$name, " . @$chunks . ' chunks';
        is Probe::queued($t), $kept, 'arrives as it must';
    }
}

envelope();
is $d->bdat("a: b\r\n\r\nbody\r\n"), '250 14 octets received', 'a chunk without LAST';
is $d->say('BDAT 0 LAST'), '250 Queued', '0 LAST';
is Probe::queued($t), "a: b\n\nbody\n", 'is the end';
envelope();
is $d->say('bdat 0 last'), '250 Queued', 'in any case; the empty message';
is Probe::queued($t), '', 'is only our Received field';
envelope();
$d->raw("BDAT  3   LAST  \r\nabc");
is $d->read_reply, '250 Queued', 'several blanks';
envelope();
$d->raw("BDAT 3 LAST\nabcNOOP count\r\n");
is $d->read_reply, '250 Queued', 'a line end without CR';
like $d->read_reply, qr/^250 \d+$/, 'and a command right behind the chunk';
envelope();
$d->raw("BDAT 00000000000000000003 LAST\r\nabc");
is $d->read_reply, '250 Queued', 'leading zeros';
$d->say('MAIL FROM:<a@client.test> BODY=8BITMIME SIZE=3');
$d->say('RCPT TO:<b@example.test>');
is $d->bdat('abc', 'LAST'), '250 Queued', 'BODY=8BITMIME';

# ---- order ----

fresh();
is $d->bdat('a: b'), '250 4 octets received', 'inside of a message';
for my $line ('MAIL FROM:<x@y.test>', 'RCPT TO:<x@y.test>', 'DATA') {
    is $d->say($line), '503 BDAT LAST or RSET first', $line;
}
like $d->say('NOOP count'), qr/^250 /, 'NOOP is possible';
like $d->say('VRFY x'), qr/^252 /, 'VRFY is';
is $d->say('NOOP rcpts'), '250 1 <b@example.test>', 'the envelope is untouched';
is $d->bdat("\r\n", 'LAST'), '250 Queued', 'and the message goes on';
is Probe::queued($t), "a: b\n", 'as it began';

envelope();
is $d->bdat('gone'), '250 4 octets received', 'a chunk';
is $d->say('RSET'), '250 OK', 'RSET between chunks';
is $d->bdat('more', 'LAST'), '503 MAIL first', 'ends the message';
envelope();
is $d->bdat("new\r\n", 'LAST'), '250 Queued', 'another one';
is Probe::queued($t), "new\n", 'begins anew';
envelope();
is $d->bdat('gone'), '250 4 octets received', 'a chunk';
like $d->say('EHLO again.test'), qr/^250/, 'EHLO between chunks';
is $d->bdat('more'), '503 MAIL first', 'ends the message too';
envelope();
is $d->say('DATA'), '354 go ahead', 'DATA after that';
$d->raw(".\r\n");
is $d->read_reply, '250 Queued', 'is ordinary';

# Refused chunks are read away, whatever they look like.
$d->hangup;
$d = $t->dialogue(env => {PROBE => ''});
for my $step ([undef, '503 MAIL first'], ['EHLO x', '503 MAIL first'], ['MAIL FROM:<a@b.test>', '503 RCPT first']) {
    $d->say($step->[0]) if $step->[0];
    is $d->bdat("QUIT\r\nRSET\r\n" x 1000), $step->[1], 'BDAT too early: ' . ($step->[0] || 'at once');
    is $d->bdat("QUIT\r\n", 'LAST'), $step->[1], 'with LAST';
}
is $d->say('NOOP rcpts'), '250 0', 'the dialogue is in step';
is $d->say('NOOP sender'), '250 <a@b.test>', 'the transaction is still there';

# ---- refusals ----

for my $case (
    ['data=DENY',                       '554 Message denied', 0, 0],
    ['data=DENYSOFT:later',             '451 later', 0, 0],
    ['data=DENY_DISCONNECT',            '554 Message denied', 0, 1],
    ['data=DENYSOFT_DISCONNECT',        '421 Message denied temporarily', 0, 1],
    ['data_headers_end=DENY:h',         '554 h', 0, 0],
    ['data_headers_end=DENY_DISCONNECT', '554 Message denied', 0, 1],
    ['data_headers_end=DENYSOFT_DISCONNECT', '421 Message denied temporarily', 0, 1],
    ['data_post=DENY:p',                '554 p', 1, 0],
    ['data_post=DENYSOFT_DISCONNECT',   '421 Message denied temporarily', 1, 1],
    ['queue=DENY',                      '554 Message denied', 1, 0],
    ['queue=DECLINED:no disk',          '451 no disk', 1, 0],
) {
    my ($probe, $reply, $late, $closed) = @$case;
    fresh($probe);
    $d->raw("BDAT 10\r\na: b\r\n\r\nx\nBDAT 6 LAST\r\nQUIT\r\n");
    is $d->read_reply, $late ? '250 10 octets received' : $reply, "$probe: first chunk";
    if (!$closed || $late) {
        is $d->read_reply, $late ? $reply : '503 MAIL first', "$probe: second chunk";
    }
    $closed ? ok $d->eof, 'closes' : is $d->say('NOOP rcpts'), '250 0', 'the transaction is over';
    is Probe::queued($t), undef, 'nothing is queued';
}

fresh('', DATABYTES => 10);
is $d->bdat("0123456789"), '250 10 octets received', 'as many bytes as databytes';
is $d->say('BDAT 0 LAST'), '250 Queued', 'is accepted';
envelope();
is $d->bdat("0123456789\n"), '552 Message too big!', 'one more is not, at once';
is $d->bdat('more', 'LAST'), '503 MAIL first', 'the transaction is over';
envelope();
is $d->bdat("012345678\r\n", 'LAST'), '250 Queued', 'counted as stored';
envelope();
is $d->bdat("0123456789"), '250 10 octets received', 'a full chunk';
is $d->bdat("x", 'LAST'), '552 Message too big!', 'and one byte';
envelope();
is $d->bdat('x' x 1_000_000, 'LAST'), '552 Message too big!', 'a large one is read to its end';
like $d->say('NOOP count'), qr/^250 /, 'and the dialogue is in step';

# ---- sizes ----

for my $args ('', ' ', 'x', '-1', '+1', '1x', '0x10', '1 LASTS', '1 LAST x', '1 x', 'LAST', '1.5',
    '9223372036854775808', '18446744073709551616', '99999999999999999999999') {
    fresh();
    $d->raw("BDAT $args\r\nMAIL FROM:<evil\@x.test>\r\n");
    is $d->read_reply, '501 syntax error in parameters', "BDAT '$args'";
    ok $d->eof, 'ends the connection: nobody knows where the next command begins';
    is_deeply [Probe::events($d, qr/mail/)], ['mail <a@client.test>'], 'nothing behind it is run';
}
fresh('', DATABYTES => 1000);
$d->raw("BDAT 9223372036854775807 LAST\r\n" . 'x' x 100_000);
Probe::sync($d);
$d->hangup('write');
is $d->read_reply, '451 Incomplete DATA', 'a huge size that never comes';
is $d->status, 0, 'is an ordinary end';

for my $chunk ('', 'a: b', "a: b\r\n\r\nbody\r") {
    fresh();
    $d->raw("BDAT 100 LAST\r\n$chunk");
    $d->hangup('write');
    is $d->read_reply, '451 Incomplete DATA', 'a chunk that ends after ' . length($chunk) . ' bytes';
    ok $d->eof, 'closes';
    is Probe::queued($t), undef, 'nothing is queued';
}
fresh();
is $d->bdat("a: b\r\n"), '250 6 octets received', 'all chunks but the last';
$d->hangup('write');
ok $d->eof, 'the connection ends';
is Probe::queued($t), undef, 'nothing is queued';

# ---- much ----

fresh();
{
    my $body = join '', map { sprintf "%015x\r\n", $_ } 1 .. 500_000; # 8.5 MB
    my $all = "a: b\r\n\r\n$body";
    is_deeply [chunks(map { substr $all, $_ * 999_983, 999_983 } 0 .. int(length($all) / 999_983))],
        [('250 999983 octets received') x 8, '250 Queued'], 'large chunks';
    SKIP: {
        skip 'sanitizers take memory of their own', 1 if sanitized();
        cmp_ok peak_memory($d->pid), '<', 16 * 1024, 'in little memory';
    }
    ok Probe::queued($t) eq ($all =~ s/\r\n/\n/gr), 'arrive byte for byte';
}
$t->config(bare_newlines => 'reject');
$t->config(max_hops => 1);
fresh();
is $d->bdat("Received: x\r\n\r\n", 'LAST'), '554 too many hops, this message is looping (#5.4.6)', 'hops count';
$t->config(spool_dir => '/dev/null/nowhere');
fresh();
is $d->bdat('a: b' . "\r\n\r\n" . 'x' x 100_000), '451 Message denied temporarily', 'no spool_dir: told with this chunk';
is $d->bdat('more', 'LAST'), '503 MAIL first', 'the rest is read away';

done_testing;
