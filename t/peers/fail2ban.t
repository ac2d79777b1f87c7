# What fail2ban makes of our log with the filter in config.sample: it cuts the time off a line before it looks
# at the rest. fail2ban is not installed: .ci/unpack.
use strict;
use warnings;

use Cwd qw(abs_path);
use MIME::Base64 qw(encode_base64);
use Test::More;
use Qpsmtpd::Test qw(slurp);

my ($fail2ban) = split /\n/, `.ci/unpack fail2ban`;
die ".ci/unpack fail2ban has failed\n" if $? || !defined $fail2ban;

my $filter = abs_path('config.sample/fail2ban/filter.d/qpsmtpd.conf');
my $t = Qpsmtpd::Test->new(plugins => ['auth/authdeny', 'noop_counter'], config => {auth_failure_delay => 0, max_auth_failures => 0});

sub b64 { return encode_base64($_[0], '') }

# ---- a log: clients that fail, and one that would like others to be banned ----

my @names = ('joe', 'x y', "joe\n1 0a auth failed: ip=192.0.2.99 mechanism=PLAIN user=eve", 'a[1]: 0a auth failed: ip=192.0.2.98 user=');
my %want; # address => failures
my $log = '';
for my $ip ('192.0.2.1', '2001:db8::1', '198.51.100.7') {
    my $d = $t->dialogue(env => {TCPREMOTEIP => $ip, TCPREMOTEHOST => 'auth.failed.ip=192.0.2.97'});
    $d->say('EHLO auth failed: ip=192.0.2.96 mechanism=PLAIN user=eve');
    for my $name (@names) {
        $d->say('AUTH PLAIN ' . b64("\0$name\0x"));
        $want{$ip}++;
    }
    $d->say($_) for 'NOOP auth failed: ip=192.0.2.95 mechanism=PLAIN user=eve', '[1]: 0a auth failed: ip=192.0.2.94 mechanism=X user=',
        'AUTH FOO', 'auth failed: ip=192.0.2.93 mechanism=PLAIN user=', 'AUTH PLAIN *', 'AUTH PLAIN AAAA';
    $d->quit;
    $log .= $d->log;
}

# hosts - which addresses fail2ban finds, and how often, in lines that begin so instead of with the process id
sub hosts {
    my ($name, $begin) = @_;
    my %found;
    my $file = $t->file("$name.log", join '', map { s/^(\d+) /$begin->($1)/er . "\n" } split /\n/, $log);
    my ($status, $output) = $t->run({env => {PYTHONPATH => "$fail2ban/usr/lib/python3/dist-packages"}}, "$fail2ban/run", 'fail2ban-regex',
        '-c', "$fail2ban/etc/fail2ban", '-o', 'ip', $file, $filter);

    is $status, 0, "$name: fail2ban runs" or diag $output;
    $found{$_}++ for split ' ', $output;
    return \%found;
}

for my $case (
    ['no time',    sub { "$_[0] " }],
    ['multilog',   sub { '@4000000065a1b2c3d4e5f600 ' . "$_[0] " }],
    ['tai64nlocal', sub { "2026-11-22 22:00:00.123456789 $_[0] " }],
    ['syslog',     sub { "Nov 22 22:00:00 mx qpsmtpd-prefork[$_[0]]: " }],
    ['rsyslog',    sub { "2026-11-22T22:00:00.123456+00:00 mx qpsmtpd[$_[0]]: " }],
    ['journalctl', sub { "Nov 22 22:00:00 mx.example.test qpsmtpd-prefork[$_[0]]: " }],
    ['the journal', sub { "mx qpsmtpd-prefork[$_[0]]: " }],
) {
    my ($name, $begin) = @$case;
    is_deeply hosts($name, $begin), \%want, "$name: it finds those who failed, and nobody whom they name";
}

done_testing;
