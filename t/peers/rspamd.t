# The plugin rspamd against Debian's rspamd: its normal worker on loopback, its own rules, no redis.
# It is not installed: .ci/unpack.
# Packages: openssl
use strict;
use warnings;

use IO::Socket::INET;
use POSIX ();
use Test::More;
use Qpsmtpd::DNS;
use Qpsmtpd::Test qw(slurp free_port wait_for);

my ($rspamd) = split /\n/, `.ci/unpack rspamd`;
die ".ci/unpack rspamd has failed\n" if $? || !defined $rspamd;

my $port = free_port();
my $dns = Qpsmtpd::DNS->new({
    'client.test' => {MX => '10 mail.client.test', A => '192.0.2.77', TXT => 'v=spf1 ip4:192.0.2.77 -all'},
    'mail.client.test' => {A => '192.0.2.77'},
    'client.example.test' => {A => '192.0.2.77'},
    '77.2.0.192.in-addr.arpa' => {PTR => 'mail.client.test'},
});
my $t = Qpsmtpd::Test->new(
    plugins => ['check_relay', 'rcpt_ok', "rspamd server 127.0.0.1:$port", 'queue/maildir Maildir'],
    config => {rcpthosts => 'example.test'});
my $dir = $t->dir;

# ---- rspamd ----------------------------------------------------------------------------------------

# Its stock configuration, and what must be different here.
system("openssl genrsa -traditional -out $dir/dkim.key 1024 >/dev/null 2>&1") == 0 or die "openssl genrsa\n";
my ($address, $dns_port) = $dns->address =~ /^(.*):(\d+)$/;
my %file = (
    'override.d/options.inc' => qq(dns { nameserver = ["master-slave:$address:$dns_port:1"]; timeout = 1s; retransmits = 1; }
        url_tld = "$dir/etc/tld"; tempdir = "$dir"; enable_test_patterns = true; hs_cache_dir = "$dir/db"; disable_hyperscan = true;),
    'tld' => "test\ncom\n", # of the whole list a pattern is compiled at start, which takes a quarter of a minute
    'override.d/worker-normal.inc' => qq(bind_socket = "127.0.0.1:$port"; count = 1;),
    (map { ("override.d/worker-$_.inc" => "enabled = false; count = -1;\n") } qw(controller proxy fuzzy)),
    'override.d/logging.inc' => qq(type = "file"; filename = "$dir/rspamd.log"; level = "info";),
    'local.d/milter_headers.conf' => qq(use = ["x-spam-status", "authentication-results"]; skip_local = false; skip_authenticated = false;),
    'local.d/dkim_signing.conf' => qq(allow_username_mismatch = true; sign_local = true; sign_authenticated = true; use_esld = false;
        domain { "signed.test" { path = "$dir/dkim.key"; selector = "s1"; } }),
    (map { ("override.d/$_.conf" => "enabled = false;\n") } qw(rbl surbl fuzzy_check asn phishing redis bayes_expiry history_redis)),
    'override.d/classifier-bayes.conf' => "enabled = false;\n",
);
$t->file("etc/$_", $file{$_}) for keys %file;
mkdir "$dir/$_" or die "$dir/$_: $!" for qw(db run);

my $pid = fork;
die "fork: $!" unless defined $pid;
if ($pid == 0) {
    setpgrp;
    open STDIN, '<', '/dev/null';
    open STDOUT, '>', "$dir/rspamd.out";
    open STDERR, '>&', \*STDOUT;
    my %var = (CONFDIR => "$rspamd/etc/rspamd", LOCAL_CONFDIR => "$dir/etc", RUNDIR => "$dir/run", DBDIR => "$dir/db",
        LOGDIR => $dir, SHAREDIR => "$rspamd/usr/share/rspamd", PLUGINSDIR => "$rspamd/usr/share/rspamd/plugins",
        RULESDIR => "$rspamd/usr/share/rspamd/rules", LUALIBDIR => "$rspamd/usr/share/rspamd/lualib",
        WWWDIR => "$rspamd/usr/share/rspamd/www", PREFIX => "$rspamd/usr");
    exec "$rspamd/run", 'rspamd', '-f', '-i', '-c', "$rspamd/etc/rspamd/rspamd.conf", map { ("--var=$_=$var{$_}") } sort keys %var;
    exit 1;
}
END {
    if ($pid) {
        local $?;
        kill TERM => $pid;
        my $end = time + 10;
        select undef, undef, undef, 0.1 until waitpid($pid, 1) || time > $end; # 1: WNOHANG
        kill KILL => -$pid;
        waitpid $pid, 0;
    }
}
eval { wait_for(sub { IO::Socket::INET->new(PeerAddr => "127.0.0.1:$port") || waitpid($pid, 1) }, 60, 'rspamd'); 1 }
    or die $@, slurp("$dir/rspamd.out"), slurp("$dir/rspamd.log");

# ---- mail ------------------------------------------------------------------------------------------

sub gtube { return "$_[0]JS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X" }

sub mail {
    my ($from, $text) = @_;
    my $date = POSIX::strftime('%a, %d %b %Y %H:%M:%S +0000', gmtime);

    return "From: $from\nTo: b\@example.test\nDate: $date\nMessage-ID: <1\@client.test>\nSubject: hello\n\n$text\n";
}

my %net = (TCPREMOTEIP => '192.0.2.77', TCPREMOTEHOST => 'mail.client.test');
my $d = $t->dialogue(env => \%net);
sub deliver { my $r = $d->deliver('a@client.test', 'b@example.test', mail('a@client.test', $_[0])); my @m = $t->maildir_messages; unlink glob "$dir/Maildir/new/*"; return ($r, $m[0]) }

my ($reply, $message) = deliver('Shall we meet at noon?');
like $reply, qr/^250 /, 'an ordinary message passes';
like $message, qr/^X-Spam-Status: No, score=/m, 'with the header that its milter_headers wants';
like $message, qr/^Authentication-Results: (?!mx\.example\.test; auth=none\n)\S+;/m, 'and its Authentication-Results';
my $log = $d->log;
like $log, qr/action="no action" score=-?\d+\.\d\d required=15\.00 symbols=\w+\(-?\d/, 'the log has its symbols';
like $log, qr/symbols=.*\bR_SPF_ALLOW\b/, '... so it knows address and sender, and asked the DNS' or diag $log;

($reply, $message) = deliver(gtube('X'));
like $reply, qr/^554 .*Gtube pattern/, 'GTUBE is refused, with its text';
is $message, undef, '... and not queued';
like $d->log, qr/action="reject" score=.* symbols=GTUBE\(/, '... and logged';

($reply, $message) = deliver(gtube('Y'));
like $reply, qr/^250 /, 'the pattern for "add header"';
like $message, qr/^X-Spam: Yes$/m, '... marks';

($reply, $message) = deliver(gtube('Z'));
like $reply, qr/^250 /, 'the pattern for "rewrite subject"';
like $message, qr/^Subject: \*\*\* SPAM \*\*\* hello$/m, '... rewrites it' or diag $message;

($reply, $message) = deliver("\xff\xfe bytes \0 of any kind\n" . "x\n" x 200_000);
like $reply, qr/^250 /, 'a larger message of odd bytes';

# What rspamd is told: who comes from inside, or has logged in, is signed for.
$d = $t->dialogue(env => {RELAYCLIENT => ''});
$reply = $d->deliver('a@signed.test', 'b@elsewhere.test', mail('a@signed.test', 'Signed?'));
like $reply, qr/^250 /, 'a local client';
my ($signed) = $t->maildir_messages;
like $signed, qr/\A(?:\S.*\n(?:[ \t].*\n)*)*?DKIM-Signature: v=1; a=rsa-sha256;(?:.*\n[ \t])*.* d=signed\.test;/, '... is signed by rspamd' or diag $signed;

like slurp("$dir/rspamd.log"), qr/qid: <[^>]*\.\d+>.*ip: 192\.0\.2\.77.*from: <a\@client\.test>/, 'its own log knows client, sender and our id';

# It dies and nothing passes.
kill KILL => -$pid;
waitpid $pid, 0;
undef $pid;
like $d->deliver('a@client.test', 'b@example.test', mail('a@client.test', 'x')), qr/^451 /, 'without rspamd: try again later';

done_testing;
