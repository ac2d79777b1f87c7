use strict;
use warnings;

use Test::More;
use Qpsmtpd::Test;

my $r356 = 'sorry, your envelope sender is in my badmailfrom list';
my $later = 'Your envelope sender is in my badmailfrom list';

# mail - the replies to MAIL and RCPT for this sender
sub mail {
    my ($t, $from, %env) = @_;
    my $d = $t->dialogue(env => {TCPREMOTEIP => '192.0.2.1', TCPREMOTEHOST => undef, %env});

    $d->say('EHLO client.test');
    my $mail = $d->say("MAIL FROM:<$from>");
    my $rcpt = $mail =~ /^250/ ? $d->say('RCPT TO:<x@ours.test>') : '';
    my $closed = $d->say('NOOP') eq '';
    return ($mail, $rcpt, $closed, $d->log);
}

sub configuration {
    my ($plugin, $list) = @_;

    return Qpsmtpd::Test->new(plugins => ['check_relay', $plugin, 'rcpt_ok'],
        config => {rcpthosts => 'ours.test', relayclients => '198.51.100.1', badmailfrom => $list});
}

# ---- what matches ----

for my $case (
    ['matt@test.net',       'matt@test.net',       1],
    ['matt@test.net',       '@test.net',           1],
    ['matt@test.net',       'test.net$',           1],
    ['matt@test.net',       'matt@test.com',       0],
    ['matt@test.net',       '@test.not',           0],
    ['matt@test.net',       'test.not$',           0],
    ['Matt@TEST.net',       'mATT@test.NET',       1],
    ['Matt@TEST.net',       '^matt@',              1],
    ['matt@sub.test.net',   '@test.net',           0],
    ['bob+news@test.net',   'bob+news@test.net',   1],
    ['bobnews@test.net',    'bob+news@test.net',   1],
    ['"a!b"@test.net',      '!',                   1],
    ['a%b@test.net',        '%',                   1],
    ['',                    '.*',                  0],
    ['matt@test.net',       '',                    0],
) {
    my ($from, $list, $bad) = @$case;
    my ($mail) = mail(configuration('badmailfrom', $list), $from);
    like $mail, $bad ? qr/^550 \Q$later\E/ : qr/^250/,
        ($bad ? 'refused' : 'accepted') . ": sender <$from> with the line '$list'";
}

# Under the name of r356 the list is as qmail's: nothing in it is a pattern, and nothing stops the mail.
for my $case (
    ['joe@example.com',     '@*.com',              0],
    ['joe@example.com',     'joe@example.c+m',     0],
    ['joe@example.com',     '.*',                  0],
    ['joe@star.test',       '*@star.test',         0],
    ['*@star.test',         '*@star.test',         1],
    ['x@y',                 '+x@y',                0],
    ['+X@y',                '+x@Y',                1],
    ['bob+news@test.net',   'bob+news@test.net',   1],
    ['bobnews@test.net',    'bob+news@test.net',   0],
    ['joe@example.com',     "(open\$\n\@example.com", 1],
) {
    my ($from, $list, $bad) = @$case;
    my (undef, $rcpt) = mail(configuration('check_badmailfrom', $list), $from);
    like $rcpt, $bad ? qr/^550 \Q$r356\E/ : qr/^250/,
        ($bad ? 'refused' : 'accepted') . ": sender <$from> with the line '$list' of qmail";
}
{
    my ($status, $output) = configuration('check_badmailfrom', "+x\@y\n*\@star.test\n*\n")->check;
    is $status, 0, 'what would be no pattern refuses no start';
    like $output, qr{config/badmailfrom:3: "\*" is ignored: write user\@host or \@host}, 'what is no address is told';
    unlike $output, qr{config/badmailfrom:[12]}, 'what is one is not';
}

# ---- the reason, and which line decides ----

my $t = configuration('badmailfrom', ['matt@test.com Yer a spammin bastert', '@test.com second',
    '^al+ice first', 'alice@test.net later', "tab\@test.net\t100% %s%n"]);
is((mail($t, 'matt@test.com'))[0], '550 Yer a spammin bastert', 'the reason is the reply');
is((mail($t, 'bob@test.com'))[0], '550 second', 'of the line that matches');
is((mail($t, 'alice@test.net'))[0], '550 first', 'the first one, be it a pattern');
is((mail($t, 'tab@test.net'))[0], '550 100% %s%n', 'as it stands there');

$t->config(badmailfrom => ['@test.net host', 'alice@test.net user', '^alice pattern']);
is((mail($t, 'alice@test.net'))[0], '550 host', 'the first one, be it a domain');
$t->config(badmailfrom => ['alice@test.net user', '@test.net host', '^alice pattern']);
is((mail($t, 'alice@test.net'))[0], '550 user', 'the first one, be it an address');

# ---- the names and the arguments ----

my $list = "\@bad.test\n\@told.test with a reason\n";
my ($mail, $rcpt, $closed);

($mail, $rcpt) = mail(configuration('check_badmailfrom', $list), 'a@bad.test');
like $mail, qr/^250/, 'check_badmailfrom takes MAIL';
is $rcpt, "550 $r356", 'and refuses each RCPT, with the text of r356 and qmail';
($mail, $rcpt) = mail(configuration('check_badmailfrom', $list), 'a@told.test');
is $rcpt, '550 with a reason', 'or the reason';
($mail, $rcpt) = mail(configuration('check_badmailfrom', $list), 'a@good.test');
like $rcpt, qr/^250/, 'and nobody else';
($mail, $rcpt) = mail(configuration('check_badmailfrom', $list), 'a@bad.test', TCPREMOTEIP => '198.51.100.1');
is $rcpt, "550 $r356", 'a relay client is not exempt';
($mail) = mail(configuration('check_badmailfrom defer 0', $list), 'a@bad.test');
is $mail, "550 $r356", 'defer 0 refuses MAIL';

($mail, $rcpt) = mail(configuration('badmailfrom', $list), 'a@bad.test', TCPREMOTEIP => '198.51.100.1');
like $rcpt, qr/^250/, 'badmailfrom lets a relay client through';
($mail, $rcpt) = mail(configuration('badmailfrom defer 1', $list), 'a@bad.test');
is $rcpt, "550 $later", 'defer 1 refuses RCPT';

for my $case (
    ['perm',            550, 0],
    ['hard',            550, 0],
    ['temp',            450, 0],
    ['soft',            450, 0],
    ['disconnect',      550, 1],
    ['temp_disconnect', 421, 1],
) {
    my ($type, $code, $closes) = @$case;
    for my $defer (0, 1) {
        my @got = mail(configuration("badmailfrom reject_type $type defer $defer", $list), 'a@bad.test');
        is $got[$defer], "$code $later", "reject_type $type, defer $defer: $code";
        is !!$got[2], !!$closes, $closes ? 'and the connection is closed' : 'and the connection stays';
    }
}
for my $reject (0, 'naughty') {
    for my $defer (0, 1) {
        my (undef, $rcpt, undef, $log) = mail(configuration("badmailfrom reject $reject defer $defer", $list), 'a@bad.test');
        like $rcpt, qr/^250/, "reject $reject, defer $defer lets it pass";
        like $log, qr/fail, tolerated.*\Q$later\E/, 'and logs it';
    }
}

# A sender that was refused is forgotten with its transaction.
$t = configuration('check_badmailfrom', $list);
my $d = $t->dialogue;
$d->say('EHLO client.test');
$d->say('MAIL FROM:<a@bad.test>');
like $d->say('RCPT TO:<x@ours.test>'), qr/^550/, 'a bad sender';
$d->say('RSET');
$d->say('MAIL FROM:<a@good.test>');
like $d->say('RCPT TO:<x@ours.test>'), qr/^250/, 'does not harm the next one';
$d->quit;

# ---- a long list ----

$t = configuration('badmailfrom', [map { "user$_\@long.test number $_" } 1 .. 20000]);
is((mail($t, 'USER17777@long.test'))[0], '550 number 17777', 'one of 20000');
like((mail($t, 'user20001@long.test'))[0], qr/^250/, 'and one that is none of them');

# ---- warned of, refused at the start ----

{
    my $d = ($t = configuration('badmailfrom', "# x\nexample.com"))->dialogue;
    like $d->log, qr{config/badmailfrom:2: "example\.com" is ignored}, 'a domain without @ is told';
    like((mail($t, 'joe@example.com'))[0], qr/^250/, 'and matches nothing');
}

for my $case (
    ['badmailfrom reject maybe',     "\n",                   qr{config/plugins:2.*reject},             'a wrong reject'],
    ['badmailfrom reject_type fast', "\n",                   qr{config/plugins:2.*reject_type},        'a wrong reject_type'],
    ['badmailfrom defer',            "\n",                   qr{config/plugins:2.*defer},              'a missing value'],
    ['check_badmailfrom action 1',   "\n",                   qr{config/plugins:2.*action},             'a wrong word'],
    ['badmailfrom',                  "\@ok.test\n*\@bad",    qr{config/badmailfrom:2.*no pattern},     'a wrong pattern'],
) {
    my ($plugin, $content, $why, $name) = @$case;
    my ($status, $output) = configuration($plugin, $content)->check;
    is $status, 1, "$name refuses the start";
    like $output, $why, 'and is told with file and line';
}
$t = Qpsmtpd::Test->new(plugins => ['badmailfrom']);
mkdir $t->dir . '/config/badmailfrom';
my ($status, $output) = $t->check;
is $status, 1, 'a list that cannot be read refuses the start';
like $output, qr{config/badmailfrom}, 'and is named';

done_testing;
