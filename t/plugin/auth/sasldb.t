use strict;
use warnings;

use DB_File qw($DB_HASH);
use File::Basename qw(basename);
use Fcntl qw(O_CREAT O_RDWR);
use POSIX ();
use Test::More;
use Qpsmtpd::Auth;
use Qpsmtpd::Test qw(slurp);

my $t = Qpsmtpd::Test->new(config => {auth_failure_delay => 0, max_auth_failures => 0,
    auth_mechanisms => 'PLAIN LOGIN CRAM-MD5 SCRAM-SHA-1 SCRAM-SHA-256'});
my $path = $t->dir . '/sasldb2';
my $d;

# As saslpasswd2 writes it, where libsasl2 is built with Berkeley's database: user, realm and property,
# with NUL between them. (The program itself: t/peers/saslauthd.t.)
sub database {
    my (%password) = @_;

    unlink $path;
    tie my %db, 'DB_File', $path, O_CREAT | O_RDWR, 0640, $DB_HASH or die "$path: $!";
    for my $user (keys %password) {
        my ($name, $realm) = split /@/, $user, 2;
        $db{"$name\0$realm\0userPassword"} = $password{$user};
    }
    untie %db;
}

sub plugin {
    $t->config(plugins => ["auth/sasldb @_", 'rcpt_ok']);
}

sub fresh {
    $d = $t->dialogue;
    return $d->say('EHLO client.test');
}

sub passed { return "235 $_[0] authentication successful for $_[1] - sasldb" }
sub failed { return "535 $_[0] authentication failed for $_[1] from 127.0.0.1" . ($_[0] =~ /^CRAM|^SCRAM/ ? '' : ' - sasldb - wrong password') }
my $deferred = '454 Temporary authentication failure';

my $long = 'l' x 200;
database('joe@example.com' => 'sesame', 'joe@mx.example.test' => 'local', 'joe@else.where' => 'elsewhere',
    "o'hara\@example.com" => 'sesame', "j\xc3\xb6e\@example.com" => 's\xc3\xa9same', "$long\@example.com" => 'x' x 500,
    '%s@example.com' => 'sesame', 'empty@example.com' => '');
plugin("path $path");
like fresh(), qr/^250 AUTH PLAIN LOGIN CRAM-MD5 SCRAM-SHA-1 SCRAM-SHA-256$/m, 'all mechanisms are announced';
for my $case (
    ['joe@example.com',     'sesame',    1],
    ['joe@example.com',     'Sesame',    0],
    ['joe@example.com',     'sesam',     0],
    ['joe@example.com',     'sesamee',   0],
    ['joe@example.com',     'local',     0],
    ['joe',                 'local',     1],
    ['joe',                 'sesame',    0],
    ['joe@else.where',      'elsewhere', 1],
    ['joe@nowhere',         'sesame',    0],
    ['jim@example.com',     'sesame',    0],
    ["o'hara\@example.com", 'sesame',    1],
    ["j\xc3\xb6e\@example.com", 's\xc3\xa9same', 1],
    ['%s@example.com',      'sesame',    1],
    ['empty@example.com',   'x',         0],
    ["$long\@example.com",  'x' x 500,   1],
    ["$long\@example.com",  'x' x 499,   0],
    ['x' x 255,             'sesame',    0],
    ['x' x 700,             'sesame',    0],
    ["\xff\xfe\@example.com", 'sesame',  0],
    ['@example.com',        'sesame',    0],
    ['joe@',                'sesame',    0],
    ['joe@example.com@',    'sesame',    0],
    ['joe@example.com/userPassword', 'sesame', 0],
) {
    my ($user, $password, $right) = @$case;
    (my $shown = substr $user, 0, 64) =~ s/[^ -~]/?/g;
    for my $m (sort keys %method) {
        fresh() if $right || $d->reply =~ /^235/;
        next if length $password > 255 && $m ne 'PLAIN' || length $user > 255 && $m =~ /SCRAM/;
        is $method{$m}->($d, $user, $password), $right ? passed($m, $shown) : failed($m, $shown),
            "$m: $shown with '" . substr($password, 0, 20) . "' is " . ($right ? 'right' : 'wrong');
    }
}
unlike $d->log, qr/sesame/, 'no password in the log';
plugin("path $path realm example.com");
fresh();
is plain($d, 'joe', 'sesame'), passed('PLAIN', 'joe'), 'another realm for who gives none';

# The next question sees what was changed, also on this connection.
fresh();
is plain($d, 'new@example.com', 'fresh'), failed('PLAIN', 'new@example.com'), 'not there yet';
database('new@example.com' => 'fresh');
is scram256($d, 'new@example.com', 'fresh'), passed('SCRAM-SHA-256', 'new@example.com'), 'now he is';

# ---- no database -----------------------------------------------------------------------------------

for my $case (
    [sub { unlink $path },                   qr/No such file/,  'missing'],
    [sub { unlink $path; mkdir $path },      qr/it is no file/, 'a directory'],
    [sub { rmdir $path; POSIX::mkfifo($path, 0600) }, qr/it is no file/, 'a FIFO'],
    [sub { unlink $path; $t->file('sasldb2', "garbage\n" x 1000); chmod 0600, $path }, undef, 'garbage'],
    [sub { unlink $path; $t->file('sasldb2', ''); chmod 0600, $path }, undef, 'an empty file'],
    [sub { database('joe@example.com' => 'sesame'); truncate $path, 5000 }, undef, 'one that was cut'],
) {
    my ($make, $why, $name) = @$case;
    $make->();
    fresh();
    for my $m ('PLAIN', 'CRAM-MD5', 'SCRAM-SHA-256') {
        is $method{$m}->($d, 'joe@example.com', 'sesame'), $deferred, "$name: nobody can tell ($m)";
    }
    like $d->log, qr/cannot look users up path=\Q$path\E error="/, 'and the log says so';
    like $d->log, $why, 'and why' if $why;
    next unless $why;
    my ($status, $output) = $t->check;
    is $status, 1, '--check, and a server for many clients, tell it at start';
    like $output, qr{config/plugins:1: .*\Q$path\E: .*$why.*saslpasswd2 -c -f \Q$path\E -u DOMAIN USER}, 'with the remedy';
}

# Where libsasl2 finds its plug-ins, all but the one that knows databases.
database('joe@example.com' => 'sesame');
mkdir $t->dir . '/sasl2' or die $!;
symlink $_, $t->dir . '/sasl2/' . basename($_) or die $! for grep { !/sasldb/ } glob '/usr/lib/*/sasl2/*.so*';
$d = $t->dialogue(env => {SASL_PATH => $t->dir . '/sasl2'});
$d->say('EHLO client.test');
is $method{$_}->($d, 'joe@example.com', 'sesame'), $deferred, "without libsasldb.so nobody can tell ($_)" for sort keys %method;
like $d->log, qr/cannot look users up path=\Q$path\E error="/, 'and the log says so';

# ---- arguments -------------------------------------------------------------------------------------

database('joe@example.com' => 'sesame');
plugin("path $path");
my ($status, $output) = $t->check;
is $status, 0, 'as it should be' or diag $output;
chmod 0644, $path;
($status, $output) = $t->check;
is $status, 1, 'a database for everybody refuses the start';
like $output, qr{config/plugins:1: .*everybody can read its passwords: chmod o-rwx}, 'with the remedy';
chmod 0640, $path;
for my $case (['path sasldb2', qr/path: sasldb2 is not absolute/], ['realm', qr/realm: its value is missing/],
    [$path, qr/unknown argument/]) {
    my ($words, $why) = @$case;
    plugin($words);
    ($status, $output) = $t->check;
    is $status, 1, "'$words' refuses the start";
    like $output, qr{config/plugins:1: .*$why}, 'and is told with file and line';
}

done_testing;
