# AUTH with clients that others have written, and what of it stays in memory.
use strict;
use warnings;

use MIME::Base64 qw(encode_base64);
use Test::More;
use Qpsmtpd::Test qw(sanitized wait_for);

my %config = (auth_failure_delay => 0, max_auth_failures => 0, rcpthosts => 'ours.test',
    auth_mechanisms => 'PLAIN LOGIN CRAM-MD5 SCRAM-SHA-1 SCRAM-SHA-256 DIGEST-MD5');
my $t = Qpsmtpd::Test->new(plugins => ['auth/auth_flat_file', 'auth/authdeny', 'rcpt_ok', 'queue/discard'], config => \%config);

chmod 0600, $t->config(flat_auth_pw => 'joe@ours.test:open sesame');
my $server = $t->prefork(qw(--children 1 --idle-children 1 --child-lifetime 0));
my $url = 'smtp://127.0.0.1:' . $server->port;
my $message = $t->file('message', "From: a\@b.test\nDate: Sun, 22 Nov 2026 22:00:00 +0000\nSubject: x\n\nx\n");

my ($child) = wait_for(sub { ($server->children)[0] }, 20, 'a child');

sub has {
    my ($program) = @_;

    return scalar grep { -x "$_/$program" } split /:/, $ENV{PATH};
}

# ---- clients ----

my %client = (
    swaks => sub {
        my ($mechanism, $password) = @_;
        return ('swaks', '--server', '127.0.0.1', '--port', $server->port, '--helo', 'client.test', '--from', 'a@b.test',
            '--to', 'u@far.test', '--auth', $mechanism, '--auth-user', 'joe@ours.test', '--auth-password', $password);
    },
    curl => sub {
        my ($mechanism, $password) = @_;
        return ('curl', '-sS', '-m', 20, '--url', $url, '--mail-from', 'a@b.test', '--mail-rcpt', 'u@far.test', '--user',
            "joe\@ours.test:$password", '--login-options', "AUTH=$mechanism", '--crlf', '-T', $message);
    },
    msmtp => sub {
        my ($mechanism, $password) = @_;
        return ('msmtp', '--file=/dev/null', '--host=127.0.0.1', '--port=' . $server->port, '--tls=off', '--from=a@b.test',
            "--auth=\L$mechanism", '--user=joe@ours.test', "--passwordeval=echo '$password'", 'u@far.test');
    },
);

for my $case (
    [swaks => qw(PLAIN LOGIN CRAM-MD5)],
    [curl  => qw(PLAIN LOGIN CRAM-MD5)],
    [msmtp => qw(PLAIN LOGIN CRAM-MD5 SCRAM-SHA-1 SCRAM-SHA-256)],
) {
    my ($name, @mechanisms) = @$case;
    SKIP: {
        skip "$name is not installed", 4 * @mechanisms unless has($name);
        for my $mechanism (@mechanisms) {
            my $stdin = $name eq 'msmtp' ? Qpsmtpd::Test::slurp($message) : '';
            my ($status, $output) = $t->run({stdin => $stdin}, $client{$name}->($mechanism, 'open sesame'));
            is $status, 0, "$name, $mechanism, the right password: the message is taken" or diag $output;
            like $server->log, qr/auth passed: ip=127\.0\.0\.1 mechanism=$mechanism user=joe\@ours\.test /, 'and the log says so';
            ($status, $output) = $t->run({stdin => $stdin}, $client{$name}->($mechanism, 'open barley'));
            isnt $status, 0, "$name, $mechanism, a wrong one: it is not";
            like $server->log, qr/auth failed: ip=127\.0\.0\.1 mechanism=$mechanism user=joe\@ours\.test /, 'and the log says so';
        }
    }
}

SKIP: {
    skip 'Authen::SASL is not installed', 6 unless eval { require Authen::SASL; require Net::SMTP; 1 };
    for my $mechanism (qw(PLAIN LOGIN CRAM-MD5)) {
        for my $password ('open sesame', 'open barley') {
            my $smtp = Net::SMTP->new('127.0.0.1', Port => $server->port, Timeout => 20);
            my $sasl = Authen::SASL->new(mechanism => $mechanism,
                callback => {user => 'joe@ours.test', authname => '', pass => $password});
            is !!$smtp->auth($sasl), $password eq 'open sesame', "Net::SMTP, $mechanism, $password";
            $smtp->quit;
        }
    }
}
unlike $server->log, qr/sesame|barley|c2VzYW1l|YmFybGV5/, 'no password in the log';

sub b64 { return encode_base64($_[0], '') }

# ---- what stays in memory ----

# holds - which of these texts are in the writable memory of the child
sub holds {
    my (@texts) = @_;
    my %found;

    open my $mem, '<:raw', "/proc/$child/mem" or return 'no access';
    no warnings 'portable'; # addresses have 64 bits
    for my $area (Qpsmtpd::Test::slurp("/proc/$child/maps") =~ /^(\S+ rw\S+)/mg) {
        my ($start, $end) = map { hex } $area =~ /^(\w+)-(\w+)/;
        my $bytes = '';
        sysseek $mem, $start, 0;
        sysread $mem, $bytes, $end - $start;
        $found{$_}++ for grep { index($bytes, $_) >= 0 } @texts;
    }
    return join ' ', sort keys %found;
}

SKIP: {
    skip 'a process with sanitizers has terabytes', 1 if sanitized();
    my $password = 'Xylophone' . 'Quartz';
    my $blob = b64("\0joe\@ours.test\0$password");
    my $d = $server->connect;

    $d->say('EHLO client.test');
    $d->say("AUTH PLAIN $blob");
    $d->say('AUTH PLAIN'), $d->say($blob);
    $d->say('AUTH LOGIN ' . b64('joe@ours.test')), $d->say(b64($password));
    select undef, undef, undef, 0.1;
    my $control = holds('open sesame');
    skip 'the memory of the server cannot be read', 1 if $control ne 'open sesame';
    is holds($password, $blob, b64($password)), '', 'after the reply the password is nowhere in memory';
    $d->quit;
}

is $server->stop, 0, 'and it ends well';

done_testing;
