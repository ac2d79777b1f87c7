use strict;
use warnings;

use Test::More;

use lib 't/system';
use Probe;
use Qpsmtpd::Test;

# A plugin that asks for a recipient's file and answers with it.
my $probe = File::Temp->newdir('qpsmtpd-user-XXXXXX', TMPDIR => 1);
open my $fh, '>', "$probe/asker.c" or die;
print $fh <<'C';
#include <qpsmtpd/plugin.h>
static enum qp_rc on_rcpt(struct qp *q, const struct qp_address *to)
{
    const char *name = qp_param(q, "NAME");
    struct qp_lines l = qp_config_for(q, to, name ? name : "wanted");
    const char *text = "";
    for (size_t i = 0; i < l.n; i++)
        text = qp_printf(q, QP_TRANSACTION, "%s[%s]", text, l.line[i].text);
    return qp_deny(q, "%zu %s", l.n, text);
}
static enum qp_rc on_ehlo(struct qp *q, const char *host)
{
    (void)host;
    qp_capability_add(q, "NAME");
    return QP_DECLINED;
}
QP_PLUGIN(.name = "asker", .ehlo = on_ehlo, .rcpt = on_rcpt);
C
close $fh;
Probe::build("$probe/asker.c", "$probe/asker.so");

my $t = Qpsmtpd::Test->new(plugin_dirs => ["$probe"], config => {wanted => 'of all', lenient_addresses => 1});
my $dir = $t->dir;
$t->file("users/$_->[0]", $_->[1]) for ['joe/wanted', "# mine\n\n one \r\ntwo"], ['joe/empty', "# nothing\n"], ['up/secret', 'secret'],
    ['joe@example.test/wanted', 'whole'], ['example.test/joe/wanted', 'both'], ['big/wanted', "x\n" x 40_000], ['50%/wanted', 'percent'];
symlink "$dir/users/up/secret", "$dir/users/joe/link" or die;
mkdir "$dir/users/dir" and mkdir "$dir/users/dir/wanted" or die;
system('mkfifo', "$dir/users/fifo") == 0 and mkdir "$dir/users/pipe" and rename "$dir/users/fifo", "$dir/users/pipe/wanted" or die;

my $d;
sub pattern {
    $t->config(plugins => ["user_config $_[0]", 'asker']);
    $d = $t->dialogue;
    $d->say($_) for 'EHLO x', 'MAIL FROM:<a@client.test>';
}
sub asked { my ($to, $name) = @_; return $d->say("RCPT TO:<$to>" . ($name ? " NAME=$name" : '')) =~ s/^550 (?:5\.\S+ )?//r }

pattern("$dir/users/%u");
is asked('joe@example.test'), '2 [one][two]', 'the lines of the file, without comments';
is asked('JOE@Example.Test'), '2 [one][two]', 'any case';
is asked('joe@example.test', 'empty'), '0', 'an empty file is a value too';
is asked('joe@example.test', 'none'), '0', 'a name that nobody has';
is asked($_), '1 [of all]', "$_: the file of all" for 'ann@example.test', '"../up"@example.test', '"joe/../joe"@example.test',
    '".."@example.test', 'dir@example.test', 'big@example.test', 'pipe@example.test', 'postmaster';
is asked('up@example.test', 'secret'), '1 [secret]', 'what is his own';
is asked('joe@example.test', $_), '0', "... and not by $_" for '../up/secret', 'link', '/etc/hostname', '.hidden';
like $d->log, qr/not used file=\Q$dir\E\/users\/$_->[0] error="$_->[1]/, "the log tells of $_->[0]"
    for ['joe/link', 'Too many levels'], ['big/wanted', 'File too large'], ['pipe/wanted', 'Invalid argument'];

pattern("$dir/users/%a");
is asked('joe@example.test'), '1 [whole]', '%a';
pattern("$dir/users/%h/%u");
is asked('joe@example.test'), '1 [both]', '%h and %u';
pattern("$dir/users/50%%");
is asked('joe@example.test'), '1 [percent]', '%%';
is asked('x@example.test'), '1 [percent]', '... for everybody';

for my $line ('users/%u', '/x/%y', '/x/%', '/a /b') {
    my ($status, $said) = Qpsmtpd::Test->new(plugins => ["user_config $line"])->check;

    isnt $status, 0, "'$line' refuses the start";
    like $said, qr/plugins:1/, '... with file and line';
}
done_testing;
