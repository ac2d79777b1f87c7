use strict;
use warnings;

use Test::More;
use Qpsmtpd::Test;

my $t = Qpsmtpd::Test->new(
    plugins => ['rcpt_regexp', 'rcpt_ok'],
    config  => {
        rcpthosts   => 'ours.test',
        rcpt_regexp => [
            'Guest@foreign.test OK',
            'boss@ours.test DECLINED',
            '/^(sales|info)-[0-9]+@ours\.test$/ DENY  that was for one mail, 100% %s',
            '/^a( |b)c/ deny with a blank',
            '/^slow@/ DENYSOFT come back later',
            '/^kick@/ DENY_DISCONNECT go away',
            '/^hard@/ DENYHARD go away',
            '/^pause@/ DENYSOFT_DISCONNECT not now',
            '/^mute@/ DENY',
            '/@ours\.test$/ DECLINED',
            '/^never@/ DENY a line above was first',
        ],
    },
);

for my $case (
    ['guest@foreign.test',   qr/^250/,                                         'OK accepts, even what is not ours'],
    ['GUEST@Foreign.test',   qr/^250/,                                         'in any case'],
    ['aguest@foreign.test',  qr/^550 relaying denied/,                         'an address is not a pattern'],
    ['boss@ours.test',       qr/^250/,                                         'DECLINED leaves it to rcpt_ok'],
    ['Sales-12@Ours.Test',   qr/^550 that was for one mail, 100% %s$/,         'a pattern, in any case'],
    ['sales-x@ours.test',    qr/^250/,                                         'matches no more than it says'],
    ['"a c"@ours.test',      qr/^550 with a blank$/,                           'a pattern with a blank; the result in small letters'],
    ['slow@ours.test',       qr/^450 come back later$/,                        'DENYSOFT'],
    ['kick@ours.test',       qr/^550 go away$/,                                'DENY_DISCONNECT', 1],
    ['hard@ours.test',       qr/^550 go away$/,                                'DENYHARD, its old name', 1],
    ['pause@ours.test',      qr/^421 not now$/,                                'DENYSOFT_DISCONNECT', 1],
    ['mute@ours.test',       qr/^550 relaying denied$/,                        'a refusal without text'],
    ['never@ours.test',      qr/^250/,                                         'the first line that matches decides'],
    ['x@foreign.test',       qr/^550 relaying denied$/,                        'no line: rcpt_ok decides'],
) {
    my ($to, $reply, $name, $closes) = @$case;
    my $d = $t->dialogue(env => {TCPREMOTEIP => '192.0.2.1', TCPREMOTEHOST => undef});
    $d->say('EHLO client.test');
    $d->say('MAIL FROM:<a@client.test>');
    like $d->say("RCPT TO:<$to>"), $reply, $name;
    is $d->say('NOOP') eq '', !!$closes, $closes ? 'and the connection is closed' : 'and the connection stays';
}

for my $case (
    ['rcpt_regexp',    "# x\n/open DENY",        qr{config/rcpt_regexp:2.*no end},        'a pattern without an end'],
    ['rcpt_regexp',    '/(/ DENY',               qr{config/rcpt_regexp:1.*no pattern},    'a wrong pattern'],
    ['rcpt_regexp',    'a@b.test REFUSE',        qr{config/rcpt_regexp:1.*REFUSE},        'a wrong result'],
    ['rcpt_regexp',    'a@b.test DONE',          qr{config/rcpt_regexp:1.*DONE},          'DONE, which would give no reply'],
    ['rcpt_regexp',    'a@b.test',               qr{config/rcpt_regexp:1.*no result},     'a line without a result'],
    ['rcpt_regexp x',  "\n",                     qr{config/plugins:1.*x},                 'an argument'],
) {
    my ($plugin, $content, $why, $name) = @$case;
    $t->config(plugins => $plugin);
    $t->config(rcpt_regexp => $content);
    my ($status, $output) = $t->check;
    is $status, 1, "$name refuses the start";
    like $output, $why, 'and is told with file and line';
}

done_testing;
