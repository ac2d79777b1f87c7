# auth/saslauthd and auth/sasldb against Cyrus SASL's own programs, which are not installed: .ci/unpack.
use strict;
use warnings;

use Test::More;
use Time::HiRes qw(time);
use Qpsmtpd::Auth;
use Qpsmtpd::Test qw(free_port slurp wait_for);

chomp(my $sasl = `.ci/unpack sasl2-bin`);
die ".ci/unpack sasl2-bin has failed\n" if $? || !-d $sasl;

my $t = Qpsmtpd::Test->new(loglevel => 6, config => {auth_failure_delay => 0, max_auth_failures => 0,
    auth_mechanisms => 'PLAIN LOGIN CRAM-MD5 SCRAM-SHA-1 SCRAM-SHA-256'});
my $dir = $t->dir;
my $d;

# saslauthd knows its sasldb as /etc/sasldb2 only: it gets an /etc of its own, with nothing else in it.
mkdir "$dir/$_" or die "$dir/$_: $!" for qw(etc run);

sub set_password {
    my ($user, $realm, $password) = @_;
    my ($status, $output) = $t->run({stdin => "$password\n"}, "$sasl/run", 'saslpasswd2', '-p', '-c',
        '-f', "$dir/etc/sasldb2", '-u', $realm, $user);

    die "saslpasswd2: $status\n$output" if $status;
    chmod 0640, "$dir/etc/sasldb2";
}

my @users = (
    ['joe',    'example.com', 'sesame'],
    ["o'hara", 'example.com', 'let me in'],
    ["j\xc3\xb6e", 'example.com', "s\xc3\xa9same"],
    ['long' . 'x' x 200, 'example.com', 'y' x 250],
    ['joe',    'mx.example.test', 'local'],
);
set_password(@$_) for @users;

# start - saslauthd in the foreground
sub start {
    my (@options) = @_;

    unlink "$dir/run/mux";
    open my $null, '+<', '/dev/null' or die $!;
    open my $log, '>>', "$dir/saslauthd.log" or die $!;
    my $p = $t->spawn(in => $null, out => $log, err => $log, env => $t->environment, command => ['unshare', $< ? '-rm' : '-m',
        'sh', '-c', 'mount --bind "$0/etc" /etc && exec "$@"', $dir, "$sasl/run", 'saslauthd', '-d', '-m', "$dir/run", '-n', '2', @options]);
    wait_for(sub { slurp("$dir/saslauthd.log") =~ /listening on socket/ || !$p->alive }, 20, 'saslauthd to listen');
    die slurp("$dir/saslauthd.log") unless $p->alive;
    return $p;
}

sub stop {
    my ($p) = @_;

    kill TERM => $p->{pid};
    $p->wait;
    wait_for(sub { !$p->group }, 5, 'its children to end');
    unlink "$dir/saslauthd.log";
}

sub fresh {
    my ($plugin) = @_;

    $t->config(plugins => [$plugin, 'rcpt_ok']) if $plugin;
    $d = $t->dialogue;
    return $d->say('EHLO client.test');
}

sub shown { return substr($_[0], 0, 64) =~ s/[^ -~]/?/gr }

sub verdicts {
    my ($name, @methods) = @_;

    for my $case (
        (map { ["$_->[0]\@$_->[1]", $_->[2], 1] } @users),
        ['joe@example.com',  'Sesame', 0],
        ['joe@example.com',  'local',  0],
        ['joe@nowhere.test', 'sesame', 0],
        ['jim@example.com',  'sesame', 0],
        ['x' x 255,          'sesame', 0],
        ['x' x 256,          'sesame', 0],
        ['x@' . 'y' x 700,   'sesame', 0],
        ['joe@example.com',  'x' x 256, 0],
        ["j\xf6e\@example.com", 'sesame', 0],
        ['%s%n@example.com', 'sesame', 0],
        ["joe'--\@example.com", 'sesame', 0],
    ) {
        my ($user, $password, $right) = @$case;
        for my $m (@methods) {
            next if $m =~ /SCRAM/ && length $user > 255; # libsasl2 calls that malformed
            fresh() if $right || $d->reply =~ /^235/;
            like $method{$m}->($d, $user, $password), $right ? qr/^235 $m authentication successful for \Q@{[shown($user)]}\E - $name$/
                : qr/^535 $m authentication failed for \Q@{[shown($user)]}\E from 127\.0\.0\.1/,
                "$name, $m: " . shown($user) . ' is ' . ($right ? 'right' : 'wrong');
        }
    }
    unlike $d->log, qr/sesame|local\b/, 'no password in the log';
}

# ---- the database itself ---------------------------------------------------------------------------

like fresh("auth/sasldb path $dir/etc/sasldb2"), qr/^250 AUTH PLAIN LOGIN CRAM-MD5 SCRAM-SHA-1 SCRAM-SHA-256$/m,
    'auth/sasldb announces all';
verdicts('sasldb', sort keys %method);
fresh();
like scram256($d, 'joe', 'local'), qr/^235 /, 'who gives no realm is of this server';
fresh();
like plain($d, 'new@example.com', 'fresh'), qr/^535 /, 'not there yet';
set_password('new', 'example.com', 'fresh');
like plain($d, 'new@example.com', 'fresh'), qr/^235 /, 'saslpasswd2 adds him meanwhile';

# ---- saslauthd -------------------------------------------------------------------------------------

my $server = start(qw(-a sasldb));
like fresh("auth/saslauthd path $dir/run/mux timeout 2"), qr/^250 AUTH PLAIN LOGIN$/m, 'auth/saslauthd announces what it can';
verdicts('saslauthd', 'PLAIN', 'LOGIN');
fresh("auth/saslauthd path $dir/run/mux realm example.com timeout 2");
like plain($d, 'joe', 'sesame'), qr/^235 /, 'a realm for who gives none';

fresh();
my @all = ($server->{pid}, $server->group);
kill STOP => @all;
wait_for(sub { !grep { slurp("/proc/$_/stat") !~ /\) T / } @all }, 5, 'saslauthd to stand still');
my $began = time;
is plain($d, 'joe', 'sesame'), '454 Temporary authentication failure', 'it hangs: an answer all the same';
my $took = time - $began;
cmp_ok $took, '<', 4 * ($ENV{TEST_SLOW} || 1), "within the time limit: $took s";
kill CONT => @all;
like plain($d, 'joe', 'sesame'), qr/^235 /, 'it goes on, and so do we';
stop($server);
fresh();
is plain($d, 'joe', 'sesame'), '454 Temporary authentication failure', 'without it nobody can tell';
like $d->log, qr/no verdict: path=\S+ error="connect: /, 'the log says why';

# It runs, but whom it asks does not.
$server = start(qw(-a rimap -O), '127.0.0.1/' . free_port());
is plain($d, 'joe', 'sesame'), '454 Temporary authentication failure', 'its own server is gone: no wrong password';
like $d->log, qr/error="it has trouble of its own/, 'the log says so';
stop($server);

done_testing;
