use strict;
use warnings;

use Test::More;
use Time::HiRes qw(time);

use Qpsmtpd::Daemon qw(line rest say_to hang heard);
use Qpsmtpd::Test qw(peak_memory sanitized slurp wait_for);

my $t = Qpsmtpd::Test->new(config => {rcpthosts => 'example.test'});
my $dir = $t->dir;
mkdir "$dir/$_" for qw(Maildir Maildir/new Maildir/cur Maildir/tmp scans);
my $mail = "Subject: hi\nX-Virus-Found: No\nX-Virus-Details : none\nFrom: a\@client.test\n\nbody\n";

# scanner - an executable that leaves its arguments and the file it is given, and runs that code
my $number = 0;
sub scanner {
    my ($code, $name) = @_;
    my $path = "$dir/bin" . ++$number . '/' . ($name || 'scanner');

    # The arguments lie beside it: argv of a script is what the kernel makes of it, plus the path.
    $t->file(substr($path, length "$dir/"), <<"END");
#!$^X
use strict;
use warnings;
my (\$file) = grep { m{^/dev/fd/|/message-} } map { s/^--file=//r } \@ARGV;
open my \$heard, '>', '$dir/heard' or die;
print \$heard join(' ', \@ARGV), "\\n";
if (defined \$file) {
    open my \$in, '<', \$file or die "\$file: \$!";
    local \$/;
    printf \$heard "mode=%o links=%d\\n", (stat \$in)[2] & 07777, (stat \$in)[3];
    print \$heard readline \$in;
}
close \$heard;
\$| = 1;
$code
END
    chmod 0755, $path;
    return $path;
}

sub scan {
    my ($line, %arg) = @_;
    $t->config(plugins => [@{$arg{before} || []}, $line, @{$arg{after} || []}, 'rcpt_ok', 'queue/maildir Maildir']);
    my $d = $t->dialogue(env => {TCPREMOTEIP => '192.0.2.1', %{$arg{env} || {}}});

    unlink glob("$dir/Maildir/new/*"), "$dir/heard";
    my $reply = $d->deliver('a@client.test', 'b@example.test', $arg{mail} || $mail);
    my ($stored) = $t->maildir_messages;
    my $memory = peak_memory($d->pid);
    $d->quit;
    $d->status;
    return {reply => $reply, message => $stored, log => $d->log, heard => slurp("$dir/heard"), memory => $memory};
}

sub fields {
    my ($r) = @_;
    my ($header) = ($r->{message} || '') =~ /\A(.*?\n)\n/s;

    return join '', defined $header ? $header =~ /^(X-Virus-.*\n)/mgi : ();
}

my $denied = qr/^554 (?:\S+ )?/;
my $put_off = qr/^451 (?:\S+ )?Unable to scan for viruses$/;
my $locked = qr/^554 (?:\S+ )?We do not accept password-protected zip files!$/;

# ---- what each product says ----------------------------------------------------------------------------

my %product = (
    clamscan => ['--no-summary --stdout FILE', 'ClamAV', [
        [0, 'print "/dev/fd/3: OK\n"', undef],
        [1, 'print "/dev/fd/3: Eicar-Test-Signature FOUND\n/dev/fd/3: Other FOUND\n"', 'Eicar-Test-Signature, Other'],
        [1, '', 'unknown'],
        map { [$_, 'print "x: Y FOUND\n"', 'error'] } 2, 40, 50, 62]],
    clamdscan => ['--fdpass --no-summary --stdout FILE', 'ClamAV', [
        [0, '', undef], [1, 'print STDERR "WARNING\n"; print "/dev/fd/3: A FOUND\n"', 'A'], [2, '', 'error']]],
    uvscan => ['--mime --unzip --secure FILE', 'McAfee uvscan', [
        [0, '', undef],
        (map { [$_, 'print "x\n\tFound the W32/Klez.h virus !!!\r\n"', 'the W32/Klez.h virus !!!'] } 12, 13, 19),
        (map { [$_, '', 'error'] } 2, 6, 8, 15, 100),
        [0, 'print "a.zip is password-protected\n"', 'locked'],
        [13, 'print "a.zip is password-protected\nFound V\n"', 'V']]],
    kav4 => ['-Y -P -B -MP -MD FILE', 'Kaspersky', [
        [0, '', undef],
        (map { [$_, 'print "x infected: A\nx suspicion: B\n"', 'A, B'] } 2, 3, 4, 8),
        (map { [$_, '', 'error'] } 1, 5, 7, 9)]],
    aveclient => ['-p /var/run/aveserver -s FILE', 'Kaspersky', [
        [0, '', undef], [5, '', undef],
        (map { [$_, 'print "report\nA\nB\n"', 'A, B'] } 2, 3, 4),
        [6, '', 'locked'],
        (map { [$_, '', 'error'] } 1, 7, 8, 9)]],
    bitdefender => ['--mail --all --arc FILE', 'BitDefender', [
        [0, 'print "/dev/fd/3=>(body) ok\n"', undef],
        [0, 'print "x infected: A.B.C\n"', 'A.B.C'], [1, 'print "x infected: A.B.C\n"', 'A.B.C'], [1, '', 'error']]],
    hbedv => ['--archive-max-recursion=50 --alltypes -z -noboot -nombr -rs FILE', 'H+BEDV AntiVir', [
        [0, '', undef], (map { [$_, 'print "  ALERT: [Worm/X worm] is\n"', 'Worm/X'] } 1, 3),
        (map { [$_, '', 'error'] } 2, 200, 211, 214)]],
    savscan => ['-nc -ss -archive -mime FILE', 'Sophos', [
        [0, '', undef], [3, q(print ">>> Virus 'EICAR-AV-Test' found in file x\n"), 'EICAR-AV-Test'], [2, '', 'error'], [1, '', 'error']]],
);
for my $name (sort keys %product) {
    my ($args, $title, $runs) = @{$product{$name}};
    # Of clamscan alone it is known that it looks into a link.
    my $file = $name eq 'clamscan' ? '/dev/fd/3' : "\Q$dir\E/spool/message-\\S+";
    $args =~ s/FILE/$file/;
    for (@$runs) {
        my ($code, $print, $result) = @$_;
        my $bin = scanner("$print; exit $code;");
        my $r = scan("virus/scanner $name bin $bin");
        my $what = "$name, exit code $code" . ($print ? ": $print" : '');
        like $r->{heard}, qr/\A$args\n/, "$what: the arguments" if $code == 0 || $result;
        if (!defined $result) {
            like $r->{reply}, qr/^250 /, $what;
            is fields($r), "X-Virus-Checked: Checked by $title on mx.example.test\n", 'and is clean';
        } elsif ($result eq 'error') {
            like $r->{reply}, $put_off, $what;
            like $r->{log}, qr/error, cannot scan product=$name error="exit code $code: /, 'logged';
        } elsif ($result eq 'locked') {
            like $r->{reply}, $locked, $what;
            like scan("virus/scanner $name bin $bin deny_encrypted no")->{reply}, qr/^250 /, 'deny_encrypted no';
        } else {
            like $r->{reply}, qr/${denied}Virus Found: \Q$result\E$/, $what;
            like $r->{log}, qr/virus found names="\Q$result\E"/, 'logged';
        }
    }
}

# ---- the file ------------------------------------------------------------------------------------------

my $clean = scanner('exit 0;');
my $found = scanner('print "x: V FOUND\n"; exit 1;');
my $r = scan("virus/scanner clamscan bin $clean");
like $r->{heard}, qr/\A.*\nmode=600 links=0\nAuthentication-Results: .*\nReceived: .*\nSubject: hi\nFrom: a\@client\.test\n\nbody\n\z/s,
    'the file is the whole message, and has no name';
$r = scan("virus/scanner clamscan bin $clean pass name dir $dir/scans mode 640");
like $r->{heard}, qr{^--no-summary --stdout \Q$dir\E/scans/message-\d+-[0-9a-f]{16}\nmode=640 links=1\n}, 'pass name, dir, mode';
is_deeply [glob "$dir/scans/* $dir/spool/*"], [], 'it goes with the transaction';
like scan("virus/scanner clamscan bin $clean dir $dir/scans", mail => $mail . "x\n" x 300_000)->{heard}, qr/\n@{[quotemeta "x\n" x 20]}\z/, "a message of many blocks";
my $other = Qpsmtpd::Test->new(plugins => "virus/scanner clamscan bin $clean dir $dir/scans");
is +($other->check)[0], 0, 'dir';

# Another scanner leaves the fields of the first alone.
is fields(scan("virus/scanner clamscan bin $clean", after => ["virus/scanner:1 uvscan bin $clean"])),
    "X-Virus-Checked: Checked by ClamAV on mx.example.test\nX-Virus-Checked: Checked by McAfee uvscan on mx.example.test\n", 'two scanners';

# ---- policy --------------------------------------------------------------------------------------------

$r = scan("virus/scanner clamscan bin $found action add-header");
like $r->{reply}, qr/^250 /, 'action add-header';
is fields($r), "X-Virus-Found: Yes\nX-Virus-Details: V\n", 'the header tells';
like scan("virus/scanner clamscan bin $found action defer")->{reply}, qr/^451 (?:\S+ )?Virus Found: V$/, 'action defer';
$r = scan("virus/scanner clamscan bin $found action add-header bcc admin\@example.test");
like $r->{reply}, qr/^250 /, 'bcc';
like $r->{message}, qr/^Delivered-To: admin\@example\.test$/m, 'is delivered to one more recipient';
like scan("virus/scanner clamscan bin @{[scanner('exit 9;')]} on_error accept")->{reply}, qr/^250 /, 'on_error accept';
like scan("virus/scanner clamscan bin $found max_size 1k", mail => $mail . 'x' x 2000 . "\n")->{log}, qr/skip, message larger/, 'max_size';
like scan("virus/scanner clamscan bin $found scan_all no")->{reply}, qr/^250 /, 'scan_all no';
like scan("virus/scanner clamscan bin $found scan_all no", mail => "Content-Type: Multipart/mixed; boundary=x\n$mail")->{reply}, qr/^554 /,
    'multipart';
like scan("virus/scanner clamscan bin $found", before => ['check_relay'], env => {RELAYCLIENT => ''})->{reply}, qr/^554/, 'relay clients';

# custom
my $custom = scanner('print "bad thing <Evil.A> here\n"; exit 77;');
like scan("virus/scanner custom bin $custom clean 0 infected 76,77 name bad_thing_<*> args --file=%f -q")->{reply},
    qr/${denied}Virus Found: Evil\.A$/, 'custom: infected, name';
like slurp("$dir/heard"), qr{\A--file=\Q$dir\E/spool/message-\S+ -q\n}, 'custom: args';
like scan("virus/scanner uvscan bin $clean pass fd")->{heard}, qr{/dev/fd/3\nmode=600 links=0\n}, 'pass fd';
like scan("virus/scanner custom bin $custom clean 0,77")->{reply}, qr/^250 /, 'custom: clean';
like scan("virus/scanner custom bin $custom clean 0 encrypted 77")->{reply}, $locked, 'custom: encrypted';
like scan("virus/scanner clamscan bin $custom infected 77 name <*>")->{reply}, qr/${denied}Virus Found: Evil\.A$/, 'codes and name of a product replaced';

# ---- scanners that misbehave -----------------------------------------------------------------------------

for ( # code, log, how long
    ['kill KILL => $$; sleep 10', 'killed by signal 9'],
    ['kill SEGV => $$; sleep 10', 'killed by signal 11'],
    ['sleep 100', 'took too long'],
    ['close STDOUT; close STDERR; sleep 100', 'took too long'],
    ['if (!fork) { sleep 100; exit } exit 0', 'took too long'], # its child holds the pipe
    ['print "x" x 4096 while 1', 'took too long'],
    ['$SIG{TERM} = "IGNORE"; sleep 100', 'took too long'],
) {
    my ($code, $log) = @$_;
    my $begin = time;
    my $r = scan('virus/scanner clamscan bin ' . scanner("$code;") . ' timeout 1s');
    like $r->{reply}, $put_off, $code;
    like $r->{log}, qr/error, cannot scan product=clamscan error=".*$log"/, 'logged';
    cmp_ok time - $begin, '<', 15 * ($ENV{TEST_SLOW} || 1), 'in time';
}
$r = scan('virus/scanner clamscan bin ' . scanner('print "y" x 1023 . "\n" for 1 .. 5000; print "x: Late FOUND\n"; exit 1;'));
like $r->{reply}, qr/${denied}Virus Found: unknown$/, 'megabytes of output: read, but only the first 64 KiB are looked at';
$r = scan('virus/scanner clamscan bin ' . scanner('print "x: A\r\e[0m\0\xff" . "n" x 5000 . " FOUND\n" x 3; exit 1;'));
like $r->{reply}, qr/${denied}Virus Found: A\?\?\[0m\?\?n{50,192}$/, 'a hostile name';
unlike $r->{log}, qr/[\0\e\xff]/, 'nor does it reach the log';
$r = scan("virus/scanner clamscan bin @{[scanner('exit 0;')]}", before => []);
unlike $r->{log}, qr/error, cannot/, 'a good one';
my $gone = scanner('exit 0;');
$t->config(plugins => ["virus/scanner clamscan bin $gone", 'rcpt_ok']);
my $d = $t->dialogue;
unlink $gone;
like $d->deliver('a@client.test', 'b@example.test', $mail), $put_off, 'the program has gone';
like $d->log, qr/cannot scan product=clamscan error=".*No such file/, 'logged';
$d->quit;

mkdir "$dir/gone";
$t->config(plugins => ["virus/scanner clamscan bin $clean dir $dir/gone", 'rcpt_ok']);
$d = $t->dialogue;
rmdir "$dir/gone";
like $d->deliver('a@client.test', 'b@example.test', $mail), $put_off, 'no file can be made';
like $d->log, qr/cannot scan product=clamscan error="cannot make the file: No such file/, 'logged';
$d->quit;

# What the message costs: nothing that stays.
SKIP: {
    skip 'sanitizers need memory of their own', 1 if sanitized();
    my $small = scan("virus/scanner clamscan bin $clean")->{memory};
    my $large = scan("virus/scanner clamscan bin $clean", mail => "S: x\n\n" . ('x' x 62 . "\n") x ((25 << 20) / 63))->{memory};
    diag "peak memory of the session: $small KiB with a small mail, $large KiB with 25 MiB";
    cmp_ok $large - $small, '<', 2048, 'memory does not grow with the message';
}

# ---- sophie --------------------------------------------------------------------------------------------

my $path = "$dir/sophie.sock";
my $sophie;
sub sophie {
    my ($says) = @_;

    $sophie->stop if $sophie;
    $sophie = Qpsmtpd::Daemon->new(sub {
        my ($c) = @_;
        my $file = line($c);
        heard($file . "\n" . (slurp($file) // "$file: $!"));
        ref $says ? $says->($c) : say_to($c, $says);
    }, path => $path);
}
for ( # answer, reply
    ['0', qr/^250 /], ["0\n", qr/^250 /], ["0\0", qr/^250 /], ["0:fine\r\n", qr/^250 /],
    ['1:W32/Klez', qr/${denied}Virus Found: W32\/Klez$/], ["1:A,B\n", qr/${denied}Viruses Found: A,B$/],
    ['1', qr/${denied}Virus Found: unknown$/], ["1:\n", qr/${denied}Virus Found: unknown$/],
    ['-1', $put_off], ["-1:timeout\n", $put_off], ['', $put_off], ['2', $put_off], ['00', $put_off], ['10', $put_off],
    ['x' x 10_000, $put_off], [sub { hang() }, $put_off],
) {
    my ($says, $reply) = @$_;
    sophie($says);
    like scan("virus/scanner sophie socket $path timeout 1s")->{reply}, $reply, 'sophie: ' . substr $says, 0, 20;
}
like +($sophie->heard)[0], qr{\A\Q$dir\E/spool/message-\S+\n.*\nSubject: hi\n.*\nbody\n\z}s, 'she gets a name, and can read it';
$sophie->stop;
like scan("virus/scanner sophie socket $path")->{reply}, $put_off, 'she is not there';

# ---- the names of the ancestors ---------------------------------------------------------------------------

my $uvscan = scanner('print "Found V\n"; exit 13;');
like scan("virus/uvscan uvscan_location $uvscan")->{reply}, qr/${denied}Virus Found: V$/, 'virus/uvscan';
like scan("virus/uvscan uvscan_location $uvscan deny_viruses no")->{reply}, qr/^250 /, 'deny_viruses no';
like scan("virus/uvscan uvscan_location $uvscan", mail => $mail . "x\n" x 130_000)->{log}, qr/skip, message larger/, 'its limit';
like scan("virus/uvscan:2 uvscan_location $uvscan max_size 1M", mail => $mail . "x\n" x 130_000)->{reply}, qr/^554 /, 'or another one';

my $kav = scanner('print "x infected: A\n"; exit 2;');
$r = scan("virus/kavscanner kavscanner_bin $kav bcc_virusadmin admin\@example.test");
like $r->{reply}, qr/^250 /, 'virus/kavscanner does not refuse';
is fields($r), "X-Virus-Found: Yes\nX-Virus-Details: A\n", 'it tells';
like $r->{message}, qr/^Delivered-To: admin\@example\.test$/m, 'and adds a recipient';

my $ave = scanner('exit 1;');
like scan("virus/aveclient avclient_bin $ave avdaemon_sock /run/ave")->{reply}, $put_off, 'virus/aveclient';
like slurp("$dir/heard"), qr{^-p /run/ave -s /}, 'avdaemon_sock';
like scan("virus/aveclient avclient_bin $ave blockonerror 0")->{reply}, qr/^250 /, 'blockonerror 0';
like scan("virus/aveclient avclient_bin $ave blockonerror 1")->{reply}, $put_off, 'blockonerror 1';

my $bdc = scanner('print "x infected: A\n"; exit 1;');
like scan("virus/bitdefender bitdefender_location $bdc")->{reply}, qr/^554 /, 'virus/bitdefender';
like scan("virus/bitdefender bitdefender_location $bdc", mail => $mail . "x\n" x 70_000)->{log}, qr/skip, message larger/, 'its limit';
like scan("virus/bitdefender bitdefender_location $bdc max_size 200", mail => $mail . "x\n" x 70_000)->{reply}, qr/^554 /, 'max_size in KB';

my $hbedv = scanner('print "ALERT: [Worm/A worm]\nALERT: [Joke/B x]\n"; exit 1;');
like scan("virus/hbedv hbedvscanner $hbedv")->{reply}, qr/${denied}Virus Found: Worm\/A, Joke\/B$/, 'virus/hbedv';
$t->config(hbedv_deny => "trojan/.*\nworm/.\n");
like scan("virus/hbedv hbedvscanner $hbedv")->{reply}, qr/^554 /, 'hbedv_deny: one matches, in any case';
$t->config(hbedv_deny => "worm\n");
$r = scan("virus/hbedv hbedvscanner $hbedv");
like $r->{reply}, qr/^250 /, 'none does: patterns are anchored';
is fields($r), "X-Virus-Found: Yes\nX-Virus-Details: Worm/A, Joke/B\n", 'the header tells';
$t->config(hbedv_deny => "fine\n(\n");
$t->config(plugins => "virus/hbedv hbedvscanner $hbedv");
like +($t->check)[1], qr/hbedv_deny:2: /, 'a bad pattern';
unlink "$dir/config/hbedv_deny";

sophie('1:V');
like scan("virus/sophie sophie_socket $path")->{reply}, qr/^554 /, 'virus/sophie';
like scan("virus/sophie sophie_socket $path deny_viruses no")->{reply}, qr/^250 /, 'deny_viruses no';
$sophie->stop;

my $clamscan = scanner('print "x: V FOUND\n"; exit 1;', 'clamscan');
my $clamdscan = scanner('print "x: V FOUND\n"; exit 1;', 'clamdscan');
for ( # words of virus/clamav, arguments of the program, reply
    ["clamscan_path=$clamscan", '--no-summary --stdout /dev/fd/3', qr/${denied}Virus Found: V$/],
    [$clamscan, '--no-summary --stdout /dev/fd/3', qr/^554 /],
    ["clamscan_path=$clamdscan", qr{--fdpass --no-summary --stdout \Q$dir\E/spool/message-\S+}, qr/^554 /],
    ["clamscan_path=$clamdscan clamd_conf=/etc/c.conf", qr{--config-file=/etc/c\.conf --fdpass --no-summary --stdout /\S+}, qr/^554 /],
    ["clamscan_path=$clamscan back_compat", '--stdout -i --max-recursion=50 --disable-summary /dev/fd/3', qr/^554 /],
    ["clamscan_path=$clamscan action=add-header", '--no-summary --stdout /dev/fd/3', qr/^250 /],
    ["clamscan_path=$clamscan action=reject tmp_dir=$dir/scans pass name", qr{--no-summary --stdout \Q$dir\E/scans/\S+}, qr/^554 /],
) {
    my ($words, $args, $reply) = @$_;
    $r = scan("virus/clamav $words");
    like $r->{reply}, $reply, "virus/clamav $words";
    like $r->{heard}, qr/\A$args\n/, 'the arguments';
}
like scan("virus/clamav clamscan_path=$clamscan max_size=1000", mail => $mail . 'x' x 2000 . "\n")->{log}, qr/skip, message larger/, 'max_size=';
like scan("virus/clamav clamscan_path=$clamscan", mail => $mail . "x\n" x 270_000)->{log}, qr/skip, message larger/, 'its default';
my $broken = scanner('exit 2;', 'clamscan');
like scan("virus/clamav clamscan_path=$broken")->{reply}, $put_off, 'an error';
like scan("virus/clamav clamscan_path=$broken declined_on_fail")->{reply}, qr/^250 /, 'declined_on_fail';

# ---- configuration -----------------------------------------------------------------------------------------

for ( # line, what is said
    ['virus/scanner', 'product'],
    ['virus/scanner norton', 'no product: one of clamscan, .*custom'],
    ['virus/scanner custom', 'bin'],
    ['virus/scanner clamscan bin relative', 'no program'],
    ['virus/scanner clamscan bin /nonexistent/x', 'no program'],
    ["virus/scanner clamscan bin $clean args -v", '%f'],
    ["virus/scanner clamscan bin $clean args " . 'x ' x 70, 'more than'],
    ["virus/scanner clamscan bin $clean clean 256", 'exit codes'],
    ["virus/scanner clamscan bin $clean infected 1,,2", 'exit codes'],
    ["virus/scanner clamscan bin $clean infected 1,", 'exit codes'],
    ["virus/scanner clamscan bin $clean encrypted a", 'exit codes'],
    ["virus/scanner clamscan bin $clean name infected", 'one \*'],
    ["virus/scanner clamscan bin $clean name a*b*", 'one \*'],
    ["virus/scanner clamscan bin $clean name *", 'one \*'],
    ["virus/scanner clamscan bin $clean action burn", 'reject'],
    ["virus/scanner clamscan bin $clean on_error x", 'tempfail'],
    ["virus/scanner clamscan bin $clean timeout 0", 'timeout'],
    ["virus/scanner clamscan bin $clean pass stdin", 'name'],
    ["virus/scanner clamscan bin $clean dir relative", 'no directory'],
    ["virus/scanner clamscan bin $clean dir /nonexistent", 'no directory'],
    ["virus/scanner clamscan bin $clean mode 777", '640'],
    ["virus/scanner clamscan bin $clean bcc nobody\@", 'no address'],
    ["virus/scanner clamscan bin $clean uvscan_location $clean", 'uvscan_location'],
    ['virus/scanner sophie socket relative', 'no absolute path'],
    ['virus/scanner sophie pass fd', 'wants a name'],
    ["virus/scanner clamdscan bin $clean pass fd", 'wants a name'],
    ['virus/uvscan uvscan_location /nonexistent', 'no program'],
    ["virus/clamav clamscan_path=$clamscan tmp_dir=/nonexistent", 'no directory'],
    ["virus/clamav clamscan_path=$clamscan clamd_conf=/x", 'needs no configuration'],
    ["virus/clamav clamscan_path=$clamscan frobnicate=1", 'frobnicate'],
) {
    my ($line, $said) = @$_;
    $t->config(plugins => $line);
    my ($status, $output) = $t->check;
    isnt $status, 0, "refused: $line";
    like $output, qr/plugins:1: .*(?:$said)/, 'with file, line and reason';
}

done_testing;
