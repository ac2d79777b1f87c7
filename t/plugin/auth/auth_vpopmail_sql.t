# What needs no real database: a played PostgreSQL, good and bad, and everything about the files. The
# real ones: t/peers/auth_sql.t.
use strict;
use warnings;

use IO::Socket::INET;
use Test::More;
use Time::HiRes qw(sleep time);
use Qpsmtpd::Auth;
use Qpsmtpd::Test qw(slurp);

my $slow = $ENV{TEST_SLOW} || 1;
my $hash = crypt 'sesame', '$6$abcdefgh$';
my %config = (auth_failure_delay => 0, max_auth_failures => 0, auth_mechanisms => 'PLAIN LOGIN CRAM-MD5 SCRAM-SHA-256');
my $t = Qpsmtpd::Test->new(plugins => ["auth/auth_vpopmail_sql timeout $slow", 'rcpt_ok'], config => \%config);

# ---- a played PostgreSQL: protocol 3.0, as far as libpq needs it -----------------------------------

my $listener = IO::Socket::INET->new(LocalAddr => '127.0.0.1', LocalPort => 0, Listen => 16, Proto => 'tcp') or die $@;
my $port = $listener->sockport;
my %rows = ('joe@example.com' => [$hash, undef], 'clear@example.com' => [undef, 'sesame'], 'none@example.com' => [undef, ''],
    'huge@example.com' => [undef, 'x' x 256], 'full@example.com' => [undef, 'x' x 255]);

sub gets {
    my ($s, $n) = @_;
    my $bytes = '';

    while (length $bytes < $n) {
        sysread $s, $bytes, $n - length $bytes, length $bytes or exit 0;
    }
    return $bytes;
}

sub message { return $_[0] . pack('N', 4 + length $_[1]) . $_[1] }

# parameters - of a Bind message
sub parameters {
    my ($portal, $statement, $rest) = unpack 'Z*Z*a*', $_[0];
    my ($formats) = unpack 'n', $rest;

    return unpack 'n/(N/a)', substr $rest, 2 + 2 * $formats;
}

sub columns {
    my ($n) = @_;

    return message('T', pack 'n(Z*NnNnNn)' . $n, $n, ('c', 0, 0, 25, 65535, 4294967295, 0) x $n);
}

sub row {
    return message('D', pack('n', scalar @_) . join '', map { defined $_ ? pack 'N/a', $_ : pack 'N', 4294967295 } @_);
}

sub answer {
    my ($mode, @who) = @_;
    my $row = @who ? $rows{join '@', @who} : [$hash, ''];
    my $ready = message('Z', 'I');

    return message('E', "SERROR\0C42501\0Mpermission denied for table vpopmail\0\0") . $ready if $mode eq 'error';
    return message('1', '') . message('2', '') . columns(1) . row('x') . message('C', "SELECT 1\0") . $ready if $mode eq 'narrow';
    return message('1', '') . message('2', '') . columns(2) . ($row ? row(@$row) : '') . message('C', "SELECT 1\0") . $ready;
}

sub serve {
    my ($s, $mode) = @_;
    my @who;

    gets($s, 1e6) if $mode eq 'silent';
    if ($mode eq 'flood') {
        1 while syswrite $s, 'x' x 65536;
        exit 0;
    }
    exit 0 if $mode eq 'close';
    while (1) { # the start: encryption is refused
        my $length = unpack 'N', gets($s, 4);
        my $start = gets($s, $length - 4);
        last unless unpack('N', $start) == 80877103;
        syswrite $s, 'N';
    }
    syswrite $s, message('R', pack 'N', 0) . message('N', "SNOTICE\0C00000\0Mnobody wants to know\0\0") . message('Z', 'I');
    for (my $asked = 0;;) {
        my ($type, $length) = unpack 'aN', gets($s, 5);
        my $body = gets($s, $length - 4);
        exit 0 if $type eq 'X';
        @who = parameters($body) if $type eq 'B';
        next unless $type eq 'S';
        exit 0 if $mode eq 'dies' || $mode eq 'once' && $asked++ == 2; # the first question is for a sample
        gets($s, 1e6) if $mode eq 'stuck'; # until it is left alone
        my $bytes = $mode eq 'lies' ? "D\x7f\xff\xff\xff" . 'x' x 1000 : answer($mode, @who);
        if ($mode eq 'drips') {
            $bytes =~ s/(.)/syswrite($s, $1) or exit 0; sleep 0.2; ''/ges;
        }
        syswrite $s, substr $bytes, 0, $mode eq 'cut' ? length($bytes) - 8 : length $bytes;
        exit 0 if $mode eq 'cut';
    }
}

my $played = fork // die "fork: $!";
if ($played == 0) {
    $SIG{CHLD} = 'IGNORE';
    $SIG{TERM} = 'DEFAULT';
    open STDOUT, '>', '/dev/null' or die; # or prove would wait for the children's, too
    while (my $s = $listener->accept) {
        my $mode = slurp($t->dir . '/mode');
        fork and next;
        close $listener;
        alarm 60 * $slow;
        serve($s, $mode);
    }
    exit 0;
}
close $listener;
END { kill TERM => $played if $played; }

# ---- verdicts --------------------------------------------------------------------------------------

my $d;

sub fresh {
    my ($mode) = @_;

    $t->file('mode', $mode);
    $d = $t->dialogue;
    return $d->say('EHLO client.test');
}

sub wrong {
    my ($name, $user, $text) = @_;

    return "535 $name authentication failed for $user from 127.0.0.1" . ($text ? " - auth_vpopmail_sql - $text" : '');
}

my $deferred = '454 Temporary authentication failure';

$t->config(vpopmail_mysql_dsn => "dbi:Pg:dbname=vpopmail;host=127.0.0.1;port=$port");
like fresh('good'), qr/^250 AUTH PLAIN LOGIN CRAM-MD5 SCRAM-SHA-256$/m, 'all mechanisms are announced';
is plain($d, 'joe@example.com', 'wrong'), wrong('PLAIN', 'joe@example.com', 'wrong password'), 'a wrong password';
is plain($d, 'nobody@example.com', 'wrong'), wrong('PLAIN', 'nobody@example.com', 'wrong password'), 'an unknown user';
is plain($d, 'none@example.com', 'x'), wrong('PLAIN', 'none@example.com', 'no such user'), 'a user without password';
is plain($d, 'joe', 'sesame'), wrong('PLAIN', 'joe'), 'a user without domain';
is cram($d, 'joe@example.com', 'sesame'), wrong('CRAM-MD5', 'joe@example.com'), 'CRAM-MD5 with a hash';
is plain($d, 'huge@example.com', 'x' x 256), $deferred, 'a column that is longer than a password';
is plain($d, 'full@example.com', 'x' x 255), '235 PLAIN authentication successful for full@example.com - auth_vpopmail_sql',
    'the longest one';
for my $m (sort keys %method) {
    next if $m eq 'SCRAM-SHA-1';
    fresh('good');
    is $method{$m}->($d, 'Clear@EXAMPLE.com', 'sesame'),
        "235 $m authentication successful for Clear\@EXAMPLE.com - auth_vpopmail_sql", "$m with a clear password";
}
fresh('good');
is login($d, 'joe@example.com', 'sesame'), '235 LOGIN authentication successful for joe@example.com - auth_vpopmail_sql', 'a hash';

# ---- a server that is none -------------------------------------------------------------------------

for my $case (
    ['silent', qr/cannot reach the database driver=Pg error="no connection in time"/],
    ['flood',  qr/cannot reach the database/],
    ['close',  qr/cannot reach the database/],
    ['stuck',  qr/cannot ask the database driver=Pg error="no answer in time"/],
    ['drips',  qr/cannot ask the database driver=Pg error="no answer in time"/],
    ['dies',   qr/cannot ask the database/],
    ['cut',    qr/cannot ask the database/],
    ['lies',   qr/cannot ask the database/],
    ['error',  qr/cannot ask the database driver=Pg error="ERROR:  permission denied for table vpopmail"/],
    ['narrow', qr/cannot ask the database/],
) {
    my ($mode, $log) = @$case;
    fresh($mode);
    my $began = time;
    is plain($d, 'joe@example.com', 'sesame'), $deferred, "$mode: nobody can tell";
    my $took = time - $began;
    cmp_ok $took, '<', 4 * $slow, sprintf 'after %.1f s', $took;
    like $d->log, $log, 'and the log says why';
    $t->file('mode', 'good');
    like plain($d, 'joe@example.com', 'sesame'), qr/^235 /, 'another attempt, a new connection';
}
fresh('once');
is plain($d, 'joe@example.com', 'wrong'), wrong('PLAIN', 'joe@example.com', 'wrong password'), 'the connection is kept';
is plain($d, 'joe@example.com', 'wrong'), wrong('PLAIN', 'joe@example.com', 'wrong password'), 'and replaced when it has died';
like $d->log, qr/the connection has ended, once more/, 'as the log tells';
unlike $d->log, qr/sesame|nobody wants to know/, 'no password in it';

# MariaDB, too, gets no more time. What was played so far is no MariaDB at all.
for my $case (
    ['silent', qr/cannot reach the database driver=mysql error=/],
    ['flood',  qr/cannot reach the database driver=mysql error=/],
    ['close',  qr/cannot reach the database driver=mysql error=/],
) {
    my ($mode, $log) = @$case;
    $t->config(vpopmail_mysql_dsn => "dbi:mysql:database=vpopmail;hostname=127.0.0.1;port=$port");
    fresh($mode);
    my $began = time;
    is plain($d, 'joe@example.com', 'sesame'), $deferred, "MariaDB, $mode: nobody can tell";
    my $took = time - $began;
    cmp_ok $took, '<', 4 * $slow, sprintf 'after %.1f s', $took;
    like $d->log, $log, 'and the log says why';
}

# ---- what is missing -------------------------------------------------------------------------------

kill TERM => $played;
waitpid $played, 0;
$played = 0;
for my $case (['Pg', 'libpq.so.5', 'libpq5'], ['mysql', 'libmariadb.so.3', 'libmariadb3']) {
    my ($driver, $library, $package) = @$case;
    $t->config(vpopmail_mysql_dsn => "dbi:$driver:dbname=vpopmail;host=127.0.0.1;port=$port");
    fresh('good');
    is plain($d, 'joe@example.com', 'sesame'), $deferred, "$driver: no server";
    like $d->log, qr/cannot reach the database driver=$driver/, 'the log says so';
    $t->file("lib/$library", '');
    $d = $t->dialogue(env => {LD_LIBRARY_PATH => $t->dir . '/lib'});
    like $d->say('EHLO client.test'), qr/^250 AUTH PLAIN/m, "$driver: without $library the server runs";
    is plain($d, 'joe@example.com', 'sesame'), $deferred, 'but nobody can log in';
    like $d->log, qr/cannot load the client library driver=$driver error="\Q$library\E: install $package"/, 'the log says what to do';
    my ($status, $output) = $t->run({env => {LD_LIBRARY_PATH => $t->dir . '/lib'}}, $t->program('qpsmtpd'),
        $t->options, '--check');
    is $status, 1, '--check, and a server for many clients, tell it at start';
    like $output, qr{config/plugins:1: .*cannot load \Q$library\E: install $package}, 'with the remedy';
}

# ---- files -----------------------------------------------------------------------------------------

# set - the three files; undef: not there
sub set {
    my ($dsn, $password) = @_;

    unlink map { $t->dir . "/config/vpopmail_mysql_$_" } qw(dsn user pass);
    $t->config(vpopmail_mysql_dsn => $dsn) if defined $dsn;
    chmod 0640, $t->config(vpopmail_mysql_pass => $password) if defined $password;
}

for my $case (
    [undef,                                                      'the default'],
    ['dbi:mysql:vpopmail',                                       'a name alone'],
    ['DBI:MySQL:database=v;mysql_socket=/run/s;mysql_ssl=1;mysql_ssl_ca_file=/x', 'all words of mysql'],
    ['dbi:Pg:db=v;host=/run/postgresql;port=65535;sslmode=verify-full;sslrootcert=/x', 'all words of Pg'],
    ['dbi:pg:;dbname=v',                                         'an empty word'],
) {
    my ($dsn, $name) = @$case;
    set($dsn, 'x');
    my ($status, $output) = $t->check;
    is $status, 0, "DSN: $name" or diag $output;
}
for my $case (
    ['vpopmail',                        qr/vpopmail: write dbi:mysql:dbname=\.\.\. or dbi:Pg:dbname=/],
    ['dbi:',                            qr/write dbi:mysql/],
    ['dbi:mysql',                       qr/write dbi:mysql/],
    ['dbd:mysql:v',                     qr/write dbi:mysql/],
    ['dbi:Oracle:v',                    qr/write dbi:mysql/],
    ['dbi:mysql:dbname=v;colour=red',   qr/colour: the driver does not know this word/],
    ['dbi:mysql:dbname=v;sslmode=require', qr/sslmode: the driver does not know this word/],
    ['dbi:Pg:dbname=v;mysql_ssl=1',     qr/mysql_ssl: the driver does not know this word/],
    ['dbi:mysql:dbname=',               qr/dbname: its value is empty/],
    ['dbi:mysql:v;mysql_ssl=yes',       qr/mysql_ssl: that is no value for it/],
    ['dbi:Pg:v;sslmode=verify',         qr/sslmode: that is no value for it/],
    ['dbi:Pg:v;sslmode=verify-ca verify-full', qr/sslmode: that is no value for it/],
    map({ ["dbi:mysql:v;port=$_",       qr/port: that is no value for it/] } 0, 65536, '3306x', -1, '0000003306'),
) {
    my ($dsn, $why) = @$case;
    set($dsn, 'x');
    my ($status, $output) = $t->check;
    is $status, 1, "'$dsn' refuses the start";
    like $output, qr{config/vpopmail_mysql_dsn:1: .*$why}, 'and is told with file and line';
}
set('dbi:mysql:v', 'secret of ours');
chmod 0644, $t->dir . '/config/vpopmail_mysql_pass';
my ($status, $output) = $t->check;
is $status, 1, 'a password for everybody refuses the start';
like $output, qr{config/vpopmail_mysql_pass:1: .*everybody can read.*chmod o-rwx \S+/vpopmail_mysql_pass}, 'with the remedy';
unlike $output, qr/secret of ours/, 'and without the password';
set('dbi:mysql:v', 'x');
for my $case (['timeout 0', qr/out of range: 1 to 60/], ['timeout 61', qr/out of range/], ['fast 1', qr/unknown argument "fast"/]) {
    my ($words, $why) = @$case;
    $t->config(plugins => "auth/auth_vpopmail_sql $words");
    ($status, $output) = $t->check;
    is $status, 1, "'$words' refuses the start";
    like $output, qr{config/plugins:1: .*$why}, 'and is told with file and line';
}

done_testing;
