use strict;
use warnings;

use MIME::Base64 qw(encode_base64);
use MIME::QuotedPrint qw(encode_qp);
use Test::More;
use Time::HiRes qw(time);

use Qpsmtpd::DNS;
use Qpsmtpd::Test;

my $dns = Qpsmtpd::DNS->new({
    'bad.example.com.bl.test'     => {A => '127.0.0.2'}, # never asked: only the registered domain is
    'example.com.bl.test'         => {A => '127.0.0.2', TXT => 'spammers'},
    'example.org.bl.test'         => {A => '127.0.0.8'},
    'example.net.bl.test'         => {A => '127.0.0.1'},
    'example.co.uk.bl.test'       => {A => '127.0.0.2', TXT => "two\r\nlines\x00\xff"},
    '1.2.0.192.bl.test'           => {A => '127.0.0.2', TXT => 'address'},
    Qpsmtpd::DNS::reverse('2001:db8::1', 'bl.test') => {A => '127.0.0.2', TXT => 'six'},
    'refused.com.bl.test'         => {A => '127.255.255.254'},
    'elsewhere.com.bl.test'       => {A => '192.0.2.1'},
    'several.com.bl.test'         => {A => ['127.255.255.1', '127.0.0.4'], TXT => ['one', 'two']},
    'long.com.bl.test'            => {A => '127.0.0.2', TXT => 'y' x 3000},
    'slow.com.bl.test'            => {A => '127.0.0.2', TXT => {data => 'never', drop => 1}},
    'broken.com.bl.test'          => {rcode => 'SERVFAIL'},
    'silent.com.bl.test'          => {drop => 1},
    'example.com.other.test'      => {A => '127.0.0.2', TXT => 'other says'},
});

my $t = Qpsmtpd::Test->new(config => {rcpthosts => 'example.test', dns_servers => $dns->address});
mkdir $t->dir . "/$_" for qw(Maildir Maildir/new Maildir/cur Maildir/tmp);

sub configure {
    my ($args, $zones, @friends) = @_;

    $t->config(plugins => ['check_relay', "uribl $args", 'rcpt_ok', 'queue/maildir Maildir']);
    $t->config(uribl_zones => $zones);
    $t->config(uribl_whitelist_domains => \@friends);
}

# deliver - the reply to a message, the names asked for, the fields added, the log
sub deliver {
    my ($message) = @_;
    my $d = $t->dialogue(env => {TCPREMOTEIP => '192.0.2.99', TCPREMOTEHOST => undef});

    $message = "Subject: x\n\n$message" unless $message =~ /\A(?:Content-|Subject|MIME-)[\w-]*:/;
    $dns->clear;
    unlink glob $t->dir . '/Maildir/new/*';
    my $reply = $d->deliver('a@client.test', 'b@example.test', $message);
    $d->quit;
    is $d->status, 0, 'ends well' if $d->status;
    my ($stored) = $t->maildir_messages;
    my @fields = defined $stored ? $stored =~ /^(X-URIBL-Match: .*(?:\n[ \t].*)*)/mg : ();
    my @asked = map { /^A (.*)\.bl\.test$/ ? $1 : () } $dns->queries;
    return {reply => $reply, asked => \@asked, fields => \@fields, log => $d->log};
}

# ---- which hosts -----------------------------------------------------------------------------------

configure('action log', 'bl.test', 'friend.com', 'sub.good.org');
my $html = '<html><a href="http://www.example.com/">x</a></html>';
my $mixed = <<'E2';
MIME-Version: 1.0
Content-Type: multipart/mixed; charset=x;
 boundary="b 1"

preamble.com
--b 1
Content-Type: multipart/alternative; boundary=b2

--b2

http://plain.com/
--b2
content-type: TEXT/HTML
content-transfer-encoding: Quoted-Printable

<a href=3D"http://www.qu=
oted.com/=3D">
--b2--
epilogue.com
--b 1
Content-Type: image/png
Content-Transfer-Encoding: base64

aHR0cDovL2V4YW1wbGUuY29tLw==
--b 1
Content-Type: application/octet-stream

http://binary.com/
--b 1
Content-Type: message/rfc822

Subject: inner.com
Content-Type: text/plain
Content-Transfer-Encoding: base64

aHR0cDovL2luLWJhc2U2NC5jb20v
--b 1--
http://after.com/
E2

for my $case (
    # ---- names ----
    ['http://www.example.com/path',             'example.com', 'a URL'],
    ['HTTPS://WWW.EXAMPLE.COM',                 'example.com', 'in capitals'],
    ['see www.example.com.',                    'example.com', 'a name in a sentence'],
    ['example.com, (example.org) <example.net>', 'example.com example.org example.net', 'names without www'],
    ['http://a.b.c.example.co.uk/',             'example.co.uk', 'the registered domain alone'],
    ['http://com/ http://co.uk/ www.com.',      'www.com', 'a public suffix is no domain'],
    ['x http://example.com/ http://x.example.com/', 'example.com', 'once each'],
    ['http://user:pw@example.com:8080/?q',      'example.com', 'with user and port'],
    ['http://good.org@example.com/',            'good.org example.com', 'with a user that looks like a host'],
    ['mail joe@example.com',                    'example.com', 'an address'],
    ['report.txt v1.2.3 a.b 10.30 foo..com .com com. -- e.g.', '', 'no names'],
    ['http://example.com..evil.com',            'evil.com', 'an empty label ends a name'],
    ["http://b\xc3\xbc.example.com/ b\xc3\xbccher.com", 'example.com', '8-bit labels are no part of a name'],
    ['http://xn--bcher-kva.com/',               'xn--bcher-kva.com', 'but their other form is'],
    ['http://' . 'a.' x 200 . 'example.com/',   'example.com', 'a name that is too long still has an end'],
    ['http://' . 'a' x 80 . '.com/',            '', 'a label that is too long'],
    # ---- disguises ----
    ['http://www.ex%61mple%2Ecom/',             'example.com', '%XX'],
    ['http://r.org/?u=http%3A%2F%2Fexample.com', 'r.org example.com', 'a URL in a URL'],
    ['http://www&#46;example&#x2e;com/ &#0; &#; &#x; &#99999999999;', 'example.com', 'numeric entities'],
    ['http://www.example&period;com/?a&amp;b',  'example.com', 'named ones'],
    ["http://www.example\xe3\x80\x82com/",      'example.com', 'an ideographic full stop'],
    ["http://ex\xc2\xadam\xe2\x80\x8bple.com/", 'example.com', 'what cannot be seen'],
    ['% %2 %zz & &# &#x; %', '', 'halves of them'],
    # ---- addresses ----
    ['http://192.0.2.1/ and 192.0.2.7',         '1.2.0.192', 'an address in a URL, but not elsewhere'],
    ['http://3221225985/',                      '1.2.0.192', 'as a number'],
    ['http://u:p@0xc0.0.0x2.01:80/',            '1.2.0.192', 'octal and hexadecimal'],
    ['http://[2001:DB8::1]/',                   Qpsmtpd::DNS::reverse('2001:db8::1', 'x') =~ s/\.x$//r, 'IPv6'],
    ['http://1/ http://[::g]/ http://1.2.3.4.5/ http://999999999999/ http:// ://', '', 'no addresses'],
    # ---- friends ----
    ['http://www.friend.com/ http://friend.com http://good.org', 'good.org', 'a domain of the white list'],
    ['http://sub.good.org/ http://x.sub.good.org/', '', 'or a part of one'],
    # ---- MIME ----
    [$mixed, 'plain.com quoted.com in-base64.com', 'text parts, decoded, and no others'],
    ["Content-Type: text/html\nContent-Transfer-Encoding: base64\n\n" . encode_base64('x' x 100 . " $html"), 'example.com',
        'a message that is base64 as a whole'],
    ["Content-Type: text/html\nContent-Transfer-Encoding: base64\n\n" . encode_base64($html) =~ s/(.)/$1 \n/gr,
        'example.com', 'in strange lines'],
    ["Content-Type: text/html\nContent-Transfer-Encoding: quoted-printable\n\n" . encode_qp('y' x 200 . " $html"),
        'example.com', 'or quoted-printable'],
    ["Content-Transfer-Encoding: quoted-printable\n\n=\n==4\n=zz \nexam=  \nple=2Ecom=", 'example.com', 'badly'],
    ["Content-Type: application/pdf\n\nexample.com", '', 'a message that is no text'],
    ["Content-Type: html\n\nexample.com", 'example.com', 'a type that is none'],
    ["Content-Type: multipart/mixed\n\n--x\n\nexample.com", 'example.com', 'multipart without boundary'],
    ["Content-Type: multipart/mixed; boundary=\"\"\n\n--\n\nexample.com", 'example.com', 'with an empty one'],
    ["Content-Type: multipart/mixed; boundary=" . 'x' x 900 . "\n\n--x\n\nexample.com", 'example.com', 'with a long one'],
    ["Content-Type: multipart/mixed; boundary=x\n\n--x\n\nexample.com", 'example.com', 'without an end'],
    ["Content-Type: multipart/mixed; boundary=x\n\n--x", '', 'without a beginning'],
    ["Content-Type: multipart/mixed; boundary=x\n\n" . join('', map { "--x\nContent-Type: multipart/a; boundary=x\n\n" } 1 .. 50)
        . "--x\n\nexample.com", 'example.com', 'a boundary that never changes'],
    [join('', map { ($_ > 1 ? '--b' . ($_ - 1) . "\n" : '') . "Content-Type: multipart/a; boundary=b$_\n\n" } 1 .. 60)
        . "example.com", 'example.com', 'too deep'],
    # ---- long ones ----
    ['z' x 8180 . ' http://www.example.com/ ' . 'z' x 9000, 'example.com', 'a name at the end of a buffer'],
    ['z ' x 20000 . ' http://www.example.com/', 'example.com', 'in a line of 40000 bytes'],
    ['z' x 100_000, '', 'a line without a blank'],
    ["\0" x 500 . " www.example.com\0\0", 'example.com', 'NUL bytes'],
    ['', '', 'nothing'],
) {
    my ($body, $asked, $name) = @$case;
    my $r = deliver($body);
    is join(' ', sort @{$r->{asked}}), join(' ', sort split / /, $asked), $name or diag $r->{log};
    like $r->{reply}, qr/^250/, 'the message is taken' or diag $r->{log};
}

my $many = join ' ', map { "http://www.name$_.com/" } 1 .. 60;
my $r = deliver($many);
is scalar @{$r->{asked}}, 50, 'so many names are asked for';
like $r->{log}, qr/too many hosts, the others are not looked up max=50/, 'the others are not';
my $began = time;
$r = deliver("a.ab.com\n" x 300_000 . "http://www.example.com/\n");
is_deeply $r->{asked}, ['ab.com'], 'what is behind the first megabyte is not read';
cmp_ok time - $began, '<', 10 * ($ENV{TEST_SLOW} || 1), 'and that does not take long';

configure('action log checkip no', 'bl.test');
is_deeply deliver('http://192.0.2.1/ example.com')->{asked}, ['example.com'], 'checkip no';
my $fields = "Subject: www.example.com\nReceived: from relay.example.org\nFrom: a\@example.net\n\n";
is_deeply deliver("$fields hello")->{asked}, [], 'the header is not read';
for my $option (qw(check-headers scan-headers)) {
    configure("$option 1", 'bl.test');
    is_deeply [sort @{deliver("$fields hello")->{asked}}], ['example.com', 'example.net'],
        "$option 1: but for what relays have added";
}

# ---- what is a match -------------------------------------------------------------------------------

configure('', 'bl.test');
for my $case (
    ['http://www.example.com', ['example.com in bl.test: spammers'], 'listed'],
    ['http://x.example.org',   ['example.org in bl.test: 127.0.0.8'], 'without TXT'],
    ['http://192.0.2.1/',      ['192.0.2.1 in bl.test: address'], 'an address'],
    ['http://[2001:db8::1]/',  ['2001:db8::1 in bl.test: six'], 'an IPv6 address'],
    ['a.example.net',          [], '127.0.0.1 is no listing'],
    ['refused.com',            [], 'nor is 127.255.255.254'],
    ['elsewhere.com',          [], 'nor 192.0.2.1'],
    ['several.com',            ['several.com in bl.test: one'], 'several records'],
    ['unlisted.com',           [], 'not listed'],
    ['broken.com',             [], 'SERVFAIL'],
    ['example.com example.org', ['example.org in bl.test: 127.0.0.8', 'example.com in bl.test: spammers'], 'two'],
) {
    my ($body, $match, $name) = @$case;
    my $r = deliver($body);
    is_deeply $r->{fields}, [map { "X-URIBL-Match: $_" } @$match], $name or diag $r->{log};
    like $r->{reply}, qr/^250/, 'the message is taken';
    unlike $r->{log}, qr/fail match/, 'nothing is logged' unless @$match;
}
like deliver('refused.com')->{log}, qr/no listing, ask the list why zone=bl\.test answer=127\.255\.255\.254/,
    'a list that refuses is logged';
$r = deliver('example.co.uk');
like $r->{fields}[0], qr/^X-URIBL-Match: example\.co\.uk in bl\.test: two[ -~]+$/, 'text from the DNS is made harmless';
like deliver('long.com')->{fields}[0], qr/: y{500}\z/, 'and cut before the line becomes too long';
deliver('example.com unlisted.com');
is scalar(grep { /^TXT/ } $dns->queries), 1, 'TXT is asked for matches only';
deliver('unlisted.com');
is scalar(grep { /^TXT/ } $dns->queries), 0, 'and not for others';

# ---- actions ---------------------------------------------------------------------------------------

for my $case (
    ['action deny',     'bl.test',                 qr/^554 .*example\.com in bl\.test: spammers/, 'deny'],
    ['action denysoft', 'bl.test',                 qr/^451 .*example\.com in bl\.test: spammers/, 'denysoft'],
    ['action log',      'bl.test',                 qr/^250/, 'log'],
    ['',                'bl.test deny',            qr/^554/, 'the action of the zone'],
    ['action deny',     'bl.test log',             qr/^250/, 'goes before that of the plugin'],
    ['action deny',     'bl.test 2',               qr/^554/, 'a mask that fits'],
    ['action deny',     'bl.test 4,8',             qr/^250/, 'one that does not'],
    ['action deny',     'bl.test 4,0x2',           qr/^554/, 'all its numbers count'],
    ['action deny',     'bl.test -1',              qr/^554/, 'a negative one is any'],
    ['',                'BL.test.  2,8  denysoft', qr/^451/, 'both, with blanks'],
    ['',                "bl.test log\nother.test deny", qr/^554 .*other\.test: other says/, 'one zone after the other'],
    ['action deny',     '',                        qr/^250/, 'no zones'],
) {
    my ($args, $zones, $reply, $name) = @$case;
    configure($args, $zones);
    my $r = deliver('http://www.example.com/');
    like $r->{reply}, $reply, "$name: $reply" or diag $r->{log};
    is_deeply $r->{fields}, [], 'no field' if $name eq 'log';
    like $r->{log}, qr/fail match="example\.com in bl\.test: spammers"/, 'logged' if $name eq 'log';
}
configure('action deny', 'bl.test noip');
like deliver('http://192.0.2.1/')->{reply}, qr/^250/, 'noip: no addresses for this zone';
like deliver('example.com')->{reply}, qr/^554/, 'but names';

configure('action deny', 'bl.test');
like deliver("line\n" x 3 . 'long.com')->{reply}, qr/^554 .*long\.com in bl\.test: y{100}/, 'a long text is cut';
$t->config(relayclients => '192.0.2.99');
$r = deliver('example.com');
like $r->{reply}, qr/^250/, 'immune clients are not refused';
is_deeply $r->{asked}, [], 'nor is anything asked';
$t->config(relayclients => '192.0.2.98');

# ---- hostile and dead servers ----------------------------------------------------------------------

sub timed {
    my ($body) = @_;
    my $begin = time;
    my $r = deliver($body);

    return ($r, time - $begin);
}

my $slow = $ENV{TEST_SLOW} || 1;
configure('action deny timeout 1s', 'bl.test');
($r, my $took) = timed('silent.com example.com');
like $r->{reply}, qr/^554 .*example\.com/, 'a name without an answer does not hide another';
cmp_ok $took, '<', 1 + 3 * $slow, 'nor hold it up longer than timeout';
($r, $took) = timed('slow.com');
like $r->{reply}, qr/^554 .*slow\.com in bl\.test: 127\.0\.0\.2/, 'a listing whose text does not come';
cmp_ok $took, '<', 1 + 3 * $slow, 'within timeout';

my $late = Qpsmtpd::DNS->new({'*.bl.test' => {A => '127.0.0.2', TXT => 'late'}}, delay => 0.4);
$t->config(dns_servers => $late->address);
configure('', "bl.test\na.bl.test\nb.bl.test");
($r, $took) = timed(join ' ', map { "x$_.com" } 1 .. 10);
is scalar @{$r->{fields}}, 30, 'thirty matches';
cmp_ok $took, '<', 0.4 * 10 * $slow, sprintf 'thirty lookups and thirty texts of 0.4 s take %.1f s', $took;

my $dead = Qpsmtpd::DNS->new({}, silent => 1);
$t->config(dns_servers => $dead->address);
configure('action deny timeout 1s', "bl.test\nother.test");
($r, $took) = timed($many);
like $r->{reply}, qr/^250/, 'a dead server refuses nothing';
like $r->{log}, qr/lookup failed name=name1\.com\.bl\.test status=TIMEOUT.*more lookups failed count=99/s,
    'but is logged, in two lines';
cmp_ok $took, '<', 1 + 3 * $slow, sprintf 'and costs no more than timeout, for fifty names: %.1f s', $took;

for my $fault (qw(wrong_id garbage rdlength self_pointer bad_a empty)) {
    my $dns = Qpsmtpd::DNS->new({'*.bl.test' => {A => '127.0.0.2', fault => $fault}});
    $t->config(dns_servers => $dns->address);
    ($r, $took) = timed('example.com');
    like $r->{reply}, qr/^250/, "$fault is no match";
    cmp_ok $took, '<', 1 + 3 * $slow, 'in time';
}
$t->config(dns_servers => $dns->address);

# What one connection may ask. Zones: bl.test, other.test.
$t->config(dns_queries_max => 11);
$r = deliver('a1.com a2.com a3.com');
like $r->{reply}, qr/^250/, 'one message does not use it up:';
is_deeply $r->{asked}, ["a1.com", "a2.com"], 'less than half of the questions are asked for it';
like $r->{log}, qr/too many hosts, the others are not looked up max=2/, '... which is logged';

# messages - the replies to several over one connection
sub messages {
    my $d = $t->dialogue(env => {TCPREMOTEIP => '192.0.2.99', TCPREMOTEHOST => undef});
    my @replies = map { $d->deliver('a@client.test', 'b@example.test', "Subject: x\n\n$_\n") } @_;
    return (\@replies, $d);
}
my ($replies, $over) = messages('a1.com a2.com', 'a3.com a2.com', 'a1.com a5.com', 'a4.com a6.com');
is_deeply [map { substr $_, 0, 3 } @$replies], [250, 250, 250, 421], 'many messages do: 421';
ok $over->eof, '... and closed';
like $replies->[3], qr/too many names were looked up for this connection, try again/, 'the text';
like $over->log, qr/lookup failed name=a6\.com\.other\.test status=BUDGET/, '... and the log';
($replies) = messages('a1.com a2.com', 'a3.com a4.com', 'example.com');
like $replies->[2], qr/^554 /, 'what was found still refuses';
configure('action log', "bl.test\nother.test");
($replies) = messages('a1.com a2.com', 'a3.com a4.com', 'a5.com a6.com');
like $replies->[2], qr/^250/, 'zones that only log refuse nothing';
configure('action deny', "bl.test\nother.test");
$t->config(dns_queries_max => 200);
my $crowd = Qpsmtpd::DNS->new({'*.bl.test' => {A => {many => 1000}}});
$t->config(dns_servers => $crowd->address);
$r = deliver('example.com');
like $r->{reply}, qr/^250/, 'a thousand wrong addresses';
is scalar(() = $r->{log} =~ /no listing/g), 1, 'are one line of log';
$t->config(dns_servers => $dns->address);

# ---- through the daemon ----------------------------------------------------------------------------

configure('action deny', 'bl.test');
my $server = $t->prefork;
my $d = $server->connect;
like $d->deliver('a@client.test', 'b@example.test', "Subject: x\n\nhttp://www.example.com/\n"),
    qr/^554 .*example\.com in bl\.test: spammers/, 'the daemon refuses it';
like $d->deliver('a@client.test', 'b@example.test', "Subject: x\n\nhello\n"), qr/^250/, 'and takes the next one';
$d->quit;
is $server->stop, 0, 'it ends well';

# ---- refused at start ------------------------------------------------------------------------------

for my $case (
    ['colour blue',     'bl.test',            qr/plugins:2: .*colour/, 'an unknown option'],
    ['action refuse',   'bl.test',            qr/plugins:2: .*action/, 'an unknown action'],
    ['timeout 0',       'bl.test',            qr/plugins:2: .*timeout/, 'no time'],
    ['timeout 1h',      'bl.test',            qr/plugins:2: .*timeout/, 'too much time'],
    ['checkip perhaps', 'bl.test',            qr/plugins:2: .*checkip/, 'no truth value'],
    ['',                "x.test\nbl.test yes", qr/uribl_zones:2: .*yes/, 'a strange word behind a zone'],
    ['',                'bl.test 1,,2',       qr/uribl_zones:1: .*1,,2/, 'a mask with a hole'],
    ['',                'bl.test 4294967296', qr/uribl_zones:1: .*4294967296/, 'a mask of 33 bits'],
    ['',                'bl..test',           qr/uribl_zones:1: /, 'a zone that is no name'],
    ['',                'x' x 70 . '.test',   qr/uribl_zones:1: /, 'a zone with a long label'],
) {
    my ($args, $zones, $expect, $name) = @$case;
    configure($args, $zones);
    my ($status, $said) = $t->check;
    isnt $status, 0, "$name refuses the start";
    like $said, $expect, 'and says where';
}

done_testing;
