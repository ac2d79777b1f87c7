use strict;
use warnings;

use Test::More;

use Qpsmtpd::Test;

my $t = Qpsmtpd::Test->new(plugins => ['rcpt_ok', 'queue/discard'], config => {rcpthosts => 'example.test'});
my $d = $t->dialogue;

like $d->deliver('a@client.test', 'b@example.test', "Subject: x\n\nbody\n"), qr/^250 discarded$/, 'accepted';
like $d->deliver('a@client.test', 'b@example.test', 'x' x 500_000), qr/^250 discarded$/, 'of any size';
like $d->log, qr/discarded recipients=1/, 'it is in the log';

my ($status, $said) = Qpsmtpd::Test->new(plugins => ['queue/discard often'])->check;
isnt $status, 0, 'an argument refuses the start';
like $said, qr/plugins.*1.*often/, 'and the message says where';

done_testing;
