# The warm pool: sessions that `qpsmtpd --pool` hands over to a child of `qpsmtpd-prefork --pool`.

use strict;
use warnings;

use Cwd qw(abs_path);
use File::Basename qw(dirname);
use File::Copy qw(copy);
use File::Path qw(make_path);
use IO::Socket::UNIX;
use Socket qw(SOCK_SEQPACKET);
use Test::More;
use Time::HiRes qw(time sleep);

use lib dirname(__FILE__);
use Probe;
use Qpsmtpd::Test qw(slurp wait_for free_port sanitized);
use Qpsmtpd::TLS qw(certificates starttls);

my $program = 'qpsmtpd-prefork';
my $message = "From: a\@client.test\nDate: Mon, 1 Jan 2024 00:00:00 +0000\n\nhello\n";

# fresh - a test with the usual plugins
sub fresh {
    my (%arg) = @_;

    return Qpsmtpd::Test->new(
        plugin_dirs => [Probe::dir('probe')],
        plugins     => ['tls', 'check_relay', 'rcpt_ok', 'queue/maildir Maildir', 'probe'],
        config      => {rcpthosts => 'ours.test', %arg},
    );
}

my $pools = 0;

# pool - start a pool that serves nothing else, and wait for it
sub pool {
    my ($t, @args) = @_;
    my %opt = ref $args[0] ? %{shift @args} : ();
    my $log = $t->dir . "/log.pool." . ++$pools;
    my $socket = $opt{socket} || $t->dir . '/pool';


    open my $err, '>>', $log or die "$log: $!";
    open my $null, '+<', '/dev/null' or die "/dev/null: $!";
    push @args, '-u', scalar getpwuid $> unless grep { $_ eq '-u' } @args;
    my $p = $t->spawn(command => [$t->program($program), $t->options, '-H', '--pool', $socket, @args],
        env => $t->environment(%{$opt{env} || {}}), in => $null, out => $err, err => $err);
    my $s = Qpsmtpd::Test::Server->new(process => $p, log => $log);
    wait_for(sub { $s->log =~ /Waiting for qpsmtpd --pool/ || !$s->alive }, 20, 'the pool to wait');
    die 'the pool has ended: ' . $s->log unless $s->alive;
    return $s;
}

# through - a session by way of the pool
sub through {
    my ($t, %arg) = @_;

    return $t->dialogue(%arg, args => ['--pool', delete $arg{socket} || $t->dir . '/pool', @{$arg{args} || []}]);
}

# descriptors - how many a process has open; with a number: will it have so many, as soon as it waits again?
sub descriptors {
    my ($pid, $wanted) = @_;

    return eval { wait_for(sub { descriptors($pid) == $wanted }, 5, 'descriptors') } if defined $wanted;
    return scalar(() = glob "/proc/$pid/fd/*");
}

# server_of - the process of the pool that serves the client with this address
sub server_of {
    my ($s, $ip) = @_;

    return $s->wait_log(qr/^(\d+) \S+ Connection from \S+ \[\Q$ip\E\]/m);
}

# alone - was it the qpsmtpd itself, and why?
sub alone {
    my ($d, $why, $name) = @_;

    like $d->greeting, qr/^220 /, "$name: it is served";
    like $d->log, qr/--pool \S+: $why; serving without it/, 'by the qpsmtpd itself, which says why';
    like $d->deliver('a@client.test', 'you@ours.test', $message), qr/^250 /, 'completely';
    $d->quit;
    is $d->status, 0, 'to its end';
}

# in_data - a session that has begun a message
sub in_data {
    my ($d) = @_;

    $d->say($_) for 'EHLO client.test', 'MAIL FROM:<a@client.test>', 'RCPT TO:<you@ours.test>';
    $d->say('DATA') =~ /^354/ or die 'no 354: ' . $d->reply;
    $d->raw("Subject: begun\r\n\r\nfirst\r\n");
    return $d;
}

my $t = fresh(proxy_from => '192.0.2.99', tls_ports => '465', tls_before_auth => 0);
certificates($t, 'mx.ours.test');

# ---- options ----

my $long = '/tmp/' . 'x' x 103;
for my $name ('qpsmtpd', $program) {
    my ($status, $output) = $t->run($t->program($name), '--pool', $long);
    is $status, 2, "$name: a name that fits into no address is a wrong option";
    like $output, qr{\A$name: --pool /tmp/x+\.\.\.: longer than 107 bytes; try --help\n\z}, 'and it says so';
}
{
    my ($status, $output) = $t->check('--pool', $t->dir . '/none');
    is $status, 0, 'check: no pool is needed';
    ($status, $output) = $t->run($t->program($program), $t->options, '-u', scalar getpwuid $>, '--pool',
        $t->dir . '/none', '--check');
    is $status, 0, 'check: nor for the pool';
    ok !-e $t->dir . '/none', 'and none is made';
}

# ---- the same dialogue in both forms ----

my $s = pool($t, qw(--children 1 --child-lifetime 0));
ok !$s->listens, 'a pool alone has no TCP socket';
is +(stat $t->dir . '/pool')[2] & 07777, 0600, 'its socket is private';

my $v1 = "PROXY TCP4 192.0.2.7 192.0.2.25 4711 25\r\n";
my %cases = (
    'an ordinary client'   => {env => {TCPREMOTEIP => '192.0.2.1', TCPREMOTEHOST => 'one.test'}},
    'no name'              => {env => {TCPREMOTEIP => '192.0.2.1', TCPREMOTEHOST => undef}},
    'what ident says'      => {env => {TCPREMOTEINFO => "joe<\t>", TCPREMOTEHOST => 'one.test'}},
    'no such variables'    => {env => {map { ($_ => undef) } qw(PROTO TCPREMOTEIP TCPREMOTEPORT TCPREMOTEHOST
        TCPLOCALIP TCPLOCALPORT TCPLOCALHOST)}},
    'empty variables'      => {env => {TCPREMOTEIP => '', TCPREMOTEHOST => '', TCPLOCALPORT => 'x'}},
    'two pipes'            => {pipe => 1},
    'who may relay'        => {env => {RELAYCLIENT => '@gate.test'}},
    'a limit of its own'   => {env => {DATABYTES => 10}},
    'by way of a proxy'    => {env => {TCPREMOTEIP => '192.0.2.99', TCPREMOTEHOST => 'p.test'}, first => $v1},
    'what a plugin wants'  => {env => {PROBE => 'helo=DENY:go away;ehlo=DENYSOFT:later'}},
    'a plugin says no'     => {env => {PROBE => 'connect=DENY:not today'}},
);
my @asked = ('NOOP remote', 'HELO client.test', 'EHLO client.test', 'NOOP env TCPREMOTEHOST', 'NOOP env RELAYCLIENT',
    'NOOP env DATABYTES', 'NOOP env HOME', 'NOOP env PATH', 'MAIL FROM:<a@client.test>', 'RCPT TO:<x@far.test>',
    'RCPT TO:<you@ours.test>', 'DATA', "Subject: x\r\n\r\nmore than ten bytes\r\n.", 'RSET', 'NOOP note c proxy', 'QUIT', 'NOOP');

# transcript - all that is answered, and the exit status
sub transcript {
    my ($d, $first) = @_;

    $d->raw($first) if defined $first;
    $d->read_greeting;
    my @lines = ($d->greeting, map { my $reply = $d->say($_); $reply =~ s/qp \d+ \S+//; $reply } @asked);
    return join "\n", @lines, 'status ' . $d->status, '';
}

for my $name (sort keys %cases) {
    my %how = %{$cases{$name}};
    my $first = delete $how{first};
    my $own = $t->dialogue(%how, greeting => 0);
    my $expected = transcript($own, $first);
    my $d = through($t, %how, greeting => 0, args => ['-P', '/nowhere']);
    is transcript($d, $first), $expected, "$name: the pool answers as qpsmtpd alone does";
    is $d->log, '', 'which has logged nothing, and has not even looked for its plugins';
}
{
    my %how = (env => {TCPREMOTEIP => '192.0.2.99'}, greeting => 0);
    for my $d ($t->dialogue(%how), through($t, %how)) {
        $d->raw("EHLO client.test\r\n");
        is $d->read_greeting, '', 'a proxy that does not say who its client is: no answer';
        is $d->status, 1, 'status 1';
    }
    %how = (env => {TCPLOCALPORT => 465}, greeting => 0);
    for my $d ($t->dialogue(%how), through($t, %how)) {
        ok Qpsmtpd::TLS::handshake($d), 'tls_ports: it begins with a handshake' or diag $d->{tls_error};
        like $d->read_greeting, qr/^220 /, 'and is greeted';
        $d->quit;
        is $d->status, 0, 'status 0';
    }
}

# ---- how it ends ----

for my $how ('qpsmtpd', 'the pool') {
    my $begin = $how eq 'qpsmtpd' ? sub { $t->dialogue(@_) } : sub { through($t, @_) };
    my $d = $begin->();
    $d->hangup;
    is $d->status, 0, "$how: a client that hangs up: status 0";
    $d = $begin->();
    $d->raw('EHLO');
    Probe::sync($d);
    $d->raw("\r\n") and wait_for(sub { my $r = ''; vec($r, fileno $d->{in}, 1) = 1; select $r, undef, undef, 0 }, 5, 'a reply');
    $d->hangup; # with a reply that is unread: a reset
    is $d->status, 1, "$how: a connection that breaks: status 1";
    $d = $begin->();
    kill TERM => $d->pid;
    is $d->read_reply, '421 closing connection: the server is going down', "$how: SIGTERM: 421";
    ok $d->eof, 'and the end';
    is $d->status, 0, 'status 0';
    $d = in_data($begin->());
    my $before = () = $t->maildir_messages;
    kill TERM => $d->pid;
    $d->raw("second\r\n.\r\n");
    like $d->read_reply, qr/^250 /, "$how: SIGTERM in a message: it is finished";
    like $d->read_reply, qr/^421 /, 'then 421';
    is $d->status, 0, 'status 0';
    is scalar(() = $t->maildir_messages), $before + 1, 'and the message is there';
}

# ---- nothing of one session reaches the next ----

{
    my $d = through($t, env => {TCPREMOTEIP => '192.0.2.10', RELAYCLIENT => '', DATABYTES => 5, SECRET => 'x'});
    my $pid = server_of($s, '192.0.2.10');
    my $open = descriptors($pid) - 3; # the client twice, and qpsmtpd
    is $d->say('NOOP env SECRET'), '250 x', 'a session has its variables';
    $d->say('EHLO client.test');
    $d->say('MAIL FROM:<a@client.test>');
    like $d->say('RCPT TO:<x@far.test>'), qr/^250 /, 'and may relay';
    $d->quit;
    $d->status;
    for my $i (1 .. 20) {
        $d = through($t, env => {TCPREMOTEIP => "192.0.2.1$i"});
        is $d->say("NOOP env $_"), '250 (none)', "the next one ($i) has no $_" for qw(SECRET RELAYCLIENT DATABYTES);
        $d->say('EHLO client.test');
        $d->say('MAIL FROM:<a@client.test>');
        like $d->say('RCPT TO:<x@far.test>'), qr/^550 /, 'and may not relay';
        $i % 2 ? $d->quit : $d->hangup;
        $d->status;
        is server_of($s, "192.0.2.1$i"), $pid, 'in the same process';
    }
    ok descriptors($pid, $open), 'in which no descriptor stays open';
    IO::Socket::UNIX->new(Peer => $t->dir . '/pool', Type => SOCK_SEQPACKET)->close for 1 .. 5;
    $d = IO::Socket::UNIX->new(Peer => $t->dir . '/pool', Type => SOCK_SEQPACKET);
    $d->send('qpsmtpd 1');
    $s->wait_log(qr/what was handed over is no session/);
    ok descriptors($pid, $open), 'nor one of visitors with nothing in their hands';
    $d = through($t, env => {TCPREMOTEIP => '192.0.2.200'});
    is server_of($s, '192.0.2.200'), $pid, 'whom it has survived';
    $d->quit;
}

# ---- encryption ----

{
    my $d = through($t);
    $d->say('EHLO client.test');
    ok starttls($d), 'STARTTLS' or diag $d->{tls_error};
    my $before = () = $t->maildir_messages;
    like $d->deliver('a@client.test', 'you@ours.test', $message), qr/^250 /, 'a message';
    $d->quit;
    ok $d->eof, 'close_notify';
    is $d->status, 0, 'status 0';
    is scalar(() = grep { / with ESMTPS \(TLS/ } $t->maildir_messages), 1, 'Received tells of it';
}

# ---- who dies ----

{
    my $d = in_data(through($t, env => {TCPREMOTEIP => '192.0.2.20'}));
    my $pid = server_of($s, '192.0.2.20');
    my $before = () = $t->maildir_messages;
    kill KILL => $d->pid;
    ok $d->eof, 'qpsmtpd is killed: the connection ends';
    is $d->status, 128 + 9, 'as it would without a pool';
    $d = through($t, env => {TCPREMOTEIP => '192.0.2.21'});
    is server_of($s, '192.0.2.21'), $pid, 'the process of the pool serves the next one';
    is scalar(() = $t->maildir_messages), $before, 'half a message is none';

    kill KILL => $pid;
    ok $d->eof, 'the process of the pool is killed: the connection ends';
    is $d->status, 1, 'status 1';
    $d = through($t, env => {TCPREMOTEIP => '192.0.2.22'});
    $pid = server_of($s, '192.0.2.22');
    kill SEGV => $pid;
    is $d->read_reply, '421 internal error, closing connection', 'it crashes: 421';
    is $d->status, 1, 'status 1';

    $d = through($t, pipe => 1, env => {TCPREMOTEIP => '192.0.2.23'});
    server_of($s, '192.0.2.23');
    kill KILL => $d->pid;
    ok $d->eof, 'qpsmtpd is killed: two pipes end as well';
}

# ---- when nobody takes it ----

{
    alone(through($t, socket => $t->dir . '/none'), 'asking the pool: No such file or directory', 'no socket');
    alone(through($t, socket => $t->file('plain', '')), 'asking the pool: Connection refused', 'no socket but a file');
    alone(through($t, env => {map { ("LARGE$_" => 'x' x 10000) } 1 .. 7}), 'more than 65536 bytes of variables',
        'too many variables');

    my $d = through($t, env => {TCPREMOTEIP => '192.0.2.30'});
    my $began = time;
    my $second = through($t);
    cmp_ok time - $began, '>=', 1, 'all processes are busy: one second is waited';
    alone($second, 'no process of the pool is free', 'all are busy');
    like $d->quit, qr/^221 /, 'which disturbs nobody';
    $d = through($t, env => {TCPREMOTEIP => '192.0.2.31'});
    server_of($s, '192.0.2.31');
    is $d->log, '', 'and the one that has gone is not awaited';
    $d->quit;
}

# ---- a new configuration, and the end ----

{
    my $d = through($t);
    $t->config(smtpgreeting => 'second ESMTP');
    $s->hup;
    $s->wait_log(qr/configuration and \d+ plugins loaded anew/);
    like $d->deliver('a@client.test', 'you@ours.test', $message), qr/^250 /, 'SIGHUP: a session goes on';
    $d->quit;
    is $d->status, 0, 'to its end';
    $d = through($t);
    is $d->greeting, '220 second ESMTP', 'and the next one has the new configuration';
    is $d->log, '', 'from the pool';

    $s->signal('TERM');
    like $d->read_reply, qr/^421 /, 'SIGTERM: who is served gets 421';
    is $d->status, 0, 'status 0';
    is $s->stop, 0, 'the pool ends';
    ok !-e $t->dir . '/pool', 'with its socket';
    alone(through($t), 'asking the pool: No such file or directory', 'afterwards');
}

# ---- another daemon, a stale socket ----

{
    my $s = pool($t);
    my @command = ($t->program($program), $t->options, '-u', scalar getpwuid $>, '--pool');
    my ($status, $output) = $t->run(@command, $t->dir . '/pool');
    is $status, 1, 'a second daemon does not start';
    like $output, qr/^qpsmtpd-prefork: --pool \S+: another daemon serves there$/m, 'and says why';
    ($status, $output) = $t->run(@command, $t->dir . '/plain');
    is $status, 1, 'nor one with a name that is taken';
    like $output, qr/^qpsmtpd-prefork: --pool \S+: there is something that is no socket$/m, 'and says why';
    ok -f $t->dir . '/plain', 'which stays';

    my $d = through($t, env => {TCPREMOTEIP => '192.0.2.40'});
    $s->signal('KILL');
    like $d->read_reply, qr/^421 /, 'the listener is killed: who is served gets 421';
    is $d->status, 0, 'status 0';
    wait_for(sub { !$s->{process}->group }, 10, 'its processes to end');
    ok -S $t->dir . '/pool', 'its socket is left behind';
    alone(through($t), 'asking the pool: Connection refused', 'a stale socket');
    $s = pool($t);
    $d = through($t, env => {TCPREMOTEIP => '192.0.2.41'});
    server_of($s, '192.0.2.41');
    is $d->log, '', 'the next daemon takes the name';
    $d->quit;
    $s->stop;
}

# ---- TCP beside it ----

{
    my $s = $t->prefork('-H', '--pool', $t->dir . '/pool', '--max-from-ip', 1, '--children', 6);
    my @held = map { through($t) } 1 .. 3;
    like $_->say('NOOP'), qr/^250 /, '--max-from-ip does not count sessions of the pool' for @held;
    is join('', map { $_->log } @held), '', 'which they are';
    my $d = $s->connect;
    like $d->greeting, qr/^220 /, 'nor do they count for others';
    like $s->connect->greeting, qr/^421 /, 'who have their limit';
    $_->quit for @held, $d;
    is $s->stop, 0, 'it ends';
}

# ---- the variables of programs ----

{
    my $t = Qpsmtpd::Test->new(plugins => ['check_relay', 'rcpt_ok', 'queue/qmail-queue'], config => {rcpthosts => 'ours.test'});
    my $queue = $t->file('queue', "#!/bin/sh\nenv >" . $t->dir . "/env.\$WHICH\ncat >/dev/null; cat <&1 >/dev/null\n");
    chmod 0755, $queue;
    my $s = pool($t, {env => {POOL_ONLY => 'x', QMAILQUEUE => '/bin/false'}}, '-c', 1);
    my %env = (QMAILQUEUE => $queue, TCPREMOTEHOST => 'one.test');
    for my $how ('own', 'pool') {
        my %arg = (env => {%env, WHICH => $how, $how eq 'pool' ? (MINE => 'yes') : ()});
        my $d = $how eq 'own' ? $t->dialogue(%arg) : through($t, %arg);
        like $d->deliver('a@client.test', 'you@ours.test', $message), qr/^250 /, "$how: a program queues it";
        $d->quit;
        is $d->status, 0, 'status 0';
    }
    my ($own, $pool) = map { join '', sort grep { !/^(?:WHICH|_|PWD|OLDPWD|SHLVL)=/ } split /^/, slurp($t->dir . "/env.$_") } 'own', 'pool';
    like $pool, qr/^MINE=yes$/m, 'the program has the variables of the session';
    $pool =~ s/^MINE=yes\n//m;
    is $pool, $own, 'and no others';
    $s->stop;
}

# ---- a crowd under tcpserver ----

{
    my $clients = 100;
    my $t = fresh();
    my $s = pool($t, '-c', $clients, '--idle-children', 0);
    my $tcp = $t->tcpserver(tcpserver => ['-c', $clients], args => ['--pool', $t->dir . '/pool']);
    my (@d, $good);
    # Not all in one moment: how long a slow machine takes to start that many is not the question here.
    for (1 .. $clients / 10) {
        my @ten = map { $tcp->connect(greeting => 0) } 1 .. 10;
        $good += grep { $_->read_greeting =~ /^220 / } @ten;
        push @d, @ten;
    }
    is $good, $clients, "$clients are greeted";
    $good = grep { $_->deliver('a@client.test', 'you@ours.test', $message) =~ /^250 / } @d;
    is $good, $clients, 'their messages are taken';
    $good = grep { $_->quit =~ /^221 / && $_->eof } @d;
    is $good, $clients, 'and they leave';
    is scalar(() = $t->maildir_messages), $clients, 'every message is there';
    unlike $tcp->log, qr/serving without/, 'the pool has served them all';
    is $tcp->stop, 0, 'tcpserver ends';
    is $s->stop, 0, 'so does the pool';
}

# ---- users ----

SKIP: {
    skip 'only root can be somebody else', 1 if $> != 0;
    my $t = Qpsmtpd::Test->new(plugins => ['rcpt_ok', 'queue/maildir Maildir'], config => {rcpthosts => 'ours.test'});
    my $home = $t->dir;
    my ($uid, $gid) = (getpwnam 'nobody')[2, 3];
    make_path("$home/$_") for qw(plugins/queue run Maildir/cur Maildir/new Maildir/tmp);
    for my $file (qw(qpsmtpd qpsmtpd-prefork plugins/rcpt_ok.so plugins/queue/maildir.so)) {
        copy($t->program('qpsmtpd') =~ s{qpsmtpd\z}{$file}r, "$home/$file") or die "$file: $!";
        chmod 0755, "$home/$file";
    }
    system('chown', '-R', 'nobody', map { "$home/$_" } qw(spool Maildir run)) == 0 or die 'chown';
    chmod 0755, $home, glob("$home/config"), "$home/plugins", "$home/plugins/queue";
    chmod 0644, glob "$home/config/*";

    # as - one session by a qpsmtpd of that user
    my $as = sub {
        my ($user, $socket) = @_;
        my ($status, $output) = $t->run({stdin => "QUIT\r\n"}, $user eq 'root' ? () : ('setuidgid', $user),
            "$home/qpsmtpd", '-C', "$home/config", '-P', "$home/plugins", '--pool', $socket);
        like $output, qr/^220 /m, "$user: it is served";
        is $status, 0, 'status 0';
        return $output;
    };
    my $s = pool($t, {socket => "$home/run/pool"}, '-u', 'nobody', '-P', "$home/plugins");
    is +(stat "$home/run/pool")[4], $uid, 'the socket belongs to the user of the pool';
    unlike $as->('nobody', "$home/run/pool"), qr/serving without/, 'the same user hands over';
    unlike $as->('root', "$home/run/pool"), qr/serving without/, 'root does, to whom the directory belongs';
    like $as->('daemon', "$home/run/pool"), qr/Permission denied; serving without/, 'another user cannot connect';
    chmod 0666, "$home/run/pool";
    like $as->('daemon', "$home/run/pool"), qr/the pool belongs to user $uid; serving without/, 'and would not give';
    chown 0, 0, "$home/run";
    like $as->('root', "$home/run/pool"), qr/the pool belongs to user $uid; serving without/,
        'nor does root, to a user who has been given no place';
    $s->stop;

    $s = pool($t, '-u', 'root');
    chmod 0666, "$home/pool";
    like $as->('nobody', "$home/pool"), qr/the pool has hung up; serving without/, 'a pool takes nothing from another user';
    $s->wait_log(qr/pool: user $uid may hand over nothing/);
    $s->stop;
}

done_testing;
