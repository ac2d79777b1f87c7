# A played directory, good and bad, and everything about the settings. A real one: t/peers/auth_ldap.t.
use strict;
use warnings;

use Test::More;
use Time::HiRes qw(sleep time);
use Qpsmtpd::Auth;
use Qpsmtpd::Daemon qw(bytes heard rest say_to);
use Qpsmtpd::Test qw(free_port slurp wait_for);

my $slow = $ENV{TEST_SLOW} || 1;
my $t = Qpsmtpd::Test->new(plugins => ['auth/auth_ldap_bind', 'rcpt_ok'],
    config => {auth_failure_delay => 0, max_auth_failures => 0});

# ---- a played directory: as much of RFC 4511 as is needed ------------------------------------------

sub tlv {
    my ($tag, @content) = @_;
    my $content = join '', @content;
    my $n = length $content;

    return chr($tag) . ($n < 128 ? chr $n : "\x82" . pack 'n', $n) . $content;
}

# cut - the first element of a text is taken off: its tag and content
sub cut {
    my ($tag, $n) = unpack 'CC', $_[0];
    my $head = 2;

    ($head, $n) = $n == 0x81 ? (3, unpack 'x2C', $_[0]) : (4, unpack 'x2n', $_[0]) if $n > 127;
    my $content = substr $_[0], $head, $n;
    substr $_[0], 0, $head + $n, '';
    return ($tag, $content);
}

sub request {
    my ($c) = @_;
    my $head = bytes($c, 2);
    my $n = length $head == 2 ? ord substr $head, 1 : return;

    $n = $n == 0x81 ? unpack 'C', bytes($c, 1) : unpack 'n', bytes($c, 2) if $n > 127;
    my $body = bytes($c, $n);
    my (undef, $id) = cut($body);
    return ($id, cut($body));
}

sub reply { my ($id, @op) = @_; return tlv(0x30, tlv(2, $id), tlv(@op)) }
sub result { return (tlv(10, chr $_[0]), tlv(4, ''), tlv(4, $_[1] || '')) }

sub entry { return reply($_[0], 0x64, tlv(4, $_[1]), tlv(0x30, '')) }

sub bind_result {
    my ($mode, $name, $password) = @_;

    return $1 if $name =~ /^uid=/ && $mode =~ /^code (\d+)/;
    return 0 if $name eq '' && $password eq '' || $name eq 'cn=me' && $password eq 'ours';
    return $name eq 'uid=joe,o=x' && $password eq 'sesame' ? 0 : 49;
}

sub found {
    my ($mode, $id, $value) = @_;

    return '' unless $value eq 'joe';
    return entry($id, '') if $mode eq 'nameless';
    return entry($id, 'uid=' . 'x' x 2000) if $mode eq 'long';
    return entry($id, 'uid=joe,o=x') . ($mode eq 'two' ? entry($id, 'uid=joe,o=y') : '');
}

sub search {
    my ($c, $mode, $id, $body) = @_;
    my (undef, $base) = cut($body);
    my @rest = map { (cut($body))[1] } 1 .. 5;
    my ($kind, $filter) = cut($body);
    my (undef, $attribute) = cut($filter);
    my (undef, $value) = cut($filter);

    heard(sprintf 'search %s %02x %s=%s limit %d', $base, $kind, $attribute, $value, ord $rest[2]);
    if ($mode eq 'references') {
        1 while say_to($c, reply($id, 0x73, tlv(4, 'ldap://127.0.0.1/o=x')) x 100);
        return;
    }
    return say_to($c, found($mode, $id, $value), reply($id, 0x65, result($mode eq 'no base' ? 32 : 0)));
}

sub serve {
    my ($c, $mode) = @_;

    return if $mode eq 'close';
    return rest($c) if $mode eq 'silent';
    return say_to($c, 'x' x 65536) && rest($c) if $mode eq 'garbage';
    for (my $binds = 0; my ($id, $op, $body) = request($c);) {
        return if $op == 0x42;
        if ($op == 0x63) {
            return rest($c) if $mode eq 'stuck';
            search($c, $mode, $id, $body) or return;
            next;
        }
        next if $op == 0x50;
        my (undef, $version) = cut($body);
        my (undef, $name) = cut($body);
        my ($kind, $password) = cut($body);
        heard(sprintf 'bind %d %02x %s %s', ord $version, $kind, $name, $password);
        return if $mode eq 'once' && ++$binds == 3;
        my $answer = reply($id, 0x61, result(bind_result($mode, $name, $password), $mode eq 'talks' ? "x\r\n250 y" : ''));
        return say_to($c, substr($answer, 0, 5)) && rest($c) if $mode eq 'half';
        return say_to($c, "\x30\x84\x7f\xff\xff\xff" . $answer) && rest($c) if $mode eq 'huge';
        return say_to($c, substr $answer, 0, 5) if $mode eq 'cut';
        for my $byte ($mode eq 'drips' ? split //, $answer : $answer) {
            say_to($c, $byte) or return;
            sleep 0.3 * $slow if $mode eq 'drips';
        }
    }
}

my $daemon = Qpsmtpd::Daemon->new(sub { serve($_[0], slurp($t->dir . '/mode')) });

# ---- verdicts --------------------------------------------------------------------------------------

my $d;
my @usual = ('ldap_base o=x', 'ldap_port ' . $daemon->port, "ldap_timeout $slow");

sub settings {
    my (@lines) = @_;

    chmod 0640, $t->config(ldap => join '', map { "$_\n" } @lines);
}

sub fresh {
    my ($mode) = @_;

    $t->file('mode', $mode);
    $d = $t->dialogue;
    $daemon->heard;
    return $d->say('EHLO client.test');
}

sub passed { return "235 $_[0] authentication successful for $_[1] - authldap" }
sub failed { return "535 $_[0] authentication failed for $_[1] from 127.0.0.1 - authldap - wrong username or password" }
my $deferred = '454 Temporary authentication failure - authldap - temporary auth error';

settings(@usual);
like fresh('good'), qr/^250 AUTH PLAIN LOGIN$/m, 'what needs a secret is not announced';
is plain($d, 'joe', 'wrong'), failed('PLAIN', 'joe'), 'a wrong password';
is_deeply [$daemon->heard], ['bind 3 80  ', 'search o=x a3 uid=joe limit 2', 'bind 3 80 uid=joe,o=x wrong'], 'what was asked';
is plain($d, 'jim@example.com', 'wrong'), failed('PLAIN', 'jim@example.com'), 'an unknown user';
is_deeply [$daemon->heard], ['bind 3 80  ', 'search o=x a3 uid=jim limit 2', 'bind 3 80 o=x wrong'],
    'the same steps, on the same connection';
is plain($d, '*)(cn=\\', 'x'), failed('PLAIN', '*)(cn=\\'), 'a name that looks like a filter';
is((grep { /^search/ } $daemon->heard)[0], 'search o=x a3 uid=*)(cn=\\ limit 2', 'stays a name');
is plain($d, "j\xc3\xb6e", 'x'), failed('PLAIN', 'j??e'), '8-bit';
is((grep { /^search/ } $daemon->heard)[0], "search o=x a3 uid=j\xc3\xb6e limit 2", 'goes through');
is plain($d, 'x' x 256, 'x'), failed('PLAIN', 'x' x 64), 'an endless name';
is_deeply [$daemon->heard], ['bind 3 80 o=x x'], 'is not searched';
like plain($d, 'joe', ''), qr/^535 /, 'an empty password';
is_deeply [$daemon->heard], [], 'nor this';
is login($d, 'joe@example.com', 'sesame'), passed('LOGIN', 'joe@example.com'), 'the right one';
unlike $d->log, qr/sesame/, 'no password in the log';

settings('ldap_port ' . $daemon->port, "ldap_timeout $slow", 'ldap_dn_template uid=%u,o=x');
fresh('good');
is plain($d, 'jim,o=y', 'x'), failed('PLAIN', 'jim,o=y'), 'a template: a name in the name';
is_deeply [$daemon->heard], ['bind 3 80 uid=jim\\2Co\\3Dy,o=x x'], 'is escaped, and there is no search';
is plain($d, 'joe', 'sesame'), passed('PLAIN', 'joe'), 'the right one';
settings(@usual, 'ldap_bind_dn cn=me', 'ldap_bind_password ours');
fresh('good');
is plain($d, 'joe', 'sesame'), passed('PLAIN', 'joe'), 'with a searcher';
is_deeply [($daemon->heard)[0]], ['bind 3 80 cn=me ours'], 'who binds first';

# What the directory may say of a bind.
settings(@usual);
for my $case ([49, 0], [48, 0], [50, 0], [53, 0], [19, 0], [34, 0], [1, 1], [2, 1], [8, 1], [10, 1], [13, 1], [51, 1], [52, 1], [80, 1], [127, 1]) {
    my ($code, $trouble) = @$case;
    fresh("code $code");
    is plain($d, 'joe', 'sesame'), $trouble ? $deferred : failed('PLAIN', 'joe'), "result $code";
}

# ---- a directory that is none ----------------------------------------------------------------------

for my $case (
    ['silent',     qr/error="bind: Timed out/],
    ['close',      qr/error="bind: Can't contact LDAP server/],
    ['cut',        qr/error="bind: Can't contact LDAP server/],
    ['half',       qr/error="bind: Timed out/],
    ['huge',       qr/error="bind: /],
    ['garbage',    qr/error="bind: /],
    ['drips',      qr/error="bind: Timed out/],
    ['stuck',      qr/error="search: Timed out/],
    ['references', qr/error="search: Timed out/],
    ['no base',    qr/error="search: No such object/],
    ['nameless',   qr/error="search: an entry with an impossible name"/],
    ['long',       qr/error="search: an entry with an impossible name"/],
    ['two',        qr/error="search: more than one entry is called so"/],
) {
    my ($mode, $log) = @$case;
    fresh($mode);
    my $began = time;
    is plain($d, 'joe', 'sesame'), $deferred, "$mode: nobody can tell";
    my $took = time - $began;
    cmp_ok $took, '<', 3 * $slow, sprintf 'after %.1f s', $took;
    like $d->log, $log, 'and the log says why';
    $t->file('mode', 'good');
    is plain($d, 'joe', 'sesame'), passed('PLAIN', 'joe'), 'another attempt, a new connection';
}
fresh('once');
is plain($d, 'joe', 'wrong'), failed('PLAIN', 'joe'), 'the connection is kept';
is plain($d, 'joe', 'wrong'), failed('PLAIN', 'joe'), 'and replaced when it has died';
like $d->log, qr/the connection has ended, once more/, 'as the log tells';
fresh('talks');
is plain($d, 'joe', 'wrong'), failed('PLAIN', 'joe'), 'what the directory says is not for the client';

for my $case (['ldap_uri ldaps://127.0.0.1:PORT', 'silent'], ['ldap_starttls 1', 'silent'], ['ldap_starttls 1', 'close'],
    ['ldap_uri ldaps://127.0.0.1:PORT', 'garbage'], ['ldap_starttls 1', 'garbage']) {
    my ($setting, $mode) = @$case;
    my $line = $setting =~ s/PORT/$daemon->port/er;
    settings('ldap_base o=x', "ldap_timeout $slow", $line, $line =~ /uri/ ? () : 'ldap_port ' . $daemon->port);
    fresh($mode);
    my $began = time;
    is plain($d, 'joe', 'sesame'), $deferred, "$line, $mode: no encryption, no answer";
    my $took = time - $began;
    cmp_ok $took, '<', 3 * $slow, sprintf 'after %.1f s', $took;
    is_deeply [$daemon->heard], [], 'no password in the clear';
}
settings('ldap_base o=x', "ldap_timeout $slow", 'ldap_uri ldap://127.0.0.1:' . free_port() . ' ldap://127.0.0.1:' . $daemon->port);
fresh('good');
is plain($d, 'joe', 'sesame'), passed('PLAIN', 'joe'), 'two addresses: the second one answers';

# A server for many clients: a child keeps its connection from one client to the next. (The played
# directory has time for one at once.)
$d->status;
settings(@usual);
$t->file('mode', 'good');
my $server = $t->prefork('--children', 1);
sub client { my $c = $server->connect; $c->say('EHLO client.test'); return $c }
$daemon->heard;
for my $reply (failed('PLAIN', 'joe'), passed('PLAIN', 'joe')) {
    is plain(client(), 'joe', $reply =~ /^235/ ? 'sesame' : 'wrong'), $reply, 'one client after the other';
}
is scalar(grep { /^bind 3 80  $/ } $daemon->heard), 2, 'each search as nobody again';
my $old = join ' ', $server->children;
$server->hup;
wait_for(sub { join(' ', $server->children) ne $old && scalar(my @all = $server->children) }, 20, 'new children');
is plain(client(), 'joe', 'sesame'), passed('PLAIN', 'joe'), 'after SIGHUP, too';
is $server->stop, 0, 'it ends well';

fresh('good');
$daemon->stop;
is plain($d, 'joe', 'sesame'), $deferred, 'no directory at all';
like $d->log, qr/cannot ask the directory uri=ldap:\S+ error="bind: Can't contact LDAP server/, 'the log says so';

# ---- the library -----------------------------------------------------------------------------------

my ($library) = glob '/usr/lib/*/libldap*.so.[0-9]';
$library =~ s{.*/}{};
$t->file("lib/$library", '');
$d = $t->dialogue(env => {LD_LIBRARY_PATH => $t->dir . '/lib'});
like $d->say('EHLO client.test'), qr/^250 AUTH PLAIN LOGIN$/m, 'without the library the server runs';
is plain($d, 'joe', 'sesame'), $deferred, 'but nobody can log in';
like $d->log, qr/cannot load libldap, package libldap-2\.5-0: .*\Q$library\E/, 'and the log says why';
my ($status, $output) = $t->run({env => {LD_LIBRARY_PATH => $t->dir . '/lib'}}, $t->program('qpsmtpd'), $t->options, '--check');
is $status, 1, '--check, and a server for many clients, tell it at start';
like $output, qr{config/plugins:1: .*cannot load libldap}, 'with the remedy';

# ---- settings --------------------------------------------------------------------------------------

for my $case (
    ['ldap_base o=x'],
    ['ldap_base   o=x y', 'ldap_host ::1', 'ldap_port 65535', 'ldap_timeout 60', 'ldap_auth_filter_attr mail'],
    ['ldap_base o=x', 'ldap_uri ldapi://%2Frun%2Fldapi ldaps://a.test', 'ldap_filter (mail=%m)', 'ldap_ca_file /x'],
    ['ldap_dn_template uid=%u,ou=100%%,o=%d', 'ldap_starttls off'],
    ['ldap_base o=x', 'ldap_bind_dn cn=me', 'ldap_bind_password a b c'],
) {
    settings(@$case);
    my ($status, $output) = $t->check;
    is $status, 0, "@$case" or diag $output;
}
my $base = 'ldap_base o=x';
for my $case (
    [qr{config/plugins:1: .*ldap_base is missing},             'ldap_host 127.0.0.1'],
    [qr{config/ldap:2: .*no setting "colour"},                 $base, 'colour red'],
    [qr{config/ldap:1: .*ldap_base: its value is missing},     'ldap_base'],
    [qr{config/ldap:2: .*ldap_base is there twice},            $base, $base],
    map({ [qr{config/ldap:2: .*no number from 1 to 65535},     $base, "ldap_port $_"] } 0, 65536, 'ldap', '389x', '-1', '1000000000000'),
    map({ [qr{config/ldap:2: .*no number from 1 to 60},        $base, "ldap_timeout $_"] } 0, 61, '5s'),
    [qr{config/ldap:2: .*that is no host},                     $base, 'ldap_host ldap://x'],
    [qr{config/ldap:2: .*write ldap://HOST},                   $base, 'ldap_uri http://x'],
    [qr{config/ldap:2: .*write ldap://HOST},                   $base, 'ldap_uri ldap://x y'],
    [qr{config/ldap:2: .*ldap_host or ldap_port, too},         $base, 'ldap_uri ldap://x', 'ldap_port 389'],
    [qr{config/ldap:2: .*neither 0 nor 1},                     $base, 'ldap_starttls maybe'],
    [qr{config/ldap:2: .*encrypted from the beginning},        $base, 'ldap_starttls 1', 'ldap_uri ldaps://x'],
    [qr{config/ldap:2: .*no name of an attribute},             $base, 'ldap_auth_filter_attr uid=*)('],
    map({ [qr{config/ldap:2: .*write a filter with},           $base, "ldap_filter $_"] } '(uid=joe)', 'uid=%u', '(uid=%x)', '(uid=%u%)', '(o=%d)'),
    map({ [qr{config/ldap:1: .*write a name with},             "ldap_dn_template $_"] } 'uid=joe', '%u', 'uid=%s', 'o=%d'),
    [qr{config/ldap:1: .*nothing is searched},                 $base, 'ldap_dn_template uid=%u'],
    [qr{config/ldap:2: .*nothing is searched},                 'ldap_dn_template uid=%u', 'ldap_filter (uid=%u)'],
    [qr{belong together},                                      $base, 'ldap_bind_dn cn=me'],
    [qr{belong together},                                      $base, 'ldap_bind_password x'],
) {
    my ($why, @lines) = @$case;
    settings(@lines);
    my ($status, $output) = $t->check;
    is $status, 1, "@lines[-1 .. -1] refuses the start";
    like $output, $why, 'and is told with file and line';
}
settings($base, 'ldap_bind_dn cn=me', 'ldap_bind_password ours');
chmod 0644, $t->dir . '/config/ldap';
($status, $output) = $t->check;
is $status, 1, 'a password for everybody refuses the start';
like $output, qr{config/ldap:3: .*everybody can read.*chmod o-rwx \S+/ldap}, 'with the remedy';
settings($base, 'ldap_port 1');
$t->config(plugins => 'auth/auth_ldap_bind ldap_port 0');
($status, $output) = $t->check;
is $status, 1, 'an argument wins over a line';
like $output, qr{config/plugins:1: .*ldap_port: "0" is no number from 1}, 'and is told with file and line, too';
$t->config(plugins => 'auth/auth_ldap_bind ldap_bind_dn x ldap_bind_password y');
($status, $output) = $t->check;
is $status, 1, 'a password among the arguments refuses the start';
like $output, qr{config/plugins:1: .*ldap_bind_password: write it into the file ldap}, 'with the remedy';
$t->config(plugins => 'auth/auth_ldap_bind ldap_bse o=x');
($status, $output) = $t->check;
is $status, 1, 'an argument that does not exist refuses the start';
like $output, qr{config/plugins:1: .*ldap_bse}, 'and is told with file and line';

done_testing;
