# Every case of the test suite of openspf.org for RFC 7208 (t/plugin/spf), through qpsmtpd and
# sender_permitted_from, with a name server that has the zones of the case.
use strict;
use warnings;

use lib 't/plugin/spf', 't/system';
use Cwd qw(abs_path);
use Test::More;
use Probe;
use Qpsmtpd::DNS;
use Qpsmtpd::Test qw(slurp);
use Suite;

my $build = abs_path($ENV{QPSMTPD_BUILD} || '.');
my $tmp = File::Temp->newdir('qpsmtpd-feed-XXXXXX', TMPDIR => 1);
Probe::build('t/plugin/spf/feed.c', "$tmp/feed.so");

# server - qpsmtpd with this plugin: fail is refused, unless it is for postmaster
sub server {
    my ($plugin, $dns) = @_;

    return Qpsmtpd::Test->new(
        plugins => ["$plugin reject 3", 'rcpt_ok', 'queue/maildir Maildir'],
        plugin_dirs => ["$tmp"],
        config => {rcpthosts => 'ours.test', dns_servers => $dns->address, dns_timeout => 1, dns_tries => 1},
        env => {FEED_PLUGIN => "$build/plugins/sender_permitted_from.so"});
}

sub quoted {
    my ($local) = @_;

    return $local =~ /^[\w.!#\$%&'*+\/=?^`{|}~-]+\z/ ? $local : '"' . $local =~ s/(["\\])/\\$1/gr . '"';
}

# run_case - the result and what a recipient is told, and the field; fed: not by the dialogue's own words
sub run_case {
    my ($t, $case, $fed) = @_;
    my ($local, $host) = $case->{mailfrom} =~ /^(.*)\@(.*)\z/ ? ($1, $2) : ('', '');
    my $d = $t->dialogue(env => {TCPREMOTEIP => $case->{host}, TCPREMOTEHOST => undef,
        $fed ? (FEED_HELO => $case->{helo}, FEED_LOCAL => $local, FEED_HOST => $host) : ()});
    my $from = $fed ? 'fed@feed.test' : $case->{mailfrom} eq '' ? '' : quoted($local) . "\@$host";

    return if $d->say('HELO ' . ($fed ? 'feed.test' : $case->{helo})) !~ /^250/
        || $d->say("MAIL FROM:<$from>") !~ /^250/;
    my $told = $d->say('RCPT TO:<x@ours.test>');
    my ($message) = do {
        $d->say('RCPT TO:<postmaster@ours.test>');
        $d->data("Subject: case\n\n");
        $d->quit;
        $t->maildir_messages;
    };
    unlink glob $t->dir . '/Maildir/new/*';
    my ($field) = ($message || '') =~ /\A(?:(?:Return-Path|Delivered-To): .*\n)*Received-SPF: (.*(?:\n[ \t].*)*)\n/;
    $field = '' unless defined $field;
    $field =~ s/\n[ \t]+/ /g;
    my ($result) = $field =~ /^(\w+)/;
    return ($result || 'nothing', $told, $field, $d);
}

# RFC 7208, 9.1
my $value = qr/(?:[\w!#\$%&'*+\/=?^`{|}~-]+(?:\.[\w!#\$%&'*+\/=?^`{|}~-]+)*|"(?:[^"\\]|\\.)*")/;
my $grammar = qr/\A(?:none|neutral|pass|fail|softfail|temperror|permerror)\ \((?:[^()\\]|\\.)*\)
    (?:\ (?:client-ip|envelope-from|helo|receiver|identity|mechanism|problem)=$value;?)+\z/x;

my ($cases, $passed, $fed, $second) = (0, 0, 0, 0);
for my $scenario (Suite::scenarios('t/plugin/spf/rfc7208-tests.yml')) {
    my $dns = Qpsmtpd::DNS->new(Suite::zone($scenario->{zonedata}));
    my ($plain, $feeding) = map { server($_, $dns) } qw(sender_permitted_from feed);

    for my $name (sort keys %{$scenario->{tests}}) {
        my $case = $scenario->{tests}{$name};
        my @right = ref $case->{result} ? @{$case->{result}} : $case->{result};
        my @got = $case->{helo} =~ /\s/ ? () : run_case($plain, $case, 0);
        $fed += !@got;
        @got = run_case($feeding, $case, 1) if !@got;
        my ($result, $told, $field, $d) = @got;
        my ($explanation) = $told =~ / explains: (.*)/;
        my $wanted = $case->{explanation};

        $cases++;
        my $good = grep { $_ eq $result } @right;
        $good &&= $field =~ $grammar;
        $good &&= $wanted eq (defined $explanation ? $explanation =~ s/\s+\z//r : 'DEFAULT') if defined $wanted;
        $passed++ if $good;
        $second++ if $good && $result ne $right[0];
        ok $good, "$scenario->{description}: $name: @right"
            or diag "got $result\n$field\n$told" . (defined $wanted ? "wanted: $wanted\n" : '') . ($d ? $d->log : '');
    }
}
diag "RFC 7208 test suite: $passed of $cases cases passed"
    . " ($second with a second choice; $fed with words that the dialogue would not have let through)";
done_testing;
