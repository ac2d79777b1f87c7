use strict;
use warnings;

use Test::More;

use lib 't/system';
use Probe;
use Qpsmtpd::Test qw(change_byte);

# A plugin that tells the notes at DATA.
my $probe = File::Temp->newdir('qpsmtpd-whitelist-XXXXXX', TMPDIR => 1);
open my $fh, '>', "$probe/teller.c" or die;
print $fh <<'C';
#include <qpsmtpd/plugin.h>
static const char *show(struct qp *q, enum qp_scope scope, const char *name)
{
    const char *text = qp_note(q, scope, name);
    return text ? text : "-";
}
static enum qp_rc on_data(struct qp *q)
{
    return qp_deny(q, "client=%s host=%s helo=%s sender=%s rcpt=%s karma=%s immune=%d",
        show(q, QP_CONNECTION, "whitelistclient"), show(q, QP_CONNECTION, "whitelisthost"),
        show(q, QP_CONNECTION, "whitelisthelo"), show(q, QP_TRANSACTION, "whitelistsender"),
        show(q, QP_TRANSACTION, "whitelistrcpt"), show(q, QP_CONNECTION, "karma"), qp_immune(q));
}
QP_PLUGIN(.name = "teller", .data = on_data);
C
close $fh;
Probe::build("$probe/teller.c", "$probe/teller.so");

my @alive;
sub session {
    my (%env) = @_;
    my $t = Qpsmtpd::Test->new(plugin_dirs => ["$probe"], plugins => ['whitelist', 'rcpt_ok', 'teller'], config => {
        rcpthosts => 'example.test',
        whitelisthosts => ['192.0.2.7', '198.51.100.0/24', '2001:db8::/32', '203.0.113.'],
        whitelisthelo => ['good.helo.test', 'Upper.Helo.test'],
        whitelistsenders => ['friend@sender.test', 'good.test'],
        whitelistrcpt => ['vip@example.test'],
    });

    push @alive, $t; # its directory goes with it
    return $t->dialogue(env => {TCPREMOTEHOST => undef, %env});
}

# notes - what the plugins behind it find
sub notes {
    my ($d, $helo, $from, @to) = @_;

    $d->say($_) for 'RSET', $helo, "MAIL FROM:<$from>", map { "RCPT TO:<$_>" } @to;
    return $d->say('DATA') =~ s/^554 (?:\S+ )?client=/client=/r;
}

my @to = 'x@example.test';
my $nothing = 'client=- host=- helo=- sender=- rcpt=- karma=- immune=0';

for my $ip ('192.0.2.7', '198.51.100.99', '2001:db8:1::1', '203.0.113.250') {
    is notes(session(TCPREMOTEIP => $ip), 'EHLO x', 'a@client.test', @to),
        'client=- host=1 helo=- sender=- rcpt=- karma=5 immune=1', "$ip is listed";
}
for my $ip ('192.0.2.77', '192.0.2.70', '198.51.101.1', '2001:db9::1', '20.3.0.113', '203.0.11.3') {
    is notes(session(TCPREMOTEIP => $ip), 'EHLO x', 'a@client.test', @to), $nothing, "$ip is not";
}
is notes(session(WHITELISTCLIENT => '', TCPREMOTEIP => '192.0.2.7'), 'EHLO x', 'a@client.test', @to),
    'client=1 host=- helo=- sender=- rcpt=- karma=5 immune=1', 'WHITELISTCLIENT of tcprules';

my $d = session(TCPREMOTEIP => '192.0.2.99');
is notes($d, $_, 'a@client.test', @to), $nothing =~ s/helo=-/helo=1/r, "'$_' is listed, and makes nobody immune"
    for 'EHLO good.helo.test', 'HELO GOOD.helo.TEST', 'EHLO upper.helo.test';
is notes($d, 'EHLO bad.helo.test', 'a@client.test', @to), $nothing, 'the last greeting counts';
is notes($d, 'EHLO x', $_, @to), $nothing =~ s/sender=-/sender=1/r =~ s/immune=0/immune=1/r, "sender $_ is listed"
    for 'friend@sender.test', 'FRIEND@Sender.TEST', 'any@good.test';
is notes($d, 'EHLO x', $_, @to), $nothing, "sender '$_' is not"
    for 'foe@sender.test', 'any@sub.good.test', 'good.test@other.test', '';
is notes($d, 'EHLO x', 'a@client.test', 'x@example.test', 'VIP@example.test', 'y@example.test'),
    $nothing =~ s/rcpt=-/rcpt=1/r, 'recipients that are listed are counted';

# ---- what other plugins make of it ----

my $w = Qpsmtpd::Test->new(plugins => ['check_relay', 'whitelist', 'check_badmailfrom reject 1', 'badrcptto', 'rcpt_map domain map.test file map',
        'rcpt_regexp', 'rcpt_ok'],
    config => {
        rcpthosts => ['example.test', 'map.test'], map => 'other@map.test OK', badmailfrom => '@bad.test', badhelo => ['evil.test', 'good.test'],
        rcpt_regexp => ['/^slow/ DENYSOFT', '/^open/ OK'],
        badrcptto => ['@example.test no'], whitelisthosts => '192.0.2.7', whitelisthelo => 'good.test',
        whitelistsenders => 'friend@bad.test',
        whitelistrcpt => ['vip@example.test', 'vip@map.test', 'slow@map.test', 'open@foreign.test']});

# codes - of the replies to these commands
sub codes {
    my ($ip, @commands) = @_;
    my $d = $w->dialogue(env => {TCPREMOTEIP => $ip, TCPREMOTEHOST => undef});
    my $codes = join ' ', map { substr $d->say($_), 0, 3 } @commands;

    $d->quit;
    return $codes;
}
sub rcpts { return ('EHLO x', 'MAIL FROM:<a@client.test>', map { "RCPT TO:<$_>" } @_) }

is codes('192.0.2.1', rcpts('vip@example.test', 'x@example.test', 'VIP@example.test', 'x@example.test')), '250 250 250 550 250 550',
    'badrcptto refuses no recipient that is listed, and the others';
is codes('192.0.2.1', rcpts('vip@map.test', 'x@map.test', 'vip@foreign.test')), '250 250 250 550 550', 'rcpt_map';
$w->config(map => ['slow@map.test OK', 'slower@map.test OK']);
is codes('192.0.2.1', rcpts('slow@map.test', 'slower@map.test', 'open@foreign.test')), '250 250 250 450 250', 'rcpt_regexp';
for my $plugin ('check_spamhelo', 'helo policy rfc') {
    $w->config(plugins => ['whitelist', $plugin, 'rcpt_ok']);
    is codes('192.0.2.1', 'EHLO good.test', 'HELO Good.TEST'), '250 250', "$plugin refuses no name that is listed";
    is codes('192.0.2.1', 'EHLO evil.test'), '550', '... but the others';
}

# ---- lists that cannot be read ----

# damage - a compiled list whose text is gone
sub damage {
    my ($name) = @_;
    my $list = $w->dir . "/config/$name";

    utime time - 10, time - 10, $list;
    is +($w->run($w->program('qpsmtpd-table'), $list))[0], 0, "$name is compiled by its name";
    change_byte("$list.mph", -60);
    unlink $list;
}
my @plugins = ('check_relay', 'whitelist', 'badmailfrom', 'helo', 'badrcptto', 'rcpt_ok');
$w->config(plugins => \@plugins);
is codes('192.0.2.1', 'EHLO x', 'MAIL FROM:<a@bad.test>'), '250 550', 'sound lists: refused for good';
damage($_) for qw(whitelisthosts whitelisthelo whitelistsenders whitelistrcpt);
is codes($_, 'EHLO x', 'MAIL FROM:<a@bad.test>'), '250 450', "damaged ones: for now, $_" for '192.0.2.1', '192.0.2.7';
like codes('192.0.2.1', 'EHLO evil.test'), qr/^4/, 'greetings as well';
is codes('192.0.2.1', rcpts('x@example.test')), '250 250 450', 'and recipients';
is codes('192.0.2.1', rcpts('x@foreign.test')), '250 250 550', 'but who is no matter of the lists for good';
$w->config(plugins => ['check_relay', 'whitelist', 'badmailfrom reject naughty', 'naughty', 'badrcptto', 'rcpt_ok']);
like codes('192.0.2.1', 'EHLO x', 'MAIL FROM:<a@bad.test>', 'RCPT TO:<x@map.test>'), qr/^250 250 4/, 'naughty, too';

$d->say($_) for 'RSET', 'MAIL FROM:<a@client.test>';
$d = session(TCPREMOTEIP => '192.0.2.7');
$d->say($_) for 'EHLO x', 'MAIL FROM:<friend@sender.test>';
like $d->say('RCPT TO:<vip@elsewhere.test>'), qr/^550 /, 'nobody may relay because of a list';

is +(Qpsmtpd::Test->new(plugins => ["whitelist $_"])->check)[0], 0, "$_ of 1.00 changes nothing"
    for 'per_recipient 0', 'merge 1', 'per_recipient 0 merge 0';
for my $case ([['whitelist per_recipient 1'], {}, qr/plugins:1.*per_recipient.*whitelistsenders/], [['whitelist merge maybe'], {}, qr/plugins:1.*merge/], [['whitelist'], {whitelisthosts => 'everybody'}, qr/whitelisthosts:1/]) {
    my ($status, $said) = Qpsmtpd::Test->new(plugins => $case->[0], config => $case->[1])->check;

    isnt $status, 0, 'what is wrong refuses the start';
    like $said, $case->[2], '... with file and line';
}
done_testing;
