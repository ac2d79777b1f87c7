# HELO and EHLO: arguments, capabilities, order, what a second one does.
use strict;
use warnings;

use File::Basename qw(dirname);
use Test::More;

use lib dirname(__FILE__);
use Probe;
use Qpsmtpd::Test;

my $t = Qpsmtpd::Test->new(plugin_dirs => [Probe::dir()], plugins => ['probe:0', 'probe:1']);
my $d;

# fresh - a new dialogue in $d
sub fresh {
    my ($probe, %env) = @_;

    $d->hangup if $d;
    return $d = $t->dialogue(env => {PROBE => $probe, %env});
}

# gets - the reply to a line
sub gets {
    my ($line, $reply, $name) = @_;
    my $got = $d->say($line);

    return ref $reply ? like($got, $reply, $name || $line) : is($got, $reply, $name || $line);
}

my $hi = 'mx.example.test Hi localhost [127.0.0.1]';
my $helo = "250 $hi; I am so happy to meet you.";
my $ehlo = "250-$hi\n250-PIPELINING\n250-8BITMIME\n250 CHUNKING";

# ---- the replies ----

fresh('');
gets('HELO client.test', $helo);
gets('EHLO client.test', $ehlo);
gets('ehlo client.test', $ehlo, 'any case');
gets('EhLo  client.test  and more words', $ehlo, 'more blanks and words');
gets('NOOP hello', '250 [ehlo] [client.test]', 'the first word is the host');
gets('HELO [192.0.2.1]', $helo);
gets('EHLO [IPv6:2001:db8::1]', $ehlo);
gets('HELO -junk_!"', $helo, 'the engine does not judge it');
gets('NOOP hello', '250 [helo] [-junk_!"]', 'a second greeting replaces the first');
gets('HELO ' . 'x' x 1000, $helo, 'a long one');
gets('HELO', '501 helo requires domain/address - see RFC-2821 4.1.1.1');
gets('HELO   ', '501 helo requires domain/address - see RFC-2821 4.1.1.1', 'HELO and blanks');
gets('EHLO', '501 ehlo requires domain/address - see RFC-2821 4.1.1.1');
gets('NOOP hello', qr/^250 \[helo\] \[x+/, 'a wrong one leaves the greeting alone');
gets("HELO\tclient.test", '500 Unrecognized command', 'TAB does not separate');

fresh('', TCPREMOTEHOST => undef);
gets('HELO x', '250 mx.example.test Hi [127.0.0.1] [127.0.0.1]; I am so happy to meet you.', 'without a name');
fresh('', TCPREMOTEINFO => "j\noe");
gets('HELO x', '250 mx.example.test Hi j?oe@localhost [127.0.0.1]; I am so happy to meet you.', 'with ident');

# ---- capabilities ----

for my $case (['1000', 'SIZE 1000'], ['0', ''], ['', ''], ['garbage', ''], ['18446744073709551615',
    'SIZE 18446744073709551615'], ['00012', 'SIZE 12']) {
    my ($databytes, $line) = @$case;
    $t->config(databytes => $databytes);
    fresh('');
    gets('EHLO x', $line ? qr/^250-\Q$line\E$/m : qr/\A(?!.*SIZE)/s, "databytes '$databytes'");
}
fresh('', DATABYTES => 77);
gets('EHLO x', qr/^250-SIZE 77$/m, 'DATABYTES wins');
fresh('', DATABYTES => '');
$t->config(databytes => 5);
fresh('', DATABYTES => 'x');
gets('EHLO x', qr/\A(?!.*SIZE)/s, 'DATABYTES that is no number is no limit');
$t->config(databytes => 0);

$t->config(enhanced_status_codes => 1);
fresh('');
gets('EHLO x', qr/^250[- ]ENHANCEDSTATUSCODES$/m, 'enhanced_status_codes 1');
$t->config(enhanced_status_codes => 0);

fresh('probe:0/capability=OK:XPROBE A B');
gets('EHLO x', "$ehlo\n250 XPROBE A B" =~ s/250 CHUNK/250-CHUNK/r, 'what a plugin announces');
gets('EHLO x', "$ehlo\n250 XPROBE A B" =~ s/250 CHUNK/250-CHUNK/r, 'it is there once, again');
gets('MAIL FROM:<a@b.test> XPROBE=1', qr/^250 /, 'its word is a parameter then');
$d->say('EHLO');
gets('MAIL FROM:<a@b.test> XPROBE=1', qr/^250 /, 'also after a wrong EHLO');
gets('HELO x', $helo, 'after HELO');
gets('MAIL FROM:<a@b.test> XPROBE=1', '555 parameter not recognized', 'it is none');
gets('AUTH PLAIN', '500 Unrecognized command', 'AUTH is not announced and not known');
gets('STARTTLS', '500 Unrecognized command', 'nor STARTTLS');

$d = fresh('probe:0/capability=OK:XPROBE;probe:1/helo=DENY');
gets('EHLO x', qr/^250 XPROBE$/m, 'announced');
gets('HELO x', '550 HELO denied', 'a greeting that is refused');
gets('MAIL FROM:<a@b.test> XPROBE=1', qr/^250 /, 'does not take it back');

# ---- a greeting ends the transaction ----

for my $verb (qw(HELO EHLO)) {
    fresh('');
    gets('HELO x', $helo);
    gets('MAIL FROM:<a@b.test>', qr/^250 /);
    gets('RCPT TO:<a@b.test>', qr/^250 /);
    gets('NOOP note t k v', '250 set');
    gets($verb, qr/^501 /, "$verb without an argument");
    gets('NOOP rcpts', '250 1 <a@b.test>', 'does not end it');
    gets("$verb y", qr/^250/, "an accepted $verb");
    gets('NOOP rcpts', '250 0', 'does');
    gets('NOOP note t k', '250 (none)', 'with its notes');
    gets('RCPT TO:<a@b.test>', '503 Use MAIL before RCPT', 'MAIL is needed again');
    gets('MAIL FROM:<a@b.test>', qr/^250 /, 'and possible');
}

# ---- hooks ----

for my $verb (qw(helo ehlo)) {
    my $VERB = uc $verb;
    for my $case (
        ['DENY',                    "550 $VERB denied", 0],
        ['DENYSOFT',                "450 $VERB temporarily denied", 0],
        ['DENY_DISCONNECT',         "550 $VERB denied", 1],
        ['DENYSOFT_DISCONNECT',     "421 $VERB temporarily denied", 1],
        ['DENY:no|never',           "550-no\n550 never", 0],
        ['DENYSOFT:later',          '450 later', 0],
        ['DENY!:no',                '550 no', 1],
        ['554,5.7.1:mine',          '554 mine', 0],
        ['DONE:250 mine',           '250 mine', 0],
        ['DONE!:250 mine',          '250 mine', 1],
    ) {
        my ($result, $reply, $closed) = @$case;
        fresh("$verb=$result");
        gets("$VERB x", $reply, "$verb=$result");
        if ($closed) {
            ok $d->eof, 'closes';
            next;
        }
        gets('NOOP hello', '250 [] []', 'does not count as a greeting');
        gets('MAIL FROM:<a@b.test>', '503 please say hello first ...', 'MAIL still needs one');
        gets(($verb eq 'helo' ? 'EHLO' : 'HELO') . ' x', qr/^250/, 'the other verb may be tried');
        gets('MAIL FROM:<a@b.test>', qr/^250/, 'and then MAIL is welcome');
    }
    for my $result (qw(OK OK:text DECLINED BOGUS)) {
        fresh("$verb=$result");
        gets("$VERB x", $verb eq 'helo' ? $helo : $ehlo, "$verb=$result accepts");
    }
    fresh("$verb=DENY");
    gets(($verb eq 'helo' ? 'EHLO' : 'HELO') . ' first', qr/^250/);
    gets('MAIL FROM:<a@b.test>', qr/^250 /);
    gets("$VERB second", qr/^550 /, "a refused second $VERB");
    gets('NOOP hello', qr/ \[first\]$/, 'leaves the first alone');
    gets('NOOP sender', '250 <a@b.test>', 'and the transaction');

    fresh("${verb}_parse=OK:parsed.test");
    gets("$VERB x y", qr/^250/, "${verb}_parse: OK");
    gets('NOOP hello', "250 [$verb] [parsed.test]", 'its host name counts');
    gets($VERB, qr/^250/, 'even when nothing was said');
    is_deeply [(Probe::events($d, qr/${verb}(?:_parse)?/))[0 .. 2]],
        ["${verb}_parse x y", "$verb parsed.test", "$verb parsed.test"], 'and the hook gets it';
    fresh("${verb}_parse=DENY:bad");
    gets("$VERB x", '501 bad', "${verb}_parse: DENY");
    fresh("${verb}_parse=DENYSOFT");
    gets("$VERB x", '501 Syntax error in command', "${verb}_parse: DENYSOFT");
    gets('NOOP hello', '250 [] []', 'no greeting');
}
fresh('');
gets('HELO x', $helo);
is_deeply [Probe::events($d, qr/helo|reset_transaction/)],
    ['helo x', 'helo x', ('reset_transaction') x 2], 'the hook runs before the transaction ends';

done_testing;
