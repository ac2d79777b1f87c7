# qpsmtpd-prefork: its options, the limits, the life of its children, signals, users and tcprules.

use strict;
use warnings;

use File::Basename qw(dirname);
use File::Copy qw(copy);
use File::Path qw(make_path);
use Socket qw(AF_INET6 SOCK_STREAM);
use IO::Socket::IP;
use Test::More;
use Time::HiRes qw(time);

use lib dirname(__FILE__);
use Probe;
use Qpsmtpd::Test qw(slurp wait_for free_port);

my $t = Qpsmtpd::Test->new(
    plugins => ['check_relay', 'rcpt_ok', 'queue/maildir Maildir'],
    config  => {rcpthosts => 'ours.test'},
);
my $program = $t->program('qpsmtpd-prefork');
my $message = "From: a\@client.test\nDate: Mon, 1 Jan 2024 00:00:00 +0000\n\nhello\n";

# start - no names are asked for, or a test would depend on somebody's DNS
sub start {
    return $t->prefork('-H', @_);
}

# refused - does nobody listen there any more?
sub refused {
    my ($port) = @_;

    return !IO::Socket::IP->new(PeerHost => '127.0.0.1', PeerPort => $port, Type => SOCK_STREAM);
}

# send_one - a message over a new connection; the last reply
sub send_one {
    my ($s, %arg) = @_;
    my $d = $s->connect(%arg);
    my $reply = $d->deliver('a@client.test', $arg{to} || 'you@ours.test', $arg{message} || $message);

    $d->quit;
    return $reply;
}

# in_data - a session that has begun a message
sub in_data {
    my ($s, %arg) = @_;
    my $d = $s->connect(%arg);

    $d->say($_) for 'EHLO client.test', 'MAIL FROM:<a@client.test>', 'RCPT TO:<you@ours.test>';
    $d->say('DATA') =~ /^354/ or die 'no 354: ' . $d->reply;
    $d->raw("Subject: begun\r\n\r\nfirst\r\n");
    return $d;
}

# ---- options ----

for my $case (
    [['--nonsense'],                  qr/unknown or ambiguous option --nonsense/],
    [['-z'],                          qr/unknown option -z/],
    [['word'],                        qr/word: not an option/],
    [['--check=yes'],                 qr/it takes no value/],
    [['-l'],                          qr/value is missing/],
    [['-l', 'a b'],                   qr/--listen-address a b: not ADDR/],
    [['-l', ''],                      qr/--listen-address : not ADDR/],
    [['-l', '127.0.0.1:'],            qr/not ADDR, ADDR:PORT/],
    [['-l', '127.0.0.1:65536'],       qr/the port is not a number from 0 to 65535/],
    [['-l', '[::1'],                  qr/not ADDR, ADDR:PORT or \[ADDR\]:PORT/],
    [['-l', '[::1]25'],               qr/not ADDR, ADDR:PORT or \[ADDR\]:PORT/],
    [['-p', 'smtp'],                  qr/--port smtp: not a number from 0 to 65535/],
    [['-p', '65536'],                 qr/--port 65536: not a number/],
    [['-p', '-1'],                    qr/--port -1: not a number/],
    [['-c', '0'],                     qr/--children 0: not a number from 1/],
    [['--limit-connections', '1x'],   qr/1x: not a number/],
    [['-m', '-1'],                    qr/--max-from-ip -1: not a number/],
    [['--idle-children', '-1'],       qr/--idle-children -1: not a number/],
    [['--child-lifetime', ''],        qr/--child-lifetime : not a number/],
    [['--max-requests', '99999999999999999999'], qr/not a number/],
    [['--renice-parent', '40'],       qr/--renice-parent 40: not a number from 0 to 39/],
    [['--pid-file', 'qpsmtpd.pid'],   qr/--pid-file qpsmtpd\.pid: not an absolute path/],
    [['--pid-file', ''],              qr/--pid-file: its value is empty/],
    [['-u', ''],                      qr/--user: its value is empty/],
    [['--debug', '--quiet'],          qr/only one of them/],
    [[map { ('-l', '127.0.0.1') } 1 .. 65], qr/more than 64/],
    [[map { ('-p', 25) } 1 .. 65],    qr/more than 64/],
) {
    my ($args, $text) = @$case;
    my $name = @$args > 4 ? "65 times $args->[0]" : "@$args";
    my ($status, $output) = $t->run($program, @$args);
    is $status, 2, "$name: status 2";
    like $output, qr/\Aqpsmtpd-prefork: [^\n]*$text[^\n]*\n\z/, "$name: one line";
}
for my $case (['--help', qr/\Ausage: qpsmtpd-prefork .*--tcprules/s], ['-h', qr/\Ausage: /],
    ['--version', qr/\Aqpsmtpd-prefork \d+\.\d+\.\d+\n\z/]) {
    my ($status, $output) = $t->run($program, $case->[0]);
    is $status, 0, "$case->[0]: status 0";
    like $output, $case->[1], "$case->[0]: what it says";
}

# failing - what it says when it cannot start
sub failing {
    my ($name, $text, @args) = @_;
    my @user = grep({ /^-u/ } @args) ? () : ('-u', scalar getpwuid $<);
    my ($status, $output) = $t->run($program, $t->options, @user, @args);

    is $status, 1, "$name: status 1";
    my @ours = grep { /^qpsmtpd-prefork: / } split /\n/, $output;
    like "@ours", $text, "$name: it says so";
    is scalar @ours, 1, "$name: in one line" or diag $output;
}

# ---- --check ----

{
    my @user = ('-u', scalar getpwuid $<);
    my ($status, $output) = $t->run($program, $t->options, @user, '--check');
    is $status, 0, 'check: a good configuration';
    like $output, qr/^configuration ok: 3 plugins$/m, 'and it says so';
    $t->config('plugins', ['check_relay', 'no_such_plugin']);
    failing('check: a missing plugin', qr{config/plugins:2: plugin no_such_plugin not found}, '--check');
    $t->config('plugins', ['check_relay', 'rcpt_ok', 'queue/maildir Maildir']);
    $t->config('max_hops', 'many');
    failing('check: a bad number', qr{config/max_hops:1: "many" is no number}, '--check');
    unlink $t->dir . '/config/max_hops';
    my $busy = IO::Socket::IP->new(LocalHost => '127.0.0.1', LocalPort => 0, Listen => 1);
    ($status) = $t->run($program, $t->options, @user, '--check', '-l', '127.0.0.1', '-p', $busy->sockport);
    is $status, 0, 'check: it does not listen';
    failing('a port that is taken', qr/already in use/, '-l', '127.0.0.1', '-p', $busy->sockport);
    failing('no such user', qr/--user nobody-of-that-name: there is no such user/, '-u', 'nobody-of-that-name');
    failing('no such directory', qr/--config-dir .*No such file/, '-C', $t->dir . '/nowhere');
}

# ---- where it listens ----

{
    my ($one, $two) = (free_port(), free_port());
    my @v6 = IO::Socket::IP->new(LocalHost => '::1', LocalPort => 0, Listen => 1, Type => SOCK_STREAM)
        ? ('-l', '::1', '-l', "[::1]:$two") : ();
    my $s = start('-l', '127.0.0.1', '-l', "127.0.0.2:$one", '-p', 0, @v6);
    my %listening;
    $s->wait_log(qr/Running as user/);
    my $log = $s->log;
    push @{$listening{$1}}, $2 while $log =~ /Listening on (\S+):(\d+)/g;

    is scalar @{$listening{'127.0.0.1'}}, 2, 'an address without a port: every -p';
    my ($chosen) = grep { $_ != $s->port } @{$listening{'127.0.0.1'}};
    cmp_ok $chosen, '>', 0, '-p 0: the log tells which port it is';
    like $s->connect->greeting, qr/^220 /, 'it serves the given port';
    like $s->connect(port => $chosen)->greeting, qr/^220 /, 'and the chosen one';
    like $s->connect(host => '127.0.0.2', port => $one)->greeting, qr/^220 /, 'and another address';
    ok !IO::Socket::IP->new(PeerHost => '127.0.0.2', PeerPort => $s->port), 'but not every port there';
  SKIP: {
        skip 'no ::1 on this host', 3 unless @v6;
        is scalar @{$listening{'[::1]'}}, 3, 'IPv6 as well';
        my $d = $s->connect(host => '::1', port => $two);
        like $d->greeting, qr/^220 /, 'which is served';
        $d->deliver('a@client.test', 'you@ours.test', $message);
        $d->quit;
        like join('', $t->maildir_messages), qr/\(HELO client\.example\.test\) \(::1\)/, 'with the address of the client';
    }
    is $s->stop, 0, 'TERM: status 0';
}

# ---- how many ----

{
    my $s = start('-m', 2, '-c', 10);
    my @d = map { $s->connect(from => '127.0.0.2') } 1 .. 2;
    like $_->greeting, qr/^220 /, 'a client within --max-from-ip' for @d;
    my $more = $s->connect(from => '127.0.0.2');
    is $more->greeting, '421 Sorry, too many connections from 127.0.0.2, try again later', 'one more is refused';
    ok $more->eof, 'and disconnected';
    $s->wait_log(qr/Too many connections from 127\.0\.0\.2: 3 > 2\.  Denying connection\./);
    like $s->connect(from => '127.0.0.3')->greeting, qr/^220 /, 'another address has its own count';
    $d[0]->quit;
    ok wait_for(sub { $s->connect(from => '127.0.0.2')->greeting =~ /^220 / }, 10, 'a place'),
        'who leaves makes room';
    $s->stop;
}
{
    my $s = start('-m', 0, '-c', 2, '--idle-children', 1);
    my @d = map { $s->connect } 1 .. 2;
    is scalar(my @all = $s->children), 2, '--children is the limit';
    my $third = $s->connect(greeting => 0);
    ok !$third->fill(0.3), 'one client more waits';
    $d[1]->quit;
    like $third->read_greeting, qr/^220 /, 'until another one leaves';
    $d[0]->hangup;
    $third->hangup;
    $s->stop;
}
{
    my $s = start('-c', 12, '--idle-children', 3, '-m', 0);
    my $count = sub { my @c = $s->children; scalar @c };
    ok wait_for(sub { $count->() == 3 }, 10, '3 children'), 'so many children wait as --idle-children says';
    my @d = map { $s->connect } 1 .. 4;
    ok wait_for(sub { $count->() == 7 }, 10, '7 children'), 'and 3 more than are busy';
    push @d, map { $s->connect } 1 .. 6;
    ok wait_for(sub { $count->() == 12 }, 10, '12 children'), 'but never more than --children';
    $_->quit for @d;
    is $s->stop, 0, 'they all leave';
}
{
    my $s = start('-c', 1, '--child-lifetime', 2);
    my ($first) = wait_for(sub { [$s->children]->[0] }, 10, 'a child');
    $s->connect->quit;
    is_deeply [$s->children], [$first], 'a child goes on';
    $s->connect->quit;
    my $second = wait_for(sub { my ($c) = $s->children; $c && $c != $first && $c }, 10, 'a new child');
    ok $second, 'until --child-lifetime';
    $s->connect->quit for 1 .. 3;
    unlike $s->log, qr/child $_ (?:ended|killed)/, 'which is no incident' for $first, $second;
    $s->stop;
}

# ---- the pid file ----

{
    my $file = $t->dir . '/qpsmtpd.pid';
    my $s = start('--pid-file', $file);
    ok wait_for(sub { (slurp($file) || '') eq $s->pid . "\n" }, 10, 'the pid file'), 'the pid file has the listener';
    is +(stat $file)[2] & 07777, 0644, 'everybody may read it';
    failing('a second daemon', qr/Found an already running qpsmtpd with pid @{[$s->pid]}\./,
        '-l', '127.0.0.1', '-p', 0, '--pid-file', $file);
    is slurp($file), $s->pid . "\n", 'the second one has not touched it';
    like send_one($s), qr/^250 /, 'nor disturbed the first';
    $s->stop;
    ok !-e $file, 'it goes with the daemon';

    $t->file('qpsmtpd.pid', "1\n" . 'x' x 100);
    $s = start('--pid-file', $file);
    ok wait_for(sub { (slurp($file) || '') eq $s->pid . "\n" }, 10, 'the pid file'), 'a stale one is taken over';
    $s->stop;

    $t->file('elsewhere', 'precious');
    symlink 'elsewhere', $file or die "symlink: $!";
    failing('a symbolic link', qr/pid file \Q$file\E/, '-l', '127.0.0.1', '-p', 0, '--pid-file', $file);
    is slurp($t->dir . '/elsewhere'), 'precious', 'is not followed';
    unlink $file;
}

# ---- --detach ----

{
    my $file = $t->dir . '/detached.pid';
    my $port = free_port();
    my @command = ($program, $t->options, '-H', '-l', '127.0.0.1', '-p', $port, '-u', scalar getpwuid $<);
    my ($status, $output) = $t->run(@command, '--detach', '--pid-file', $file);
    is $status, 0, 'detach: the first process ends' or diag $output;
    my ($pid) = (slurp($file) || '') =~ /^(\d+)\n\z/;
    ok $pid, 'and has written the pid file before';
    my $s = bless {port => $port, log => '/dev/null'}, 'Qpsmtpd::Test::Server';
    like $s->connect->greeting, qr/^220 /, 'the daemon serves at once';
    my ($parent, $session) = (slurp("/proc/$pid/stat") || '') =~ /.*\) \S (\d+) \d+ (\d+) /s;
    is $session, $pid, 'in a session of its own';
    isnt $parent, $$, 'and is nobody\'s child';
    is readlink "/proc/$pid/fd/$_", '/dev/null', "descriptor $_ is /dev/null" for 0, 1;
    ($status, $output) = $t->run(@command, '--detach', '--pid-file', $t->dir . '/other.pid');
    is $status, 1, 'detach: a start that fails is told';
    like $output, qr/already in use/, 'with the reason';
    kill TERM => $pid;
    ok wait_for(sub { !-e $file && !kill 0 => $pid }, 10, 'its end'), 'TERM ends it, and the pid file is gone';
    kill KILL => $pid if kill 0 => $pid;
}

# ---- TERM ----

{
    my $before = () = $t->maildir_messages;
    my $s = start('-c', 5, '-m', 0);
    my $busy = in_data($s);
    my $idle = $s->connect;
    $s->signal('TERM');
    is $idle->read_reply, '421 closing connection: the server is going down', 'TERM: who is between commands gets a 421';
    ok $idle->eof, 'and the end';
    ok wait_for(sub { refused($s->port) }, 10, 'nobody to listen'), 'new connections are refused';
    $busy->raw("second\r\n.\r\n");
    like $busy->read_reply, qr/^250 /, 'a message that has begun is finished';
    is $busy->read_reply, '421 closing connection: the server is going down', 'and nothing after it';
    is $s->stop, 0, 'status 0';
    is scalar(my @m = $t->maildir_messages) - $before, 1, 'the message has arrived';
}
{
    my $before = () = $t->maildir_messages;
    my $s = start();
    my $busy = in_data($s);
    $s->signal('TERM');
    $s->wait_log(qr/SIGTERM: no new clients/);
    my $begin = time;
    is $s->stop, 0, 'a second TERM ends it';
    cmp_ok time - $begin, '<', 10, 'without waiting for the client';
    is $busy->read_reply, '', 'who gets no 250';
    is scalar(my @m = $t->maildir_messages), $before, 'and nothing is delivered';
}
{
    my $before = () = $t->maildir_messages;
    my $s = start();
    my $busy = in_data($s);
    $s->signal('INT');
    is $s->{process}->wait(10), 0, 'INT: status 0';
    is scalar $s->{process}->group, 0, 'and no process is left';
    is scalar(my @m = $t->maildir_messages), $before, 'nothing is delivered';
    my @spool = glob $t->dir . '/spool/*';
    is scalar @spool, 0, 'nor left in the spool';
}
{
    my $s = start();
    my $busy = in_data($s);
    my @children = $s->children;
    $s->signal('KILL');
    $s->{process}->wait(10);
    $busy->raw("end\r\n.\r\n");
    like $busy->read_reply, qr/^250 /, 'the listener is killed: a message that has begun is finished';
    ok wait_for(sub { !$s->{process}->group }, 10, 'the children to end'), 'and all children go';
}

# ---- HUP ----

# worker - a client in a process of its own, until the file is there; reports "SENT FAILED first failure"
sub worker {
    my ($s, $name, $end) = @_;

    pipe my $out_r, my $out_w or die "pipe: $!";
    my $pid = fork;
    die "fork: $!" unless defined $pid;
    if ($pid) {
        close $out_w;
        return {pid => $pid, out => $out_r};
    }
    my ($sent, $failed, $why) = (0, 0, '');
    until (-e $end) {
        my $reply = eval { send_one($s, message => "From: $name\nSubject: $name.$sent\n\nhello\n") } // "died: $@";
        if ($reply =~ /^250 /) {
            $sent++;
        } else {
            $failed++;
            $why ||= $reply;
        }
    }
    syswrite $out_w, "$sent $failed $why";
    POSIX::_exit(0);
}

{
    my $before = () = $t->maildir_messages;
    my $s = start('-c', 8, '-m', 0, '--child-lifetime', 50);
    my $end = $t->dir . '/enough';
    my @workers = map { worker($s, "worker$_", $end) } 1 .. 3;
    for my $n (1 .. 6) {
        $t->config(me => "mx$n.example.test");
        $s->hup;
        wait_for(sub { my @done = $s->log =~ /plugins loaded anew/g; @done >= $n }, 20, "reload $n");
        # Some sessions of this generation before the next one.
        my $was = () = glob $t->dir . '/Maildir/new/*';
        wait_for(sub { my $now = () = glob $t->dir . '/Maildir/new/*'; $now >= $was + 5 }, 20, 'messages');
    }
    ok wait_for(sub { $s->connect->greeting =~ /^220 mx6\.example\.test / }, 5, 'me'),
        'HUP: the new configuration is in effect';
    my ($sent, $failed, $why) = (0, 0, '');
    $t->file('enough', '');
    for my $w (@workers) {
        my ($ok, $bad, $text) = split / /, do { local $/; readline $w->{out} }, 3;
        waitpid $w->{pid}, 0;
        $sent += $ok;
        $failed += $bad;
        $why ||= $text;
    }
    cmp_ok $sent, '>=', 30, "under load ($sent messages)";
    is $failed, 0, 'without one connection dropped, refused or failed' or diag $why;
    is scalar(my @m = $t->maildir_messages) - $before, $sent, 'every message has arrived';
    is scalar(() = $s->log =~ /child \d+ (?:killed|ended)/g), 0, 'and no child has died of it';
    $t->config(me => 'mx.example.test');
    is $s->stop, 0, 'TERM: status 0';
}
{
    my $so = $t->dir . '/plugins/answer.so';
    my $answer = sub {
        my ($text) = @_;
        my $source = $t->file('plugins/answer.c', <<"END");
#include <qpsmtpd/plugin.h>

static enum qp_rc
on_vrfy(struct qp *q, const char *args)
{
    (void)args;
    return qp_ok(q, "$text");
}

QP_PLUGIN(.name = "answer", .vrfy = on_vrfy);
END
        Probe::build($source, "$so.new");
        rename "$so.new", $so or die "rename: $!";
    };
    $answer->('the first');
    local $t->{plugin_dirs} = [$t->dir . '/plugins'];
    $t->config('plugins', ['answer', 'rcpt_ok', 'queue/maildir Maildir']);
    my $s = start('-c', 6, '-m', 0);
    my $reloads = 0;
    my $reload = sub {
        $s->hup;
        $reloads++;
        wait_for(sub { my @done = $s->log =~ /plugins loaded anew/g; @done >= $reloads }, 20, 'a reload');
    };
    my $vrfy = sub { my $d = $s->connect; my $reply = $d->say('VRFY x'); $d->quit; return $reply };
    # soon - a child that waits may be faster with a client than with the signal: then it is the old one
    my $soon = sub {
        my ($text) = @_;
        return eval { wait_for(sub { $vrfy->() =~ /^\Q$text\E/ }, 2, $text) };
    };
    is $vrfy->(), '250 the first', 'a plugin answers';
    my $old = $s->connect;
    $t->config('plugins', ['rcpt_ok', 'queue/maildir Maildir']);
    $reload->();
    ok $soon->('252 '), 'HUP: a plugin that was taken out is gone';
    is $old->say('VRFY x'), '250 the first', 'but not from a session that has begun';
    $t->config('plugins', ['answer', 'rcpt_ok', 'queue/maildir Maildir']);
    $reload->();
    ok $soon->('250 the first'), 'HUP: it comes back';
    $answer->('the second');
    $reload->();
    ok $soon->('250 the second'), 'HUP: a plugin that was built anew is loaded anew';
    is $old->say('VRFY x'), '250 the first', 'the old session knows the old one still';
    $old->quit;

    $reload->();
    $answer->($_), $reload->(), ok $soon->("250 $_"), "HUP: so it is $_ time" for 'the third', 'the fourth';

    # ---- a configuration that is wrong ----
    my $now = $vrfy->();
    for my $case (
        ['plugins', "rcpt_ok\nno_such_plugin\n", qr{config/plugins:2: plugin no_such_plugin not found}],
        ['plugins', "rcpt_ok wrong arguments\n", qr{config/plugins:1: rcpt_ok: }],
        ['loglevel', "loud\n", qr{config/loglevel.*loud}],
        ['max_hops', "many\n", qr{config/max_hops:1: "many" is no number}],
    ) {
        my ($file, $content, $why) = @$case;
        my $was = slurp($t->dir . "/config/$file");
        $t->config($file, $content);
        $s->hup;
        $s->wait_log(qr/reload failed, the old configuration goes on: .*$why/);
        pass "HUP with a wrong $file is told";
        is $vrfy->(), $now, 'and the old configuration goes on';
        defined $was ? $t->config($file, $was) : unlink $t->dir . "/config/$file";
    }
    $t->config(me => 'new.example.test');
    $reload->();
    ok wait_for(sub { $s->connect->greeting =~ /^220 new\.example\.test / }, 5, 'me'), 'put right, it is loaded';
    is $s->stop, 0, 'TERM: status 0';
    $t->config(me => 'mx.example.test');
    $t->config('plugins', ['check_relay', 'rcpt_ok', 'queue/maildir Maildir']);
}

# ---- users ----

SKIP: {
    skip 'only root can become somebody else', 9 if $> != 0;
    my ($uid, $gid) = (getpwnam 'nobody')[2, 3];
    my $home = Qpsmtpd::Test->new(
        plugins => ['rcpt_ok', 'queue/maildir Maildir'],
        config  => {rcpthosts => 'ours.test'},
    );
    my $file = $home->dir . '/run/qpsmtpd.pid';
    chmod 0755, $home->dir;
    mkdir $home->dir . "/$_" or die "$_: $!" for qw(Maildir run);
    chown $uid, $gid, map { $home->dir . "/$_" } qw(spool Maildir);
    # nobody may not be let into the tree that is tested: the plugins come along.
    make_path($home->dir . '/plugins/queue', {mode => 0755});
    for my $plugin ('rcpt_ok', 'queue/maildir') {
        copy("@{[$program =~ s{[^/]*\z}{}r]}plugins/$plugin.so", $home->dir . "/plugins/$plugin.so") or die "$plugin: $!";
        chmod 0755, $home->dir . "/plugins/$plugin.so";
    }
    $home->{plugin_dirs} = [$home->dir . '/plugins'];
    my $s = $home->prefork('-H', '-u', 'nobody', '--pid-file', $file);
    my $busy = in_data($s);
    for my $pid ($s->pid, $s->children) {
        my $status = slurp("/proc/$pid/status") || '';
        my ($u) = $status =~ /^Uid:\s+(.*)/m;
        my ($g) = $status =~ /^Gid:\s+(.*)/m;
        my ($groups) = $status =~ /^Groups:\s*(.*?)\s*$/m;
        my ($cap) = $status =~ /^CapEff:\s+(.*)/m;
        next if $u eq join("\t", ($uid) x 4) && $g eq join("\t", ($gid) x 4)
            && $groups =~ /\A(?:$gid)?\z/ && $cap =~ /\A0+\z/;
        fail "process $pid is nobody";
        diag $status;
    }
    pass 'user: every process is nobody, for good';
    $s->wait_log(qr/Running as user nobody, group/);
    $busy->raw(".\r\n");
    like $busy->read_reply, qr/^250 /, 'user: it delivers';
    my ($delivered) = glob $home->dir . '/Maildir/new/*';
    is +(stat $delivered)[4], $uid, 'user: the message is nobody\'s';
    ok -s $file, 'user: root has made the pid file';
    is $s->stop, 0, 'user: TERM';
    is -s $file || 0, 0, 'user: what it may not remove, it empties';
    $home->config('plugins', ['rcpt_ok', 'queue/maildir /root-only/Maildir']);
    my ($status, $output) = $home->run($program, $home->options, '-u', 'nobody', '--check');
    is $status, 1, 'user: --check sees with nobody\'s eyes';
    like $output, qr{cannot make the maildir /root-only/Maildir: Permission denied}, 'user: and says what they see not';
    ok !-e '/root-only', 'user: root has not made it';
}
SKIP: {
    skip 'root can become anybody', 3 if $> == 0;
    failing('another user', qr/--user root: only root can change the user/, '-u', 'root');
}

# ---- tcprules ----

{
    my $cdb = $t->dir . '/tcp.cdb';
    my $rules = sub {
        $t->file('rules', join '', map { "$_\n" } @_);
        my ($status, $output) = $t->run('sh', '-c', "tcprules tcp.cdb tcp.tmp <rules");
        die "tcprules: $output" if $status;
    };
    failing('tcprules: no such file', qr/tcp\.cdb: No such file/, '-l', '127.0.0.1', '-p', 0, '--tcprules', $cdb);
    $rules->('127.0.0.2:deny', '127.0.0.3:allow,RELAYCLIENT=""', '127.0.0.4:allow,DATABYTES="100"',
        '127.0.0.5-6:allow,RELAYCLIENT="@fix.test"', ':allow');
    $t->config(databytes => 100_000);
    my $s = start('--tcprules', $cdb, '-c', 1, '--child-lifetime', 0); # one child: nothing may stay behind
    my $big = "$message\n" . 'x' x 200 . "\n";
    is $s->connect(from => '127.0.0.2')->greeting, '', 'tcprules: deny, without a word';
    $s->wait_log(qr/deny \d+ 127\.0\.0\.1:\d+ :127\.0\.0\.2:\d+/);
    like send_one($s, to => 'x@else.test'), qr/^550 /, 'tcprules: no relaying for others';
    like send_one($s, from => '127.0.0.3', to => 'x@else.test'), qr/^250 /, 'tcprules: RELAYCLIENT';
    like send_one($s, to => 'x@else.test'), qr/^550 /, 'tcprules: it is not inherited by the next client';
    like send_one($s, from => '127.0.0.4', message => $big), qr/^552 /, 'tcprules: DATABYTES';
    like send_one($s, message => $big), qr/^250 /, 'tcprules: it is not inherited either';
    like send_one($s, from => '127.0.0.6', to => 'x@else.test'), qr/^250 /, 'tcprules: a range';
    $rules->('127.0.0.2:allow', ':deny');
    like $s->connect(from => '127.0.0.2')->greeting, qr/^220 /, 'tcprules: a new file is in effect at once';
    is $s->connect->greeting, '', 'tcprules: for everybody';
    $t->file('tcp.new', 'garbage');
    rename $t->dir . '/tcp.new', $cdb or die "rename: $!";
    is $s->connect->greeting, '421 unable to read controls (#4.3.0)', 'tcprules: a broken file lets nobody in';
    $s->wait_log(qr/tcprules: \Q$cdb\E: /);
    $rules->(':allow');
    like $s->connect->greeting, qr/^220 /, 'tcprules: until it is put right';
    is $s->stop, 0, 'TERM: status 0';
    unlink $t->dir . '/config/databytes';
}

# ---- the environment it was started with ----

# What describes a client is nobody's; the rest is the administrator's, for plugins and their programs.
{
    my @of_a_client = qw(PROTO TCPREMOTEIP TCPREMOTEHOST TCPREMOTEINFO TCPREMOTEPORT TCPLOCALIP TCPLOCALHOST
        TCPLOCALPORT RELAYCLIENT RBLSMTPD DATABYTES WHITELISTCLIENT);
    my $own = Qpsmtpd::Test->new(
        plugins => ['check_relay', 'rcpt_ok', 'queue/qmail-queue', 'probe'], plugin_dirs => [Probe::dir()],
        config => {rcpthosts => 'ours.test'},
        env => {(map { ($_ => '5') } @of_a_client), SITE => 'here'},
    );
    my $program = sub {
        my ($name) = @_;
        my $path = $own->file($name, "#!/bin/sh\ncat >/dev/null; cat <&1 >/dev/null; env >'$own->{dir}/$name.env'\n");
        chmod 0755, $path;
        return $path;
    };
    my ($usual, $other, $ruled) = map { $program->($_) } 'qmail/bin/qmail-queue', 'other', 'ruled';
    my $run_by = sub { my ($path) = @_; my $env = slurp("$path.env"); unlink "$path.env"; return $env };
    $own->file('rules', "127.0.0.3:allow,QMAILQUEUE=\"$ruled\",SITE=\"there\"\n:allow\n");
    my ($status, $output) = $own->run('sh', '-c', 'tcprules tcp.cdb tcp.tmp <rules');
    die "tcprules: $output" if $status;
    my @options = ('-H', '-c', 1, '--child-lifetime', 0, '--tcprules', "$own->{dir}/tcp.cdb");

    my $s = $own->prefork(@options);
    my $d = $s->connect;
    is $d->say("NOOP env $_"), '250 (none)', "environment: $_ is of no client" for @of_a_client;
    is $d->say('NOOP env SITE'), '250 here', 'environment: others are the administrator\'s';
    is $d->say('NOOP unset SITE'), '250 (none)', 'environment: a plugin may take them back';
    like $d->deliver('a@client.test', 'you@ours.test', $message), qr/^250 Queued/, 'environment: QMAIL';
    my $env = $run_by->($usual);
    like $env, qr/^TCPREMOTEIP=127\.0\.0\.1$/m, 'environment: programs have the client\'s facts';
    is_deeply [grep { $env =~ /^$_=5$/m } @of_a_client], [], 'environment: and no other client\'s';
    unlike $env, qr/^SITE=/m, 'environment: nor what was taken back';
    $d->quit;
    like send_one($s), qr/^250 Queued/, 'environment: the next client';
    like $run_by->($usual), qr/^SITE=here$/m, 'environment: has it again';
    $s->stop;

    $own->{env}{QMAILQUEUE} = $other;
    $s = $own->prefork(@options);
    like send_one($s), qr/^250 Queued/, 'environment: QMAILQUEUE';
    like $run_by->($other), qr/^SITE=here$/m, 'environment: wins over QMAIL';
    $d = $s->connect(from => '127.0.0.3');
    is $d->say('NOOP env SITE'), '250 there', 'environment: tcprules win over it';
    like $d->deliver('a@client.test', 'you@ours.test', $message), qr/^250 Queued/, 'environment: QMAILQUEUE of tcprules';
    like $run_by->($ruled), qr/^SITE=there$/m, 'environment: runs that program';
    $d->quit;
    $s->stop;
}

# ---- small ones ----

{
    my $s = start('--pretty-child', '--quiet', '-c', 1);
    my ($child) = wait_for(sub { [$s->children]->[0] }, 10, 'a child');
    ok wait_for(sub { slurp("/proc/$child/comm") eq "qpsmtpd child\n" }, 10, 'its name'), '--pretty-child';
    send_one($s);
    is $s->log, '', '--quiet: nothing to complain of, nothing said';
    $s->stop;
    $t->config(loglevel => 1);
    $s = start('--debug');
    send_one($s);
    like $s->log, qr/running plugin \(rcpt\): rcpt_ok/, '--debug: everything is said';
    my $port = $s->port;
    like $s->log, qr{^(\d+) - status: 1/15\n\1 - ok \1 127\.0\.0\.1:$port :127\.0\.0\.1:\d+$}m, 'of clients as tcpserver does';
    ok wait_for(sub { $s->log =~ /^(\d+) - end \1 status 0$/m }, 10, 'the end of the client'), 'until they go';
    $s->stop;
}

done_testing;
