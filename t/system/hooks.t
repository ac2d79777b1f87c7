# Plugins: what each hook of a message can do, the order of hooks, what lives how long, and loading.
use strict;
use warnings;

use File::Basename qw(dirname);
use File::Path qw(make_path);
use Test::More;

use lib dirname(__FILE__);
use Probe;
use Qpsmtpd::Test qw(slurp);

my $plugins = Probe::dir(qw(probe probe_ok probe_config probe_bad_abi probe_no_symbol));
my $t = Qpsmtpd::Test->new(plugin_dirs => [$plugins], plugins => ['probe'], config => {'me-auth-results' => 'none'});
my $d;

# fresh - a new dialogue in $d that has said EHLO
sub fresh {
    my ($probe, %env) = @_;

    $d->hangup if $d;
    unlink $t->dir . '/queued';
    $d = $t->dialogue(env => {PROBE => $probe || '', QUEUED => $t->dir . '/queued', %env});
    $d->say('EHLO client.test');
    return $d;
}

sub gets {
    my ($line, $reply, $name) = @_;
    my $got = $d->say($line);

    return ref $reply ? like($got, $reply, $name || $line) : is($got, $reply, $name || $line);
}

# message - one message, by DATA or BDAT; the last reply
sub message {
    my ($how) = @_;

    $d->say('MAIL FROM:<a@b.test>');
    $d->say('RCPT TO:<c@d.test>');
    return $d->bdat("a: b\r\n\r\nbody\r\n", 'LAST') if $how && $how eq 'BDAT';
    return $d->data("a: b\n\nbody\n");
}

# ---- the hooks of a message: result, reply, closed, queued ----

my @rows = (
    ['', '250 Queued', 0, 1],
    ['data=OK', '250 Queued', 0, 1],
    ['data=OK:text', '250 Queued', 0, 1],
    ['data=BOGUS', '250 Queued', 0, 1],
    ['data=DECLINED!', '250 Queued', 1, 1],
    ['data=DENY', '554 Message denied', 0, 0],
    ['data=DENYSOFT', '451 Message denied temporarily', 0, 0],
    ['data=DENY_DISCONNECT', '554 Message denied', 1, 0],
    ['data=DENYSOFT_DISCONNECT', '421 Message denied temporarily', 1, 0],
    ['data=452,4.3.1:mine', '452 mine', 0, 0],
    ['data=421,4.3.2:mine', '421 mine', 1, 0], # RFC 5321, 3.8: who says 421 closes
    ['data=DONE:250 mine', '250 mine', 0, 0],
    ['data_headers_end=OK', '250 Queued', 0, 1],
    ['data_headers_end=DONE:250 lost', '250 Queued', 0, 1],
    ['data_headers_end=DONE', '250 Queued', 0, 1],
    ['data_headers_end=BOGUS', '250 Queued', 0, 1],
    ['data_headers_end=OK!', '250 Queued', 1, 1],
    ['data_headers_end=DENY', '554 Message denied', 0, 0],
    ['data_headers_end=DENYSOFT:text', '451 text', 0, 0],
    ['data_headers_end=DENY_DISCONNECT', '554 Message denied', 1, 0],
    ['data_headers_end=DENYSOFT_DISCONNECT', '421 Message denied temporarily', 1, 0],
    (map { ["data_post_headers=$_", '250 Queued', 0, 1] } qw(OK DENY DENYSOFT DENY_DISCONNECT DONE BOGUS)),
    (map { ["received_line=$_", '250 Queued', 0, 1] } qw(OK DENY:text DENY_DISCONNECT DONE BOGUS)),
    ['data_post=OK', '250 Queued', 0, 1],
    ['data_post=DENY', '554 Message denied', 0, 0],
    ['data_post=DENYSOFT', '451 Message denied temporarily', 0, 0],
    ['data_post=DENY_DISCONNECT', '554 Message denied', 1, 0],
    ['data_post=DENYSOFT_DISCONNECT', '421 Message denied temporarily', 1, 0],
    ['data_post=DENY:a|b', "554-a\n554 b", 0, 0],
    ['data_post=DONE:250 discarded', '250 discarded', 0, 0],
    ['data_post=OK!', '250 Queued', 1, 1],
    ['queue_pre=OK', '250 Queued', 0, 1],
    ['queue_pre=BOGUS', '250 Queued', 0, 1],
    ['queue_pre=DENY', '554 Message denied', 0, 0],
    ['queue_pre=DENYSOFT', '451 Message denied temporarily', 0, 0],
    ['queue_pre=DENY_DISCONNECT', '554 Message denied', 1, 0],
    ['queue_pre=DENYSOFT_DISCONNECT', '421 Message denied temporarily', 1, 0],
    ['queue_pre=DONE:250 mine', '250 mine', 0, 0],
    ['queue=OK:Stored', '250 Stored', 0, 0],
    ['queue=OK!', '250 Queued', 1, 0],
    ['queue=DENY', '554 Message denied', 0, 0],
    ['queue=DENYSOFT', '451 Message denied temporarily', 0, 0],
    ['queue=DENY_DISCONNECT', '554 Message denied', 1, 0],
    ['queue=DENYSOFT_DISCONNECT', '421 Message denied temporarily', 1, 0],
    ['queue=DECLINED', '451 Queuing declined or disabled; try again later', 0, 0],
    ['queue=BOGUS', '451 Queuing declined or disabled; try again later', 0, 0],
    ['queue=DECLINED:disk full', '451 disk full', 0, 0],
    ['queue=MIXED', '250 mixed', 0, 0],
    ['queue=DONE:250 mine', '250 mine', 0, 0],
    (map { ["queue_post=$_", '250 Queued', 0, 1] } qw(OK DENY DENY_DISCONNECT DONE BOGUS)),
    ['reset_transaction=DENY', '250 Queued', 0, 1],
    ['reset_transaction=DENY_DISCONNECT:x', '250 Queued', 0, 1],
);
for my $how (qw(DATA BDAT)) {
    for my $row (@rows) {
        my ($probe, $reply, $closed, $queued) = @$row;
        fresh($probe);
        is message($how), $reply, "$how, $probe";
        is defined slurp($t->dir . '/queued') ? 1 : 0, $queued, 'queued';
        $closed ? ok $d->eof, 'closes' : gets('NOOP sender', '250 (none)', 'the transaction is over');
        undef $d if $closed;
    }
}
fresh('queue_post=DENY');
message();
gets('NOOP', '250 OK');
like $d->log, qr/queue_post: probe returned 901/, 'a queue_post that refuses is told in the log';
fresh('queue=DENY_DISCONNECT');
message();
ok $d->eof, 'queue=DENY_DISCONNECT closes';
is scalar(Probe::events($d, qr/queue_post/)), 1, 'queue_post runs all the same';

for my $case (['received_line=OK:from me|  by you', "Received: from me\n  by you\n"],
    ["received_line=OK:a|b\r|c\x01", "Received: a\n\tb\n\tc?\n"]) {
    fresh($case->[0]);
    message();
    like slurp($t->dir . '/queued'), qr/\A\Q$case->[1]\Ea: b\n/, 'received_line replaces ours';
}

# data_headers_end runs when the header has ended, not when the message has.
fresh('');
$d->say($_) for 'MAIL FROM:<a@b.test>', 'RCPT TO:<c@d.test>', 'DATA';
$d->raw("a: b\r\n\r\n");
ok $d->wait_log(qr/event data_headers_end/), 'data_headers_end runs before the body';
$d->raw("body\r\n.\r\n");
is $d->read_reply, '250 Queued', 'which comes then';
fresh('data_headers_end=DENY_DISCONNECT:no');
$d->say($_) for 'MAIL FROM:<a@b.test>', 'RCPT TO:<c@d.test>', 'DATA';
$d->raw("a: b\r\n\r\nbody without an end");
is $d->read_reply, '554 no', 'it may refuse at once';
ok $d->eof, 'and closes';
fresh('data_headers_end=DENY:no');
$d->say($_) for 'MAIL FROM:<a@b.test>', 'RCPT TO:<c@d.test>', 'DATA';
$d->raw("a: b\r\n\r\nMAIL FROM:<x\@y.test>\r\n" . "body\r\n" x 100_000);
$d->raw(".\r\nNOOP\r\n");
is $d->read_reply, '554 no', 'or at the end';
is $d->read_reply, '250 OK', 'when the rest was read away';
is scalar(Probe::events($d, qr/data_post|queue/)), 0, 'nobody else is asked';

# ---- order ----

my @session = ('pre-connection', 'connect', 'ehlo_parse client.test', 'ehlo client.test', 'reset_transaction',
    'mail_parse FROM:<a@b.test>', 'reset_transaction', 'mail_pre <a@b.test>', 'mail <a@b.test>',
    'rcpt_parse TO:<c@d.test>', 'rcpt_pre <c@d.test>', 'rcpt <c@d.test>', 'rcpt_accepted <c@d.test>', 'data', 'data_headers_end',
    'data_post_headers', 'received_line', 'data_post', 'queue_pre', 'queue', 'reset_transaction', 'queue_post',
    'quit', 'disconnect', 'reset_transaction', 'post-connection');
fresh();
message();
$d->quit;
$d->status;
is_deeply [Probe::events($d)], \@session, 'the hooks of a session, in order';
undef $d;
fresh();
message('BDAT');
$d->quit;
$d->status;
is_deeply [Probe::events($d)], \@session, 'the same with BDAT';
undef $d;
for my $end ('hangup', 'mail', 'data') {
    fresh();
    $d->say('MAIL FROM:<a@b.test>') if $end ne 'hangup';
    $d->say('RCPT TO:<c@d.test>'), $d->say('DATA') if $end eq 'data';
    $d->hangup('write');
    $d->eof;
    $d->status;
    my @got = Probe::events($d, qr/disconnect|post-connection/);
    is_deeply \@got, ['disconnect', 'post-connection'], "the end hooks run once: $end";
    undef $d;
}

$t->config(plugins => ['probe:1', 'probe', 'probe:0']);
fresh('rcpt=DECLINED;probe/mail=DENY:two;probe:0/mail=DENY:three');
gets('MAIL FROM:<a@b.test>', '550 two', 'the first with an opinion decides');
is_deeply [$d->log =~ /(\S+) plugin: event mail </g], ['probe:1', 'probe'], 'in config order, and no further';
is_deeply [$d->log =~ /(\S+) plugin: event deny (.*)/g], ['probe:1', 'probe mail 901 two', 'probe',
    'probe mail 901 two', 'probe:0', 'probe mail 901 two'], 'all deny hooks are told';
fresh('probe:0/queue=DECLINED;probe:1/queue=DECLINED:first;probe/queue=DECLINED:second');
is message(), '451 second', 'the last text of those who declined';
fresh('probe:0/queue=DECLINED;probe:1/queue=DECLINED:first;probe/queue=OK');
is message(), '250 Queued', 'a later one takes it: no old text';
fresh('probe:1/rcpt=550,5.1.1:no;probe/rcpt=OK');
$d->say('MAIL FROM:<>');
gets('RCPT TO:<a@b.test>', '550 no', 'qp_deny_code');
fresh('probe:1/mail=BOGUS;probe/mail=DENY:said');
gets('MAIL FROM:<>', '550 said', 'a result that is none is skipped');
like $d->log, qr/returned 7, which is no result: skipped/, 'and told';
fresh('probe:1/deny=DENY:x;probe/mail=DENY:y');
gets('MAIL FROM:<>', '550 y', 'a deny hook changes nothing');
is scalar(Probe::events($d, qr/deny/)), 1, 'but ends its own chain';

fresh('probe/mail=DENY:y;probe:0/deny=DECLINED!');
gets('MAIL FROM:<>', '550 y', 'qp_disconnect in a deny hook');
ok $d->eof, 'closes';

$t->config(plugins => ['probe', 'probe_ok']);
fresh('probe/mail=OK:yes');
gets('MAIL FROM:<>', qr/^250 /);
like $d->log, qr/probe_ok plugin: event ok probe mail 900 yes$/m, 'ok hooks are told of OK';
unlike $d->log, qr/event ok \S+ (ok|deny) /, 'not of themselves';
like $d->log, qr/probe_ok plugin: event ok probe_ok connect 909 $/m, 'and of DECLINED';
$t->config(plugins => ['probe']);

# ---- what lives how long ----

fresh();
gets('NOOP state c', '250 1', 'state of the connection');
gets('NOOP state t', '250 1', 'of the transaction');
gets('NOOP state t', '250 2');
gets('NOOP note c k v', '250 set');
gets('NOOP note t k w', '250 set');
gets('NOOP note t k', '250 w', 'two scopes, two notes');
gets('NOOP add c n 5', '250 5');
gets('NOOP add c n -7', '250 -2');
for my $line ('RSET', 'MAIL FROM:<a@b.test>', 'MAIL FROM:<bad>', 'EHLO again') {
    $d->say('NOOP note t k w');
    $d->say('NOOP state t');
    $d->say($line);
    gets('NOOP note t k', '250 (none)', "$line ends notes of the transaction");
    gets('NOOP state t', '250 1', 'and states');
}
for my $line ('HELO', 'MAIL', 'RCPT', 'DATA', 'VRFY x', 'NOOP x') {
    $d->say('NOOP note t k w');
    $d->say($line);
    gets('NOOP note t k', '250 w', "$line does not");
}
message();
gets('NOOP note t k', '250 (none)', 'the end of a message does');
gets('NOOP state c', '250 2', 'a state of the connection stays');
gets('NOOP note c k', '250 v', 'and its notes');
gets('NOOP count', qr/^250 \d\d$/, 'commands are counted');
my ($id) = $d->say('NOOP id') =~ /^250 (\S+) \1\.\d+$/;
ok $id, 'session and transaction id';
like $d->say('NOOP id'), qr/^250 \Q$id\E /, 'the session id stays';
isnt $d->say('RSET') && $d->say('NOOP id'), "250 $id $id.1", 'the transaction id does not';
gets('NOOP result probe connect', '250 909', 'qp_result_of');
gets('NOOP result probe mail', '250 0', 'forgotten with its transaction');
$d->say('MAIL FROM:<a@b.test>');
gets('NOOP result probe mail', '250 909', 'and known within it');
gets('NOOP result other mail', '250 0', 'an unknown plugin');

my $server = $t->prefork('--children', 1);
for my $n (1, 2) {
    my $c = $server->connect;
    is $c->say('NOOP note c k'), '250 (none)', "client $n of a process: no notes";
    is $c->say('NOOP state c'), '250 1', 'no states';
    $c->say('NOOP note c k v');
    $c->say('NOOP relay');
    $c->quit;
    ok $c->eof, 'ends';
}
is $server->stop, 0, 'the server stops';

$t->config(plugins => ['probe:0', 'probe:1']);
fresh('probe:0/noop=DECLINED');
gets('NOOP state c', '250 1', 'one instance');
$t->config(plugins => ['probe']);

# ---- config and user_config ----

$t->config(plugins => ['probe_config']);
$t->config(thing => ['from', 'the file']);
$t->config(empty => '');
fresh();
gets('NOOP config thing', '250 2 [from] [the file]', 'a file');
gets('NOOP config nothing', '250 0', 'an absent file');
gets('NOOP user_config <joe@x.test> thing', '250 2 [from] [the file]', 'without answers: the file');
fresh('config/thing=OK:answered|twice;user_config/joe@x.test/thing=OK:for joe;config/me=OK:hooked.test;'
    . 'config/databytes=OK:12345');
gets('NOOP config thing', '250 2 [answered] [twice]', 'a config hook wins');
gets('NOOP user_config <joe@x.test> thing', '250 1 [for joe]', 'a user_config hook wins over it');
gets('NOOP user_config <jim@x.test> thing', '250 2 [answered] [twice]', 'for its user');
gets('EHLO x', qr/^250-hooked\.test Hi .*\n(?:.*\n)*250-SIZE 12345\n/, 'also for what the engine asks');
fresh('config/thing=OK');
gets('NOOP config thing', '250 0', 'OK without lines is an empty value');
fresh('config/thing=DENY:x');
gets('NOOP config thing', '250 2 [from] [the file]', 'any other result: the file');
fresh('config/max_recipients=OK:many');
is $d->greeting, '421 unable to read controls (#4.3.0)', 'an answer that is wrong refuses this client';
like $d->log, qr/hook config:1: "many" is no number/, 'and is told';
$t->config(plugins => ['probe']);

# ---- loading ----

# check - status and message of --check with these lines of config/plugins
sub check {
    my (@lines) = @_;

    $t->config(plugins => \@lines);
    my ($status, $out) = $t->check;
    return "$status $out";
}

my $file = $t->dir . '/config/plugins';
is check('probe'), "0 configuration ok: 1 plugins\n", '--check';
is check('# nothing'), "0 configuration ok: 0 plugins\n", 'no plugins';
is check('probe', 'probe:1', 'probe', 'probe:007', 'probe number 3 loglevel +1'), "0 configuration ok: 5 plugins\n", 'instances';
open(my $fh, '>', "$plugins/text.so") or die "text.so: $!";
close $fh;
for my $case (
    [['probe', '', 'missing'], "$file:3: plugin missing not found in our plugin dirs ($plugins, "],
    [['probe_bad_abi'], "$file:1: $plugins/probe_bad_abi.so was built for plugin ABI 2, this is ABI 1: compile it again"],
    [['probe_no_symbol'], "$file:1: $plugins/probe_no_symbol.so is no plugin: it does not export qp_plugin"],
    [['probe:1 mode fail'], "$file:1: probe:1: the reason"],
    [['probe mode silent'], "$file:1: probe: does not start"],
    [['probe mode forgets'], "$file:1: probe: complained and said true"],
    [['# x', 'probe nubmer 3'], "$file:2: probe: "],
    [['probe number 10'], "$file:1: probe: "],
    [['probe number x'], "$file:1: probe: "],
    [['probe number'], "$file:1: probe: "],
    [['../probe'], "$file:1: \"../probe\""],
    [['/etc/probe'], "$file:1: \"/etc/probe\""],
    [['a/../probe'], "$file:1: \"a/../probe\""],
    [['.probe'], "$file:1: \".probe\""],
    [['pro*be'], "$file:1: \"pro*be\""],
    [['probe:x'], "$file:1: \"probe:x\": only a number"],
    [['probe:'], "$file:1: \"probe:\": only a number"],
    [["probe \x01"], "$file:1: "],
    [['text'], "$file:1: plugin text cannot be loaded: "],
) {
    my ($lines, $message) = @$case;
    my $got = check(@$lines);
    is index($got, "1 qpsmtpd: $message"), 0, $lines->[-1] =~ s/[^ -~]/./gr or diag $got;
    is $got =~ tr/\n//, 1, 'in one line';
}
unlink "$plugins/text.so";
is check("probe\tnumber\t3"), "0 configuration ok: 1 plugins\n", 'TAB separates words';
is check(' probe   number   3 '), "0 configuration ok: 1 plugins\n", 'so do blanks';
{
    check('missing');
    $d = $t->dialogue;
    is $d->greeting, '421 service not available, configuration error', 'a client of a broken configuration';
    is $d->status, 111, 'status 111';
    like $d->log, qr/\Aqpsmtpd: \Q$file\E:1: plugin missing not found[^\n]*\n\z/, 'one line in the log';
    my @prefork = ($t->program('qpsmtpd-prefork'), $t->options, '--user', scalar getpwuid $<);
    my ($status, $out) = $t->run(@prefork, '--check');
    is $status, 1, 'qpsmtpd-prefork --check';
    like $out, qr/^[^\n]*\Q$file\E:1: plugin missing not found[^\n]*\n\z/, 'says the same';
    ($status, $out) = $t->run(@prefork, '-l', '127.0.0.1', '-p', '0');
    isnt $status, 0, 'qpsmtpd-prefork does not start';
    like $out, qr/plugin missing not found/, 'and says why';
    check('probe');
    ($status, $out) = $t->run(@prefork, '--check');
    is $status, 0, 'qpsmtpd-prefork --check of a good one';
    undef $d;
}

# ---- $Include, directories, aliases, subdirectories ----

make_path($t->dir . '/config/plugins.d', "$plugins/sub/dir");
link "$plugins/probe.so", "$plugins/sub/dir/probe.so";
link "$plugins/probe.so", "$plugins/bare";
$t->file('config/more', "probe:2\n\$include plugins.d\nprobe:5\n");
$t->file('config/plugins.d/10_a', "probe:3\n");
$t->file('config/plugins.d/20_b', "# nothing\n  probe:4  \n");
$t->file('config/plugins.d/.hidden', "missing\n");
is check('probe:1', '$INCLUDE more', 'sub/dir/probe:6', 'bare'), "0 configuration ok: 7 plugins\n", '$Include';
fresh();
is_deeply [$d->log =~ /(\S+) plugin: event connect/g], [map({ "probe:$_" } 1 .. 5), 'sub/dir/probe:6', 'bare'],
    'in order: files in place, directories by name';
$t->file('config/plugins.d/15_bad', "probe\nmissing 1\n");
is index(check('$Include more'), '1 qpsmtpd: ' . $t->dir . '/config/plugins.d/15_bad:2: plugin missing not found'), 0,
    'a fault in an included file is told where it stands';
unlink $t->dir . '/config/plugins.d/15_bad';
like check('probe', '$Include nowhere', 'probe:1'), qr/CRITICAL PLUGIN CONFIG ERROR: Include nowhere not found/, 'a missing one';
like check('probe', '$Include nowhere', 'probe:1'), qr/configuration ok: 2 plugins/, 'is skipped';
$t->file('config/loop', "probe:1\n\$Include plugins\n\$Include loop\nprobe:2\n");
my $loop = check('$Include loop');
like $loop, qr/\A0 (?:.*CRITICAL PLUGIN CONFIG ERROR: Include .*\n){2}configuration ok: 2 plugins\n\z/s, 'loops';
is check('$Include ' . $t->dir . '/config/more'), "0 configuration ok: 4 plugins\n", 'an absolute name';
is check(map { ("$_->[0]", "$_->[1]") } ['relay', 'check_relay'], ['badmailfrom', 'check_badmailfrom'],
    ['badrcptto', 'check_badrcptto'], ['headers', 'check_basicheaders'], ['helo', 'check_spamhelo'],
    ['earlytalker', 'check_earlytalker'], ['badmailfromto', 'check_badmailfromto']),
    "0 configuration ok: 14 plugins\n", 'old and new names of the same plugins';
$t->config(plugin_dirs => "$plugins/sub\n$plugins");
{
    $t->config(plugins => "dir/probe\nprobe\n");
    my ($status, $out) = $t->run($t->program('qpsmtpd'), '-C', $t->dir . '/config', '--check');
    is $out, "configuration ok: 2 plugins\n", 'plugin_dirs';
}

done_testing;
