# What all DNS plugins together cost a client: rounds of lookups, not their sum; and with dead servers
# no more than the budget. The timeline is printed.

use strict;
use warnings;

use Test::More;
use Time::HiRes qw(time);
use Qpsmtpd::DNS;
use Qpsmtpd::Test qw(free_port);

my $slow  = $ENV{TEST_SLOW} || 1;
my $delay = 0.2 * $slow; # of every answer
my $zone  = {
    Qpsmtpd::DNS::reverse('192.0.2.1') => {PTR => 'mx.client.test'},
    'mx.client.test'                   => {A => '192.0.2.1'},
    'one.test'                         => {A => '192.0.2.1', TXT => 'v=spf1 ip4:192.0.2.1 -all'},
    'two.test'                         => {MX => '10 in.two.test', TXT => 'v=spf1 ip4:192.0.2.1 -all'},
    'in.two.test'                      => {A => '192.0.2.1'},
};
my $dns = Qpsmtpd::DNS->new($zone, delay => $delay);
my $t = Qpsmtpd::Test->new(config => {
    rcpthosts   => 'ours.test',
    dns_servers => $dns->address,
    dns_timeout => 10,
    dnsbl_zones => [map { "bl$_.test" } 1 .. 4],
    rhsbl_zones => 'rhsbl.test is listed',
});
my $has_spf = -e $t->program('qpsmtpd') =~ s{[^/]*\z}{plugins/sender_permitted_from.so}r;
diag 'without sender_permitted_from, which is not built' unless $has_spf;

sub plugins {
    my ($resolvable, $spf) = @_;

    $t->config(plugins => ['fcrdns', 'dnsbl', 'rhsbl', 'helo policy rfc',
        $has_spf ? "sender_permitted_from $spf" : (), "resolvable_fromhost $resolvable", 'rcpt_ok',
        'queue/maildir Maildir']);
}

# session - one message from a domain: what was said, when, and how long each reply took
sub session {
    my ($domain, %env) = @_;
    my (@said, %took);
    my $began = time;
    my $d = $t->dialogue(env => {TCPREMOTEIP => '192.0.2.1', TCPREMOTEHOST => undef, %env});
    my $from = time;
    my $say = sub {
        my ($what, $code) = @_;
        my $at = time;
        my $reply = $code->();
        $took{($what =~ /^(\w+)/)[0]} = time - $at;
        push @said, [$at, "C: $what"], [time, 'S: ' . $reply =~ s/\n.*//sr];
        return $reply =~ /^2/;
    };

    push @said, [$from, 'S: ' . $d->greeting];
    my $accepted = 1;
    for my $line ('EHLO mx.client.test', "MAIL FROM:<a\@$domain>", 'RCPT TO:<x@ours.test>') {
        $accepted &&= $say->($line, sub { $d->say($line) });
    }
    $say->('DATA and the message', sub { $d->data("From: a\@$domain\n\nhello\n") }) if $accepted;
    my $total = time - $from;
    $d->quit;
    my $status = $d->status;
    my @asked = map { [$_->{time}, "   dns  $_->{type} $_->{name}"] } $dns->log;
    return {said => \@said, asked => \@asked, took => \%took, total => $total, status => $status,
        log => $d->log, began => $began, reply => $said[-1][1] =~ s/^S: //r};
}

sub print_timeline {
    my ($name, $s) = @_;

    diag sprintf "%s: %d questions, each answered after %.0f ms", $name, scalar @{$s->{asked}}, 1000 * $delay;
    diag 'milliseconds since the connection:';
    diag sprintf '%6.0f  %s', 1000 * ($_->[0] - $s->{began}), $_->[1]
        for sort { $a->[0] <=> $b->[0] } @{$s->{said}}, @{$s->{asked}};
}

# rounds - (delay of a session in answers that it had to wait for, one after the other; questions).
# The quickest of three sessions counts: a machine that has other work to do makes a session slower,
# never faster. It is less than one more than the number of rounds.
sub rounds {
    my ($name, $expected, @session) = @_;
    my $best;

    for (1 .. 3) {
        $dns->clear;
        my $s = session(@session);
        like $s->{reply}, qr/^250/, "$name: the message is taken" or diag $s->{log};
        $best = $s if !$best || $s->{total} < $best->{total};
        last if $best->{total} < $delay * ($expected + 0.5);
    }
    print_timeline($name, $best);
    return ($best->{total} / $delay, scalar @{$best->{asked}});
}

# ---- each answer takes its time ----

plugins('', '');
my ($rounds, $n) = rounds('a domain with an address, from a client with a known name', 1, 'one.test',
    TCPREMOTEHOST => 'mx.client.test');
ok $n >= 16, "$n questions";
cmp_ok $rounds, '>', 0.5, 'the answers were waited for';
cmp_ok $rounds, '<', 2, sprintf 'in one round of lookups: %.1f', $rounds;

($rounds, $n) = rounds('a domain with MX, from a client without a name', 2, 'two.test');
ok $n >= 16, "$n questions";
cmp_ok $rounds, '<', 3, sprintf 'in two rounds, because the address of an MX is asked for after the MX: %.1f', $rounds;

# ---- nobody answers ----

my $silent = Qpsmtpd::DNS->new({}, silent => 1);
my $refusing = Qpsmtpd::DNS->new({'*' => {rcode => 'REFUSED'}});
my %dead = (
    'silent servers'          => [$silent->address, $silent->address],
    'servers that do not run' => ['127.0.0.1:' . free_port(), '127.0.0.1:' . free_port()],
    'a server that refuses'   => [$refusing->address],
);

for my $what (sort keys %dead) {
    for my $budget (['dns_timeout', 0.3, 10], ['dns_hook_timeout', 20, 0.8]) {
        my ($limit, $timeout, $hook_timeout) = @$budget;
        my $bound = $limit eq 'dns_timeout' ? 2 * $timeout : $hook_timeout; # one try of two servers
        $t->config(dns_servers => $dead{$what});
        $t->config(dns_timeout => $timeout);
        $t->config(dns_tries => 1);
        $t->config(dns_hook_timeout => $hook_timeout);

        plugins('', '');
        my $s = session('one.test');
        is $s->{reply}, '450 Temporary address resolution failure (#4.4.3)', "$what, $limit: the sender may come back";
        cmp_ok $s->{took}{MAIL}, '<', $bound + $slow, sprintf 'after %.1f s', $s->{took}{MAIL};
        is $s->{status}, 0, 'the session ends well';

        plugins('reject 0', '');
        $s = session('one.test');
        like $s->{reply}, qr/^450 SPF - temperror/, "$what, $limit: SPF says the same" if $has_spf;

        plugins('reject 0', 'reject 1');
        unlink glob $t->dir . '/Maildir/new/*';
        $s = session('one.test');
        like $s->{reply}, qr/^250/, "$what, $limit: lists, names and HELO refuse nobody" or diag $s->{log};
        cmp_ok $s->{took}{$_}, '<', $bound + $slow, sprintf "$_ took %.1f s", $s->{took}{$_}
            for qw(EHLO MAIL RCPT DATA);
        cmp_ok $s->{total}, '<', 3 * $bound + $slow, sprintf 'all together %.1f s', $s->{total};
        is $s->{status}, 0, 'the session ends well';
        like +($t->maildir_messages)[0], qr/iprev=temperror/, 'and nothing is said of the client';
    }
}

done_testing;
