use strict;
use warnings;

use IO::Socket::UNIX;
use POSIX ();
use Socket qw(SOCK_STREAM AF_INET AF_INET6 inet_pton);
use Test::More;
use Time::HiRes qw(time);

use Qpsmtpd::Test qw(slurp);

# answer - the 232 bytes that p0f 3 sends
sub answer {
    my (%a) = @_;
    my %all = (
        magic => 0x50304602, status => 0x10, first_seen => 1700000000, last_seen => 1700000100, total_conn => 3,
        uptime_min => 0, up_mod_days => 0, last_nat => 0, last_chg => 0, distance => 13, bad_sw => 0, os_match_q => 1,
        os_name => 'Windows', os_flavor => '7 or 8', http_name => '', http_flavor => '',
        link_type => 'Ethernet or modem', language => '', %a,
    );

    return pack 'L9 s C2 (a32)6', @all{qw(magic status first_seen last_seen total_conn uptime_min up_mod_days last_nat
        last_chg distance bad_sw os_match_q os_name os_flavor http_name http_flavor link_type language)};
}

# daemon - plays p0f on a socket: reads questions to FILE.asked and gives the pieces, one after the other.
# A number among them is a pause in seconds; afterwards the connection is closed.
my @daemons;
sub daemon {
    my ($path, @pieces) = @_;
    unlink $path;
    my $listener = IO::Socket::UNIX->new(Local => $path, Listen => 5, Type => SOCK_STREAM) or die "$path: $!";
    my $pid = fork;

    die "fork: $!" unless defined $pid;
    if ($pid == 0) {
        $SIG{$_} = 'DEFAULT' for qw(TERM INT);
        $SIG{PIPE} = 'IGNORE';
        alarm 120; # whatever becomes of the test
        while (my $c = $listener->accept) {
            my $query = '';
            while (length $query < 21) {
                sysread $c, $query, 100, length $query or last;
            }
            open my $asked, '>>', "$path.asked" or die;
            syswrite $asked, unpack('H*', $query) . "\n";
            close $asked;
            for (@pieces) {
                if (/\A[\d.]+\z/) {
                    select undef, undef, undef, $_;
                } else {
                    syswrite $c, $_;
                }
            }
            close $c;
        }
        POSIX::_exit(0);
    }
    push @daemons, $pid;
    close $listener;
}

END {
    local $?;
    kill KILL => @daemons;
    waitpid $_, 0 for @daemons;
}

my $t = Qpsmtpd::Test->new(config => {rcpthosts => 'example.test'});
my $socket = $t->dir . '/p0f';
mkdir $t->dir . "/$_" for qw(Maildir Maildir/new Maildir/cur Maildir/tmp);

sub plugins {
    my ($args) = @_;

    $t->config(plugins => ['check_relay', "ident/p0f $socket" . ($args ? " $args" : ''), 'rcpt_ok',
        'queue/maildir Maildir']);
}

# client - a dialogue with a client of that address, and how long the greeting took
sub client {
    my ($ip) = @_;
    my $begin = time;
    my $d = $t->dialogue(env => {TCPREMOTEIP => $ip || '192.0.2.1', TCPREMOTEHOST => undef});

    return wantarray ? ($d, time - $begin) : $d;
}

# notes - what the log shows of them
sub notes {
    my ($d) = @_;
    my $log = $d->log;

    return {$log =~ /plugin: p0f_(\w+)=(.*?)\s*$/mg};
}

# ---- a good answer ---------------------------------------------------------------------------------

plugins();
daemon($socket, answer());
my $d = client();
like $d->greeting, qr/^220 /, 'a client is greeted';
is_deeply notes($d), {
    first_seen => 1700000000, last_seen => 1700000100, total_conn => 3, distance => 13, bad_sw => 0, os_match_q => 1,
    os_name => 'Windows', os_flavor => '7 or 8', link_type => 'Ethernet or modem', link => 'Ethernet or modem',
    genre => 'Windows 7 or 8',
}, 'what p0f knows is in the notes, and nothing else';
like $d->log, qr/Results: Windows 7 or 8 link="Ethernet or modem" distance=13/, 'it is logged';
is slurp("$socket.asked"), unpack('H*', pack 'L C a16', 0x50304601, 4, inet_pton(AF_INET, '192.0.2.1')) . "\n",
    'the question for IPv4, asked once';
unlink "$socket.asked";
client('2001:db8::1');
is slurp("$socket.asked"), unpack('H*', pack 'L C a16', 0x50304601, 6, inet_pton(AF_INET6, '2001:db8::1')) . "\n",
    'and for IPv6';
unlink "$socket.asked";
for my $ip (qw(127.0.0.1 ::1)) {
    is_deeply notes(client($ip)), {}, "nothing about $ip";
}
is_deeply notes(scalar $t->dialogue(env => {TCPREMOTEIP => undef})), {}, 'nor about nobody';
ok !-e "$socket.asked", 'these are not asked for';

sub fields {
    my ($ip) = @_;
    my $d = client($ip);

    unlink glob $t->dir . '/Maildir/new/*';
    like $d->deliver('a@client.test', 'b@example.test', "X-P0F-Genre: forged\nx-p0f-link-type: x\n\nhello\n"),
        qr/^250/, 'a message';
    $d->quit;
    my ($message) = $t->maildir_messages;
    $message =~ s/\n\n.*//s;
    return [sort grep { /^X-P0F/i } split /\n/, $message];
}

is_deeply fields(), ['X-P0F-Genre: Windows 7 or 8', 'X-P0F-Link-Type: Ethernet or modem'], 'the fields are ours';
is_deeply fields('127.0.0.1'), ['X-P0F-Genre: forged', 'x-p0f-link-type: x'], 'those from the loopback stay';
plugins('add_headers false');
is_deeply fields(), ['X-P0F-Genre: forged', 'x-p0f-link-type: x'], 'add_headers false touches nothing';

# ---- what follows from it --------------------------------------------------------------------------

plugins('smite_os ^windows version 3 local_ip 192.0.2.9');
like client()->log, qr/smite_os genre="Windows 7 or 8"/, 'smite_os finds it';
plugins('smite_os linux');
unlike client()->log, qr/smite_os genre/, 'or does not';

plugins();
for my $case (
    ['windows 7 OR 8', 550, 'the whole genre, in any case'],
    ['windows',        250, 'part of it'],
    ['/WINDOWS [78]/', 550, 'a pattern'],
    ['/^7/',           250, 'a pattern that does not match'],
    ["# x\nLinux\n/dows/", 550, 'one of several'],
) {
    my ($blocked, $code, $name) = @$case;
    $t->config(p0f_blocked_operating_systems => $blocked);
    my $d = client();
    $d->say($_) for 'EHLO client.test', 'MAIL FROM:<a@client.test>';
    my $reply = $d->say('RCPT TO:<b@example.test>');
    is $d->code, $code, "$name: $code";
    like $reply, qr/OS Blocked/, 'with that text' if $code == 550;
}
$t->config(relayclients => '192.0.2.1');
like client()->deliver('a@client.test', 'b@example.test', "Subject: x\n\n"), qr/^250/, 'immune clients are not refused';
$t->config(relayclients => '192.0.2.2');

# ---- other answers ---------------------------------------------------------------------------------

$t->config(p0f_blocked_operating_systems => '/./');
my $whole = answer();
for my $case (
    ['in two pieces',        [substr($whole, 0, 100), 0.2, substr $whole, 100], 'Windows 7 or 8', qr/Results/],
    ['and more behind it',   [$whole . 'x' x 500],               'Windows 7 or 8', qr/Results/],
    ['with uptime',          [answer(uptime_min => 77, distance => -1)], 'Windows 7 or 8', qr/uptime=77/],
    ['without flavour',      [answer(os_flavor => '')],          'Windows', qr/Results: Windows link/],
    ['without system',       [answer(os_name => '', os_flavor => '')], undef, qr/p0f_link=Ethernet/],
    ['32 bytes, no NUL',     [answer(os_name => 'y' x 32, os_flavor => 'z' x 32)], 'y' x 32 . ' ' . 'z' x 32, qr/y z/],
    ['strange bytes',        [answer(os_name => "A\r\n\xffB")],  'A???B 7 or 8', qr/Results/],
    ['no match',             [answer(status => 0x20)],           undef, qr/has not seen/],
    ['bad query',            [answer(status => 0)],              undef, qr/no answer of p0f 3 .*status=0/],
    ['an unknown status',    [answer(status => 99)],             undef, qr/no answer of p0f 3 .*status=0x63/],
    ['a bad magic',          [answer(magic => 0x12345678)],      undef, qr/no answer of p0f 3 .*magic=0x12345678/],
    ['too short',            [substr $whole, 0, 231],            undef, qr/the answer ends early/],
    ['nothing',              [],                                 undef, qr/the answer ends early/],
    ['half, then silence',   [substr($whole, 0, 50), 30],        undef, qr/no answer in time/],
    ['silence',              [30],                               undef, qr/no answer in time/],
) {
    my ($name, $pieces, $genre, $log) = @$case;
    daemon($socket, @$pieces);
    my ($d, $took) = client();
    is notes($d)->{genre}, $genre, "$name: " . ($genre || 'no genre');
    like $d->log, $log, 'the log says it';
    cmp_ok $took, '<', 5 * ($ENV{TEST_SLOW} || 1), 'in time';
    like $d->deliver('a@client.test', 'b@example.test', "Subject: x\n\n"), $genre ? qr/^550 .*Blocked/ : qr/^250/,
        $genre ? 'known ones are blocked' : 'unknown ones are not';
    $d->quit;
    is $d->status, 0, 'and all ends well';
}
is_deeply fields(), [], 'fields that nobody of us wrote are gone';

# ---- no daemon -------------------------------------------------------------------------------------

kill KILL => @daemons;
waitpid $_, 0 for splice @daemons;
for my $case (
    [sub {},                              qr/Connection refused/, 'a dead socket'],
    [sub { unlink $socket },              qr/No such file or directory/, 'no socket'],
    [sub { $t->file('p0f', 'a file') },   qr/Connection refused/, 'a file'],
) {
    my ($prepare, $log, $name) = @$case;
    $prepare->();
    my $d = client();
    like $d->greeting, qr/^220 /, "$name harms nobody";
    like $d->log, qr/cannot ask p0f socket=\Q$socket\E error="$log"/, 'but is logged';
}

# ---- refused at start ------------------------------------------------------------------------------

for my $case (
    ['ident/p0f', '', qr/plugins:1: .*socket/, 'no socket'],
    ['ident/p0f run/p0f', '', qr/plugins:1: .*socket: run\/p0f is no absolute path/, 'a relative path'],
    ['ident/p0f /' . 'x' x 108, '', qr/plugins:1: .*at most 107/, 'a long path'],
    ['ident/p0f /p version 2', '', qr/plugins:1: .*version/, 'the old protocol'],
    ['ident/p0f /p smite_os [a', '', qr/plugins:1: .*smite_os: \[a: /, 'a wrong pattern'],
    ['ident/p0f /p add_headers x', '', qr/plugins:1: .*add_headers/, 'no truth value'],
    ['ident/p0f /p', "\nLinux\n/(/", qr/p0f_blocked_operating_systems:3: .*\(/, 'a wrong pattern in the file'],
) {
    my ($line, $blocked, $expect, $name) = @$case;
    my $t = Qpsmtpd::Test->new(plugins => [$line], config => {p0f_blocked_operating_systems => $blocked});
    my ($status, $said) = $t->check;
    isnt $status, 0, "$name refuses the start";
    like $said, $expect, 'and says where and why';
}

done_testing;
