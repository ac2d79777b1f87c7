use strict;
use warnings;

use Test::More;

use Qpsmtpd::Test qw(change_byte);

my $t = Qpsmtpd::Test->new(
    plugins => ['hosts_allow', 'rcpt_ok', 'queue/discard'],
    config => {rcpthosts => 'example.test', hosts_allow => [
        '192.0.2.0/24 DENY go away',
        '192.0.2.7    OK',
        '192.0.2.8    declined',
        '198.51.100.1 DENYSOFT',
        '198.51.100.2 DENY',
        '198.51.100.3 DENY_DISCONNECT  two  blanks ',
        "2001:db8::/32\tDENYSOFT\tlater"]});

for my $case (
    ['192.0.2.1', '554 go away'], ['192.0.2.7', 220], ['192.0.2.8', 220], ['203.0.113.1', 220],
    ['198.51.100.1', '421 Sorry, try again later'], ['198.51.100.2', '554 Sorry, service not available for you'],
    ['198.51.100.3', '554 two  blanks'], ['2001:db8::1', '421 later'], ['2001:db9::1', 220], ['unknown', 220],
) {
    my ($ip, $said) = @$case;
    my $d = $t->dialogue(env => {TCPREMOTEIP => $ip, TCPREMOTEHOST => undef});

    if ($said eq 220) {
        like $d->greeting, qr/^220 /, "$ip is greeted";
    } else {
        is $d->greeting, $said, "$ip: $said";
        ok $d->eof, '... and closed';
    }
}
like +Qpsmtpd::Test->new(plugins => ['hosts_allow'])->dialogue->greeting, qr/^220 /, 'no list: everybody';

for my $line ('192.0.2.1', '192.0.2.1 ', '192.0.2.1 NO', '192.0.2.1 DONE', 'example.test DENY', '192.0.2.0/33 DENY',
    '192.0.2.0/255.255.255.0 DENY', '* DENY')
{
    my ($status, $said) = Qpsmtpd::Test->new(plugins => ['hosts_allow'], config => {hosts_allow => "# list\n$line"})->check;

    isnt $status, 0, "'$line' refuses the start";
    like $said, qr/hosts_allow:2/, '... with file and line';
}

# ---- compiled ----

sub greeting {
    my ($ip) = @_;
    my $d = $t->dialogue(env => {TCPREMOTEIP => $ip, TCPREMOTEHOST => undef});

    return ($d->greeting, $d->log);
}
my $list = $t->dir . '/config/hosts_allow';
$t->config(hosts_allow => ['192.0.2.0/24 DENY go away', '192.0.2.9 perhaps not', '192.0.2.10 DONE']);
utime time - 10, time - 10, $list;
is +($t->run($t->program('qpsmtpd-table'), $list))[0], 0, 'a list is compiled by its name';
is +(greeting('192.0.2.1'))[0], '554 go away', 'it is asked,';
like +(greeting('192.0.3.1'))[0], qr/^220 /, '... and lets the others in';
for my $ip ('192.0.2.9', '192.0.2.10') {
    my ($reply, $log) = greeting($ip);
    like $reply, qr/^421 /, "$ip: a result that is none lets nobody in";
    like $log, qr/no result client=\Q$ip\E/, '... and is logged';
}
unlink $list;
is +(greeting('192.0.2.1'))[0], '554 go away', 'the text may go';
change_byte("$list.mph", -60);
like +(greeting($_))[0], qr/^421 /, "when it is damaged nobody is let in, or sent away for good: $_" for '192.0.2.1', '192.0.2.7';
unlink "$list.mph";

my ($status, $said) = Qpsmtpd::Test->new(plugins => ['hosts_allow 5'])->check;
isnt $status, 0, 'an argument refuses the start';
like $said, qr/plugins:1/, '... with file and line';
done_testing;
