use strict;
use warnings;

use Digest::MD5 qw(md5 md5_hex);
use MIME::Base64 qw(encode_base64);
use Test::More;
use Time::HiRes qw(time);

use Qpsmtpd::NextHop;
use Qpsmtpd::Test qw(wait_for);

my $second = $Qpsmtpd::NextHop::second;
my @common = ('check_relay', 'rcpt_ok');
my %config = (rcpthosts => 'example.test', 'me-auth-results' => 'none');
my $small = "Subject: x\n\nbody\n";
my $large = "Subject: large\n\n" . ('x' x 70 . "\n") x 100_000;

# A harness that forwards to these hops, and the hops.
sub harness {
    my ($options, @hops) = @_;
    my $t = Qpsmtpd::Test->new(config => \%config);

    @hops = map { Qpsmtpd::NextHop->new($t, %$_) } @hops ? @hops : {};
    $t->config(plugins => [@common, 'queue/smtp-forward ' . join(',', map { '127.0.0.1:' . $_->port } @hops) . " $options",
        'queue/discard']);
    return ($t, @hops);
}

# without_connection - what a hop was told, without the numbers of its connections, and without QUIT, which a
# process that ends says when it likes
sub without_connection { return grep { $_ ne 'QUIT' } map { s/^\d+ //r } $_[0]->commands }

sub reply_to { my ($d, $message) = @_; return $d->deliver('a@client.test', 'b@example.test', defined $message ? $message : $small) }

# ---- what it says and sends ------------------------------------------------------------------------

my ($t, $hop) = harness('');
my $d = $t->dialogue;

is reply_to($d), '250 Queued! Ok: queued as 4F1D', 'the next hop\'s words, without its status';
like +($hop->messages)[0], qr/\AReceived: .*\r\n(?:[ \t].*\r\n)+Subject: x\r\n\r\nbody\r\n\z/, 'the message, with our Received';
my $size = length +($hop->messages)[0];
is_deeply [$hop->commands],
    ['1 EHLO mx.example.test', "1 MAIL FROM:<a\@client.test> SIZE=$size", '1 RCPT TO:<b@example.test>', '1 DATA'],
    'the dialogue; SIZE is exact';
$hop->clear;
is $d->deliver('', ['"q q"@example.test', 'c@Example.test', 'b@example.test'], "Subject: \xe9\n\n.\n..\nx"),
    '250 Queued! Ok: queued as 4F1D', 'null sender, quotes, several recipients, 8 bits, dots';
$size = length(($hop->messages)[0] =~ s/^\.//mgr);
is_deeply [$hop->commands], ['1 RSET', "1 MAIL FROM:<> SIZE=$size BODY=8BITMIME", '1 RCPT TO:<"q\ q"@example.test>',
    '1 RCPT TO:<c@Example.test>', '1 RCPT TO:<b@example.test>', '1 DATA'], '... on the same connection, after RSET';
like +($hop->messages)[0], qr/\r\nSubject: \xe9\r\n\r\n\.\.\r\n\.\.\.\r\nx\r\n\z/, '... dots are doubled';
is $d->quit =~ /^221/ && $d->status, 0, 'the end of the process';
wait_for(sub { ($hop->commands)[-1] eq '1 QUIT' }, 5, 'QUIT');
pass 'says QUIT';

my @many = map { "user$_\@example.test" } 1 .. 200;
$hop->clear;
like $t->dialogue->deliver('a@client.test', \@many, $large), qr/^250/, 'many recipients, a large message';
is_deeply [grep { /RCPT/ } without_connection($hop)], [map { "RCPT TO:<$_>" } @many], '... all of them';
ok +(($hop->messages)[0] =~ s/\r\n/\n/gr) =~ s/\A.*?(?=Subject)//sr eq $large, '... all of it';
like $t->dialogue(env => {RELAYCLIENT => '@fix'})->deliver('a@b.test', ['"c\\"d"@d.test', 'e@example.test'], $small), qr/^250 /,
    'RELAYCLIENT with a value';
is_deeply [(grep { /RCPT/ } without_connection($hop))[-2, -1]], ['RCPT TO:<"c\\"d"@d.test>', 'RCPT TO:<e@example.test>'],
    '... changes no recipient: that is between qmail-smtpd and qmail-queue';

# A server that offers nothing gets nothing.
for my $offer ([], ['X-NOTHING', 'SIZE', 'PIPELININGS', '8BITMIMETIC', 'AUTHENTIC', 'SIZE 99999999999999999999']) {
    $hop->offers(@$offer);
    $hop->clear;
    like $t->dialogue->deliver('a@client.test', 'b@example.test', "Subject: \xe9\n\nb\n"), qr/^250/, "a server that offers '@$offer'";
    like +(grep { /MAIL/ } without_connection($hop))[0], @$offer ? qr/^MAIL FROM:<a\@client.test> SIZE=\d+$/ : qr/^MAIL FROM:<a\@client.test>$/,
        '... gets no parameter that it does not know';
}
for my $can (0, 1) {
    my ($t, $hop) = harness("timeout_command ${second}s");
    $hop->offers($can ? 'PIPELINING' : 'X-NOTHING');
    $hop->does(MAIL => {send => ''});
    reply_to($t->dialogue);
    is scalar(grep { /RCPT/ } $hop->commands), $can, $can ? 'with PIPELINING commands go ahead of replies' : 'without it they do not';
}
$hop->offers('PIPELINING');
$hop->does(EHLO => '502 what?');
$hop->clear;
like reply_to($t->dialogue), qr/^250/, 'a server without EHLO';
is_deeply [(without_connection($hop))[0 .. 2]], ['EHLO mx.example.test', 'HELO mx.example.test', 'MAIL FROM:<a@client.test>'], '... is greeted with HELO';
$hop->does;

$hop->offers('SIZE 300', '8BITMIME');
is reply_to($t->dialogue, $large), '552 message too big for next hop', 'a message that is larger than SIZE';
is scalar(grep { /MAIL/ } $hop->commands), 1, '... is not offered';
like reply_to($t->dialogue), qr/^250/, '... a smaller one is';
$hop->offers('SIZE 0');
like reply_to($t->dialogue, $large), qr/^250/, 'SIZE 0 is no limit';

($t, $hop) = harness('no8bit refuse', {offer => ['PIPELINING']});
is $t->dialogue->deliver('a@client.test', 'b@example.test', "Subject: \xe9\n\n"), '554 next hop takes no 8-bit messages', 'no8bit refuse';
like reply_to($t->dialogue), qr/^250/, '... concerns no other message';

# ---- messages that BDAT brings -----------------------------------------------------------------------

($t, $hop) = harness('');
$t->config(databytes => 0);
my %hostile = (
    'a bare LF' => ["a\nb\r\n", "a\r\nb\r\n"],
    'a bare CR' => ["a\rb\r\r\n\r", "a b \r\n \r\n"],
    'no last line end' => ['end', "end\r\n"],
    'a dot as last line' => ["a\r\n.", "a\r\n..\r\n"],
    'a lone dot in all spellings' => ["\n.\n\r\n.\r\n.\r.\r\n\r.\r\n.\n", "\r\n..\r\n\r\n..\r\n.. . \r\n"],
    'NUL and 8 bits' => ["\0\xff\r\n", "\0\xff\r\n"],
    'the end of DATA and more commands' => ["x\n.\nMAIL FROM:<evil\@client.test>\r\n.\r\nQUIT\r\n", "x\r\n..\r\nMAIL FROM:<evil\@client.test>\r\n..\r\nQUIT\r\n"],
    'an endless line' => ['.' . 'x' x 200_000, '..' . 'x' x 200_000 . "\r\n"],
    'dots only' => [".\n" x 70_000, "..\r\n" x 70_000],
    'line ends only' => ["\n" x 70_000, "\r\n" x 70_000],
);
$hostile{'a lone dot in all spellings'}[1] = "\r\n..\r\n\r\n..\r\n.. . \r\n .\r\n..\r\n" =~ s/\.\. \. \r\n \./.. .\r\n ./r;
for my $what (sort keys %hostile) {
    my ($body, $wire) = @{$hostile{$what}};
    my $d = $t->dialogue;

    $hop->clear;
    $d->say($_) for 'EHLO x', 'MAIL FROM:<a@client.test>', 'RCPT TO:<b@example.test>';
    like $d->bdat("Subject: x\r\n\r\n$body", 'LAST'), qr/^250 Queued/, "by BDAT: $what";
    ok +($hop->messages)[0] =~ s/\A.*?Subject: x\r\n\r\n//sr eq $wire, '... arrives as lines, dots doubled';
    is scalar($hop->messages), 1, '... as one message';
    ok !grep({ /evil|QUIT/ } $hop->commands), '... and as no command';
}

# ---- faults ----------------------------------------------------------------------------------------

Qpsmtpd::NextHop::test_faults(0, sub { "queue/smtp-forward 127.0.0.1 $_[0]" }, \%config);

($t, $hop) = harness($Qpsmtpd::NextHop::limits);
$hop->does(dot => {then => 'silent'});
reply_to($d = $t->dialogue);
like $d->log, qr/next hop failed, and may have the message next=127\.0\.0\.1:\d+ step=dot/, 'the log names the next hop';
$hop->does;
{
    my ($t, $hop) = harness("timeout_total @{[2 * $second]}s");
    my $start = time;
    $hop->does(map { $_ => {send => "250 ok\r\n", drip => 0.12 * $second} } qw(EHLO MAIL RCPT));
    like reply_to($t->dialogue), qr/^451 Unable to queue message \(\w+: timeout\)$/, 'each answer comes in time, all together do not';
    cmp_ok time - $start, '<', 20 * $second, '... timeout_total ends it';
}
$hop->stop;
is reply_to($t->dialogue), '451 Unable to queue message (connect: Connection refused)', 'nobody listens';
is reply_to(Qpsmtpd::Test->new(plugins => [@common, 'queue/smtp-forward nowhere.invalid'], config => \%config)->dialogue) =~
    s/\(connect: .*\)/(connect: ...)/r, '451 Unable to queue message (connect: ...)', 'a name that does not exist';
like reply_to(Qpsmtpd::Test->new(plugins => [@common, 'queue/smtp-forward /nowhere/socket'], config => \%config)->dialogue),
    qr/^451 .*\(connect: No such file/, 'a socket that does not exist';

# ---- recipients ------------------------------------------------------------------------------------

($t, $hop) = harness('');
$d = $t->dialogue;
for (['550', '550', undef, '550-no\n550 2 of 3 recipients refused, so nobody gets it: <b@example.test>, <c@example.test>', 'some refused for good'],
    ['550', '450', undef, '450-later\n450 2 of 3 recipients refused, so nobody gets it: <b@example.test>, <c@example.test>', 'one of them for now'],
    [undef, '421', undef, '451 Unable to queue message \(RCPT: 421 later\)', '421 among them'],
    ['550', '550', '550', '550-no\n550 3 of 3 recipients refused, so nobody gets it: <b@example.test>, <c@example.test>, <d@example.test>', 'all refused'])
{
    my ($b, $c, $e, $reply, $what) = @$_;
    my %does = map { $_->[1] ? ("RCPT <$_->[0]\@example.test>" => $_->[1] . ($_->[1] < 500 ? ' later' : ' no')) : () } [b => $b], [c => $c], [d => $e];

    $hop->clear;
    $hop->does(%does);
    like $d->deliver('a@client.test', [map { "$_\@example.test" } qw(b c d)], $small), qr/^$reply$/, "recipients: $what";
    is scalar($hop->messages), 0, '... nobody has it';
    is scalar(grep { /DATA/ } $hop->commands), 0, '... nor was it begun';
}
for (['552 enough', '452 enough'], ['552 5.5.3 enough', '452 enough'], ['552 5.2.2 full', '552 full'], ['552 5.3.4 too big', '552 too big'],
    ['553 5.5.3 odd', '553 odd'])
{
    my ($does, $reply) = @$_;

    $hop->does('RCPT <c@example.test>' => $does);
    like $d->deliver('a@client.test', [map { "$_\@example.test" } qw(b c)], $small), qr/^\Q@{[$reply =~ s{ }{-}r]}\E\n/, "RCPT: $does";
    $hop->does(MAIL => $does);
    is substr(reply_to($d), 0, 3), substr($does, 0, 3), '... means what it says when it speaks of the sender';
}
$hop->does(RCPT => '450 later');
my $reply = $d->deliver('a@client.test', [map { "user-$_-" . 'x' x 50 . '@example.test' } 1 .. 100], $small);
like $reply, qr/^450-later\n450 100 of 100 recipients refused, so nobody gets it: <user-1-x+\@example\.test>, .*, \.\.\.$/, 'many names are cut';
ok !grep({ length > 500 } split /\n/, $reply), '... to lines that a client can take';
$hop->does;
like reply_to($d), qr/^250/, 'the connection is good for the next message';

# ---- connections are kept --------------------------------------------------------------------------

($t, $hop) = harness("reuse 3 timeout_command ${second}s");
$d = $t->dialogue;
like reply_to($d), qr/^250/, "reuse 3: message $_" for 1 .. 7;
is $hop->connections, 3, '... are three connections';
is scalar(grep { /QUIT/ } $hop->commands), 2, '... two of them ended with QUIT';
for my $fault (['was closed', sub { $hop->stop; $hop->start }], map({ my $does = $_; [$does->[0], sub { $hop->does(RSET => $does->[1]) }] }
        ['dies at RSET', {then => 'die'}], ['answers 421', {send => "421 idle too long\r\n", then => 'die'}],
        ['says nothing any more', {then => 'silent'}], ['answers RSET with 500', '500 what?'])) 
{
    $hop->does;
    $d = $t->dialogue;
    reply_to($d);
    $hop->clear;
    $fault->[1]();
    like reply_to($d), qr/^250/, "the kept connection $fault->[0]: a new one is made";
    is $hop->connections, 1, '... one';
    is scalar($hop->messages), 1, '... and one message goes over it';
}
$hop->does;
$d = $t->dialogue;
reply_to($d);
$hop->does(MAIL => {then => 'die'});
$hop->clear;
like reply_to($d), qr/^451 Unable to queue message \(MAIL: connection closed\)$/, 'the new one dies as well: no third';
is $hop->connections, 1, '... was tried';
$hop->does;
reply_to($d);
$hop->does(dot => {then => 'die'});
$hop->clear;
like reply_to($d), qr/^451 Unable to queue message \(dot: connection closed\)$/, 'a kept connection dies after the dot';
is $hop->connections . $hop->tries, '01', '... then nothing is tried again';

($t, $hop) = harness('idle 0');
$d = $t->dialogue;
reply_to($d) for 1 .. 2;
is $hop->connections, 2, 'idle 0 keeps no connection';
($t, $hop) = harness('');
my $s = $t->prefork('--children', 1, '--idle-children', 1);
for (1 .. 3) {
    my $d = $s->connect;
    like reply_to($d), qr/^250/, "session $_ of a child";
    $d->quit;
}
is $hop->connections, 1, '... on one connection';
is $s->stop, 0, 'the child ends';
wait_for(sub { grep { /QUIT/ } $hop->commands }, 5, 'QUIT');
pass '... with QUIT';

# ---- fail-over -------------------------------------------------------------------------------------

($t, my @hop) = harness("timeout_greeting ${second}s retry 60", {}, {}, {});
for (['is not there', sub { $_[0]->stop }, 1], map({ my $f = $_; [$f->[0], sub { $_[0]->does(@{$f->[1]}) }, @$f[2, 3]] }
        ['says 554 to greet', [greeting => '554 no'], 1], ['is silent', [greeting => {then => 'silent'}], 1],
        ['dies in the message', [message => {then => 'die'}], 1], ['says 421', [MAIL => '421 no'], 1],
        ['refuses the message for now', [dot => '452 disk full'], 0, '452 disk full'], ['refuses the recipient', [RCPT => '550 no'], 0, '550 no'],
        ['dies after the dot', [dot => {then => 'die'}], 0, '451 Unable to queue message (dot: connection closed)']))
{
    my ($what, $break, $next, $reply) = @$_;

    $_->clear for @hop;
    $break->($hop[0]);
    is reply_to($t->dialogue, $what =~ /in the message/ ? $large : $small), $reply || '250 Queued! Ok: queued as 4F1D', "the first next hop $what";
    is scalar($hop[1]->messages), $next, $next ? '... the second one gets it' : '... the second one is not asked';
    is scalar($hop[2]->messages), 0, '... the third one is not asked';
    $hop[0]->does;
    $hop[0]->start if $what eq 'is not there';
}
$hop[0]->stop;
$d = $t->dialogue;
reply_to($d);
$hop[0]->start;
$_->clear for @hop;
reply_to($d);
is $hop[0]->connections, 0, 'a next hop that has failed is not asked again at once';
$_->stop for @hop[1, 2];
like reply_to($d), qr/^250/, '... unless the others fail, too';
is scalar($hop[0]->messages), 1, '... then it gets the message';
$hop[0]->stop;
is reply_to($d), '451 Unable to queue message (connect: Connection refused)', 'all are gone';

($t, $hop) = harness('fallback 1');
for ([{greeting => '421 no'}, '250 discarded'], [{RCPT => '450 later'}, '250 discarded'], [{RCPT => '550 no'}, '550 no'],
    [{dot => '451 later'}, '250 discarded'], [{dot => {then => 'die'}}, '451 Unable to queue message (dot: connection closed)'])
{
    my ($does, $reply) = @$_;
    $hop->does(%$does);
    is reply_to($t->dialogue), $reply, 'fallback, ' . join ' ', %$does;
}

# ---- XCLIENT, XFORWARD -------------------------------------------------------------------------------

my @offer = ('XCLIENT NAME ADDR PORT PROTO HELO LOGIN DESTADDR', 'XFORWARD NAME ADDR PROTO HELO SOURCE IDENT');
($t, $hop) = harness('xclient may xforward 1');
like reply_to($t->dialogue), qr/^250/, 'xclient may, not offered';
ok !grep({ /XCLIENT|XFORWARD/ } $hop->commands), '... not used';
$hop->offers(@offer);
$hop->clear;
$d = $t->dialogue(env => {TCPREMOTEIP => '2001:db8::1', TCPREMOTEHOST => undef, TCPREMOTEPORT => 4711});
$d->say("EHLO [a=b+c\xe9]");
$d->{said_hello} = 1;
like reply_to($d), qr/^250/, 'offered';
my $who = 'NAME=[UNAVAILABLE] ADDR=IPV6:2001:db8::1 PORT=4711 PROTO=ESMTP HELO=[a+3Db+2Bc+E9] LOGIN=[UNAVAILABLE]';
is_deeply [(without_connection($hop))[0 .. 2]], ['EHLO mx.example.test', "XCLIENT $who", 'EHLO mx.example.test'], '... XCLIENT, then EHLO again, by our name, as that is none';
like +(without_connection($hop))[3], qr/^XFORWARD NAME=\[UNAVAILABLE\] ADDR=IPV6:2001:db8::1 PROTO=ESMTP HELO=\[a\+3Db\+2Bc\+E9\] IDENT=\w+\.\d+ SOURCE=REMOTE$/,
    '... XFORWARD';
$hop->clear;
reply_to($d);
is scalar(grep { /XCLIENT/ } $hop->commands), 0, '... XCLIENT once for a client';
is scalar(grep { /XFORWARD/ } $hop->commands), 1, '... XFORWARD for each message';
$hop->does(XFORWARD => '550 no');
like reply_to($d), qr/^250/, 'a refused XFORWARD does no harm';
$hop->does(XCLIENT => '550 5.7.0 insufficient authorization');
is reply_to($t->dialogue), '451 Unable to queue message (XCLIENT: 550 insufficient authorization)', 'a refused XCLIENT does';
$hop->does;
$hop->clear;
$d = $t->dialogue;
$d->say('EHLO ' . '+' x 400);
$d->{said_hello} = 1;
like reply_to($d), qr/^250/, 'a client with a long name';
ok !grep({ length > 512 } $hop->commands), '... makes no command too long';
($t, $hop) = harness('xclient may');
$s = $t->prefork('--children', 1, '--idle-children', 1);
for my $client ('one.test', 'two.test') {
    my $d = $s->connect;
    $hop->offers(@offer);
    $d->say("EHLO $client");
    $d->{said_hello} = 1;
    like reply_to($d), qr/^250/, "a kept connection and XCLIENT: $client";
    my @helo = map { /HELO=(\S+)/ } grep { /XCLIENT/ } $hop->commands;
    is $helo[-1], $client, '... every client is introduced by its own name';
    is +(grep { /EHLO/ } without_connection($hop))[-1], "EHLO $client", '... also to EHLO';
    $d->quit;
}
is $s->stop, 0, 'the end';
is $hop->connections, 2, '... each on a connection of its own';
for my $options ('xclient must', 'xclient') {
    my ($t, $hop) = harness($options);
    is reply_to($t->dialogue), '451 Unable to queue message (XCLIENT: not offered)', "$options, not offered";
    $hop->offers(@offer);
    like reply_to($t->dialogue), qr/^250/, '... offered';
}

# ---- AUTH, STARTTLS ----------------------------------------------------------------------------------

# b64 - as it stands in a command
sub b64 { return encode_base64($_[0], '') }

sub hmac_md5 {
    my ($text, $key) = @_;

    $key = pack 'a64', $key;
    return md5_hex(($key ^ "\x5c" x 64) . md5(($key ^ "\x36" x 64) . $text));
}

my $challenge = '<17.4@hop.test>';
my ($user, $password) = ("b\xc3\xb6b", 'pass word');
for (['PLAIN', '235 ok', 'AUTH PLAIN ' . b64("\0$user\0$password")],
    ['LOGIN', '334 ' . b64('User Name'), 'AUTH LOGIN', b64($user), b64($password)],
    ['CRAM-MD5', '334 ' . b64($challenge), 'AUTH CRAM-MD5', b64("$user " . hmac_md5($challenge, $password))])
{
    my ($mechanism, $first, @commands) = @$_;
    my ($t, $hop) = harness('auth hop_auth');
    my ($step) = $commands[1] ? uc(($commands[1] =~ /^(\w+)/)[0]) : 'NONE';
    my ($last) = uc(($commands[-1] =~ /^(\w+)/)[0]);

    chmod 0640, $t->config(hop_auth => ['# comment', 'other.test carol wrong', "127.0.0.1 $user $password", '* dave wrong']);
    $hop->offers('PIPELINING', "AUTH X-OWN $mechanism");
    $hop->does(AUTH => $first, $step => '334 ' . b64('Password'), $last eq 'AUTH' ? () : ($last => '235 welcome'));
    my $d = $t->dialogue;
    like reply_to($d), qr/^250/, "AUTH $mechanism";
    is_deeply [(without_connection($hop))[1 .. @commands]], \@commands, '... the exchange';
    like reply_to($d), qr/^250/, '... a second message';
    is scalar(grep { /AUTH/ } $hop->commands), 1, '... needs no second one';
    unlike $d->log, qr/pass word|\Q@{[b64($password)]}\E|\Q@{[b64("\0$user\0$password")]}\E/, '... the log has no password';
    $hop->does(AUTH => '535 5.7.8 wrong');
    is reply_to($t->dialogue), '451 Unable to queue message (AUTH: 535 wrong)', '... refused: that is our fault, not the message\'s';
    $hop->does(AUTH => {send => "334 !!!\r\n"}, $step => '334 !!!');
    like reply_to($t->dialogue), qr/^451 Unable to queue message \(AUTH: /, '... a challenge that is none';
    $hop->offers('AUTH X-OWN EXTERNAL');
    is reply_to($t->dialogue), '451 Unable to queue message (AUTH: no mechanism that we know is offered)', '... not offered';
}

for (['must', ['PIPELINING'], {}, '451 Unable to queue message \(STARTTLS: not offered\)'],
    ['must', ['STARTTLS'], {STARTTLS => '454 not now'}, '451 Unable to queue message \(STARTTLS: 454 not now\)'],
    ['must', ['STARTTLS'], {STARTTLS => {send => "220 go\r\n250 injected\r\n"}}, '451 Unable to queue message \(STARTTLS: bytes ahead of the TLS handshake\)'],
    ['must', ['STARTTLS'], {STARTTLS => {send => "220 go\r\n", then => 'die'}}, '451 Unable to queue message \(STARTTLS: .*\)'],
    ['must', ['STARTTLS'], {STARTTLS => {send => "220 go\r\n", then => 'silent'}}, '451 Unable to queue message \(STARTTLS: timeout\)'],
    ['verify', ['STARTTLS'], {STARTTLS => "220 go\n220 go"}, '451 Unable to queue message \(STARTTLS: .*\)'],
    ['may', ['STARTTLS'], {STARTTLS => '454 not now'}, '250 .*'],
    ['off', ['STARTTLS'], {STARTTLS => '454 not now'}, '250 .*'])
{
    my ($tls, $offer, $does, $reply) = @$_;
    my ($t, $hop) = harness("tls $tls timeout_greeting ${second}s");

    $hop->offers(@$offer);
    $hop->does(%$does);
    like reply_to($t->dialogue), qr/^$reply$/, "tls $tls, " . (join(' ', %$does) || 'not offered');
    is scalar(grep { /MAIL/ } $hop->commands), $reply =~ /^250/ ? 1 : 0, '... nothing was said in the clear that should not';
}

# With TLS. The hop's name leads to more than one address where there is IPv6.
my $ssl = File::Temp->newdir;
system('plugins/tls_cert', "$ssl", 'localhost') == 0 or die 'tls_cert has failed';
system('plugins/tls_cert', "$ssl/other", 'other.test') == 0 or die 'tls_cert has failed';
my $ca = "tls_ca $ssl/ssl/qpsmtpd-ca.crt";
for (['localhost', 'tls must', '', qr/^250 /], ['localhost', "tls verify $ca", '', qr/^250 /],
    ['127.0.0.1', "tls verify $ca tls_name localhost", '', qr/^250 /],
    ['localhost', "tls verify tls_ca $ssl/other/ssl/qpsmtpd-ca.crt", '', qr/^451 .*STARTTLS: certificate not accepted: /],
    ['localhost', 'tls verify', '', qr/^451 .*STARTTLS: certificate not accepted: /],
    ['localhost', "tls verify $ca tls_name other.test", '', qr/^451 .*STARTTLS: certificate not accepted: hostname mismatch/],
    ['127.0.0.1', "tls verify $ca", '', qr/^451 .*STARTTLS: certificate not accepted: IP address mismatch/],
    ['127.0.0.1', 'tls must', 'other', qr/^250 /])
{
    my ($host, $options, $whose, $reply) = @$_;
    my $t = Qpsmtpd::Test->new(config => \%config);
    my $hop = Qpsmtpd::NextHop->new($t, tls => "$ssl/" . ($whose ? "$whose/ssl" : 'ssl'), offer => ['STARTTLS', 'PIPELINING', 'AUTH PLAIN']);

    $t->config(plugins => [@common, "queue/smtp-forward $host " . $hop->port . " $options auth hop_auth"]);
    chmod 0640, $t->config(hop_auth => "$host user pass");
    $hop->does(STARTTLS => '220 go', AUTH => '235 ok');
    my $d = $t->dialogue;
    like reply_to($d, $large), $reply, "$host $options" or diag join "\n", $hop->commands;
    my $name = $options =~ /tls_name (\S+)/ ? $1 : $host eq 'localhost' ? $host : 'nobody';
    if ($reply =~ /250/) {
        is_deeply [(without_connection($hop))[0 .. 4]], ['EHLO mx.example.test', 'STARTTLS', "(TLS for $name)", 'EHLO mx.example.test',
            'AUTH PLAIN ' . b64("\0user\0pass")], '... the dialogue: EHLO again, then AUTH';
        ok +(($hop->messages)[0] =~ s/\r\n/\n/gr) =~ s/\A.*?(?=Subject)//sr eq $large, '... a large message arrives';
        like reply_to($d), qr/^250 /, '... and another on the same connection';
        is $hop->connections, 1, '... which was kept';
        like $d->log, qr/forwarded .* tls=TLSv1\.[23] cipher=\w/, '... the log tells what was spoken';
        $hop->does(dot => {send => '250 o', then => 'die'});
        like reply_to($d), qr/^451 Unable to queue message \(dot: /, '... it dies after the dot';
        $hop->does(message => {send => "552 5.3.4 too big\r\n"}, STARTTLS => '220 go', AUTH => '235 ok');
        is reply_to($d, $large), '552 too big', '... it refuses the message before its end: its words are heard';
        $hop->does(message => {then => 'reset'}, STARTTLS => '220 go', AUTH => '235 ok');
        like reply_to($d, $large), qr/^451 Unable to queue message \(message: /, '... it dies in the message';
    } else {
        is scalar(grep { /MAIL|AUTH/ } $hop->commands), 0, '... nothing was said without it';
    }
}

# What is true of the loopback only.
SKIP: {
    my ($own) = grep { /^[0-9.]+$/ } split ' ', qx(hostname -I 2>/dev/null);
    skip 'this machine has no address but the loopback', 1 unless $own;
    my $t = Qpsmtpd::Test->new(config => \%config);
    my $hop = Qpsmtpd::NextHop->new($t, tls => "$ssl/ssl", address => $own, offer => ['AUTH PLAIN LOGIN']);
    my $line = "queue/smtp-forward $own " . $hop->port;

    chmod 0640, $t->config(hop_auth => '* user pass');
    $t->config(plugins => [@common, "$line auth hop_auth"]);
    like reply_to($t->dialogue), qr/^451 Unable to queue message \(AUTH: /, 'another machine, no TLS, AUTH PLAIN';
    is scalar(grep { /AUTH/ } $hop->commands), 0, '... the password is not shown';
    $hop->offers('AUTH PLAIN', 'STARTTLS');
    $hop->does(STARTTLS => '220 go', AUTH => '235 ok');
    like reply_to($t->dialogue), qr/^250/, '... with TLS, which `may` uses when it is offered';
    is scalar(grep { /TLS for nobody/ } $hop->commands), 1, '... it was';
    $t->config(plugins => [@common, $line]);
    $hop->does(STARTTLS => {send => "220 go\r\n", then => 'die'});
    $hop->clear;
    my $d = $t->dialogue;
    like reply_to($d), qr/^250/, 'TLS that does not work';
    is_deeply [map { /^(\w+)/ } without_connection($hop)], [qw(EHLO STARTTLS EHLO MAIL RCPT DATA)],
        '... `may` goes on without it' or diag join "\n", $hop->commands;
}

# ---- configuration ---------------------------------------------------------------------------------

for my $bad (['', 'hops'], ['127.0.0.1:0', '127.0.0.1:0'], ['127.0.0.1:65536', '65536'], ['[::1', '\[::1'], ['[127.0.0.1]', '127'],
    ['::1', '::1'], ['a,,b', '""'], ['a,', '""'], ['a/b', 'a/b'], ['unix:a', 'unix:a'], ['-a', '-a'], ['a 0', 'port'], ['a 65536', 'port'], ['a 25 26', '26'],
    ['/' . 'x' x 200, 'xxx'], [join(',', ('a') x 21), '20'], ['a tls perhaps', 'perhaps'], ['a tls_ca /nowhere tls verify', '/nowhere'],
    ['a tls_ca /dev/null', 'verify'], ['a reuse 0', 'reuse'], ['a timeout_end 0', 'timeout_end'], ['a timeout_end 2d', 'timeout_end'], ['a idle x', 'idle'],
    ['a auth nofile', 'nofile'], ['a xclient perhaps', 'perhaps'], ['a no8bit 1', 'no8bit'], ['a colour blue', 'colour'])
{
    my ($status, $said) = Qpsmtpd::Test->new(plugins => ["queue/smtp-forward $bad->[0]"])->check;

    isnt $status, 0, "'queue/smtp-forward $bad->[0]' refuses the start";
    like $said, qr/plugins.*1.*$bad->[1]/, 'and the message says where and what';
}
for (['* user', 0600, 'want a next hop'], ['* user pass', 0644, 'chmod o-r'], ['* user pass', 0640, undef]) {
    my ($line, $mode, $error) = @$_;
    my $t = Qpsmtpd::Test->new(plugins => [@common, 'queue/smtp-forward a auth hop_auth']);
    chmod $mode, $t->config(hop_auth => $line);
    my ($status, $said) = $t->check;
    is $status ? 1 : 0, $error ? 1 : 0, "hop_auth: $line, mode " . sprintf '%o', $mode;
    like $said, qr/hop_auth:1.*$error/, '... file, line, remedy' if $error;
}
($t) = harness('');
for my $good ('mx.example.org', '192.0.2.1 2525', '[2001:db8::1]', '[2001:db8::1]:2525 tls off', '/run/socket,unix:/run/other,mx_1.example.org:26 26') {
    my ($status, $said) = Qpsmtpd::Test->new(plugins => [@common, "queue/smtp-forward $good"])->check;
    is $status, 0, "'queue/smtp-forward $good' is right" or diag $said;
}

done_testing;
