use strict;
use warnings;

use POSIX qw(strftime);
use Test::More;

use Qpsmtpd::Test;

# day - a date as RFC 5322 writes it, so many days from now
sub day {
    my ($days, $format) = @_;

    return strftime($format || '%a, %d %b %Y %H:%M:%S +0000', gmtime(time + $days * 86400));
}

# session - one dialogue with the plugin configured like that
my @alive;
sub session {
    my ($line, %config) = @_;
    my $t = Qpsmtpd::Test->new(
        plugins => ['check_relay', 'rcpt_ok', $line, 'queue/discard'],
        config => {rcpthosts => 'example.test', %config},
    );

    push @alive, $t; # its directory goes with it
    return $t->dialogue;
}

sub reply_to {
    my ($d, @fields) = @_;

    return $d->deliver('a@client.test', 'b@example.test', join '', map({ "$_\n" } @fields), "\nbody\n");
}

my ($from, $now) = ('From: Joe <joe@client.test>', 'Date: ' . day(0));

# ---- as r356 had it --------------------------------------------------------------------------------

my $d = session('check_basicheaders');

like reply_to($d, $from, $now), qr/^250 /, 'both fields';
like reply_to($d, 'from: x', 'DATE: y'), qr/^250 /, 'in any case, with any value';
like reply_to($d, 'From : x', "Date\t: y"), qr/^250 /, 'with blanks before the colon';
like reply_to($d, $now), qr/^554 .*Mail with no From header not accepted here/, 'no From';
like reply_to($d, $from), qr/^554 .*Mail with no Date header not accepted here/, 'no Date';
like reply_to($d, $from, 'Date: ' . day(-5000)), qr/^250 /, 'without DAYS any date is right';
like $d->deliver('a@client.test', 'b@example.test', ''), qr/^554 .*You have to send some data first/, 'nothing at all';
like $d->deliver('a@client.test', 'b@example.test', "$from\n$now\n"), qr/^554 .*You have to send some data first/,
    'no body';
like $d->deliver('a@client.test', 'b@example.test', "$from\n$now\n\n"), qr/^250 /, 'an empty body';

$d = session('check_basicheaders 5');
like reply_to($d, $from, 'Date: ' . day(-4.9)), qr/^250 /, 'younger than DAYS';
like reply_to($d, $from, 'Date: ' . day(-5.1)), qr/^554 .*The Date in the header was too far in the past/, 'older';
like reply_to($d, $from, 'Date: ' . day(4.9)), qr/^250 /, 'not so far ahead';
like reply_to($d, $from, 'Date: ' . day(5.1)), qr/^554 .*The Date in the header was too far in the future/, 'farther';

$d = session('check_basicheaders 5 7 require Subject');
like reply_to($d, $from, 'Date: ' . day(-6)), qr/^554 .*The Date in the header was too far in the past/, 'DAYS is read';
like reply_to($d, $from, $now), qr/^250 /, 'what follows is not';
like $d->log, qr/arguments ignored, from "7" on/, '... and a warning speaks of it';

# ---- dates -----------------------------------------------------------------------------------------

# Each says the same moment, ten days ago; those that are read as it are refused by "past 5".
my $old = time - 10 * 86400;
my @readable = map { strftime($_->[0], gmtime($old + ($_->[1] || 0) * 3600)) } (
    ['%a, %d %b %Y %H:%M:%S +0000'], ['%e %b %Y %H:%M -0000'], ['%a %d %b %Y %H:%M:%S GMT'],
    ['%a, %d %b %Y %H:%M:%S +1400', 14], ['%a, %d %b %Y %H:%M:%S -1200', -12],
    ['%a, %d %b %y %H:%M:%S UT'], ['%d %B %Y %H:%M:%S EST', -5], ['%d %b %Y %H:%M:%S pdt', -7],
    ['%d %b %Y %H:%M:%S Z'], ['%d %b %Y %H:%M:%S A'], ['%d %b %Y %H:%M:%S'],
    ['%a (a day), %d (\\) of (this)) %b %Y %H : %M : %S +0000 (zone)'], ["%a,\n\t%d %b\n %Y %H:%M:%S +0000"],
);
$d = session('headers past 5');
like reply_to($d, $from, "Date: $_"), qr/^554 .*The Date header is too far in the past/, "read: $_" for @readable;

# Nothing is concluded from these.
like reply_to($d, $from, "Date: $_"), qr/^250 /, 'not read: ' . substr($_, 0, 40)
    for '', 'yesterday', '2004-01-01 00:00:00', '32 Jan 2004 00:00:00 +0000', '30 Feb 2004 00:00 +0000',
    '1 Jan 2004 24:00:00 +0000', '1 Jan 2004 00:60:00 +0000', '1 Jan 2004 00:00:61 +0000', '1 Jan 2004 00:00 +00',
    '1 Jan 2004 00:00 +0099', '1 Foo 2004 00:00 +0000', '1 Jan 20045 00:00 +0000', '1 Jan 1899 00:00 +0000',
    '1 Jan 99999999999999999999 00:00 +0000', '(' x 900 . '1 Jan 2004 00:00 +0000', '1 Jan 2004', '1 Jan 4 00:00';
like reply_to($d, $from, 'Date: 29 Feb 1996 12:00:00 +0000'), qr/^554 /, 'a leap day';
like reply_to($d, $from, 'Date: 1 Jan 96 12:00:00 +0000'), qr/^554 /, 'two digits of the last century';
like reply_to($d, $from, 'Date: 1 Jan 101 12:00:00 +0000'), qr/^554 /, 'three digits';

# ---- as 1.00 had it --------------------------------------------------------------------------------

$d = session('headers');
like reply_to($d, $from), qr/^250 /, 'headers: Date is not required';
like reply_to($d, 'Subject: x'), qr/^554 .*We require a valid From header/, 'From is';
like reply_to($d, "From: $_"), qr/^554 .*We require a valid From header/, "From: $_ names nobody"
    for 'Joe', '"joe@client.test"', 'Joe (joe@client.test)', 'Undisclosed:;', '';
like reply_to($d, "From: $_"), qr/^250 /, "From: $_ names somebody"
    for 'joe@client.test', '"a @ b" <joe@client.test>', '(c@d) "J. \\" D"@client.test', "Joe\n <joe\@client.test>";
for my $name (qw(Date From Sender Reply-To To Cc Bcc Message-Id In-Reply-To References Subject)) {
    my @twice = ($name eq 'From' ? $from : "$name: x") x 2;

    like reply_to($d, $name eq 'From' ? () : $from, @twice),
        qr/^554 .*Only one $name header allowed\. See RFC 5322, Section 3\.6/, "two $name fields";
}
like reply_to($d, $from, ('Received: x', 'Keywords: y', 'X-Foo: z') x 2), qr/^250 /, 'others may be there twice';
like $d->deliver('a@client.test', 'b@example.test', ''), qr/^554 .*You must send some data first/, 'nothing at all';
like $d->deliver('a@client.test', 'b@example.test', "\nbody\n"), qr/^554 .*Headers are missing/, 'no header';
like $d->deliver('a@client.test', 'b@example.test', "$from\n"), qr/^250 /, 'no body is no failure';

$d = session('headers require From,Date,Message-ID future 2 past 15 reject_type temp');
like reply_to($d, $from, $now), qr/^451 .*We require a valid Message-ID header/, 'a list; reject_type temp';
like reply_to($d, $from, 'Message-Id: <a@b>'), qr/^451 .*We require a valid Date header/, 'in its order';
like reply_to($d, $from, 'Message-Id: <a@b>', 'Date: ' . day(3)), qr/^451 .*The Date header is too far in the future/,
    'future';
like reply_to($d, $from, 'Message-Id: <a@b>', 'Date: ' . day(-14)), qr/^250 /, 'past has its own limit';

$d = session('headers 5');
like reply_to($d, $from), qr/^554 .*We require a valid Date header/, 'headers DAYS requires Date';
like reply_to($d, $from, 'Date: ' . day(-6)), qr/^554 .*too far in the past/, 'and limits it';

$d = session('headers reject 0');
like reply_to($d, 'Subject: x'), qr/^250 /, 'reject 0 lets it pass';
like $d->log, qr/fail, tolerated.*We require a valid From header/, 'and says so';

$d = session('headers reject naughty');
like reply_to($d, 'Subject: x'), qr/^250 /, 'reject naughty leaves it to the plugin naughty';

$d = session('headers', relayclients => '127.0.0.1');
like reply_to($d, 'Subject: x'), qr/^250 /, 'who may relay is not asked';
like $d->deliver('a@client.test', 'b@example.test', ''), qr/^554 .*You must send some data first/,
    '... but must send a message';
like $d->deliver('a@client.test', 'b@example.test', "\nbody\n"), qr/^554 .*Headers are missing/, '... with a header';
$d = session('check_basicheaders', relayclients => '127.0.0.1');
like reply_to($d, 'Subject: x'), qr/^554 /, 'r356 asked everybody';

# ---- configuration ---------------------------------------------------------------------------------

for my $line ('headers 0', 'headers soon', 'headers 1 2', 'headers past', 'headers past x', 'headers future -1',
    'headers reject maybe', 'headers reject_type never', 'check_basicheaders 99999')
{
    my ($status, $said) = Qpsmtpd::Test->new(plugins => ['rcpt_ok', $line])->check;

    isnt $status, 0, "'$line' refuses the start";
    like $said, qr/plugins.*2/, 'and the message says where';
}

done_testing;
