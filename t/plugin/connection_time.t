use strict;
use warnings;

use Test::More;

use Qpsmtpd::Test;

# The line that a connection of 0.3 s leaves.
sub line_with {
    my ($args, $loglevel) = @_;
    my $t = Qpsmtpd::Test->new(plugins => ["connection_time$args"], loglevel => $loglevel);
    my $d = $t->dialogue;

    select undef, undef, undef, 0.3;
    $d->quit;
    $d->status;
    my ($line) = grep { /connection_time/ && / s\.$/ } split /\n/, $d->log;
    return $line;
}

my $line = line_with('', 6);
like $line, qr/ \d+\.\d{3} s\.$/, 'a connection that ends by QUIT: its time is logged';
my ($seconds) = $line =~ / (\d+\.\d+) s\.$/;
cmp_ok $seconds, '>=', 0.3, 'in seconds';
cmp_ok $seconds, '<', 20 * ($ENV{TEST_SLOW} || 1), 'and no more than that';
is line_with('', 5), undef, 'at level info';
ok line_with(' notice', 5), 'or another';
ok line_with(' 7', 7), 'given by number';
is line_with(' 7', 6), undef, 'which counts';

{
    my $t = Qpsmtpd::Test->new(plugins => ['connection_time']);
    my $s = $t->prefork('--children', 1, '--idle-children', 1);
    for (1, 2) {
        my $d = $s->connect;
        select undef, undef, undef, 0.5 if $_ == 1;
        $d->hangup;
    }
    $s->wait_log(qr/(?: \d\.\d{3} s\.\n.*){2}/s);
    my @times = $s->log =~ / (\d\.\d{3}) s\.$/mg;
    cmp_ok $times[0], '>=', 0.5, 'a connection that the client ended';
    cmp_ok $times[1], '<', $times[0], 'the next one of the same process has a clock of its own';
    $s->stop;
}

for (['loud', qr/"loud" is no log level/], ['6 7', qr/unknown argument "7"/]) {
    my ($args, $reason) = @$_;
    my ($status, $said) = Qpsmtpd::Test->new(plugins => ["connection_time $args"])->check;
    isnt $status, 0, "connection_time $args: no start";
    like $said, qr{config/plugins:1: connection_time: .*$reason}, 'with file, line and reason';
}

done_testing;
