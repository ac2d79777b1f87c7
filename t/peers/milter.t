# milter against real ones: a program on Sendmail's libmilter that does everything, and Debian's OpenDKIM,
# OpenDMARC, clamav-milter and Rspamd. None of those is installed: .ci/unpack. Those that ask the DNS have a
# network namespace with a dnsmasq of their own.
# Packages: libmilter-dev:libmilter/mfapi.h openssl
use strict;
use warnings;

use POSIX ();
use Test::More;
use Qpsmtpd::Clamd qw(eicar);
use Qpsmtpd::DNS;
use Qpsmtpd::Test qw(slurp free_port wait_for sanitized peak_memory);

my $t = Qpsmtpd::Test->new(config => {rcpthosts => 'example.test', 'me-auth-results' => 'none'});
my $dir = $t->dir;

# ---- what is started ----------------------------------------------------------------------------------

# start - a daemon, until `up` is true
sub start {
    my ($name, $up, @command) = @_;

    open my $log, '>>', "$dir/$name.log" or die "$dir/$name.log: $!";
    open my $null, '<', '/dev/null' or die "/dev/null: $!";
    my $p = $t->spawn(command => \@command, env => $t->environment, in => $null, out => $log, err => $log);
    eval { wait_for(sub { $up->() || !$p->alive }, 60, $name); 1 } && $p->alive
        or die "$name has not started: $@", slurp("$dir/$name.log");
    return $p;
}

sub unpacked {
    my ($package) = @_;
    my ($root) = split /\n/, `.ci/unpack $package`;

    die ".ci/unpack $package has failed\n" if $? || !defined $root;
    return $root;
}

# start_unpacked - COMMAND ... of a package, which makes that socket
sub start_unpacked {
    my ($package, $socket, @command) = @_;

    return start($command[0], sub { -S $socket }, unpacked($package) . '/run', @command);
}

my @mail;

# send_mail - TEXT; the reply; what has arrived is in @mail
sub send_mail {
    my ($text, %arg) = @_;
    my $d = $t->dialogue(env => {TCPREMOTEIP => '192.0.2.77', TCPREMOTEHOST => 'mail.signed.example'});

    unlink glob "$dir/Maildir/new/*";
    my $reply = $d->deliver(defined $arg{from} ? $arg{from} : 'a@signed.example', $arg{to} || 'b@example.test', $text);
    $d->quit;
    @mail = map { s/\AReturn-Path: .*\nDelivered-To: .*\n//r } $t->maildir_messages;
    $arg{log} && (${$arg{log}} = $d->log);
    return $reply;
}

sub plugins { $t->config(plugins => [@_, 'rcpt_ok', 'queue/maildir Maildir']) }

sub letter {
    my ($from, $text, @fields) = @_;
    my $date = POSIX::strftime('%a, %d %b %Y %H:%M:%S +0000', gmtime);

    return join '', map({ "$_\n" } "From:  $from", 'To: b@example.test', "Date: $date",
        'Message-ID: <1@signed.example>', "Subject: a\n\tfolded one  ", @fields), "\n$text\n";
}

# ---- libmilter ----------------------------------------------------------------------------------------

my $all = "$dir/all.sock";
system('cc', '-std=c17', '-D_GNU_SOURCE', '-o', "$dir/milter_all", 't/peers/milter_all.c', '-lmilter', '-lpthread') == 0
    or die "cc t/peers/milter_all.c\n";
my $filter = start('milter_all', sub { -S $all }, "$dir/milter_all", "unix:$all", "$dir/all.log");
plugins("milter all unix:$all");

my $told = 0;

# told - what its callbacks have written down since the last call, when there is a line like that
sub told {
    my ($until) = @_;
    my $log;

    wait_for(sub { ($log = substr slurp("$dir/all.log"), $told) =~ $until }, 20, "$until in its log");
    $told += length $log;
    return $log;
}

sub acts { return join '', map { "X-Do: $_\n" } @_ }

like send_mail("A:  1\nB: 2\n\nbody\n"), qr/^250/, 'libmilter: a message passes';
my $log = told(qr/^close$/m);
like $log, qr/\Anegotiate 1ff 1fffff\n/, 'it gets the whole offer';
like $log, qr/^connect mail\.signed\.example\n.*^macro _ mail\.signed\.example \[192\.0\.2\.77\]\nmacro j mx\.example\.test\n/ms,
    'the client, and macros';
like $log, qr/^helo client\.example\.test\nmail <a\@signed\.example> i=\S+\nmacro \{mail_addr\} a\@signed\.example i=\S+\nrcpt <b\@example\.test> i=/m,
    'the envelope';
like $log, qr/^data .*\nheader A:  1\nheader B: 2\neoh .*\nbody 6 .*\neom .*\nclose\n/m, 'the message, as it is';
unlike $log, qr/^abort/m, 'no abort';

my @acts = ('add', 'insert 1', 'insert 0', 'change 1', 'delete 2', 'progress', 'body 100000');
my $old = "X-Old: 1\nX-Old: 2\n";
like send_mail(acts(@acts) . "$old\nold\n"),
    qr/^250/, 'fields and body';
my $body = join '', map { ('n' x 62 . "\n") } 1 .. 100000 / 64;
my ($got_head, $got_body) = split /(?<=\n)(?=\n)/, $mail[0] =~ s/^Received: [^\n]*\n[ \t][^\n]*\n/OURS\n/mr, 2;
ok $got_body eq "\n$body" . 'n' x 32 . "\n", 'the body is the new one';
is $got_head,
    "X-Name:0\nOURS\nX-Name:1\n" . acts(@acts) .
    "X-Old: changed\nX-Name: a\n\tb\n", 'fields are where they should be';
send_mail(acts('addrcpt <c@example.test>', 'addrcpt_par <d@example.test>', 'delrcpt <b@example.test>', 'chgfrom <z@y.test>') .
    "\nx\n", log => \$log);
like $log, qr/queued: from=<z\@y\.test> recipients=2 /, 'the envelope, too';
like send_mail(acts('quarantine for a reason') . "\nx\n", log => \$log), qr/^451 Message quarantined by all milter/, 'quarantine';
like $log, qr/quarantined: milter=all reason="for a reason"/, 'with its reason';
for my $case (['reject', qr/^554 Rejected/], ['tempfail', qr/^451 Rejected/], ['accept', qr/^250/],
    ['discard', qr/^250 message accepted/], ['reply', qr/^553-first line\n553 second 100% line/]) {
    my ($word, $reply) = @$case;
    like send_mail(acts('add', $word) . "\nx\n"), $reply, "at the end: $word";
    is scalar(@mail), $word eq 'accept' ? 1 : 0, 'queued or not';
    $reply = qr/^550 Rejected at MAIL FROM/ if $word eq 'reject';
    like send_mail("A: b\n\nx\n", from => "$word\@b.test"), $reply, "at MAIL: $word";
    $reply = qr/^550 Rejected at RCPT TO/ if $word eq 'reject';
    like send_mail("A: b\n\nx\n", to => "$word\@example.test"), $reply, "at RCPT: $word";
    my $d = $t->dialogue;
    next if $word eq 'discard'; # libmilter has no such answer to HELO
    like $d->say("EHLO $word.test"), $word eq 'reject' ? qr/^550 Rejected at HELO/ : $reply, "at EHLO: $word";
    $d->quit;
}
told(qr/close/);
like send_mail("A: b\n\nskip\n" . 'x' x 70 . "\n" x 5000), qr/^250/, 'skip';
send_mail("A: b\n\nskip" . "x\n" x 100_000);
is scalar(() = told(qr/close\n.*close\n/s) =~ /^body/mg), 2, 'one piece of each body was enough';
my $d = $t->dialogue;
$d->say($_) for 'EHLO x.test', 'NONSENSE a b', 'MAIL FROM:<a@b.test>', 'RCPT TO:<x@elsewhere.test>', 'RCPT TO:<b@example.test>', 'RSET';
$d->quit;
$log = told(qr/^close$/m);
like $log, qr/^unknown nonsense a b/m, 'an unknown command';
like $log, qr/^rcpt <x\@elsewhere\.test> .*\nmacro \{rcpt_mailer\} error .*\nrcpt <b\@example\.test> .*\nmacro \{rcpt_mailer\} esmtp /m,
    'recipients, refused or not';
like $log, qr/^abort.*\nclose\n/m, 'abort, then close';

plugins("milter all unix:$all keep 1");
my $server = $t->prefork('--children', 1, '--idle-children', 1);
for my $n (1 .. 3) {
    my $c = $server->connect;
    like $c->deliver('a@b.test', 'b@example.test', "A: b\n\nx\n"), qr/^250/, "keep: client $n";
    $c->quit;
}
$log = told(qr/(?:^close\n.*){3}/ms);
is scalar(() = $log =~ /^negotiate/mg), 1, 'one connection';
is scalar(() = $log =~ /^connect/mg), 3, 'for three clients';
is $server->stop, 0, 'the server ends';

SKIP: {
    skip 'the programs were built with sanitizers', 1 if sanitized();
    plugins("milter all unix:$all");
    my @peak;
    for my $size (1, 25) {
        my $c = $t->dialogue;
        like $c->deliver('a@b.test', 'b@example.test', acts('body 2000000') . "\n" . ('x' x 63 . "\n") x ($size << 14)),
            qr/^250/, "$size MiB";
        push @peak, peak_memory($c->pid);
        $c->quit;
    }
    diag "peak memory of a session: $peak[0] KiB for 1 MiB, $peak[1] KiB for 25 MiB";
    cmp_ok $peak[1] - $peak[0], '<', 500, 'constant memory';
}
kill TERM => $filter->{pid};

# ---- names for those that ask the DNS ------------------------------------------------------------------

system("openssl genrsa -traditional -out $dir/dkim.key 2048 >/dev/null 2>&1") == 0 or die "openssl genrsa\n";
my $key = join '', grep { !/^-/ } split /\n/, `openssl rsa -in $dir/dkim.key -pubout 2>/dev/null`;
my $txt = join ',', map { qq("$_") } 'v=DKIM1; k=rsa; p=' . substr($key, 0, 200), substr $key, 200;
$t->file('resolv.conf', "nameserver 127.0.0.1\n");
$t->file('dnsmasq.conf', <<"END");
no-resolv
no-hosts
bind-interfaces
listen-address=127.0.0.1
local=/#/
txt-record=s1._domainkey.signed.example,$txt
txt-record=_dmarc.signed.example,"v=DMARC1; p=reject"
txt-record=_dmarc.strict.example,"v=DMARC1; p=reject"
host-record=mail.signed.example,192.0.2.77
mx-host=signed.example,mail.signed.example,10
mx-host=strict.example,mail.signed.example,10
END

# with_names - a command in a namespace of its own
sub with_names {
    return ('unshare', '-r', '-m', '-n', 'sh', '-c', 'ip link set lo up && mount --bind "$0/resolv.conf" /etc/resolv.conf || exit 1
        dnsmasq -k -C "$0/dnsmasq.conf" --user= --group= --pid-file= &
        exec "$@"', $dir, @_);
}

# ---- OpenDKIM -----------------------------------------------------------------------------------------

my %socket = map { $_ => "$dir/$_.sock" } qw(sign verify dmarc clam);
$t->file('sign.conf', <<"END");
Syslog no
Mode s
Domain signed.example
Selector s1
KeyFile $dir/dkim.key
RequireSafeKeys no
Canonicalization simple/simple
InternalHosts 192.0.2.77
Socket local:$socket{sign}
END
$t->file('verify.conf', <<"END");
Syslog no
Mode v
AuthservID verifier.test
Nameservers 127.0.0.1
Socket local:$socket{verify}
END
my $root = unpacked('opendkim');
start('opendkim-sign', sub { -S $socket{sign} }, "$root/run", 'opendkim', '-f', '-x', "$dir/sign.conf");
start('opendkim-verify', sub { -S $socket{verify} }, with_names("$root/run", 'opendkim', '-f', '-x', "$dir/verify.conf"));

plugins("milter sign unix:$socket{sign}");
like send_mail(letter('a@signed.example', "line 1\n\n.dot\n" . 'long ' x 100)), qr/^250/, 'OpenDKIM signs';
my ($signed) = @mail;
like $signed, qr/^DKIM-Signature: v=1; a=rsa-sha256; c=simple\/simple; d=signed\.example; s=s1;\n\t/m, 'its field, folds and all';
like $signed, qr/\ADKIM-Signature: .*^Received: /ms, 'at the top';

plugins("milter verify unix:$socket{verify}");
like send_mail($signed), qr/^250/, 'OpenDKIM verifies';
like $mail[0], qr/^Authentication-Results: verifier\.test;\n\tdkim=pass [^\n]*\n?.*header\.d=signed\.example/m,
    'the signature that another of it has made is good: every byte of header and body went to and fro';
send_mail($signed =~ s/line 1/line 2/r);
like $mail[0], qr/^Authentication-Results: verifier\.test;\n\tdkim=fail/m, 'one byte in the body: not';
send_mail($signed =~ s/folded one  \n/folded one\n/r);
like $mail[0], qr/^Authentication-Results: verifier\.test;\n\tdkim=fail/m, 'one blank in the header: not';
send_mail("Authentication-Results: verifier.test; dkim=pass header.d=forged.test\n$signed");
like $mail[0], qr/dkim=pass[^\n]*\n?.*signed\.example/, 'with a forged result above it';
unlike $mail[0], qr/forged/, 'which it takes away, by number';

# Its own key, in one line of milters: signed, and verified as it will be queued.
plugins("milter sign unix:$socket{sign}", "milter:2 verify unix:$socket{verify}");
like send_mail(letter('a@signed.example', 'hello')), qr/^250/, 'one after the other';
like $mail[0], qr/dkim=pass/, 'the second sees what the first has done';

# ---- OpenDMARC ----------------------------------------------------------------------------------------

$t->file('dmarc.conf', <<"END");
Syslog false
AuthservID verifier.test
TrustedAuthservIDs verifier.test
RejectFailures true
Socket local:$socket{dmarc}
END
start('opendmarc', sub { -S $socket{dmarc} },
    with_names(unpacked('opendmarc') . '/run', 'opendmarc', '-f', '-c', "$dir/dmarc.conf"));
plugins("milter verify unix:$socket{verify}", "milter:2 dmarc unix:$socket{dmarc}");
like send_mail($signed), qr/^250/, 'OpenDMARC takes what is signed';
like $mail[0], qr/^Authentication-Results: verifier\.test; dmarc=pass \(p=reject [^\n]*header\.from=signed\.example/m, 'and says so';
like send_mail(letter('a@strict.example', 'hello')), qr/^550 .*(?:reject|policy)/i, 'it refuses what its owner does not sign';
is scalar(@mail), 0, 'nothing is queued';

# ---- clamav-milter ------------------------------------------------------------------------------------

my $clamd = Qpsmtpd::Clamd->new($t);
$t->file('clam.conf', <<"END");
MilterSocket unix:$socket{clam}
ClamdSocket unix:@{[$clamd->socket]}
Foreground yes
OnInfected Reject
OnFail Defer
RejectMsg infected: %v
AddHeader Replace
TemporaryDirectory $dir
END
start_unpacked('clamav-milter', $socket{clam}, 'clamav-milter', '--config-file', "$dir/clam.conf");
plugins("milter clam unix:$socket{clam}");
like send_mail(letter('a@b.test', 'clean', 'X-Virus-Status: forged')), qr/^250/, 'clamav-milter: clean';
like $mail[0], qr/^X-Virus-Status: Clean$/m, 'its field';
unlike $mail[0], qr/forged/, 'the forged one is gone';
like send_mail(letter('a@b.test', eicar())), qr/^5\d\d infected: Eicar-Test-Signature/, 'a virus is refused';
is scalar(@mail), 0, 'nothing is queued';
$clamd->stop;
like send_mail(letter('a@b.test', 'clean')), qr/^451 /, 'without clamd it defers';

# ---- Rspamd's proxy -----------------------------------------------------------------------------------

my $port = free_port();
my $rspamd = unpacked('rspamd');
my $dns = Qpsmtpd::DNS->new({});
my ($address, $dns_port) = $dns->address =~ /^(.*):(\d+)$/;
my %file = (
    'override.d/options.inc' => qq(dns { nameserver = ["master-slave:$address:$dns_port:1"]; timeout = 1s; retransmits = 1; }
        tempdir = "$dir"; enable_test_patterns = true; hs_cache_dir = "$dir/db"; disable_hyperscan = true; url_tld = "$dir/tld";),
    'override.d/worker-proxy.inc' => qq(bind_socket = "127.0.0.1:$port"; count = 1; milter = yes; timeout = 30s;
        upstream "local" { default = yes; self_scan = yes; }),
    (map { ("override.d/worker-$_.inc" => "enabled = false; count = -1;\n") } qw(controller normal fuzzy)),
    'override.d/logging.inc' => qq(type = "file"; filename = "$dir/rspamd.txt"; level = "info";),
    'local.d/milter_headers.conf' => qq(use = ["x-spam-status"]; skip_local = false; skip_authenticated = false;),
    (map { ("override.d/$_.conf" => "enabled = false;\n") }
        qw(rbl surbl fuzzy_check asn phishing redis bayes_expiry history_redis spf dkim dmarc arc mx_check)),
    'override.d/classifier-bayes.conf' => "enabled = false;\n",
);
$t->file("rspamd/$_", $file{$_}) for keys %file;
$t->file('tld', "com\ntest\n"); # the stock list is compiled for a minute
mkdir "$dir/$_" or die "$dir/$_: $!" for qw(db run);
my %var = (CONFDIR => "$rspamd/etc/rspamd", LOCAL_CONFDIR => "$dir/rspamd", RUNDIR => "$dir/run", DBDIR => "$dir/db",
    LOGDIR => $dir, SHAREDIR => "$rspamd/usr/share/rspamd", PLUGINSDIR => "$rspamd/usr/share/rspamd/plugins",
    RULESDIR => "$rspamd/usr/share/rspamd/rules", LUALIBDIR => "$rspamd/usr/share/rspamd/lualib",
    WWWDIR => "$rspamd/usr/share/rspamd/www", PREFIX => "$rspamd/usr");
start('rspamd', sub { IO::Socket::INET->new(PeerAddr => "127.0.0.1:$port") }, "$rspamd/run", 'rspamd', '-f', '-i',
    '-c', "$rspamd/etc/rspamd/rspamd.conf", map { "--var=$_=$var{$_}" } sort keys %var);
plugins("milter rspamd inet:$port\@127.0.0.1");
like send_mail(letter('a@b.test', 'Shall we meet at noon?')), qr/^250/, 'Rspamd: ham';
like $mail[0], qr/^X-Spam-Status: No, score=/m, 'its field';
my $gtube = 'JS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X';
like send_mail(letter('a@b.test', "X$gtube")), qr/^554 .*Gtube/i, 'GTUBE is refused, with the text that it gives';
is scalar(@mail), 0, 'nothing is queued';
like send_mail(letter('a@b.test', "Y$gtube"), log => \$log), qr/^250/, 'its lesser pattern is marked';
like $mail[0], qr/^X-Spam(?:-Status)?: Yes/m, 'as spam' or diag $mail[0];

done_testing;
