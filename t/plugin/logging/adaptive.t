use strict;
use warnings;

use Test::More;

use Qpsmtpd::Test;

my $MESSAGE = "From: a\@b.test\n\nhello\n";

sub test_with {
    my ($logging, @plugins) = @_;

    return Qpsmtpd::Test->new(
        plugins => [@plugins, 'check_badrcptto', 'rcpt_ok', 'queue/discard'],
        config => {
            logging => $logging, badrcptto => 'bad@example.test', rcpthosts => 'example.test',
        });
}

# The log of one connection that sends messages to these recipients, each in a transaction.
sub log_of {
    my ($t, @recipients) = @_;
    my $d = $t->dialogue;

    $d->deliver('a@b.test', $_, $MESSAGE) for @recipients;
    $d->quit;
    $d->status;
    return $d->log;
}

my $MARKED = qr/^\d+ ` \w{11} /m;
my $info = test_with('logging/adaptive accept info reject error');

my $log = log_of($info, 'good@example.test');
like $log, qr/$MARKED.*good/m, 'an accepted message: its lines are written, marked';
is_deeply [grep { !/$MARKED/ } split /\n/, $log], [], 'others, up to reject, there were none';

is log_of($info, 'bad@example.test'), '', 'a refused recipient: nothing is marked';
$log = log_of($info, ['good@example.test', 'bad@example.test']);
unlike $log, $MARKED, 'nor when the other recipient is a good one';
like log_of($info, 'bad@example.test', 'good@example.test'), $MARKED,
    'the next transaction is judged by itself';

{
    my $d = $info->dialogue;
    $d->say($_) for 'EHLO client.test', 'MAIL FROM:<a@b.test>', 'RCPT TO:<good@example.test>', 'RSET', 'QUIT';
    $d->status;
    unlike $d->log, $MARKED, 'a transaction without a message was not accepted';
}

$log = log_of(test_with('logging/adaptive accept error reject notice'), 'bad@example.test');
like $log, qr/^\d+ \w{11} \(rcpt\) check_badrcptto: refused: /m, 'lines up to reject are written at once';

$log = log_of(test_with('logging/adaptive accept info reject info prefix OK:'), 'good@example.test');
like $log, qr/^\d+ OK: \w{11} /m, 'the mark can be chosen';
my @twice = grep { /OK: \w{11} / } split /\n/, $log;
s/ OK://, index($log, "$_\n") >= 0 || fail("\"$_\" was written unmarked, too") for @twice;
pass 'lines that both levels want are written twice';

{
    my $t = test_with('logging/adaptive accept debug reject emerg');
    my $d = $t->dialogue;
    $d->say($_) for 'EHLO client.test', 'MAIL FROM:<a@b.test>';
    $d->say("RCPT TO:<good$_\@example.test>") for 1 .. 900;
    $d->data($MESSAGE);
    is $d->code, 250, 'a message with 900 recipients';
    $d->quit;
    $d->status;
    my $size = length $d->log;
    cmp_ok $size, '>', 10000, "its lines are remembered ($size bytes)";
    cmp_ok $size, '<', 150000, 'but not all of them';
}

for (['accept loud', qr/"loud" is no log level/], ['prefix', qr/prefix: its value is missing/], ['x', qr/unknown argument "x"/]) {
    my ($args, $reason) = @$_;
    my ($status, $said) = test_with("logging/adaptive $args")->check;
    isnt $status, 0, "logging/adaptive $args: no start";
    like $said, qr{config/logging:1: logging/adaptive: .*$reason}, 'with file, line and reason';
}

done_testing;
