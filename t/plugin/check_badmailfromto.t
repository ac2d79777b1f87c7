use strict;
use warnings;

use Test::More;
use Qpsmtpd::Test;

my $t = Qpsmtpd::Test->new(
    plugins => ['check_relay', 'check_badmailfromto', 'rcpt_ok'],
    config  => {
        rcpthosts     => 'ours.test',
        relayclients  => '198.51.100.1',
        badmailfromto => ["stalker\@bad.test\talice\@ours.test", '@bad.test   Bob@ours.test  not him either',
            'Stalker@bad.test carol@ours.test'],
    },
);

sub rcpt {
    my ($from, $to, %env) = @_;
    my $d = $t->dialogue(env => {TCPREMOTEIP => '192.0.2.1', TCPREMOTEHOST => undef, %env});

    $d->say('EHLO client.test');
    $d->say("MAIL FROM:<$from>");
    my $reply = $d->say("RCPT TO:<$to>");
    $d->quit;
    return $reply;
}

for my $name ('check_badmailfromto', 'badmailfromto') {
    $t->config(plugins => ['check_relay', $name, 'rcpt_ok']);
    is rcpt('stalker@bad.test', 'alice@ours.test'), '550 mail to alice@ours.test not accepted here',
        "$name: a pair is refused";
    is rcpt('STALKER@bad.Test', 'Alice@OURS.test'), '550 mail to alice@ours.test not accepted here', 'in any case';
    is rcpt('anybody@bad.test', 'bob@ours.test'), '550 mail to bob@ours.test not accepted here', 'by domain';
    is rcpt('stalker@bad.test', 'bob@ours.test'), '550 mail to bob@ours.test not accepted here',
        'by domain for one who has a line of his own';
    like rcpt('stalker@bad.test', 'carol@ours.test'), qr/^550/, 'for several recipients';
    like rcpt('stalker@bad.test', 'dave@ours.test'), qr/^250/, 'others are not';
    like rcpt('anybody@bad.test', 'alice@ours.test'), qr/^250/, 'from others neither';
    like rcpt('stalker@sub.bad.test', 'bob@ours.test'), qr/^250/, 'a domain below is another';
    like rcpt('', 'alice@ours.test'), qr/^250/, 'bounces come through';
    like rcpt('stalker@bad.test', 'alice@ours.test', TCPREMOTEIP => '198.51.100.1'), qr/^550/,
        'a relay client is not exempt';
}
unlink $t->dir . '/config/badmailfromto';
like rcpt('stalker@bad.test', 'alice@ours.test'), qr/^250/, 'without the file nobody is refused';

for my $case (
    ['check_badmailfromto', 'a@b.test',             qr{config/badmailfromto:1}, 'a line with one address'],
    ['check_badmailfromto', "\n\nbad.test a\@b.test", qr{config/badmailfromto:3}, 'a sender without @'],
    ['check_badmailfromto', 'a@b.test ours.test',   qr{config/badmailfromto:1}, 'a recipient without @'],
    ['badmailfromto defer', "\n",                   qr{config/plugins:1.*defer}, 'an argument'],
) {
    my ($plugin, $content, $why, $name) = @$case;
    $t->config(plugins => $plugin);
    $t->config(badmailfromto => $content);
    my ($status, $output) = $t->check;
    is $status, 1, "$name refuses the start";
    like $output, $why, 'and is told with file and line';
}

done_testing;
