use strict;
use warnings;

use Test::More;

use Qpsmtpd::Test;

my $t = Qpsmtpd::Test->new(
    plugins => ['check_badrcptto', 'rcpt_ok', 'queue/discard'],
    config => {
        logging => 'logging/transaction_id notice',
        badrcptto => ['one@example.test', 'two@example.test'],
        rcpthosts => 'example.test',
    });
my $d = $t->dialogue;
$d->say($_) for 'EHLO client.test', map { ('MAIL FROM:<a@b.test>', "RCPT TO:<$_\@example.test>") } qw(one two);
$d->quit;
$d->status;

my @ids = $d->log =~ /^(\w{11}\.\d+) \(rcpt\) check_badrcptto: refused: /mg;
is scalar(@ids), 2, 'a line begins with the id of the transaction';
isnt $ids[0], $ids[1], 'the next transaction has another';
is substr($ids[0], 0, 11), substr($ids[1], 0, 11), 'of the same connection';
is_deeply [grep { !/^(?:\d+|\w{11}\.\d+) ./ } split /\n/, $d->log], [], 'all lines have that form';

my ($status, $said) = Qpsmtpd::Test->new(plugins => [], config => {logging => 'logging/transaction_id loud'})->check;
isnt $status, 0, 'a word that is no level refuses the start';
like $said, qr{config/logging:1: logging/transaction_id: "loud" is no log level}, 'with file and line';

done_testing;
