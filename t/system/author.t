# What qpsmtpd-plugin(3) tells authors of plugins is true: its example compiles with the public headers
# alone, exports one symbol, and passes the test that stands beside it.
use strict;
use warnings;

use Cwd qw(abs_path);
use Test::More;

use Qpsmtpd::Test qw(slurp);

my $page = slurp('src/plugin/qpsmtpd-plugin.3');
my @blocks = $page =~ /^\.Bd -literal[^\n]*\n(.*?)^\.Ed$/msg;
s/\\e/\\/g for @blocks;
my ($source) = grep { /^QP_PLUGIN\(/m } @blocks;
my ($test) = grep { /^use Test::More/m } @blocks;
ok $source && $test, 'the page has an example and its test';

my $t = Qpsmtpd::Test->new;
my $c = $t->file('internal_only.c', $source);
my $so = $t->dir . '/internal_only.so';
my ($status, $said) = $t->run($ENV{CC} || 'cc', qw(-std=c17 -Wall -Wextra -Wpedantic -Wconversion -Werror -shared
    -fPIC -fvisibility=hidden -I), abs_path('include'), '-o', $so, $c);
is $status, 0, 'the example compiles, without a warning' or diag $said;
is_deeply [map { (split)[-1] } grep { / [A-TV-Z] / } split /\n/, ($t->run('nm', '-D', '--defined-only', $so))[1]],
    ['qp_plugin'], 'and exports one symbol';

# The test finds the programs by itself, and the plugin in QPSMTPD_PLUGINS.
my $script = $t->file('internal_only.t', $test);
my $build = abs_path($ENV{QPSMTPD_BUILD} || '.');
($status, $said) = $t->run({env => {QPSMTPD_PLUGINS => $t->dir, QPSMTPD_BUILD => $build}},
    $^X, '-I', abs_path('t/lib'), $script);
is $status, 0, 'its test passes' or diag $said;
like $said, qr/^1\.\.6$/m, 'all of it';

# ---- objects that are no plugins of this server ----

for (
    ['wrong_abi', '.abi = QP_ABI + 1, .size = sizeof(struct qp_plugin), .name = "x"', qr/plugin ABI \d+, this is ABI \d+/],
    ['no_symbol', undef, qr/does not export qp_plugin/],
) {
    my ($name, $fields, $reason) = @$_;
    my $text = "#include <qpsmtpd/plugin.h>\n"
        . ($fields ? "const struct qp_plugin qp_plugin = {$fields};\n" : "int qp_nothing;\n");
    my $file = $t->file("$name.c", $text);
    ($status, $said) = $t->run($ENV{CC} || 'cc', qw(-std=c17 -shared -fPIC -I), abs_path('include'),
        '-o', $t->dir . "/$name.so", $file);
    is $status, 0, "$name compiles" or diag $said;
    my $other = Qpsmtpd::Test->new(plugins => ['# here', $name], plugin_dirs => [$t->dir]);
    ($status, $said) = $other->check;
    isnt $status, 0, "$name: no start";
    like $said, qr{config/plugins:2: .*$reason}, 'with file, line and reason';
}

# A plugin that was built when the ABI had fewer hooks still runs: what it does not have is not called.
$t->file('old.c', <<'C');
#include <qpsmtpd/plugin.h>
static enum qp_rc on_connect(struct qp *q) { return qp_deny(q, "old but alive"); }
const struct qp_plugin qp_plugin = {
    .abi = QP_ABI, .size = offsetof(struct qp_plugin, helo_parse), .name = "old", .connect = on_connect,
};
C
($status, $said) = $t->run($ENV{CC} || 'cc', qw(-std=c17 -shared -fPIC -I), abs_path('include'), '-o', $t->dir . '/old.so',
    $t->dir . '/old.c');
is $status, 0, 'an old plugin compiles' or diag $said;
my $old = Qpsmtpd::Test->new(plugins => ['old'], plugin_dirs => [$t->dir]);
is $old->dialogue->greeting, '554 old but alive', 'and runs';

done_testing;
