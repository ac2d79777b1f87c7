# One message through all of it: clamd, spamd, a milter that signs (OpenDKIM), and the Maildir, in one child of
# the preforking server. 25 MiB need no more memory than 25 bytes, and arrive as they were sent.
# Packages: openssl
use strict;
use warnings;

use Digest::SHA qw(sha256_base64);
use Test::More;
use Time::HiRes qw(time);

use Qpsmtpd::Clamd qw(eicar);
use Qpsmtpd::Test qw(peak_memory sanitized slurp wait_for);

my $t = Qpsmtpd::Test->new(config => {rcpthosts => 'example.test', 'me-auth-results' => 'none', databytes => 0}, loglevel => 6);
my $dir = $t->dir;
my ($spamd, $opendkim) = split /\n/, `.ci/unpack spamd opendkim`;
die ".ci/unpack spamd opendkim has failed\n" if $? || !defined $opendkim;
chmod 0711, $dir; # spamd of root is nobody when it reads its rules
mkdir "$dir/$_" for qw(Maildir Maildir/new Maildir/cur Maildir/tmp home);

# ---- the three ---------------------------------------------------------------------------------------

sub start {
    my ($socket, @command) = @_;
    open my $null, '+<', '/dev/null' or die;
    open my $log, '>>', "$socket.log" or die;
    my $p = $t->spawn(command => \@command, env => $t->environment(HOME => "$dir/home"), in => $null, out => $log, err => $log);

    eval { wait_for(sub { -S $socket || !$p->alive }, 60, $socket) && -S $socket } or die "$command[0]: ", slurp("$socket.log");
    return $p;
}

my $clamd = Qpsmtpd::Clamd->new($t);
$t->file('site/init.pre', "loadplugin Mail::SpamAssassin::Plugin::Check\n");
$t->file('site/local.cf', "use_bayes 0\nheader TEST_SUBJECT Subject =~ /ten points/\nscore TEST_SUBJECT 10\n");
$t->file("rules/$_", slurp("$spamd/usr/share/spamassassin/$_")) for '10_default_prefs.cf', '10_hasbase.cf';
my @lib = map { "-I$spamd/usr/$_" } 'share/perl5', glob("$spamd/usr/lib/*/perl5/5.*") =~ s{^\Q$spamd\E/usr/}{}r;
my $scorer = start("$dir/spamd.sock", $^X, '-T', @lib, "$spamd/usr/sbin/spamd", '-L', '-x', '-m', 2, '--min-children=1',
    '--max-spare=1', "--configpath=$dir/rules", "--siteconfigpath=$dir/site", '-H', "$dir/home", '-s', 'stderr',
    "--socketpath=$dir/spamd.sock", '--socketmode=0600');
system("openssl genrsa -traditional -out $dir/dkim.key 2048 >/dev/null 2>&1") == 0 or die "openssl genrsa\n";
my $conf = $t->file('sign.conf', <<"END");
Syslog no
Mode s
Domain client.test
Selector s1
KeyFile $dir/dkim.key
RequireSafeKeys no
Canonicalization simple/simple
InternalHosts 127.0.0.1
Socket local:$dir/sign.sock
END
start("$dir/sign.sock", "$opendkim/run", 'opendkim', '-f', '-x', $conf);

my @plugins = ('virus/clamdscan max_size 0 clamd_socket ' . $clamd->socket,
    "spamassassin size_limit 0 timeout 10m reject 10 on_error tempfail spamd_socket $dir/spamd.sock", "milter sign unix:$dir/sign.sock", 'rcpt_ok',
    'queue/maildir Maildir');
$t->config(plugins => \@plugins);

# ---- messages ----------------------------------------------------------------------------------------

my $head = "From: a\@client.test\nSubject: hi\n";
my $lines = join '', map { ($_ % 100 ? '' : ".\n") . 'x' x 61 . chr(97 + $_ % 26) . "\n" } 1 .. (25 << 20) / 63;

# deliver - in a server of its own: the reply, what has arrived, the peak of the child in KiB, seconds
sub deliver {
    my ($message, $how) = @_;
    my $server = $t->prefork('--children', 1, '--idle-children', 1);
    my $d = $server->connect;
    my $begin = time;

    unlink glob "$dir/Maildir/new/*";
    $d->say($_) for 'EHLO client.test', 'MAIL FROM:<a@client.test>', 'RCPT TO:<b@example.test>';
    my $reply = $how ? $d->bdat($message =~ s/\n/\r\n/gr, 'LAST') : $d->data($message);
    my $seconds = time - $begin;
    my ($child) = $server->children;
    my $peak = peak_memory($child);
    $d->quit;
    $server->stop;
    my @all = $t->maildir_messages;
    return {reply => $reply, all => \@all, peak => $peak, seconds => $seconds};
}

# is_whole - one copy, with everybody's fields, and the body of the client
sub is_whole {
    my ($r, $body, $what) = @_;
    my ($fields, $got) = split /(?<=\n)\n/, $r->{all}[0] // '', 2;

    like $r->{reply}, qr/^250 /, "$what is taken";
    is scalar(@{$r->{all}}), 1, '... once';
    like $fields, qr/^\Q$_: \E/m, "... with $_" for qw(Return-Path DKIM-Signature X-Spam-Status X-Virus-Found Received);
    ok +($got // '') eq $body, '... byte for byte';
    my ($signed) = $fields =~ /\bbh=([^;]*);/;
    is(($signed // '') =~ s/\s//gr =~ s/=+\z//r, sha256_base64($body =~ s/\n/\r\n/gr), '... as the milter has seen it, too');
}

my $small = deliver("$head\nhello\n");
is_whole($small, "hello\n", 'a small message');
for my $how (0, 1) {
    my $large = deliver("$head\n$lines", $how);
    my $way = $how ? 'BDAT' : 'DATA';

    is_whole($large, $lines, "25 MiB by $way");
    diag sprintf '25 MiB by %s through clamd, spamd, milter and maildir: %.1f s, peak memory of the child %d KiB (VmHWM); a small message: %d KiB',
        $way, $large->{seconds}, $large->{peak}, $small->{peak};
    cmp_ok $large->{peak} - $small->{peak}, '<', 1500, '... in constant memory' unless sanitized();
}

# ---- one of them says no, or has gone -----------------------------------------------------------------

for my $case (['the first refuses', $head . "\n" . eicar() . "\n", qr/^554 (?:\S+ )?Virus found: Eicar/],
    ['the second refuses', $head =~ s/hi/ten points/r . "\nx\n", qr/^554 (?:\S+ )?spam score exceeded threshold/],
    ['the second has gone', "$head\nx\n", qr/^451 (?:\S+ )?unable to check for spam/, sub { $scorer->kill_all }],
    ['the first has gone', "$head\nx\n", qr/^451 (?:\S+ )?Unable to scan for viruses/, sub { $clamd->stop }]) {
    my ($what, $message, $reply, $before) = @$case;

    $before->() if $before;
    my $r = deliver($message);
    like $r->{reply}, $reply, $what;
    is scalar(@{$r->{all}}), 0, '... nobody gets it';
}

done_testing;
