use strict;
use warnings;

use Test::More;

use Qpsmtpd::Test;

my $MESSAGE = "a: b\n\nc\n";

sub test_with {
    my ($args) = @_;

    return Qpsmtpd::Test->new(
        plugins => ["random_error$args", 'rcpt_ok', 'queue/discard'], config => {rcpthosts => 'example.test'});
}

{
    my $t = test_with(' 0');
    my $d = $t->dialogue;
    is scalar(grep { $d->deliver('a@b.test', 'c@example.test', $MESSAGE) =~ /^250/ } 1 .. 50), 50, '0: nothing fails';
}

{
    my $t = test_with(' 100');
    is scalar(grep { $t->dialogue->greeting eq '421 random failure' } 1 .. 5), 5, '100: no client is greeted';
}

# Each step, with the note that overrides the argument: a helper of our own would be needed to set it,
# so here is chance at work. One message in two fails; 40 runs without a failure happen once in 10^12.
{
    my $t = test_with(' 50');
    my %seen;
    for (1 .. 40) {
        my $d = $t->dialogue;
        my $reply = $d->greeting =~ /^220/ ? $d->deliver('a@b.test', 'c@example.test', $MESSAGE) : $d->greeting;
        $seen{$reply}++;
        ok $d->eof, '421 closes the connection' if $reply =~ /^421/;
    }
    my @failures = grep { !/^250/ } keys %seen;
    ok scalar(@failures), '50: some messages fail';
    is_deeply [grep { !/^4\d\d random failure$/ } @failures], [], 'all of them for now, with this text';
    ok scalar(grep { /^250/ } keys %seen), 'and some pass';
}

for (['101', qr/percent: "101" is out of range: 0 to 100/], ['x', qr/percent: "x" is no number/]) {
    my ($args, $reason) = @$_;
    my ($status, $said) = test_with(" $args")->check;
    isnt $status, 0, "random_error $args: no start";
    like $said, qr{config/plugins:1: random_error: .*$reason}, 'with file, line and reason';
}

done_testing;
