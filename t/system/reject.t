# What plugins leave behind when they do not refuse at once: the notes karma and naughty (reject.h).

use strict;
use warnings;

use Cwd qw(abs_path);
use File::Basename qw(dirname);
use Test::More;
use Qpsmtpd::Test;

my $root = abs_path(dirname(__FILE__) . '/../..');
my $t = Qpsmtpd::Test->new(
    config => {
        rcpthosts    => 'ours.test',
        relayclients => '198.51.100.1',
        badmailfrom  => "\@bad.test no mail from there\n^.{40} long",
        badrcptto    => 'closed@ours.test',
    },
);

# A plugin that tells the notes in reply to VRFY.
my $source = $t->file('plugins/show_notes.c', <<'END');
#include <qpsmtpd/plugin.h>

static const char *
note(struct qp *q, const char *name)
{
    const char *text = qp_note(q, QP_CONNECTION, name);

    return text != NULL ? text : "-";
}

static enum qp_rc
on_vrfy(struct qp *q, const char *args)
{
    (void)args;
    return qp_ok(q, "karma=%s type=%s naughty=%s", note(q, "karma"), note(q, "naughty_reject_type"),
        note(q, "naughty"));
}

QP_PLUGIN(.name = "show_notes", .vrfy = on_vrfy);
END
is system($ENV{CC} || 'cc', '-std=c17', '-D_GNU_SOURCE', '-shared', '-fPIC', "-I$root/include",
    '-o', $t->dir . '/plugins/show_notes.so', $source), 0, 'the plugin compiles';
$t->{plugin_dirs} = [$t->dir . '/plugins'];

# notes - after this dialogue
sub notes {
    my ($plugins, @commands) = @_;

    $t->config(plugins => ['check_relay', @$plugins, 'show_notes', 'rcpt_ok']);
    my $d = $t->dialogue(env => {TCPREMOTEIP => '192.0.2.1', TCPREMOTEHOST => undef});
    $d->say($_) for @commands;
    my $reply = $d->say('VRFY x');
    $d->quit;
    return $reply;
}

my @hello = 'EHLO localhost';
my @bad = ('MAIL FROM:<a@bad.test>', 'RSET');

is notes(['badmailfrom'], @hello), '250 karma=- type=- naughty=-', 'nothing is wrong yet';
is notes(['badmailfrom'], @hello, @bad), '250 karma=-1 type=- naughty=-', 'badmailfrom costs 1 karma';
is notes(['check_badmailfrom'], @hello, @bad), '250 karma=-1 type=- naughty=-', 'deferred as well';
is notes(['badmailfrom reject 0'], @hello, @bad), '250 karma=-1 type=- naughty=-', 'tolerated as well';
is notes(['badrcptto'], @hello, 'MAIL FROM:<a@b.test>', 'RCPT TO:<closed@ours.test>'),
    '250 karma=-2 type=- naughty=-', 'badrcptto costs 2';
is notes(['helo reject_type perm'], @hello), '250 karma=-1 type=- naughty=-', 'helo costs 1';

is notes(['badmailfrom reject naughty'], @hello, @bad),
    '250 karma=-1 type=- naughty=(badmailfrom) no mail from there', 'naughty keeps plugin and reason';
for my $case (['perm', 'DENY'], ['temp', 'DENYSOFT'], ['disconnect', 'DENY_DISCONNECT'], ['temp_disconnect', 'DENYSOFT_DISCONNECT']) {
    my ($type, $result) = @$case;
    like notes(["badmailfrom reject naughty reject_type $type"], @hello, @bad), qr/ type=$result /,
        "reject_type $type is kept as $result";
}
is notes(['badmailfrom reject naughty'], @hello, @bad, @bad, @bad),
    '250 karma=-3 type=- naughty=(badmailfrom) no mail from there', 'the same reason is kept once';
is notes(['helo reject naughty reject_type disconnect', 'badmailfrom:7 reject naughty reject_type temp'], @hello, @bad),
    "250-karma=-2 type=DENY_DISCONNECT naughty=(helo) You are not localhost\n"
    . '250 (badmailfrom:7) no mail from there', 'another reason is added; the first one decides the type';

# Each of these is a new reason, because it names the host.
$t->config(badhelo => '^evil');
my $many = notes(['helo reject naughty'], map { "EHLO evil$_.test" } 1 .. 200);
ok length $many < 2000, 'a client cannot make the note grow without end' or diag length $many;
like $many, qr/evil1\.test/, 'and the first reasons stay';

done_testing;
