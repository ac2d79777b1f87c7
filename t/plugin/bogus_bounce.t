use strict;
use warnings;

use Test::More;

use Qpsmtpd::Test;

my @alive;
sub session {
    my ($arguments) = @_;
    my $t = Qpsmtpd::Test->new(plugins => ['rcpt_ok', "bogus_bounce $arguments", 'queue/discard'],
        config => {rcpthosts => 'example.test'});

    push @alive, $t; # its directory goes with it
    return $t->dialogue;
}

my @two = ('a@example.test', 'b@example.test');
my $count = 'fail, this bounce message does not have 1 recipient';
my $path = 'a bounce return path must be empty \(RFC 3834\)';

for my $case (['', 250], ['log', 250], ['deny', 554], ['denysoft', 451], ['reject 1', 554], ['reject 0', 250],
    ['reject 1 reject_type temp', 451], ['reject naughty', 250])
{
    my ($arguments, $code) = @$case;
    my $d = session($arguments);

    like $d->deliver('', $two[0], "a: b\n\n"), qr/^250 /, "'$arguments': a bounce";
    like $d->deliver('', $two[0], "Return-Path: <>\n\n"), qr/^250 /, '... with an empty Return-Path';
    like $d->deliver('x@client.test', \@two, "Return-Path: <y\@client.test>\n\n"), qr/^250 /, '... and what is none';
    unlike $d->log, qr/tolerated/, '... without a complaint';
    like $d->deliver('', \@two, "a: b\n\n"), $code == 250 ? qr/^250 / : qr/^$code .*$count/, '... a bounce to two';
    like $d->deliver('', $two[0], "return-path: <y\@client.test>\n\n"),
        $code == 250 ? qr/^250 / : qr/^$code .*$path/, '... a bounce with a path';
    is scalar(() = $d->log =~ /fail, tolerated reason="(?:$count|$path)"/g), $code == 250 ? 2 : 0, '... logged';
}

for my $line ('bogus_bounce maybe', 'bogus_bounce reject', 'bogus_bounce deny soft', 'bogus_bounce reject_type x') {
    my ($status, $said) = Qpsmtpd::Test->new(plugins => ['rcpt_ok', $line])->check;

    isnt $status, 0, "'$line' refuses the start";
    like $said, qr/plugins:2/, '... with file and line';
}
done_testing;
