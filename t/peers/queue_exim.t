# queue/exim-bsmtp, and queue/pipe with its sendmail, against the Exim of Debian, which is unpacked, not
# installed (.ci/unpack). It runs in a namespace where it finds its user. Messages stay in its queue
# until a queue runner delivers them to files, where every byte is compared.
use strict;
use warnings;

use File::Path qw(make_path);
use Test::More;
use Qpsmtpd::Test qw(slurp wait_for);

plan skip_all => 'only root can give Exim its user and a mount of its own' if $> != 0;
my ($exim) = split /\n/, `.ci/unpack exim4-daemon-light`;
die ".ci/unpack exim4-daemon-light has failed\n" if $? || !defined $exim;

my $uid = 65432;
my $t = Qpsmtpd::Test->new(config => {rcpthosts => 'example.test', 'me-auth-results' => 'none'}, loglevel => 6);
my $dir = $t->dir;

# ---- an Exim ---------------------------------------------------------------------------------------

$t->file('passwd', slurp('/etc/passwd') . "Debian-exim:x:$uid:$uid\::/:/bin/false\n");
$t->file('group', slurp('/etc/group') . "Debian-exim:x:$uid:\n");
$t->file('exim.conf', <<"END");
primary_hostname = exim.example.test
spool_directory = $dir/exim
log_file_path = $dir/eximlog/%slog
trusted_users = root
keep_environment =
queue_only
message_size_limit = 1M
acl_not_smtp = local
begin acl
local:
  deny condition = \${if match{\$recipients}{reject\@}}
       message = no such user here
  deny condition = \${if match{\$h_subject:}{forbidden}}
       message = not this subject
  accept
begin routers
all:
  driver = accept
  transport = box
begin transports
box:
  driver = appendfile
  directory = $dir/box
  maildir_format
  message_prefix =
  message_suffix =
  return_path_add
  envelope_to_add
  delivery_date_add = false
  user = Debian-exim
begin retry
* * F,2h,15m
END
make_path("$dir/exim", "$dir/eximlog", "$dir/box");
chown $uid, $uid, "$dir/exim", "$dir/eximlog", "$dir/box";
chmod 0755, $dir;
my $mounts = 'mount --bind "$0/passwd" /etc/passwd && mount --bind "$0/group" /etc/group && exec "$@"';
my $program = $t->file('rsmtp', "#!/bin/sh\nexec unshare --mount sh -c '$mounts' '$dir' '$exim/run' '$exim/usr/sbin/exim4' -C '$dir/exim.conf' \"\$\@\"\n");
chmod 0755, $program;
my ($status, $said) = $t->run($program, '-bV');
plan skip_all => "no namespaces here: $said" if $status != 0;

# delivered - what a queue run delivers: {local part => [return path, our Received, message]}; the files
# are taken away
sub delivered {
    my ($code, $out) = $t->run($program, '-qf');
    my %found;

    note $out if $out =~ /\S/;
    for my $file (glob "$dir/box/new/*") {
        my $text = slurp($file);
        my ($from) = $text =~ s/\AReturn-path: (.*)\n// ? $1 : '';
        my ($to) = $text =~ s/\AEnvelope-to: (.*)\@example\.test\n// ? $1 : '';
        # Exim puts its own Received on top.
        $text =~ s/\AReceived: .*\n(?:[ \t].*\n)+//;
        my ($ours) = $text =~ s/\A(Received: .*\n(?:[ \t].*\n)+)// ? $1 : '';
        $found{$to} = [$from, $ours, $found{$to} ? 'twice' : $text];
        unlink $file;
    }
    return \%found;
}

# ---- messages --------------------------------------------------------------------------------------

$t->config(plugins => ['check_relay', 'rcpt_ok', "queue/exim-bsmtp exim_path $program"]);
my $d = $t->dialogue;
my $head = "From: a\@client.test\nDate: Mon, 23 Nov 2026 01:00:00 +0000\nMessage-Id: <id\@client.test>\n";
my %message = (
    'dots and folds' => "${head}Subject: x\n folded\n\n.\n..dot\n.\n\nFrom here\n\t \nend\n",
    'no body' => "${head}Subject: y\n",
    '8-bit bytes' => "${head}Subject: z\n\n" . join('', map { chr } grep { $_ != 10 && $_ != 13 } 1 .. 255) . "\n",
    'long lines' => "${head}Subject: long\n\n" . join("\n", map { chr(97 + $_ % 26) x $_ } 997 .. 1000, 8191, 8192, 20_000) . "\n",
    'a batch in the body' => "${head}Subject: batch\n\n.\nQUIT\nHELO x\nMAIL FROM:<evil\@client.test>\nRCPT TO:<other\@example.test>\nDATA\nx\n.\n",
    '900 KB' => "${head}Subject: big\n\n" . ('x' x 70 . "\n") x 12_500,
);
for my $name (sort keys %message) {
    my $reply = $d->deliver('a@client.test', 'b@example.test', $message{$name});

    is $reply, '250 Queued! <id@client.test>', "$name: queued" or diag $d->log;
    my $m = delivered()->{b};
    my $expected = $message{$name} =~ /\n\n/ ? $message{$name} : "$message{$name}\n";
    is $m->[2], $expected, '... and every byte arrives';
    is $m->[0], '<a@client.test>', '... from its sender';
    like $m->[1], qr/by mx\.example\.test \(qpsmtpd/, '... under our Received';
}
like $d->deliver('', [map { "user$_\@example.test" } 1 .. 20], "${head}Subject: twenty\n\nx\n"), qr/^250 /, 'twenty recipients, null sender';
my $m = delivered();
is scalar(grep { $_->[2] eq "${head}Subject: twenty\n\nx\n" && $_->[0] eq '<>' } values %$m), 20, '... have it once each';
$d->say('MAIL FROM:<a@client.test> BODY=8BITMIME');
$d->say('RCPT TO:<b@example.test>');
like $d->bdat("$head" =~ s/\n/\r\n/gr . "Subject: bdat\r\n\r\na\rb\r.\rMAIL FROM:<x\@y.test>\r.\r\nend", 'LAST'), qr/^250 /, 'BDAT with bare CRs';
is delivered()->{b}[2], "${head}Subject: bdat\n\na\nb\n.\nMAIL FROM:<x\@y.test>\n.\nend\n", '... which become line ends, and no end of the message';

# ---- refusals --------------------------------------------------------------------------------------

is $d->deliver('a@client.test', ['b@example.test', 'reject@example.test'], "${head}Subject: x\n\nx\n"), '554 no such user here', 'a refused recipient';
is $d->deliver('a@client.test', 'b@example.test', "${head}Subject: forbidden\n\nx\n"), '554 not this subject', 'a refused subject';
like $d->deliver('a@client.test', 'b@example.test', "${head}Subject: x\n\n" . ('x' x 70 . "\n") x 20_000), qr/^554 [Mm]essage .*(?:too big|maximum)/, 'a message that is too large';
# Exim sees the end of a batch that was cut off, as when this server is killed.
my ($code, $answer) = $t->run({stdin => "HELO x\nMAIL FROM:<a\@client.test>\nRCPT TO:<b\@example.test>\nDATA\n${head}\nhalf\n"}, $program, '-bS');
like $answer, qr/^421 /m, 'a batch that is cut off is no message';
is_deeply delivered(), {}, 'none of them was delivered';
is_deeply [glob "$dir/exim/input/*-D"], [], 'nor does it wait in the queue';

# ---- its sendmail ----------------------------------------------------------------------------------

$t->config(plugins => ['check_relay', 'rcpt_ok', "queue/pipe $program -i -f %s -- %r"]);
my $p = $t->dialogue;
like $p->deliver('a@client.test', ['b@example.test', '-oX@example.test'], $message{'dots and folds'}), qr/^250 Queued!/, 'queue/pipe' or diag $p->log;
$m = delivered();
is $m->{$_}[2], $message{'dots and folds'}, "... every byte arrives at $_" for 'b', '-oX';
like $p->deliver('', 'b@example.test', $message{'dots and folds'}), qr/^250 Queued!/, '... the null sender';
is delivered()->{b}[0], '<>', '... is one';
done_testing;
