# The service directory as shipped: svscan starts run under tcpserver and log/run with multilog.

use strict;
use warnings;

use Cwd qw(abs_path);
use File::Basename qw(dirname);
use File::Copy qw(copy);
use File::Path qw(make_path);
use Test::More;
use Qpsmtpd::Test qw(slurp wait_for free_port sanitized);

my $root = abs_path(dirname(__FILE__) . '/../..');
my $t = Qpsmtpd::Test->new;
my $service = $t->dir . '/service/qpsmtpd';
my $user = $> == 0 ? 'nobody' : scalar getpwuid $>;
my ($uid, $gid) = (getpwnam $user)[2, 3];
my $port = free_port();
my $svscan;

# ---- install it: a copy of the tree with config/ ----

# Another user must come in when the test runs as root, as a real installation does.
chmod 0755, $t->dir;
make_path("$service/$_") for qw(config log Maildir/cur Maildir/new Maildir/tmp);
for my $file (qw(run log/run)) {
    copy("$root/$file", "$service/$file") or die "$file: $!";
    chmod 0755, "$service/$file";
    is system('sh', '-n', "$root/$file"), 0, "$file is a shell script";
    ok -x "$root/$file", 'and executable';
}
copy($t->program('qpsmtpd'), "$service/qpsmtpd") or die "qpsmtpd: $!";
chmod 0755, "$service/qpsmtpd";
my $plugins = dirname($t->program('qpsmtpd')) . '/plugins';
for my $so (glob("$plugins/*.so"), glob("$plugins/*/*.so")) {
    (my $to = $so) =~ s/\A\Q$plugins\E/$service\/plugins/;
    make_path(dirname $to);
    copy($so, $to) or die "$so: $!";
}
for my $file (grep { -f } glob "$root/config.sample/*") {
    (my $to = $file) =~ s/.*\//$service\/config\//;
    copy($file, $to) or die "$file: $!";
}
$t->file('service/qpsmtpd/config/IP', "# only this machine\n\n  127.0.0.1  \n10.0.0.1\n");
$t->file('service/qpsmtpd/rules', "127.0.0.3:deny\n127.0.0.4:allow,RELAYCLIENT=\"\"\n:allow\n");
system('sh', '-c', 'cd "$1" && tcprules tcp.smtp.cdb rules.tmp <rules', 'sh', $service) == 0 or die 'tcprules';
unlink "$service/config/relayclients";
chown $uid, $gid, map { "$service/Maildir$_" } '', qw(/cur /new /tmp);
chmod 01755, $service;

# ---- start it ----

sub svc {
    my ($status, $output) = $t->run('svc', @_);

    die "svc @_: $output" if $status;
}

# supervised - the process id of what run has become
sub supervised {
    my ($status, $output) = $t->run('svstat', $service);

    return $output =~ /: up \(pid (\d+)\)/ ? $1 : 0;
}

sub start {
    open my $null, '+<', '/dev/null' or die "/dev/null: $!";
    open my $log, '>>', $t->dir . '/log.svscan' or die "log: $!";
    return $t->spawn(
        command => ['svscan', $t->dir . '/service'],
        env     => $t->environment(
            SMTPD_USER => $user,
            SMTPD_PORT => $port,
            SMTPD_TCPSERVER => '-c 10 -v -R -H -l localhost', # a test asks no name server
            (sanitized() ? (SMTPD_MEMORY => '=') : ()),
        ),
        in => $null, out => $log, err => $log);
}

my $log = "$service/log/main/current";
$svscan = start();
my $server = Qpsmtpd::Test::Server->new(process => $svscan, port => $port, log => $log);

sub listening {
    return IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $port, LocalAddr => '127.0.0.3');
}
wait_for(\&listening, 20, "run to listen\n" . (slurp($t->dir . '/log.svscan') || ''));
wait_for(sub { -e $log }, 20, 'log/run to make log/main');
pass 'svscan has started the service and its log';

# ---- mail ----

my $head = "From: a\@client.test\nDate: Mon, 1 Jan 2024 00:00:00 +0000\n\n";
my %sent = (small => "${head}hello\n", large => $head . ('x' x 70 . "\n") x 50_000);
my $d = $server->connect;
like $d->deliver('a@client.test', 'you@localhost', $sent{small}), qr/^250/, 'a message';
like $d->deliver('a@client.test', 'you@localhost', $sent{large}), qr/^250/, 'and one that goes through the spool';
like $d->deliver('a@client.test', 'you@elsewhere.test', $sent{small}), qr/^550/, 'no relaying';
like $d->quit, qr/^221/, 'QUIT';
my @files = glob "$service/Maildir/new/*";
is scalar @files, 2, 'both are in the Maildir';
for my $name (sort keys %sent) {
    ok scalar(grep { my $m = slurp($_); substr($m, -length $sent{$name}) eq $sent{$name} } @files), "$name: byte for byte";
}
is_deeply [map { (stat $_)[4] } @files], [$uid, $uid], "they belong to $user";
my ($mode, $owner) = (stat "$service/spool")[2, 4];
is $mode & 07777, 0700, 'the spool directory was made, for one user only';
is $owner, $uid, 'who is that user';

# ---- tcprules ----

is $server->connect(from => '127.0.0.3')->greeting, '', 'rules of tcp.smtp.cdb refuse a client';
$d = $server->connect(from => '127.0.0.4');
like $d->deliver('a@client.test', 'you@elsewhere.test', $sent{small}), qr/^250/, 'and let another one relay';
$d->quit;

# ---- the log ----

$server->wait_log(qr/tcpserver: ok \d+ /);
$server->wait_log(qr/tcpserver: deny \d+ /);
my @lines = split /\n/, slurp($log);
is scalar(grep { !/^\@[0-9a-f]{24} / } @lines), 0, 'each line of log/main/current has its time';
ok scalar(grep { /tcpserver: status: \d+\/10/ } @lines), 'tcpserver takes 10 clients at most';
ok scalar(grep { /refused: hook=rcpt/ } @lines), 'a refusal is there';
is +(stat $log)[4], $uid, "the log belongs to $user";

# ---- svc ----

my $pid = wait_for(\&supervised, 5, 'its process');
svc('-t', $service);
wait_for(sub { my $now = supervised(); $now && $now != $pid }, 10, 'a new process after svc -t');
wait_for(\&listening, 10, 'it to listen');
$d = $server->connect;
like $d->deliver('a@client.test', 'you@localhost', $sent{small}), qr/^250/, 'after svc -t it serves again';
$d->quit;
svc('-d', $service);
wait_for(sub { !listening() }, 10, 'it to stop');
pass 'svc -d stops it';

# ---- what can be wrong ----

SKIP: {
    skip 'only root needs a user', 1 if $> != 0;
    my ($status, $output) = $t->run({env => {SMTPD_USER => 'nobody-of-that-name'}},
        'sh', '-c', 'cd "$1" && exec ./run', 'sh', $service);
    is $status, 111, 'without its user it does not start' or diag $output;
}

svc('-dx', $service, "$service/log");
kill TERM => $svscan->{pid};
$svscan->wait(10);
wait_for(sub { !$svscan->group }, 10, 'all processes to end');
pass 'nothing is left behind';

done_testing;
