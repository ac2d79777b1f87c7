# The log: levels, form, one session id on every line, and nothing hostile in it.
use strict;
use warnings;

use File::Basename qw(dirname);
use Test::More;

use lib dirname(__FILE__);
use Probe;
use Qpsmtpd::Test;

my $t = Qpsmtpd::Test->new(plugin_dirs => [Probe::dir(qw(probe probe_logging))], plugins => ['probe']);

# logged - the log of a small session
sub logged {
    my ($probe, @lines) = @_;
    my $d = $t->dialogue(env => {PROBE => $probe});

    $d->say($_) for 'EHLO client.test', @lines, 'QUIT';
    $d->status;
    return $d->log;
}

# ---- levels ----

my %seen = (
    debug  => qr/running plugin \(connect\): probe/,
    info   => qr/dispatching EHLO client\.test/,
    notice => qr/Connection from localhost \[127\.0\.0\.1\]/,
    error  => qr/returned 7, which is no result/,
);
my @order = qw(emerg alert crit error warn notice info debug);
for my $case (
    [0, 'emerg'], [3, 'error'], [4, 'warn'], [5, 'notice'], [6, 'info'], [7, 'debug'], [8, 'debug'],
    ['LOGDEBUG', 'debug'], ['LOGINFO', 'info'], ['loginfo', 'info'], ['info', 'info'], ['Notice', 'notice'],
    ['warn', 'warn'], ['LOGWARN', 'warn'], ['error', 'error'], ['LOGERROR', 'error'], ['LOGRADAR', 'emerg'], ['radar', 'emerg'],
    ['emergency', 'emerg'], ['critical', 'crit'], ['err', 'error'], ['LOGERR', 'error'], ['warning', 'warn'],
    [10, 'debug'], [99, 'debug'],
    ["# comment\n\n 6 \n7", 'info'], ['', 'warn'],
) {
    my ($value, $level) = @$case;
    $t->config(loglevel => $value);
    my $log = logged('noop=BOGUS', 'NOOP');
    my ($at) = grep { $order[$_] eq $level } 0 .. $#order;
    my @wrong;
    for my $of (sort keys %seen) {
        my ($this) = grep { $order[$_] eq $of } 0 .. $#order;
        push @wrong, $of if ($log =~ $seen{$of} ? 1 : 0) != ($this <= $at ? 1 : 0);
    }
    is "@wrong", '', "loglevel '" . ($value =~ s/\n/ /gr) . "' is $level" or diag $log;
}
for my $wrong ('-1', 'loud', 'LOG', '7x', '4.5') {
    $t->config(loglevel => "#\n$wrong\n");
    my $d = $t->dialogue;
    is $d->greeting, '421 service not available, configuration error', "loglevel '$wrong' refuses the start";
    is $d->status, 111, 'status 111';
    like $d->log, qr/\Aqpsmtpd: \Q@{[$t->dir]}\E\/config\/loglevel(?::| line )2: .*\Q$wrong\E.*\n\z/, 'one line says why';
    is +($t->check)[0], 1, '--check says so too';
}
$t->config(loglevel => 7);

# ---- form ----

my $log = logged('mail=DENY:no', 'MAIL FROM:<a@b.test>', 'FOO');
my ($pid, $session) = $log =~ /\A(\d+) ([0-9a-v]{11}) Connection from localhost \[127\.0\.0\.1\]\n/;
ok $session, 'r356 by default: process, session, text' or diag $log;
is_deeply [grep { !/^$pid $session \S/ } split /\n/, $log], [], 'the same session on every line';
like $log, qr/^$pid $session probe plugin: event mail <a\@b\.test>$/m, 'what a plugin says';
like $log, qr/^$pid $session running plugin \(mail\): probe$/m, 'which one runs';
like $log, qr/^$pid $session dispatching MAIL FROM:<a\@b\.test>$/m, 'each command';
like $log, qr/^$pid $session full from_parameter: FROM:<a\@b\.test>$/m, 'and what followed MAIL';
like $log, qr/^$pid $session 250-PIPELINING$/m, 'each line of a reply';
like $log, qr/^$pid $session 550 no$/m, 'a refusal';
like $log, qr/refused: hook=mail result=DENY about=<a\@b\.test> text=no$/m, 'and who refused';
like $log, qr/^$pid $session click, disconnecting$/m, 'the end';
isnt logged('') =~ /^\d+ (\S+)/, $session, 'another session has another id';

$t->config(log_format => '1.00');
$log = logged('');
like $log, qr/^\d+ [0-9a-v]{11} \(ehlo\) probe: event ehlo client\.test$/m, '1.00';
like $log, qr/^\d+ [0-9a-v]{11} dispatching EHLO client\.test$/m, 'the engine speaks';
$t->config(log_format => 'r356');
like logged(''), qr/ probe plugin: event ehlo/, 'r356 by name';
$t->config(log_format => '2.0');
is $t->dialogue->greeting, '421 service not available, configuration error', 'another log_format refuses the start';
unlink $t->dir . '/config/log_format';

my $server = $t->prefork('--children', 2);
my @clients = map { $server->connect } 1, 2;
my @ids = map { $_->say('NOOP id') =~ /^250 (\S+)/ } @clients;
isnt $ids[0], $ids[1], 'two at a time have two ids';
$_->quit for @clients;
$_->hangup for @clients;
$server->stop;
for my $id (@ids) {
    like $server->log, qr/^\d+ $id Connection from \S+ \[127\.0\.0\.1\]\n(?:.*\n)*?\d+ $id click, disconnecting$/m, "$id has its lines";
}

# ---- hostile bytes ----

$t->config(loglevel => 7);
my $evil = "a\x01\x1b[31mb\x7f\x80\xe4\r c\td";
$log = logged('', "MAIL FROM:<$evil>", $evil, "VRFY x\r1 $session faked", "NO\0OP", 'x' x 2000);
unlike $log, qr/[^\n -~]/, 'control and 8-bit bytes do not arrive';
like $log, qr/dispatching a\\x01\\x1b\[31mb\\x7f\\x80\\xe4\\x0d c\\x09d$/m, 'but escaped';
unlike $log, qr/^1 \Q$session\E faked/m, 'nobody can fake a line';
like $log, qr/dispatching x{900,}$/m, 'a long line is there';
is scalar(grep { length > 4096 } split /\n/, $log), 0, 'and no line is longer than a pipe takes at once';
my $d = $t->dialogue(env => {PROBE => '', TCPREMOTEHOST => "evil\n1 $session faked", TCPREMOTEINFO => "\x1b[2J\nx"});
$d->status;
unlike $d->log, qr/[^\n -~]|^1 \Q$session\E faked|^x/m, 'nor by its name';

# ---- plugins ----

$t->config(loglevel => 4);
$t->config(plugins => ['probe loglevel 3']);
like logged(''), qr/probe plugin: event ehlo/, 'loglevel N of a plugin: its lines have that level';
$t->config(plugins => ['probe loglevel -1']);
like logged(''), qr/probe plugin: event ehlo/, 'loglevel -N: more important';
$t->config(plugins => ['probe loglevel +1']);
$t->config(loglevel => 5);
unlike logged(''), qr/event ehlo/, 'loglevel +N: less';
$t->config(plugins => ['probe loglevel loud']);
is +($t->check)[0], 1, 'another one refuses the start';

$t->config(plugins => ['probe']);
$t->config(logging => ['probe_logging:1', 'probe_logging:2']);
$t->config(loglevel => 4);
$log = logged('');
like $log, qr/^probe_logging:1: 5 ([0-9a-v]{11}) ehlo probe event ehlo client\.test\nprobe_logging:2: 5 \1 ehlo probe event ehlo/m,
    'loggers of config/logging get every line of any level, in order';
like $log, qr/^probe_logging:1: 6 \S+ \(none\) \(none\) dispatching QUIT$/m, 'the engine has neither hook nor plugin';
unlike $log, qr/^\d+ /m, 'the built-in log is silent then';
unlike $log, qr/never seen/, 'what a logger logs is dropped';
$log = logged('probe_logging:1/logging=OK');
like $log, qr/^probe_logging:1: .* event ehlo/m, 'OK of the first';
unlike $log, qr/^probe_logging:2: .* event ehlo/m, 'keeps the line from the second';

done_testing;
