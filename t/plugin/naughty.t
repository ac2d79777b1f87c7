use strict;
use warnings;

use Test::More;

use Qpsmtpd::Test;

use lib 't/system';
use Probe;

my @alive;
sub session {
    my ($arguments, %arg) = @_;
    my $t = Qpsmtpd::Test->new(
        plugins => [@{$arg{before} || []}, "naughty $arguments", 'rcpt_ok', @{$arg{behind} || []}, 'queue/discard'],
        config => {rcpthosts => 'example.test', badhelo => 'evil.test', %{$arg{config} || {}}});

    push @alive, $t; # its directory goes with it
    return $t->dialogue(env => $arg{env} || {});
}

# A client about whom the plugin helo complains: the codes of the replies to its commands.
sub replies {
    my ($arguments, $helo) = @_;
    my $d = session($arguments, before => ["helo $helo"]);
    my @codes = map { $d->say($_); $d->code } 'EHLO evil.test', 'MAIL FROM:<a@client.test>', 'RCPT TO:<b@example.test>';

    push @codes, do { $d->say('DATA'); $d->code } if $codes[-1] == 250;
    push @codes, do { $d->raw("a: b\r\n\r\n.\r\n"); $d->read_reply; $d->code } if $codes[-1] == 354;
    return ("@codes", $d);
}

for my $case (
    ['', '250 250 550'],
    ['reject mail', '250 550 0'],
    ['reject rcpt', '250 250 550'],
    ['reject data', '250 250 250 554'],
    ['reject data_post', '250 250 250 354 554'],
    ['reject hook_queue_post', '250 250 250 354 554'],
    ['reject queue_post', '250 250 250 354 554'],
) {
    my ($codes, $d) = replies($case->[0], 'reject naughty');
    is $codes, $case->[1], "'$case->[0]'";
    like $d->log, qr/\(helo\) I do not believe you are evil\.test/, '... with the complaint';
}
is +(replies('reject_type perm', 'reject naughty reject_type temp'))[0], '250 250 450', 'reject_type of the plugin that complained';
for my $case (['', 1], ['reject_type perm', 0], ['reject_type temp', 0, 450], ['reject_type temp_disconnect', 1, 421]) {
    my ($arguments, $closes, $code) = @$case;
    my ($codes, $d) = replies($arguments, 'reject naughty');

    is $codes, '250 250 ' . ($code || 550), "without one, '$arguments' of naughty counts";
    is $d->say('NOOP') eq '' ? 1 : 0, $closes, $closes ? '... and the connection is closed' : '... and it stays open';
}

# Several complaints, and the type when nobody has said one.
{
    my $t = Qpsmtpd::Test->new(plugins => ['noter', 'naughty reject_type temp', 'rcpt_ok', 'queue/discard'],
        config => {rcpthosts => 'example.test'});
    $t->file('noter.c', <<'C');
#include <qpsmtpd/plugin.h>
static enum qp_rc on_mail(struct qp *q, const struct qp_address *sender)
{
    qp_note_set(q, QP_CONNECTION, "naughty", sender->user[0] == 'm' ? "(a) one\n(b) two\n(c) three\n(d) four" : "0");
    qp_note_set(q, QP_CONNECTION, "naughty_reject_type", sender->user[1] == 'x' ? "what" : NULL);
    return QP_DECLINED;
}
QP_PLUGIN(.name = "noter", .mail = on_mail);
C
    Probe::build($t->dir . '/noter.c', $t->dir . '/noter.so');
    push @{$t->{plugin_dirs}}, $t->dir;
    my $d = $t->dialogue;
    $d->say('EHLO x');
    $d->say('MAIL FROM:<many@client.test>');
    is $d->say('RCPT TO:<b@example.test>'), "450-(a) one\n450-(b) two\n450 (c) three", 'at most three lines; reject_type';
    $d->say($_) for 'RSET', 'MAIL FROM:<none@client.test>';
    like $d->say('RCPT TO:<b@example.test>'), qr/^250 /, 'naughty 0 is no complaint';
    $d->say($_) for 'RSET', 'MAIL FROM:<mx@client.test>';
    like $d->say('RCPT TO:<b@example.test>'), qr/^450-/, 'a type that is none: the own one';
    like $d->log, qr/no result naughty_reject_type="what"/, '... and it is logged';
}

# Who can be written to by everybody.
for my $hook (qw(rcpt data data_post)) {
    my $d = session("reject $hook", before => ['helo reject naughty reject_type perm'], behind => ['headers reject naughty', 'naughty:1 reject_type perm']);
    $d->say($_) for 'EHLO evil.test', 'MAIL FROM:<a@client.test>';
    like $d->say("RCPT TO:<$_\@example.test>"), qr/^250 /, "reject $hook: $_" for qw(Postmaster abuse);
    like $d->data("From: a\@client.test\n\nx\n"), qr/^250 /, '... gets a message';
    $d->say($_) for 'MAIL FROM:<a@client.test>', 'RCPT TO:<root@example.test>';
    is $d->data("Subject: x\n\nx\n"), '554 (headers) We require a valid From header', '... but not one that is bad itself';
    next if $hook eq 'rcpt';
    $d->say($_) for 'MAIL FROM:<a@client.test>', 'RCPT TO:<abuse@example.test>', 'RCPT TO:<b@example.test>';
    like $d->data("From: a\@client.test\n\nx\n"), qr/^554.\(helo\)/, '... nor one that goes to others as well';
}

my $d = session('');
like $d->deliver('a@client.test', 'b@example.test', "a: b\n\n"), qr/^250 /, 'nobody has complained';

# What comes too late for its hook is refused after the message.
$d = session('reject connect', behind => ['headers reject naughty']);
like $d->deliver('a@client.test', 'b@example.test', "a: b\n\n"), qr/^250 /, 'a complaint behind naughty';
$d = session('reject connect', behind => ['headers reject naughty', 'naughty:1']);
like $d->deliver('a@client.test', 'b@example.test', "a: b\n\n"), qr/^554.*We require a valid From header/, 'data_post is looked at always';

$d = session('', before => ['check_relay', 'helo reject naughty'], env => {RELAYCLIENT => ''});
$d->say($_) for 'EHLO evil.test', 'MAIL FROM:<a@client.test>';
like $d->say('RCPT TO:<b@example.test>'), qr/^250 /, 'who may relay is not refused';

for my $line ('naughty reject never', 'naughty reject', 'naughty reject_type x', 'naughty rcpt') {
    my ($status, $said) = Qpsmtpd::Test->new(plugins => ['rcpt_ok', $line])->check;

    isnt $status, 0, "'$line' refuses the start";
    like $said, qr/plugins:2/, '... with file and line';
}
done_testing;
