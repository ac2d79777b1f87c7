# AUTH with clients that others have written, and many failures in a row.
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

# size - memory and descriptors of the child that serves
sub size {
    my ($rss) = Qpsmtpd::Test::slurp("/proc/$child/status") =~ /^VmRSS:\s+(\d+)/m;
    my @open = glob "/proc/$child/fd/*";

    return ($rss, scalar @open);
}

sub has {
    my ($program) = @_;

    return scalar grep { -x "$_/$program" } split /:/, $ENV{PATH};
}

# The listener counts its child when that is ready: it is idle now.
$server->connect->quit;
my $open = wait_for(sub { my ($rss, $n) = size(); select undef, undef, undef, 0.2; $n == (size())[1] && $n }, 20, 'rest');

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

# ---- many failures ----

# fail - n attempts of all kinds, ten in a connection
sub fail_often {
    my ($n) = @_;
    my $refused = 0;

    for (1 .. $n / 10) {
        my $d = $server->connect;
        $d->say('EHLO client.test');
        for my $try (
            ['AUTH PLAIN ' . b64("\0joe\@ours.test\0wrong")],
            ['AUTH LOGIN ' . b64('joe@ours.test'), b64('wrong')],
            ['AUTH CRAM-MD5', b64('joe@ours.test ' . '0' x 32)],
            ['AUTH PLAIN ' . b64("\0nobody\@ours.test\0wrong")],
            ['AUTH PLAIN', b64("root\0joe\@ours.test\0wrong")],
            ['AUTH CRAM-MD5', b64('nobody@ours.test ' . '0' x 32)],
            ['AUTH PLAIN', 'A' x 12288],
            ['AUTH LOGIN', b64('x' x 1000), b64('y' x 1000)],
            ['AUTH SCRAM-SHA-1 ' . b64('n,,n=joe@ours.test,r=abcdefghijklmnop'), b64('c=biws,r=no,p=no')],
            ['AUTH DIGEST-MD5', b64('username="joe@ours.test",realm="x",nonce="x",response=x')],
        ) {
            $d->say($_) for @$try;
            $refused += $d->reply =~ /^5/;
        }
        # Some go away in the middle of it.
        $_ % 3 ? $d->quit : $d->raw("AUTH LOGIN\r\n");
        $d->hangup;
    }
    return $refused;
}

is fail_often(400), 400, '400 AUTHs fail';
my ($rss) = size();
is fail_often(2000), 2000, 'and 2000 more';
ok eval { wait_for(sub { (size())[1] == $open }, 20, 'as many descriptors as before the first client') }, 'no descriptor stays'
    or diag $@;
my ($rss_now) = size();
is_deeply [$server->children], [$child], 'it is still the same process';
SKIP: {
    skip 'sanitizers keep what was freed', 1 if sanitized();
    cmp_ok $rss_now, '<=', $rss + 256, 'and as much memory' or diag "$rss KiB before, $rss_now KiB after";
}
is $server->stop, 0, 'and it ends well';

done_testing;
