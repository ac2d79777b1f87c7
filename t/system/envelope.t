# MAIL, RCPT, RSET: syntax, parameters, addresses, order, limits.
use strict;
use warnings;

use File::Basename qw(dirname);
use Test::More;

use lib dirname(__FILE__);
use Probe;
use Qpsmtpd::Test;

my $t = Qpsmtpd::Test->new(plugin_dirs => [Probe::dir()], plugins => ['probe']);
my $d;

# fresh - a new dialogue in $d that has said EHLO
sub fresh {
    my ($probe, %env) = @_;

    $d->hangup if $d;
    $d = $t->dialogue(env => {PROBE => $probe, %env});
    $d->say('EHLO client.test');
    return $d;
}

# gets - the reply to a line
sub gets {
    my ($line, $reply, $name) = @_;
    my $got = $d->say($line);

    return ref $reply ? like($got, $reply, $name || $line) : is($got, $reply, $name || $line);
}

my $bad = '501 syntax error in parameters';
my $bad_mail = '501 could not parse your mail from command';
my $bad_rcpt = '501 could not parse recipient';

# accepted, rejected - MAIL and RCPT alike; out is the canonical form
sub accepted {
    my ($text, $out) = @_;

    is $d->say("MAIL FROM:$text"), "250 $out, sender OK - how exciting to get mail from you!", "MAIL FROM:$text";
    is $d->say("RCPT TO:$text"), "250 $out, recipient ok", "RCPT TO:$text" if $out ne '<>';
}

sub rejected {
    my ($text, $mail, $rcpt) = @_;

    is $d->say("MAIL FROM:$text"), $mail || $bad_mail, "MAIL FROM:$text";
    $d->say('MAIL FROM:<>');
    is $d->say("RCPT TO:$text"), $rcpt || $mail || $bad_rcpt, "RCPT TO:$text";
}

# ---- order ----

$d = $t->dialogue;
gets('MAIL FROM:<a@b.test>', '503 please say hello first ...');
gets('MAIL', '503 please say hello first ...', 'MAIL without argument: the greeting is missed first');
gets('RCPT TO:<a@b.test>', '503 Use MAIL before RCPT');
gets('DATA', '503 MAIL first');
gets('HELO x', qr/^250/);
gets('RCPT', '503 Use MAIL before RCPT', 'RCPT without argument: MAIL is missed first');
gets('DATA', '503 MAIL first');
gets('MAIL FROM:<a@b.test>', qr/^250 /);
gets('DATA', '503 RCPT first');
gets('RCPT TO:<c@d.test>', qr/^250 /);
gets('NOOP rcpts', '250 1 <c@d.test>', 'one recipient');
gets('RCPT TO:<c@d.test>', qr/^250 /);
gets('NOOP rcpts', '250 2 <c@d.test> <c@d.test>', 'the same again is kept');
gets('MAIL', $bad, 'a wrong MAIL');
gets('NOOP rcpts', '250 2 <c@d.test> <c@d.test>', 'ends nothing');
gets('MAIL FROM:<e@f.test>', qr/^250 /, 'a second MAIL');
gets('NOOP rcpts', '250 0', 'begins anew');
gets('NOOP sender', '250 <e@f.test>', 'with its sender');
gets('MAIL FROM:<e@>', $bad_mail, 'a bad address');
gets('NOOP sender', '250 (none)', 'ends the transaction');
gets('RSET', '250 OK', 'RSET outside of one');
gets('MAIL FROM:<e@f.test>', qr/^250 /);
gets('RSET with arguments', '250 OK', 'RSET');
gets('NOOP sender', '250 (none)', 'forgets it');
gets('MAIL FROM:<>', qr/^250 /, 'the greeting is still known');

# ---- syntax ----

fresh('');
for my $case (
    ['<a@b.test>',                     '<a@b.test>'],
    [' <a@b.test>',                    '<a@b.test>'],
    ['    <a@b.test>   ',              '<a@b.test>'],
    ['a@b.test',                       '<a@b.test>'],
    [' a@b.test',                      '<a@b.test>'],
    ['<>',                             '<>'],
    [' <>',                            '<>'],
    ['<#@[]>',                         '<>'],
    ['<@x.test:>',                     '<>'],
    ['<foo@example>',                  '<foo@example>'],
    ['<foo@1.2>',                      '<foo@1.2>'],
    ['<0@a.b>',                        '<0@a.b>'],
    ['<foo@exam_ple.com>',             '<foo@exam_ple.com>'],
    ['<foo@[1.2.3.4]>',                '<foo@[1.2.3.4]>'],
    ['<foo@[IPv6:2001:db8::1]>',       '<foo@[IPv6:2001:db8::1]>'],
    ['<foo@[ipv6:2001:db8::1]>',       '<foo@[ipv6:2001:db8::1]>'],
    ['<foo..bar@a.b>',                 '<foo..bar@a.b>'],
    ['<foo.@a.b>',                     '<foo.@a.b>'],
    ['<.foo@a.b>',                     '<.foo@a.b>'],
    ['<"a@b"@a.b>',                    '<"a\@b"@a.b>'],
    ['<"foo bar"@a.b>',                '<"foo\ bar"@a.b>'],
    ['<"foo\"bar"@a.b>',               '<"foo\"bar"@a.b>'],
    ['<"foo>bar"@a.b>',                '<"foo\>bar"@a.b>'],
    ['<"foo"@a.b>',                    '<foo@a.b>'],
    ['<@x.y,@z.w:foo@a.b>',            '<foo@a.b>'],
    ['<@[IPv6:2001:db8::2]:foo@a.b>',  '<foo@a.b>'],
    ['<postmaster>',                   '<postmaster>'],
    ['<PostMaster>',                   '<PostMaster>'],
    ['<!#$%&\'*+-/=?^_`{|}~@a.b>',     '<!#$%&\'*+-/=?^_`{|}~@a.b>'],
    ['<Case.Kept@A.Test>',             '<Case.Kept@A.Test>'],
    ['<' . 'l' x 400 . '@a.b>',        '<' . 'l' x 400 . '@a.b>'],
) {
    accepted(@$case);
}
for my $text ('<foo@a b>', '<foo@a/b>', '<foo@a#b>', '<foo@a..b>', '<foo@a.b.>', '<foo@.a>', '<foo@-a.b>',
    '<foo@a-.b>', '<foo@[999.2.3.4]>', '<foo@[IPv6:1.2.3.4]>', '<foo@[1.2.3]>', '<foo@[]>', '<foo@[2001:db8::1]>',
    '<foo bar@a.b>', '<foo(x)@a.b>', '<f,oo@a.b>', '<foo"bar@a.b>', '<a@b@a.b>', '<""@a.b>', '<abuse>', '<foo>',
    '<@a.b>', '<foo@>', '< foo@a.b>', '<foo@a.b >', "<f\xc3\xb6\xc3\xb6\@a.b>", "<foo\@\xe4.b>", '<<foo@a.b>',
    '<list-@host-@[]>', '<' . 'l' x 900 . '@a.b>', '<a@' . 'l' x 256 . '>', '<', '<a@b.test', '<"a@b.test>',
    '<"a>"b@c.test>', 'foo', 'foo@') {
    rejected($text);
}
for my $text ('', ' ', '<a@b.test>x', '<a@b.test>SIZE=1', '<foo@a.b>x>', "<a\@b.test>\tSIZE=1", "<a\@\x01b.test>",
    "<a\rb\@c.test>", "<a\x7f\@b.test>", '<a@b.test> =', '<a@b.test> =x', '<a@b.test> A==', '<a@b.test> -A=1',
    '<a@b.test> A=1 A=2', '<a@b.test> a=1 A=2', "<a\@b.test> A=\xe4", '<a@b.test> <c@d.test>', 'a@b.test c@d.test') {
    rejected($text, $bad);
}
rejected('<a@b.test> A_B=1', $bad);
for my $line ('MAIL', 'MAIL ', 'MAIL FROM', 'MAIL FROM <a@b.test>', 'MAIL TO:<a@b.test>', 'MAIL <a@b.test>',
    'MAIL xFROM:<a@b.test>') {
    gets($line, $bad);
}
gets('mail from:<a@b.test>', qr/^250 /, 'lower case');
gets('MAIL   FROM:<a@b.test>', qr/^250 /, 'several blanks');
for my $line ('RCPT', 'RCPT TO', 'RCPT TO <a@b.test>', 'RCPT FROM:<a@b.test>') {
    gets($line, $bad);
}
gets('rcpt to:<a@b.test>', qr/^250 /, 'lower case');
gets('RCPT TO:<>', $bad_rcpt, 'no mail to the null address');
gets('RCPT TO:<#@[]>', $bad_rcpt, 'nor to that one');

# ---- parameters ----

fresh('', DATABYTES => 1000);
my $param = '555 parameter not recognized';
for my $case (
    ['SIZE=0', qr/^250 /], ['SIZE=1000', qr/^250 /], ['size=1000', qr/^250 /], ['SIZE=00000000000000001000', qr/^250 /],
    ['SIZE=1001', '552 Message too big!'], ['SIZE=99999999999999999999', '552 Message too big!'],
    ['SIZE=18446744073709551616', '552 Message too big!'],
    ['SIZE=100000000000000000000', $bad], ['SIZE=', $bad], ['SIZE', $bad], ['SIZE=-1', $bad], ['SIZE=1k', $bad],
    ['SIZE=0x10', $bad], ['SIZE=+1', $bad],
    ['BODY=7BIT', qr/^250 /], ['BODY=8BITMIME', qr/^250 /], ['body=8bitmime', qr/^250 /], ['BODY=BINARYMIME', $bad],
    ['BODY', $bad], ['BODY=', $bad],
    ['AUTH=<>', qr/^250 /], ['AUTH=e+3Dmc2@example.test', qr/^250 /],
    ['SIZE=5 BODY=8BITMIME AUTH=<>', qr/^250 /], ['  BODY=7BIT   SIZE=5  ', qr/^250 /],
    ['FOO', $param], ['FOO=1', $param], ['SMTPUTF8', $param], ['RET=HDRS', $param], ['SIZE=5 FOO', $param],
    [join(' ', map { "A$_=1" } 1 .. 32), $param], [join(' ', map { "A$_=1" } 1 .. 33), $bad],
) {
    my ($params, $reply) = @$case;
    gets("MAIL FROM:<a\@b.test> $params", $reply);
}
gets('MAIL FROM:a@b.test SIZE=12', qr/^250 <a\@b\.test>/, 'parameters behind an address without brackets');
gets('NOOP sender', '250 <a@b.test>', 'accepted');
gets('MAIL FROM:<c@d.test> SIZE=1001', '552 Message too big!');
gets('NOOP sender', '250 (none)', 'a sender that is too big is none');
gets('MAIL FROM:<a@b.test>', qr/^250 /);
gets('RCPT TO:<a@b.test> NOTIFY=NEVER', $param);
gets('RCPT TO:<a@b.test> SIZE=1', $param, 'SIZE belongs to MAIL');
gets('RCPT TO:<a@b.test> FOO= ', $bad);
gets('NOOP rcpts', '250 0', 'none of them was accepted');
is_deeply [Probe::events($d, qr/rcpt/)], [], 'nor shown to a plugin';

# ---- switches ----

$t->config(require_angle_brackets => 1);
fresh('');
gets('MAIL FROM:a@b.test', $bad_mail, 'require_angle_brackets');
gets('MAIL FROM:<a@b.test>', qr/^250 /, 'with them');
gets('RCPT TO:a@b.test', $bad_rcpt, 'require_angle_brackets');
fresh('mail_pre=OK:<pre@c.test>');
gets('MAIL FROM:a@b.test', qr/^250 <pre\@c\.test>/, 'a plugin may add them');
$t->config(require_angle_brackets => 0);

$t->config(lenient_addresses => 1);
fresh('');
accepted('<foo bar@a.b>', '<"foo\ bar"@a.b>');
accepted('<foo(x)@a.b>', '<"foo\(x\)"@a.b>');
accepted('<a@b@a.b>', '<"a\@b"@a.b>');
rejected('<foo@a b>');
rejected("<f\xc3\xb6\xc3\xb6\@a.b>");
$t->config(lenient_addresses => 0);

$t->config(max_recipients => 2);
fresh('');
gets('MAIL FROM:<>', qr/^250 /);
gets("RCPT TO:<r$_\@a.b>", qr/^250 /) for 1 .. 2;
gets('RCPT TO:<r3@a.b>', '452 too many recipients');
gets('RCPT TO:<r3@>', $bad_rcpt, 'a wrong one is wrong all the same');
gets('NOOP rcpts', '250 2 <r1@a.b> <r2@a.b>', 'the others stay');
gets('RSET', '250 OK');
gets('MAIL FROM:<>', qr/^250 /);
gets('RCPT TO:<r3@a.b>', qr/^250 /, 'counted for each message');
$t->config(max_recipients => 0);
fresh('');
$d->raw("MAIL FROM:<>\r\n" . "RCPT TO:<r\@a.b>\r\n" x 1500 . "NOOP rcpts\r\n");
my %replies;
$replies{substr $d->read_reply, 0, 3}++ for 1 .. 1501;
is_deeply \%replies, {250 => 1501}, 'max_recipients 0: no limit';
like $d->read_reply, qr/^250 1500 /, 'all are there';
$t->config(max_recipients => 1000);

# ---- VERP and address literals of our own ----

fresh('');
gets('NOOP relay', '250 relay');
gets('MAIL FROM:<list-@host.test-@[]>', '250 <list-@host.test-@[]>, sender OK - how exciting to get mail from you!',
    'a VERP sender of a relay client');

fresh('', TCPLOCALIP => '192.0.2.25');
gets('MAIL FROM:<a@[192.0.2.25]>', qr/^250 <a\@\[192\.0\.2\.25\]>/, 'senders keep our literal');
gets('RCPT TO:<a@[192.0.2.25]>', '250 <a@mx.example.test>, recipient ok', 'recipients are ours');
gets('NOOP note t original_recipient', '250 a@[192.0.2.25]', 'what it was is noted');
gets('RCPT TO:<a@[192.0.2.26]>', '250 <a@[192.0.2.26]>, recipient ok', 'another literal is not ours');
gets('RCPT TO:<a@[127.0.0.1]>', '250 <a@mx.example.test>, recipient ok', 'an interface of this host is');
$t->config(localiphost => 'local.test');
fresh('', TCPLOCALIP => '2001:db8::25');
gets('MAIL FROM:<>', qr/^250 /);
gets('RCPT TO:<a@[IPv6:2001:DB8:0::25]>', '250 <a@local.test>, recipient ok', 'localiphost, IPv6');
gets('RCPT TO:<a@[0.0.0.0]>', '250 <a@local.test>, recipient ok', '0.0.0.0 is this host as well');
gets('RCPT TO:<a@[IPv6:::]>', '250 <a@local.test>, recipient ok', 'and so is ::');
gets('RCPT TO:<a@[0.0.0.1]>', '250 <a@[0.0.0.1]>, recipient ok', '0.0.0.1 is not');
gets('NOOP note t original_recipient', '250 a@[IPv6:::]', 'the note is of the last one that was replaced');
fresh('rcpt=DENY:no');
$d->say('MAIL FROM:<>');
gets('RCPT TO:<a@[0.0.0.0]>', '550 no', 'one that is refused');
gets('NOOP note t original_recipient', '250 (none)', 'leaves no note');
# No descriptor is left to ask for addresses with.
fresh('', TCPLOCALIP => '192.0.2.25');
$d->say('MAIL FROM:<>');
is system('prlimit', '--pid', $d->pid, '--nofile=3:3'), 0, 'prlimit';
gets('RCPT TO:<a@[192.0.2.25]>', '250 <a@local.test>, recipient ok', 'our end of the connection is known');
gets('RCPT TO:<a@b.test>', '250 <a@b.test>, recipient ok', 'and so are names');
gets('RCPT TO:<a@[192.0.2.26]>', '421 unable to figure out my IP addresses (#4.3.0)', 'whose address another is cannot be told');
ok $d->eof, 'which ends the session, as in qmail-smtpd';
like $d->log, qr/cannot list the addresses of this host: Too many open files/, 'the log says why';
unlink $t->dir . '/config/localiphost';

# ---- hooks mail and rcpt ----

for my $case (
    ['mail=DENY',                    '550 <a@b.test>, denied', 0],
    ['mail=DENYSOFT',                '450 <a@b.test>, temporarily denied', 0],
    ['mail=DENY_DISCONNECT',         '550 <a@b.test>, denied', 1],
    ['mail=DENYSOFT_DISCONNECT',     '421 <a@b.test>, temporarily denied', 1],
    ['mail=DENY:go away (#5.7.1)',   '550 go away (#5.7.1)', 0],
    ['mail=553,5.1.8:mine',          '553 mine', 0],
    ['mail=DONE:250 mine',           '250 mine', 0],
    ['mail=DONE!:550 mine',          '550 mine', 1],
    ['mail_parse=DENY',              $bad, 0],
    ['mail_parse=DENYSOFT:no',       '501 no', 0],
) {
    my ($probe, $reply, $closed) = @$case;
    fresh($probe);
    gets('MAIL FROM:<a@b.test>', $reply, $probe);
    $closed ? ok $d->eof, 'closes' : gets('NOOP sender', '250 (none)', 'no sender');
}
for my $result (qw(OK DECLINED BOGUS OK:ignored)) {
    fresh("mail=$result");
    gets('MAIL FROM:<a@b.test>', '250 <a@b.test>, sender OK - how exciting to get mail from you!', "mail=$result");
}
for my $case (
    ['rcpt=DECLINED',                '450 No plugin decided if relaying is allowed', 0],
    ['rcpt=BOGUS',                   '450 No plugin decided if relaying is allowed', 0],
    ['rcpt=DECLINED:unsure',         '450 unsure', 0],
    ['rcpt=DENY',                    '550 relaying denied', 0],
    ['rcpt=DENYSOFT',                '450 relaying denied', 0],
    ['rcpt=DENY_DISCONNECT',         '550 delivery denied', 1],
    ['rcpt=DENYSOFT_DISCONNECT',     '421 relaying denied', 1],
    ['rcpt=DENY:no such user',       '550 no such user', 0],
    ['rcpt=452,4.2.2:full',          '452 full', 0],
    ['rcpt=DONE:250 mine',           '250 mine', 0],
    ['rcpt=OK!',                     '250 <c@d.test>, recipient ok', 1],
    ['rcpt_accepted=DENY',           '550 delivery denied', 0],
    ['rcpt_accepted=DENYSOFT',       '450 delivery denied temporarily', 0],
    ['rcpt_accepted=DENY_DISCONNECT', '550 delivery denied', 1],
    ['rcpt_accepted=DENYSOFT_DISCONNECT', '421 delivery denied temporarily', 1],
    ['rcpt_accepted=452,4.2.2:full', '452 full', 0],
    ['rcpt_accepted=DONE:250 mine',  '250 mine', 0],
    ['rcpt_parse=DENY',              $bad, 0],
) {
    my ($probe, $reply, $closed) = @$case;
    fresh($probe);
    gets('MAIL FROM:<a@b.test>', qr/^250/);
    gets('RCPT TO:<c@d.test>', $reply, $probe);
    $closed ? ok $d->eof, 'closes' : gets('NOOP rcpts', '250 0', 'no recipient');
}
for my $case (['OK', 1], ['DECLINED', 1], ['BOGUS', 1], ['DENY', 0]) {
    my ($result, $goes_in) = @$case;
    fresh("rcpt_accepted=$result");
    $d->say($_) for 'MAIL FROM:<a@b.test>', 'RCPT TO:<c@d.test>';
    gets('NOOP rcpts', $goes_in ? '250 1 <c@d.test>' : '250 0', "rcpt_accepted=$result");
}
fresh('rcpt=DENY');
$d->say($_) for 'MAIL FROM:<a@b.test>', 'RCPT TO:<c@d.test>';
is scalar(Probe::events($d, qr/rcpt_accepted/)), 0, 'rcpt_accepted is not asked about one that was refused';

fresh('mail_parse=OK:<parsed@c.test> SIZE=5;rcpt_parse=OK:<to@c.test>');
gets('MAIL whatever', qr/^250 <parsed\@c\.test>,/, 'mail_parse replaces the parser');
gets('MAIL again', qr/^250 <parsed\@c\.test>,/, 'also in a transaction');
gets('RCPT whatever', '250 <to@c.test>, recipient ok', 'rcpt_parse too');
fresh('mail_parse=OK:<parsed@c.test> FOO=5');
gets('MAIL whatever', $param, 'its parameters are checked as well');
fresh('mail_pre=OK:<pre@c.test>;rcpt_pre=OK:to@c.test');
gets('MAIL FROM:<a@b.test>', qr/^250 <pre\@c\.test>/, 'mail_pre replaces the address');
gets('RCPT TO:<a@b.test>', '250 <to@c.test>, recipient ok', 'rcpt_pre too');
is_deeply [grep { /mail|rcpt/ } Probe::events($d)], ['mail_parse FROM:<a@b.test>', 'mail_pre <a@b.test>',
    'mail <pre@c.test>', 'rcpt_parse TO:<a@b.test>', 'rcpt_pre <a@b.test>', 'rcpt <to@c.test>',
    'rcpt_accepted <to@c.test>'], 'in this order';
for my $result (qw(DENY DENYSOFT_DISCONNECT DONE OK)) {
    fresh("mail_pre=$result");
    gets('MAIL FROM:<a@b.test>', qr/^250 <a\@b\.test>/, "mail_pre=$result changes nothing");
}

done_testing;
