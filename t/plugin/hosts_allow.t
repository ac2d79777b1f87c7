use strict;
use warnings;

use Test::More;

use Qpsmtpd::Test;

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
my ($status, $said) = Qpsmtpd::Test->new(plugins => ['hosts_allow 5'])->check;
isnt $status, 0, 'an argument refuses the start';
like $said, qr/plugins:1/, '... with file and line';
done_testing;
