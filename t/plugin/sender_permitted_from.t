# What the plugin makes of each result, and what it asks. Whether the results are right: t/system/spf.t.
use strict;
use warnings;

use lib 't/system';
use Probe;
use Test::More;
use Time::HiRes qw(time);

use Qpsmtpd::DNS;
use Qpsmtpd::Test qw(wait_for);

my %zone = (
    'pass.test'      => {TXT => 'v=spf1 ip4:192.0.2.1 -all'},
    'Mixed.test'     => {TXT => 'v=spf1 ip4:192.0.2.1 -all'},
    'fail.test'      => {TXT => 'v=spf1 -all'},
    'softfail.test'  => {TXT => 'v=spf1 ~all'},
    'neutral.test'   => {TXT => 'v=spf1 ?all'},
    'empty.test'     => {TXT => 'v=spf1'},
    'none.test'      => {TXT => 'hello'},
    'permerror.test' => {TXT => 'v=spf1 nonsense -all'},
    'temperror.test' => {TXT => {rcode => 'SERVFAIL'}},
    'exp.test'       => {TXT => 'v=spf1 -all exp=why.exp.test'},
    'why.exp.test'   => {TXT => "%{i} is not ours\x07"},
    'told.test'      => {TXT => 'v=spf1 -all exp=why.told.test'},
    'why.told.test'  => {TXT => 'See http://told.test/?i=%{i}&s=%{S}&r=%{r}'},
    'long.test'      => {TXT => 'v=spf1 -all exp=why.long.test'},
    'why.long.test'  => {TXT => 'x' x 201},
    'v6.test'        => {TXT => 'v=spf1 ip6:2001:db8::/32 -all'},
);
my $dns = Qpsmtpd::DNS->new(\%zone);
my $probe = Probe::dir('probe');
my @alive;

# server - with this line for the plugin
sub server {
    my ($line, %config) = @_;
    my $t = Qpsmtpd::Test->new(
        plugins => ['check_relay', $line, 'rcpt_ok', 'queue/maildir Maildir', 'probe'], plugin_dirs => [$probe],
        config => {rcpthosts => 'ours.test', relayclients => '198.51.100.1', dns_servers => $dns->address,
            dns_timeout => 1, dns_tries => 1, %config});

    push @alive, $t;
    return $t;
}

sub dialogue {
    my ($t, $ip, $helo) = @_;
    my $d = $t->dialogue(env => {TCPREMOTEIP => defined $ip ? $ip : '192.0.2.1', TCPREMOTEHOST => undef});

    $d->say('EHLO ' . (defined $helo ? $helo : 'client.test'));
    return $d;
}

# replies - to MAIL and to RCPT
sub replies {
    my ($d, $from, $to) = @_;
    my $mail = $d->say("MAIL FROM:<$from>");
    my $rcpt = $mail =~ /^250/ ? $d->say('RCPT TO:<' . ($to || 'joe@ours.test') . '>') : '';

    return map { s/\s+\z//r } $mail, $rcpt;
}

# fields - the header of the one message that has arrived, unfolded
sub fields {
    my ($t) = @_;
    my ($message) = $t->maildir_messages;
    my ($header) = ($message || '') =~ /\A(.*?\n)\n/s;

    unlink glob $t->dir . '/Maildir/new/*';
    return split /\n/, ($header || '') =~ s/\n[ \t]+/ /gr;
}

# ---- each result at each level of reject ------------------------------------------------------------

my %why = (
    fail => 'domain of a@fail.test does not designate 192.0.2.1 as permitted sender',
    softfail => 'domain of transitioning a@softfail.test does not designate 192.0.2.1 as permitted sender',
    neutral => '192.0.2.1 is neither permitted nor denied by domain of a@neutral.test',
    none => 'domain of a@none.test does not provide an SPF record',
    permerror => 'error in processing during lookup of a@permerror.test: unknown or ill-formed: nonsense',
    temperror => 'error in processing during lookup of a@temperror.test: SERVFAIL for temperror.test',
);
my %table = (    # what is said at reject 0 .. 6; '' lets pass
    pass => [('') x 7],
    fail => ['', '', '450 SPF - fail: ', ('550 SPF - forgery: ') x 4],
    softfail => ['', '', '', '450 SPF - fail: ', ('550 SPF - fail: ') x 3],
    neutral => [('') x 5, ('550 SPF - neutral: ') x 2],
    none => [('') x 6, '550 SPF - none: '],
    permerror => [('') x 4, ('450 SPF - permerror: ') x 2, '550 SPF - permerror: '],
    temperror => ['', '', ('450 SPF - temperror: ') x 5],
);
for my $reject (0 .. 6) {
    my $d = dialogue(server("sender_permitted_from reject $reject"));
    for my $result (sort keys %table) {
        my $text = $table{$result}[$reject];
        is +(replies($d, "a\@$result.test"))[1],
            $text ? $text . $why{$result} : '250 <joe@ours.test>, recipient ok', "reject $reject: $result";
    }
    $d->quit;
    is $d->status, 0, 'it ends well';
}

# level - which of the levels this configuration is, by what it refuses
sub level {
    my ($d) = (dialogue(server(@_)));

    return join ' ', map { (replies($d, "a\@$_.test"))[1] =~ /^(\d)/ ? $1 : '?' } qw(fail softfail neutral none permerror);
}
my %level = (1 => '2 2 2 2 2', 2 => '4 2 2 2 2', 3 => '5 4 2 2 2', 4 => '5 5 2 2 4', 5 => '5 5 5 2 4', 6 => '5 5 5 5 5');
is level('sender_permitted_from'), $level{3}, 'the default is reject 3';
is level('sender_permitted_from spf_deny 0'), $level{1}, 'spf_deny 0 is reject 1';
is level('sender_permitted_from spf_deny 1'), $level{3}, 'spf_deny 1 is reject 3';
is level('sender_permitted_from spf_deny 2'), $level{4}, 'spf_deny 2 is reject 4';
is level('sender_permitted_from', spfbehavior => "# qmail's\n5\n"), $level{5}, 'spfbehavior is taken';
is level('sender_permitted_from reject 6', spfbehavior => '2'), $level{6}, 'reject wins over it';

# ---- where it is said, and to whom ------------------------------------------------------------------

my $t = server('sender_permitted_from');
my $d = dialogue($t);
for my $to (qw(postmaster@ours.test ABUSE@ours.test mailer-daemon@ours.test root@ours.test postmaster)) {
    like +(replies($d, 'a@fail.test', $to))[1], qr/^250 /, "$to is reachable";
}
like +(replies($d, 'a@fail.test', 'postmaster1@ours.test'))[1], qr/^550 /, 'others are not';

$d = dialogue(server('sender_permitted_from defer 0'));
is +(replies($d, 'a@fail.test'))[0], "550 SPF - forgery: $why{fail}", 'defer 0 refuses the sender';
like +(replies($d, 'a@pass.test'))[1], qr/^250 /, 'and after that takes a good one';

$d = dialogue(server('sender_permitted_from reject 6', enhanced_status_codes => 1));
like +(replies($d, 'a@fail.test'))[1], qr/^550 5\.7\.23 SPF - forgery: /, 'RFC 7372: failed';
like +(replies($d, 'a@temperror.test'))[1], qr/^450 4\.7\.24 SPF - temperror: /, 'RFC 7372: did not work';
like +(replies($d, 'a@permerror.test'))[1], qr/^550 5\.7\.24 SPF - permerror: /, 'for good';

# ---- the words of the domain ------------------------------------------------------------------------

$d = dialogue($t);
is +(replies($d, 'a+b@told.test'))[1],
    '550 SPF - forgery: told.test explains: See http://told.test/?i=192.0.2.1&s=a%2Bb%40told.test&r=mx.example.test',
    'are given as such';
like +(replies($d, 'a@long.test'))[1], qr/^550 SPF - forgery: domain of a\@long\.test does not /, 'too many are not given';
like +(replies($d, 'a@exp.test'))[1], qr/^550 SPF - forgery: [ -~]+\z/, 'control bytes never reach the client';

# ---- the null sender --------------------------------------------------------------------------------

$d = dialogue($t, undef, 'fail.test');
is +(replies($d, ''))[1],
    '550 SPF - forgery: domain of postmaster@fail.test does not designate 192.0.2.1 as permitted sender',
    'the HELO name is checked';
$d = dialogue($t, undef, 'pass.test');
like +(replies($d, ''))[1], qr/^250 /, 'and passes';
$d->data("Subject: bounce\n\nx\n");
is_deeply [grep { /^Received-SPF|spf=/ } fields($t)], [
    'Received-SPF: pass (mx.example.test: domain of postmaster@pass.test designates 192.0.2.1 as permitted sender)'
        . ' client-ip=192.0.2.1; envelope-from="<>"; helo=pass.test; receiver=mx.example.test; identity=helo;'
        . ' mechanism="ip4:192.0.2.1"',
    'Authentication-Results: mx.example.test; auth=none; spf=pass smtp.helo=pass.test',
], 'as the headers say';
like +(replies(dialogue($t, undef, '[192.0.2.1]'), ''))[1], qr/^250 /, 'an address literal has no record';

# ---- headers and notes ------------------------------------------------------------------------------

# noted - what other plugins find
sub noted {
    my ($d, $scope, $name) = @_;

    return $d->say("NOOP note $scope $name") =~ s/^250 (.*?)\s*\z/$1/r;
}

$d = dialogue($t);
is_deeply [replies($d, 'Joe@Mixed.test')], ['250 <Joe@Mixed.test>, sender OK - how exciting to get mail from you!',
    '250 <joe@ours.test>, recipient ok'], 'a pass';
is noted($d, 't', 'dmarc_spf'), 'domain=Mixed.test scope=mfrom result=pass', 'note dmarc_spf';
is noted($d, 't', 'spf_pass_host'), 'mixed.test', 'note spf_pass_host';
is noted($d, 't', 'authentication_results'), 'spf=pass smtp.mailfrom=Mixed.test', 'note authentication_results';
is noted($d, 'c', 'karma'), '1', 'karma goes up';
$d->data("Received-SPF: pass (forged)\nSubject: x\n\nx\n");
my @fields = grep { !/^(?:Return-Path|Delivered-To):/ } fields($t);
is $fields[0],
    'Received-SPF: pass (mx.example.test: domain of Joe@Mixed.test designates 192.0.2.1 as permitted sender)'
    . ' client-ip=192.0.2.1; envelope-from="Joe@Mixed.test"; helo=client.test; receiver=mx.example.test;'
    . ' identity=mailfrom; mechanism="ip4:192.0.2.1"', 'Received-SPF is above our Received, and above that of others';
is scalar(grep({ /^Received-SPF: / } @fields)), 2, 'which stay';

$d->say('MAIL FROM:<a@none.test>');
$d->say('NOOP note t authentication_results iprev=pass');
$d->say('RCPT TO:<joe@ours.test>');
is noted($d, 't', 'authentication_results'), 'iprev=pass; spf=none smtp.mailfrom=none.test', 'a second mail is checked anew';
is noted($d, 't', 'spf_pass_host'), '(none)', 'what was noted for the first is gone';
is noted($d, 'c', 'karma'), '1', 'no karma for none';
replies($d, 'a@softfail.test');
is noted($d, 'c', 'karma'), '0', 'it goes down for softfail';

my %field = (
    permerror => 'permerror (mx.example.test: error in processing during lookup of a@permerror.test: unknown or ill-formed:'
        . ' nonsense) client-ip="2001:db8::1"; envelope-from="a@permerror.test"; helo="c\\"l\\\\(i)"; receiver=mx.example.test;'
        . ' identity=mailfrom; mechanism=default; problem="unknown or ill-formed: nonsense"',
    v6 => 'pass (mx.example.test: domain of a@v6.test designates 2001:db8::1 as permitted sender)'
        . ' client-ip="2001:db8::1"; envelope-from="a@v6.test"; helo="c\\"l\\\\(i)"; receiver=mx.example.test;'
        . ' identity=mailfrom; mechanism="ip6:2001:db8::/32"',
    empty => 'neutral (mx.example.test: 2001:db8::1 is neither permitted nor denied by domain of a@empty.test)'
        . ' client-ip="2001:db8::1"; envelope-from="a@empty.test"; helo="c\\"l\\\\(i)"; receiver=mx.example.test;'
        . ' identity=mailfrom; mechanism=default',
);
$d = dialogue($t, '2001:db8::1', 'c"l\\(i)');
for my $domain (sort keys %field) {
    replies($d, "a\@$domain.test");
    $d->data("Subject: x\n\nx\n");
    is +(grep { /^Received-SPF/ } fields($t))[0], "Received-SPF: $field{$domain}", "the field of $domain";
}
replies($d, '"(b\\\\"@none.test');
$d->data("Subject: x\n\nx\n");
like +(grep { /^Received-SPF/ } fields($t))[0],
    qr/^Received-SPF: none \(\S+: domain of \\\(b\\\\\@none\.test does .*envelope-from="\(b\\\\\@none\.test"/,
    'a sender cannot end the comment or the quotes';

# ---- who is not checked -----------------------------------------------------------------------------

$dns->clear;
$d = dialogue($t, '198.51.100.1');
like +(replies($d, 'a@fail.test'))[1], qr/^250 /, 'a relay client is not checked';
is noted($d, 't', 'dmarc_spf'), 'domain=fail.test scope=mfrom result=pass', 'and counts as passed';
$d->data("Subject: x\n\nx\n");
is scalar(grep({ /SPF|spf/ } fields($t))), 0, 'no header';
$d = $t->dialogue(env => {TCPREMOTEIP => undef, TCPREMOTEHOST => undef, PROTO => undef}, pipe => 1);
$d->say('EHLO a.test');
like +(replies($d, 'a@fail.test'))[1], qr/^250 /, 'nor is a client without address';
is noted($d, 't', 'dmarc_spf'), '(none)', 'of which nothing is known';
is_deeply [$dns->queries], [], 'nobody asks the DNS for them';
$d = dialogue($t);
$d->say('NOOP note c whitelisthost 1');
like +(replies($d, 'a@fail.test'))[1], qr/^250 /, 'nor one that a white list has marked';

# ---- lookups ----------------------------------------------------------------------------------------

# asked - the first questions, once there are so many
sub asked {
    my ($n) = @_;

    wait_for(sub { $dns->queries >= $n }, 20, "$n questions");
    return [$dns->queries];
}

$dns->clear;
$d = dialogue($t, undef, 'helo.pass.test');
is_deeply asked(1), ['TXT helo.pass.test'], 'the HELO name is asked for when it is known';
$d->say('MAIL FROM:<a@pass.test>');
is_deeply asked(2), ['TXT helo.pass.test', 'TXT pass.test'], 'the sender at MAIL';
$d->say("RCPT TO:<$_\@ours.test>") for qw(a b c);
is scalar($dns->queries), 2, 'and nothing twice';
$d->say('EHLO [192.0.2.1]');
$d->say('EHLO localhost');
replies($d, 'a@[192.0.2.1]');
is scalar($dns->queries), 2, 'what cannot have a record is not asked for';

{
    my $slow = Qpsmtpd::DNS->new({
        'many.test' => {A => '198.51.100.9', MX => '10 h1.test',
            TXT => 'v=spf1 a mx a:h2.test include:one.test include:two.test ip4:192.0.2.1 a:never.test -all'},
        'one.test' => {TXT => 'v=spf1 a:h1.test a:h2.test ?all'},
        'two.test' => {TXT => 'v=spf1 a:h3.test -all'},
        map({ $_ => {A => '198.51.100.9'} } qw(h1.test h2.test h3.test)),
    }, delay => 0.2);
    my $t = server('sender_permitted_from', dns_servers => $slow->address, dns_timeout => 5);
    my $d = dialogue($t);
    my $began = time;
    $d->say('MAIL FROM:<a@many.test>');
    cmp_ok time - $began, '<', 0.2, 'MAIL does not wait';
    like $d->say('RCPT TO:<joe@ours.test>'), qr/^250 /, 'a record with nine lookups';
    my $took = time - $began;
    diag sprintf 'nine lookups of 200 ms each took %.0f ms', 1000 * $took;
    cmp_ok $took, '<', 1.2 * Qpsmtpd::Test::seconds(1), 'costs its depth, not their sum';
    is $slow->count(qr/never/), 0, 'behind the address that decides nothing is asked';
}

# ---- name servers that lie or die -------------------------------------------------------------------

$dns->zone({
    map({ ("n$_.test" => {TXT => 'v=spf1 include:n' . ($_ + 1) . '.test -all'}) } 1 .. 50),
    'self.test' => {TXT => 'v=spf1 redirect=self.test'},
    'cname.test' => {CNAME => 'cname2.test'}, 'cname2.test' => {CNAME => 'cname.test'},
    'big.test' => {TXT => 'v=spf1 ' . 'a ' x 5000 . '-all'},
    'mania.test' => {TXT => 'v=spf1 ' . join(' ', map { 'exists:' . '%{s}' x 100 } 1 .. 9) . ' -all'},
    'garbage.test' => {fault => 'garbage'},
    'two.test' => {TXT => ['v=spf1 -all', 'v=spf1 +all']},
    'mx.test' => {TXT => 'v=spf1 mx -all', MX => [map { "$_ h$_.test" } 10 .. 21], },
    'voids.test' => {TXT => 'v=spf1 a:v1.test a:v2.test a:v3.test +all'},
    'silent.test' => {drop => 1},
});
my $all = server('sender_permitted_from reject 6', dns_queries_max => 40);
my %problem = (
    n1 => 'permerror: .*: more than 10 lookups, the next would be include:n12\.test',
    self => 'permerror: .*: more than 10 lookups',
    cname => 'temperror: .*: MALFORMED for cname\.test',
    big => 'permerror: ',
    mania => 'permerror: .*: more than 2 lookups found nothing',
    garbage => 'temperror: .*: (?:MALFORMED|TIMEOUT) for garbage\.test',
    two => 'permerror: .*: two SPF records for two\.test',
    mx => 'permerror: .*: more than 10 MX for mx',
    voids => 'permerror: .*: more than 2 lookups found nothing',
);
for my $domain (sort keys %problem) {
    my $d = dialogue($all);
    $dns->clear;
    like +(replies($d, "a\@$domain.test"))[1], qr/^[45]50 SPF - $problem{$domain}/, "$domain.test";
    $d->quit;
    is $d->status, 0, 'it ends well';
    is $dns->count(qr/^TXT n\d+\.test$/), 1 + 10, 'of fifty nested includes ten were looked up' if $domain eq 'n1';
}
{
    my $t = server('sender_permitted_from', dns_hook_timeout => 1, dns_timeout => 5);
    my $d = dialogue($t);
    my $began = time;
    like +(replies($d, 'a@silent.test'))[1],
        qr/^450 SPF - temperror: .*: TIMEOUT for silent\.test/, 'nobody answers: temperror';
    cmp_ok time - $began, '<', 1 + Qpsmtpd::Test::seconds(1), 'within the budget of the hook';
}

# ---- configuration ----------------------------------------------------------------------------------

for my $case (
    ['sender_permitted_from reject 7', qr{config/plugins:2: sender_permitted_from: .*reject}],
    ['sender_permitted_from reject naughty', qr{config/plugins:2: sender_permitted_from: .*reject}],
    ['sender_permitted_from spf_deny 3', qr{config/plugins:2: sender_permitted_from: .*spf_deny}],
    ['sender_permitted_from reject 2 spf_deny 1', qr{config/plugins:2: .*write reject 2 alone}],
    ['sender_permitted_from no_dmarc_policy 1', qr{config/plugins:2: .*no_dmarc_policy needs the plugin dmarc}],
    ['sender_permitted_from local include:a.test', qr{config/plugins:2: .*local and include are gone}],
    ['sender_permitted_from defer maybe', qr{config/plugins:2: sender_permitted_from: .*defer}],
    ['sender_permitted_from', qr{config/spfbehavior:2: .*"7" is no number from 0 to 6}, "# no\n7\n"],
    ['sender_permitted_from', qr{config/spfbehavior:1: .*"3 4" is no number}, '3 4'],
) {
    my ($line, $why, $behavior) = @$case;
    my ($status, $output) = server($line, defined $behavior ? (spfbehavior => $behavior) : ())->check;
    is $status, 1, "refuses the start: $line" . (defined $behavior ? ', spfbehavior' : '');
    like $output, $why, 'and says where and why';
}
my ($status, $output) = server('sender_permitted_from trust 1 guess 0 no_dmarc_policy 0')->check;
is $status, 0, 'options of r356 that mean nothing any more are taken';
like $output, qr{config/plugins:2: "$_" changes nothing any more}, "with a warning: $_" for qw(trust guess);

done_testing;
