# enhanced_status_codes: 1 gives every reply a status of its class (RFC 2034); 0 leaves r356's texts.
use strict;
use warnings;

use File::Basename qw(dirname);
use Test::More;

use lib dirname(__FILE__);
use Probe;
use Qpsmtpd::Test;

my $t = Qpsmtpd::Test->new(plugin_dirs => [Probe::dir()], plugins => ['probe']);
my $d;

# Each row: variables, then the lines to say, and the last reply without and with a status.
# The greeting comes first, so no line at all means the greeting. Several replies to a line count singly.
my $end = "a: b\r\n\r\n."; # CR LF is added
my @to_rcpt = ('EHLO x', 'MAIL FROM:<a@b.test>', 'RCPT TO:<c@d.test>');
my $vrfy = "Just try sending a mail and we'll see how it turns out ...";
my $curious = '<a@b.test>, sender OK - how exciting to get mail from you!';
my @rows = (
    # what never has one
    ['', [], qr/^220 mx\.example\.test ESMTP/, qr/^220 mx\.example\.test ESMTP/],
    ['connect=DONE:220 mine', [], '220 mine', '220 mine'],
    ['', ['HELO x'], qr/^250 mx\./, qr/^250 mx\./],
    ['', ['EHLO x'], qr/\A(?:250[- ](?!2\.).*\n?)+\z/, qr/\A(?:250[- ](?!2\.).*\n?)+\z/],
    ['', ['EHLO'], '501 ehlo requires domain/address - see RFC-2821 4.1.1.1',
        '501 ehlo requires domain/address - see RFC-2821 4.1.1.1'],
    ['helo=DENY', ['HELO x'], '550 HELO denied', '550 HELO denied'],
    ['ehlo=DENYSOFT:later', ['EHLO x'], '450 later', '450 later'],
    ['ehlo=554,5.7.1:no', ['EHLO x'], '554 no', '554 no'],
    ['helo=DONE:250 mine', ['HELO x'], '250 mine', '250 mine'],
    ['ehlo=DONE:250 mine', ['EHLO x'], '250 mine', '250 mine'],
    ['', [@to_rcpt, 'DATA'], '354 go ahead', '354 go ahead'],
    ['noop=DONE:354 mine', ['NOOP'], '354 mine', '354 mine'],
    # the engine's own
    ['', ['MAIL FROM:<>'], '503 please say hello first ...', '503 5.5.1 please say hello first ...'],
    ['', ['HELO x', 'MAIL FROM:<a@b.test>'], "250 $curious", "250 2.1.0 $curious"],
    ['', ['HELO x', 'MAIL'], '501 syntax error in parameters', '501 5.5.4 syntax error in parameters'],
    ['', ['HELO x', 'MAIL FROM:<a'], '501 could not parse your mail from command',
        '501 5.1.7 could not parse your mail from command'],
    ['', ['HELO x', 'MAIL FROM:<> FOO'], '555 parameter not recognized', '555 5.5.4 parameter not recognized'],
    ['', ['HELO x', 'MAIL FROM:<> SIZE=99999'], '552 Message too big!', '552 5.3.4 Message too big!'],
    ['', [@to_rcpt], '250 <c@d.test>, recipient ok', '250 2.1.5 <c@d.test>, recipient ok'],
    ['', ['RCPT TO:<a@b.test>'], '503 Use MAIL before RCPT', '503 5.5.1 Use MAIL before RCPT'],
    ['', [@to_rcpt, 'RCPT TO:<'], '501 could not parse recipient', '501 5.1.3 could not parse recipient'],
    ['', [@to_rcpt, 'RCPT TO:<e@f.test>', 'RCPT TO:<g@h.test>'], '452 too many recipients',
        '452 4.5.3 too many recipients'],
    ['', ['DATA'], '503 MAIL first', '503 5.5.1 MAIL first'],
    ['', ['HELO x', 'MAIL FROM:<>', 'DATA'], '503 RCPT first', '503 5.5.1 RCPT first'],
    ['', [@to_rcpt, 'DATA', $end], '250 Queued', '250 2.0.0 Queued'],
    ['', [@to_rcpt, 'DATA', 'x' x 2000 . "\r\n."], '552 Message too big!', '552 5.3.4 Message too big!'],
    ['', [@to_rcpt, 'DATA', "Received: x\r\n" x 3 . '.'], '554 too many hops, this message is looping (#5.4.6)',
        '554 5.4.6 too many hops, this message is looping'],
    ['', [@to_rcpt, 'DATA', "a\nb"], '421 See https://cr.yp.to/docs/smtplf.html',
        '421 4.5.2 See https://cr.yp.to/docs/smtplf.html'],
    ['', [@to_rcpt, "BDAT 2\r\n"], '250 2 octets received', '250 2.0.0 2 octets received'],
    ['', [@to_rcpt, "BDAT 2\r\n", 'DATA'], '503 BDAT LAST or RSET first', '503 5.5.1 BDAT LAST or RSET first'],
    ['', ['BDAT x'], '501 syntax error in parameters', '501 5.5.4 syntax error in parameters'],
    ['', ['RSET'], '250 OK', '250 2.0.0 OK'],
    ['', ['NOOP'], '250 OK', '250 2.0.0 OK'],
    ['', ['VRFY x'], "252 $vrfy", "252 2.1.5 $vrfy"],
    ['', ['HELP'], qr/^214-This.*\n214 See/, qr/^214-2\.0\.0 This.*\n214 2\.0\.0 See/],
    ['', ['QUIT'], '221 mx.example.test closing connection. Have a wonderful day.',
        '221 2.0.0 mx.example.test closing connection. Have a wonderful day.'],
    ['', ['FOO'], '500 Unrecognized command', '500 5.5.2 Unrecognized command'],
    ['', ["NO\0OP"], '500 Unrecognized command: it holds a NUL byte', '500 5.5.2 Unrecognized command: it holds a NUL byte'],
    ['', ['x' x 3000], '500 Line too long', '500 5.5.2 Line too long'],
    # plugins
    ['mail=DENY', ['HELO x', 'MAIL FROM:<a@b.test>'], '550 <a@b.test>, denied', '550 5.7.1 <a@b.test>, denied'],
    ['mail=DENYSOFT', ['HELO x', 'MAIL FROM:<a@b.test>'], '450 <a@b.test>, temporarily denied',
        '450 4.7.1 <a@b.test>, temporarily denied'],
    ['mail=DENY:no (#5.1.8)', ['HELO x', 'MAIL FROM:<a@b.test>'], '550 no (#5.1.8)', '550 5.1.8 no'],
    ['mail=DENYSOFT:no (#5.1.8)', ['HELO x', 'MAIL FROM:<a@b.test>'], '450 no (#5.1.8)', '450 4.7.1 no (#5.1.8)'],
    ['mail=DENY:(#5.1.8)', ['HELO x', 'MAIL FROM:<a@b.test>'], '550 (#5.1.8)', qr/^550 5\.1\.8 ?/],
    ['mail=553,5.1.7:no', ['HELO x', 'MAIL FROM:<a@b.test>'], '553 no', '553 5.1.7 no'],
    ['mail=DENY:a|b', ['HELO x', 'MAIL FROM:<a@b.test>'], "550-a\n550 b", "550-5.7.1 a\n550 5.7.1 b"],
    ['rcpt=DENY', [@to_rcpt], '550 relaying denied', '550 5.7.1 relaying denied'],
    ['rcpt=DECLINED', [@to_rcpt], '450 No plugin decided if relaying is allowed',
        '450 4.7.1 No plugin decided if relaying is allowed'],
    ['rcpt=DENYSOFT_DISCONNECT', [@to_rcpt], '421 relaying denied', '421 4.7.1 relaying denied'],
    ['data=DENY', [@to_rcpt, 'DATA'], '554 Message denied', '554 5.7.1 Message denied'],
    ['data_post=DENYSOFT', [@to_rcpt, 'DATA', $end], '451 Message denied temporarily',
        '451 4.7.1 Message denied temporarily'],
    ['queue=DECLINED', [@to_rcpt, 'DATA', $end], '451 Queuing declined or disabled; try again later',
        '451 4.3.0 Queuing declined or disabled; try again later'],
    ['queue=OK:Queued! 123 qp 4', [@to_rcpt, 'DATA', $end], '250 Queued! 123 qp 4', '250 2.0.0 Queued! 123 qp 4'],
    ['queue=DENY:qq permanent problem (#5.3.0)', [@to_rcpt, 'DATA', $end], '554 qq permanent problem (#5.3.0)',
        '554 5.3.0 qq permanent problem'],
    ['noop=DENY', ['NOOP'], '500 Stop wasting my time.', '500 5.5.0 Stop wasting my time.'],
    ['noop=DONE:250 a', ['NOOP'], '250 a', '250 2.0.0 a'],
    ['noop=DONE:550 a (#5.7.2)', ['NOOP'], '550 a (#5.7.2)', '550 5.7.2 a'],
    ['noop=DONE:451 a', ['NOOP'], '451 a', '451 4.0.0 a'],
    ['quit=DONE:221 a', ['QUIT'], '221 a', '221 2.0.0 a'],
    ['vrfy=OK', ['VRFY x'], '250 User OK', '250 2.1.5 User OK'],
    ['vrfy=DENY', ['VRFY x'], '554 Access Denied', '554 5.7.1 Access Denied'],
    ['help=DENY', ['HELP'], '500 Syntax error, command not recognized', '500 5.5.2 Syntax error, command not recognized'],
    ['unrecognized_command=DENY:enough', ['FOO'], '521 enough', '521 5.5.1 enough'],
);
$t->config(max_recipients => 2);
$t->config(databytes => 1500);
$t->config(max_hops => 3);
for my $on (0, 1) {
    $t->config(enhanced_status_codes => $on);
    for my $row (@rows) {
        my ($probe, $lines, @replies) = @$row;
        my $want = $replies[$on];
        $d = $t->dialogue(env => {PROBE => $probe});
        my $got = $d->greeting;
        for my $line (@$lines) {
            $got = $d->say($line);
        }
        my $name = "$on: " . (($probe || '') . ' ' . join(' ', map { substr $_, 0, 40 } @$lines) =~ s/([^ -~])/./gr);
        ref $want ? like $got, $want, $name : is $got, $want, $name;
        $d->hangup;
    }
}

# Whatever is said: with 1 each line of each reply has a status of its class, but those of above.
$d = $t->dialogue(env => {PROBE => ''});
$d->say('EHLO x');
for my $line ('NOOP', 'MAIL FROM:<a@b.test>', 'MAIL FROM:<a', 'RCPT TO:<c@d.test>', 'RCPT TO:<c', 'RSET', 'RCPT', 'DATA',
    'BDAT 0', 'VRFY', 'HELP', 'EXPN', '', 'MAIL', 'MAIL FROM:<a@b.test>', 'DATA', 'RCPT TO:<c@d.test>', 'BDAT 0', 'DATA',
    'BDAT 0 LAST', 'QUIT') {
    my @lines = split /\n/, $d->say($line), -1;
    my @without = grep { !/^([245])\d\d[ -]\1\.\d{1,3}\.\d{1,3} ./ } @lines;
    is "@without", '', "'$line'";
}
done_testing;
