# What else happens while a message is judged: the server is told to go or to read its configuration anew, and
# clients that pipeline have sent their next message already.
use strict;
use warnings;

use Test::More;
use Time::HiRes qw(sleep);

use Qpsmtpd::Daemon qw(line bytes say_to heard);
use Qpsmtpd::Test qw(wait_for);

my $t = Qpsmtpd::Test->new(config => {rcpthosts => 'example.test'});
my $busy = $t->dir . '/busy';

# clamd, which thinks as long as that file is there
my $clamd = Qpsmtpd::Daemon->new(sub {
    my ($c) = @_;

    return say_to($c, "ClamAV 1/2/3\0") if line($c, "\0") eq 'zVERSION';
    while (my $n = unpack 'N', bytes($c, 4)) { bytes($c, $n) }
    heard('all');
    sleep 0.02 while -e $busy;
    say_to($c, "stream: OK\0");
}, path => $t->dir . '/clamd');
my $scanner = 'virus/clamdscan timeout 60s clamd_socket ' . $clamd->path;
my @envelope = ('MAIL FROM:<a@client.test>', 'RCPT TO:<b@example.test>', 'DATA');

sub arrived { return scalar(my @all = $t->maildir_messages) }

# scanned - a session whose message clamd has, and thinks about
sub scanned {
    my ($server) = @_;
    my $d = $server->connect;

    unlink glob $t->dir . '/Maildir/new/*';
    $t->file('busy', '');
    $d->say($_) for 'EHLO client.test', @envelope;
    $d->raw("Subject: x\r\n\r\nx\r\n.\r\n");
    wait_for(sub { $clamd->heard }, 20, 'clamd');
    return $d;
}

$t->config(plugins => [$scanner, 'rcpt_ok', 'queue/maildir Maildir']);
my $server = $t->prefork('--children', 2, '--idle-children', 1);
my $d = scanned($server);
$server->hup;
unlink $busy;
like $d->read_reply, qr/^250 /, 'SIGHUP while a message is scanned: it is taken';
is arrived(), 1, 'once';
$d->hangup;
$d = scanned($server);
my @children = $server->children;
$server->signal('TERM');
kill TERM => @children; # as an impatient supervisor does to the whole group
wait_for(sub { !$server->listens }, 20, 'the end of listening');
unlink $busy;
like $d->read_reply, qr/^250 /, 'SIGTERM while a message is scanned: it is taken';
is arrived(), 1, 'once';
like $d->read_reply, qr/^421 /, 'then the session ends';
wait_for(sub { !$server->alive }, 20, 'the end of the server');

# The next message is in the pipeline when data_post refuses the first.
$t->config(plugins => ['check_basicheaders', $scanner, 'rcpt_ok', 'queue/maildir Maildir']);
unlink glob $t->dir . '/Maildir/new/*';
$d = $t->dialogue;
$d->say('EHLO client.test');
$d->raw(join "\r\n", @envelope, 'Subject: first', '', 'RSET', '.', @envelope, 'From: a@client.test', 'Subject: second',
    'Date: Mon, 1 Jan 2024 00:00:00 +0000', '', 'x', '.', 'RSET', 'QUIT', '');
my @codes;
do { push @codes, substr $d->read_reply, 0, 3 } until !length $codes[-1] || $codes[-1] eq '221';
is "@codes", '250 250 354 554 250 250 354 250 250 221', 'a pipeline of two messages, the first of which is refused';
my @all = $t->maildir_messages;
is scalar(@all), 1, 'one arrives';
like $all[0], qr/^Subject: second\n(?:.*\n)*\nx\n\z/m, 'the second';

done_testing;
