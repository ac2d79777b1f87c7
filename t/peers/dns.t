# The resolver and the plugins that ask the DNS against the name servers of Debian: nsd, which has the
# zones of this test, and unbound, which asks nsd and nobody else. Neither is installed: .ci/unpack.
use strict;
use warnings;
use lib 't/system';

use IO::Socket::INET;
use Test::More;
use Time::HiRes qw(time);
use Qpsmtpd::DNS;
use Qpsmtpd::Test;
use Probe;

my ($nsd_dir, $unbound_dir) = split /\n/, `.ci/unpack nsd unbound`;
die ".ci/unpack nsd unbound has failed\n" if $? || !defined $unbound_dir;

my $plugins = File::Temp->newdir('qpsmtpd-dns-XXXXXX', TMPDIR => 1);
Probe::build('t/system/dns_probe.c', "$plugins/dns_probe.so");
my $t = Qpsmtpd::Test->new(plugin_dirs => ["$plugins"], loglevel => 6);
my $dir = $t->dir;

# ---- zones -----------------------------------------------------------------------------------------

# A zone is its lines; SOA and NS stand before them.
my $soa = "\$TTL 3600\n\@ SOA ns.test. admin.test. 1 3600 600 86400 300\n\@ NS ns.test.\n";
my $long = join ' ', map { '"' . $_ . 'x' x 200 . '"' } 10 .. 59;
my $spf_long = join ' ', map { '"' . join('', map { "ip4:198.51.100.$_ " } $_ * 10 .. $_ * 10 + 9) . '"' } 1 .. 24;
my $signature = '20370101000000 20200101000000 4711 test. ' . 'A' x 86 . '==';

my %zone = (
    'test' => <<"END",
@            A 192.0.2.53
ns           A 127.0.0.1
a            A 192.0.2.1
a            AAAA 2001:db8::1
a            MX 20 backup.a
a            MX 10 mail.a
a            TXT "v=spf1 mx -all"
mail.a       A 192.0.2.2
backup.a     AAAA 2001:db8::2
two          TXT "one" "two"
large        TXT $long
many         TXT @{[join "\nmany TXT ", map { "text$_" . 'y' x 150 } 1 .. 40]}
middle       TXT "@{['m' x 250]}" "@{['n' x 250]}" "@{['o' x 250]}"
empty.below  A 192.0.2.3
chain        CNAME chain2
chain2       CNAME chain3.elsewhere.test.
lost         CNAME nowhere
loop         CNAME loop2
loop2        CNAME loop
*.wild       A 192.0.2.7
signed       A 192.0.2.8
signed       RRSIG A 13 2 3600 $signature
null         MX 0 .
null         A 192.0.2.1

; senders
good         MX 10 in.good
good         TXT "v=spf1 include:_spf.good.test ?all"
_spf.good    TXT "v=spf1 mx ip4:192.0.2.0/29 ip6:2001:db8::/64 -all"
in.good      A 192.0.2.25
onlya        A 192.0.2.25
six          MX 10 in.six
in.six       AAAA 2001:db8::25
deadmx       MX 10 nowhere
void         TXT "nothing else"
alias        CNAME good
bad          A 192.0.2.1
spf          A 192.0.2.80
spf          MX 10 in.good
spf          TXT "v=spf1 a mx a:mail.a.test exists:%{ir}.spf.test include:_big.spf.test -all exp=why.spf.test"
why.spf      TXT "%{i} is not ours"
1.2.0.192.spf A 127.0.0.2
_big.spf     TXT "v=spf1 " $spf_long "-all"
soft         A 192.0.2.80
soft         TXT "v=spf1 ~all"
redirect     A 192.0.2.80
redirect     TXT "v=spf1 redirect=spf.test"
ptr          A 192.0.2.80
ptr          TXT "v=spf1 ptr:client.test -all"
twice        A 192.0.2.80
twice        TXT "v=spf1 -all"
twice        TXT "v=spf1 +all"
unsure       A 192.0.2.80
unsure       TXT "v=spf1 include:x.broken.test -all"
cold         MX 10 in.good

; clients
c1.client    A 192.0.2.1
c1.client    A 198.51.100.1
c4.client    A 192.0.2.40
c6.client    AAAA 2001:db8::1
helo.client  A 192.0.2.1
END
    'elsewhere.test' => "chain3 A 192.0.2.9\nchain3 TXT \"the end\"\n",
    'bl.test' => <<'END',
2.2.0.192    A 127.0.0.2
2.2.0.192    TXT "two is listed"
3.2.0.192    A 127.0.0.4
20.2.0.192   CNAME 2.2.0.192
21.2.0.192   A 198.51.100.9
22.2.0.192   TXT "text alone is no listing"
END
    'wl.test' => "3.2.0.192 A 127.0.0.2\n",
    'rhs.test' => "bad.test A 127.0.0.2\nworse.client.test A 127.0.0.2\n",
    '2.0.192.in-addr.arpa' => "1 PTR c1.client.test.\n2 PTR none.client.test.\n4 PTR c4.client.test.\n",
    '8.b.d.0.1.0.0.2.ip6.arpa' => Qpsmtpd::DNS::reverse('2001:db8::1') . ". PTR c6.client.test.\n",
);
$zone{'bl.test'} .= Qpsmtpd::DNS::reverse('2001:db8::66', 'bl.test') . ". A 127.0.0.2\n";
# nsd knows of these, and has lost their files: it answers SERVFAIL.
my @broken = ('broken.test', '113.0.203.in-addr.arpa');

# ---- servers ---------------------------------------------------------------------------------------

# server - start one in the foreground, with the configuration that is made for its port
sub server {
    my ($name, $config, @command) = @_;

    return $t->serve(sub {
        $t->file("$name.conf", $config->($_[0]));
        return (@command, "$dir/$name.conf");
    });
}

$t->file("zones/$_", $soa . $zone{$_}) for keys %zone;
my $nsd = server('nsd', sub { <<"END" }, "$nsd_dir/run", qw(nsd -d -c));
server:
    ip-address: 127.0.0.1\@$_[0]
    port: $_[0]
    server-count: 1
    username: ""
    zonesdir: "$dir/zones"
    database: ""
    zonelistfile: "$dir/zone.list"
    xfrdfile: "$dir/xfrd.state"
    xfrdir: "$dir"
    pidfile: "$dir/nsd.pid"
    rrl-ratelimit: 0
    rrl-whitelist-ratelimit: 0
remote-control:
    control-enable: no
@{[map { "zone:\n    name: $_\n    zonefile: $_\n" } sort(keys %zone), @broken]}
END

# Takes every question, and never answers. As all that unbound sends comes from 127.0.0.1, it stays here.
my $silent = IO::Socket::INET->new(LocalAddr => '127.0.0.1', LocalPort => 0, Proto => 'udp') or die "silent: $@";
my $unbound = server('unbound', sub { <<"END" }, "$unbound_dir/run", qw(unbound -d -c));
server:
    interface: 127.0.0.1
    outgoing-interface: 127.0.0.1
    port: $_[0]
    num-threads: 1
    do-ip6: no
    do-not-query-localhost: no
    module-config: "iterator"
    chroot: ""
    username: ""
    directory: "$dir"
    pidfile: ""
    use-syslog: no
    extended-statistics: yes
    infra-cache-max-rtt: 1000
    outbound-msg-retry: 2
@{[map { "    local-zone: $_ nodefault\n" } sort(keys %zone), @broken]}
remote-control:
    control-enable: yes
    control-use-cert: no
    control-interface: $dir/control
@{[map { "stub-zone:\n    name: $_\n    stub-addr: 127.0.0.1\@@{[$nsd->port]}\n" } sort(keys %zone), @broken, 'example.org']}
stub-zone:
    name: silent.test
    stub-addr: 127.0.0.1\@@{[$silent->sockport]}
END

# counter - of unbound, since its start
sub counter {
    my ($name) = @_;
    my ($status, $text) = $t->run("$unbound_dir/run", 'unbound-control', '-c', "$dir/unbound.conf", 'stats_noreset');

    return $text =~ /^\Q$name\E=(\d+)/m ? $1 : die "no $name of unbound: $text";
}

# ---- the resolver ----------------------------------------------------------------------------------

# A number of seconds says nothing: unbound counts it down.
my $six = Qpsmtpd::DNS::reverse('2001:db8::1');
my @answers = (
    ['A a.test', 'OK a.test n=1 192.0.2.1'],
    ['AAAA A.Test', 'OK a.test n=1 2001:db8::1'],
    ['MX a.test', 'OK a.test n=2 10 mail.a.test|20 backup.a.test'],
    ['MX null.test', 'OK null.test n=1 0'],
    ['TXT a.test', 'OK a.test n=1 v=spf1 mx -all'],
    ['TXT two.test', 'OK two.test n=1 onetwo'],
    ['NS test', 'OK test n=1 ns.test'],
    ['PTR 1.2.0.192.in-addr.arpa', 'OK 1.2.0.192.in-addr.arpa n=1 c1.client.test'],
    ["PTR $six", "OK $six n=1 c6.client.test"],
    ['A chain.test', 'OK chain3.elsewhere.test n=1 192.0.2.9'],
    ['TXT chain.test', 'OK chain3.elsewhere.test n=1 the end'],
    ['AAAA chain.test', 'NODATA chain3.elsewhere.test n=0'],
    ['A lost.test', 'NXDOMAIN nowhere.test n=0'],
    ['A any.wild.test', 'OK any.wild.test n=1 192.0.2.7'],
    ['A nx.test', 'NXDOMAIN nx.test n=0'],
    ['AAAA mail.a.test', 'NODATA mail.a.test n=0'],
    ['A below.test', 'NODATA below.test n=0'],
    ['A signed.test', 'OK signed.test n=1 192.0.2.8'],
    ['A broken.test', 'SERVFAIL broken.test n=0'],
    ['TXT middle.test', 'OK middle.test n=1 750 bytes'],
    ['TXT large.test', 'OK large.test n=1 8192 bytes'], # QP_DNS_TEXT_MAX of 10100
);

sub ask {
    my ($d, $what) = @_;

    return $d->say("NOOP get $what") =~ s/^250 //r =~ s/ ttl=\d+//r;
}

for my $case (['nsd', $nsd->port], ['unbound', $unbound->port]) {
    my ($name, $port) = @$case;
    $t->config(plugins => ['dns_probe']);
    $t->config(dns_servers => "127.0.0.1:$port");
    $t->config(dns_timeout => 15);
    $t->config(dns_hook_timeout => 40);
    my $d = $t->dialogue;
    is ask($d, $_->[0]), $_->[1], "$name: $_->[0]" for @answers;
    like ask($d, 'TXT many.test'), qr/^OK many\.test n=40 15\d bytes/, "$name: 40 records, over TCP";
    like $d->say('NOOP get A a.test'), qr/ ttl=3[56]\d\d /, "$name: the TTL";
    isnt ask($d, 'A loop.test') =~ s/ .*//r, 'OK', "$name: a loop of CNAMEs is no answer";
    is ask($d, 'A outside.example.org'), ($name eq 'nsd' ? 'REFUSED' : 'SERVFAIL') . ' outside.example.org n=0',
        "$name: a name that is nobody's";
    $d->quit;
}

# The server's own figures tell how it was asked.
my ($edns, $tcp) = (counter('num.query.edns.present'), counter('num.query.tcp'));
ok $edns > @answers, "EDNS0 is offered ($edns questions)";
is counter('num.query.edns.DO'), 0, 'signatures are not wanted';
my $d = $t->dialogue;
ask($d, 'TXT middle.test');
is counter('num.query.tcp'), $tcp, '750 bytes come over UDP';
ask($d, 'TXT large.test');
is counter('num.query.tcp'), $tcp + 1, '10 KB come over TCP';
my $began = time;
$t->config(dns_timeout => 1);
$t->config(dns_tries => 1);
is ask($t->dialogue, 'A x.silent.test') =~ s/ .*//r, 'TIMEOUT', 'unbound waits for a dead server: the limit here counts';
my $took = time - $began;
ok $took < 10 * ($ENV{TEST_SLOW} || 1), "and is kept: $took s";
$t->config(dns_timeout => 15);
$d->quit;

# ---- the plugins -----------------------------------------------------------------------------------

$t->config(plugins => ['check_relay', 'dns_whitelist_soft', 'fcrdns timeout 20', 'dnsbl timeout 20', 'rhsbl timeout 20',
    'resolvable_fromhost timeout 20', 'sender_permitted_from reject 3', 'rcpt_ok', 'queue/maildir Maildir']);
$t->config(rcpthosts => 'ours.test');
# One list of each kind is dead: it must change nothing.
$t->config(dnsbl_zones => ['bl.broken.test', 'bl.test']);
$t->config(whitelist_zones => ['wl.broken.test', 'wl.test']);
$t->config(rhsbl_zones => ['rhs.broken.test', 'rhs.test is bad']);

# reply - of the command that refuses or of the message's end; the message and the log as well
sub reply {
    my ($ip, $from, $helo) = @_;
    my $d = $t->dialogue(env => {TCPREMOTEIP => $ip, TCPREMOTEHOST => undef});
    my $reply;

    unlink glob "$dir/Maildir/new/*";
    for my $line ('EHLO ' . ($helo || 'helo.client.test'), "MAIL FROM:<$from>", 'RCPT TO:<x@ours.test>') {
        $reply = $d->say($line);
        last unless $reply =~ /^250/;
    }
    $reply = $d->data("Subject: dns\n\nhello\n") if $reply =~ /^250/;
    $d->quit;
    my ($message) = $t->maildir_messages;
    return ($reply, $message || '', $d->log);
}

my @verdicts = (
    # client           sender            reply                                                what it is
    ['192.0.2.1',    'a@good.test',     qr/^250 /,                                         'a good client'],
    ['2001:db8::1',  'a@good.test',     qr/^250 /,                                         'one with IPv6'],
    ['192.0.2.1',    '',                qr/^250 /,                                         'the null sender'],
    ['192.0.2.2',    'a@good.test',     qr/^550 two is listed$/,                           'a listed client'],
    ['192.0.2.20',   'a@onlya.test',    qr/^550 two is listed$/,                           'one that is listed by a CNAME'],
    ['192.0.2.3',    'a@good.test',     qr/^250 /,                                         'a listed one on the white list'],
    ['192.0.2.21',   'a@onlya.test',    qr/^250 /,                                         'a list that is for sale'],
    ['192.0.2.22',   'a@onlya.test',    qr/^250 /,                                         'a list with a text alone'],
    ['2001:db8::66', 'a@good.test',     qr/^550 Blocked by bl\.test$/,                     'a listed client with IPv6'],
    ['192.0.2.1',    'a@bad.test',      qr/^550 Mail from bad\.test rejected because it is bad$/, 'a listed sender domain'],
    ['192.0.2.1',    'a@good.test',     qr/^550 Mail from HELO worse\.client\.test rejected because it is bad$/,
        'a listed HELO name', 'worse.client.test'],
    ['192.0.2.1',    'a@six.test',      qr/^250 /,                                         'an MX with IPv6 alone'],
    ['192.0.2.1',    'a@alias.test',    qr/^250 /,                                         'a domain that is a CNAME'],
    ['192.0.2.1',    'a@null.test',     qr/^550 Domain null\.test does not accept mail/,   'a null MX'],
    ['192.0.2.1',    'a@none.test',     qr/^450 Could not resolve none\.test/,             'a domain that does not exist'],
    ['192.0.2.1',    'a@void.test',     qr/^450 Could not resolve void\.test/,             'one without addresses'],
    ['192.0.2.1',    'a@deadmx.test',   qr/^450 Could not resolve deadmx\.test/,           'an MX without address'],
    ['192.0.2.1',    'a@x.broken.test', qr/^450 Temporary address resolution failure/,     'a domain whose server fails'],
    ['192.0.2.80',   'a@spf.test',      qr/^250 /,                                         'SPF: a'],
    ['192.0.2.25',   'a@spf.test',      qr/^250 /,                                         'SPF: mx'],
    ['192.0.2.1',    'a@spf.test',      qr/^250 /,                                         'SPF: exists'],
    ['198.51.100.249', 'a@spf.test',    qr/^250 /,                                         'SPF: a record that needs TCP'],
    ['198.51.100.250', 'a@spf.test',    qr/^550 SPF - forgery: spf\.test explains: 198\.51\.100\.250 is not ours$/, 'SPF: fail'],
    ['198.51.100.250', 'a@redirect.test', qr/^550 SPF - forgery: .*is not ours$/,          'SPF: fail of a redirect'],
    ['198.51.100.250', 'a@soft.test',   qr/^450 SPF - fail: /,                             'SPF: softfail'],
    ['192.0.2.1',    'a@ptr.test',      qr/^250 /,                                         'SPF: ptr'],
    ['192.0.2.4',    'a@ptr.test',      qr/^550 SPF - forgery: /,                          'SPF: a PTR that lies'],
    ['192.0.2.1',    'a@twice.test',    qr/^250 /,                                         'SPF: two records'],
    ['192.0.2.1',    'a@unsure.test',   qr/^450 SPF - temperror: /,                        'SPF: a server that fails'],
    ['203.0.113.1',  'a@onlya.test',    qr/^250 /,                                         'a reverse zone whose server fails'],
);
for my $case (@verdicts) {
    my ($ip, $from, $expected, $name, $helo) = @$case;
    my ($reply, undef, $log) = reply($ip, $from, $helo);
    like $reply, $expected, $name or diag $log;
}

for my $case (
    ['192.0.2.1',   'pass'],
    ['2001:db8::1', 'pass'],
    ['192.0.2.4',   'fail'],
    ['192.0.2.5',   'permerror'],
    ['203.0.113.1', 'temperror'],
) {
    my ($ip, $result) = @$case;
    my (undef, $message) = reply($ip, 'a@onlya.test');
    like $message, qr/^Authentication-Results:(?:.*\n[ \t])*.*iprev=$result policy\.iprev="?\Q$ip\E"?/m, "iprev=$result of $ip";
}
my (undef, $message) = reply('192.0.2.80', 'a@spf.test');
like $message, qr/^Received-SPF: pass (?:.*\n[ \t])*.*mechanism="?a"?/m, 'Received-SPF tells the mechanism';

# ---- a dead authoritative, then nobody at all ------------------------------------------------------

sub without {
    my ($who) = @_;
    my $began = time;

    my ($reply, $message, $log) = reply('192.0.2.77', 'a@cold.' . ($who eq 'nsd' ? 'test' : 'elsewhere.test'));
    like $reply, qr/^450 Temporary address resolution failure/, "without $who: a domain that cannot be asked for" or diag $log;
    ($reply) = reply('192.0.2.77', '', 'cold.client.test');
    like $reply, qr/^450 SPF - temperror: /, "without $who: SPF of a HELO name that cannot be asked for";
    my $ip = '192.0.2.' . ($who eq 'nsd' ? 78 : 79);
    ($reply, $message, $log) = reply($ip, '', "[$ip]");
    like $reply, qr/^250 /, "without $who: no list refuses" or diag $log;
    like $log, qr/no answer name=7[89]\.2\.0\.192\.bl\.test status=/, 'the log tells of it';
    like $message, qr/iprev=temperror/, 'and the message of the client without a name';
    my $took = time - $began;
    ok $took < 20 * ($ENV{TEST_SLOW} || 1), "without $who: $took s";
}

is $nsd->stop, 0, 'nsd ends well';
without('nsd');
my ($reply) = reply('192.0.2.2', 'a@good.test');
like $reply, qr/^550 two is listed$/, 'what unbound has kept still counts';
is $unbound->stop, 0, 'unbound ends well';
without('unbound');

done_testing;
