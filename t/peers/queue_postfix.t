# queue/postfix-queue, and queue/pipe with its sendmail(1), against the Postfix of Debian, which is
# unpacked, not installed (.ci/unpack). It runs in namespaces of its own, where it finds its users, and
# which end with the test; virtual(8) delivers to a maildir, where every byte is compared.
use strict;
use warnings;

use Test::More;
use Qpsmtpd::Postfix;
use Qpsmtpd::Test qw(slurp wait_for);

my $t = Qpsmtpd::Test->new(config => {rcpthosts => 'example.test', 'me-auth-results' => 'none', databytes => 3_000_000}, loglevel => 6);
my $dir = $t->dir;
my $q = "$dir/queue";

$t->file('etc/header_checks', "/^Subject: forbidden/ REJECT 5.7.1 not this subject\n");
my $postfix = Qpsmtpd::Postfix->new($t, main => <<'END', master => <<'END') or plan skip_all => $Qpsmtpd::Postfix::why;
header_checks = regexp:HERE/etc/header_checks
message_size_limit = 1000000
END
pickup  unix n - n 1 1 pickup
error   unix - - n - - error
retry   unix - - n - - error
END
wait_for(sub { -S "$q/public/pickup" }, 20, 'pickup');

# ---- messages --------------------------------------------------------------------------------------

sub arrived { return $postfix->arrived(@_) }

my $socket = "$q/public/cleanup";
$t->config(plugins => ['check_relay', 'rcpt_ok', "queue/postfix-queue $socket"]);
my $d = $t->dialogue;

my %message = (
    'dots and folds' => "From: a\@client.test\nTo: b\@example.test\nSubject: x\n folded\n.dot: x\n\n.\n..dot\n\nFrom here\n\t \nend\n",
    'no body' => "Subject: y\n",
    'no header' => "\nbody\n",
    '8-bit bytes' => "Subject: z\n\n" . join('', map { chr } grep { $_ != 10 && $_ != 13 } 1 .. 255) . "\n",
    'long lines' => "Subject: long\n\n" . join("\n", map { chr(97 + $_ % 26) x $_ } 997 .. 1000, 1023 .. 1025, 2047 .. 2049, 5000) . "\n",
    'many lines' => "Subject: many\n\n" . ("\n" x 20_000),
    '900 KB' => "Subject: big\n\n" . ('x' x 70 . "\n") x 12_500,
    'a header without address' => "From: root\nTo: someone\nSubject: bare\n\nx\n",
);
for my $name (sort keys %message) {
    my $reply = $d->deliver('a@client.test', 'b@example.test', $message{$name});
    my ($id) = $reply =~ /^250 Queued! (?:<\S*> )?\(Queue-Id: ([0-9A-F]+)\)$/;

    ok $id, "$name: queued" or diag $reply, $d->log, $postfix->log;
    my ($m) = arrived(1);
    is $m->{text}, $message{$name}, '... and every byte arrives';
    is $m->{'Return-Path'}, '<a@client.test>', '... from its sender';
    like $m->{received}, qr/by mx\.example\.test \(qpsmtpd/, '... under our Received';
}
like $d->deliver('', [map { "user$_\@example.test" } 1 .. 50], "Subject: fifty\n\nx\n"), qr/^250 /, 'fifty recipients, null sender';
my @m = arrived(50);
is_deeply [sort map { $_->{'X-Original-To'} } @m], [sort map { "user$_\@example.test" } 1 .. 50], '... have it once each';
is_deeply [grep { $_->{'Return-Path'} ne '<>' } @m], [], '... from nobody';
$d->say('MAIL FROM:<"a b"@client.test> BODY=8BITMIME');
$d->say('RCPT TO:<"c d"@example.test>');
like $d->bdat("Subject: bdat\r\n\r\na\0b\r\n.\r\n\xe9", 'LAST'), qr/^250 /, 'BDAT';
($m[0]) = arrived(1);
is $m[0]{text}, "Subject: bdat\n\nab\n.\n\xe9\n", '... NUL bytes go, the last line gets an end';
is $m[0]{'Return-Path'}, '<"a b"@client.test>', '... quoted by Postfix as it has to be';
is $m[0]{'X-Original-To'}, '"c d"@example.test', '... the recipient, too';
like $postfix->log, qr/qmgr\[\d+\]: [0-9A-F]+: from=<a\@client\.test>, size=\d+, nrcpt=1 \(queue active\)/, 'qmgr has seen it all';

# ---- refusals --------------------------------------------------------------------------------------

is $d->deliver('a@client.test', 'b@example.test', "Subject: forbidden\n\nx\n"), '554 5.7.1 not this subject', 'header_checks';
like $d->deliver('a@client.test', 'b@example.test', "Subject: x\n\n" . ('x' x 70 . "\n") x 20_000), qr/^554 message file too big \(#5\.3\.4\)$/, 'message_size_limit';
like $d->deliver('a@client.test', 'b@example.test', "Received: x\n" x 60 . "\nx\n"), qr/^554 /, 'too many hops';
$t->config(plugins => ['check_relay', 'rcpt_ok', "queue/postfix-queue $socket FLAG_HOLD"]);
like $t->dialogue->deliver('a@client.test', 'b@example.test', "Subject: hold\n\nx\n"), qr/^250 /, 'FLAG_HOLD';
ok wait_for(sub { my @held = glob "$q/hold/*"; @held == 1 }, 10, 'a held message'), '... holds it';
is_deeply [glob "$dir/box/all/new/*"], [], 'nothing else was delivered';

# ---- its sendmail ----------------------------------------------------------------------------------

my $sendmail = $t->file('sendmail', <<"END");
#!/bin/sh
exec unshare --mount sh -c 'mount --bind "\$0/passwd" /etc/passwd && mount --bind "\$0/group" /etc/group && exec "\$@"' \\
    '$dir' '$postfix->{postfix}/run' env MAIL_CONFIG='$dir/etc' '$postfix->{postfix}/usr/sbin/sendmail' "\$@"
END
chmod 0755, $sendmail;
$t->config(plugins => ['check_relay', 'rcpt_ok', "queue/pipe $sendmail -G -i -f %s -- %r"]);
my $p = $t->dialogue;
my $text = $message{'dots and folds'};
like $p->deliver('a@client.test', ['b@example.test', '-oQ/tmp@example.test'], $text), qr/^250 Queued!/, 'queue/pipe with sendmail -G -i'
    or diag $p->log;
@m = arrived(2);
is_deeply [sort map { $_->{'X-Original-To'} } @m], ['-oQ/tmp@example.test', 'b@example.test'], '... nobody is an option';
is $m[0]{text}, $text, '... and every byte arrives';
like $p->deliver('', 'b@example.test', $text), qr/^250 Queued!/, '... the null sender';
is +(arrived(1))[0]{'Return-Path'}, '<>', '... is one';
like $p->deliver('a@client.test', 'b@example.test', "Subject: x\n\n" . ('x' x 70 . "\n") x 20_000), qr/^451 temporary failure: postdrop: /,
    '... and its trouble is told';

# ---- and when it is not there ----------------------------------------------------------------------

my $pid = $postfix->{process}{pid};
my ($child) = split ' ', slurp("/proc/$pid/task/$pid/children") || '';
kill KILL => $child if $child;
wait_for(sub { !kill 0, $child }, 10, 'the end of Postfix');
$t->config(plugins => ['check_relay', 'rcpt_ok', "queue/postfix-queue $socket"]);
is $t->dialogue->deliver('a@client.test', 'b@example.test', "Subject: x\n\nx\n"), '451 queue error (postfix)', 'Postfix is dead: 451';
done_testing;
