# AUTH: every exchange line by line, what the hooks are given, what the client and the log are told,
# and what a session remembers.
use strict;
use warnings;

use Digest::MD5 ();
use Digest::SHA ();
use File::Basename qw(dirname);
use File::Temp ();
use MIME::Base64 qw(decode_base64);
use Test::More;

use lib dirname(__FILE__);
use Probe;
use Qpsmtpd::Test qw(slurp);

my $plugins = File::Temp->newdir('qpsmtpd-auth-XXXXXX', TMPDIR => 1);
Probe::build(dirname(__FILE__) . '/auth_probe.c', "$plugins/$_->[0].so", $_->[1])
    for ['auth_probe', '-DPROBE'], ['auth_plain', '-DPROBE_PLAIN'], ['auth_parse', '-DPROBE_PARSE'];

my %config = (auth_failure_delay => 0, auth_mechanisms => 'PLAIN LOGIN CRAM-MD5 SCRAM-SHA-1 scram-sha-256');
my $d;

# server - a configuration; the plugins are auth_probe unless told otherwise
sub server {
    my ($config, @plugins) = @_;

    return Qpsmtpd::Test->new(plugin_dirs => ["$plugins"], plugins => @plugins ? \@plugins : ['auth_probe'],
        config => {%config, %{$config || {}}});
}

# fresh - a new dialogue in $d, greeted with EHLO
sub fresh {
    my ($t, %env) = @_;

    $d->hangup if $d;
    $d = $t->dialogue(env => \%env);
    $d->say('EHLO client.test');
    return $d;
}

# gets - the reply to a line
sub gets {
    my ($line, $reply, $name) = @_;
    my $got = $d->say($line);

    $name = length $line > 60 ? substr($line, 0, 57) . '...' : $line unless defined $name;
    return ref $reply ? like($got, $reply, $name) : is($got, $reply, $name);
}

sub b64 { return MIME::Base64::encode_base64($_[0], '') }
sub plain { return b64(join "\0", @_ == 3 ? @_ : ('', @_)) }

sub hmac_md5 {
    my ($data, $key) = @_;

    $key = Digest::MD5::md5($key) if length $key > 64;
    $key .= "\0" x (64 - length $key);
    return Digest::MD5::md5_hex(($key ^ "\x5c" x 64) . Digest::MD5::md5(($key ^ "\x36" x 64) . $data));
}

sub passed { return "235 $_[0] authentication successful for $_[1]" }
sub failed { return "535 $_[0] authentication failed for $_[1] from 127.0.0.1" . ($_[2] ? " - $_[2]" : '') }

# what a hook was given last
sub asked {
    my @asked = $d->log =~ /asked (hook=.*)/g;

    return $asked[-1];
}

my $t = server();

# ---- when it is a command at all ----

$d = $t->dialogue;
gets('AUTH PLAIN ' . plain('own=OK', 'x'), '500 Unrecognized command', 'before EHLO it is none');
gets('HELO client.test', qr/^250/);
gets('AUTH PLAIN', '500 Unrecognized command', 'after HELO neither');
like $d->say('EHLO client.test'), qr/^250 AUTH PLAIN LOGIN CRAM-MD5 SCRAM-SHA-1 SCRAM-SHA-256$/m, 'EHLO announces it';
gets('HELO client.test', qr/^250/);
gets('AUTH PLAIN', '503 AUTH not defined for HELO');
gets('EHLO client.test', qr/^250/);
gets('AUTH', '501 Syntax error in command');
gets('AUTH PLAIN AAAA more', '501 Syntax error in command');
gets('AUTH FOO-BAR', '504 Unimplemented authentication mechanism: FOO-BAR');
gets('AUTH ' . b64('password'), '504 Unimplemented authentication mechanism', 'what looks like a secret is not echoed');
gets('AUTH ANONYMOUS', '504 Unimplemented authentication mechanism: ANONYMOUS');
gets('MAIL FROM:<a@b.test>', qr/^250/);
gets('AUTH PLAIN', '503 AUTH not permitted during a mail transaction');
gets('RSET', qr/^250/);
gets('auth plain ' . plain('own=OK', 'x'), passed('PLAIN', 'own=OK'), 'any case');
gets('AUTH PLAIN', '503 but you already said AUTH ...');
gets('NOOP', '250 user=own=OK mechanism=plain relay=1 naughty=0');
gets('RSET', qr/^250/);
gets('HELO client.test', qr/^250/);
gets('NOOP', '250 user=own=OK mechanism=plain relay=1 naughty=0', 'RSET and HELO do not forget it');

for my $case (
    [['noop_counter'], undef, ''],
    [['auth_plain'], undef, 'PLAIN'],
    [['auth/authdeny'], undef, 'PLAIN LOGIN CRAM-MD5'],
    [['auth/authdeny'], "LOGIN\nSCRAM-SHA-1\n", 'LOGIN SCRAM-SHA-1'],
    [['auth_plain'], 'LOGIN CRAM-MD5', ''],
    [['auth_probe'], undef, 'PLAIN LOGIN CRAM-MD5'],
) {
    my ($loaded, $mechanisms, $announced) = @$case;
    my $s = server({auth_mechanisms => $mechanisms}, @$loaded);
    $d = $s->dialogue;
    my ($got) = $d->say('EHLO x') =~ /^250[ -]AUTH (.*)$/m;
    is $got || '', $announced, "@$loaded" . ($mechanisms ? ' with a list' : '') . ": '$announced'";
    gets('AUTH PLAIN', '500 Unrecognized command', 'what was not announced is no command') unless $announced;
}

# ---- PLAIN ----

fresh($t);
gets('AUTH PLAIN ' . plain('own=OK!', 'secret'), passed('PLAIN', 'own=OK! - so says the probe'));
is asked(), 'hook=auth-plain mechanism=plain user=own=OK! password=secret hash=(none) ticket=(none) authzid= args=',
    'the hook is given mechanism, user and password, and no arguments of the command';
fresh($t);
gets('AUTH PLAIN', '334 ', 'a prompt of nothing');
gets(plain('own=OK', 'secret'), passed('PLAIN', 'own=OK'), 'the response');
fresh($t);
gets('AUTH PLAIN ' . plain('own=OK', 'own=OK', 'secret'), passed('PLAIN', 'own=OK'), 'authzid may be the same');
like asked(), qr/ authzid=own=OK /, 'and the hook sees it';
fresh($t);
gets('AUTH PLAIN ' . plain('root', 'own=OK', 'secret'), '535 Authentication invalid for own=OK', 'but no other');
unlike $d->log, qr/asked hook/, 'no hook is asked then';
gets('AUTH PLAIN ' . plain('', 'secret'), '535 Authentication invalid', 'nor may it be nobody');
gets('AUTH PLAIN ' . plain('own=OK', ''), failed('PLAIN', 'own=OK'), 'without a password nobody is asked');
unlike $d->log, qr/asked hook/, 'indeed';

# ---- LOGIN ----

fresh($t);
gets('AUTH LOGIN', '334 VXNlcm5hbWU6');
gets(b64('own=OK'), '334 UGFzc3dvcmQ6');
gets(b64('secret'), passed('LOGIN', 'own=OK'));
is asked(), 'hook=auth-login mechanism=login user=own=OK password=secret hash=(none) ticket=(none) authzid= args=';
fresh($t);
gets('AUTH LOGIN ' . b64('own=DENY'), '334 UGFzc3dvcmQ6', 'an initial response is the user');
gets(b64('secret'), failed('LOGIN', 'own=DENY'));
gets('AUTH LOGIN =', qr/^334 /);
gets('*', '501 Authentication canceled');
gets('AUTH LOGIN ' . b64('own=OK'), qr/^334 /);
gets('', failed('LOGIN', 'own=OK'), 'an empty password');
gets('AUTH LOGIN ' . b64("own=OK\0x"), '501 Invalid authentication string', 'a NUL in the user');

# ---- CRAM-MD5 ----

sub cram {
    my ($user, $key, $name, $expect) = @_;
    my ($challenge) = $d->say('AUTH CRAM-MD5') =~ /^334 (\S+)$/;
    my $ticket = decode_base64($challenge);

    like $ticket, qr/^<[0-9a-f]+\.\d+\@mx\.example\.test>$/, "$name: a ticket";
    gets(b64("$user " . hmac_md5($ticket, $key)), $expect, $name);
    return $ticket;
}

fresh($t);
my $first = cram('own=SECRET', 'wrong', 'a wrong proof', failed('CRAM-MD5', 'own=SECRET'));
my $second = cram('own=SECRET', 'sesame', 'a right one', passed('CRAM-MD5', 'own=SECRET'));
isnt $first, $second, 'each attempt has its own ticket';
is asked(), 'hook=auth-cram-md5 mechanism=cram-md5 user=own=SECRET password=(none) hash='
    . hmac_md5($second, 'sesame') . " ticket=$second authzid= args=", 'the hook is given hash and ticket';
fresh($t);
cram('own=OK', 'anything', 'a plugin may decide by the hash itself', passed('CRAM-MD5', 'own=OK'));
fresh($t);
cram('own=DENY!', 'x', 'or refuse', failed('CRAM-MD5', 'own=DENY!', 'so says the probe'));
fresh($t);
cram('any=HASH a b', 'sesame', 'the generic hook, a user with blanks', failed('CRAM-MD5', 'any=HASH a b'));
for my $bad ('', 'joe', 'joe ', ' ' . 'a' x 32, 'joe ' . 'a' x 31, 'joe ' . 'g' x 32, "jo\0e " . 'a' x 32) {
    fresh($t);
    gets('AUTH CRAM-MD5', qr/^334 /);
    gets(b64($bad), '501 Invalid authentication string', 'malformed: ' . ($bad =~ s/\0/\\0/r));
}
fresh($t);
gets('AUTH CRAM-MD5 ' . b64('own=OK ' . 'a' x 32), '501 Invalid authentication string', 'it takes no initial response');

# ---- SCRAM ----

# scram - the client's side; gives the last reply
sub scram {
    my ($hash, $user, $password, $initial, $authzid) = @_;
    my $bits = $hash eq 'SCRAM-SHA-1' ? 1 : 256;
    my $hmac = $bits == 1 ? \&Digest::SHA::hmac_sha1 : \&Digest::SHA::hmac_sha256;
    my $digest = $bits == 1 ? \&Digest::SHA::sha1 : \&Digest::SHA::sha256;
    (my $name = $user) =~ s/=/=3D/g;
    my $gs2 = defined $authzid ? 'n,a=' . ($authzid =~ s/=/=3D/gr) . ',' : 'n,,';
    my $bare = "n=$name,r=fyko+d2lbbFgONRv9qkxdawL";
    my $reply = $initial ? $d->say("AUTH $hash " . b64("$gs2$bare"))
        : $d->say("AUTH $hash") eq '334 ' ? $d->say(b64("$gs2$bare")) : return 'no prompt';
    return $reply unless $reply =~ /^334 (\S+)$/;
    my $challenge = decode_base64($1);
    my ($nonce, $salt, $rounds) = $challenge =~ /^r=([^,]+),s=([^,]+),i=(\d+)/ or return "challenge $challenge";
    my $u = $hmac->(decode_base64($salt) . pack('N', 1), $password);
    my $salted = $u;
    for (2 .. $rounds) {
        $u = $hmac->($u, $password);
        $salted ^= $u;
    }
    my $key = $hmac->('Client Key', $salted);
    my $final = 'c=' . b64($gs2) . ",r=$nonce";
    my $message = "$bare,$challenge,$final";
    my $proof = $key ^ $hmac->($message, $digest->($key));
    $reply = $d->say(b64("$final,p=" . b64($proof)));
    return $reply unless $reply =~ /^334 (\S+)$/;
    my $server = b64($hmac->($message, $hmac->('Server Key', $salted)));
    return 'the server does not know the password' unless decode_base64($1) eq "v=$server";
    return $d->say('');
}

for my $hash (qw(SCRAM-SHA-1 SCRAM-SHA-256)) {
    fresh($t);
    is scram($hash, 'own=SECRET', 'wrong', 1), failed($hash, 'own=SECRET'), "$hash: a wrong password";
    is scram($hash, 'own=OK', 'x', 1), failed($hash, 'own=OK'), 'OK without a secret is none';
    is scram($hash, 'own=SECRET', 'sesame', 1), passed($hash, 'own=SECRET'), 'the right one';
    like $d->log, qr/said OK and gave no secret: mechanism=\L$hash\E/, 'and the log knows';
    like asked(), qr/^hook=auth-scram mechanism=\L$hash\E user=own=SECRET password=\(none\) hash=\(none\)/, 'the hook';
    fresh($t);
    is scram($hash, 'any=SECRET', 'sesame', 0), passed($hash, 'any=SECRET'), 'without initial response, generic hook';
}
fresh($t);
is scram('SCRAM-SHA-256', 'unknown', 'x', 1), failed('SCRAM-SHA-256', 'unknown'), 'an unknown user gets a challenge too';
is scram('SCRAM-SHA-256', 'own=DENYSOFT', 'x', 1), '454 Temporary authentication failure', 'DENYSOFT ends it at once';
like $d->log, qr/auth failed: \S+ mechanism=SCRAM-SHA-256 user=unknown /, 'and the log knows';
is scram('SCRAM-SHA-256', 'own=SECRET', 'sesame', 1, 'root'), failed('SCRAM-SHA-256', 'own=SECRET'), 'no other authzid';
is scram('SCRAM-SHA-256', 'own=SECRET', 'sesame', 1, 'own=SECRET'), passed('SCRAM-SHA-256', 'own=SECRET'), 'the same is none';
fresh($t);
gets('AUTH SCRAM-SHA-1 ' . b64('n,,n=joe,r=' . 'x' x 1500), '501 Invalid authentication string', 'an absurd nonce');

# ---- results ----

for my $case (
    ['own=OK!',                 passed('PLAIN', 'own=OK! - so says the probe')],
    ['own=DENY any=OK',         failed('PLAIN', 'own=DENY any=OK')],
    ['own=DENY! any=OK',        failed('PLAIN', 'own=DENY! any=OK', 'so says the probe')],
    ['own=DECLINED any=OK',     passed('PLAIN', 'own=DECLINED any=OK')],
    ['own=DECLINED! any=X',     failed('PLAIN', 'own=DECLINED! any=X', 'so says the probe')],
    ['own=BOGUS any=OK',        passed('PLAIN', 'own=BOGUS any=OK')],
    ['any=DENYSOFT',            '454 Temporary authentication failure'],
    ['own=DENYSOFT! any=OK',    '454 Temporary authentication failure - so says the probe'],
    ['own=DENY_DISCONNECT',     failed('PLAIN', 'own=DENY_DISCONNECT'), 1],
    ['own=DENYSOFT_DISCONNECT', '421 Temporary authentication failure', 1],
    ['own=DONE',                '535 done'],
    ['own=CODE',                '538 PLAIN authentication failed for own=CODE from 127.0.0.1 - so says the probe'],
    ['own=SECRET',              failed('PLAIN', 'own=SECRET')],
    ['own=EMPTY',               failed('PLAIN', 'own=EMPTY')],
    ['nobody',                  failed('PLAIN', 'nobody')],
    ["tab\there \xe4 " . 'x' x 60, failed('PLAIN', 'tab?here ? ' . 'x' x 53)],
) {
    my ($user, $reply, $closes) = @$case;
    fresh($t);
    gets('AUTH PLAIN ' . plain($user, 'x'), $reply, "PLAIN: " . ($user =~ s/[^ -~]/?/gr));
    $closes ? ok($d->eof, 'and the connection is closed') : like($d->say('NOOP'), qr/^250/, 'and it goes on');
}
fresh($t);
gets('AUTH PLAIN ' . plain('own=SECRET', 'sesame'), passed('PLAIN', 'own=SECRET'), 'the engine compares a secret that was set');
fresh($t);
gets('VRFY 1', qr/^250/);
gets('NOOP', '250 user=(none) mechanism=(none) relay=0 naughty=1');
gets('AUTH PLAIN ' . plain('own=DENY', 'x'), qr/^535/);
gets('NOOP', '250 user=(none) mechanism=(none) relay=0 naughty=1', 'a failure gives nothing');
gets('AUTH PLAIN ' . plain('own=OK', 'x'), qr/^235/);
gets('NOOP', '250 user=own=OK mechanism=plain relay=1 naughty=0', 'success forgives');

$d = server({enhanced_status_codes => 1})->dialogue;
$d->say('EHLO x');
gets('AUTH PLAIN ' . plain('own=DENY', 'x'), qr/^535 5\.7\.8 PLAIN /, 'with enhanced status codes');
gets('AUTH PLAIN ' . plain('own=DENYSOFT', 'x'), qr/^454 4\.7\.0 /);
gets('AUTH PLAIN', '334 ', '334 has none');
gets('*', '501 5.7.0 Authentication canceled');
gets('AUTH PLAIN ' . plain('own=OK', 'x'), qr/^235 2\.7\.0 PLAIN /);

# ---- blobs ----

my %prompt = (PLAIN => '', LOGIN => 'user', 'CRAM-MD5' => '', 'SCRAM-SHA-1' => '', 'SCRAM-SHA-256' => '');
for my $mechanism (sort keys %prompt) {
    for my $case (
        ['=',                  '501 Invalid base64'],
        ['====',               '501 Invalid base64'],
        ['*',                  '501 Authentication canceled'],
        ['**',                 '501 Invalid base64'],
        ['AAA',                '501 Invalid base64'],
        ['AB==',               '501 Invalid base64'],
        ['AA=A',               '501 Invalid base64'],
        ['AAAA AAAA',          '501 Invalid base64'],
        ["AA\0A",              '501 Invalid base64'],
        ["\xff\xfe",           '501 Invalid base64'],
        [b64("\0" x 100),      '501 Invalid authentication string'],
        ['A' x 12288,          '501 Invalid authentication string'],
        ['/' x 12288,          qr/^(?:501 Invalid authentication string|334 UGFzc3dvcmQ6)$/],
        ['A' x 12289,          '500 Line too long'],
        ['A' x 65536,          '500 Line too long'],
        ["\0" x 65536,         '500 Line too long'],
        [b64('x'),             qr/^(?:501 Invalid authentication string|334 UGFzc3dvcmQ6)$/],
        ['',                   qr/^(?:501 Invalid authentication string|334 UGFzc3dvcmQ6|334 VXNlcm5hbWU6)$/],
    ) {
        my ($blob, $reply) = @$case;
        my $name = "$mechanism: " . ($blob =~ s/[^ -~]/?/gr);
        $name = substr($name, 0, 40) . '... ' . length $blob if length $name > 40;
        fresh($t);
        $d->say("AUTH $mechanism") =~ /^334/ or fail "$name: no prompt";
        gets($blob, $reply, $name);
        $d->say('*') if $d->code == 334;
        gets('NOOP', '250 user=(none) mechanism=(none) relay=0 naughty=0', 'nothing has come of it');
    }
}
fresh($t);
gets('AUTH PLAIN =', '501 Invalid authentication string', 'an initial response of nothing');
gets('AUTH PLAIN *', '501 Invalid base64', 'a star in the command is none');
gets('AUTH PLAIN ' . 'A' x 12276, '501 Invalid authentication string', 'a command of nearly 12288 bytes');
gets('AUTH PLAIN ' . 'A' x 12288, '500 Line too long', 'a longer one');
gets('AUTH PLAIN ' . 'A' x 65536, '500 Line too long', 'a much longer one');
gets('NOOP ' . 'A' x 2048, '500 Line too long', 'other commands keep their bound');
gets("AUTH PLAIN AA\0A", '500 Unrecognized command: it holds a NUL byte', 'NUL in the command');
gets('AUTH PLAIN ' . b64("a\0b"), '501 Invalid authentication string', 'one NUL');
gets('AUTH PLAIN ' . b64("\0a\0b\0c"), '501 Invalid authentication string', 'three');
gets('AUTH PLAIN ' . plain('u' x 5000, 'x'), '501 Invalid authentication string', 'a name of 5000 bytes');
gets('AUTH PLAIN ' . plain('own=OK', 'x' x 9000), passed('PLAIN', 'own=OK'), 'a password of 9000 bytes');

# ---- the exchange breaks off ----

fresh($t);
gets('AUTH LOGIN', qr/^334/);
$d->hangup('write');
ok $d->eof, 'the end in the middle of it ends the session';
is $d->status, 0, 'in peace';
$d = server({timeoutsmtpd => 1})->dialogue;
$d->say('EHLO x');
gets('AUTH LOGIN', qr/^334/);
is $d->read_reply, '421 Connection Timed Out', 'silence too';
ok $d->eof, 'and closes';

# ---- failures ----

fresh($t);
gets('AUTH PLAIN ' . plain('a', 'x'), qr/^535/, 'the first failure');
gets('AUTH PLAIN', '334 ');
gets('*', qr/^501/, 'a cancelled attempt is none');
gets('AUTH PLAIN ' . plain('any=DENYSOFT', 'x'), qr/^454/, 'nor is a deferred one');
gets('AUTH PLAIN ' . plain('b', 'x'), qr/^535/, 'the second');
gets('AUTH PLAIN ' . plain('c', 'x'), qr/^535/, 'the third');
is $d->read_reply, '421 Too many authentication failures', 'is followed by 421';
ok $d->eof, 'and the end';
my @failed = map { s/\d+ \S+ //r } $d->log =~ /^(.*auth failed: .*)$/mg;
is_deeply \@failed, [map { "auth failed: ip=127.0.0.1 mechanism=PLAIN user=$_ plugin=- text=" } qw(a b c)],
    'each failure is one line in the log';

$d = server({max_auth_failures => 1})->dialogue;
$d->say('EHLO x');
gets('AUTH PLAIN ' . plain('a', 'x'), qr/^535/);
is $d->read_reply, '421 Too many authentication failures', 'max_auth_failures 1';
$d = server({max_auth_failures => 0})->dialogue;
$d->say('EHLO x');
$d->say('AUTH PLAIN ' . plain('a', 'x')) =~ /^535/ or fail 'no 535' for 1 .. 20;
gets('AUTH PLAIN ' . plain('own=OK', 'x'), qr/^235/, 'max_auth_failures 0: no limit');

$d = server({auth_failure_delay => 1})->dialogue;
$d->say('EHLO x');
my @took;
for (1 .. 3) {
    my $start = Time::HiRes::time();
    $d->raw("AUTH PLAIN " . plain('a', 'x') . "\r\nNOOP\r\n");
    $d->read_reply;
    push @took, Time::HiRes::time() - $start;
    $d->read_reply;
}
cmp_ok $took[0], '<', 0.9, 'the first failure is answered at once';
cmp_ok $took[1], '>', 0.9, 'the second after a second, however much was sent meanwhile';
cmp_ok $took[2], '>', 1.9, 'the third after two';

# ---- the log ----

fresh($t);
$d->say('AUTH PLAIN ' . plain('own=OK', 'x'));
like $d->log, qr/^\d+ \S+ auth passed: ip=127\.0\.0\.1 mechanism=PLAIN user=own=OK plugin=auth_probe text=$/m,
    'a success is one line in the log';

# The same again with a plugin that logs nothing of what it is given.
my $quiet = server({max_auth_failures => 0, auth_mechanisms => "PLAIN LOGIN CRAM-MD5 SCRAM-SHA-1 DIGEST-MD5"}, 'auth/authdeny',
    'auth_parse');
my @secrets = ('hunter2hunter', 'swordfish');
fresh($quiet);
for my $secret (@secrets) {
    my $blob = plain('joe', $secret);
    $d->say($_) =~ /^\d/ or fail "no reply to $_"
        for "AUTH PLAIN $blob", "auth  plain  $blob", "AUTH\tPLAIN\t$blob", " AUTH PLAIN $blob", "AUTH $blob",
        "AUTH PLAIN $blob $blob", "AUTHPLAIN $blob", "AUTH PLAIN $blob=", "AUTH PLAIN $blob\0", "AUTH forbidden";
    $d->say('AUTH LOGIN'), $d->say(b64('joe')), $d->say(b64($secret));
    $d->say('AUTH LOGIN ' . b64('joe')), $d->say(b64($secret) . '!');
    $d->say('AUTH PLAIN'), $d->say($blob);
    $d->say('AUTH PLAIN'), $d->say('x' x 13000 . $blob);
    $d->say('AUTH DIGEST-MD5'), $d->say($blob);
    $d->raw("AUTH LOGIN x\r\n" . b64($secret) . "\r\n$blob\r\n"), $d->read_reply for 1; # who does not wait
    $d->read_reply for 1 .. 2;
    $d->say('NOOP'), $d->say('AUTH PLAIN ' . 'x' x 13000 . $blob), $d->say($blob);
    scram('SCRAM-SHA-1', 'joe', $secret, 1);
    cram('joe', $secret, 'CRAM-MD5', qr/^535/);
}
gets('AUTH forbidden', '501 not so', 'the hook auth_parse can refuse');
gets('AUTH @' . plain('joe', 'x'), failed('PLAIN', 'joe', 'joe is not free to abuse my relay'), 'and understand other forms');
$d->quit;
my $log = $d->log;
for my $secret (@secrets) {
    my $blob = plain('joe', $secret);
    # Base64 of the password at each of the three places where it can stand in a text.
    for my $text ($secret, b64($secret), $blob, map { substr b64('x' x $_ . $secret . 'xxx'), 4, 12 } 0 .. 2) {
        (my $bare = $text) =~ s/=+$//;
        is index($log, $bare), -1, "the log does not tell '$bare'";
    }
}
like $log, qr/dispatching AUTH \.\.\.$/m, 'it tells that there was an AUTH';
like $log, qr/auth failed: ip=127\.0\.0\.1 mechanism=LOGIN user=joe /, 'and what came of it';
unlike $log, qr{/etc/|FATAL}, 'libsasl2 has nothing to complain of';

# What fail2ban would read (t/peers/fail2ban.t asks it): the lines without their time.
my $filter = slurp(dirname(__FILE__) . '/../../config.sample/fail2ban/filter.d/qpsmtpd.conf');
my ($regex) = $filter =~ /^failregex\s*=\s*(.*)$/m;
(my $perl = $regex) =~ s/<HOST>/(?<host>[0-9a-f.:]+)/;
fresh($quiet);
$d->say('AUTH PLAIN ' . plain("joe\n1 x auth failed: ip=192.0.2.9 mechanism=PLAIN user=eve", 'x'));
$d->say("VRFY auth failed: ip=192.0.2.8 mechanism=PLAIN user=eve");
$d->quit;
my @hosts = map { /$perl/ ? $+{host} : () } split /\n/, $d->log;
is_deeply \@hosts, ['127.0.0.1'], 'the fail2ban filter finds the client, and nobody else whom it names';
for my $line (' 123 0a auth failed: ip=2001:db8::1 mechanism=PLAIN user=x plugin=- text=',
    'mx qpsmtpd[123]: 0a auth failed: ip=2001:db8::1 mechanism=PLAIN user=x plugin=- text=',
    ' mx qpsmtpd-prefork[123]: 0a auth failed: ip=2001:db8::1 mechanism=LOGIN user=x y plugin=- text=z') {
    ok $line =~ /$perl/ && $+{host} eq '2001:db8::1', 'in a line of multilog or syslog' or diag $line;
}

# ---- the message ----

my $maildir = server({rcpthosts => 'ours.test'}, 'auth_probe', 'rcpt_ok', 'queue/maildir Maildir');
fresh($maildir, TCPREMOTEHOST => 'host.test');
gets('AUTH PLAIN ' . plain('own=DENY', 'x'), qr/^535/);
like $d->deliver('a@b.test', 'u@ours.test', "Subject: x\n\nx\n"), qr/^250/, 'a message after a failure';
gets('MAIL FROM:<a@b.test>', qr/^250/);
gets('RCPT TO:<u@far.test>', qr/^550/, 'no relaying yet');
gets('RSET', qr/^250/);
gets('AUTH PLAIN ' . plain('own=OK(joe)', 'x'), qr/^535/, 'BOGUS');
gets('AUTH PLAIN ' . plain("own=OK\r\nX-Forged: 1", 'x'), qr/^535/);
is $d->read_reply, '421 Too many authentication failures';
fresh($maildir, TCPREMOTEHOST => 'host.test');
gets('AUTH LOGIN ' . b64('own=OK (joe)'), qr/^334/);
gets(b64('x'), qr/^235/);
like $d->deliver('a@b.test', 'u@far.test', "Subject: x\n\nx\n"), qr/^250/, 'after AUTH it may relay';
my @messages = sort { length $a <=> length $b } $maildir->maildir_messages;
my ($before) = grep { /u\@ours|auth=fail/ } @messages;
my ($after) = grep { /auth=pass/ } @messages;
like $before, qr/^Authentication-Results: mx\.example\.test; auth=fail \(plain\) smtp\.auth="own=DENY"\nReceived: from host\.test \(HELO client\.example\.test\) \(127\.0\.0\.1\)\n    by mx\.example\.test \(qpsmtpd\/[\d.]+\) with ESMTP; /m,
    'a failure shows in Authentication-Results alone';
like $after, qr/^Authentication-Results: mx\.example\.test; auth=pass \(login\) smtp\.auth="own=OK\?\?joe\?"\nReceived: from host\.test \(HELO client\.example\.test\) \(127\.0\.0\.1\)\n  \(smtp-auth username own=OK\?\?joe\?, mechanism login\)\n  by mx\.example\.test \(qpsmtpd\/[\d.]+\) with ESMTPA; /m,
    'success in both, made safe';
$maildir = server({rcpthosts => 'ours.test', received_auth_user => 0, 'me-auth-results' => 'none'}, 'auth_probe', 'rcpt_ok',
    'queue/maildir Maildir');
fresh($maildir);
gets('AUTH PLAIN ' . plain('own=OK', 'x'), qr/^235/);
like $d->deliver('a@b.test', 'u@far.test', "Subject: x\n\nx\n"), qr/^250/, 'another message';
my ($hidden) = $maildir->maildir_messages;
like $hidden, qr/\nReceived: from .*\n    by .* with ESMTPA; |\AReceived: from .*\n    by .* with ESMTPA; /,
    'received_auth_user 0: the protocol only';
unlike $hidden, qr/own=OK/, 'the user is hidden';

# ---- TLS first ----

$d = server({tls_before_auth => 1})->dialogue;
unlike $d->say('EHLO x'), qr/AUTH/, 'tls_before_auth: nothing is announced in the clear';
gets('AUTH PLAIN ' . plain('own=OK', 'x'), '538 SSL/TLS required before AUTH');

# ---- wrong configuration ----

for my $case (
    [{auth_mechanisms => "PLAIN\nSCRAM SHA 1 \xc3\xa4"}, qr{config/auth_mechanisms:2: .* is no SASL mechanism}],
    [{auth_mechanisms => 'X' x 21},        qr{config/auth_mechanisms:1: .* is no SASL mechanism}],
    [{auth_mechanisms => 'A ' x 17},       qr{config/auth_mechanisms:1: .*one too many}],
    [{max_auth_failures => 'many'},        qr{config/max_auth_failures:1: "many" is no number}],
    [{auth_failure_delay => 61},           qr{config/auth_failure_delay:1: "61" is no number from 0 to 60}],
    [{tls_before_auth => 'yes'},           qr{config/tls_before_auth:1: }],
) {
    my ($config, $why) = @$case;
    my ($status, $output) = server($config)->check;
    is $status, 1, join(' ', keys %$config) . ': refused at the start';
    like $output, $why, 'with file, line and remedy';
}

# ---- nobody pays who does not use it ----

my $maps = sub { slurp('/proc/' . $d->pid . '/maps') };
fresh($t);
unlike $maps->(), qr/libsasl2/, 'libsasl2 is not loaded before the first AUTH';
gets('AUTH PLAIN', '334 ');
like $maps->(), qr/libsasl2/, 'but then';
$d->hangup;

done_testing;
