# Clients that others have written: every mechanism that each of them knows, in the clear, and with TLS 1.2
# and 1.3 by STARTTLS and from the first byte. In each place a wrong password fails and the right one is
# taken. openssl and gnutls-cli bring the encryption only: what is said through them is Qpsmtpd::Auth's.
use strict;
use warnings;

use IPC::Open3;
use POSIX ();
use Test::More;
use Time::HiRes qw(time);
use Qpsmtpd::Auth;
use Qpsmtpd::Test qw(free_port slurp);
use Qpsmtpd::TLS qw(certificates);

my @mechanisms = ('PLAIN', 'LOGIN', 'CRAM-MD5', 'SCRAM-SHA-1', 'SCRAM-SHA-256');
my @few = @mechanisms[0 .. 2];
my @ways = ('none', map { my $how = $_; map { "$how $_" } '1.2', '1.3' } 'STARTTLS', 'implicit');
my $workers = 4;

my $t = Qpsmtpd::Test->new(plugins => ['tls', 'auth/auth_flat_file', 'rcpt_ok', 'queue/discard'],
    config => {rcpthosts => 'ours.test', auth_failure_delay => 0, max_auth_failures => 0, auth_mechanisms => "@mechanisms"});
my $message = $t->file('message', "From: a\@b.test\nDate: Sun, 22 Nov 2026 22:00:00 +0000\nSubject: x\n\nx\n");
my $ca = $t->dir . '/config/ssl/qpsmtpd-ca.crt';
my $tls_port = free_port();

certificates($t, 'mx.ours.test');

# ---- the clients -----------------------------------------------------------------------------------

# Each gets a case (way, version, port, mechanism, user) and a password. The programs deliver a message to where
# only who has logged in may send; true: it was taken.

my ($server, %client, %knows);

sub delivers {
    my ($case, $stdin, @command) = @_;
    my ($status, $output) = $t->run({stdin => $stdin}, @command);

    $case->{said} = $output;
    return $status == 0;
}

$knows{swaks} = \@few;
$client{swaks} = sub {
    my ($case, $password) = @_;
    my $v = $case->{version} =~ tr/./_/r;

    return delivers($case, '', qw(swaks --server 127.0.0.1 --helo client.test --from a@b.test --to u@far.test), '--port',
        $case->{port}, '--auth', $case->{mechanism}, '--auth-user', $case->{user}, '--auth-password', $password,
        $case->{way} eq 'STARTTLS' ? '--tls' : $case->{way} eq 'implicit' ? '--tls-on-connect' : (),
        $v ? ('--tls-protocol', "tlsv$v") : ());
};

$knows{curl} = \@few;
$client{curl} = sub {
    my ($case, $password) = @_;
    my $host = $case->{version} ? 'mx.ours.test' : '127.0.0.1';

    return delivers($case, '', qw(curl -sS -m 60 --mail-from a@b.test --mail-rcpt u@far.test --crlf -T), $message,
        '--url', ($case->{way} eq 'implicit' ? 'smtps' : 'smtp') . "://$host:$case->{port}/client.test", '--user',
        "$case->{user}:$password", '--login-options', "AUTH=$case->{mechanism}", '--resolve', "$host:$case->{port}:127.0.0.1",
        $case->{version} ? ('--ssl-reqd', '--cacert', $ca, "--tlsv$case->{version}", '--tls-max', $case->{version}) : ());
};

$knows{msmtp} = \@mechanisms;
$client{msmtp} = sub {
    my ($case, $password) = @_;

    return delivers($case, slurp($message), qw(msmtp --file=/dev/null --host=127.0.0.1 --from=a@b.test --timeout=60),
        "--port=$case->{port}", "--auth=\L$case->{mechanism}", "--user=$case->{user}", "--passwordeval=echo $password",
        $case->{version} ? ('--tls=on', "--tls-trust-file=$ca", '--tls-host-override=mx.ours.test',
            '--tls-starttls=' . ($case->{way} eq 'STARTTLS' ? 'on' : 'off'),
            "--tls-priorities=NORMAL:-VERS-ALL:+VERS-TLS$case->{version}") : '--tls=off', 'u@far.test');
};

$knows{'Net::SMTP'} = \@few;
$client{'Net::SMTP'} = sub {
    my ($case, $password) = @_;
    my %ssl = (SSL_version => 'TLSv' . $case->{version} =~ tr/./_/r, SSL_ca_file => $ca, SSL_verifycn_name => 'mx.ours.test');
    my $smtp = Net::SMTP->new('127.0.0.1', Port => $case->{port}, Hello => 'client.test', Timeout => 60,
        $case->{way} eq 'implicit' ? (SSL => 1, %ssl) : ()) or return 0;

    $case->{way} ne 'STARTTLS' || $smtp->starttls(%ssl) or return 0;
    my $good = $smtp->auth(Authen::SASL->new(mechanism => $case->{mechanism},
        callback => {user => $case->{user}, authname => '', pass => $password}));
    $good &&= $smtp->mail('a@b.test') && $smtp->to('u@far.test') && $smtp->data(slurp($message));
    $case->{said} = $smtp->message;
    $smtp->quit;
    return $good;
};

# through - a dialogue through a program that encrypts
sub through {
    my ($case, $password, @command) = @_;
    my $said = $t->dir . "/said.$$";

    open my $err, '>', $said or die "$said: $!";
    my $pid = open3(my $in, my $out, '>&' . fileno $err, @command);
    my $d = Qpsmtpd::Test::Dialogue->new(in => $out, out => $in, log => $server->{log});
    $d->read_greeting if $case->{way} eq 'implicit';
    my $reply = $d->say('EHLO client.test') =~ /^250/ ? $method{$case->{mechanism}}->($d, $case->{user}, $password) : $d->reply;
    $reply = $d->say($_) for $reply =~ /^235/ ? ('MAIL FROM:<a@b.test>', 'RCPT TO:<u@far.test>') : ();
    my $good = $reply =~ /^250/ && $d->data("Subject: x\n\nx\n") =~ /^250/;
    $d->quit;
    $d->hangup;
    waitpid $pid, 0;
    $case->{said} = "$reply\n" . slurp($said);
    return $good;
}

$knows{'openssl s_client'} = \@mechanisms;
$client{'openssl s_client'} = sub {
    my ($case, $password) = @_;

    return through($case, $password, qw(openssl s_client -quiet -verify_return_error -verify_hostname mx.ours.test -CAfile), $ca,
        '-tls' . $case->{version} =~ tr/./_/r, '-connect', "127.0.0.1:$case->{port}",
        $case->{way} eq 'STARTTLS' ? qw(-starttls smtp) : ());
};

$knows{'gnutls-cli'} = \@mechanisms;
$client{'gnutls-cli'} = sub {
    my ($case, $password) = @_;

    return through($case, $password, qw(gnutls-cli --logfile=/dev/null --verify-hostname=mx.ours.test), "--x509cafile=$ca",
        '--priority', "NORMAL:-VERS-ALL:+VERS-TLS$case->{version}", '-p', $case->{port},
        $case->{way} eq 'STARTTLS' ? '--starttls-proto=smtp' : (), '127.0.0.1');
};

# ---- every one of them, everywhere -----------------------------------------------------------------

sub here {
    my ($name) = @_;
    my ($program) = $name =~ /^([\w-]+)/;

    return eval { require Authen::SASL; require Net::SMTP; 1 } if $name eq 'Net::SMTP';
    return scalar grep { -x "$_/$program" } split /:/, $ENV{PATH};
}

my @names = sort grep { here($_) } keys %client;
my @cases;
for my $name (@names) {
    for my $mechanism (@{$knows{$name}}) {
        for my $place (@ways) {
            my ($way, $version) = split ' ', $place;
            next if $way eq 'none' && $name =~ /s_client|gnutls/;
            push @cases, {client => $name, mechanism => $mechanism, place => $place, way => $way, version => $version || '',
                user => 'user' . @cases . '@ours.test'};
        }
    }
}
chmod 0600, $t->config(flat_auth_pw => join '', map { "$_->{user}:right-$_->{user}\n" } @cases);
$server = $t->prefork('--tls-port', $tls_port, '--children', 2 * $workers, qw(--idle-children 4 --max-from-ip 0 --no-rdns));
$_->{port} = $_->{way} eq 'implicit' ? $tls_port : $server->port for @cases;

# work - every so many-th case; what came of it goes to a file
sub work {
    my ($n) = @_;

    for (my $i = $n; $i < @cases; $i += $workers) {
        my $case = $cases[$i];
        my $wrong = $client{$case->{client}}->($case, 'wrong');
        my $right = $client{$case->{client}}->($case, "right-$case->{user}");
        $t->file("came/$i", ($right ? 1 : 0) . ($wrong ? 1 : 0) . ($case->{said} // ''));
    }
}

my $begin = time;
my @pids;
for my $n (0 .. $workers - 1) {
    my $pid = fork;
    die "fork: $!" unless defined $pid;
    if ($pid == 0) {
        eval { work($n); 1 } or print STDERR $@;
        POSIX::_exit(0);
    }
    push @pids, $pid;
}
waitpid $_, 0 for @pids;
note sprintf '%d cases in %.1f s', scalar @cases, time - $begin;

# What the log says: of whom was it heard, and how had he come?
my %session;
for (split /\n/, $server->log) {
    my ($key) = /^\d+ (\S+) / or next;
    $session{$key}{version} = $1 if /tls established: version=TLSv(\S+)/;
    $session{$key}{starttls} = 1 if /dispatching STARTTLS/;
    $session{$key}{$1}{"$2 $3"} = 1 if /auth (passed|failed): ip=\S+ mechanism=(\S+) user=(\S+) /;
}

sub logged {
    my ($case, $what) = @_;

    for my $s (values %session) {
        next unless $s->{$what}{"$case->{mechanism} $case->{user}"};
        my $way = !$s->{version} ? 'none' : $s->{starttls} ? "STARTTLS $s->{version}" : "implicit $s->{version}";
        return $way eq $case->{place};
    }
    return 0;
}

my %cell;
for my $i (0 .. $#cases) {
    my $case = $cases[$i];
    my $came = slurp($t->dir . "/came/$i") // '';
    my $name = "$case->{client}, $case->{mechanism}, $case->{place}";
    my $good = ok $came =~ /^1/ && logged($case, 'passed'), "$name: the right password, and the log tells";
    $good &= ok $came =~ /^.0/ && logged($case, 'failed'), "$name: a wrong one, and the log tells" or diag substr $came, 2;
    $cell{$case->{client}}{$case->{mechanism}}{$case->{place}} = $good ? 'ok' : 'FAILED';
}

# ---- the table -------------------------------------------------------------------------------------

diag sprintf '%-17s %-14s' . ' %-12s' x @ways, 'client', 'mechanism', @ways;
for my $name (@names) {
    for my $mechanism (@{$knows{$name}}) {
        diag sprintf '%-17s %-14s' . ' %-12s' x @ways, $name, $mechanism, map { $cell{$name}{$mechanism}{$_} || '-' } @ways;
    }
}
diag 'ok: the right password is taken, a wrong one is not, and the log says so; -: it cannot';

is_deeply \@names, [sort keys %client], 'all clients are installed';
unlike $server->log, qr/(?:right|wrong)-|d3Jvbm|cmlnaH/, 'no password in the log';
is $server->stop, 0, 'the server ends well';

done_testing;
