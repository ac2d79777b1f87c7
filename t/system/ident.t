# ident/geoip, ident/p0f and uribl through qpsmtpd-prefork, for clients that do not come from the loopback:
# those are spared by the first two, so the test has a network of its own with addresses of its own.

use strict;
use warnings;

use File::Basename qw(dirname);
use IO::Socket::UNIX;
use POSIX ();
use Socket qw(AF_INET AF_INET6 SOCK_STREAM inet_ntop);
use Test::More;

use Qpsmtpd::DNS;
use Qpsmtpd::MMDB qw(mmdb);
use Qpsmtpd::Test qw(slurp wait_for);

# ---- a network of our own --------------------------------------------------------------------------

# Not QPSMTPD_...: the same process goes on with it after the exec below.
my $INSIDE = 'IDENT_T_INSIDE';

if (($ENV{$INSIDE} || 0) != $$) {
    # The second way is for users and for containers: a user namespace where they are who they were.
    my ($said, @way);
    for my $try (['--net'], ['--user', '--map-current-user', '--keep-caps', '--net']) {
        my $out = `unshare @$try true 2>&1`;
        @way = @$try, last if $? == 0;
        die "unshare: $out" if $? >> 8 == 127; # it is not installed
        $said = $out;
    }
    plan skip_all => "the kernel gives us no network namespace: $said" =~ s/\s+\z//r unless @way;
    $ENV{$INSIDE} = $$;
    exec 'unshare', @way, '--', $^X, '-I' . dirname(dirname $INC{'Qpsmtpd/Test.pm'}), $0 or die "unshare: $!\n";
}
delete $ENV{$INSIDE};

# ip - one command of iproute2
sub ip {
    my ($command) = @_;
    local $ENV{PATH} = "$ENV{PATH}:/usr/sbin:/sbin";
    my $said = `ip $command 2>&1`;

    die "ip $command: $said" if $? != 0;
}

ip('link set lo up');
ip("address add 192.0.2.$_/24 dev lo") for 1, 5 .. 9;
# A machine without IPv6 has neither ::1 nor these.
my $v6 = -e '/proc/net/if_inet6' && eval { ip("address add 2001:db8::$_/64 dev lo") for 1, 7, 8; 1 };
diag "no IPv6 here: $@" unless $v6;

# ---- the peers -------------------------------------------------------------------------------------

my $dns = Qpsmtpd::DNS->new({
    Qpsmtpd::DNS::reverse('192.0.2.7')   => {PTR => 'seven.client.test'},
    Qpsmtpd::DNS::reverse('2001:db8::7') => {PTR => 'six.client.test'},
    Qpsmtpd::DNS::reverse('192.0.2.9')   => {rcode => 'SERVFAIL'},
    'example.com.bl.test'                => {A => '127.0.0.2', TXT => 'spammers'},
    'example.org.bl.test'                => {fault => 'garbage'},
});
my $t = Qpsmtpd::Test->new(config => {
    rcpthosts => 'example.test', uribl_zones => 'bl.test',
    dns_servers => $dns->address, dns_timeout => 1, dns_tries => 1,
    p0f_blocked_operating_systems => "OpenBSD\n/^linux 2\\./",
});
my $socket = $t->dir . '/p0f';
$t->config(plugins => ['ident/geoip db_dir geo', "ident/p0f $socket", 'uribl action deny', 'rcpt_ok',
    'queue/maildir Maildir']);
$t->file('geo/GeoLite2-City.mmdb', mmdb('GeoLite2-City',
    '192.0.2.4/30'  => {
        country => {iso_code => 'DE'}, continent => {code => 'EU'}, city => {names => {en => 'Berlin'}},
    },
    '2001:db8::/32' => {country => {iso_code => 'JP'}},
));
$t->file('geo/GeoLite2-ASN.mmdb', mmdb('GeoLite2-ASN', '192.0.2.4/30' => {autonomous_system_number => 64500}));

my %system = (
    '192.0.2.7'   => ['Windows', '7 or 8'],
    '192.0.2.8'   => ['Linux', '2.4.x'],
    '2001:db8::7' => ['FreeBSD', '9.x'],
    '2001:db8::8' => ['OpenBSD', ''],
);
my $DEADLY = '192.0.2.5'; # p0f dies in the middle of its answer about this client

# p0f_answer - the 232 bytes of p0f 3 about a client
sub p0f_answer {
    my ($ip) = @_;
    my ($name, $flavor) = @{$system{$ip} || ['', '']};

    return pack 'L L x28 s C2 (a32)6', 0x50304602, $system{$ip} ? 0x10 : 0x20, -1, 0, 0, $name, $flavor, '', '',
        $system{$ip} ? 'Ethernet or modem' : '', '';
}

# p0f - plays p0f; gives its process id. Who was asked for goes to FILE.asked.
my @p0f;
sub p0f {
    unlink $socket;
    my $listener = IO::Socket::UNIX->new(Local => $socket, Listen => 5, Type => SOCK_STREAM) or die "$socket: $!";
    my $pid = fork;

    die "fork: $!" unless defined $pid;
    if ($pid == 0) {
        $SIG{$_} = 'DEFAULT' for qw(TERM INT HUP);
        alarm 600; # whatever becomes of the test
        while (my $c = $listener->accept) {
            my $query = '';
            while (length $query < 21) {
                sysread $c, $query, 100, length $query or last;
            }
            my (undef, $version, $address) = unpack 'L C a16', $query;
            my $ip = $version == 4 ? inet_ntop(AF_INET, substr $address, 0, 4) : inet_ntop(AF_INET6, $address);
            open my $asked, '>>', "$socket.asked" or die;
            syswrite $asked, "$ip\n";
            close $asked;
            my $answer = p0f_answer($ip);
            syswrite $c, $ip eq $DEADLY ? substr $answer, 0, 100 : $answer;
            POSIX::_exit(0) if $ip eq $DEADLY;
            close $c;
        }
        POSIX::_exit(0);
    }
    push @p0f, $pid;
    return $pid;
}

END {
    local $?;
    kill KILL => @p0f;
    waitpid $_, 0 for @p0f;
}

p0f();
my $server = $t->prefork('-l', '192.0.2.1', $v6 ? ('-l', '2001:db8::1') : (), '--children', 1, '--idle-children', 1,
    '--max-requests', 0);

sub client {
    my ($ip) = @_;

    return $server->connect(host => $ip =~ /:/ ? '2001:db8::1' : '192.0.2.1', from => $ip);
}

# deliver - the reply to a message with forged fields
sub deliver {
    my ($d, $text) = @_;

    return $d->deliver('a@client.test', 'b@example.test',
        "X-GeoIP-Country: forged\nX-P0F-Genre: forged\nSubject: x\n\n" . ($text || 'hello') . "\n");
}

# stored - the fields of the one message in the Maildir, which is empty afterwards
sub stored {
    my ($message) = $t->maildir_messages;
    my %field;

    unlink glob $t->dir . '/Maildir/new/*';
    $message = '' unless defined $message;
    $message =~ s/\n\n.*//s;
    $message =~ s/\n[ \t]+/ /g;
    $field{$1} = $2 while $message =~ /^(Received|X-(?:GeoIP|P0F)-[\w-]+): (.*)$/mg;
    my $received = delete $field{Received} || '';
    return (\%field, $received =~ /\Afrom (.*?) by / ? $1 : $received);
}

# ---- what a message tells of its client ------------------------------------------------------------

my %berlin = (
    'X-GeoIP-Country' => 'DE', 'X-GeoIP-Continent' => 'EU', 'X-GeoIP-City' => 'Berlin', 'X-GeoIP-ASN' => 64500,
);
my %link = ('X-P0F-Link-Type' => 'Ethernet or modem');
for my $case (
    ['192.0.2.7', {%berlin, %link, 'X-P0F-Genre' => 'Windows 7 or 8'}, 'seven.client.test (HELO %s) (192.0.2.7)'],
    ['192.0.2.6', {%berlin}, '[192.0.2.6] (HELO %s) (192.0.2.6)'],
    ['192.0.2.9', {}, '[192.0.2.9] (HELO %s) (192.0.2.9)'],
    $v6 ? ['2001:db8::7', {%link, 'X-P0F-Genre' => 'FreeBSD 9.x', 'X-GeoIP-Country' => 'JP'},
        'six.client.test (HELO %s) (2001:db8::7)'] : (),
) {
    my ($ip, $expect, $from) = @$case;
    my $d = client($ip);
    like $d->greeting, qr/^220 /, "$ip is greeted";
    like deliver($d), qr/^250 /, 'its message is taken' or diag $d->log;
    $d->quit;
    my ($fields, $received) = stored();
    is_deeply $fields, $expect, 'with what is known of it, and nothing forged' or diag explain $fields;
    is $received, sprintf($from, 'client.example.test'), 'Received';
    is $dns->count('PTR ' . Qpsmtpd::DNS::reverse($ip)), 1, 'one question for its name';
}

# ---- refused ---------------------------------------------------------------------------------------

for my $ip ('192.0.2.8', $v6 ? '2001:db8::8' : ()) {
    my $d = client($ip);
    like deliver($d), qr/^550 .*OS Blocked/, "$ip: its system is blocked";
    like $d->quit, qr/^221 /, 'politely';
}
for my $ip ('192.0.2.7', $v6 ? '2001:db8::7' : ()) {
    my $d = client($ip);
    like deliver($d, 'http://www.example.com/'), qr/^554 .*example\.com in bl\.test: spammers/, "$ip: a link is listed";
    like deliver($d, 'http://www.example.net/'), qr/^250 /, 'one that is not, in the same connection';
    like deliver($d, 'http://www.example.org/'), qr/^250 /, 'one that the list says garbage about';
    $d->quit;
}
is scalar(my @m = $t->maildir_messages), $v6 ? 4 : 2, 'what was refused is not stored';
unlink glob $t->dir . '/Maildir/new/*';

# ---- p0f comes and goes ----------------------------------------------------------------------------

# without_genre - a message from there is taken, with all but what p0f would know
sub without_genre {
    my ($ip, $name) = @_;
    my $d = client($ip);

    like $d->greeting, qr/^220 /, "$name: greeted";
    like deliver($d), qr/^250 /, 'served';
    $d->quit;
    is_deeply [stored()]->[0], \%berlin, 'the country is known, the system is not';
}

without_genre($DEADLY, 'p0f dies in the middle of its answer');
is waitpid($p0f[-1], 0), pop @p0f, 'it did';
$server->wait_log(qr/cannot ask p0f .*ends early/);
without_genre('192.0.2.7', 'p0f is dead');
$server->wait_log(qr/cannot ask p0f .*Connection refused/);

my $pid = p0f();
my $d = client('192.0.2.7');
kill KILL => $pid;
is waitpid($pid, 0), pop @p0f, 'p0f is back, has answered, and is killed';
like deliver($d), qr/^250 /, 'while the session goes on';
$d->quit;
is [stored()]->[0]{'X-P0F-Genre'}, 'Windows 7 or 8', 'which knows what was answered';
p0f();

# ---- one child, many sessions ----------------------------------------------------------------------

# session - one of several kinds; the connection is closed when it returns
my @wrong;
sub session {
    my ($i) = @_;
    my ($ip, $text, $expect) = @{(
        ['192.0.2.7', 'hello', qr/^250 /],
        ['192.0.2.7', 'http://www.example.com/', qr/^554 /],
        ['192.0.2.8', 'hello', qr/^550 /],
        $v6 ? ['2001:db8::7', 'http://www.example.net/', qr/^250 /] : ['192.0.2.6', 'hello', qr/^250 /],
        ['192.0.2.9', 'hello'],
    )[$i % 5]};
    my $d = client($ip);

    return $d->hangup unless $expect; # in the middle
    my $reply = deliver($d, $text);
    $d->quit;
    $d->eof or die "session $i stays open";
    push @wrong, "$i: $reply" unless $reply =~ $expect;
}

my ($child) = $server->children;
my $open = sub { scalar(my @fd = glob "/proc/$child/fd/*") };
session($_) for 0 .. 4;
session(0); # behind the one that has hung up: its end was seen
unlink "$socket.asked";
my $before = $open->();
session($_) for 1 .. 50;
session(0);
is join("\n", @wrong), '', 'each of 50 sessions got its reply';
ok eval { wait_for(sub { $open->() <= $before }, 10, 'the descriptors'); 1 }, "and left no descriptor: $before"
    or diag join ' ', map { readlink $_ || '' } glob "/proc/$child/fd/*";
is join(' ', $server->children), $child, 'of the same child';
is slurp("$socket.asked") =~ tr/\n//, 51, 'p0f was asked once for each';
is $server->stop, 0, 'the server ends well';
unlike $server->log, qr/Sanitizer|runtime error/, 'and has nothing to complain of';
done_testing;
