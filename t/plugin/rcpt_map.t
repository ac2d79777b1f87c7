use strict;
use warnings;

use Test::More;
use Qpsmtpd::Test qw(change_byte);

my $map = <<'END';
# the people
alice@ours.test OK
Bob@Ours.test	DENYSOFT   being moved, 100% %s
carol@ours.test deny carol has left
dave@ours.test DENY
kick@ours.test DENY_DISCONNECT go away
pause@ours.test DENYSOFT_DISCONNECT not now
END
my $t = Qpsmtpd::Test->new(
    plugins => ['rcpt_map domain OURS.test file people', 'rcpt_ok'],
    config  => {rcpthosts => "ours.test\nother.test\n", people => $map},
);

sub rcpt {
    my ($to) = @_;
    my $d = $t->dialogue(env => {TCPREMOTEIP => '192.0.2.1', TCPREMOTEHOST => undef});

    $d->say('EHLO client.test');
    $d->say('MAIL FROM:<a@client.test>');
    my $reply = $d->say("RCPT TO:<$to>");
    return ($reply, $d->say('NOOP') eq '');
}

for my $case (
    ['alice@ours.test',     qr/^250/,                            'OK'],
    ['ALICE@Ours.Test',     qr/^250/,                            'OK in any case'],
    ['bob@ours.test',       qr/^450 being moved, 100% %s$/,      'DENYSOFT with its text'],
    ['carol@ours.test',     qr/^550 carol has left$/,            'DENY with its text'],
    ['dave@ours.test',      qr/^550 No such user\.$/,            'DENY without one'],
    ['kick@ours.test',      qr/^550 go away$/,                   'DENY_DISCONNECT', 1],
    ['pause@ours.test',     qr/^421 not now$/,                   'DENYSOFT_DISCONNECT', 1],
    ['nobody@ours.test',    qr/^550 No such user\.$/,            'who is not listed'],
    ['nobody@other.test',   qr/^250/,                            'another domain is left to rcpt_ok'],
    ['nobody@foreign.test', qr/^550 relaying denied$/,           'which may refuse'],
) {
    my ($to, $reply, $name, $closes) = @$case;
    my ($got, $closed) = rcpt($to);
    like $got, $reply, $name;
    is $closed, !!$closes, $closes ? 'and the connection is closed' : 'and the connection stays';
}

# ---- the arguments ----

$t->config(rcpthosts => 'other.test');
like((rcpt('alice@ours.test'))[0], qr/^550 relaying denied/, 'OK lets nobody relay');
$t->config(rcpthosts => 'ours.test');

for my $case (
    ['DENYSOFT=ask_again,_please', qr/^450 ask again, please$/],
    ['DENY',                       qr/^550 No such user\.$/],
    ['OK',                         qr/^250/],
    ['declined',                   qr/^250/],
) {
    my ($default, $reply) = @$case;
    $t->config(plugins => ["rcpt_map domain ours.test file people default $default", 'rcpt_ok']);
    like((rcpt('nobody@ours.test'))[0], $reply, "default $default");
}

my $path = $t->file('elsewhere', "\n# comment\n  erin\@ours.test  OK \r\n" . join('', map { "u$_\@ours.test DENY number $_\n" } 1 .. 3000));
$t->config(plugins => ["rcpt_map domain ours.test file $path", 'rcpt_ok']);
like((rcpt('erin@ours.test'))[0], qr/^250/, 'an absolute path');
is((rcpt('u1234@ours.test'))[0], '550 number 1234', 'with many lines');
like((rcpt('alice@ours.test'))[0], qr/^550/, 'is another list');

$t->config(people2 => 'x@other.test OK');
$t->config(rcpthosts => "ours.test\nother.test");
$t->config(plugins => ['rcpt_map:0 domain ours.test file people', 'rcpt_map:1 domain other.test file people2', 'rcpt_ok']);
like((rcpt('alice@ours.test'))[0], qr/^250/, 'two domains: the first');
like((rcpt('x@other.test'))[0], qr/^250/, 'and the second');
like((rcpt('alice@other.test'))[0], qr/^550/, 'each with its own list');

# ---- compiled ----

$t->config(plugins => ['rcpt_map domain ours.test file people', 'rcpt_ok']);
$t->config(people => $map . "odd\@ours.test PERHAPS\n");
utime time - 10, time - 10, $t->dir . '/config/people';
is +($t->run($t->program('qpsmtpd-table'), '-k', 'exact', $t->dir . '/config/people'))[0], 0, 'a list is compiled';
for my $text ('with', 'without') {
    for my $case (['ALICE@Ours.Test', qr/^250/], ['bob@ours.test', qr/^450 being moved, 100% %s$/], ['dave@ours.test', qr/^550 No such user\.$/],
        ['nobody@ours.test', qr/^550 No such user\.$/], ['nobody@other.test', qr/^250/], ['odd@ours.test', qr/^450 unable to read controls/])
    {
        like((rcpt($case->[0]))[0], $case->[1], "$text its text: $case->[0]");
    }
    unlink $t->dir . '/config/people';
}
change_byte($t->dir . '/config/people.mph', -60);
like((rcpt('alice@ours.test'))[0], qr/^450 unable to read controls/, 'a damaged one refuses nobody for good');
unlink $t->dir . '/config/people.mph';
$t->config(people => $map);

# ---- refused at the start ----

$t->config(one => 'alice@ours.test');
$t->config(done => "\nalice\@ours.test DONE");
$t->config(none => '# nobody');
$t->config(host => 'ours.test OK');
$t->config(twice => "a\@ours.test OK\nb\@ours.test OK\nA\@ours.test DENY");
$t->file('broken', "a\@ours.test OK\nb\@ours.test PERHAPS\n");
my $dir = $t->dir;
for my $case (
    ['file people',                          qr{config/plugins:1.*domain},     'no domain'],
    ['domain ours.test',                     qr{config/plugins:1.*file},       'no file'],
    ['domain ours.test file absent',         qr{config/plugins:1.*absent},     'a file that is missing'],
    ["domain ours.test file $dir/absent",    qr{config/plugins:1.*absent},     'a path that is missing'],
    ["domain ours.test file $dir",           qr{config/plugins:1.*\Q$dir\E},   'a path that is no file'],
    ['domain ours.test file none',           qr{config/plugins:1.*none},       'an empty file'],
    ['domain ours.test file one',            qr{config/one:1.*no result},      'a line without a result'],
    ['domain ours.test file done',           qr{config/done:2.*DONE},          'DONE, which would give no reply'],
    ['domain ours.test file host',           qr{config/host:1.*no address},    'a line without an address'],
    ['domain ours.test file twice',          qr{config/twice:3.*twice},        'a recipient that is listed twice'],
    ["domain ours.test file $dir/broken",    qr{/broken:2.*PERHAPS},           'a wrong result in a path'],
    ['domain ours.test file people default LATER', qr{config/plugins:1.*LATER}, 'a wrong default'],
    ['domain ours.test file people limit 1', qr{config/plugins:1.*limit},      'a wrong word'],
) {
    my ($arguments, $why, $name) = @$case;
    $t->config(plugins => "rcpt_map $arguments");
    my ($status, $output) = $t->check;
    is $status, 1, "$name refuses the start";
    like $output, $why, 'and is told with file and line';
}

done_testing;
