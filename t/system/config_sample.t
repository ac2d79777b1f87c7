# config.sample serves as it is, and each of its commented lines may be used.

use strict;
use warnings;

use Cwd qw(abs_path);
use File::Basename qw(basename dirname);
use Test::More;
use Qpsmtpd::Test qw(slurp);

my $sample = abs_path(dirname(__FILE__) . '/../../config.sample');
my @files = map { basename($_) } grep { -f } glob "$sample/*";

# ---- as it is ----

my $t = Qpsmtpd::Test->new(config => {me => undef, spool_dir => undef, loglevel => undef});
$t->config($_ => slurp("$sample/$_")) for @files;

is system("$sample/../plugins/tls_cert", $t->dir . '/config', 'localhost'), 0, 'tls_cert makes a certificate';

my ($status, $output) = $t->check;
is $status, 0, 'the configuration is valid' or diag $output;
unlike $output, qr/warn|rcpthosts is/i, 'and nothing is warned of';

my $message = "From: a\@client.test\nDate: Mon, 1 Jan 2024 00:00:00 +0000\nSubject: hi\n\n" . "hello\n" x 5000;
my $d = $t->dialogue;
like $d->deliver('a@client.test', ['you@localhost', 'friend@elsewhere.test'], $message), qr/^250 2\./,
    'mail for us is taken, and from here for others too, with enhanced codes' or diag $d->reply, $d->log;
$d->quit;
is $d->status, 0, 'the session ends well';
my @messages = $t->maildir_messages;
is scalar @messages, 1, 'it is in the Maildir';
like $messages[0], qr/\n\Q$message\E\z/, 'byte for byte';

$d = $t->dialogue(env => {TCPREMOTEIP => '192.0.2.1', TCPREMOTEHOST => undef});
like $d->deliver('a@client.test', 'friend@elsewhere.test', $message), qr/^550 5\.7\.1 /, 'strangers may not relay';
like $d->deliver('a@client.test', 'you@localhost', $message), qr/^250 /, 'but write to us';
$d->quit;

# ---- each file explains itself ----

for my $name (@files) {
    like slurp("$sample/$name"), qr/\A# \Q$name\E - \S/, "$name begins with what it is";
}

# ---- with everything that is commented out ----

# examples - the lines that begin with # alone; what begins with # and a blank is prose
sub examples {
    my ($name) = @_;

    return slurp("$sample/$name") =~ /^#([^\s#].*)/mg;
}

for my $name (grep { !/^(?:plugins|logging)$/ } @files) {
    # Some hold passwords: nobody else may read them.
    chmod 0600, $t->config($name => slurp("$sample/$name") . join "\n", examples($name));
}
($status, $output) = $t->check;
is $status, 0, 'the examples in all lists are valid' or diag $output;

# Programs and databases that a test machine need not have: then the line that says so is right.
my %may_lack = (
    'queue/qmail-queue' => qr/qmail-queue/,
    'queue/exim-bsmtp'  => qr{exim_path: cannot run \S+: No such file},
    'queue/pipe'        => qr{cannot run \S+: No such file},
    'quit_fortune'      => qr/fortune/,
    'virus/scanner'     => qr/no program that can be run/,
    'ident/geoip'       => qr/no GeoLite2-City\.mmdb.* in /,
    'auth/auth_checkpassword' => qr{checkpw: \S+: No such file},
    'auth/sasldb'       => qr{/etc/sasldb2: No such file},
);

for my $name ('plugins', 'logging') {
    for my $line (examples($name)) {
        # tls_ports, which names a port by now, wants somebody to serve it.
        $t->config(plugins => 'tls');
        $t->config($name => ($name eq 'plugins' ? "tls\n" : '') . $line =~ s{/var/log/qpsmtpd}{$t->dir}er);
        ($status, $output) = $t->check;
        my ($plugin) = split ' ', $line;
        ok $status == 0 || ($may_lack{$plugin} && $output =~ $may_lack{$plugin}), "$name: $line" or diag $output;
    }
}

done_testing;
