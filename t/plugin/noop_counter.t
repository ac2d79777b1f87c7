use strict;
use warnings;

use Test::More;

use Qpsmtpd::Test;

my $ROW = '500 Stop wasting my time, too many consecutive NOOPs';
my $ALL = '500 Stop wasting my time, too many NOOPs';

sub test_with {
    my ($line) = @_;

    return Qpsmtpd::Test->new(
        plugins => [$line, 'rcpt_ok', 'queue/discard'], config => {rcpthosts => 'example.test'});
}

for (['noop_counter', 10], ['noop_counter 3', 3]) {
    my ($line, $max) = @$_;
    my $t = test_with($line);
    my $d = $t->dialogue;
    my $granted = 0;
    $granted++ while $granted < 100 && $d->say('NOOP') =~ /^250/;
    is $granted, $max - 1, "$line: that many are granted";
    is $d->reply, $ROW, 'the next is refused';
    ok $d->eof, 'and the connection is closed';
}

{
    my $t = test_with('noop_counter 2');
    my $d = $t->dialogue;
    for my $command ('HELO client.test', 'EHLO client.test', 'MAIL FROM:<a@b.test>', 'RCPT TO:<c@example.test>',
        'VRFY d', 'HELP', 'RSET')
    {
        like $d->say('NOOP'), qr/^250/, "a NOOP before $command";
        $d->say($command);
    }
    like $d->say('NOOP'), qr/^250/, 'and one after them';
    like $d->deliver('a@b.test', 'c@example.test', "a: b\n\nc\n"), qr/^250/, 'then a message';
    like $d->say('NOOP x'), qr/^250/, 'a NOOP';
    is $d->say('NOOP y'), $ROW, 'two in a row are too many';
}

{
    my $t = test_with('noop_counter total 4');
    my $d = $t->dialogue;
    for (1 .. 3) {
        like $d->say('NOOP'), qr/^250/, "NOOP $_ in all";
        $d->say('RSET');
    }
    is $d->say('NOOP'), $ALL, 'with total the sum counts, too';
    ok $d->eof, 'and the connection is closed';
}

{
    my $t = test_with('noop_counter 2');
    my $s = $t->prefork('--children', 1, '--idle-children', 1);
    for (1 .. 3) {
        my $d = $s->connect;
        like $d->say('NOOP'), qr/^250/, "client $_ of one process has a count of its own";
        $d->quit;
    }
    $s->stop;
}

for (
    ['0', qr/max: "0" is out of range: 1 to 10000/],
    ['x', qr/max: "x" is no number/],
    ['total -1', qr/total: "-1" is out of range/],
    ['1 2', qr/unknown argument "2"/],
) {
    my ($args, $reason) = @$_;
    my ($status, $said) = test_with("noop_counter $args")->check;
    isnt $status, 0, "noop_counter $args: no start";
    like $said, qr{config/plugins:1: noop_counter: .*$reason}, 'with file, line and reason';
}

done_testing;
