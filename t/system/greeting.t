# What the client sees first, and what it sees when it is not welcome.
use strict;
use warnings;

use File::Basename qw(dirname);
use Test::More;

use lib dirname(__FILE__);
use Probe;
use Qpsmtpd::Test;

my $t = Qpsmtpd::Test->new(plugin_dirs => [Probe::dir()], plugins => ['probe:0', 'probe:1']);
(my $version = ($t->run($t->program('qpsmtpd'), '--version'))[1]) =~ s/^qpsmtpd (\S+)\s*$/$1/;

# greeting - the first reply with this content of smtpgreeting
sub greeting {
    my ($text) = @_;

    $t->config(smtpgreeting => $text);
    my $d = $t->dialogue;
    $d->hangup;
    unlink $t->dir . '/config/smtpgreeting';
    return $d->greeting;
}

my $d = $t->dialogue;
is $d->greeting, "220 mx.example.test ESMTP qpsmtpd $version ready; send us your mail, but not your spam.",
    'the greeting of r356';
like $d->quit, qr/^221 mx\.example\.test closing connection\. Have a wonderful day\.\z/, 'QUIT';
ok $d->eof, 'and the connection ends';
is $d->status, 0, 'with status 0';

is greeting('hello'), '220 hello ESMTP', 'smtpgreeting gets ESMTP';
is greeting('hello ESMTP server'), '220 hello ESMTP server', 'unless it says so';
is greeting('ESMTP'), '220 ESMTP', 'or says nothing else';
is greeting('a esmtp.example'), '220 a esmtp.example', 'in any case';
is greeting('my-ESMTPserver'), '220 my-ESMTPserver ESMTP', 'but as a word';
is greeting("# not me\n\n  two  words \nthird"), '220 two  words ESMTP', 'the first line counts, trimmed';
is greeting(''), "220 mx.example.test ESMTP qpsmtpd $version ready; send us your mail, but not your spam.",
    'an empty one is none';

# ---- hooks pre-connection and connect: result, reply, is the connection closed? ----

my $ready = qr/^220 mx\.example\.test ESMTP/;
for my $case (
    ['connect=DENY',                     '554 Connection from you denied, bye bye.'],
    ['connect=DENY_DISCONNECT',          '554 Connection from you denied, bye bye.'],
    ['connect=DENYSOFT',                 '421 Connection from you temporarily denied, bye bye.'],
    ['connect=DENYSOFT_DISCONNECT',      '421 Connection from you temporarily denied, bye bye.'],
    ['connect=DENY:no (#5.7.1)',         '554 no (#5.7.1)'],
    ['connect=DENYSOFT:later',           '421 later'],
    ['connect=DENY:one|two',             "554-one\n554 two"],
    ['connect=550,5.7.0:mine',           '550 mine'],
    ['pre-connection=DENY',              '554 Sorry, service not available for you'],
    ['pre-connection=DENY_DISCONNECT',   '554 Sorry, service not available for you'],
    ['pre-connection=DENYSOFT',          '421 Sorry, try again later'],
    ['pre-connection=DENYSOFT_DISCONNECT', '421 Sorry, try again later'],
    ['pre-connection=DENY:no',           '554 no'],
) {
    my ($probe, $reply) = @$case;
    $d = $t->dialogue(env => {PROBE => $probe});
    is $d->greeting, $reply, "$probe: the reply";
    ok $d->eof, "$probe: the connection is closed";
    is $d->status, 0, "$probe: status 0";
    is_deeply [Probe::events($d, qr/disconnect|post-connection/)],
        [map { my $hook = $_; ($hook) x 2 } 'disconnect', 'post-connection'], "$probe: it is told to the end hooks";
}
for my $probe (qw(connect=OK connect=DECLINED connect=BOGUS pre-connection=OK pre-connection=DONE), '') {
    $d = $t->dialogue(env => {PROBE => $probe});
    like $d->greeting, $ready, "'$probe': greets";
    is $d->quit, '221 mx.example.test closing connection. Have a wonderful day.', "'$probe': goes on";
}

$d = $t->dialogue(env => {PROBE => 'connect=DONE:220 my own greeting'});
is $d->greeting, '220 my own greeting', 'DONE: the plugin greets';
like $d->say('HELO x'), qr/^250 /, 'and the session goes on';
$d->hangup;

$d = $t->dialogue(env => {PROBE => 'connect=DONE'}, greeting => 0);
like $d->say('NOOP count'), qr/^250 /, 'DONE without a word: the first reply is to the first command';
$d->hangup;

$d = $t->dialogue(env => {PROBE => 'connect=OK!'});
like $d->greeting, $ready, 'qp_disconnect: the greeting comes';
ok $d->eof, 'and is the last word';

$d = $t->dialogue(env => {PROBE => 'probe:0/connect=DECLINED!;probe:1/connect=OK'});
like $d->greeting, $ready, 'qp_disconnect of a plugin that declines';
ok $d->eof, 'is not forgotten when the next one decides';

# ---- the client that talks first is not lost ----

$d = $t->dialogue(greeting => 0);
$d->raw("HELO early\r\nQUIT\r\n");
like $d->read_reply, $ready, 'the greeting comes first';
like $d->read_reply, qr/^250 .* Hi localhost \[127\.0\.0\.1\]; I am so happy to meet you\.$/, 'then HELO';
like $d->read_reply, qr/^221 /, 'then QUIT';

$d = $t->dialogue(greeting => 0);
$d->hangup('write');
like $d->read_reply, $ready, 'a client that never says a word';
ok $d->eof, 'is left alone';
is $d->status, 0, 'with status 0';
like $d->log, qr/click, disconnecting/, 'and an ordinary end';

# ---- who is it? ----

for my $case (
    [{}, '127.0.0.1 localhost localhost 40000 127.0.0.1 25 localhost', 'as tcpserver told'],
    [{TCPREMOTEHOST => undef}, '127.0.0.1 [127.0.0.1] [127.0.0.1] 40000 127.0.0.1 25 localhost', 'no name'],
    [{TCPREMOTEHOST => ''}, '127.0.0.1 [127.0.0.1] [127.0.0.1] 40000 127.0.0.1 25 localhost', 'an empty name'],
    [{TCPREMOTEINFO => 'joe'}, '127.0.0.1 localhost joe@localhost 40000 127.0.0.1 25 localhost', 'ident'],
    [{TCPREMOTEINFO => "j\r\noe <x>\x00\xff"}, '127.0.0.1 localhost j??oe??x?', 'hostile ident'],
    [{TCPREMOTEHOST => "a b\r\n(c).test"}, '127.0.0.1 abc.test a?b???c?.test', 'a hostile name'],
    [{TCPREMOTEIP => '2001:db8::1', TCPREMOTEHOST => undef}, '2001:db8::1 [2001:db8::1] [2001:db8::1]', 'IPv6'],
    [{TCPREMOTEPORT => 'x', TCPLOCALPORT => 99999}, '127.0.0.1 localhost localhost 0 127.0.0.1 0', 'no ports'],
    [{TCPREMOTEIP => undef, TCPREMOTEHOST => undef}, 'unknown [unknown] [unknown]', 'no network peer'],
) {
    my ($env, $facts, $name) = @$case;
    $d = $t->dialogue(env => $env);
    like $d->say('NOOP remote'), qr/^250 \Q$facts\E/, $name;
    $d->hangup;
}

done_testing;
