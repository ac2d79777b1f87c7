# The PROXY protocol as HAProxy speaks it: both versions over IPv4 and IPv6, with all that it tells of a client
# whose TLS it has ended, TLS that passes through it, and its health checks. HAProxy is not installed: .ci/unpack.
use strict;
use warnings;
use lib 't/system';

use IO::Socket::SSL;
use IO::Socket::UNIX;
use Test::More;
use Qpsmtpd::Test qw(free_port slurp wait_for);
use Qpsmtpd::TLS qw(certificates handshake starttls);
use Probe;

my ($haproxy) = split /\n/, `.ci/unpack haproxy`;
die ".ci/unpack haproxy has failed\n" if $? || !defined $haproxy;

my $t = Qpsmtpd::Test->new(plugin_dirs => [Probe::dir()], plugins => ['tls', 'check_relay', 'rcpt_ok', 'queue/maildir Maildir', 'probe'],
    config => {proxy_from => "127.0.0.2\n::1\n", rcpthosts => 'ours.test', relayclients => "127.0.0.2\n::1\n"});
my $dir = $t->dir;
my $ssl = "$dir/config/ssl";
my $tls_port = free_port();

certificates($t, 'mx.ours.test');
system('plugins/tls_cert', "$dir/config", '--client', 'bob@ours.test') == 0 or die 'no certificate for the client';
my %bob = (SSL_cert_file => "$ssl/client-bob\@ours.test.crt", SSL_key_file => "$ssl/client-bob\@ours.test.key");

my $v6 = !!IO::Socket::IP->new(LocalHost => '::1', LocalPort => 0, Listen => 1);
my $server = $t->prefork('-l', '127.0.0.1', $v6 ? ('-l', '::1') : (), '--tls-port', $tls_port,
    qw(--no-rdns --children 12 --idle-children 4));
my $port = $server->port;

# ---- HAProxy ---------------------------------------------------------------------------------------

my %port = map { $_ => free_port() } qw(v1 v2 tls pass cross six1 six2 mapped);
my $all = 'send-proxy-v2-ssl-cn proxy-v2-options ssl,cert-cn,ssl-cipher,cert-sig,cert-key,crc32c,unique-id,authority';
my $local = 'source 127.0.0.2';
my $config = <<"END";
global
    stats socket $dir/haproxy.sock mode 600
defaults
    mode tcp
    timeout connect 20s
    timeout client 60s
    timeout server 60s
    timeout check 20s
    unique-id-format id-%ci-%fi
listen v1
    bind 127.0.0.1:$port{v1}
    server s 127.0.0.1:$port $local send-proxy
listen v2
    bind 127.0.0.1:$port{v2}
    server s 127.0.0.1:$port $local send-proxy-v2 proxy-v2-options crc32c
listen tls
    bind 127.0.0.1:$port{tls} ssl crt $dir/haproxy.pem ca-file $ssl/qpsmtpd-ca.crt verify optional crt-ignore-err all ca-ignore-err all
    server s 127.0.0.1:$port $local $all
listen pass
    bind 127.0.0.1:$port{pass}
    server s 127.0.0.1:$tls_port $local send-proxy-v2
listen checks
    option smtpchk EHLO check.test
    server one 127.0.0.1:$port $local send-proxy check check-send-proxy inter 300ms
    server two 127.0.0.1:$port $local send-proxy-v2 check check-send-proxy inter 300ms
    server without 127.0.0.1:$port $local check inter 300ms
END
$config .= <<"END" if $v6;
listen cross
    bind ::1:$port{cross}
    server s 127.0.0.1:$port $local send-proxy-v2
listen mapped
    bind ::ffff:127.0.0.1:$port{mapped} v4v6
    server s 127.0.0.1:$port $local send-proxy
listen six1
    bind ::1:$port{six1}
    server s ::1:$port send-proxy
listen six2
    bind ::1:$port{six2}
    server s ::1:$port send-proxy-v2
END
chmod 0600, $t->file('haproxy.pem', slurp("$ssl/qpsmtpd-server.crt") . slurp("$ssl/qpsmtpd-server.key"));
my $cfg = $t->file('haproxy.cfg', $config);
my ($status, $output) = $t->run("$haproxy/run", qw(haproxy -c -f), $cfg);
is $status, 0, 'HAProxy takes its configuration' or BAIL_OUT($output);
open my $log, '>', "$dir/haproxy.log" or die "$dir/haproxy.log: $!";
open my $null, '<', '/dev/null' or die "/dev/null: $!";
my $process = $t->spawn(command => ["$haproxy/run", qw(haproxy -db -f), $cfg], env => $t->environment,
    in => $null, out => $log, err => $log);
wait_for(sub { IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $port{v1}) || !$process->alive }, 20, 'HAProxy');
ok $process->alive, 'HAProxy runs' or BAIL_OUT(slurp("$dir/haproxy.log"));

# through - a dialogue through that one of its ports
sub through {
    my ($name, %arg) = @_;

    return $server->connect(port => $port{$name}, $name =~ /six|cross/ ? (host => '::1') : (from => '127.0.0.9'), %arg);
}

# notes - what a plugin sees of the connection
sub note_of {
    my ($d, $name) = @_;

    return $d->say("NOOP note c $name") =~ s/^250 //r;
}

# ---- who the client is -----------------------------------------------------------------------------

for my $name (qw(v1 v2 cross six1 six2)) {
    SKIP: {
        my ($client, $proxy) = ($name =~ /six|cross/ ? '::1' : '127.0.0.9', $name =~ /six/ ? '::1' : '127.0.0.2');
        skip 'no IPv6 here', 8 if !$v6 && $client eq '::1';
        my $d = through($name);
        like $d->greeting, qr/^220 /, "$name: the greeting";
        like $d->say('EHLO client.test'), qr/\Q[$client]\E/, 'the client is who has come to HAProxy';
        is note_of($d, 'proxy'), $proxy, 'plugins know the proxy';
        is note_of($d, 'proxy_tls'), '(none)', 'and that it has ended no TLS';
        my $own = $d->{in}->sockport;
        like $server->log, qr/proxy: ip=\Q$proxy\E client=\Q$client\E:$own reached=\S+:$port{$name}$/m, 'the log has both, with their ports';
        $d->say('MAIL FROM:<a@b.test>');
        like $d->say('RCPT TO:<u@far.test>'), $client eq '::1' ? qr/^250 / : qr/^550 /, 'the right to relay is that of the client';
        $d->say('RCPT TO:<u@ours.test>');
        like $d->data("Subject: $name\n\nx\n"), qr/^250 /, 'its mail is taken';
        $d->quit;
        my ($message) = grep { /^Subject: $name$/m } $t->maildir_messages;
        like $message, qr/^Received: from .*\Q$client\E/m, 'Received has its address';
    }
}

SKIP: {
    skip 'no IPv6 here', 1 unless $v6;
    my $d = through('mapped');
    like $d->say('EHLO client.test'), qr/\Q[127.0.0.9]\E/, 'a client over IPv4 at a socket of IPv6 is who it is';
    $d->quit;
}

# ---- TLS that HAProxy ends -------------------------------------------------------------------------

for my $case (['nobody', {}, '(none)', '(none)'], ['bob', \%bob, 'bob@ours.test', '1']) {
    my ($who, $certificate, $name, $verified) = @$case;
    for my $version ('1.2', '1.3') {
        my $d = through('tls', greeting => 0);
        ok handshake($d, SSL_hostname => 'mx.ours.test', SSL_version => 'TLSv' . $version =~ tr/./_/r, %$certificate),
            "TLS $version to HAProxy, $who" or diag $d->{tls_error};
        like $d->read_greeting, qr/^220 /, 'the greeting';
        like $d->say('EHLO client.test'), qr/\Q[127.0.0.9]\E/, 'the client is who has come to HAProxy';
        is note_of($d, 'proxy_tls'), '1', 'the notes: TLS,';
        is note_of($d, 'proxy_tls_version'), "TLSv$version", 'its version,';
        is note_of($d, 'proxy_tls_cipher'), $d->{in}->get_cipher, 'its cipher,';
        is note_of($d, 'proxy_authority'), 'mx.ours.test', 'whom it asked for,';
        is note_of($d, 'proxy_unique_id'), 'id-127.0.0.9-127.0.0.1', 'the id that HAProxy gave,';
        is note_of($d, 'proxy_tls_client_name'), $name, 'the name of its certificate,';
        is note_of($d, 'proxy_tls_client_verified'), $verified, 'and whether HAProxy trusts that';
        is note_of($d, 'tls_enabled'), '(none)', 'between HAProxy and us nothing is encrypted';
        $d->quit;
    }
}
my $stranger = Qpsmtpd::Test->new;
system('plugins/tls_cert', $stranger->dir . '/config', '--client', 'bob@ours.test') == 0 or die 'no certificate for the client';
my $d = through('tls', greeting => 0);
ok handshake($d, map { $_ => $bob{$_} =~ s/\Q$dir\E/$stranger->dir/er } keys %bob), 'a certificate of somebody else' or diag $d->{tls_error};
$d->read_greeting;
is note_of($d, 'proxy_tls_client_verified'), '(none)', 'counts for nothing, whatever name it has';
$d->quit;

# ---- TLS that passes through -----------------------------------------------------------------------

for my $name (qw(v1 v2)) {
    $d = through($name);
    $d->say('EHLO client.test');
    ok starttls($d, SSL_ca_file => "$ssl/qpsmtpd-ca.crt", SSL_verify_mode => SSL_VERIFY_PEER, SSL_verifycn_name => 'mx.ours.test',
        SSL_verifycn_scheme => 'smtp'), "$name: STARTTLS behind HAProxy, and the certificate is ours" or diag $d->{tls_error};
    like $d->say('EHLO client.test'), qr/\Q[127.0.0.9]\E/, 'the client is still the same';
    is note_of($d, 'tls_enabled'), '1', 'and the encryption ours';
    is note_of($d, 'proxy'), '127.0.0.2', 'it has come through the proxy';
    $d->quit;
}
$d = through('pass', greeting => 0);
ok handshake($d), 'implicit TLS behind the header' or diag $d->{tls_error};
like $d->read_greeting, qr/^220 /, 'the greeting';
like $d->say('EHLO client.test'), qr/\Q[127.0.0.9]\E/, 'and the client';
$d->quit;

# ---- many at once ----------------------------------------------------------------------------------

my @many = map { $server->connect(port => $port{$_ % 2 ? 'v1' : 'v2'}, from => "127.0.1.$_") } 1 .. 8;
is scalar(grep { $many[$_]->say('EHLO client.test') =~ /\[127\.0\.1\.@{[$_ + 1]}\]/ } 0 .. 7), 8, 'eight clients at once, none mistaken';
$_->quit for @many;

# ---- health checks ---------------------------------------------------------------------------------

# checked - what HAProxy has found out about that server
sub checked {
    my ($name) = @_;
    my $s = IO::Socket::UNIX->new("$dir/haproxy.sock") or die "$dir/haproxy.sock: $!";
    my (%row, @names);

    print $s "show stat -1 4 -1\n";
    for (grep { /\S/ } <$s>) {
        chomp;
        my @field = split /,/;
        @names = map { s/^# //r } @field if /^# /;
        @row{@names} = @field if /^checks,\Q$name\E,/;
    }
    return "$row{status} $row{check_status} $row{check_code}";
}

for my $name (qw(one two)) {
    my $got;
    ok eval { wait_for(sub { ($got = checked($name)) =~ /^UP L7OK/ }, 20, "$name"); 1 }, "the check of server $name finds it well" or diag $got;
}
ok eval { wait_for(sub { checked('without') =~ /^DOWN/ }, 20, 'the server without'); 1 },
    'one that sends no header finds it out of order: nobody is let in like that' or diag checked('without');
$server->wait_log(qr/proxy refused: ip=127\.0\.0\.2 reason=/);
my ($session) = $server->log =~ /^\d+ (\S+) dispatching EHLO check\.test$/m;
like $server->log, qr/^\d+ \Q$session\E Connection from .*\[127\.0\.0\.2\]$/m, 'who checks is HAProxy itself';

$process->kill_all;
is $server->stop, 0, 'the server ends well';
unlike slurp("$dir/haproxy.log"), qr/ALERT/, 'HAProxy had no trouble' or diag slurp("$dir/haproxy.log");

done_testing;
