# tls: STARTTLS and implicit TLS, certificates by name and by algorithm, of clients, tickets, renewal.
use strict;
use warnings;

use IO::Socket::SSL;
use IPC::Open3;
use Test::More;
use Qpsmtpd::Test qw(free_port slurp wait_for);
use Qpsmtpd::TLS qw(certificate_of certificates handshake starttls);

my @plugins = ('auth/authnull', 'rcpt_ok', 'queue/maildir Maildir');
my %config = (rcpthosts => 'ours.test', auth_failure_delay => 0);

# fresh - a test whose config/ssl has certificates
sub fresh {
    my ($line, %more) = @_;
    my $t = Qpsmtpd::Test->new(plugins => [$line, @plugins], config => {%config, %more});

    certificates($t, 'mx.ours.test');
    return $t;
}

my $t = fresh('tls');
my $ssl = $t->dir . '/config/ssl';
my $tls_port = free_port();
my $server = $t->prefork('--tls-port', $tls_port, qw(--children 4 --idle-children 2 --child-lifetime 0));

# ---- the command (RFC 3207, 4) ----

my $d = $server->connect;
like $d->say('STARTTLS'), qr/^503 /, 'STARTTLS before EHLO is refused';
$d->say('HELO client.test');
like $d->say('STARTTLS'), qr/^503 /, 'and behind HELO';
like $d->say('EHLO client.test'), qr/^250[- ]STARTTLS$/m, 'EHLO announces it';
is $d->say('STARTTLS now'), '501 Syntax error (no parameters allowed)', 'it takes no parameter';
ok starttls($d), 'the handshake' or diag $d->{tls_error};
like $d->say('MAIL FROM:<a@b.test>'), qr/^503 /, 'EHLO has to be said again';
unlike $d->say('EHLO client.test'), qr/STARTTLS/, 'which does not announce it any more';
like $d->say('starttls'), qr/^503 /, 'and it is refused';
like $d->deliver('a@b.test', 'you@ours.test', "Subject: x\n\nx\n"), qr/^250 /, 'mail is taken';
like $d->quit, qr/^221 /, 'QUIT';
ok $d->eof, 'close_notify follows';
my ($message) = $t->maildir_messages;
like $message, qr/ with ESMTPS \(TLSv1\.3 TLS_\w+ encrypted\); /, 'Received says how it came';
like $server->log, qr/tls established: version=TLSv1\.3 cipher=\S+ bits=\d+ name=- resumed=0 kernel=\d client=- verified=0/,
    'so does the log';

# ---- nothing said before the handshake counts after it ----

my $null = "AUTH PLAIN AGpvZQBzZXNhbWU=";
$d = $server->connect;
$d->say('EHLO client.test');
like $d->say($null), qr/^235 /, 'AUTH in the clear';
like $d->say('MAIL FROM:<a@b.test>'), qr/^250 /, 'MAIL';
like $d->say('RCPT TO:<u@far.test>'), qr/^250 /, 'who has logged in may relay';
ok starttls($d), 'STARTTLS in the middle of a transaction' or diag $d->{tls_error};
like $d->say('RCPT TO:<u@ours.test>'), qr/^503 /, 'the transaction is forgotten';
$d->say('EHLO client.test');
$d->say('MAIL FROM:<a@b.test>');
like $d->say('RCPT TO:<u@far.test>'), qr/^550 /, 'and so is the right to relay';
$d->say('RSET');
like $d->say($null), qr/^235 /, 'AUTH is possible again';
$d->say('MAIL FROM:<a@b.test>');
like $d->say('RCPT TO:<u@far.test>'), qr/^250 /, 'and gives the right';
like $d->data("Subject: x\n\nx\n"), qr/^250 /, 'a message';
ok scalar(grep { / with ESMTPSA \(/ } $t->maildir_messages), 'it came by ESMTPSA';

# ---- attacks ----

for my $behind ("NOOP\r\n", "\r\n", 'x', "EHLO evil.test\r\nMAIL FROM:<evil\@x.test>\r\n") {
    $d = $server->connect;
    $d->say('EHLO client.test');
    $d->raw("STARTTLS\r\n$behind");
    like $d->read_reply, qr/^554 /, 'bytes behind STARTTLS are refused: ' . length $behind;
    ok $d->eof, 'nothing of them is answered, the connection is closed';
}
like $server->log, qr/bytes behind STARTTLS, discarded: ip=127\.0\.0\.1/, 'the log tells';

for my $garbage ("NOOP\r\n" x 3, "\x16\x03\x01\xff\xff", "\x80\x2e\x01\x00\x02", "\0" x 20000, 'GET / HTTP/1.1') {
    $d = $server->connect;
    $d->say('EHLO client.test');
    $d->say('STARTTLS');
    $d->raw($garbage);
    $d->hangup('write');
    my $answer = '';
    $answer .= $d->{buffer} while $d->fill(20);
    unlike $answer, qr/[245]\d\d[ -]/, 'garbage instead of a handshake gets no reply in the clear';
}
like $server->log, qr/tls handshake failed: ip=127\.0\.0\.1 reason=\S/, 'the log tells why';

for my $where ('an SMTP command', 'BDAT') {
    $d = $server->connect;
    $d->say('EHLO client.test');
    starttls($d) or diag $d->{tls_error};
    $d->say('EHLO client.test');
    my $before = () = $t->maildir_messages;
    if ($where eq 'BDAT') {
        $d->say('MAIL FROM:<a@b.test>');
        $d->say('RCPT TO:<u@ours.test>');
        $d->raw("BDAT 1000 LAST\r\n" . 'x' x 500);
    }
    # Past the library, to the socket itself.
    open my $plain, '>&=', $d->{in}->fileno or die $!;
    syswrite $plain, ('x' x 500) . "\r\nQUIT\r\n";
    my $reply = eval { $d->read_reply } || '';
    unlike $reply, qr/^2/, "bytes in the clear within $where are never read";
    is scalar(my @m = $t->maildir_messages), $before, 'and no message comes of it';
}

for my $how ('close_notify', 'an end without it') {
    $d = $server->connect;
    $d->say('EHLO client.test');
    starttls($d);
    $d->say('EHLO client.test');
    $d->say('MAIL FROM:<a@b.test>');
    $d->say('RCPT TO:<u@ours.test>');
    $d->raw("BDAT 1000 LAST\r\n" . 'x' x 500);
    my $before = () = $t->maildir_messages;
    my ($session) = $server->log =~ /(\S+) dispatching BDAT(?!.*dispatching BDAT)/s;
    $how eq 'close_notify' ? $d->{in}->stop_SSL(SSL_no_shutdown => 0) : shutdown $d->{in}, 2;
    $server->wait_log(qr/\Q$session\E click, disconnecting/);
    is scalar(my @m = $t->maildir_messages), $before, "$how in the middle of BDAT: no message";
}

# ---- implicit TLS ----

$d = $server->connect(port => $tls_port, greeting => 0);
ok handshake($d), 'a port that begins with TLS' or diag $d->{tls_error};
like $d->read_greeting, qr/^220 /, 'then comes the greeting';
unlike $d->say('EHLO client.test'), qr/STARTTLS/, 'STARTTLS is not announced';
$d->quit;
$d = $server->connect(port => $tls_port, greeting => 0);
$d->raw("EHLO client.test\r\nQUIT\r\n");
unlike $d->read_line || '', qr/^[245]\d\d/, 'who speaks SMTP there is not answered in the clear';

# ---- ALPN (RFC 7301) ----

for my $case (['smtp'], ['h2', 'smtp'], ['http/1.1', 0], ['h2', 'http/1.1', 0]) {
    my @offer = @$case;
    my $good = $offer[-1] ? 1 : (pop @offer, 0)[1];
    $d = $server->connect(port => $tls_port, greeting => 0);
    is handshake($d, SSL_alpn_protocols => \@offer) ? 1 : 0, $good, "ALPN @offer: " . ($good ? 'taken' : 'refused');
}

# ---- two algorithms side by side ----

for my $case ([ECDSA => 'ECDHE-ECDSA-AES128-GCM-SHA256', 'qpsmtpd-server.ecdsa.crt'],
    [RSA => 'ECDHE-RSA-AES128-GCM-SHA256', 'qpsmtpd-server.crt']) {
    my ($name, $cipher, $file) = @$case;
    $d = $server->connect(port => $tls_port, greeting => 0);
    ok handshake($d, SSL_version => 'TLSv1_2', SSL_cipher_list => $cipher), "TLS 1.2 with $name" or diag $d->{tls_error};
    is $d->certificate, certificate_of("$ssl/$file"), 'shows that certificate';
}
$d = $server->connect(port => $tls_port, greeting => 0);
ok !handshake($d, SSL_version => 'TLSv1_1', SSL_cipher_list => 'ALL:@SECLEVEL=0'), 'TLS 1.1 is refused';
$d = $server->connect(port => $tls_port, greeting => 0);
ok handshake($d, SSL_ca_file => "$ssl/qpsmtpd-ca.crt", SSL_verify_mode => SSL_VERIFY_PEER, SSL_verifycn_name => 'mx.ours.test',
    SSL_verifycn_scheme => 'smtp'), 'the chain of tls_cert verifies' or diag $d->{tls_error};

# ---- session tickets ----

# s_client - what openssl says of a session that ends with QUIT; tickets of TLS 1.3 come with the greeting
sub s_client {
    my ($port, $version, @option) = @_;
    my $pid = open3(my $in, my $out, undef, 'openssl', 's_client', '-connect', "127.0.0.1:$port",
        {TLSv1_2 => '-tls1_2', TLSv1_3 => '-tls1_3'}->{$version}, @option);
    my $said = '';
    while (my $line = <$out>) {
        $said .= $line;
        syswrite $in, "QUIT\r\n" if $line =~ /^(?:220|250) /;
    }
    waitpid $pid, 0;
    return $said;
}

for my $version ('TLSv1_2', 'TLSv1_3') {
    my $session = $t->dir . "/session.$version";
    like s_client($tls_port, $version, '-sess_out', $session), qr/^New, /m, "$version: a session";
    for my $n (1 .. 4) {
        my $said = s_client($tls_port, $version, '-sess_in', $session);
        like $said, qr/^Reused, /m, 'is resumed by whatever child';
        like $said, qr/New Session Ticket arrived/, 'and has another ticket for the next time (RFC 8446, C.4)' if $version eq 'TLSv1_3';
        next unless $n == 2;
        my $loaded = () = $server->log =~ /loaded anew/g;
        $server->hup;
        wait_for(sub { (() = $server->log =~ /loaded anew/g) > $loaded }, 20, 'SIGHUP');
    }
    like s_client($server->port, $version, '-sess_in', $session, '-starttls', 'smtp'), qr/^New, /m, 'but not at another port';
}
like $server->log, qr/tls established: .* resumed=1 /, 'the log tells';

# Who is asked for a certificate from now on cannot do without by a session of before.
$t->config(plugins => join "\n", 'tls client_cert require', @plugins);
my $loaded = () = $server->log =~ /loaded anew/g;
$server->hup;
wait_for(sub { (() = $server->log =~ /loaded anew/g) > $loaded }, 20, 'SIGHUP');
for my $version ('TLSv1_2', 'TLSv1_3') {
    my $refused = sub { s_client($tls_port, $version, '-sess_in', $t->dir . "/session.$version") !~ /^250 |^Reused, /m };
    ok eval { wait_for($refused, 20, 'a refusal'); 1 }, "$version: a session without a certificate is not resumed where one is required";
}
$server->stop;

# ---- certificates by name (SNI) ----

$t = fresh('tls');
mkdir $t->dir . '/config/tls_certs';
for my $name ('mail.one.test', '_.two.test') {
    my $made = Qpsmtpd::Test->new;
    certificates($made, $name =~ s/^_/any/r);
    for my $end ('crt', 'key') {
        $t->config("tls_certs/$name.$end" => slurp($made->dir . "/config/ssl/qpsmtpd-server.$end"));
    }
}
my $certs = $t->dir . '/config/tls_certs';
my %shown = ('mail.one.test' => "$certs/mail.one.test.crt", 'MAIL.ONE.TEST' => "$certs/mail.one.test.crt",
    'x.two.test' => "$certs/_.two.test.crt");
my @names = ('mail.one.test', 'MAIL.ONE.TEST', 'x.two.test', 'other.test', '../tls_certs/mail.one.test', 'mail.one.test/',
    '.', '_.two.test', 'a' x 255, 'mail.one.test.', "mail\x01one.test");
my $ours = certificate_of($t->dir . '/config/ssl/qpsmtpd-server.crt');
my %rsa = (SSL_version => 'TLSv1_2', SSL_cipher_list => 'ECDHE-RSA-AES128-GCM-SHA256');
my $serve = {prefork => $t->prefork(qw(--children 2 --idle-children 1))};
$serve->{tcpserver} = $t->tcpserver;
for my $program (sort keys %$serve) {
    my @told;
    for my $name (@names) {
        $d = $serve->{$program}->connect;
        $d->say('EHLO client.test');
        my $good = starttls($d, SSL_hostname => $name, %rsa);
        ok $good, "$program: " . substr($name, 0, 30) . ': the handshake' or diag $d->{tls_error};
        is $good && $d->certificate, $shown{$name} ? certificate_of($shown{$name}) : $ours, '... with the right certificate';
        my $noted = $name eq $names[-1] || $name =~ m{[/]|^[._]|a{255}} ? '-' : lc $name;
        push @told, $good ? $noted : ();
        $d->hangup;
    }
    wait_for(sub { @told == (() = $serve->{$program}->log =~ /tls established/g) }, 20, 'the log');
    is_deeply [$serve->{$program}->log =~ /tls established: .* name=(\S+) resumed/g], \@told, "$program: the log has the names that are names";
}

# One that cannot be used: who serves one client finds out when it is asked for.
$t->config("tls_certs/broken.test.$_" => "none\n") for qw(crt key);
$t->config('tls_certs/keyless.test.crt' => "none\n");
for my $name (qw(broken.test keyless.test)) {
    $d = $serve->{tcpserver}->connect;
    $d->say('EHLO client.test');
    ok starttls($d, SSL_hostname => $name, %rsa), "$name: the handshake" or diag $d->{tls_error};
    is $d->certificate, $ours, '... with the default certificate';
    $d->hangup;
    wait_for(sub { $serve->{tcpserver}->log =~ m{another certificate was shown: .*tls_certs/\Q$name\E} }, 20, "$name: the log");
    pass '... and the log tells';
}
$d = $serve->{tcpserver}->connect;
$d->say('EHLO client.test');
starttls($d, SSL_hostname => 'absent.test', %rsa);
$d->hangup;
wait_for(sub { $serve->{tcpserver}->log =~ /name=absent\.test resumed/ }, 20, 'the log');
unlike $serve->{tcpserver}->log, qr/another certificate.*absent/, 'of a name without a certificate there is nothing to tell';
unlink map { "$certs/$_" } qw(broken.test.crt broken.test.key keyless.test.crt);

# ---- a process that serves one client loads OpenSSL when it is asked for ----

$d = $serve->{tcpserver}->connect;
$d->say('EHLO client.test');
my $pid = wait_for(sub { my @all = $serve->{tcpserver}->children; @all == 1 && $all[0] }, 20, 'the process');
unlike slurp("/proc/$pid/maps"), qr/libssl/, 'a session in the clear has no OpenSSL';
starttls($d);
like slurp("/proc/$pid/maps"), qr/libssl/, 'an encrypted one has';
$d->hangup;
$serve->{$_}->stop for keys %$serve;

$t = fresh('tls', tls_ports => '2465');
$d = $t->dialogue(env => {TCPREMOTEIP => '127.0.0.1', TCPLOCALPORT => 2465}, greeting => 0);
$d->raw("\x16\x03\x01");
$d->hangup('write');
unlike $d->read_line || '', qr/^\d/, 'tls_ports: qpsmtpd begins with a handshake';
like $d->log, qr/tls handshake failed/, 'which is none';

rename $t->dir . '/config/ssl/qpsmtpd-server.key', $t->dir . '/config/ssl/away';
$t->config('ssl/qpsmtpd-server.key' => "no key\n");
$d = $t->dialogue;
$d->say('EHLO client.test');
is $d->say('STARTTLS'), '454 TLS not available due to temporary reason', 'a key that cannot be used: 454';
like $d->say('NOOP'), qr/^250/, 'and the session goes on';
$d->quit;
$t->config(tls_protocols => 'TLSv9');
$d = $t->dialogue;
$d->say('EHLO client.test');
like $d->say('STARTTLS'), qr/^454 /, 'so does a configuration that is wrong';
like $d->log, qr/tls_protocols:1: "TLSv9" is no protocol/, 'and the log has file and line';
$d->quit;

# ---- a handshake that never ends ----

$t = fresh('tls', tls_timeout => 1);
$server = $t->prefork(qw(--children 2 --idle-children 1));
$d = $server->connect;
$d->say('EHLO client.test');
$d->say('STARTTLS');
$d->raw("\x16\x03\x01\x02");
ok $d->eof, 'it ends at its deadline, without a word in the clear';
like $server->log, qr/tls handshake failed: ip=\S+ reason=the client has stalled/, 'and is logged';

# ---- renewal ----

my $old = certificate_of($t->dir . '/config/ssl/qpsmtpd-server.ecdsa.crt');
my $new = Qpsmtpd::Test->new;
certificates($new, 'mx.new.test');
sub shown {
    my $d = $server->connect;
    $d->say('EHLO client.test');
    return starttls($d) ? $d->certificate : $d->{tls_error};
}
is shown(), $old, 'the certificate';
my %file = map { $_ => slurp($new->dir . "/config/ssl/$_") } 'qpsmtpd-server.ecdsa.crt', 'qpsmtpd-server.ecdsa.key';
$t->config('ssl/qpsmtpd-server.ecdsa.crt' => $file{'qpsmtpd-server.ecdsa.crt'});
$server->hup;
$server->wait_log(qr/reload failed.*qpsmtpd-server\.ecdsa\.key is not the key of/);
is shown(), $old, 'one without its key is refused by name, the old one goes on';
$t->config('ssl/qpsmtpd-server.ecdsa.key' => $file{'qpsmtpd-server.ecdsa.key'});
$server->hup;
$server->wait_log(qr/loaded anew/);
my $newer = certificate_of($new->dir . '/config/ssl/qpsmtpd-server.ecdsa.crt');
# A child of before may still take the next client.
ok eval { wait_for(sub { shown() eq $newer }, 20, 'the new one'); 1 }, 'SIGHUP brings the new one';
$server->stop;

# ---- a key of root's ----

SKIP: {
    skip 'only root can give up rights', 7 if $> != 0;
    $t = fresh('tls');
    my $dir = $t->dir;
    $t->config(plugins => "tls\nqueue/discard\n");
    chmod 0755, $dir, "$dir/config";
    chmod 0644, grep { -f } glob("$dir/config/*");
    chmod 0700, "$dir/config/ssl";
    chown +(getpwnam 'nobody')[2, 3], "$dir/spool";
    chmod 0600, "$dir/config/ssl/qpsmtpd-server.key", "$dir/config/ssl/qpsmtpd-server.ecdsa.key";
    $server = $t->prefork(qw(--user nobody --children 2 --idle-children 1));
    my $before = shown();
    is $before, certificate_of("$dir/config/ssl/qpsmtpd-server.ecdsa.crt"), 'a daemon that is nobody serves it';
    for my $end ('crt', 'key') {
        open my $fh, '>', "$dir/config/ssl/qpsmtpd-server.ecdsa.$end" or die $!;
        print $fh $file{"qpsmtpd-server.ecdsa.$end"};
    }
    $server->hup;
    $server->wait_log(qr/loaded anew/);
    ok eval { wait_for(sub { shown() eq $newer }, 20, 'the next one'); 1 }, 'and the next one after SIGHUP';
    # Also the list of those who issue certificates.
    $t->config(plugins => "tls client_cert require\nqueue/discard\n");
    my $loaded = () = $server->log =~ /loaded anew/g;
    $server->hup;
    ok eval { wait_for(sub { (() = $server->log =~ /loaded anew/g) > $loaded }, 20, 'SIGHUP'); 1 }, 'the authority is read as well' or diag $server->log;
    chmod 0777, "$dir/config/ssl";
    $server->hup;
    $server->wait_log(qr/reload failed.*Permission denied/);
    pass 'but not from a directory where everybody writes';
    chmod 0700, "$dir/config/ssl";

    # A file that is named may lie elsewhere, but others cannot have put another one there.
    mkdir "$dir/keys", 0755;
    rename "$dir/config/ssl/qpsmtpd-server.key", "$dir/keys/one.key";
    $t->config(plugins => "tls ssl/qpsmtpd-server.crt $dir/keys/one.key\nqueue/discard\n");
    $loaded = () = $server->log =~ /loaded anew/g;
    $server->hup;
    ok eval { wait_for(sub { (() = $server->log =~ /loaded anew/g) > $loaded }, 20, 'SIGHUP'); 1 }, 'a key that is named' or diag $server->log;
    my $failed = () = $server->log =~ /reload failed/g;
    chown +(getpwnam 'nobody')[2, 3], "$dir/keys";
    $server->hup;
    ok eval { wait_for(sub { (() = $server->log =~ /reload failed/g) > $failed }, 20, 'a refusal'); 1 }, 'in a directory of somebody else it is not read';
    $failed = () = $server->log =~ /reload failed/g;
    mkdir "$dir/own", 0755;
    symlink "$dir/keys/one.key", "$dir/own/one.key";
    $t->config(plugins => "tls ssl/qpsmtpd-server.crt $dir/own/one.key\nqueue/discard\n");
    $server->hup;
    ok eval { wait_for(sub { (() = $server->log =~ /reload failed/g) > $failed }, 20, 'a refusal'); 1 }, 'nor by way of a link';
    $server->stop;
}

# ---- certificates of clients ----

$t = fresh('tls client_cert request');
$ssl = $t->dir . '/config/ssl';
my $stranger = Qpsmtpd::Test->new;
for my $where ($t, $stranger) {
    system('plugins/tls_cert', $where->dir . '/config', '--client', 'bob@ours.test') == 0 or die 'no certificate for the client';
}
my %ours = (SSL_cert_file => "$ssl/client-bob\@ours.test.crt", SSL_key_file => "$ssl/client-bob\@ours.test.key");
my %strange = map { $_ => $ours{$_} =~ s/\Q@{[$t->dir]}\E/$stranger->dir/er } keys %ours;
for my $case ([{}, qr/client=- verified=0/], [\%ours, qr/client=CN=bob\@ours\.test verified=1/],
    [\%strange, qr/client=CN=bob\@ours\.test verified=0/]) {
    $server = $t->prefork(qw(--children 1));
    $d = $server->connect;
    $d->say('EHLO client.test');
    ok starttls($d, %{$case->[0]}), 'client_cert request takes everybody' or diag $d->{tls_error};
    $d->quit;
    like $server->log, qr/tls established.*$case->[1]/, "and notes: $case->[1]";
    $server->stop;
}
$t->config(plugins => join "\n", 'tls client_cert require', @plugins);
$server = $t->prefork(qw(--children 1));
for my $case ([none => {}, 0], [ours => \%ours, 1], [strange => \%strange, 0]) {
    $d = $server->connect;
    $d->say('EHLO client.test');
    my $in = starttls($d, %{$case->[1]}, SSL_version => 'TLSv1_2') && $d->say('NOOP') =~ /^250/;
    is $in ? 1 : 0, $case->[2], "client_cert require: a client with $case->[0]";
    $d->hangup;
}
$server->stop;

# ---- tls_protocols, tls_ciphers ----

for my $case (['TLSv1.2' => 'TLSv1_2'], ['SSLv23:!SSLv2:!SSLv3' => 'TLSv1_2 TLSv1_3'], ['SSLv23:!TLSv1_2' => 'TLSv1_3'],
    ['TLSv1.1 TLSv1.3' => 'TLSv1_1 TLSv1_3']) {
    my ($line, $spoken) = @$case;
    $t = fresh('tls', tls_protocols => $line);
    $server = $t->prefork(qw(--children 1));
    my @got;
    for my $version (qw(TLSv1_1 TLSv1_2 TLSv1_3)) {
        $d = $server->connect;
        $d->say('EHLO client.test');
        push @got, $version if starttls($d, SSL_version => $version, SSL_cipher_list => 'ALL:@SECLEVEL=0');
        $d->hangup;
    }
    is "@got", $spoken, "tls_protocols $line";
    $server->stop;
}
$t = fresh('tls', tls_ciphers => 'ECDHE-RSA-AES256-GCM-SHA384 TLS_CHACHA20_POLY1305_SHA256');
$server = $t->prefork(qw(--children 1));
for my $case ([TLSv1_2 => 'ECDHE-RSA-AES256-GCM-SHA384'], [TLSv1_3 => 'TLS_CHACHA20_POLY1305_SHA256']) {
    $d = $server->connect;
    $d->say('EHLO client.test');
    starttls($d, SSL_version => $case->[0]) or diag $d->{tls_error};
    is $d->{in}->get_cipher, $case->[1], "tls_ciphers: $case->[0] uses $case->[1]";
    $d->hangup;
}
$server->stop;

# The lists of qpsmtpd 1.00, with an old version.
for my $list ('HIGH', 'HIGH:!SSLv2', 'ALL:COMPLEMENTOFALL') {
    $t = fresh('tls', tls_ciphers => $list, tls_protocols => 'TLSv1.1 TLSv1.2');
    $server = $t->prefork(qw(--children 1));
    for my $case ([TLSv1_2 => 'aNULL:@SECLEVEL=0', 0], [TLSv1_1 => 'aNULL:@SECLEVEL=0', 0], [TLSv1_2 => 'eNULL:@SECLEVEL=0', 0], [TLSv1_2 => 'HIGH', 1],
        [TLSv1_1 => 'HIGH:!aNULL:@SECLEVEL=0', 1])
    {
        $d = $server->connect;
        $d->say('EHLO client.test');
        is starttls($d, SSL_version => $case->[0], SSL_cipher_list => $case->[1]) ? 1 : 0, $case->[2],
            "tls_ciphers $list, a client with $case->[0] and $case->[1]: " . ($case->[2] ? 'yes' : 'no');
        $d->hangup;
    }
    $server->stop;
}

# ---- wrong configuration ----

for my $case (
    ['tls no.crt', {}, qr{plugins:1: tls: certificate no\.crt: there is no such file}],
    ['tls ssl/qpsmtpd-server.crt ssl/no.key', {}, qr{key ssl/no\.key: there is no such file}],
    ['tls ssl/qpsmtpd-server.crt ssl/qpsmtpd-server.ecdsa.key', {}, qr{qpsmtpd-server\.ecdsa\.key is not the key of \S+qpsmtpd-server\.crt}],
    ['tls ssl/qpsmtpd-server.key ssl/qpsmtpd-server.key', {}, qr{no usable certificate in PEM form}],
    ['tls client_cert maybe', {}, qr{client_cert: "maybe" is none of: no request require}],
    ['tls color blue', {}, qr{certificate color: there is no such file|unknown argument}],
    ['tls', {tls_protocols => 'TLSv1.4'}, qr{tls_protocols:1: .*"TLSv1\.4" is no protocol}],
    ['tls', {tls_protocols => 'TLSv1.2:!TLSv1.2'}, qr{tls_protocols:1: .*no protocol is left}],
    ['tls', {tls_ciphers => 'GREEN'}, qr{tls_ciphers "GREEN"}],
    ['tls', {tls_ports => 'smtps'}, qr{tls_ports:1: "smtps" is no port}],
    ['tls', {tls_timeout => 'soon'}, qr{tls_timeout:1: }],
    ) {
    my $wrong = fresh($case->[0], %{$case->[1]});
    my ($status, $output) = $wrong->check;
    is $status, 1, "$case->[0] refuses the start";
    like $output, $case->[2], 'and says why';
}
$t = Qpsmtpd::Test->new(plugins => ['tls', @plugins], config => \%config);
my ($status, $output) = $t->check;
is $status, 0, 'without a certificate it starts';
like $output, qr{ssl/qpsmtpd-server\.crt is not there: TLS is not offered}, 'and warns';
$d = $t->dialogue;
unlike $d->say('EHLO client.test'), qr/STARTTLS/, 'STARTTLS is not announced';
like $d->say('STARTTLS'), qr/^500 /, 'and unknown';
$d->quit;
$t->config(tls_ports => '465');
($status, $output) = $t->check;
like $output, qr/tls_ports: no plugin supplies TLS/, 'tls_ports needs one';

done_testing;
