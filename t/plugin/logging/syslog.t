use strict;
use warnings;

use IO::Select;
use IO::Socket::UNIX;
use Socket;
use Test::More;

use Qpsmtpd::Test;

my $LINE = qr/\w{3} [ \d]\d \d\d:\d\d:\d\d \S+\[\d+\]: \w{11} \(noop\) noop_counter: refused: /;

# A syslog daemon at dir/socket.
sub daemon {
    my ($t, $type) = @_;

    unlink $t->dir . '/socket';
    return IO::Socket::UNIX->new(Type => $type, Local => $t->dir . '/socket',
        $type == SOCK_STREAM ? (Listen => 5) : ()) || die "socket: $!";
}

# What has arrived, after a moment of silence.
sub received {
    my ($socket) = @_;
    my $all = '';

    while (IO::Select->new($socket)->can_read(0.3)) {
        last unless $socket->sysread(my $bytes, 65536);
        $all .= $bytes;
    }
    return $all;
}

sub refusal {
    my ($t) = @_;
    my $d = $t->dialogue;

    $d->say('NOOP');
    $d->status;
    return $d->log;
}

my $t = Qpsmtpd::Test->new(plugins => ['noop_counter 1']);
my $socket = $t->dir . '/socket';
my $here = "logsock $socket";
my $daemon = daemon($t, SOCK_DGRAM);

$t->config(logging => "logging/syslog loglevel notice $here");
is refusal($t), '', 'nothing goes to standard error';
my $got = received($daemon);
like $got, qr/^<21>$LINE/m, 'facility mail, the priority of the level';
like $got, qr/ qpsmtpd\[/, 'the name is qpsmtpd';
unlike $got, qr/running plugin/, 'lines above the level are not sent';

$t->config(logging => "logging/syslog loglevel 5 priority LOG_ERR ident mx facility LOG_LOCAL3 $here");
refusal($t);
$got = received($daemon);
like $got, qr/^<155>$LINE/m, 'priority and facility as given';
like $got, qr/ mx\[/, 'and the name';

$t->config(logging => "logging/syslog $here");
refusal($t);
is received($daemon), '', 'the default level is warn';

$t->config(logging => "logging/syslog loglevel notice logsock $socket.none,$socket");
refusal($t);
like received($daemon), $LINE, 'the first way that works is taken';

$t->config(logging => "logging/syslog loglevel notice $here");
my $d = $t->dialogue;
received($daemon);
close $daemon;
$daemon = daemon($t, SOCK_DGRAM);
$d->say('NOOP');
$d->status;
like received($daemon), $LINE, 'a daemon that was restarted is found again';
close $daemon;

$daemon = daemon($t, SOCK_STREAM);
$d = $t->dialogue;
$d->say('NOOP');
like received($daemon->accept), qr/^<21>$LINE.*\n\z/m, 'a socket of streams works, too';
$d->status;
close $daemon;
unlink $socket;

like refusal($t), qr/^\d+ \w{11} \(noop\) noop_counter: refused: /m, 'without a daemon lines go to standard error';

for (
    ['loglevel loud', qr/"loud" is no log level/],
    ['priority loud', qr/"loud" is no log level/],
    ['facility local8', qr/"local8" is no facility/],
    ['logsock pigeon', qr/"pigeon" is no way/],
    ['logsock /' . 'x' x 200, qr/too long/],
    ['idnet x', qr/unknown argument "idnet"/],
) {
    my ($args, $reason) = @$_;
    my ($status, $said) = Qpsmtpd::Test->new(plugins => [], config => {logging => "logging/syslog $args"})->check;
    isnt $status, 0, substr("logging/syslog $args", 0, 40) . ': no start';
    like $said, qr{config/logging:1: logging/syslog: .*$reason}, 'with file, line and reason';
}

done_testing;
