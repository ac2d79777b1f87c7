use strict;
use warnings;

use Test::More;

use Qpsmtpd::Test;

# The load is what the test says: a getloadavg() of its own stands before libc's.
my $dir = File::Temp->newdir('qpsmtpd-load-XXXXXX', TMPDIR => 1);
open my $fh, '>', "$dir/load.c" or die;
print $fh <<'C';
#include <stdlib.h>
int getloadavg(double load[], int n)
{
    const char *text = getenv("TEST_LOAD");
    if (!text)
        return -1;
    if (n > 0)
        load[0] = strtod(text, NULL);
    return n;
}
C
close $fh;
system($ENV{CC} || 'cc', '-shared', '-fPIC', '-o', "$dir/load.so", "$dir/load.c") == 0 or die "cc failed\n";

my @alive;
sub greeting {
    my ($arguments, $load) = @_;
    push @alive, my $t = # its directory, and the log there, goes with it
        Qpsmtpd::Test->new(plugins => ["loadcheck $arguments"]);
    my $d = $t->dialogue(env => {LD_PRELOAD => "$dir/load.so", ASAN_OPTIONS => 'verify_asan_link_order=0', TEST_LOAD => $load});

    return ($d->greeting, $d);
}

my $busy = '421 Server load too high, please try again later.';
for my $case (
    ['', '6.99', 0], ['', '7.00', 0], ['', '7.01', 1], ['', undef, 0],
    ['max_load 0.5', '0.4', 0], ['max_load 0.5', '0.6', 1], ['max_load 100000', '5000', 0],
    ['max_load 2x', '1.9', 0], ['max_load 0.01x', '1000', 1],
) {
    my ($arguments, $load, $refused) = @$case;
    my ($said, $d) = greeting($arguments, $load);

    if ($refused) {
        is $said, $busy, "'$arguments': a load of $load is too high";
        ok $d->eof, '... and the connection is closed';
        like $d->log, qr/load too high load=\d+\.\d\d max=/, '... and it is logged';
    } else {
        like $said, qr/^220 /, "'$arguments': a load of " . (defined $load ? $load : 'unknown height') . ' is not';
    }
}
{
    my ($said, $d) = greeting('cache_time 10 max_load 2 uptime /usr/bin/uptime', '2.5');
    is $said, $busy, 'cache_time and uptime of 1.00 stop nobody';
    like $d->log, qr/ignored: cache_time and uptime/, '... and a warning tells';
}
for my $line ('max_load', 'max_load 0', 'max_load -1', 'max_load x', 'max_load 7y', 'max_load 7xx', 'max_load nan', 'max_load inf',
    'max_load 100001', '7')
{
    my ($status, $said) = Qpsmtpd::Test->new(plugins => ["loadcheck $line"])->check;

    isnt $status, 0, "'$line' refuses the start";
    like $said, qr/plugins:1/, '... with file and line';
}
done_testing;
