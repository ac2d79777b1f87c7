use strict;
use warnings;

use Test::More;

use Qpsmtpd::Test qw(slurp);

my $message = "From: a\nMessage-Id: <id\@client.test>\nSubject: x\n\n.dot\n\nFrom here\n\xe9\t\n";

sub harness {
    my ($line, %config) = @_;

    return Qpsmtpd::Test->new(
        plugins => ['rcpt_ok', $line],
        config => {rcpthosts => ['example.test', '.example.test'], size_threshold => 10_000_000,
            'me-auth-results' => 'none', %config},
    );
}

sub mode { return sprintf '%04o', (stat $_[0])[2] & 07777 }

# files - what lies in cur, new and tmp of every maildir below the directory
sub files {
    my ($t, $dir) = @_;

    return map { glob "\Q$t->{dir}/$_\E/{cur,new,tmp}/*" } ref $dir ? @$dir : $dir;
}

# ---- one maildir -----------------------------------------------------------------------------------

my $t = harness('queue/maildir ./Mail/box/');
my $d = $t->dialogue;

ok -d "$t->{dir}/Mail/box/$_", "$_ is made at the start" for qw(cur new tmp);
is mode("$t->{dir}/Mail/box/new"), '0700', 'for its owner alone';

like $d->deliver('a@client.test', ['b@example.test', 'c@Example.TEST'], $message),
    qr/^250 Queued! <id\@client\.test>$/, 'the reply has the Message-Id';
my ($file, @more) = files($t, 'Mail/box');
is scalar @more, 0, 'one copy for both recipients';
like $file, qr{/new/\d{9,11}\.M\d{1,6}P\d+Q1V[0-9a-f]+I[0-9a-f]+\.[^/:,]+,S=\d+\z}, 'in new, with the name of a maildir';
is +($file =~ /S=(\d+)/)[0], -s $file, 'and its size in it';
is mode($file), '0600', 'for its owner alone';
my $pid = $d->pid;
like $file, qr/P${pid}Q/, 'and the process id in it';

my $got = slurp($file);
like $got, qr/\AReturn-Path: <a\@client\.test>\nDelivered-To: c\@Example\.TEST\nDelivered-To: b\@example\.test\nReceived: /,
    'sender and recipients stand on top, the last one first';
$got =~ s/\AReturn-Path:.*\n(?:Delivered-To:.*\n)+Received:.*\n(?:[ \t].*\n)*//;
is $got, $message, 'what follows is the message, byte for byte';

like $d->deliver('', 'b@example.test', "Subject: y\n\n"), qr/^250 Queued!$/, 'no Message-Id, none in the reply';
like $d->deliver('"a b"@client.test', 'b@example.test', "Subject: y\n"), qr/^250 Queued!$/, 'no body';
my @sorted = sort { -M $b <=> -M $a || ($a =~ /Q(\d+)/)[0] <=> ($b =~ /Q(\d+)/)[0] } files($t, 'Mail/box');
is scalar @sorted, 3, 'three files now';
like slurp($sorted[1]), qr/\AReturn-Path: <>\nDelivered-To: b/, 'the null sender';
like slurp($sorted[2]), qr/\AReturn-Path: <"a\\ b"\@client\.test>\n/, 'a sender that needs quotes';

my $big = "Subject: big\n\n" . join('', map { ("$_" x 10) . "\n" } 1 .. 60_000);
like $d->deliver('a@client.test', 'b@example.test', $big), qr/^250 Queued!/, 'a big one';
is scalar(grep { substr($_, -length $big) eq $big } $t->maildir_messages('Mail/box')), 1, 'arrives unchanged';

# Names are new in each message, even of one process in one moment.
like $d->deliver('a@client.test', 'b@example.test', $message), qr/^250/, "message $_" for 1 .. 20;
is scalar(files($t, 'Mail/box')), 24, 'no two have the same name';

# ---- what can go wrong -----------------------------------------------------------------------------

# fails - the reply of a dialogue whose maildir was spoilt by CODE after the start; nothing may be left
sub fails {
    my ($what, $step, $code) = @_;
    my $h = harness('queue/maildir Maildir');
    my $dialogue = $h->dialogue;

    $code->("$h->{dir}/Maildir");
    like $dialogue->deliver('a@client.test', 'b@example.test', $message), qr/^451 queue error \($step\)$/, $what;
    is join(' ', files($h, ['Maildir', 'Maildir2'])), '', '... and no file is left';
    like $dialogue->log, qr/not delivered dir=.* step=$step error=/, '... and the log says why';
}

sub touch { open my $fh, '>', $_[0] or die "$_[0]: $!" }

fails('tmp is a file', 'open', sub { rmdir "$_[0]/tmp"; touch("$_[0]/tmp") });
fails('new is a file', 'link', sub { rmdir "$_[0]/new"; touch("$_[0]/new") });
fails('tmp is a link to nowhere', 'open', sub { rmdir "$_[0]/tmp"; symlink '/nonexistent', "$_[0]/tmp" });
if (-d '/dev/shm' && (stat '/dev/shm')[0] != (stat $t->dir)[0]) {
    my $shm = File::Temp->newdir('qpsmtpd-maildir-XXXXXX', DIR => '/dev/shm');
    fails('new is on another file system', 'link', sub { rmdir "$_[0]/new"; symlink $shm, "$_[0]/new" });
}
fails('the maildir became a file', 'open', sub { rename $_[0], "$_[0]2"; touch($_[0]) });

{
    my $h = harness('queue/maildir Maildir');
    my $dialogue = $h->dialogue;

    rename "$h->{dir}/Maildir", "$h->{dir}/gone";
    like $dialogue->deliver('a@client.test', 'b@example.test', $message), qr/^250/, 'removed after the start: made again';
    is scalar($h->maildir_messages), 1, 'and used';
    for my $part (qw(new tmp)) {
        rename "$h->{dir}/Maildir/$part", "$h->{dir}/gone.$part";
        like $dialogue->deliver('a@client.test', 'b@example.test', $message), qr/^250/, "$part alone: the same";
    }
    is scalar($h->maildir_messages), 2, 'and nothing got lost';
}

{
    # The limit is the shell's: 512 bytes each, so 100 KiB; the log is shorter, the message is not.
    my $h = harness('queue/maildir Maildir');
    my $text = "$message" . ('x' x 70 . "\n") x 4000;
    $text =~ s/^\./../mg;
    $text =~ s/\n/\r\n/g;
    my ($status, $said) = $h->run({stdin => "HELO x\r\nMAIL FROM:<a\@client.test>\r\nRCPT TO:<b\@example.test>\r\n"
            . "DATA\r\n$text.\r\nQUIT\r\n"},
        'sh', '-c', 'ulimit -f 200; exec "$@"', 'sh', $h->program('qpsmtpd'), $h->options);

    like $said, qr/^451 queue error \(write\)\r$/m, 'no room for the file';
    is join(' ', files($h, 'Maildir')), '', '... and no file is left';
    like $said, qr/^221 /m, '... and the session goes on';
}

SKIP: {
    # Root writes everywhere.
    skip 'not run as root', 2 if $> == 0;
    fails('tmp may not be written to', 'open', sub { chmod 0500, "$_[0]/tmp" });
}

SKIP: {
    my ($uid, $gid) = (getpwnam 'nobody')[2, 3];
    my $h = harness('queue/maildir box/Maildir');
    my $plugins = ($h->options)[-1];

    skip 'run as root, and where there is a user nobody', 3 unless $> == 0 && defined $uid;
    my $reader = fork // die "fork: $!";
    if ($reader == 0) {
        $> = $uid;
        require POSIX;
        POSIX::_exit(-r "$plugins/rcpt_ok.so" ? 0 : 1);
    }
    waitpid $reader, 0;
    skip 'the plugins are where nobody can read them', 3 if $?;
    mkdir "$h->{dir}/box";
    chown $uid, $gid, "$h->{dir}/box", "$h->{dir}/spool";
    chmod 0755, $h->dir, "$h->{dir}/config";
    my $server = $h->prefork('--user', 'nobody');
    like $server->connect->deliver('a@client.test', 'b@example.test', $message), qr/^250 /, 'a server that becomes another user';
    is +(stat "$h->{dir}/box/Maildir/$_")[4], $uid, "... makes $_ as that user" for 'new', 'tmp';
    $server->stop;
}

# ---- one for each recipient ------------------------------------------------------------------------

# The directory of each address, and the address as it is told to its owner.
my @three = (['example.test/Joe', 'Joe@EXAMPLE.test'], ['sub.example.test/ann+x', 'ann+x@sub.example.test'],
    ['example.test/a_.._b_c', 'a/../b c@example.test']);
my @addresses = ('Joe@EXAMPLE.test', 'ann+x@sub.example.test', '"a/../b c"@example.test');

$t = harness('queue/maildir mail %d/%l 770 link 0');
$d = $t->dialogue;
ok -d "$t->{dir}/mail", 'the directory above them is made at the start';
ok !-d "$t->{dir}/mail/new", 'and is no maildir';
like $d->deliver('a@client.test', \@addresses, $message), qr/^250 Queued! <id/, 'three recipients, link 0';
for (@three) {
    my ($dir, $to) = @$_;
    my @m = $t->maildir_messages("mail/$dir");

    is scalar @m, 1, "$dir has one copy";
    like $m[0], qr/\AReturn-Path: <a\@client\.test>\nDelivered-To: \Q$to\E\nReceived: /, '... that names its recipient alone';
    is mode("$t->{dir}/mail/$dir/new"), '0770', '... with the mode of MODE';
    is mode((files($t, "mail/$dir"))[0]), '0660', '... and files without x';
}
is mode("$t->{dir}/mail/example.test"), '0770', 'directories between have it, too';
is scalar(keys %{{map { (stat)[1] => 1 } files($t, [map { "mail/$_->[0]" } @three])}}), 3, 'each is a file of its own';

$t = harness('queue/maildir mail %d/%l');
$d = $t->dialogue;
like $d->deliver('a@client.test', [@addresses, 'joe@other.example.test', 'Joe@example.test'], $message), qr/^250 Queued! <id/,
    'many recipients, one of them twice';
my @linked = files($t, [(map { "mail/$_->[0]" } @three), 'mail/other.example.test/joe']);
is scalar @linked, 4, 'four maildirs have one copy each';
is scalar(keys %{{map { (stat)[1] => 1 } @linked}}), 1, '... which are one file';
is +(stat $linked[0])[3], 4, '... with four names: nothing is left in tmp';
like slurp($linked[0]), qr/\AReturn-Path: <a\@client\.test>\nReceived: (?:(?!Delivered-To).)*\z/s, '... that tells nobody of the others';
like $d->log, qr/queued copies=4 files=1 /, '... and so says the log';
like $d->deliver('a@client.test', ['Joe@example.test', 'Joe@Example.TEST'], $message), qr/^250/, 'who is alone in his maildir';
is scalar(grep { /\AReturn-Path: <a\@client\.test>\nDelivered-To: Joe\@Example\.TEST\nDelivered-To: Joe\@example\.test\n/ }
    $t->maildir_messages('mail/example.test/Joe')), 1, '... is named in the one copy';

SKIP: {
    skip 'no second file system', 6 unless -d '/dev/shm' && (stat '/dev/shm')[0] != (stat $t->dir)[0];
    my $shm = File::Temp->newdir('qpsmtpd-maildir-XXXXXX', DIR => '/dev/shm');
    my $h = harness('queue/maildir mail %d/%l');
    my $dialogue = $h->dialogue;

    symlink "$shm", "$h->{dir}/mail/far.example.test" or die "symlink: $!";
    like $dialogue->deliver('a@client.test', [map { ("$_\@example.test", "$_\@far.example.test") } 'a' .. 'c'], $message),
        qr/^250 /, 'maildirs on two file systems';
    my @near = map { files($h, "mail/example.test/$_") } 'a' .. 'c';
    my @far = map { files($h, "mail/far.example.test/$_") } 'a' .. 'c';
    is @near + @far, 6, '... have a copy each';
    is +(stat $_)[3], 3, '... which is one file on its file system' for $near[0], $far[0];
    is slurp($near[0]), slurp($far[0]), '... the same one';
    # What fails on one of them is taken back on the other.
    unlink @near, @far;
    rmdir "$shm/c/new";
    touch("$shm/c/new");
    like $dialogue->deliver('a@client.test', [map { ("$_\@example.test", "$_\@far.example.test") } 'a' .. 'c'], $message),
        qr/^451 queue error \(link\)$/, 'all or none, on both';
    is join(' ', map { (files($h, "mail/example.test/$_"), files($h, "mail/far.example.test/$_")) } 'a' .. 'c'), '', '... nobody has a copy';
}

$t = harness('queue/maildir mail %d/%l 770');
$d = $t->dialogue;
like $d->deliver('a@client.test', 'Joe@example.test', $message), qr/^250/, 'one recipient';
for my $hostile ('../x', '.hidden', '..', '.') {
    like $d->deliver('a@client.test', ['good@example.test', qq("$hostile"\@example.test)], $message),
        qr/^(?:554 mailbox name not allowed \(#5\.1\.3\)|501 .*)$/, "recipient $hostile is refused";
}
ok !-d "$t->{dir}/mail/example.test/good", 'and nobody gets such a message';
like $d->deliver('a@client.test', '"' . 'x' x 300 . '"@example.test', $message), qr/^5/, 'so is one with a long name';
is join(' ', map { s{.*/}{}r } sort glob "$t->{dir}/mail/example.test/* $t->{dir}/mail/example.test/.[!.]*"),
    'Joe', 'no other directory appeared';

$t = harness('queue/maildir mail users/.%u');
$d = $t->dialogue;
like $d->deliver('a@client.test', ['postmaster', 'b@Example.Test'], $message), qr/^250/, 'postmaster without a domain';
is scalar($t->maildir_messages("mail/users/.$_")), 1, "$_ has a copy" for 'postmaster@mx.example.test', 'b@example.test';

# All or none: what fails at the last recipient is taken back at the others.
for my $spoilt (['tmp', 'open', 0], ['new', 'link', 0], ['new', 'link', 1]) {
    my ($part, $step, $link) = @$spoilt;
    my $h = harness("queue/maildir mail %l link $link");
    my $dialogue = $h->dialogue;

    mkdir "$h->{dir}/mail/third";
    touch("$h->{dir}/mail/third/$part");
    like $dialogue->deliver('a@client.test', [map { "$_\@example.test" } qw(first second third)], $message),
        qr/^451 queue error \($step\)$/, "link $link: $part of the third is a file";
    is join(' ', files($h, [map { "mail/$_" } qw(first second third)])), '', '... and nobody has a copy';
    unlink "$h->{dir}/mail/third/$part";
    like $dialogue->deliver('a@client.test', [map { "$_\@example.test" } qw(first second third)], $message),
        qr/^250/, '... the next try succeeds';
    is scalar(files($h, [map { "mail/$_" } qw(first second third)])), 3, '... and each has one';
}

# ---- configuration ---------------------------------------------------------------------------------

$t = harness('queue/maildir Maildir 750');
$d = $t->dialogue;
is mode("$t->{dir}/Maildir/new"), '0750', 'MODE alone may be the second word';

for my $bad (['', 'dir'], ['mail/%l', '%l'], ['mail users', 'users'], ['mail %x', '%x'], ['mail %l/../x', '\.\.'],
    ['mail ./%l', '\.'], ['mail /%l', '/%l'], ['mail %l%', '%l%'], ['mail %l 0700', '0700'], ['mail %l 800', '800'],
    ['mail %l 070', '070'], ['mail %l 700 x', 'x'], ['mail %l link', 'link'], ['mail %l link 2', 'link.*2'])
{
    my ($status, $said) = harness("queue/maildir $bad->[0]")->check;

    isnt $status, 0, "'queue/maildir $bad->[0]' refuses the start";
    like $said, qr/plugins.*2.*$bad->[1]/, 'and the message says where and what';
}

{
    my $h = harness('queue/maildir file/Maildir');

    $h->file('file', '');
    if ($> == 0) {
        my $dialogue = $h->dialogue;
        like $dialogue->deliver('a@client.test', 'b@example.test', $message), qr/^451 queue error \(open\)$/,
            'a directory that cannot be made';
        like $dialogue->log, qr/cannot make the maildir dir=.*file\/Maildir/, 'is in the log from the beginning';
    } else {
        my ($status, $said) = $h->check;
        isnt $status, 0, 'a directory that cannot be made refuses the start';
        like $said, qr/plugins.*2.*cannot make the maildir .*file\/Maildir/, 'and the message says which';
    }
}

done_testing;
