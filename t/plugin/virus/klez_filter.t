use strict;
use warnings;

use Test::More;

use Qpsmtpd::Test;

my $t = Qpsmtpd::Test->new(
    plugins => ['rcpt_ok', 'virus/klez_filter', 'queue/discard'],
    config => {rcpthosts => 'example.test'},
);
my $d = $t->dialogue;
my $signature = 'TVqQAAMAAAAEAAAA//8AALgAAAAAAAAAQA';

# A body of at least `size` bytes that begins with the lines given.
sub reply_to {
    my ($lines, $size) = @_;
    my $body = "\n" . join '', map { "$_\n" } @$lines;

    $body .= 'x' x 70 . "\n" while length $body < $size;
    return $d->deliver('a@client.test', 'b@example.test', "Subject: x\n$body");
}

my $refused = qr/^554 .*Klez Virus Detected/;

like reply_to(['Content-Type: audio/x-wav; name="x.exe"', '', $signature . 'AA'], 60_000), $refused, 'audio';
like reply_to(['content-TYPE: Application/octet-stream', $signature], 60_000), $refused, 'application, in any case';
like reply_to(['Content-Type: audio/x-wav', $signature], 1000), qr/^250 /, 'a small message has no worm';
like reply_to(['Content-Type: image/png', $signature], 60_000), qr/^250 /, 'another type';
like reply_to([$signature, 'Content-Type: audio/x-wav'], 60_000), qr/^250 /, 'the signature before the type';
like reply_to(['Content-Type: audio/x-wav', ('') x 38, $signature], 60_000), $refused, 'line 41 is seen';
like reply_to(['Content-Type: audio/x-wav', ('') x 39, $signature], 60_000), qr/^250 /, 'line 42 is not';

my ($status, $said) = Qpsmtpd::Test->new(plugins => ['virus/klez_filter now'])->check;
isnt $status, 0, 'an argument refuses the start';
like $said, qr/plugins.*1.*now/, 'and the message says where';

done_testing;
