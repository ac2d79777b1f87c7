# Configuration from a web server that the test plays: what it says, and what happens when it fails.
use strict;
use warnings;

use IO::Socket::INET;
use Test::More;
use Time::HiRes qw(time sleep);

use Qpsmtpd::HTTP;
use Qpsmtpd::Test qw(free_port wait_for);

my $http = Qpsmtpd::HTTP->new;
my $url = $http->url;
my $missing = {status => '404 Not Found', body => 'no such file'};
$http->answer('*' => $missing);

my @alive;
sub harness {
    my ($arguments, %config) = @_;

    push @alive, my $t = Qpsmtpd::Test->new( # its directory, and the log there, goes with it
        plugins => ["http_config $arguments", 'rcpt_ok', 'queue/discard'],
        config => {rcpthosts => 'local.test', smtpgreeting => 'local greeting', %config},
    );
    return $t;
}

# rcpt - is mail for that domain taken?
sub rcpt {
    my ($d, $host) = @_;

    $d->say($_) for 'RSET', 'HELO x', 'MAIL FROM:<a@client.test>';
    $d->say("RCPT TO:<x\@$host>");
    return $d->code == 250;
}

# ---- what it asks and what it understands ----------------------------------------------------------

my $t = harness("$url/conf/");
$http->answer('/conf/rcpthosts' => "# comment\r\n\r\n  remote.test \r\n#x\rother.test");
my $d = $t->dialogue;
ok rcpt($d, 'remote.test') && rcpt($d, 'other.test'), 'lines end in LF, CR or both, and are trimmed';
ok !rcpt($d, 'local.test'), 'the local file does not count then';
like $d->greeting, qr/^220 local greeting/, 'what the server does not have is the local file';
my @asked = map { $_->{path} } $http->requests;
ok !grep({ m{/(?:plugins|plugin_dirs|logging|me)\z} } @asked), 'never asked for: plugins, plugin_dirs, logging, me';
my %times;
$times{$_}++ for @asked;
is_deeply [grep { $times{$_} > 1 } sort keys %times], [], 'nothing is asked for twice in a process';
cmp_ok $times{'/conf/smtpgreeting'} || 0, '==', 1, 'settings of the engine are asked for';
ok rcpt($d, 'remote.test'), 'a session goes on';
is scalar $http->requests, 0, '... without asking';

$t = harness("$url/a?file= only rcpthosts,databytes");
$http->answer('/a?file=rcpthosts' => 'query.test');
$d = $t->dialogue;
ok rcpt($d, 'query.test'), 'the name is appended to the prefix as it is';
is_deeply [sort map { $_->{path} } $http->requests], ['/a?file=databytes', '/a?file=rcpthosts'], 'only: the others are not asked for';

for my $case (
    ['an empty answer', {body => ''}],
    ['comments only', {body => "# nothing\n\n \n"}],
    ['404', $missing],
    ['410', {status => '410 Gone', body => 'remote.test'}],
) {
    $http->answer('/conf/rcpthosts' => $case->[1]);
    $d = harness("$url/conf/ only rcpthosts")->dialogue;
    ok rcpt($d, 'local.test'), "$case->[0]: the local file";
    unlike $d->log, qr/server failed/, '... and no complaint';
}
$http->answer('/conf/rcpthosts' => {body => "remote.test\n" x 3000, chunked => 1});
ok rcpt(harness("$url/conf/ only rcpthosts")->dialogue, 'remote.test'), 'a long answer in chunks';

$d->quit;
is $d->status, 0, 'it ends well';

# ---- servers that fail: the local file, a line in the log, and no long wait -------------------------

for my $case (
    ['500', {status => '500 Oops', body => 'remote.test'}, qr/HTTP status 500/],
    ['403', {status => '403 No', body => 'remote.test'}, qr/HTTP status 403/],
    ['a redirect', {status => '301 Moved', body => 'remote.test', header => ["Location: $url/conf/other"]}, qr/HTTP status 301/],
    ['a page of HTML', {body => '<p>remote.test', type => 'text/html; charset=utf-8'}, qr/HTML/],
    ['NUL bytes', {body => "remote.test\0"}, qr/no text/],
    ['too large', {body => "remote.test\n" x 6000}, qr/too large/],
    ['endless', {endless => 1}, qr/too large/],
    ['cut', {body => "remote.test\n", after => 70}, qr/server failed/],
    ['a cut chunk', {body => "remote.test\n" x 9, chunked => 1, after => 120}, qr/server failed/],
    ['closed', {close => 1}, qr/server failed/],
    ['garbage', {raw => "\x00\xff" x 300}, qr/server failed/],
    ['HTTP 0.9', {raw => 'remote.test'}, qr/server failed/],
    ['hangs', {hang => 'answer'}, qr/server failed/],
    ['hangs in the body', {body => "remote.test\n", hang => 70}, qr/server failed/],
    ['drips', {body => "remote.test\n" x 100, drip => 0.1}, qr/server failed/],
) {
    $http->answer('*' => $case->[1]);
    $http->answer('/conf/rcpthosts' => $case->[1]);
    my $began = time;
    $d = harness("$url/conf/ timeout 1s")->dialogue;
    ok rcpt($d, 'local.test') && !rcpt($d, 'remote.test'), "$case->[0]: the local file";
    like $d->log, $case->[2], '... and it is logged';
    is scalar(() = $d->log =~ /server failed/g), 1, '... once: it is left alone then';
    ok time - $began < 8 * ($ENV{TEST_SLOW} || 1), '... and soon';
}
$http->answer($_ => $missing) for '*', '/conf/rcpthosts';
like harness("$url/conf/ max 100k timeout 5s")->dialogue->log, qr/\A(?:(?!server failed).)*\z/s, 'no complaint otherwise';
{
    my $port = free_port();
    $d = harness("http://joe:secret\@127.0.0.1:$port/ only rcpthosts")->dialogue;
    ok rcpt($d, 'local.test'), 'nobody listens: the local file';
    like $d->log, qr{server=http://127\.0\.0\.1:$port/}, '... and it is logged';
    unlike $d->log, qr/secret/, '... without the password';
}

# Slow, but within its time for each answer: a session with thirty files must not wait for all of them.
$http->answer('*' => {body => "1\n" x 2, drip => 0.007, status => '404 Not Found'});
my $began = time;
$d = harness("$url/conf/ timeout 1s")->dialogue;
like $d->log, qr/error="too slow"/, 'answers that take long in sum: the server is left alone';
ok time - $began < 8 * ($ENV{TEST_SLOW} || 1), '... in time';
$http->answer('*' => $missing);

# Several servers.
{
    my $second = Qpsmtpd::HTTP->new;
    $second->answer('*' => $missing);
    $second->answer('/rcpthosts' => 'second.test');
    my $both = "$url/conf/ " . $second->url . '/ only rcpthosts';
    $http->answer('/conf/rcpthosts' => 'first.test');
    ok rcpt(harness($both)->dialogue, 'first.test'), 'the first server that has it';
    is scalar $second->requests, 0, '... the second is not asked';
    for my $none ($missing, {body => ''}, {status => '500 Oops'}, {close => 1}) {
        $http->answer('/conf/rcpthosts' => $none);
        ok rcpt(harness($both)->dialogue, 'second.test'), 'the second one, when the first has nothing';
    }
}

# ---- a daemon: answers are used for a while, and further when the server is gone --------------------

$http->answer('/conf/smtpgreeting' => 'first greeting');
$t = harness("$url/conf/ only smtpgreeting ttl 1s timeout 2s");
my $s = $t->prefork('--children', 1, '--idle-children', 1);
sub greeting { my $c = $s->connect; my $g = $c->greeting; $c->quit; return $g =~ s/^220 (\S+ greeting).*/$1/sr }
is greeting(), 'first greeting', 'prefork: from the server';
$http->answer('/conf/smtpgreeting' => 'second greeting');
is wait_for(sub { greeting() eq 'second greeting' }, 10, 'the new value'), 1, 'a change arrives after ttl, without a restart';
$http->stop;
sleep 1.2;
is greeting(), 'second greeting', 'the server is gone: its last answer stays';
like $s->log, qr/server failed, not asked for 1 s server=\Q$url\E\S* name=smtpgreeting/, '... and it is logged';
sleep 1.2;
is greeting(), 'second greeting', '... and stays';
$http->start;
$http->answer('/conf/smtpgreeting' => 'third greeting');
is wait_for(sub { greeting() eq 'third greeting' }, 10, 'the value after the outage'), 1, 'it is back';
$http->answer('/conf/smtpgreeting' => $missing);
is wait_for(sub { greeting() eq 'local greeting' }, 10, 'the local value'), 1, 'it has the file no more: the local one';
$http->answer('/conf/smtpgreeting' => 'fourth greeting');
$s->hup;
is wait_for(sub { greeting() eq 'fourth greeting' }, 10, 'the value after SIGHUP'), 1, 'SIGHUP';
$http->stop;
$s->hup;
is wait_for(sub { greeting() eq 'local greeting' }, 20, 'the local value'), 1, 'SIGHUP without a server: the local file, and it serves';
is $s->stop, 0, 'it ends well';
$http->start;

# ---- https -----------------------------------------------------------------------------------------

$t = harness('URL');
sub openssl { system("openssl @_ >/dev/null 2>&1") == 0 or die "openssl @_\n" }
my $dir = $t->dir;
openssl("req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=ca -keyout $dir/ca.key -out $dir/ca.pem");
openssl("req -newkey rsa:2048 -nodes -subj /CN=mx -keyout $dir/mx.key -out $dir/mx.csr");
$t->file('san', "subjectAltName=IP:127.0.0.1\n");
openssl("x509 -req -in $dir/mx.csr -CA $dir/ca.pem -CAkey $dir/ca.key -CAcreateserial -days 2 -extfile $dir/san -out $dir/mx.pem");
openssl("req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=other -keyout $dir/other.key -out $dir/other.pem");
$t->file('www/rcpthosts', "secure.test\n");
my $port = free_port();
my $log = "$dir/s_server.log";
my $pid = fork;
die "fork: $!" unless defined $pid;
if ($pid == 0) {
    chdir "$dir/www";
    open STDIN, '<', '/dev/null';
    open STDOUT, '>', $log;
    open STDERR, '>&', \*STDOUT;
    exec qw(openssl s_server -WWW -quiet -accept), "127.0.0.1:$port", '-cert', "$dir/mx.pem", '-key', "$dir/mx.key";
    exit 1;
}
END { local $?; if ($pid) { kill KILL => $pid; waitpid $pid, 0 } }
wait_for(sub { IO::Socket::INET->new(PeerAddr => "127.0.0.1:$port") }, 10, 'openssl s_server');

sub https {
    my ($host, $more) = @_;
    $t->config(plugins => ["http_config https://$host:$port/ only rcpthosts $more", 'rcpt_ok', 'queue/discard']);
    return $t->dialogue;
}
$d = https('127.0.0.1', "ca $dir/ca.pem");
ok rcpt($d, 'secure.test'), 'https with the right authority';
for my $case (['127.0.0.1', '', 'nobody knows its issuer'], ['127.0.0.1', "ca $dir/other.pem", 'another authority'],
    ['localhost', "ca $dir/ca.pem", 'another name']) {
    $d = https($case->[0], $case->[1]);
    ok !rcpt($d, 'secure.test') && rcpt($d, 'local.test'), "https: $case->[2]: the local file";
    like $d->log, qr/server failed.*(?:certificate|SSL)/i, '... and the log says why';
}

# ---- what is wrong is told at start ----------------------------------------------------------------

for my $case (
    ['', qr/where from/], ['ttl 5s', qr/where from/], ['ftp://127.0.0.1/', qr/no URL of http/],
    ['http://192.0.2.1/', qr/insecure/], ['http://127.0.0.1.evil.test/', qr/insecure/], ['http:///', qr/no URL/],
    ['http://127.0.0.1/ ttl 0', qr/ttl/], ['http://127.0.0.1/ timeout 2m', qr/timeout/], ['http://127.0.0.1/ max 1G', qr/max/],
    ['http://127.0.0.1/ insecure maybe', qr/insecure/], ['http://127.0.0.1/ rcpthosts', qr/rcpthosts/],
    [join(' ', map { "http://127.0.0.1/$_/" } 1 .. 9), qr/at most 8/],
) {
    my ($status, $said) = harness($case->[0])->check;
    isnt $status, 0, "'$case->[0]' refuses the start";
    like $said, qr/plugins:1.*$case->[1]/, '... with file and line';
}
{
    my ($status, $said) = harness('http://192.0.2.1/ insecure 1 only nothing')->check;
    is $status, 0, 'insecure 1 allows plain http to others';
}
done_testing;
