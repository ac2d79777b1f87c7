# A plugin that crashes costs one connection: the client gets a 421, the log names plugin, hook and
# signal, nothing is delivered, and the daemon goes on. So does it when somebody kills a child.

use strict;
use warnings;

use File::Basename qw(dirname);
use Test::More;

use lib dirname(__FILE__);
use Probe;
use Qpsmtpd::Test qw(slurp wait_for sanitized);

my $t = Qpsmtpd::Test->new(
    plugins => ['crash', 'rcpt_ok', 'queue/maildir Maildir'],
    config  => {rcpthosts => "ours.test\n"},
);

# The test writes "HOOK HOW" to the file; a connection that finds it there obeys.
my $source = $t->file('plugins/crash.c', <<'END');
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <qpsmtpd/header.h>
#include <qpsmtpd/plugin.h>

/* Through these, or the compiler would know what comes. */
static volatile int zero;
static char *volatile nowhere;

static __attribute__((noinline)) int
recurse(volatile char *above)
{
    volatile char here[4096];

    here[0] = above[0];
    return recurse(here) + here[1];
}

static void
bus_error(void)
{
    FILE *empty = tmpfile();
    volatile char *p = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fileno(empty), 0);

    zero += p[0];
}

static enum qp_rc
act(struct qp *q)
{
    char hook[32] = "", how[32] = "";
    FILE *f = fopen("crash-now", "r");

    if (f == NULL)
        return QP_DECLINED;
    if (fscanf(f, "%31s %31s", hook, how) != 2 || strcmp(hook, qp_hook_name(q)) != 0) {
        fclose(f);
        return QP_DECLINED;
    }
    fclose(f);
    remove("crash-now"); /* once */
    if (strcmp(how, "segv") == 0)
        *nowhere = 1;
    else if (strcmp(how, "abort") == 0)
        abort();
    else if (strcmp(how, "divide") == 0)
        zero = raise(SIGFPE) + 7 / zero; /* not every processor minds the division */
    else if (strcmp(how, "ill") == 0)
        __builtin_trap();
    else if (strcmp(how, "bus") == 0)
        bus_error();
    else if (strcmp(how, "recurse") == 0)
        zero = recurse(how);
    else if (strcmp(how, "exit") == 0)
        exit(3);
    else if (strcmp(how, "exit0") == 0)
        exit(0);
    else if (strcmp(how, "_exit") == 0)
        _exit(4);
    else if (strcmp(how, "kill") == 0)
        kill(getpid(), SIGKILL);
    else if (strcmp(how, "memory") == 0)
        qp_alloc(q, QP_TRANSACTION, (size_t)1 << 60);
    return QP_DECLINED;
}

static enum qp_rc on_none(struct qp *q) { return act(q); }
static enum qp_rc on_hello(struct qp *q, const char *host) { (void)host; return act(q); }
static enum qp_rc on_address(struct qp *q, const struct qp_address *a) { (void)a; return act(q); }

QP_PLUGIN(.name = "crash", .connect = on_none, .ehlo = on_hello, .mail = on_address,
    .rcpt = on_address, .data = on_none, .data_headers_end = on_none, .data_post = on_none,
    .queue = on_none, .queue_post = on_none, .quit = on_none, .disconnect = on_none);
END
mkdir $t->dir . '/plugins';
Probe::build($source, $t->dir . '/plugins/crash.so', '-O0');
$t->{plugin_dirs} = [$t->dir . '/plugins'];
# Sanitizers catch signals themselves; here our own handler is to be seen.
$t->{env}{ASAN_OPTIONS} = join ':', $ENV{ASAN_OPTIONS} || (), qw(handle_segv=0 handle_sigbus=0 handle_sigfpe=0
    handle_sigill=0 handle_abort=0 allocator_may_return_null=1 detect_leaks=0 use_sigaltstack=0);

my $me = '421 internal error, closing connection';
my $message = "From: a\@client.test\nDate: Mon, 1 Jan 2024 00:00:00 +0000\n\nhello\n";

# talk - a whole session; the last reply, '' when the connection ended without one
sub talk {
    my ($d) = @_;
    my $reply = $d->greeting;

    return $reply unless $reply =~ /^220/;
    $reply = $d->deliver('a@client.test', 'you@ours.test', $message);
    return $reply unless $reply =~ /^250/;
    my $bye = $d->quit;
    return $bye =~ /^221/ ? $reply : $bye;
}

# hook, how, what the log calls it, what became of the child, is the message delivered?
my @cases = (
    ['connect', 'segv', 'SIGSEGV', 'killed by signal 11'],
    ['ehlo', 'abort', 'SIGABRT', 'killed by signal 6'],
    ['mail', 'divide', 'SIGFPE', 'killed by signal 8'],
    ['rcpt', 'ill', 'SIGILL', 'killed by signal 4'],
    ['rcpt', 'recurse', 'SIGSEGV', 'killed by signal 11'],
    ['data', 'bus', 'SIGBUS', 'killed by signal 7'],
    ['data_headers_end', 'segv', 'SIGSEGV', 'killed by signal 11'],
    ['data_post', 'abort', 'SIGABRT', 'killed by signal 6'],
    ['queue', 'segv', 'SIGSEGV', 'killed by signal 11'],
    ['queue', 'recurse', 'SIGSEGV', 'killed by signal 11'],
    ['quit', 'segv', 'SIGSEGV', 'killed by signal 11', 'delivered'],
);
@cases = grep { $_->[1] ne 'recurse' } @cases if sanitized();

# arm - the next connection that comes to this hook crashes there
sub arm {
    my ($hook, $how) = @_;

    $t->file('crash-now', "$hook $how\n");
}

# messages - how many there are
sub messages {
    return scalar(my @m = $t->maildir_messages);
}

# ---- qpsmtpd-prefork ----

my $s = $t->prefork('-H', '-c', 3, '-m', 0, '--child-lifetime', 0);
$s->connect->quit;
for my $case (@cases) {
    my ($hook, $how, $signal, $end, $delivered) = @$case;
    my ($name, $before) = ("prefork: $how in $hook", messages());
    (my $spelt = $hook) =~ s/_/[-_]/g;
    arm($hook, $how);
    my $d = $s->connect;
    is talk($d), $me, "$name: the client gets a 421";
    ok $d->eof, "$name: and the end of the connection";
    my $pid = eval { $s->wait_log(qr/^(\d+) \S+ caught $signal plugin=crash hook=$spelt$/m) };
    ok $pid, "$name: the child names signal, plugin and hook" or diag $@;
    ok eval { $s->wait_log(qr/^\d+ \S+ child $pid $end \([^)]+\) session=\S+ plugin=crash hook=$spelt after=\d+ms$/m) },
        "$name: so does the listener" or diag $@;
    is messages() - $before, $delivered ? 1 : 0, "$name: " . ($delivered ? 'what was promised is there' : 'nothing is delivered');
    like talk($s->connect), qr/^250 /, "$name: the daemon goes on";
}
# Without a signal there is no handler: the client sees the end, the log names the plugin all the same.
for my $case (['mail', 'exit', 'ended with status 3'], ['queue', '_exit', 'ended with status 4'],
    ['data_post', 'kill', 'killed by signal 9 \(Killed\)']) {
    my ($hook, $how, $end) = @$case;
    my ($name, $before) = ("prefork: $how in $hook", messages());
    (my $spelt = $hook) =~ s/_/[-_]/g;
    arm($hook, $how);
    my $d = $s->connect;
    unlike talk($d), qr/^2/, "$name: no 250";
    ok $d->eof, "$name: the connection ends";
    ok eval { $s->wait_log(qr/child \d+ $end session=\S+ plugin=crash hook=$spelt after=/) },
        "$name: the listener names plugin and hook" or diag $@;
    is messages(), $before, "$name: nothing is delivered";
    like talk($s->connect), qr/^250 /, "$name: the daemon goes on";
}
{
    my $before = messages();
    arm('mail', 'exit0');
    my $d = $s->connect;
    unlike talk($d), qr/^2/, 'prefork: exit with status 0 in a session: no 250';
    ok eval { $s->wait_log(qr/child \d+ ended with status 0 session=\S+ plugin=crash hook=mail/) },
        'prefork: exit with status 0 in a session is told as well' or diag $@;
    is messages(), $before, 'prefork: nothing is delivered';
}
arm('mail', 'memory');
is talk($s->connect), '421 out of memory (#4.3.0)', 'prefork: a plugin that asks for too much memory';
like $s->wait_log(qr/out of memory.*/), qr/plugin=crash hook=mail/, 'prefork: is named';

# ---- somebody kills a child ----

for my $where ('in the middle of DATA', 'between two commands', 'while it waits') {
    my $before = messages();
    my $d;
    if ($where ne 'while it waits') {
        $d = $s->connect;
        $d->say($_) for 'EHLO client.test', 'MAIL FROM:<a@client.test>', 'RCPT TO:<you@ours.test>';
    }
    if ($where eq 'in the middle of DATA') {
        $d->say('DATA');
        $d->raw("Subject: cut\r\n\r\n" . "half a message\r\n" x 10_000); # some of it in the spool
    }
    my @children = $s->children;
    kill KILL => @children;
    wait_for(sub { my %now = map { $_ => 1 } $s->children; !grep { $now{$_} } @children }, 10, 'their end');
    if ($d) {
        $d->raw("the end\r\n.\r\n");
        is $d->read_reply, '', "killed $where: the connection ends";
    }
    my $next = $s->connect;
    is $next->deliver('a@client.test', 'you@ours.test', $message) =~ /^250 / ? 1 : 0, 1, "killed $where: the next one is served";
    $next->quit;
    is messages() - $before, 1, "killed $where: with its own message only";
    $s->wait_log(qr/child $children[-1] killed by signal 9/);
}
my @spool = glob $t->dir . '/spool/*';
is scalar @spool, 0, 'nothing stays in the spool';
my @tmp = glob $t->dir . '/Maildir/tmp/*';
is scalar @tmp, 0, 'nor in the Maildir\'s tmp';
is $s->stop, 0, 'and it ends as if nothing had been';

# ---- a plugin that cannot start in a child: no fork without end ----

$t->file('plugins/dead.c', <<'END');
#include <stdlib.h>
#include <qpsmtpd/plugin.h>

static void
on_child_init(struct qp *q)
{
    (void)q;
    abort();
}

QP_PLUGIN(.name = "dead", .child_init = on_child_init);
END
Probe::build($t->dir . '/plugins/dead.c', $t->dir . '/plugins/dead.so');
$t->config('plugins', ['dead', 'crash', 'rcpt_ok', 'queue/maildir Maildir']);
$s = $t->prefork('-H', '-c', 2);
$s->wait_log(qr/children die as soon as they start; waiting 1000 ms/);
ok $s->wait_log(qr/child \d+ killed by signal 6 \(\w+\)/), 'children that die at once are told';
$t->config('plugins', ['crash', 'rcpt_ok', 'queue/maildir Maildir']);
$s->hup;
like talk($s->connect), qr/^250 /, 'after HUP with a good configuration it serves';
my $deaths = () = $s->log =~ /child \d+ killed/g;
cmp_ok $deaths, '<', 10, "they were not forked again and again ($deaths)";
$s->stop;

# ---- a plugin that crashes while it is loaded ----

$t->file('plugins/born_dead.c', <<'END');
#include <stdlib.h>
#include <qpsmtpd/plugin.h>

static bool
on_init(struct qp *q, int argc, const char *const argv[])
{
    (void)q;
    (void)argc;
    (void)argv;
    abort();
}

QP_PLUGIN(.name = "born_dead", .init = on_init);
END
Probe::build($t->dir . '/plugins/born_dead.c', $t->dir . '/plugins/born_dead.so');
$s = $t->prefork('-H', '-c', 2);
like talk($s->connect), qr/^250 /, 'a daemon that has read its configuration';
$t->config('plugins', ['born_dead', 'rcpt_ok']);
$s->hup;
ok $s->wait_log(qr/reload failed, the old configuration goes on: plugin born_dead: its init was killed by signal 6/),
    'a plugin that crashes when HUP loads it is named';
like talk($s->connect), qr/^250 /, 'and the old configuration goes on';
is $s->stop, 0, 'the daemon has not noticed';
$t->config('plugins', ['crash', 'rcpt_ok', 'queue/maildir Maildir']);

# ---- qpsmtpd ----

for my $case (@cases) {
    my ($hook, $how, $signal, undef, $delivered) = @$case;
    my ($name, $before) = ("qpsmtpd: $how in $hook", messages());
    (my $spelt = $hook) =~ s/_/[-_]/g;
    arm($hook, $how);
    my $d = $t->dialogue;
    is talk($d), $me, "$name: the client gets a 421";
    ok $d->eof, "$name: and the end of the connection";
    like $d->log, qr/^\d+ \S+ caught $signal plugin=crash hook=$spelt$/m, "$name: the log names signal, plugin and hook";
    cmp_ok $d->status, '>', 128, "$name: the status says that it was a signal";
    is messages() - $before, $delivered ? 1 : 0, "$name: the Maildir";
}
{
    my $server = $t->tcpserver(tcpserver => ['-v']);
    arm('data_post', 'segv');
    is talk($server->connect), $me, 'under tcpserver: the client gets a 421';
    ok $server->wait_log(qr/caught SIGSEGV plugin=crash hook=data[-_]post/), 'under tcpserver: the log names it';
    ok $server->wait_log(qr/tcpserver: end \d+ status 11/), 'under tcpserver: so does its own';
    like talk($server->connect), qr/^250 /, 'under tcpserver: the next client is served';
    $server->signal('TERM');
    $server->{process}->wait(10);
}
{
    my $d = $t->dialogue(pipe => 1, greeting => 0);
    arm('mail', 'segv');
    $d->read_greeting;
    is talk($d), $me, 'over pipes: the client gets a 421, too';
}
{
    $t->config('plugins', ['born_dead', 'rcpt_ok', 'queue/maildir Maildir']);
    my $d = $t->dialogue;
    like $d->greeting, qr/^421 /, 'a plugin that crashes while it is loaded: 421';
    $d->status;
    like $d->log, qr/caught SIGABRT/, 'and the log says why';
}

done_testing;
