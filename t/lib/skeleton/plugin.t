use strict;
use warnings;

use Test::More;

use Qpsmtpd::Test;

# One message with three recipients, of which the plugin lets two through.
sub third_recipient {
    my (@plugins) = @_;
    my $t = Qpsmtpd::Test->new(
        plugins => [@plugins, 'rcpt_ok', 'queue/discard'],
        config => {rcpthosts => 'example.test'},
    );
    my $d = $t->dialogue;

    $d->say($_) for 'EHLO client.test', 'MAIL FROM:<a@client.test>';
    like $d->say("RCPT TO:<$_\@example.test>"), qr/^250/, "$plugins[0]: recipient $_" for 1, 2;
    return $d->say('RCPT TO:<3@example.test>');
}

like third_recipient('@NAME@ max 2'), qr/^452 .*no room for 3\@example\.test: 2 are enough/,
    'one more than max is refused';
like third_recipient('@NAME@ max 3'), qr/^250/, 'as many as max are not';
like third_recipient('@NAME@'), qr/^250/, 'nor are the default\'s';

my ($status, $said) = Qpsmtpd::Test->new(plugins => ['@NAME@ max 0'])->check;
isnt $status, 0, 'a bad number refuses the start';
like $said, qr/plugins.*1.*max/, 'and says where and what';

done_testing;
