# Clients that say nothing, say it too slowly, or do not listen.
use strict;
use warnings;

use File::Basename qw(dirname);
use Test::More;
use Time::HiRes qw(time sleep);

use lib dirname(__FILE__);
use Probe;
use Qpsmtpd::Test qw(wait_for);

my $plugins = Probe::dir();

# object - with timeouts of so many seconds
sub object {
    my (%timeouts) = @_;

    return Qpsmtpd::Test->new(plugin_dirs => [$plugins], plugins => ['probe'], config => {%timeouts});
}

# say - all of these lines; the dialogue
sub dialogue {
    my ($t, @lines) = @_;
    my $d = $t->dialogue;

    $d->say($_) for @lines;
    return $d;
}

my @to_data = ('EHLO x', 'MAIL FROM:<a@b.test>', 'RCPT TO:<c@d.test>');
my $t = object(timeout => 1);
my $both = object(timeout => 1000, timeoutsmtpd => 1);
my $slow = object(timeout => 1, timeoutsmtpd => 1000);
my $qmail = object(timeoutsmtpd => 1);
my $unset = object(timeoutsmtpd => 1, timeout => 0);
my $started = time;

# All of them wait at the same time.
my @silent = (
    ['a client that says nothing',         dialogue($t), '421 Connection Timed Out'],
    ['a client that stops in between',     dialogue($t, @to_data), '421 Connection Timed Out'],
    ['timeoutsmtpd counts for commands',   dialogue($both, 'HELO x'), '421 Connection Timed Out'],
    ['one that stops in DATA',             dialogue($t, @to_data, 'DATA'), '451 Incomplete DATA'],
    ['timeout counts in DATA',             dialogue($slow, @to_data, 'DATA'), '451 Incomplete DATA'],
    ['timeoutsmtpd alone counts there too', dialogue($qmail, @to_data, 'DATA'), '451 Incomplete DATA'],
    ['and in chunks',                      dialogue($qmail, @to_data), '451 Incomplete DATA', "BDAT 100\r\na: b\r\n"],
    ['a timeout of 0 is none',             dialogue($unset, @to_data, 'DATA'), '451 Incomplete DATA'],
    ['one that stops in a chunk',          dialogue($t, @to_data), '451 Incomplete DATA', "BDAT 100\r\na: b\r\n"],
    ['one that stops in a refused chunk',  dialogue($t), '451 Incomplete DATA', "BDAT 100\r\na: b\r\n"],
    ['one that stops between chunks',      dialogue($t, @to_data), '421 Connection Timed Out', "BDAT 4\r\na: b"],
    ['half a command',                     dialogue($t), '421 Connection Timed Out', 'NOO'],
    ['an endless line',                    dialogue($t), '421 Connection Timed Out', 'x' x 100_000],
    ['half an end of DATA',                dialogue($t, @to_data, 'DATA'), '451 Incomplete DATA', "a: b\r\n\r\n\r\n."],
);
$_->[3] && $_->[1]->raw($_->[3]) for @silent;
$_->[0] =~ /between chunks/ && $_->[1]->read_reply for @silent;

# A line has its time as a whole; DATA only needs to go on.
my $drip = dialogue($t);
my $data = dialogue($t, @to_data, 'DATA');
my $from = time;
my $dripped = 0;
while (time - $from < 1.6) {
    $dripped += $drip->raw('x');
    $data->raw("x: y\r\n");
    sleep 0.2;
}
is $drip->read_reply, '421 Connection Timed Out', 'a command that comes byte by byte';
$data->raw(".\r\n");
is $data->read_reply, '250 Queued', 'a message that comes slowly is taken';

for my $case (@silent) {
    my ($name, $d, $reply) = @$case;
    is $d->read_reply, $reply, $name;
    ok $d->eof, 'the connection is closed';
    is $d->status, 0, 'status 0';
    my @events = Probe::events($d);
    is_deeply [grep { /disconnect|post-connection/ } @events], ['disconnect', 'post-connection'], 'the end hooks run once';
    is_deeply [grep { /data_post|queue/ } @events], [], 'nothing is queued';
}
cmp_ok time - $started, '>', 1, 'not before the time';

for my $case (['0', 1200], ['', 1200], ['x', 1200]) {
    # It cannot be waited for; what is said must still be right.
    my $d = dialogue(object(timeout => $case->[0]));
    like $d->say('NOOP'), qr/^250/, "timeout '$case->[0]' is none";
    $d->hangup;
    is $d->status, 0, 'an ordinary end';
}

# ---- a client that does not read ----

sub flood {
    my ($d) = @_;

    # Ten bytes in, hundreds out: soon nothing fits any more.
    1 while eval { $d->raw("HELP xxx\r\n" x 1000, 0.3) };
}

$t->config(loglevel => 'info'); # or the log is most of the work
my $deaf = $t->dialogue;
flood($deaf);
is $deaf->{process}->wait(10), 0, 'a client that does not read is left';
like $deaf->log, qr/timeout/, 'the reason is logged';
my $run = () = $deaf->log =~ /dispatching HELP/g;
1 while $deaf->fill(1);
my $heard = () = $deaf->{buffer} =~ /^214 /mg;
# What it could not hear is in our output buffer: 16 KiB. What it said and we did not run is much more.
cmp_ok $run - $heard, '<', 400, 'nothing more is run for who does not hear the answer';
is scalar(Probe::events($deaf, qr/disconnect/)), 1, 'the end hooks run';
$deaf->hangup;

my $server = $t->prefork('--children', 1);
$deaf = $server->connect;
flood($deaf);
my $next = $server->connect;
like $next->greeting, qr/^220 /, 'under qpsmtpd-prefork: the next client is served';
like $next->say('NOOP note c x'), qr/^250 \(none\)/, 'by a process that has forgotten it';
$next->quit;
$_->hangup for $next, $deaf;

# One that goes away while we talk.
my $rude = $server->connect;
$rude->raw("HELP\r\n" x 2000);
$rude->hangup;
$next = $server->connect;
like $next->say('NOOP count'), qr/^250 1$/, 'a client that hangs up while we write';
$next->quit;
ok $next->eof, 'is not the last one';
$next->hangup;
is $server->stop, 0, 'the server stops';
is scalar(() = $server->log =~ /event connect/g), scalar(() = $server->log =~ /event disconnect/g),
    'each connection ended';

done_testing;
