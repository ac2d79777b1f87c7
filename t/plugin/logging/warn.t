use strict;
use warnings;

use Test::More;

use Qpsmtpd::Test;

# What a connection with one refusal leaves on standard error.
sub log_of {
    my ($logging, @commands) = @_;
    my $t = Qpsmtpd::Test->new(
        plugins => ['noop_counter 1'], loglevel => 7, config => {logging => $logging});
    my $d = $t->dialogue;

    $d->say($_) for @commands ? @commands : 'NOOP';
    $d->status;
    return $d->log;
}

my $log = log_of('logging/warn notice');
like $log, qr/^\d+ \w{11} \(noop\) noop_counter: refused: .*Stop wasting my time/m,
    'a line has process, session, hook, plugin and text';
like $log, qr/^\d+ \w{11} Connection from /m, 'hook and plugin are left out where there is none';
unlike $log, qr/running plugin/, 'lines above the level are not written';
unlike $log, qr/plugin: /, 'and the built-in log is silent';
is_deeply [grep { !/^\d+ (?:-|\w{11}) ./ } split /\n/, $log], [], 'all lines have that form';

is log_of('logging/warn'), '', 'the default level is warn';
is log_of('logging/warn 4'), '', 'which is 4';
like log_of('logging/warn 7'), qr/running plugin/, '7 is debug';
like log_of('logging/warn LOGDEBUG'), qr/running plugin/, 'and LOGDEBUG';

$log = log_of('logging/warn debug', "X\x01\xff\x1b[2J");
unlike $log, qr/[^\n -~]/, 'control and 8-bit bytes of the client do not arrive';
like $log, qr/X\\x01\\xff\\x1b\[2J/, 'they are escaped';

my $both = log_of(['logging/warn notice', 'logging/warn:1 notice']);
is scalar(() = $both =~ /refused: /g), 2, 'two loggers get each line';

for my $bad ('logging/warn loud', 'logging/warn 8x', 'logging/warn notice more') {
    my ($status, $said) = Qpsmtpd::Test->new(plugins => [], config => {logging => ['', '# x', $bad]})->check;
    isnt $status, 0, "$bad: no start";
    like $said, qr{config/logging:3: logging/warn: }, 'file and line are named';
}

done_testing;
