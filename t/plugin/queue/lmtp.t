use strict;
use warnings;

use Test::More;

use Qpsmtpd::NextHop;
use Qpsmtpd::Test;

my %config = (rcpthosts => 'example.test', 'me-auth-results' => 'none');
my $small = "Subject: x\n\nbody\n";

# What is the same for both protocols is tested in smtp-forward.t.
my $t = Qpsmtpd::Test->new(config => \%config);
my $hop = Qpsmtpd::NextHop->new($t, lmtp => 1, path => $t->dir . '/lmtp');
$t->config(plugins => ['rcpt_ok', 'queue/lmtp unix:' . $t->dir . "/lmtp timeout_end ${Qpsmtpd::NextHop::second}s", 'queue/discard']);
my $d = $t->dialogue;
my @three = map { "$_\@example.test" } qw(b c d);

is $d->deliver('a@client.test', 'b@example.test', $small), '250 Queued! Ok: queued as 4F1D', 'one recipient, over a socket of this machine';
my $size = length +($hop->messages)[0];
is_deeply [$hop->commands], ['1 LHLO mx.example.test', "1 MAIL FROM:<a\@client.test> SIZE=$size", '1 RCPT TO:<b@example.test>', '1 DATA'],
    'the dialogue';
like +($hop->messages)[0], qr/\AReceived: .*\r\n(?:[ \t].*\r\n)+Subject: x\r\n\r\nbody\r\n\z/, 'the message';

# ---- each recipient has an answer --------------------------------------------------------------------

# Answers for b, c, d; what the client must hear; how many have it.
for ([[250, 250, 250], '250 Queued! 1st', 3],
    [[450, 250, 250], "450-1st\n450 accepted for 2 of 3 recipients, not for <b\@example.test>", 2],
    [[250, 550, 250], "550-2nd\n550 accepted for 2 of 3 recipients, not for <c\@example.test>", 2],
    [[250, 550, 450], "450-3rd\n450 accepted for 1 of 3 recipients, not for <c\@example.test>, <d\@example.test>", 1],
    [[550, 551, 250], "550-1st\n550 accepted for 1 of 3 recipients, not for <b\@example.test>, <c\@example.test>", 1],
    [[550, 551, 552], "550-1st\n550 accepted for 0 of 3 recipients, not for <b\@example.test>, <c\@example.test>, <d\@example.test>", 0],
    [[250, 250, {then => 'die'}], "451-no answer of the next hop\n451 accepted for 2 of 3 recipients, not for <d\@example.test>", 2],
    [[250, 250, {then => 'silent'}], "451-no answer of the next hop\n451 accepted for 2 of 3 recipients, not for <d\@example.test>", 2],
    [[250, 250, {send => '250 ok'}], "451-no answer of the next hop\n451 accepted for 2 of 3 recipients, not for <d\@example.test>", 3],
    [[250, {send => "garbage\r\n"}, 250], "451-no answer of the next hop\n451 accepted for 1 of 3 recipients, not for <c\@example.test>, <d\@example.test>", 2],
    [[550, {then => 'die'}, 250], "451-no answer of the next hop\n451 accepted for 0 of 3 recipients, not for <b\@example.test>, <c\@example.test>, <d\@example.test>", 0],
    [[250, {send => "421 4.3.2 closing\r\n", then => 'die'}, 250], "451-closing\n451 accepted for 1 of 3 recipients, not for <c\@example.test>, <d\@example.test>", 1])
{
    my ($answers, $reply) = @$_;
    my @nth = qw(1st 2nd 3rd);
    my $what = join ' ', map { ref $_ ? 'fault' : $_ } @$answers;

    $hop->does(map { ("dot <$three[$_]>" => ref $answers->[$_] ? $answers->[$_] : "$answers->[$_] $nth[$_]") } 0 .. 2);
    $hop->clear;
    is $d->deliver('a@client.test', \@three, $small), $reply, "answers: $what";
    is $hop->tries, 1, '... to one message, offered once';
    $hop->does;
    like $d->deliver('a@client.test', 'b@example.test', $small), qr/^250 /, '... the next message passes';
}

# Before the dot it is all or none, as with SMTP.
$hop->does('RCPT <c@example.test>' => '550 5.1.1 unknown');
$hop->clear;
is $d->deliver('a@client.test', \@three, $small), "550-unknown\n550 1 of 3 recipients refused, so nobody gets it: <c\@example.test>",
    'a recipient that is refused before';
is scalar($hop->messages), 0, '... nobody has it';
$hop->does;

# Who has heard a yes for one, and a later for another, does not go to the next plugin with it.
my $f = Qpsmtpd::Test->new(config => \%config);
my $other = Qpsmtpd::NextHop->new($f, lmtp => 1);
$f->config(plugins => ['rcpt_ok', 'queue/lmtp 127.0.0.1:' . $other->port . ' fallback 1', 'queue/discard']);
$other->does('dot <c@example.test>' => '450 later');
like $f->dialogue->deliver('a@client.test', \@three, $small), qr/^450-later\n450 accepted for 2/, 'fallback does not concern a message that some have';
$other->does(dot => '450 later');
is $f->dialogue->deliver('a@client.test', \@three, $small), '250 discarded', '... nobody has it: the next plugin is asked';

# ---- faults ------------------------------------------------------------------------------------------

Qpsmtpd::NextHop::test_faults(1, sub { "queue/lmtp 127.0.0.1:$_[0]" }, \%config);

$hop->stop;
is $d->deliver('a@client.test', 'b@example.test', $small), '451 Unable to queue message (connect: No such file or directory)', 'the socket is gone';
$other->does(LHLO => '500 what?');
my $e = Qpsmtpd::Test->new(config => \%config, plugins => ['rcpt_ok', 'queue/lmtp 127.0.0.1:' . $other->port]);
is $e->dialogue->deliver('a@client.test', 'b@example.test', $small), '451 Unable to queue message (LHLO: 500 what?)', 'a server that does not know LHLO';
is scalar(grep { /HELO|EHLO/ } $other->commands), 0, '... is greeted in no other way';

# ---- configuration -----------------------------------------------------------------------------------

for my $bad (['', 'hops'], ['lmtp/socket', 'lmtp/socket'], ['/run/lmtp reuse 0', 'reuse'], ['/run/lmtp colour blue', 'colour']) {
    my ($status, $said) = Qpsmtpd::Test->new(plugins => ["queue/lmtp $bad->[0]"])->check;

    isnt $status, 0, "'queue/lmtp $bad->[0]' refuses the start";
    like $said, qr/plugins.*1.*$bad->[1]/, 'and the message says where and what';
}
my ($status) = Qpsmtpd::Test->new(plugins => ['rcpt_ok', 'queue/lmtp /run/dovecot/lmtp,[::1]:24,mail.example.org 2424'])->check;
is $status, 0, 'several next hops are right';

done_testing;
