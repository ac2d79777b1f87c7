use strict;
use warnings;

use Test::More;

use Qpsmtpd::Test;

my $t = Qpsmtpd::Test->new(
    plugins => ['parse_addr_withhelo', 'rcpt_ok'],
    config => {rcpthosts => ['example.test', 'mx.example.test']});

sub greeted {
    my ($hello, @more) = @_;
    my $d = $t->dialogue;

    $d->say($_) for "$hello client.test", @more;
    return $d;
}

for (
    ['MAIL FROM:<a@b.test>', qr/^250 <a\@b\.test>/],
    ['MAIL FROM: <a@b.test> ', qr/^250 <a\@b\.test>/],
    ['mail from:a@b.test', qr/^250 <a\@b\.test>/],
    ['MAIL FROM:', qr/^250 <>/],
    ['MAIL FROM:<>', qr/^250 <>/],
    ['MAIL FROM:<a@b.test> SIZE=1000', qr/^501 No parameters allowed in MAIL$/],
    ['MAIL FROM:a@b.test SIZE=1000', qr/^501 No parameters allowed in MAIL$/],
    ['MAIL FROM:<> BODY=8BITMIME', qr/^501 No parameters allowed in MAIL$/],
    ['MAIL', qr/^501 Syntax error in command$/],
    ['MAIL TO:<a@b.test>', qr/^501 Syntax error in command$/],
    ['MAIL FROM:a', qr/^501 Could not parse your MAIL FROM command$/],
    ['MAIL FROM:<a@b.test', qr/^501 /],
    ['MAIL FROM:<a@b.test> x>', qr/^501 /],
) {
    my ($command, $reply) = @$_;
    like greeted('HELO')->say($command), $reply, "HELO, $command";
}

my $d = greeted('HELO', 'MAIL FROM:<a@b.test>');
for (
    ['RCPT TO:<c@example.test>', qr/^250 <c\@example\.test>/],
    ['RCPT TO: c@example.test', qr/^250 <c\@example\.test>/],
    ['RCPT TO:Postmaster', qr/^250 <Postmaster>/],
    ['RCPT TO:abuse', qr/^250 <abuse\@mx\.example\.test>/],
    ['RCPT TO:<c@example.test> NOTIFY=NEVER', qr/^501 No parameters allowed in RCPT$/],
    ['RCPT FROM:<c@example.test>', qr/^501 Syntax error in command$/],
    ['RCPT TO:c', qr/^501 Could not parse your RCPT TO command$/],
    ['RCPT TO:', qr/^501 Could not parse your RCPT TO command$/],
) {
    my ($command, $reply) = @$_;
    like $d->say($command), $reply, "HELO, $command";
}

# The address must outlive the transaction that the second MAIL ends.
like $d->say('MAIL FROM:<another-sender@b.test>'), qr/^250 <another-sender\@b\.test>/, 'a second MAIL';

like greeted('EHLO')->say('MAIL FROM:<a@b.test> SIZE=1000'), qr/^250/, 'EHLO: parameters are allowed';
like greeted('EHLO')->say('MAIL FROM:'), qr/^501 syntax error/, 'and the server parses';

my ($status, $said) = Qpsmtpd::Test->new(plugins => ['parse_addr_withhelo x'])->check;
isnt $status, 0, 'an argument refuses the start';
like $said, qr{config/plugins:1: parse_addr_withhelo: .*"x"}, 'with file and line';

done_testing;
