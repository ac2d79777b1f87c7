# queue/smtp-forward and queue/lmtp against the Postfix and the Dovecot of Debian, with TLS and AUTH. Both are
# unpacked, not installed (.ci/unpack), and run in namespaces of their own. Dovecot knows the users, Postfix asks
# it for them, too.
use strict;
use warnings;

use Test::More;
use Time::HiRes qw(time);

use Qpsmtpd::Dovecot;
use Qpsmtpd::Postfix;
use Qpsmtpd::Test qw(free_port peak_memory sanitized slurp wait_for);

plan skip_all => 'only root can give them users and a mount of their own' if $> != 0;

my $t = Qpsmtpd::Test->new(config => {rcpthosts => 'example.test', 'me-auth-results' => 'none'}, loglevel => 6);
my $dir = $t->dir;
my ($smtp, $smtps, $lmtp, $auth) = map { free_port() } 1 .. 4;
system('plugins/tls_cert', $dir, 'localhost') == 0 or die 'tls_cert has failed';

# ---- Dovecot ---------------------------------------------------------------------------------------

my $dovecot = Qpsmtpd::Dovecot->new($t, 'dovecot-lmtpd') or plan skip_all => $Qpsmtpd::Dovecot::why;
my $home = $dovecot->home;

$dovecot->file('crt', slurp("$dir/ssl/qpsmtpd-server.crt"));
$dovecot->file('key', slurp("$dir/ssl/qpsmtpd-server.key"));
$dovecot->file('users', join '', map { "$_\@example.test:{PLAIN}pass word::::::\n" } qw(ann bob joe full));
$dovecot->start(<<"END", sub { -S "$home/run/lmtp" && IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $lmtp) });
protocols = lmtp
ssl = yes
ssl_cert = <HOME/crt
ssl_key = <HOME/key
auth_mechanisms = plain login cram-md5 scram-sha-256
mail_location = maildir:HOME/mail/%n
mail_plugin_dir = PACKAGE/usr/lib/dovecot/modules
lmtp_rcpt_check_quota = no
passdb {
  driver = passwd-file
  args = scheme=PLAIN username_format=%u HOME/users
}
userdb {
  driver = passwd-file
  args = username_format=%u HOME/users
  override_fields = uid=UID gid=GID home=HOME/mail/%n
}
service lmtp {
  user = nobody
  inet_listener lmtp {
    port = $lmtp
  }
  unix_listener lmtp {
    mode = 0666
  }
}
service auth {
  inet_listener auth {
    port = $auth
  }
}
END

# in_mailbox - the messages that a user has got, without what Dovecot puts on top
sub in_mailbox {
    my ($user) = @_;

    return map { s/\A(?:(?:Return-Path|Delivered-To|Received): .*\n(?:[ \t].*\n)*)+//r } map { slurp($_) } glob "$home/mail/$user/new/*";
}

sub empty_mailboxes { unlink glob "$home/mail/*/new/*" }

# ---- Postfix ---------------------------------------------------------------------------------------

$t->file('etc/recipients', "/^later\@/ 450 4.2.0 come again\n/^never\@/ 550 5.1.1 nobody here\n/^dying\@/ 421 4.3.2 going down\n");
$t->file('etc/header_checks', "/^Subject: forbidden/ REJECT 5.7.1 not this subject\n");
my $postfix = Qpsmtpd::Postfix->new($t, main => <<"END", master => <<"END") or plan skip_all => $Qpsmtpd::Postfix::why;
message_size_limit = 30000000
virtual_mailbox_limit = 30000000
header_checks = regexp:HERE/etc/header_checks
smtpd_authorized_xclient_hosts = 127.0.0.1
smtpd_authorized_xforward_hosts = 127.0.0.1
smtpd_recipient_restrictions = check_recipient_access regexp:HERE/etc/recipients, permit
smtpd_tls_cert_file = HERE/ssl/qpsmtpd-server.crt
smtpd_tls_key_file = HERE/ssl/qpsmtpd-server.key
smtpd_tls_security_level = may
smtpd_sasl_type = dovecot
smtpd_sasl_path = inet:127.0.0.1:$auth
END
127.0.0.1:$smtp inet n - n - 10 smtpd
127.0.0.1:$smtps inet n - n - 10 smtpd -o smtpd_sasl_auth_enable=yes -o smtpd_tls_auth_only=yes -o smtpd_recipient_restrictions=permit_sasl_authenticated,reject
END

# ---- queue/smtp-forward and Postfix ------------------------------------------------------------------

my %message = (
    'dots and folds' => "From: a\@client.test\nTo: b\@example.test\nSubject: x\n folded\n.dot: x\n\n.\n..dot\n\nFrom here\n\t \nend\n",
    'no body' => "Subject: y\n",
    '8-bit bytes' => "Subject: z\n\n" . join('', map { chr } grep { $_ != 10 && $_ != 13 } 1 .. 255) . "\n",
    'many lines' => "Subject: many\n\n" . ("\n" x 20_000),
    '900 KB' => "Subject: big\n\n" . ('x' x 70 . "\n") x 12_500,
);

sub forwards { $t->config(plugins => ['check_relay', 'rcpt_ok', @_]) }

forwards("queue/smtp-forward 127.0.0.1 $smtp");
my $d = $t->dialogue;
for my $name (sort keys %message) {
    like $d->deliver('a@client.test', 'b@example.test', $message{$name}), qr/^250 Queued! Ok: queued as \w+$/, "Postfix, $name: queued" or diag $d->log;
    my ($m) = $postfix->arrived(1);
    is $m->{text}, $message{$name}, '... and every byte arrives';
    is $m->{'Return-Path'}, '<a@client.test>', '... from its sender';
}
like $d->deliver('', [map { "user$_\@example.test" } 1 .. 100], "Subject: hundred\n\nx\n"), qr/^250 /, 'a hundred recipients, null sender';
my @m = $postfix->arrived(100);
is_deeply [sort map { $_->{'X-Original-To'} } @m], [sort map { "user$_\@example.test" } 1 .. 100], '... have it once each';
is_deeply [grep { $_->{'Return-Path'} ne '<>' } @m], [], '... from nobody';
$d->say('MAIL FROM:<"a b"@client.test> BODY=8BITMIME');
$d->say('RCPT TO:<"c d"@example.test>');
like $d->bdat("Subject: bdat\r\n\r\na\nb\rc\r\n.\r\nRSET\r\n.\n\xe9", 'LAST'), qr/^250 /, 'BDAT with bare LF, CR and dots';
($m[0]) = $postfix->arrived(1);
is $m[0]{text}, "Subject: bdat\n\na\nb c\n.\nRSET\n.\n\xe9\n", '... arrives as one message';
is $m[0]{'X-Original-To'}, '"c d"@example.test', '... the recipient, too';
unlike $postfix->log, qr/improper command pipelining|lost connection|non-SMTP command|bare/, 'Postfix has nothing to complain of';
is scalar(() = $postfix->log =~ /smtpd\[\d+\]: connect from/g), 1, '... and has seen one connection';

for (['later@example.test', '450 <later@example.test>: Recipient address rejected: come again'],
    ['never@example.test', '550 <never@example.test>: Recipient address rejected: nobody here'],
    ['dying@example.test', '451 Unable to queue message (RCPT: 421 <dying@example.test>: Recipient address rejected: going down)'])
{
    my ($to, $reply) = @$_;
    is $d->deliver('a@client.test', $to, "Subject: x\n\nx\n"), $reply, "Postfix refuses $to";
}
is $d->deliver('a@client.test', 'b@example.test', "Subject: forbidden\n\nx\n"), '550 not this subject', '... and a message after the dot';
is $d->deliver('a@client.test', 'b@example.test', "Subject: x\n\n" . ('x' x 70 . "\n") x 500_000), '552 message too big for next hop', '... and its SIZE';
like $d->deliver('a@client.test', 'b@example.test', "Subject: after\n\nx\n"), qr/^250 /, '... then the next message passes';
$postfix->arrived(1);

# Constant memory: of the session's process, before and after.
SKIP: {
    skip 'sanitizers take their own', 1 if sanitized();
    my $before = peak_memory($d->pid);
    like $d->deliver('a@client.test', 'b@example.test', "Subject: 25 MiB\n\n" . ('x' x 70 . "\n") x 369_000), qr/^250 /, '25 MiB';
    my $grown = peak_memory($d->pid) - $before;
    cmp_ok $grown, '<', 2000, "... take $grown KiB more";
    is length +($postfix->arrived(1))[0]{text}, 71 * 369_000 + length "Subject: 25 MiB\n\n", '... and arrive';
}

forwards("queue/smtp-forward 127.0.0.1 $smtp xclient must xforward 1");
$d = $t->dialogue(env => {TCPREMOTEIP => '192.0.2.77', TCPREMOTEHOST => 'client.test'});
$d->say('EHLO [192.0.2.77]');
$d->{said_hello} = 1;
like $d->deliver('a@client.test', 'b@example.test', "Subject: xclient\n\nx\n"), qr/^250 /, 'XCLIENT and XFORWARD';
like +($postfix->arrived(1))[0]{received}, qr/^Received: from \[192\.0\.2\.77\] \(client\.test \[192\.0\.2\.77\]\)\n\tby postfix\.example\.test/,
    '... Postfix takes our client for its own';
like $postfix->log, qr/\w+: client=client\.test\[192\.0\.2\.77\]/, '... also in its log';
like $d->deliver('a@client.test', 'b@example.test', "Subject: again\n\nx\n"), qr/^250 /, '... a second message of this client';
$postfix->arrived(1);

# TLS and AUTH; by name, so that both addresses of localhost are tried.
$t->config(hop_auth => "* joe\@example.test pass word");
chmod 0640, "$dir/config/hop_auth";
my $tls = "tls verify tls_ca $dir/ssl/qpsmtpd-ca.crt";
forwards("queue/smtp-forward localhost:$smtps $tls auth hop_auth");
$d = $t->dialogue;
like $d->deliver('a@client.test', 'b@example.test', $message{'900 KB'}), qr/^250 /, 'TLS, verified, and AUTH' or diag $d->log, $postfix->log;
is +($postfix->arrived(1))[0]{text}, $message{'900 KB'}, '... every byte arrives';
like $postfix->log, qr/sasl_method=(SCRAM-SHA-256|CRAM-MD5), sasl_username=joe\@example\.test/, '... by a mechanism that does not show the password';
like $d->log, qr/tls=TLSv1\.3 cipher=TLS_/, '... over TLS 1.3';
forwards("queue/smtp-forward localhost:$smtps tls must");
is $t->dialogue->deliver('a@client.test', 'b@example.test', "Subject: x\n\nx\n"), '554 <b@example.test>: Recipient address rejected: Access denied', 'without AUTH: refused';
$t->config(hop_auth => "* joe\@example.test wrong");
chmod 0640, "$dir/config/hop_auth";
forwards("queue/smtp-forward localhost:$smtps $tls auth hop_auth");
like $t->dialogue->deliver('a@client.test', 'b@example.test', "Subject: x\n\nx\n"), qr/^451 Unable to queue message \(AUTH: 535 /, 'wrong password: that is for now';

# ---- queue/lmtp and Dovecot --------------------------------------------------------------------------

for my $line ("$home/run/lmtp", "127.0.0.1 $lmtp", "localhost:$lmtp $tls") {
    forwards("queue/lmtp $line");
    $d = $t->dialogue;
    for my $name (sort keys %message) {
        empty_mailboxes();
        like $d->deliver('a@client.test', ['ann@example.test', 'bob@example.test'], $message{$name}), qr/^250 Queued! <ann\@example\.test> \S+ Saved$/,
            "Dovecot, $line, $name" or diag $d->log, $dovecot->log;
        is_deeply [map { [in_mailbox($_)] } qw(ann bob)], [([$message{$name}]) x 2], '... arrives, every byte, once each';
    }
}
like $d->log, qr/tls=TLSv1\.3/, '... the last ones over TLS';
empty_mailboxes();
is $d->deliver('a@client.test', ['ann@example.test', 'nobody@example.test'], "Subject: x\n\nx\n"),
    "550-<nobody\@example.test> User doesn't exist: nobody\@example.test\n550 1 of 2 recipients refused, so nobody gets it: <nobody\@example.test>", 'a user that does not exist';
is_deeply [map { in_mailbox($_) } qw(ann bob)], [], '... nobody has it';

# A mailbox that cannot be written to is only found out after the dot.
mkdir "$home/mail/full";
mkdir "$home/mail/full/$_" for qw(cur new tmp);
chmod 0500, "$home/mail/full", glob "$home/mail/full/*";
like $d->deliver('a@client.test', ['ann@example.test', 'full@example.test'], "Subject: x\n\nx\n"),
    qr/^(4\d\d)-.*\n\1 accepted for 1 of 2 recipients, not for <full\@example\.test>$/s, 'one mailbox takes it, one does not: 4xx';
is scalar(in_mailbox('ann')), 1, '... the first has it';
$dovecot->stop;
forwards("queue/lmtp 127.0.0.1 $lmtp");
is $t->dialogue->deliver('a@client.test', 'ann@example.test', "Subject: x\n\nx\n"), '451 Unable to queue message (connect: Connection refused)', 'Dovecot is gone';

done_testing;
