# Configuration: where files are looked for, how they are read, and what wrong ones do.
use strict;
use warnings;

use File::Basename qw(dirname);
use File::Path qw(make_path);
use Sys::Hostname;
use Test::More;

use lib dirname(__FILE__);
use Probe;
use Qpsmtpd::Test qw(slurp);

my $plugins = Probe::dir();
my $t = Qpsmtpd::Test->new(plugin_dirs => [$plugins], plugins => ['probe']);
my $dir = $t->dir;
my $d;

# value - what a plugin sees of a file, with the directories of the test
sub value {
    my ($name, $content) = @_;

    $t->config($name => $content) if defined $content;
    $d = $t->dialogue(env => {PROBE => ''});
    my $value = $d->say("NOOP config $name");
    $d->hangup;
    return $value;
}

# ---- how a file is read ----

for my $case (
    ["one\n",                               '1 [one]', 'one line'],
    ['one',                                 '1 [one]', 'without its line end'],
    ["one\ntwo\n\nthree",                   '3 [one] [two] [three]', 'lines'],
    ["  one \n\ttwo\t\n",                   '2 [one] [two]', 'blanks around them are cut'],
    ["one\r\ntwo\r\n",                      '2 [one] [two]', 'CR too'],
    ["# no\n  # nor this\none # but this\n", '1 [one # but this]', 'comments'],
    ["\n \n\t\n\r\n#\n",                    '0', 'nothing'],
    ['',                                    '0', 'an empty file'],
    ["\xef\xbb\xbfone\n",                   '1 [one]', 'a byte order mark'],
    ["0\n",                                 '1 [0]', '0'],
    ["a\0b\nc\n",                           '2 [a] [c]', 'a NUL ends its line'],
    ["\$Include more\nb\n",                 '2 [from more] [b]', '$Include in any file'],
    [join('', map { "$_\n" } 1 .. 50),      '50 ' . join(' ', map { "[$_]" } 1 .. 50), 'many lines'],
) {
    my ($content, $want, $name) = @$case;
    $t->file('config/more', "from more\n");
    $t->file('config/thing', $content);
    is value('thing'), "250 $want", $name;
}
is value('nothing'), '250 0', 'an absent file';
is value('../secret'), '250 0', 'no way up';
is value('/etc/passwd'), '250 0', 'no absolute name';
$t->file('config/sub/thing', "below\n");
is value('sub/thing'), '250 1 [below]', 'a subdirectory';

# ---- where it is looked for ----

make_path("$dir/bin/config", "$dir/bin/plugins", "$dir/env", "$dir/qmail/control");
symlink $t->program('qpsmtpd'), "$dir/bin/qpsmtpd" or die "symlink: $!";
symlink "$plugins/probe.so", "$dir/bin/plugins/probe.so" or die "symlink: $!";
$t->file('bin/config/plugins', "probe\n");

# found - the first line of `thing`, with these variables, and with arguments
sub found {
    my ($env, @args) = @_;
    my ($status, $out) = $t->run({stdin => "NOOP config thing\r\nNOOP me\r\nQUIT\r\n", env => $env},
        "$dir/bin/qpsmtpd", @args);

    return $out =~ /^250 \d+ ?(?:\[(\S+)\])?/m ? ($1 || 'nothing') : "status $status: $out";
}

my $with_env = {QPSMTPD_CONFIG => "$dir/env"};
is found($with_env), 'nothing', 'nowhere';
$t->file('qmail/control/thing', "qmail\n");
is found({}), 'qmail', '$QMAIL/control';
$t->file('bin/config/thing', "program\n");
is found({}), 'program', 'config beside the program comes before';
$t->file('env/thing', "env\n");
is found($with_env), 'env', '$QPSMTPD_CONFIG before that';
is found({QPSMTPD_CONFIG => 'env'}), 'env', 'a relative name too';
is found({QPSMTPD_CONFIG => ''}), 'program', 'an empty one is none';
is found({QPSMTPD_CONFIG => "$dir/nowhere"}), 'program', 'one that is not there neither';
$t->file('env/thing', '');
is found($with_env), 'nothing', 'an empty file hides the others';
$t->file('other/thing', "other\n");
$t->file('other/plugins', "probe\n");
is found($with_env, '-C', "$dir/other"), 'other', '-C wins';
is found($with_env, '--config-dir', 'other'), 'other', 'and so does --config-dir';
is found($with_env, '-C', 'other', '-P', $plugins), 'other', 'with -P';
unlink "$dir/other/thing";
is found($with_env, '-C', "$dir/other"), 'qmail', 'below -C there is qmail only';
unlink "$dir/qmail/control/thing";
is found($with_env, '-C', "$dir/other"), 'nothing', 'nothing else';
{
    my ($status, $out) = $t->run($t->program('qpsmtpd'), '-C', "$dir/nowhere");
    is $status, 111, '-C that is not there';
    like $out, qr/--config-dir \S+nowhere: No such file/, 'is told';
}

# ---- me and the numbers ----

# greets - the greeting with these files
sub greets {
    my (%files) = @_;

    $t->config($_ => $files{$_}) for keys %files;
    $d = $t->dialogue(env => {PROBE => ''});
    $d->hangup;
    $d->status;
    $_ ne 'me' && unlink "$dir/config/$_" for keys %files;
    return $d->greeting;
}

like greets(me => "# us\n  us.test  \nmore\n"), qr/^220 us\.test /, 'me: the first line that says something';
like greets(me => ''), qr/^220 \Q@{[hostname()]}\E /, 'an empty one: the name of this host';
unlink "$dir/config/me";
$t->file('qmail/control/me', "qmail.test\n");
like greets(), qr/^220 qmail\.test /, "qmail's";
unlink "$dir/qmail/control/me";
$t->config(me => 'mx.example.test');

for my $case (['databytes', '10k'], ['databytes', '-1'], ['databytes', '99999999999999999999999'], ['timeout', 'x'],
    ['timeoutsmtpd', '1.5']) {
    my ($file, $value) = @$case;
    like greets($file => $value), qr/^220 /, "$file $value, which qmail reads too, is no reason to stop";
    like $d->log, qr/config\/$file:1: "\Q$value\E" is no number/, 'but told';
}
for my $case (
    ['max_recipients', 'x', 'no number from 0 to'], ['max_recipients', '-1', 'no number'],
    ['max_recipients', '1000001', 'no number from 0 to'], ['max_hops', '1x', 'no number'],
    ['require_angle_brackets', '2', 'no number from 0 to 1'], ['require_angle_brackets', 'yes', 'no number'],
    ['lenient_addresses', 'on', 'no number'], ['received_auth_user', 'x', 'no number'],
    ['enhanced_status_codes', '2', 'no number from 0 to 1'], ['bare_newlines', 'accept', 'reject normalize legacy'],
    ['spool_perms', '0999', 'octal'], ['spool_perms', 'rwx', 'octal'], ['size_threshold', '1k', 'no number'],
) {
    my ($file, $value, $why) = @$case;
    is greets($file => "# comment\n\n$value\n"), '421 service not available, configuration error', "$file $value refuses the start";
    like $d->log, qr/\Aqpsmtpd: \Q$dir\E\/config\/$file:3: "?\Q$value\E\b.*\Q$why\E.*\n\z/, 'in one line, with file and line';
    $t->config($file => $value);
    my ($status, $out) = $t->check;
    is $status, 1, '--check says so too';
    like $out, qr/\/config\/$file:1: /, 'with the place';
    unlink "$dir/config/$file";
}
for my $case (['bare_newlines', 'NORMALIZE'], ['max_recipients', '0'], ['max_hops', '0'], ['spool_perms', '0700'],
    ['require_angle_brackets', ''], ['max_recipients', "\n#\n"]) {
    like greets(@$case), qr/^220 /, "$case->[0] '" . ($case->[1] =~ s/\n/ /gr) . "' is right";
}

# ---- what cannot be read is not absent ----

for my $file (qw(me databytes plugins timeout loglevel plugin_dirs logging smtpgreeting max_recipients)) {
    # A directory: root, too, cannot read it.
    rename "$dir/config/$file", "$dir/saved";
    mkdir "$dir/config/$file" or die "$file: $!";
    local $t->{plugin_dirs} = $file eq 'plugin_dirs' ? [] : $t->{plugin_dirs};
    my @options = $file eq 'plugin_dirs' ? ('-C', "$dir/config") : $t->options;
    my ($status, $out) = $t->run({stdin => "QUIT\r\n"}, $t->program('qpsmtpd'), @options);
    is $status, 111, "$file that cannot be read: status 111";
    like $out, qr/^421 .*\r\n/m, 'the client gets 421';
    like $out, qr/^qpsmtpd: \Q$dir\E\/config\/$file: not a regular file\n/m, 'and why';
    rmdir "$dir/config/$file";
    rename "$dir/saved", "$dir/config/$file";
}
SKIP: {
    skip 'root can read everything', 2 if $> == 0;
    $t->config(databytes => 1000);
    chmod 0, "$dir/config/databytes";
    $d = $t->dialogue;
    like $d->greeting, qr/^421 /, 'no permission';
    like $d->log, qr/databytes: Permission denied/, 'is told';
    unlink "$dir/config/databytes";
}
mkdir "$dir/config/thing2";
is value('thing2'), '250 0', 'what a plugin asks for later counts as absent';
like $d->log, qr/\/config\/thing2: not a regular file/, 'and is logged';
symlink 'nowhere', "$dir/config/dangling";
is value('dangling'), '250 0', 'a link to nowhere is absent';

# ---- spool_dir ----

# spooled - is a message that needs a file taken?
sub spooled {
    my (%env) = @_;

    $t->config(size_threshold => 0);
    $d = $t->dialogue(env => {PROBE => '', %env});
    my $reply = $d->deliver('a@b.test', 'c@d.test', "a: b\n\nbody\n");
    $d->hangup;
    return $reply;
}

unlink "$dir/config/spool_dir";
make_path("$dir/somebody/tmp", "$dir/logdir/tmp");
for my $case (
    ['~/spool1', {HOME => "$dir/somebody"}, "$dir/somebody/spool1"],
    ['~/spool2', {HOME => undef, LOGDIR => "$dir/logdir"}, "$dir/logdir/spool2"],
    ["$dir/spool3/", {}, "$dir/spool3"],
    ['spool4', {}, "$dir/spool4"],
) {
    my ($value, $env, $made) = @$case;
    $t->config(spool_dir => $value);
    is spooled(%$env), '250 Queued', "spool_dir $value";
    ok -d $made, 'is made where it must be';
    is sprintf('%04o', (stat $made)[2] & 07777), '0700', 'for nobody else';
    is_deeply [glob "$made/*"], [], 'and has no files in it';
}
chmod 0755, "$dir/spool3";
$t->config(spool_dir => "$dir/spool3");
is spooled(), '250 Queued', 'a spool_dir that others may look into works';
like $d->log, qr/others may look into spool_dir: dir=\Q$dir\E\/spool3 mode=0755 expected=0700/, 'with a warning';
unlink "$dir/config/spool_dir";
is spooled(HOME => "$dir/somebody"), '250 Queued', 'no spool_dir: ~/tmp';
is spooled(HOME => '/nonexistent'), '250 Queued', 'and without a home another place';

done_testing;
