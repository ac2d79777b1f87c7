# milter against milters that the test plays: every answer at every step, edits, hostile and dying ones.
use strict;
use warnings;

use Test::More;
use Time::HiRes qw(time);

use Qpsmtpd::Milter qw(packet field insert change steps);
use Qpsmtpd::Test qw(slurp wait_for sanitized peak_memory);

my $t = Qpsmtpd::Test->new(config => {rcpthosts => 'example.test', 'me-auth-results' => 'none'});
my $socket = $t->dir . '/milter';
my ($milter, $d);

sub plugins {
    my (@lines) = @_;

    $t->config(plugins => [@lines, 'rcpt_ok', 'queue/maildir Maildir']);
}

# options - the line of the one milter
sub options {
    plugins("milter test unix:$socket @_");
}

# play - a milter with that script, and a session that has said EHLO
sub play {
    my (%script) = @_;

    undef $d;
    empty();
    $milter->stop if $milter;
    $milter = Qpsmtpd::Milter->new($socket, %script);
    $d = $t->dialogue;
    $d->{said_hello} = 1;
    $d->say('EHLO client.test') if $d->greeting =~ /^220/;
    return $d;
}

# empty - no mail is there from before
sub empty {
    unlink glob $t->dir . '/Maildir/new/*';
}

my $message = "Subject: hi\nX-One:  two blanks\nX-Fold: a\n\tb\n\nline 1\n\n.line 3\n";

# send_mail - one message; the first reply that refuses, or the last
sub send_mail {
    my ($text, @to) = @_;

    empty();
    return reply($d->deliver('a@client.test', @to ? \@to : ['b@example.test'], defined $text ? $text : $message));
}

# reply - without what varies
sub reply {
    my ($reply) = @_;

    return $reply =~ /^250 .*Queued/ || $reply =~ /^250 .*qp / ? '250 queued' : $reply;
}

# arrived - the one message, without what the server has put above it
sub arrived {
    my ($m, @more) = $t->maildir_messages;

    return undef if !defined $m || @more;
    $m =~ s/\AReturn-Path: .*\nDelivered-To: .*\n//;
    $m =~ s/^Received: .*\n(?:[ \t].*\n)*//m;
    return $m;
}

# ---- configuration -----------------------------------------------------------------------------------

for my $case (
    ['', qr/name/], ['x', qr/where/], ['x 0', qr/0/], ['x 65536', qr/65536/], ['x localhost', qr/localhost/],
    ['x unix:relative', qr/absolute path/], ['x local:', qr/absolute path/], ['x /' . 'x' x 110, qr/too long/],
    ['x inet:8891@', qr/no host/], ['x inet:x@localhost', qr/x/], ['x ::1', qr/brackets/], ['x :25', qr/:25/],
    ['x inet:1@a@b', qr/no host/], ['x [::1]', qr/no port/],
    ['x 8891 on_error never', qr/on_error/], ['x 8891 quarantine hold', qr/quarantine/],
    ['x 8891 read_timeout 0', qr/read_timeout/], ['x 8891 end_timeout 2h', qr/end_timeout/],
    ['x 8891 keep maybe', qr/keep/], ['x 8891 nonsense 1', qr/nonsense/], ['x 8891 on_error', qr/on_error/],
) {
    my ($words, $why) = @$case;
    plugins("milter $words");
    my ($status, $said) = $t->check;
    isnt $status, 0, "refused at start: milter $words";
    like $said, qr/plugins:1: .*$why/, 'with file, line and reason';
}
for my $words ('x 8891', 'x localhost:8891', 'x [::1]:8891', 'x inet:8891@localhost', 'x inet:localhost:8891',
    'x inet6:8891@::1', 'x unix:/x', 'x local:/x', 'x /x', 'x 8891 on_error accept quarantine mark keep 1',
    'x 8891 connect_timeout 1 write_timeout 1s read_timeout 1m end_timeout 1h total_timeout 10m daemon_name y') {
    plugins("milter $words");
    my ($status, $said) = $t->check;
    is $status, 0, "accepted: milter $words" or diag $said;
}

# ---- a session, packet by packet ---------------------------------------------------------------------

options('daemon_name MTA');
play();
is send_mail(), '250 queued', 'a message passes';
is arrived(), $message, 'as it was';
is $d->deliver('', ['b@example.test'], "Subject : two\n"), $d->reply, 'a second one without body';
$d->quit;
is $milter->ends, 'OCHMRTLLLNBEMRTLNEQ.', 'what it was told, in order';
is_deeply [$milter->said('O')], [pack 'N N N', 6, 0x1ff, 0x1fffff], 'the offer: version 6 and all of it';
is_deeply [$milter->said('C')], ["localhost\0" . '4' . pack('n', 40000) . "127.0.0.1\0"], 'the client';
is_deeply [$milter->said('H')], ["client.test\0"], 'its name for itself';
is_deeply [$milter->said('M')], ["<a\@client.test>\0", "<>\0"], 'the senders';
is_deeply [$milter->said('R')], [("<b\@example.test>\0") x 2], 'the recipients';
is_deeply [$milter->said('L')], ["Subject\0hi\0", "X-One\0 two blanks\0", "X-Fold\0a\n\tb\0", "Subject\0two\0"],
    'fields, with one blank less, folds kept; not our Received';
is_deeply [$milter->said('B')], ["line 1\r\n\r\n.line 3\r\n"], 'the body, CRLF, dots as they were';
is_deeply [$milter->said('E')], ['', ''], 'and its end';

my %macro = $milter->macros('C');
is $macro{j}, 'mx.example.test', 'macro j';
is $macro{'{daemon_name}'}, 'MTA', 'daemon_name';
is $macro{_}, 'localhost [127.0.0.1]', '_';
like $macro{v}, qr/^qpsmtpd \d/, 'v';
is_deeply [@macro{qw({client_addr} {client_name} {client_port} {if_addr} {if_name} {daemon_port})}],
    ['127.0.0.1', 'localhost', 40000, '127.0.0.1', 'localhost', 25], 'client and interface';
%macro = $milter->macros('R');
is_deeply [@macro{qw({rcpt_addr} {rcpt_host} {rcpt_mailer})}], ['b@example.test', 'example.test', 'esmtp'], 'recipient';
like $macro{b}, qr/^\w{3}, \d\d \w{3} \d{4} [\d:]{8} \+0000$/, 'b is a date';
like $macro{i}, qr/^\S+\.\d+$/, 'i';
my ($first) = map { {split /\0/, substr $_, 1} } grep { /^M/ } $milter->said('D');
is_deeply [@$first{qw({mail_addr} {mail_host} {mail_mailer} s r)}],
    ['a@client.test', 'client.test', 'esmtp', 'client.test', 'ESMTP'], 'sender';
ok !exists $first->{'{auth_type}'} && !exists $first->{'{auth_author}'}, 'nobody has authenticated';

# Names that contain an IPv6 address, a client that is nobody, parameters.
undef $d;
$milter->stop;
$milter = Qpsmtpd::Milter->new($socket);
$d = $t->dialogue(env => {TCPREMOTEIP => '2001:db8::1', TCPREMOTEHOST => undef, TCPREMOTEPORT => 7});
$d->say('HELO x.test');
$d->say('MAIL FROM:<"a b"@client.test> SIZE=100 BODY=8BITMIME AUTH=<>');
$d->quit;
$milter->ends;
is_deeply [$milter->said('C')], ["[2001:db8::1]\0" . '6' . pack('n', 7) . "2001:db8::1\0"], 'an IPv6 client';
is_deeply [$milter->said('M')], ["<\"a\\ b\"\@client.test>\0SIZE=100\0BODY=8BITMIME\0AUTH=<>\0"], 'parameters of MAIL';
%macro = $milter->macros('M');
is $macro{'{msg_size}'}, 100, 'msg_size';
is $macro{r}, 'SMTP', 'r';
undef $d;
$milter->stop;
$milter = Qpsmtpd::Milter->new($socket);
$d = $t->dialogue(env => {TCPREMOTEIP => undef, TCPREMOTEHOST => undef, PROTO => undef});
$d->quit;
$milter->ends;
like +($milter->said('C'))[0], qr/\A[^\0]+\0U\z/, 'a client that is no network peer';

# Lists of macros that it wants.
play(lists => pack('N', 2) . "i, {mail_addr} {nonsense}\0" . pack('N', 3) . "\0");
send_mail();
$d->quit;
$milter->ends;
my @names = sort keys %{{$milter->macros('M')}};
is_deeply \@names, ['i', '{mail_addr}'], 'a list of its own: these macros and no others';
is_deeply [$milter->macros('R')], [], 'an empty list: none';
ok scalar($milter->macros('C')), 'other stages have their usual ones';
play(O => ['l' . pack('N', 2) . "{mail_addr}\0", 'O' . pack 'N3', 6, 0x1ff, 0]);
send_mail();
$d->quit;
$milter->ends;
is_deeply [$milter->macros('M')], ['{mail_addr}', 'a@client.test'], 'a list in a packet of its own';

# AUTH
SKIP: {
    plugins("auth/authnull", "milter test unix:$socket");
    play();
    my $reply = $d->say('AUTH PLAIN AGpvZQBzZWNyZXQ=');
    skip "no AUTH here: $reply", 2 unless $reply =~ /^235/;
    $d->say('MAIL FROM:<a@client.test> AUTH=e+3Dmc2@example.test');
    $d->quit;
    $milter->ends;
    %macro = $milter->macros('M');
    is_deeply [@macro{qw({auth_type} {auth_authen} {auth_author})}], ['PLAIN', 'joe', 'e=mc2@example.test'],
        'who has authenticated';
    options();
}

# ---- steps it does not want, or does not answer -------------------------------------------------------

my @all = map { "quiet_$_" } qw(L C H M R T N B);
for my $case (
    [['no_connect'], 'OHMRTLLLNBEQ.'], [['no_helo'], 'OCMRTLLLNBEQ.'], [['no_mail'], 'OCHRTLLLNBEQ.'],
    [['no_rcpt'], 'OCHMTLLLNBEQ.'], [['no_data'], 'OCHMRLLLNBEQ.'], [['no_header'], 'OCHMRTNBEQ.'],
    [['no_eoh'], 'OCHMRTLLLBEQ.'], [['no_body'], 'OCHMRTLLLNEQ.'],
    [[qw(no_connect no_helo no_mail no_rcpt no_data no_header no_eoh no_body)], 'OEQ.'],
    [\@all, 'OCHMRTLLLNBEQ.'], [['leading'], 'OCHMRTLLLNBEQ.'],
) {
    my ($steps, $letters) = @$case;
    play(steps => steps(@$steps));
    is send_mail(), '250 queued', "steps: @$steps";
    $d->quit;
    is $milter->ends, $letters, 'what it hears';
    is arrived(), $message, 'the message';
    is_deeply [$milter->said('L')], ["Subject\0 hi\0", "X-One\0  two blanks\0", "X-Fold\0 a\n\tb\0"],
        'values with the blank behind the colon' if $steps->[0] eq 'leading';
}
play(version => 2);
send_mail();
$d->say('FOO');
$d->quit;
is $milter->ends, 'OCHMRLLLNBEQ.', 'version 2 has no DATA and no unknown commands';
play(version => 6, steps => 0x30000000);
is send_mail(), '250 queued', 'bits that were not offered bind nobody';

# ---- every answer at every step -----------------------------------------------------------------------

# what a step is called in the texts, and what refuses it there
my @steps = (['C', 'connection', 554], ['H', 'HELO', 550], ['M', 'MAIL FROM', 550], ['R', 'RCPT TO', 550],
    ['T', 'DATA', 554], ['L', 'header Subject', 554], ['N', 'end headers', 554], ['B', 'body', 554],
    ['E', 'end of DATA', 554]);

# outcome - of a session with that script: the first reply that refuses, or of the message
sub outcome {
    my (%script) = @_;

    play(%script);
    return $d->greeting unless $d->greeting =~ /^220/;
    return $d->reply unless $d->reply =~ /^250/;
    return send_mail();
}

my $soft = '451 Service unavailable - try again later';
for my $step (@steps) {
    my ($letter, $where, $code) = @$step;
    my $rejected = "Rejected at $where by test milter (Reject command with";

    is outcome($letter => 'r'), "$code $rejected 5xx error)", "$letter: reject";
    is_deeply [$t->maildir_messages], [], 'nothing is queued';
    is outcome($letter => 't'), "451 $rejected 4xx error)", "$letter: tempfail";
    is outcome($letter => "y550 5.7.1 go %%away %\0"), '550 go %away %', "$letter: a code of its own";
    is outcome($letter => "y452-4.3.1 two\r\n452 4.3.1 lines\0"), "452-two\n452 lines", "$letter: two lines";
    is outcome($letter => "y421 4.7.1 bye\0"), '421 bye', "$letter: 421";
    ok $d->eof, 'closes';
    for my $hang_up ('4', 'f') {
        is outcome($letter => $hang_up), '421 closing connection', "$letter: $hang_up";
        ok $d->eof, 'closes';
    }
    is outcome($letter => 'a'), '250 queued', "$letter: accept";
    is arrived(), $message, 'the message';
    $d->quit;
    my $last = $milter->ends;
    like $last, $letter eq 'E' ? qr/EQ\.\z/ : $letter =~ /[CH]/ ? qr/${letter}Q\.\z/ : qr/${letter}AQ\.\z/,
        "and no more is told ($last)";
    is outcome($letter => ['p', 'p', 'c']), '250 queued', "$letter: progress, then continue";
    if ($letter =~ /[CH]/) {
        is outcome($letter => 'd'), $soft, "$letter: a client cannot be discarded";
    } else {
        is outcome($letter => 'd'), '250 message accepted', "$letter: discard";
        is_deeply [$t->maildir_messages], [], 'nothing is queued';
        ok $d->wait_log(qr/discarded: milter=test from=<a\@client\.test> recipients=1/), 'the log tells';
    }
    is outcome($letter => 's'), $soft, "$letter: skip out of place" unless $letter eq 'B';
    is outcome($letter => field('X', 'y')), $soft, "$letter: an edit out of place" unless $letter eq 'E';
}

# A refused recipient does not spoil the others.
play(R => sub { return $_[0] =~ /bad/ ? "y550 5.1.1 no such user\0" : 'c' });
$d->say('MAIL FROM:<a@client.test>');
is $d->say('RCPT TO:<bad@example.test>'), '550 no such user', 'a recipient is refused';
like $d->say('RCPT TO:<b@example.test>'), qr/^250/, 'another is not';
is reply($d->data($message)), '250 queued', 'the message passes';

# A client that it refuses stays refused.
play(H => 'r');
like $d->say('EHLO again.test'), qr/^550 Rejected at HELO/, 'a refused client stays refused';
like $d->say('HELO again.test'), qr/^550 Rejected at HELO/, 'by HELO too';
is $milter->ends, 'OCHQ.', 'without the milter, which has gone by itself then';

# Skip: the rest of the body is not sent.
my $big = "Subject: big\n\n" . join '', map { sprintf "%062d\n", $_ } 1 .. 10_000;
(my $wire = $big) =~ s/.*?\n\n//s;
$wire =~ s/\n/\r\n/g;
play(steps => steps('skip'), B => 's');
is send_mail($big), '250 queued', 'skip';
is scalar(my @one = $milter->said('B')), 1, 'one piece was enough';
is arrived(), $big, 'the message is whole';
for my $steps (0, steps('quiet_B')) {
    play(steps => $steps);
    is send_mail($big), '250 queued', 'a large body';
    $d->quit;
    $milter->ends;
    my @pieces = $milter->said('B');
    cmp_ok scalar(grep { length > 65535 } @pieces), '==', 0, 'no piece is larger than the protocol allows';
    is join('', @pieces), $wire, 'together they are the body';
}

# ---- edits --------------------------------------------------------------------------------------------

# edited - the message after these edits
sub edited {
    my ($text, @edits) = @_;
    my $steps = ref $edits[0] ? ${shift @edits} : 0;

    play(steps => $steps, E => [@edits, 'c']);
    my $reply = send_mail($text);
    return $reply unless $reply eq '250 queued';
    return arrived();
}

# below - where our Received is: lines before it, and all that follows it
sub below {
    my ($m) = $t->maildir_messages;

    $m =~ s/\AReturn-Path: .*\nDelivered-To: .*\n//;
    return $m =~ /\A(.*?)^Received: [^\n]*\n(?:[ \t][^\n]*\n)*(.*)\z/ms ? [$1, $2] : [$m];
}

my $small = "A: 1\nB: 2\nA: 3\n\nbody\n";
for my $case (
    ['add', [field('X-New', 'value')], "A: 1\nB: 2\nA: 3\nX-New: value\n\nbody\n"],
    ['add, folded', [field('X', "a\n b\r\n\tc\nd")], "A: 1\nB: 2\nA: 3\nX: a\n b\n\tc\n\td\n\nbody\n"],
    ['add, empty', [field('X', '')], "A: 1\nB: 2\nA: 3\nX:\n\nbody\n"],
    ['no field breaks out', [field('X', "a\n\nbody: 1\0" =~ s/\0//r)], "A: 1\nB: 2\nA: 3\nX: a\n\tbody: 1\n\nbody\n"],
    ['change the second', [change(2, 'A', 'x')], "A: 1\nB: 2\nA: x\n\nbody\n"],
    ['0 is the first', [change(0, 'a', 'x')], "A: x\nB: 2\nA: 3\n\nbody\n"],
    ['delete the first', [change(1, 'A', '')], "B: 2\nA: 3\n\nbody\n"],
    ['blanks before the colon', [change(2, 'A', 'x'), change(1, 'B', '')], "A : 1\nA: x\n\nbody\n", "A : 1\nB\t: 2\nA : 3\n\nbody\n"],
    ['delete both', [change(2, 'A', ''), change(1, 'A', '')], "B: 2\n\nbody\n"],
    ['delete what is not there', [change(3, 'A', ''), change(1, 'C', '')], $small],
    ['change what is not there', [change(1, 'C', 'x')], "A: 1\nB: 2\nA: 3\nC: x\n\nbody\n"],
    ['body', ["bnew\r\n.\r\nbody\r\n"], "A: 1\nB: 2\nA: 3\n\nnew\n.\nbody\n"],
    ['body in pieces', ["bnew\r", "b\nbo\r", "bdy\r", "b\r", "b", "b\n"], "A: 1\nB: 2\nA: 3\n\nnew\nbo\rdy\r\n"],
    ['body without an end', ['bend'], "A: 1\nB: 2\nA: 3\n\nend\n"],
    ['body that ends in CR', ["bend\r"], "A: 1\nB: 2\nA: 3\n\nend\r\n"],
    ['empty body', ['b'], "A: 1\nB: 2\nA: 3\n\n"],
    ['a body like a header', ["bX: y\r\n\r\nz\r\n"], "A: 1\nB: 2\nA: 3\n\nX: y\n\nz\n"],
    ['exact values', [\steps('leading'), field('X', 'none'), field('Y', '  two'), change(1, 'B', "\tx")],
        "A: 1\nB:\tx\nA: 3\nX:none\nY:  two\n\nbody\n"],
    ['progress in between', [field('X', 'y'), 'p', field('Y', 'z')], "A: 1\nB: 2\nA: 3\nX: y\nY: z\n\nbody\n"],
) {
    my ($name, $edits, $want, $text) = @$case;
    is edited($text // $small, @$edits), $want, "edit: $name";
}
for my $case (
    ['insert at 0: above our Received', [insert(0, 'X', 'y')], ["X: y\n", $small]],
    ['at 1: below it', [insert(1, 'X', 'y')], ['', "X: y\n$small"]],
    ['at 2', [insert(2, 'X', 'y')], ['', "A: 1\nX: y\nB: 2\nA: 3\n\nbody\n"]],
    ['far below', [insert(4_000_000_000, 'X', 'y')], ['', "A: 1\nB: 2\nA: 3\nX: y\n\nbody\n"]],
    ['twice', [insert(1, 'X', '1'), insert(1, 'X', '2')], ['', "X: 2\nX: 1\n$small"]],
) {
    my ($name, $edits, $want) = @$case;
    edited($small, @$edits);
    is_deeply below(), $want, "edit: $name";
}
is edited("Received: a\nReceived: b\n\nx\n", change(1, 'Received', '')), "Received: b\n\nx\n",
    'our own Received does not count';
my ($all) = $t->maildir_messages;
is scalar(() = $all =~ /^Received: /mg), 2, 'and stays';
is edited("Subject: no body\n", "bnow there is\r\n"), "Subject: no body\n\nnow there is\n", 'a body where there was none';
is edited($big, 'b' . $wire =~ s/0/1/gr =~ s/\A(.{65000}).*/$1/sr, 'b' . 'x' x 65000), do {
    my $new = $wire =~ s/0/1/gr =~ s/\A(.{65000}).*/$1/sr . 'x' x 65000 . "\n";
    "Subject: big\n\n" . $new =~ s/\r\n/\n/gr;
}, 'a large new body';

# The envelope: seen by the queue plugin in its log line.
sub envelope {
    my (@edits) = @_;

    play(E => [@edits, 'c']);
    $t->config('maildir-dummy' => '');
    my $reply = send_mail(undef, 'b@example.test', 'c@example.test');
    my ($from, $n) = $d->log =~ /queued: from=(\S+) recipients=(\d+)/;
    return "$reply " . (defined $from ? "$from $n" : '-');
}
is envelope("+<d\@example.test>\0"), '250 queued <a@client.test> 3', 'a recipient more';
is envelope("+d\@example.test\0"), '250 queued <a@client.test> 3', 'without brackets';
is envelope("+<b\@example.test>\0"), '250 queued <a@client.test> 2', 'one that is there is not added';
is envelope("2<d\@example.test>\0NOTIFY=NEVER\0"), '250 queued <a@client.test> 3', 'with parameters';
is envelope("2<d\@example.test>\0"), '250 queued <a@client.test> 3', 'without them';
is envelope("-<b\@example.test>\0"), '250 queued <a@client.test> 1', 'one less';
is envelope("-<x\@example.test>\0"), '250 queued <a@client.test> 2', 'one that is not there';
is envelope("e<new\@client.test>\0"), '250 queued <new@client.test> 2', 'another sender';
is envelope("e<>\0SIZE=5\0"), '250 queued <> 2', 'none';
is envelope("-<b\@example.test>\0", "-<c\@example.test>\0"), '250 message accepted -', 'no recipient is left';
is_deeply [$t->maildir_messages], [], 'then nothing is queued';

# Quarantine
is outcome(E => ["qlooks bad\0", 'c']), '451 Message quarantined by test milter', 'quarantine';
ok $d->wait_log(qr/quarantined: milter=test reason="looks bad"/), 'the log tells';
options('quarantine reject');
is outcome(E => ["qx\0", 'c']), '554 Message quarantined by test milter', 'quarantine reject';
options('quarantine mark');
is edited("X-Quarantine: forged\nA: 1\n\nb\n", "qlooks\r\nbad\0"), "X-Quarantine: test; looks\n\tbad\nA: 1\n\nb\n",
    'quarantine mark';
options();

# Edits that cannot be done, and too many of them: nothing is done.
for my $case (
    ['name', [field('a b', 'c')], 'name that is none'], ['empty name', [field('', 'c')], 'name that is none'],
    ['name of two lines', [field("a\nb", 'c')], 'name that is none'], ['colon', [change(1, 'a:', 'c')], 'name that is none'],
    ['recipient', ["+<a\n\@b.test>\0"], 'address that is none'], ['null recipient', ["+<>\0"], 'address that is none'],
    ['sender', ["e<a b>\0"], 'address that is none'],
    ['two addresses', ["+<a\@b.test> <c\@d.test>\0"], 'address that is none'],
    ['many edits', [(field('X', 'y')) x 1001], 'more edits'],
    ['much text', [(field('X', 'y' x 65000)) x 5], 'more edits'],
) {
    my ($name, $edits, $why) = @$case;
    is outcome(E => [@$edits, 'c']), $soft, "bad edit: $name";
    ok $d->wait_log(qr/milter is not usable: name=test at="end of DATA" error=".*$why/), 'the log tells';
}
is outcome(E => [(field('X', 'y')) x 1000, 'c']), '250 queued', 'a thousand edits are not too many';
$t->config(databytes => 5000);
is outcome(E => [('b' . 'x' x 4000) x 2, 'c']), $soft, 'a new body larger than databytes';
$t->config(databytes => 0);
for my $end ('r', 't', 'd') {
    isnt outcome(E => [field('X', 'y'), "e<x\@y.test>\0", 'bnew', $end]), '250 queued', "edits, then $end";
    is_deeply [$t->maildir_messages], [], 'nothing is queued';
}
is outcome(E => [field('X', 'y'), 'a']), '250 queued', 'edits, then accept';
like arrived(), qr/^X: y$/m, 'they are done';

# ---- milters that are not usable ----------------------------------------------------------------------

my @insane = (
    ['closes', undef], ['says nothing whole', {raw => "\0\0\0\5y55"}, undef], ['length 0', {raw => "\0\0\0\0"}],
    ['a huge length', {raw => "\xff\xff\xff\xff"}], ['one byte too many', {raw => pack('N', 65537)}],
    ['an unknown letter', 'X'], ['NUL', "\0"], ['continue with data', "cx"], ['reply without NUL', 'y550 x'],
    ['reply with two', "y550 x\0y\0"], ['reply that is none', "y250 2.0.0 fine\0"], ['code 600', "y600 x\0"],
    ['code 5', "y5\0"], ['no blank', "y5501 x\0"], ['two codes', "y550-a\r\n451 b\0"], ['unfinished lines', "y550-a\r\n\0"],
    ['empty reply', "y\0"], ['an offer', 'O' . pack('N3', 6, 0, 0)], ['a command of ours', 'Q'],
);
for my $step (@steps) {
    my ($letter, $where) = @$step;
    for my $case (@insane) {
        my ($name, @answers) = @$case;
        is outcome($letter => [@answers]), $soft, "$letter: $name";
        is scalar(my @none = $t->maildir_messages), 0, 'nothing is queued';
        like $d->log, qr/milter is not usable: name=test at="\Q$where\E" error=".+" on_error=tempfail/, 'the log tells';
    }
}

# Whole replies only: what it says of itself never comes through as lines of ours.
is outcome(R => "y550 5.1.1 a\tb\x01c\x7f\xe9\0"), '550 a?b?c?' . "\xe9", 'control bytes are masked'
    or diag explain $d->reply;
unlike outcome(R => 'y550 ' . 'x' x 60000 . "\0"), qr/x{1000}/, 'a long line is cut';

# The offer
for my $case (
    ['version 1', version => 1], ['version 7', version => 7], ['unknown actions', actions => 0x1000],
    ['half a list', lists => "\0\0"], ['a list without end', lists => "\0\0\0\1abc"],
    ['a list of no stage', lists => "\0\0\0\7abc\0"], ['a list too long', lists => "\0\0\0\1" . 'x' x 600 . "\0"],
    ['too short', O => 'O' . pack('N2', 6, 0)], ['continue', O => 'c'], ['closes', O => [undef]],
    ['lists without end', O => [('l' . pack('N', 1) . "x\0") x 50]], ['garbage', O => [{raw => "HTTP/1.0 200 OK\r\n"}]],
) {
    my ($name, %script) = @$case;
    is outcome(%script), $soft, "offer: $name";
    ok $d->wait_log(qr/milter is not usable: name=test at="connection"/), 'the log tells';
}

# on_error
sub dead {
    undef $d;
    $milter->stop if $milter;
    undef $milter;
    unlink $socket;
    $d = $t->dialogue;
    like $d->say('EHLO client.test'), qr/^250/, 'without the milter the greeting goes on';
    $d->{said_hello} = 1;
    return send_mail();
}
is dead(), $soft, 'dead: tempfail is the default';
like $d->quit, qr/^221/, 'QUIT works';
options('on_error reject');
is dead(), '550 Service unavailable', 'dead: reject';
is outcome(B => [undef]), '550 Service unavailable', 'dying: reject';
options('on_error accept');
is dead(), '250 queued', 'dead: accept';
is arrived(), $message, 'the message';
for my $step (@steps) {
    is outcome($step->[0] => [undef]), '250 queued', "$step->[0]: dying: accept";
    is arrived(), $message, 'the message';
}
for my $edit (field('X', 'y'), 'bnew', "+<x\@example.test>\0", "qbad\0") {
    for my $how ('accept', 'reject') {
        options("on_error $how");
        is outcome(E => [$edit, undef]), $soft, "dying between edits is never more than 4xx: $how, " . substr $edit, 0, 1;
        is_deeply [$t->maildir_messages], [], 'nothing is queued';
    }
}

# Silence ends, whatever it is that is silent; progress for ever ends as well.
options('read_timeout 1 end_timeout 1 total_timeout 2 connect_timeout 1 write_timeout 1');
for my $letter (qw(O C M E)) {
    my $before = time;
    is outcome($letter => [\30]), $soft, "$letter: silence";
    cmp_ok time - $before, '<', 20, 'ends';
    like $d->log, qr/error="it was silent too long"/, 'the log tells';
}
is outcome(E => [map { (\0.2, 'p') } 1 .. 100]), $soft, 'progress for ever';
is outcome(M => [map { (\0.2, 'p') } 1 .. 100]), $soft, 'at MAIL, too';
is outcome(E => [map { (\0.2, {raw => substr packet('y550 5.7.1 drop by drop'), $_, 1}) } 0 .. 20]), $soft,
    'drop by drop';
play(L => sub { return (\0.3, 'c') });
is send_mail("A: b\n" x 100 . "\nx\n"), $soft, 'many slow answers have total_timeout together';

# With MILTER_QUIET_BODY nothing is answered, so only writing has to wait.
{
    options('total_timeout 2');
    play(steps => steps('quiet_B'), B => [\0.5]);
    my $before = time;
    is send_mail("A: b\n\n" . ('x' x 62 . "\n") x 60_000), $soft, 'a body that is taken slowly, too';
    cmp_ok time - $before, '<', 20, 'ends';
}
options('end_timeout 1 total_timeout 60');
is outcome(E => [map({ (\0.3, 'p') } 1 .. 4), 'c']), '250 queued', 'progress makes it wait longer than end_timeout';
options();

# It comes back: the next MAIL finds it, and it is told what it has missed.
is dead(), $soft, 'dead';
$milter = Qpsmtpd::Milter->new($socket);
is send_mail(), '250 queued', 'the next message finds it again';
$d->quit;
is $milter->ends, 'OCHMRTLLLNBEQ.', 'it was told all of it';

# ---- abort, quit, keep --------------------------------------------------------------------------------

for my $case (['RSET', 'OCHMRAMRAQ.'], ['EHLO again.test', 'OCHMRAHMRAQ.'], ['MAIL FROM:<>', 'OCHMRAMMRAQ.']) {
    my ($command, $letters) = @$case;
    play();
    $d->say($_) for 'MAIL FROM:<a@client.test>', 'RCPT TO:<b@example.test>', $command;
    $letters =~ s/MMR/MAMR/;
    $d->say($_) for 'MAIL FROM:<a@client.test>', 'RCPT TO:<b@example.test>';
    $d->quit;
    is $milter->ends, $letters, "a message ends with $command";
}
play();
$d->say($_) for 'MAIL FROM:<a@client.test>', 'RCPT TO:<b@example.test>';
$d->hangup;
is $milter->ends, 'OCHMRAQ.', 'the client hangs up';
play(T => 'r');
send_mail();
is reply($d->deliver('x@client.test', 'b@example.test', $message)), '554 Rejected at DATA by test milter ' .
    '(Reject command with 5xx error)', 'after a refusal the next message is a new one';
$d->quit;
is $milter->ends, 'OCHMRTAMRTAQ.', 'with an abort between';

options('keep yes');
$milter->stop;
$milter = Qpsmtpd::Milter->new($socket);
my $s = $t->prefork('--children', 1, '--idle-children', 1);
for my $n (1 .. 3) {
    my $c = $s->connect;
    empty();
    like $c->deliver('a@client.test', 'b@example.test', $message), qr/^250/, "keep: client $n";
    $c->say('MAIL FROM:<a@client.test>') if $n == 2;
    $c->quit;
    wait_for(sub { $milter->letters =~ tr/K// == $n }, 20, 'K');
}
is $milter->letters, 'O' . 'CHMRTLLLNBEK' . 'CHMRTLLLNBEMAK' . 'CHMRTLLLNBEK', 'one connection for all clients';
$milter->stop;
$milter = Qpsmtpd::Milter->new($socket);
my $c = $s->connect;
like $c->deliver('a@client.test', 'b@example.test', $message), qr/^250/, 'one that has gone since is replaced';
$c->quit;
is $s->stop, 0, 'the server ends';
options();

# ---- what else it is told -----------------------------------------------------------------------------

for my $case ([0, 'c'], [steps('rcpt_rej'), 'c'], [steps('rcpt_rej'), 'r']) {
    my ($steps, $answer) = @$case;
    play(steps => $steps, R => sub { return $_[0] =~ /other/ ? $answer : 'c' });
    $d->say('MAIL FROM:<a@client.test>');
    is $d->say('RCPT TO:<x@other.test>'), '550 relaying denied', 'a recipient that others refuse';
    my %told = $milter->macros('R');
    is_deeply [$milter->said('R')], $steps ? ["<x\@other.test>\0"] : [], $steps ? 'it wants to know' : 'it is not told';
    is_deeply [@told{'{rcpt_mailer}', '{rcpt_addr}'}], ['error', 'refused'], 'that it was refused' if $steps;
    $d->say('RCPT TO:<b@example.test>');
    is reply($d->data($message)), '250 queued', 'the message passes';
}
play();
like $d->say('FOO bar'), qr/^500/, 'an unknown command';
is_deeply [$milter->said('U')], ["foo bar\0"], 'it is told';
for my $case (['r', qr/^554 Rejected at unknown command/], ["y550 5.5.1 mine\0", qr/^550 mine/], ['a', qr/^500/],
    ['4', qr/^421/], [undef, qr/^500/]) {
    my ($answer, $reply) = @$case;
    play(U => [$answer]);
    like $d->say('FOO'), $reply, 'its answer counts: ' . (defined $answer ? substr $answer, 0, 1 : 'gone');
}
play(steps => steps('no_unknown'));
like $d->say('FOO bar'), qr/^500/, 'unless it does not want to hear of them';
is $milter->letters, 'OCH', 'indeed';

# Others refuse a HELO in the middle of a message, which libmilter would take for its end: the message is told again.
plugins("milter test unix:$socket", 'check_spamhelo');
$t->config(badhelo => "bad.test\n");
play();
$d->say($_) for 'MAIL FROM:<a@client.test>', 'RCPT TO:<b@example.test>';
like $d->say('EHLO bad.test'), qr/^550/, 'another plugin refuses a second EHLO';
is reply($d->data($message)), '250 queued', 'the message goes on';
$d->quit;
is $milter->ends, 'OCHMRAHMRTLLLNBEQ.', 'and the milter has seen it';
options();

# By BDAT, with line ends of every kind.
play();
$d->say($_) for 'MAIL FROM:<a@client.test>', 'RCPT TO:<b@example.test>';
is reply($d->bdat("A: b\r\n\r\none\ntwo\rthree\r\r\nfour", 'LAST')), '250 queued', 'BDAT';
is_deeply [$milter->said('B')], ["one\r\ntwo\rthree\r\r\nfour"], 'the body';

# Several, in order: each sees what those above have changed.
my $other = "$socket.2";
plugins("milter one unix:$socket", "milter:2 two unix:$other on_error accept");
my $second = Qpsmtpd::Milter->new($other, E => [field('X-Two', '2'), 'c']);
is outcome(E => [field('X-One', 'changed'), change(1, 'X-One', ''), "bnew body\r\n", "e<z\@client.test>\0", 'c']),
    '250 queued', 'two milters';
is arrived(), "Subject: hi\nX-Fold: a\n\tb\nX-One: changed\nX-Two: 2\n\nnew body\n", 'both have done their edits';
$d->quit;
$second->ends;
is_deeply [$second->said('L')], ["Subject\0hi\0", "X-Fold\0a\n\tb\0", "X-One\0changed\0"],
    'the second sees the edits of the first';
is_deeply [$second->said('B')], ["new body\r\n"], 'and its body';
is outcome(M => 'r'), '550 Rejected at MAIL FROM by one milter (Reject command with 5xx error)', 'the first refuses';
$d->quit;
$second->ends(2);
unlike substr($second->letters, 10), qr/M.*Q/, 'the second does not hear of it';
$second->stop;
is outcome(), '250 queued', 'the second is gone: its own on_error counts';
plugins("milter one unix:$socket", "milter:2 two unix:$other");
$second = Qpsmtpd::Milter->new($other, E => [undef]);
is outcome(E => [field('X-One', '1'), "-<b\@example.test>\0", "+<c\@example.test>\0", 'c']), $soft,
    'the second dies, when the first has done its edits';
is_deeply [$t->maildir_messages], [], 'nothing is queued';
$second->stop;
$second = Qpsmtpd::Milter->new($other);
is send_mail(), '250 queued', 'the next message has both again';
$second->stop;
options();

# TCP, by every spelling of the place.
$milter->stop;
$milter = Qpsmtpd::Milter->new(undef);
for my $place ($milter->port, 'localhost:' . $milter->port, 'inet:' . $milter->port . '@127.0.0.1',
    'inet:127.0.0.1:' . $milter->port) {
    plugins("milter test $place");
    undef $d;
    $d = $t->dialogue;
    is send_mail(), '250 queued', "at $place";
}

# ---- memory -------------------------------------------------------------------------------------------

SKIP: {
    skip 'the programs were built with sanitizers', 1 if sanitized();
    options();
    $t->config(size_threshold => 10000);
    my @peak;
    for my $lines (1000, 200_000) {
        play(steps => steps('quiet_B'), E => [('b' . 'y' x 60000) x ($lines / 500), 'c']);
        is send_mail("A: b\n\n" . ('x' x 76 . "\n") x $lines), '250 queued', "$lines lines";
        push @peak, peak_memory($d->pid);
    }
    cmp_ok $peak[1] - $peak[0], '<', 500, "memory is the same for 75 kB and 15 MB (peak $peak[0] and $peak[1] KiB)";
}

done_testing;
