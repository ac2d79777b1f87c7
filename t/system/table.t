# Compiled lists in both servers: what is asked is what the text says, the text is not read for that,
# and nothing that happens to a file costs more than the warning that tells of it.
use strict;
use warnings;

use File::Copy qw(copy);
use Test::More;
use Qpsmtpd::Test qw(change_byte sanitized slurp wait_for);

my $t = Qpsmtpd::Test->new(plugins => ['check_relay', 'check_badmailfrom', 'rcpt_ok']);
my $config = $t->dir . '/config';
my $table = $t->program('qpsmtpd-table');

sub table {
    my @args = @_;

    return $t->run('sh', '-c', 'cd config && exec "$0" "$@"', $table, @args);
}

# list - write one, some seconds old
my $age = 100;
sub list {
    my ($name, $text) = @_;

    $t->config($name => $text);
    utime time - $age, time - $age, "$config/$name" or die "$name: $!";
    $age--;
}

sub compile {
    my ($status, $said) = table(@_);

    is $status, 0, "@_ compiled" or diag $said;
    return $said;
}

# replies - to these recipients, for a client and a sender that are nobody's friends
sub replies {
    my ($d, @to) = @_;
    my $from = ref $to[0] ? ${shift @to} : 'a@client.test';

    $d->say('EHLO client.test');
    $d->say("MAIL FROM:<$from>");
    return join ' ', map { substr $d->say("RCPT TO:<x\@$_>"), 0, 3 } @to;
}

sub stranger {
    my @env = @_;

    return $t->dialogue(env => {TCPREMOTEIP => '192.0.2.1', TCPREMOTEHOST => undef, @env});
}

# ask - replies of a new process, and what it has logged
sub ask {
    my @to = @_;
    my $d = stranger();
    my $codes = replies($d, @to);

    $d->quit;
    $d->status;
    return ($codes, $d->log);
}

# ---- the program ----

list(rcpthosts => "# ours\nOne.test\n.two.test below\none.test again\n");
my $said = compile('rcpthosts');
like $said, qr/^rcpthosts\.mph: 2 keys, 1 repeated lines, \d+ bytes, [\d.]+ s, \d+ MiB of memory$/, 'it says what it did';
my ($status, $out) = table('-d', 'rcpthosts');
is $out, "one.test\n.two.test below\n", 'a dump is the list';
($status, $out) = table('-t', 'rcpthosts', 'ONE.test', 'a.two.test', 'two.test');
is $out, "ONE.test: found\na.two.test: found: below\ntwo.test: absent\n", 'keys are tested as a server does';
is $status, 1, 'and absence is a status';
is((table('-t', 'rcpthosts.mph', 'one.test.'))[0], 0, 'so is presence; with the whole name of the file');
($status, $out) = table('-s', 'rcpthosts');
like $out, qr/^kind: domain\nkeys: 2\nrepeated lines: 1\n.*^state: sound$/ms, 'statistics';
is_deeply [glob "$config/rcpthosts.mph?*"], [], 'nothing else is left in the directory';

# Memory does not grow with the list. TEST_SLOW=10 TABLE_LINES=10000000 wants one GB of room.
{
    my $n = $ENV{TABLE_LINES} || 300_000;
    open my $fh, '>', "$config/long" or die "long: $!";
    print $fh "host$_.example.com value $_\n" for 1 .. $n;
    close $fh or die "long: $!";
    my ($mib) = compile('-k', 'domain', 'long') =~ /^long\.mph: $n keys, 0 repeated lines, .* (\d+) MiB of memory$/;
    ok $mib && ($mib < 48 || sanitized()), "$n lines" or diag $mib;
    ($status, $out) = table('-t', 'long', map { "host$_.example.com" } 1, $n, 0, $n + 1);
    is $out, "host1.example.com: found: value 1\nhost$n.example.com: found: value $n\n"
        . "host0.example.com: absent\nhost@{[$n + 1]}.example.com: absent\n", 'the first, the last, and no others';
    unlink glob "$config/long*";
}

chmod 0640, "$config/rcpthosts";
compile('-o', 'elsewhere', 'rcpthosts');
is +(stat "$config/elsewhere.mph")[2] & 0777, 0640, 'who may read the list may read the compiled one';
unlink "$config/elsewhere.mph";

for my $case (
    [2,   'something is missing'],
    [2,   'something is missing', '-t', 'rcpthosts'],
    [2,   '-k takes exact', '-k', 'hosts', 'rcpthosts'],
    [2,   '-o is for one list', '-o', 'x', 'rcpthosts', 'me'],
    [2,   'are for compiling', '-s', '-k', 'ip', 'rcpthosts'],
    [2,   'one of -t, -d and -s', '-d', '-s', 'rcpthosts'],
    [2,   'unrecognized option', '--frobnicate'],
    [1,   'say with -k', 'plugins'],
    [1,   'name the text', 'rcpthosts.mph'],
    [1,   'none: No such file', '-k', 'ip', 'none'],
    [1,   'not a regular file', '-k', 'ip', '.'],
    [111, 'none.mph: No such file', '-s', 'none'],
    [0,   'usage: qpsmtpd-table', '--help'],
    [0,   'qpsmtpd-table 1.', '--version'],
) {
    my ($want, $what, @args) = @$case;
    ($status, $out) = table(@args);
    ok $status == $want && $out =~ /\Q$what\E/, "'@args' gives $want: $what" or diag "$status: $out";
}
list(relayclients => "10.0.0.0/8\n\nexample.test\n");
($status, $out) = table('relayclients', 'rcpthosts');
is $status, 1, 'a wrong line is refused';
like $out, qr/^qpsmtpd-table: relayclients:3: "example\.test" is no address or network$/m, 'with file and line';
like $out, qr/^rcpthosts\.mph: 2 keys/m, 'and the next list is compiled nevertheless';
ok !-e "$config/relayclients.mph", 'nothing was written';
unlink "$config/relayclients";

# ---- which of them is asked ----

# Another text of the same size and time: who gets its answers has opened it.
list(rcpthosts => "text.test\nboth.test\n");
my @time = (stat "$config/rcpthosts")[9, 9];
compile('rcpthosts');
$t->config(rcpthosts => "none.test\nboth.test\n");
utime @time, "$config/rcpthosts";
my ($codes, $log) = ask(qw(text.test none.test both.test mx.example.test));
is $codes, '250 550 250 250', 'the compiled list is asked, and the text not even opened';
unlike $log, qr/rcpthosts/, 'without a word';

utime time + 10, time + 10, "$config/rcpthosts";
($codes, $log) = ask(qw(text.test none.test both.test));
is $codes, '550 250 250', 'a newer text is asked itself';
like $log, qr{config/rcpthosts\.mph is older than its text: \S+config/rcpthosts is used instead; run qpsmtpd-table}, 'with a warning';

list(rcpthosts => "text.test\n");
compile('rcpthosts');
my $good = slurp("$config/rcpthosts.mph");
for my $case (['cut', substr($good, 0, -1)], ['longer', "${good}x"], ['empty', ''], ['text', "text.test\n"],
    ['damaged', substr($good, 0, 40) . 'x' . substr $good, 41]) {
    $t->config('rcpthosts.mph' => ''); # the harness ends texts with a line feed
    open my $fh, '>:raw', "$config/rcpthosts.mph" or die;
    print $fh $case->[1];
    close $fh or die;
    ($codes, $log) = ask(qw(text.test other.test));
    is $codes, '250 550', "$case->[0]: the text is asked";
    like $log, qr{config/rcpthosts\.mph: .*config/rcpthosts is used instead}, 'with a warning';
}
compile('rcpthosts');
change_byte("$config/rcpthosts.mph", -60);
($codes, $log) = ask(qw(text.test other.test));
is $codes, '250 550', 'damage that only a lookup meets: the text is asked';
like $log, qr{config/rcpthosts\.mph is damaged: \S+config/rcpthosts is used instead}, 'with a warning';
is((table('-s', 'rcpthosts'))[0], 1, 'and -s finds it');

unlink "$config/rcpthosts";
like +(ask('text.test'))[0], qr/^45\d|^$/, 'without a text nobody is refused for good' or diag $log;
compile('-o', 'rcpthosts', '-k', 'domain', 'me');
is +(ask('mx.example.test', 'other.test'))[0], '250 550', 'a compiled list needs no text';
unlink "$config/rcpthosts.mph";

# ---- lists of other kinds ----

list(relayclients => "10.0.0.0/8\n192.0.2.128/25 some\n2001:db8::/32\n");
list(norelayclients => "10.1.\n");
list(badmailfrom => "Joe\@bad.test go away\n\@worse.test\n^spam\\S+\@ no spam\nbob+x\@bad.test\n");
list(morercpthosts => ".more.test\n");
list(rcpthosts => "ours.test\n");
compile(qw(relayclients norelayclients badmailfrom morercpthosts rcpthosts));
unlink map { "$config/$_" } qw(relayclients norelayclients badmailfrom morercpthosts rcpthosts);
for (['192.0.2.1', 550], ['192.0.2.129', 250], ['10.2.0.1', 250], ['10.1.0.1', 550], ['2001:db8:1::9', 250]) {
    my ($ip, $code) = @$_;
    is replies(stranger(TCPREMOTEIP => $ip), 'foreign.test'), $code, "relayclients.mph and norelayclients.mph: $ip";
}
is +(ask(qw(ours.test a.more.test more.test)))[0], '250 250 550', 'morercpthosts.mph is asked as the cdb is';
$t->config(plugins => ['check_relay', 'badmailfrom defer 1', 'rcpt_ok']);
for (['JOE@bad.test', 553, 'go away'], ['any@worse.test', 553, 'sender'], ['Spammer@x.test', 553, 'no spam'],
    ['bob+x@bad.test', 553, 'sender'], ['spam@x.test', 250, 'ok'], ['jim@bad.test', 250, 'ok']) {
    my ($from, $code, $text) = @$_;
    my $d = stranger();
    $d->say('EHLO client.test');
    $d->say("MAIL FROM:<$from>");
    my $reply = $d->say('RCPT TO:<x@ours.test>');
    ok(($code == 250) == ($reply =~ /^250/), "badmailfrom.mph: $from") or diag $reply;
    like $reply, qr/$text/, 'with its reason' if $code != 250;
}
$t->config(plugins => ['check_relay', 'check_badmailfrom', 'rcpt_ok']);
is replies(stranger(), \'any@worse.test', 'ours.test'), 550, 'as a list of qmail it has its addresses';
is replies(stranger(), \'Spammer@x.test', 'ours.test'), 250, 'and no patterns';
list(morercpthosts => ".more.test\nnew.test\n");
is system('cdb', '-c', '-m', "$config/morercpthosts.cdb", "$config/morercpthosts"), 0, 'qmail-newmrh';
utime time + 10, time + 10, "$config/morercpthosts.cdb";
is +(ask(qw(a.more.test new.test)))[0], '250 250', 'a newer cdb is asked itself';
unlink glob "$config/*.mph $config/*.cdb";

# ---- a plugin that answers for a file goes before all of them ----

{
    my $probe = Qpsmtpd::Test->new(plugins => ['config_says', 'rcpt_ok'], plugin_dirs => [$t->dir . '/mine']);
    mkdir $t->dir . '/mine';
    $t->file('mine/config_says.c', <<'END');
#include <string.h>

#include <qpsmtpd/plugin.h>

static enum qp_rc
on_config(struct qp *q, const char *name)
{
    if (strcmp(name, "rcpthosts") != 0)
        return QP_DECLINED;
    qp_config_answer(q, "hook.test");
    return QP_OK;
}

QP_PLUGIN(.name = "config_says", .config = on_config);
END
    is system("cc -shared -fPIC -Iinclude -o '" . $t->dir . "/mine/config_says.so' '" . $t->dir . "/mine/config_says.c'"), 0,
        'a plugin with a config hook';
    $probe->config(rcpthosts => "file.test\n");
    is +($probe->run($table, $probe->dir . '/config/rcpthosts'))[0], 0, 'and a compiled list';
    my $d = $probe->dialogue;
    is replies($d, 'hook.test', 'file.test'), '250 550', 'the hook is asked, not the compiled list';
}

# ---- the preforking server ----

list(rcpthosts => join '', "first.test\n", map { "host$_.test\n" } 1 .. 5000);
compile('rcpthosts');
my $s = $t->prefork('--children', 3, '--idle-children', 1);
my $old = $s->connect;
is replies($old, 'first.test', 'second.test', 'host77.test'), '250 550 250', 'preforking: the compiled list is asked';
my $running = $s->connect;
list(rcpthosts => join '', "second.test\n", map { "host$_.test\n" } 1 .. 5000);
compile('rcpthosts');
$s->hup;
wait_for(sub { my $d = $s->connect; my $r = replies($d, 'second.test'); $d->quit; $r eq '250' }, 20, 'the new list');
is replies($running, 'first.test', 'second.test', 'host77.test'), '250 550 250', 'a running session keeps the old one';
is replies($s->connect, 'first.test', 'second.test'), '550 250', 'a new one has the new one';
$_->quit for $old, $running;

# cp over it, which one should not do: the first thing that happens is a cut.
truncate "$config/rcpthosts.mph", 4096 or die $!;
for my $host ('second.test', 'other.test', 'host4711.test', 'host1.test') {
    my $d = $s->connect;
    is replies($d, $host), $host eq 'other.test' ? 550 : 250, "cut under the server: $host";
    $d->quit;
}
like $s->log, qr/rcpthosts\.mph is damaged: \S+ is used instead/, 'the text is asked, and the log tells';
unlike $s->log, qr/SIGBUS|killed by signal/, 'nothing has crashed';
is $s->stop, 0, 'the end';
done_testing;
