use strict;
use warnings;

use Test::More;
use Time::HiRes qw(time);

use Qpsmtpd::Test;

my $USUAL = qr/^221 mx\.example\.test closing connection\. Have a wonderful day\.$/;

# What QUIT is answered with when the program is this shell script.
sub quit_with {
    my ($script, @hello) = @_;
    my $t = Qpsmtpd::Test->new;
    my $path = $t->file('fortune', "#!/bin/sh\n$script\n");

    chmod 0755, $path;
    $t->config(plugins => "quit_fortune path $path");
    my $d = $t->dialogue;
    $d->say($_) for @hello ? @hello : 'HELO client.test';
    my $reply = $d->quit;
    ok $d->eof, 'the connection is closed';
    is $d->status, 0, 'in good order';
    return $reply;
}

is quit_with('echo "A cookie"; echo "	-- of $# argument $1"'),
    "221-mx.example.test closing connection.\n221-  / A cookie\n221   /  -- of 1 argument -s",
    'who said HELO gets a cookie';
like quit_with('echo cookie', 'EHLO client.test'), $USUAL, 'who said EHLO gets the usual reply';
like quit_with('echo cookie', 'NOOP'), $USUAL, 'and so does who said nothing';

is quit_with(q{printf 'a\r\n\001b\033[2J\377c\000d\n\n'}),
    "221-mx.example.test closing connection.\n221-  / a\n221-  / b[2Jcd\n221   /",
    'bytes that are not printable are dropped';
like quit_with('exit 0'), $USUAL, 'no output: the usual reply';
like quit_with('echo half; exit 1'), $USUAL, 'a program that fails: the usual reply';
like quit_with('echo half; kill -9 $$'), $USUAL, 'one that dies: the usual reply';

my $begin = time;
like quit_with('echo slow; exec sleep 100'), $USUAL, 'one that takes too long: the usual reply';
cmp_ok time - $begin, '<', 5 * ($ENV{TEST_SLOW} || 1), 'after a second';

my $much = quit_with('yes "$(printf %0600d 1)" | head -n 100');
like $much, qr/^221/, 'one that says too much: a reply all the same';
cmp_ok length $much, '<', 6000, 'of limited length';
is_deeply [grep { length > 510 } split /\n/, $much], [], 'and no line that is too long';

{
    my $t = Qpsmtpd::Test->new(plugins => ['quit_fortune']);
    is(($t->check)[0], 0, 'without an argument it starts, whether there is a fortune(6) or not');
}

for (
    ['path fortune', qr/path: fortune is no absolute path/],
    ['path /no/such/fortune', qr{path: cannot run /no/such/fortune: No such file}],
    ['/bin/true', qr{unknown argument "/bin/true"}],
) {
    my ($args, $reason) = @$_;
    my ($status, $said) = Qpsmtpd::Test->new(plugins => ["quit_fortune $args"])->check;
    isnt $status, 0, "quit_fortune $args: no start";
    like $said, qr{config/plugins:1: quit_fortune: .*$reason}, 'with file, line and reason';
}

done_testing;
