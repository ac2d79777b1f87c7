# virus/clamdscan and virus/clamav against ClamAV of Debian, with signatures that this test writes. Nothing is
# installed: .ci/unpack.
use strict;
use warnings;

use MIME::Base64 qw(encode_base64);
use Test::More;
use Time::HiRes qw(time);

use Qpsmtpd::Clamd qw(eicar database);
use Qpsmtpd::Test qw(peak_memory sanitized wait_for);

my $t = Qpsmtpd::Test->new(config => {rcpthosts => 'example.test'});
my $dir = $t->dir;
mkdir "$dir/$_" for qw(Maildir Maildir/new Maildir/cur Maildir/tmp);
my $clamd = Qpsmtpd::Clamd->new($t, config => ['StreamMaxLength 30M']);

sub scan {
    my ($line, $mail) = @_;
    $t->config(plugins => [$line, 'rcpt_ok', 'queue/maildir Maildir']);
    my $d = $t->dialogue(env => {TCPREMOTEIP => '192.0.2.1'});

    unlink glob("$dir/Maildir/new/*");
    my $reply = $d->deliver('a@client.test', 'b@example.test', $mail);
    my ($stored) = $t->maildir_messages;
    my $memory = peak_memory($d->pid);
    $d->quit;
    return {reply => $reply, message => $stored || '', log => $d->log, memory => $memory};
}

sub attached {
    my ($bytes) = @_;

    return "Subject: a file\nMIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=xx\n\n--xx\nContent-Type: text/plain\n\n"
        . "hello\n--xx\nContent-Type: application/octet-stream; name=file.com\nContent-Transfer-Encoding: base64\n\n"
        . encode_base64($bytes) . "--xx--\n";
}
my %mail = (
    clean => "Subject: hi\nX-Virus-Found: Yes\n\nnothing here\n.\n",
    text => "Subject: hi\n\nsee qpsmtpd-test-virus below\n",
    eicar => "Subject: hi\n\n" . eicar() . "\n",
    attachment => attached(eicar()),
    harmless => attached('x' x 68),
);

# ---- clamd, by both ways ---------------------------------------------------------------------------------

for my $line ("virus/clamdscan clamd_socket " . $clamd->socket, 'virus/clamdscan clamd_port ' . $clamd->port,
    'virus/clamdscan clamd_host 127.0.0.1:' . $clamd->port) {
    (my $way = $line) =~ s/.* (clamd_\w+) .*/$1/;
    for (sort keys %mail) {
        my $r = scan($line, $mail{$_});
        if (/clean|harmless/) {
            like $r->{reply}, qr/^250 /, "$way: $_";
            like $r->{message}, qr{^X-Virus-Found: No\nX-Virus-Checked: by ClamAV [\d.]+ on mx\.example\.test$}m, 'it is said so';
            unlike $r->{message}, qr/X-Virus-Found: Yes/, 'once';
        } else {
            my $name = $_ eq 'text' ? 'Test.Body' : 'Eicar-Test-Signature';
            like $r->{reply}, qr/^554 (?:\S+ )?Virus found: \Q$name\E/, "$way: $_";
        }
    }
}
like $clamd->log, qr/instream\(local\): Eicar-Test-Signature\S* FOUND/, 'clamd says the same of its socket';
like $clamd->log, qr/instream\(127\.0\.0\.1\@\d+\): Eicar-Test-Signature\S* FOUND/, 'and of TCP';
my $deny = scan('virus/clamdscan deny_viruses no clamd_socket ' . $clamd->socket, $mail{eicar});
like $deny->{message}, qr/^X-Virus-Found: Yes\nX-Virus-Details: Eicar-Test-Signature/m, 'deny_viruses no';

# ---- size ------------------------------------------------------------------------------------------------

# The virus stands at the very end of 25 MiB: so clamd got all of it. 63 bytes a line.
my $filler = "Subject: large\n\n" . ('x' x 62 . "\n") x ((25 << 20) / 63);
my $small = scan('virus/clamdscan clamd_socket ' . $clamd->socket, $mail{clean})->{memory};
for my $way ('clamd_socket ' . $clamd->socket, 'clamd_port ' . $clamd->port) {
    my $begin = time;
    my $r = scan("virus/clamdscan max_size 0 $way", $filler);
    my $seconds = time - $begin;
    like $r->{reply}, qr/^250 /, "25 MiB by $way";
    like $r->{message}, qr/^X-Virus-Found: No$/m, 'are clean';
    diag sprintf '%s: 25 MiB in %.1f s, peak memory of the session %d KiB; with a small message %d KiB',
        $way =~ s/ .*//r, $seconds, $r->{memory}, $small;
    cmp_ok $r->{memory} - $small, '<', 2048, 'in constant memory' unless sanitized();
}
like scan('virus/clamdscan max_size 0 clamd_socket ' . $clamd->socket, "$filler\nqpsmtpd-test-virus\n")->{reply},
    qr/^554 (?:\S+ )?Virus found: Test\.Body/, 'what stands at the end is found';
for my $way ('clamd_socket ' . $clamd->socket, 'clamd_port ' . $clamd->port) {
    my $r = scan("virus/clamdscan max_size 0 $way", $filler . ('x' x 62 . "\n") x ((8 << 20) / 63));
    like $r->{reply}, qr/^451 (?:\S+ )?Unable to scan/, "beyond StreamMaxLength by $way";
    like $r->{log}, qr/INSTREAM size limit exceeded/, 'the log has the words of clamd';
}

# ---- the command-line forms ----------------------------------------------------------------------------------

my ($clamav, $clamdscan) = split /\n/, `.ci/unpack clamav clamdscan`;
die ".ci/unpack clamav clamdscan has failed\n" if $? || !defined $clamdscan;
database("$dir/db");
# The programs are where .ci/unpack has put them; libraries and signatures as well.
my %program = (
    clamscan => "#!/bin/sh\nexec $clamav/run clamscan -d $dir/db \"\$@\"\n",
    clamdscan => "#!/bin/sh\nexec $clamdscan/run clamdscan \"\$@\"\n",
);
for my $name (sort keys %program) {
    my $path = $t->file("bin/$name", $program{$name});
    chmod 0755, $path;
    my $line = "virus/clamav clamscan_path=$path" . ($name eq 'clamdscan' ? " clamd_conf=$dir/clamd/clamd.conf" : '');
    for ('clean', 'eicar', 'attachment') {
        my $r = scan($line, $mail{$_});
        if ($_ eq 'clean') {
            like $r->{reply}, qr/^250 /, "$name: $_";
            like $r->{message}, qr/^X-Virus-Checked: Checked by ClamAV on mx\.example\.test$/m, 'it is said so';
        } else {
            like $r->{reply}, qr/^554 (?:\S+ )?Virus Found: Eicar-Test-Signature/, "$name: $_";
        }
    }
    like scan("$line action=add-header", $mail{text})->{message}, qr/^X-Virus-Details: Test\.Body/m, "$name: add-header";
    like scan("$line pass name", $mail{text})->{reply}, qr/^554 /, "$name: a file with a name";
}
like scan("virus/scanner clamscan bin $dir/bin/clamscan args -d /nonexistent %f", $mail{clean})->{reply}, qr/^451 /,
    'clamscan without signatures';

# ---- it dies -------------------------------------------------------------------------------------------------

$clamd->stop;
my $dead = scan('virus/clamdscan clamd_socket ' . $clamd->socket, $mail{clean});
like $dead->{reply}, qr/^451 (?:\S+ )?Unable to scan for viruses/, 'clamd has gone';
like scan('virus/clamdscan defer_on_error no clamd_port ' . $clamd->port, $mail{clean})->{reply}, qr/^250 /, 'defer_on_error no';
like scan("virus/clamav clamscan_path=$dir/bin/clamdscan clamd_conf=$dir/clamd/clamd.conf", $mail{clean})->{reply}, qr/^451 /,
    'clamdscan without clamd';
my $again = Qpsmtpd::Clamd->new($t);
like scan('virus/clamdscan clamd_socket ' . $again->socket, $mail{eicar})->{reply}, qr/^554 /, 'clamd is back';

# Killed while a message comes in.
$t->config(plugins => ['virus/clamdscan max_size 0 timeout 20s clamd_socket ' . $again->socket, 'rcpt_ok', 'queue/maildir Maildir']);
my $d = $t->dialogue(env => {TCPREMOTEIP => '192.0.2.1'});
$d->say($_) for 'EHLO client.test', 'MAIL FROM:<a@client.test>', 'RCPT TO:<b@example.test>', 'DATA';
kill STOP => $again->pid; # it takes the connection, but reads no more than fits into the socket
$d->raw("$filler.\r\n" =~ s/(?<!\r)\n/\r\n/gr, 60);
$d->wait_log(qr/running plugin \(data_post\): virus\/clamdscan/);
kill KILL => $again->pid;
like $d->read_reply(60), qr/^451 (?:\S+ )?Unable to scan for viruses/, 'clamd is killed in the middle: the client keeps the message';
$d->quit;

done_testing;
