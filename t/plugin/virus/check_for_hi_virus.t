use strict;
use warnings;

use Test::More;

use Qpsmtpd::Test;

my $t = Qpsmtpd::Test->new(
    plugins => ['rcpt_ok', 'virus/check_for_hi_virus', 'queue/discard'],
    config => {rcpthosts => 'example.test'},
);
my $d = $t->dialogue;

# A body with `before` empty lines, the separator line counted, in front of the two fields.
sub reply_to {
    my ($type, $disposition, $before) = @_;

    return $d->deliver('a@client.test', 'b@example.test',
        "Subject: Hi\n" . ("\n" x ($before || 1)) . "$type\n$disposition\n\ntext\n");
}

my $refused = qr/^554 .*Probably the 'Hi' virus/;

like reply_to('Content-Type: a/b; name="x.txt"', 'Content-Disposition: attachment; filename="x.exe"'), $refused,
    'two names';
like reply_to('Content-Type: a/b; name="x.txt"', 'Content-Disposition: attachment; filename="x.txt"'), qr/^250 /,
    'one name';
like reply_to('Content-Type: a/b; name="x.txt"', 'Content-Disposition: inline'), qr/^250 /, 'one of them only';
like reply_to('content-type: a/b; name="x.txt"', 'Content-Disposition: a; filename="x.exe"'), qr/^250 /,
    'case matters';
like reply_to('Content-Type: a/b; name="x', 'Content-Disposition: a; filename="x.exe"'), qr/^250 /,
    'a quote that is not closed is no name';
like reply_to('Content-Type: a/b; name="x"', 'Content-Disposition: a; filename="y"', 39), $refused,
    'lines 40 and 41 of the body are seen';
like reply_to('Content-Type: a/b; name="x"', 'Content-Disposition: a; filename="y"', 40), qr/^250 /,
    'line 42 is not';
like reply_to('Content-Type: a/b; name="' . 'x' x 5000, 'Content-Disposition: a; filename="y"'), qr/^250 /,
    'a line that is too long is cut';

my ($status, $said) = Qpsmtpd::Test->new(plugins => ['virus/check_for_hi_virus now'])->check;
isnt $status, 0, 'an argument refuses the start';
like $said, qr/plugins.*1.*now/, 'and the message says where';

done_testing;
