use strict;
use warnings;

use Test::More;
use Qpsmtpd::Test;

# replies - what a stranger gets for each recipient
sub replies {
    my ($t, $to, %env) = @_;
    my $d = $t->dialogue(env => {TCPREMOTEIP => '192.0.2.1', TCPREMOTEHOST => undef, %env});

    $d->say('EHLO client.test');
    $d->say('MAIL FROM:<a@client.test>');
    my @replies = map { $d->say("RCPT TO:<$_>") } ref $to ? @$to : $to;
    $d->quit;
    return @replies;
}

my $t = Qpsmtpd::Test->new(
    plugins => ['check_relay', 'rcpt_ok'],
    config  => {rcpthosts => "ours.test\n.wild.test\n", relayclients => '198.51.100.1'},
);
$t->file('more', "more.test\n.deep.test\n");
is system('cdb', '-c', '-m', $t->dir . '/config/morercpthosts.cdb', $t->dir . '/more'), 0, 'a database';

my @cases = (
    ['x@ours.test',         250, 'a line of rcpthosts'],
    ['x@OURS.Test',         250, 'in any case'],
    ['x@sub.ours.test',     550, 'a name below it'],
    ['x@notours.test',      550, 'a name that ends like it'],
    ['x@a.wild.test',       250, 'a name below a suffix'],
    ['x@a.b.WILD.test',     250, 'a deeper one'],
    ['x@wild.test',         550, 'the suffix itself'],
    ['x@mx.example.test',   250, 'the name of the server'],
    ['x@MORE.test',         250, 'a key of the database'],
    ['x@a.more.test',       550, 'a name below a key'],
    ['x@a.b.deep.test',     250, 'a name below a suffix of the database'],
    ['x@deep.test',         550, 'that suffix itself'],
    ['postmaster',          250, 'postmaster'],
    ['PostMaster',          250, 'postmaster in any case'],
    ['abuse',               501, 'no other word'],
    ['x@foreign.test',      550, 'another domain'],
    ['"x@ours.test"@foreign.test', 550, 'one of ours in the local part'],
);
my @replies = replies($t, [map { $_->[0] } @cases]);
for my $i (0 .. $#cases) {
    my ($to, $code, $name) = @{$cases[$i]};
    like $replies[$i], qr/^$code/, "$name: $to gets $code";
}
like $replies[-2], qr/^550 relaying denied/i, 'the refusal is that of r356';

like((replies($t, 'x@foreign.test', TCPREMOTEIP => '198.51.100.1'))[0], qr/^250/, 'a relay client may send to it');

# ---- what qmail passes over ----

{
    my $qmail = Qpsmtpd::Test->new(plugins => ['rcpt_ok'], config => {rcpthosts => <<"END"});
*.wild.test
\@at.test
user\@host
example.org:foo
10.0.0.0/8
m\xc3\xbcnchen.de
.
..
ours.test
END
    my ($status, $output) = $qmail->check;
    is $status, 0, 'lines that match nothing in qmail stop nobody\'s mail';
    like $output, qr{config/rcpthosts:$_: .* is no domain: ignored}, "line $_ is warned of" for 1 .. 8;
    unlike $output, qr{rcpthosts:9}, 'and no other';
    my @replies = replies($qmail, ['x@ours.test', 'x@a.wild.test', 'x@at.test', 'x@host', 'x@example.org', 'x@foreign.test']);
    is_deeply [map { substr $_, 0, 3 } @replies], [250, (550) x 5], 'they match nothing here either';
    ($status, $output) = $qmail->run('sh', '-c', 'cd config && exec "$0" rcpthosts', $qmail->program('qpsmtpd-table'));
    isnt $status, 0, 'who compiles the list is told';
    like $output, qr{rcpthosts:1: .* is no domain}, 'with file and line';
}

# ---- trouble ----

$t->file('config/morercpthosts.cdb', "\xff" x 4096);
my ($foreign, $ours) = replies($t, ['x@foreign.test', 'x@ours.test']);
like $foreign, qr/^450 .*unable to read controls/, 'a damaged database refuses nobody for good';
like $ours, qr/^250/, 'and hinders no other domain';
unlink $t->dir . '/config/morercpthosts.cdb';

# ---- what is missing ----

$t = Qpsmtpd::Test->new(plugins => ['rcpt_ok'], config => {me => "mx.example.test\nalso.test\n"});
my ($me, $also, $other) = replies($t, ['x@mx.example.test', 'x@also.test', 'x@other.test']);
like $me, qr/^250/, 'without rcpthosts mail for me is accepted';
like $also, qr/^250/, 'for its other lines as well';
like $other, qr/^550/, 'and for nobody else';
my ($status, $output) = $t->check;
is $status, 0, 'that is no error';
like $output, qr/rcpthosts is missing or empty, mail is accepted for mx\.example\.test only/, 'but is warned of';
my $d = $t->dialogue(env => {TCPREMOTEIP => '192.0.2.1'});
$d->say($_) for 'EHLO client.test', 'MAIL FROM:<a@client.test>', 'RCPT TO:<x@mx.example.test>';
unlike $d->log, qr/rcpthosts/, 'a process for one client says nothing of it';
$d->say('RCPT TO:<x@other.test>') for 1, 2;
is scalar(() = $d->log =~ /mail is accepted for mx\.example\.test only/g), 1, 'until it refuses somebody, and then once';
$d->quit;
my $s = $t->prefork('-H');
is scalar(() = $s->log =~ /mail is accepted for mx\.example\.test only/g), 1, 'a daemon says it at its start';
$d = $s->connect(from => '127.0.0.2');
$d->say($_) for 'EHLO client.test', 'MAIL FROM:<a@client.test>', 'RCPT TO:<x@other.test>';
$d->quit;
is scalar(() = $s->log =~ /rcpthosts is missing/g), 1, 'and never again';
$s->stop;

# ---- refused at the start ----

$t->config(plugins => ['rcpt_ok now']);
($status, $output) = $t->check;
is $status, 1, 'an argument refuses the start';
like $output, qr{config/plugins:1.*now}, 'and is told with file and line';

$t->config(plugins => ['rcpt_ok']);
mkdir $t->dir . '/config/rcpthosts';
($status, $output) = $t->check;
is $status, 1, 'rcpthosts that cannot be read refuses the start';
like $output, qr{config/rcpthosts}, 'and is named';

done_testing;
