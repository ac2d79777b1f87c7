use strict;
use warnings;

use Test::More;

use Qpsmtpd::Test;

sub dialogue_with {
    my ($line) = @_;

    return Qpsmtpd::Test->new(plugins => [$line])->dialogue;
}

sub closing {
    my ($n) = @_;

    return "521 Closing connection. $n unrecognized commands.  Perhaps you should read RFC 2821?";
}

for (['count_unrecognized_commands', 4], ['count_unrecognized_commands 2', 2]) {
    my ($line, $max) = @$_;
    my $d = dialogue_with($line);
    like $d->say("FOO$_"), qr/^500 /, "$line: unknown command $_" for 1 .. $max - 1;
    like $d->say('NOOP'), qr/^250/, 'known ones are answered meanwhile';
    like $d->say('EHLO'), qr/^501/, 'those that are ill-formed do not count';
    is $d->say('FOO'), closing($max), "the ${max}th is the last";
    ok $d->eof, 'the connection is closed';
}

is dialogue_with('count_unrecognized_commands 1')->say('FOO'), closing(1), 'one can be too many';

for my $request ('GET / HTTP/1.1', 'POST http://192.0.2.1:25/ HTTP/1.0', 'CONNECT 192.0.2.1:25 HTTP/1.0', 'get /') {
    my $d = dialogue_with('count_unrecognized_commands');
    $d->raw("$request\r\nHost: x\r\n\r\nHELO x\r\nMAIL FROM:<a\@b.test>\r\n");
    is $d->read_reply, '521 Closing connection. This is SMTP, not HTTP.', "$request: out at once";
    ok $d->eof, 'nothing behind it is read';
}

{
    my $d = dialogue_with('count_unrecognized_commands');
    $d->say('NOOP');
    like $d->say('GET /'), qr/^500 /, 'later, a method of HTTP is an unknown command as others are';
    $d = dialogue_with('count_unrecognized_commands http_abort 0');
    like $d->say('GET /'), qr/^500 /, 'and with http_abort 0 it always is';
}

for (['2 5 http_abort', '5'], ['2 http_abort 0 7 8', '7'], ['http_abort no 2 x', 'x']) {
    my ($args, $first) = @$_;
    my $t = Qpsmtpd::Test->new(plugins => ["count_unrecognized_commands $args"]);
    my $d = $t->dialogue;
    my @codes = map { $d->say('FOO'); $d->code } 1 .. 2;

    is "@codes", '500 521', "count_unrecognized_commands $args: MAX is read";
    like $d->log, qr/arguments ignored, from "$first" on/, 'and a warning speaks of the rest';
}

for (
    ['0', qr/max: "0" is out of range: 1 to 1000/],
    ['four', qr/max: "four" is no number/],
    ['http_abort maybe', qr/http_abort: "maybe" is neither 0 nor 1/],
) {
    my ($args, $reason) = @$_;
    my ($status, $said) = Qpsmtpd::Test->new(plugins => ["count_unrecognized_commands $args"])->check;
    isnt $status, 0, "count_unrecognized_commands $args: no start";
    like $said, qr{config/plugins:1: count_unrecognized_commands: .*$reason}, 'with file, line and reason';
}

done_testing;
