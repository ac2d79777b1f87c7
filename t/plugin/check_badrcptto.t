use strict;
use warnings;

use Test::More;
use Qpsmtpd::Test;

my $t = Qpsmtpd::Test->new(
    plugins => ['check_relay', 'check_badrcptto', 'rcpt_ok'],
    config  => {
        rcpthosts    => "ours.test\nretired.test\n",
        relayclients => '198.51.100.1',
        badrcptto    => ['Closed@ours.test', 'moved@ours.test moved to 100% elsewhere', '@retired.test',
            '^[0-9]+@ours\.test$', 'a+b@ours.test', '^\S+trap@'],
    },
);

sub rcpt {
    my ($to, %env) = @_;
    my $d = $t->dialogue(env => {TCPREMOTEIP => '192.0.2.1', TCPREMOTEHOST => undef, %env});

    $d->say('EHLO client.test');
    $d->say('MAIL FROM:<a@client.test>');
    my $reply = $d->say("RCPT TO:<$to>");
    $d->quit;
    return $reply;
}

for my $case (
    ['closed@ours.test',       '550 mail to closed@ours.test not accepted here'],
    ['CLOSED@Ours.TEST',       '550 mail to closed@ours.test not accepted here'],
    ['moved@ours.test',        '550 moved to 100% elsewhere'],
    ['any@retired.test',       '550 mail to @retired.test not accepted here'],
    ['postmaster@retired.test', '550 mail to @retired.test not accepted here'],
    ['12345@ours.test',        '550 mail to ^[0-9]+@ours\.test$ not accepted here'],
    ['a+b@ours.test',          '550 mail to a+b@ours.test not accepted here'],
    ['spamTrap@ours.test',     '550 mail to ^\s+trap@ not accepted here'],
    ['open@ours.test',         undef],
    ['12345a@ours.test',       undef],
    ['postmaster',             undef],
) {
    my ($to, $reply) = @$case;
    defined $reply ? is rcpt($to), $reply, "$to is refused" : like rcpt($to), qr/^250/, "$to is not";
}
like rcpt('closed@ours.test', TCPREMOTEIP => '198.51.100.1'), qr/^550/, 'a relay client is not exempt';

$t->config(plugins => ['check_relay', 'badrcptto', 'rcpt_ok']);
is rcpt('closed@ours.test'), '550 mail to closed@ours.test not accepted here (#5.1.1)',
    'as badrcptto it has the text of 1.00';
like rcpt('closed@ours.test', TCPREMOTEIP => '198.51.100.1'), qr/^250/, 'and lets a relay client through';

$t->config(enhanced_status_codes => 1);
like rcpt('closed@ours.test'), qr/^550 5\.1\.1 mail to closed\@ours\.test not accepted here/, 'with its code in front';
$t->config(plugins => ['check_badrcptto', 'rcpt_ok']);
like rcpt('closed@ours.test'), qr/^550 5\.1\.1 mail to closed\@ours\.test not accepted here$/, 'under both names';

for my $case (
    ['check_badrcptto', "\@ok.test\n(open\$", qr{config/badrcptto:2.*no pattern},   'a wrong pattern'],
    ['badrcptto reject 1', "\n",             qr{config/plugins:1.*reject},         'an argument'],
) {
    my ($plugin, $content, $why, $name) = @$case;
    $t->config(plugins => $plugin);
    $t->config(badrcptto => $content);
    my ($status, $output) = $t->check;
    is $status, 1, "$name refuses the start";
    like $output, $why, 'and is told with file and line';
}

done_testing;
