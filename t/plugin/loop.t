use strict;
use warnings;

use Test::More;

use Qpsmtpd::Test;

# A message that has been at $n places; our own Received is one more.
sub reply_to {
    my ($line, $received, $delivered) = @_;
    my $t = Qpsmtpd::Test->new(
        plugins => ['rcpt_ok', $line, 'queue/discard'],
        config => {rcpthosts => 'example.test'},
    );

    return $t->dialogue->deliver('a@client.test', 'b@example.test', join '',
        map({ "Received: from host$_\n  by host\n" } 1 .. $received),
        map({ "delivered-to: b$_\@example.test\n" } 1 .. $delivered), "Subject: x\n\nReceived: no\n");
}

like reply_to('loop 5', 3, 0), qr/^250 /, 'one hop less than the limit';
like reply_to('loop 5', 4, 0), qr/^554 .*Too many hops \(#5\.4\.6\)/, 'the limit is too many';
like reply_to('loop 5', 2, 2), qr/^554 .*Too many hops/, 'Delivered-To counts as well';
like reply_to('loop', 98, 0), qr/^250 /, 'the default lets 99 hops through';
like reply_to('loop', 9, 90), qr/^554 .*Too many hops/, 'and refuses 100';

for my $line ('loop 0', 'loop many', 'loop 5 6') {
    my ($status, $said) = Qpsmtpd::Test->new(plugins => ['rcpt_ok', $line])->check;

    isnt $status, 0, "'$line' refuses the start";
    like $said, qr/plugins.*2/, 'and the message says where';
}

done_testing;
