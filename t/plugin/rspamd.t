# rspamd, played by the test: what it is told, and what becomes of each of its answers.
use strict;
use warnings;

use JSON::PP ();
use Test::More;
use Time::HiRes qw(time);

use Qpsmtpd::HTTP;
use Qpsmtpd::Test qw(slurp free_port sanitized peak_memory);

my $json = JSON::PP->new->canonical->allow_nonref;
my $http = Qpsmtpd::HTTP->new;
my $server = '127.0.0.1:' . $http->port;

sub harness {
    my ($options, %arg) = @_;

    return Qpsmtpd::Test->new(
        plugins => [@{$arg{before} || []}, 'rcpt_ok', "rspamd server $server " . ($options || ''), 'queue/maildir Maildir'],
        config => {rcpthosts => ['example.test', 'other.test'], 'me-auth-results' => 'none', loglevel => 6, %{$arg{config} || {}}},
    );
}

# verdict - what rspamd answers from now on
sub verdict {
    my ($action, %more) = @_;

    $http->answer('*' => {type => 'application/json', body => $json->utf8->encode({
        action => $action, score => 7.25, required_score => 15,
        symbols => {A => {name => 'A', score => 1.5}, B => {name => 'B', score => -3}, C => {score => 0}}, %more})});
}

my $t = harness();
my $d = $t->dialogue;
my $mail = "From: a\@client.test\nSubject: hello\nX-Old: 1\nX-Old: 2\nX-Old: 3\n\nbody\n";

sub deliver { return $d->deliver('a@client.test', 'b@example.test', defined $_[0] ? $_[0] : $mail) }

# message - the one that has been queued since the last call, without our Received; '' when there is none
my $seen = 0;
sub message {
    my @m = $t->maildir_messages;

    return '' if @m == $seen;
    $seen = @m;
    my %new = map { $_ => 1 } @m;
    my ($file) = sort { -M $a <=> -M $b || $b cmp $a } glob $t->dir . '/Maildir/new/*';
    my $text = slurp($file);
    unlink $file;
    $seen--;
    $text =~ s/^(?:Received|Return-Path|Delivered-To|X-Deliver\S*): .*\n(?:[ \t].*\n)*//mg;
    return $text;
}

# ---- what it is told -------------------------------------------------------------------------------

verdict('no action');
like deliver(), qr/^250 /, 'no action: the message passes';
is message(), $mail, 'as it was';
my ($r) = $http->requests;
is $r->{line}, 'POST /checkv2 HTTP/1.1', 'one request';
is $r->{header}{lc $_->[0]}[0], $_->[1], "with $_->[0]" for
    ['IP', '127.0.0.1'], ['Hostname', 'localhost'], ['Helo', 'client.example.test'], ['From', '<a@client.test>'],
    ['Rcpt', '<b@example.test>'], ['MTA-Name', 'mx.example.test'];
like $r->{header}{'queue-id'}[0], qr/^\S{11}\.\d+$/, 'with Queue-Id';
ok !exists $r->{header}{lc $_}, "without $_" for qw(User Settings-ID Expect TLS-Cipher);
is $r->{header}{'content-length'}[0], length $r->{body}, 'the length is right';
like $r->{body}, qr/\AReceived: .*\n(?:[ \t].*\n)+\Q$mail\E\z/, 'the message stands below our Received';
like $d->log, qr/action="no action" score=7\.25 required=15\.00 symbols=B\(-3\.00\),A\(1\.50\),C\(0\.00\)$/m,
    'the log tells action, score and symbols, the heaviest first';

$d->deliver('', [map { "$_\@example.test" } 'x', 'y'], "a: b\n\n.dot\n\n");
($r) = $http->requests;
is $r->{header}{from}[0], '<>', 'the null sender';
is_deeply $r->{header}{rcpt}, ['<x@example.test>', '<y@example.test>'], 'two recipients';
like $r->{body}, qr/\n\n\.dot\n\n\z/, 'dots are not stuffed';
message();

my @many = map { ('r' x 60) . sprintf('%04d@example.test', $_) } 1 .. 500;
like $d->deliver('a@client.test', \@many, $mail), qr/^250 /, '500 recipients';
($r) = $http->requests;
my @told = @{$r->{header}{rcpt}};
ok @told > 300 && @told < 500, 'are more than rspamd would read of a header: it is told of ' . @told;
message();

{
    my $s = Qpsmtpd::Test->new(
        plugins => ['auth/auth_flat_file', 'rcpt_ok', "rspamd server http://$server/ settings_id relay", 'queue/discard'],
        config => {rcpthosts => 'example.test', flat_auth_pw => 'joe@example.test:secret'});
    chmod 0600, $s->dir . '/config/flat_auth_pw';
    my $e = $s->dialogue(env => {TCPREMOTEHOST => undef, TCPREMOTEIP => '2001:db8::7'});
    $e->say($_) for 'EHLO x', "AUTH PLAIN AGpvZUBleGFtcGxlLnRlc3QAc2VjcmV0", 'MAIL FROM:<"a b"@c.test>', 'RCPT TO:<x@example.test>';
    like $e->data($mail), qr/^250 /, 'an authenticated client';
    ($r) = $http->requests;
    is $r->{header}{lc $_->[0]}[0], $_->[1], "$_->[0]: $_->[1]" for ['User', 'joe@example.test'],
        ['IP', '2001:db8::7'], ['Settings-ID', 'relay'], ['From', '<"a\\ b"@c.test>'];
    ok !exists $r->{header}{hostname}, 'a client without a name has no Hostname';
}

# ---- actions ---------------------------------------------------------------------------------------

for my $case (
    ['greylist', {}, qr/^250 /, $mail, 'greylist alone is no refusal'],
    ['soft reject', {}, qr/^451 .*Try again later/, ''],
    ['soft reject', {messages => {smtp_message => "Slow\r\ndown\x{263a}"}}, qr/^451 Slow\?\?down\?\?\?$/, '', 'its text, in one line'],
    ['reject', {}, qr/^554 .*Spam message rejected/, ''],
    ['reject', {messages => {smtp_message => 'Gtube pattern'}}, qr/^554 .*Gtube pattern/, ''],
    ['reject', {milter => {reject => 'discard'}}, qr/^554 /, '', 'reject with discard refuses: nothing disappears'],
    ['discard', {}, qr/^554 /, '', 'discard refuses'],
    ['reject', {milter => {no_action => JSON::PP::true}}, qr/^250 /, $mail =~ s/\n\n/\nX-Rspamd-Action: reject\n\n/r],
    ['add header', {}, qr/^250 /, $mail =~ s/\n\n/\nX-Spam: Yes\n\n/r],
    ['add header', {milter => {spam_header => 'very'}}, qr/^250 /, $mail =~ s/\n\n/\nX-Spam: very\n\n/r],
    ['add header', {milter => {spam_header => {'X-Old' => '9', 'X-Junk' => 'y'}}}, qr/^250 /,
        $mail =~ s/X-Old: 1\nX-Old: 2\nX-Old: 3\n/X-Junk: y\nX-Old: 9\n/r, 'fields instead of X-Spam'],
    ['no action', {milter => {spam_header => 'very'}}, qr/^250 /, $mail, 'spam_header is for spam'],
    ['quarantine', {}, qr/^250 /, $mail =~ s/\n\n/\nX-Spam: Yes\n\n/r, 'quarantine marks'],
    ['rewrite subject', {subject => '***SPAM*** hello'}, qr/^250 /, $mail =~ s/hello/***SPAM*** hello/r],
    ['rewrite subject', {}, qr/^250 /, $mail =~ s/\n\n/\nX-Spam: Yes\n\n/r, 'rewrite subject without one marks'],
    # edits
    ['no action', {milter => {remove_headers => {'x-old' => 0}}}, qr/^250 /, $mail =~ s/X-Old.*\n//gr, 'all of a name are removed'],
    ['no action', {milter => {remove_headers => {'X-Old' => 2}}}, qr/^250 /, $mail =~ s/X-Old: 2\n//r, 'the second'],
    ['no action', {milter => {remove_headers => {'X-Old' => -1}}}, qr/^250 /, $mail =~ s/X-Old: 3\n//r, 'the last'],
    ['no action', {milter => {remove_headers => {'X-Old' => 4, None => 1}}}, qr/^250 /, $mail, 'a fourth is not there'],
    ['no action', {milter => {remove_headers => {'X-Old' => -4, None => 0}}}, qr/^250 /, $mail, 'nor one before the first'],
    ['no action', {milter => {add_headers => {'X-New' => 'a'}}}, qr/^250 /, $mail =~ s/\n\n/\nX-New: a\n\n/r, 'add'],
    ['no action', {milter => {add_headers => {'X-New' => ['a', {value => 'b'}]}}}, qr/^250 /,
        $mail =~ s/\n\n/\nX-New: a\nX-New: b\n\n/r, 'add several'],
    ['no action', {milter => {add_headers => {'X-New' => {value => 'a', order => -1}}}}, qr/^250 /,
        $mail =~ s/\n\n/\nX-New: a\n\n/r, 'order -1 is the end'],
    ['no action', {milter => {add_headers => {'X-New' => {value => 'a', index => -2}}}}, qr/^250 /,
        $mail =~ s/(X-Old: 3)/X-New: a\n$1/r, 'order -2 is before the last one'],
    ['no action', {milter => {add_headers => {'X-New' => {value => 'a', order => 0}}}}, qr/^250 /, "X-New: a\n$mail", 'order 0 is the top'],
    ['no action', {milter => {add_headers => {'X-New' => {value => 'a', order => -99}}}}, qr/^250 /, "X-New: a\n$mail", 'and what is above it'],
    ['no action', {milter => {add_headers => {'X-New' => {value => 'a', order => 2}}}}, qr/^250 /,
        $mail =~ s/\n/\nX-New: a\n/r, 'order 2 stands below Received and From'],
    ['no action', {milter => {add_headers => {'X-New' => {value => 'a', order => 99}}}}, qr/^250 /,
        $mail =~ s/\n\n/\nX-New: a\n\n/r, 'order 99 is the end'],
    ['no action', {'dkim-signature' => 'v=1'}, qr/^250 /, "DKIM-Signature: v=1\n$mail", 'a signature'],
    ['no action', {'dkim-signature' => ['v=1', 'v=2']}, qr/^250 /, "DKIM-Signature: v=1\nDKIM-Signature: v=2\n$mail", 'two'],
    ['reject', {milter => {add_headers => {'X-New' => 'a'}}}, qr/^554 /, ''],
    # nothing breaks out of its field
    ['no action', {milter => {add_headers => {'X-New' => "a\r\n\tb\r\n\r\nEvil: 1\n \n.\r\nx\ry\x01\x00z"}}}, qr/^250 /,
        $mail =~ s/\n\n/\nX-New: a\n\tb\n\tEvil: 1\n\t.\n\txy???z\n\n/r =~ s/\?\?\?z/??z/r, 'a value with line ends'],
    ['rewrite subject', {subject => "a\r\n\r\nb"}, qr/^250 /, $mail =~ s/hello/a\n\tb/r, 'a subject with line ends'],
    ['add header', {milter => {spam_header => "x\n\ny"}}, qr/^250 /, $mail =~ s/\n\n/\nX-Spam: x\n\ty\n\n/r, 'a spam_header with line ends'],
) {
    my ($action, $more, $reply, $expect, $name) = @$case;
    verdict($action, %$more);
    like deliver(), $reply, $name || $action;
    is message(), $expect, '... and what is queued';
}

# What is not understood as a whole changes nothing and is tried again later.
for my $case (
    ['an unknown action', 'eject'],
    ['add_headers', 'no action', milter => {add_headers => {"X\nY" => 'a'}}],
    ['add_headers', 'no action', milter => {add_headers => {'X Y' => 'a'}}],
    ['add_headers', 'no action', milter => {add_headers => {'X:' => 'a'}}],
    ['add_headers', 'no action', milter => {add_headers => {'' => 'a'}}],
    ['add_headers', 'no action', milter => {add_headers => {'X' x 101 => 'a'}}],
    ['add_headers', 'no action', milter => {add_headers => {X => 5}}],
    ['add_headers', 'no action', milter => {add_headers => {X => {order => 5}}}],
    ['add_headers', 'no action', milter => {add_headers => {X => {value => 'a', order => 'first'}}}],
    ['add_headers', 'no action', milter => {add_headers => {X => {value => 'a', order => 1e300}}}],
    ['add_headers', 'no action', milter => {add_headers => [{X => 'a'}]}],
    ['add_headers', 'no action', milter => {add_headers => {X => 'a', Y => [map { "$_" } 1 .. 200]}}],
    ['remove_headers', 'no action', milter => {remove_headers => {X => 'all'}}],
    ['remove_headers', 'no action', milter => {remove_headers => {X => 1.5}}],
    ['remove_headers', 'no action', milter => {remove_headers => {"X\n" => 1}}],
    ['remove_headers', 'no action', milter => {remove_headers => ['X']}],
    ['spam_header', 'add header', milter => {spam_header => 5}],
    ['spam_header', 'add header', milter => {spam_header => {'a b' => 5}}],
    ['change_from', 'no action', milter => {add_headers => {X => 'y'}, change_from => 'no address at all'}],
    ['change_from', 'no action', milter => {change_from => "a\@b.test>\r\nRCPT TO:<x\@y.test"}],
    ['add_rcpt', 'no action', milter => {add_rcpt => ["x\@y.test\r\nDATA"]}],
    ['add_rcpt', 'no action', milter => {add_rcpt => {}}],
    ['no recipient is left', 'no action', milter => {del_rcpt => ['B@example.test']}],
    ['milter', 'no action', milter => 'x'],
    ['dkim-signature', 'no action', 'dkim-signature' => 7],
) {
    my ($name, $action, %more) = @$case;
    verdict($action, %more);
    like deliver(), qr/^451 .*Unable to check for spam, try again later/, "wrong: $name";
    is message(), '', '... nothing is queued';
}

# ---- the envelope ----------------------------------------------------------------------------------

{
    my $env = Qpsmtpd::Test->new(
        plugins => ['rcpt_ok', "rspamd server $server", 'queue/qmail-queue'],
        config => {rcpthosts => ['example.test', 'other.test']});
    my $out = $env->dir . '/envelope';
    my $program = $env->file('qq', "#!/bin/sh\ncat >/dev/null\ncat <&1 >$out\n");
    chmod 0755, $program;
    my $e = $env->dialogue(env => {QMAILQUEUE => $program});
    for my $case (
        [{change_from => 'new@c.test'}, "Fnew\@c.test\0Tx\@example.test\0Ty\@example.test\0\0", 'a new sender'],
        [{change_from => '<>'}, "F\0Tx\@example.test\0Ty\@example.test\0\0", 'the null sender'],
        [{add_rcpt => ['z@z.test', '<q@q.test>']}, "Fa\@client.test\0Tx\@example.test\0Ty\@example.test\0Tz\@z.test\0Tq\@q.test\0\0", 'more recipients'],
        [{del_rcpt => ['<x@EXAMPLE.test>']}, "Fa\@client.test\0Ty\@example.test\0\0", 'fewer'],
        [{del_rcpt => ['X@Example.test']}, "Fa\@client.test\0Ty\@example.test\0\0", 'fewer, in the case that rspamd likes'],
        [{add_rcpt => ['z@z.test'], del_rcpt => ['x@example.test', 'y@example.test']}, "Fa\@client.test\0Tz\@z.test\0\0", 'another'],
    ) {
        my ($milter, $expect, $name) = @$case;
        verdict('no action', milter => $milter);
        like $e->deliver('a@client.test', ['x@example.test', 'y@example.test'], $mail), qr/^250 /, $name;
        is slurp($out), $expect, '... in the envelope';
    }
}

# ---- odd, hostile, slow and dying servers ----------------------------------------------------------

verdict('no action', symbols => {map { ("SYMBOL_$_" => {score => $_}) } 1 .. 2000});
like deliver(), qr/^250 /, '2000 symbols';
like $d->log, qr/symbols=SYMBOL_\d+\(\d+\.00\),[^\n]{800,990}\)$/m, '... are cut in the log, between two';
verdict('no action', symbols => {"A\n250 injected" => {score => 1}});
deliver();
unlike $d->log, qr/^250 injected/m, 'no symbol makes a line of its own in the log';
message();

my $good = '{"action":"no action","score":1}';
for my $case (
    ['chunked', {body => $good, chunked => 1}],
    ['no length', {body => $good, length => undef}],
    ['HTTP/1.0, bare LF', {raw => "HTTP/1.0 200 OK\n\n$good"}],
    ['bytes that are no UTF-8', {body => qq({"action":"no action","symbols":{"\xff\xc0\xaf\xed\xa0\x80\xf5":{"options":["\xe4\xf6"]}}})}],
    ['NUL escapes', {body => '{"action":"no action","a\u0000b":"\u0000","symbols":{"\u0000":1}}'}],
    ['a long answer', {body => '{"action":"no action","urls":["' . 'x' x 3_000_000 . '"]}'}],
    ['drip', {body => $good, drip => 0.002}],
) {
    $http->answer('*' => $case->[1]);
    like deliver(), qr/^250 /, "$case->[0] is understood";
    is message(), $mail, '... and nothing changed';
}

my @bad = (
    ['nothing', {close => 1}],
    ['an empty body', {body => ''}],
    ['an empty object', {body => '{}'}],
    ['no object', {body => '[1]'}],
    ['half an object', {body => '{"action":"no action"'}],
    ['more behind it', {body => "$good$good"}],
    ['a NUL byte', {body => "$good\0"}],
    ['garbage', {raw => join '', map { chr($_ * 7 % 256) } 0 .. 2000}],
    ['an SMTP greeting', {raw => "220 hello\r\n"}],
    ['HTTP 0.9', {raw => $good}],
    ['status 500', {body => $good, status => '500 Oops'}],
    ['status 404', {body => $good, status => '404 Not Found'}],
    ['a redirect', {body => $good, status => '302 Found', header => ["Location: http://$server/other"]}],
    ['deep nesting', {body => '{"action":"no action","a":' . '[' x 100_000 . ']' x 100_000 . '}'}],
    ['a number too large', {body => '{"action":"no action","score":1e999}'}],
    ['five megabytes', {body => '{"action":"no action","urls":["' . 'x' x 5_000_000 . '"]}'}],
    ['five megabytes announced', {body => $good, length => 5_000_000}],
    ['no end', {endless => 1}],
    ['a cut body', {body => $good, after => 90}],
    ['a cut chunk', {body => $good, chunked => 1, after => 110}],
    ['a header without end', {raw => "HTTP/1.1 200 OK\r\n" . "X: y\r\n" x 100_000}],
    ['a line without end', {raw => 'HTTP/1.1 200 ' . 'x' x 1_000_000}],
    ['an answer before the message', {body => 'too large', status => '413 Too large', early => 1}],
);
for my $case (@bad) {
    $http->answer('*' => $case->[1]);
    like deliver(), qr/^451 .*Unable to check for spam, try again later/, "$case->[0] is no answer";
    is message(), '', '... and nothing is queued';
}
like $d->log, qr/message not judged error="HTTP status 500" server=http:/, 'the log says why';
unlike $d->log, qr/\/other/, 'a redirect is not followed';
ok !grep({ $_->{path} eq '/other' } $http->requests), '... indeed';

{
    my $accept = harness('on_error accept timeout 1s');
    my $e = $accept->dialogue;
    for my $case (@bad, ['a wrong edit', {body => '{"action":"reject","milter":5}'}],
            ['no recipient left', {body => '{"action":"no action","milter":{"del_rcpt":["b@example.test"]}}'}]) {
        $http->answer('*' => $case->[1]);
        like $e->deliver('a@client.test', 'b@example.test', $mail), qr/^250 /, "on_error accept: $case->[0]";
    }
}

{
    my $short = harness('timeout 1s');
    my $e = $short->dialogue;
    for my $case (['reads nothing', {hang => 'read'}], ['answers nothing', {hang => 'answer'}],
        ['stops in the header', {hang => 20, body => $good}], ['stops in the body', {hang => 90, body => $good}],
        ['drips', {body => $good, drip => 0.1}]) {
        $http->answer('*' => $case->[1]);
        my $began = time;
        like $e->deliver('a@client.test', 'b@example.test', $mail . "x\n" x 2_000_000), qr/^451 /, "a server that $case->[0]";
        my $took = time - $began;
        ok $took > 0.9 && $took < 10 * ($ENV{TEST_SLOW} || 1), sprintf '... costs a second (%.1f s)', $took;
    }
    $http->stop;
    like $e->deliver('a@client.test', 'b@example.test', $mail), qr/^451 /, 'no server';
    $http->start;
    verdict('no action');
    like $e->deliver('a@client.test', 'b@example.test', $mail), qr/^250 /, 'and when it is back';
}

# ---- options ---------------------------------------------------------------------------------------

verdict('reject');
for my $case (
    ['reject 0', qr/^250 /, qr/\nX-Spam: Yes\n/],
    ['reject 0 spam_header X-Junk', qr/^250 /, qr/\nX-Junk: Yes\n/],
    ['reject_type temp', qr/^451 /],
    ['reject_type disconnect', qr/^554 /],
    ['reject naughty', qr/^250 /, qr/\nX-Spam: Yes\n/],
    ['size_limit 1k', qr/^554 /],
) {
    my ($options, $reply, $queued) = @$case;
    my $o = harness($options);
    my $e = $o->dialogue;
    like $e->deliver('a@client.test', 'b@example.test', $mail), $reply, $options;
    like +($o->maildir_messages)[0], $queued, '... and how it is marked' if $queued;
    ok $e->eof, '... and closes' if $options =~ /disconnect/;
}
{
    my $o = harness('size_limit 1k');
    my $e = $o->dialogue;
    $http->requests;
    like $e->deliver('a@client.test', 'b@example.test', $mail . 'x' x 900 . "\n"), qr/^250 /, 'a larger message passes';
    is scalar $http->requests, 0, '... and nobody is asked';
    like $e->log, qr/message not judged, larger than size_limit/, '... and it is logged';
}
for my $case (['', qr/^554 /], ['relayclient scan', qr/^554 /], ['relayclient skip', qr/^250 /]) {
    my $o = harness($case->[0], before => ['check_relay']);
    my $e = $o->dialogue(env => {RELAYCLIENT => ''});
    like $e->deliver('a@client.test', 'b@example.test', $mail), $case->[1], "a relay client, '$case->[0]'";
}
{
    my $o = Qpsmtpd::Test->new(plugins => ['rcpt_ok', 'rspamd server SOCKET timeout 5s', 'queue/discard'], config => {rcpthosts => 'example.test'});
    my $path = $o->dir . '/rspamd.sock';
    $o->config(plugins => ['rcpt_ok', "rspamd server $path", 'queue/discard']);
    my $unix = Qpsmtpd::HTTP->new(socket => $path);
    $unix->answer('*' => '{"action":"reject"}');
    like $o->dialogue->deliver('a@client.test', 'b@example.test', $mail), qr/^554 /, 'a unix socket';
    is +($unix->requests)[0]{line}, 'POST /checkv2 HTTP/1.1', '... gets the same';
    $unix->stop;
    like $o->dialogue->deliver('a@client.test', 'b@example.test', $mail), qr/^451 /, '... and without a server';
}
{
    # The environment is the administrator's as well as the client's: it chooses no proxy.
    my $e = $t->dialogue(env => {map { ($_ => 'http://127.0.0.1:1/') } qw(http_proxy HTTP_PROXY all_proxy ALL_PROXY)});
    like $e->deliver('a@client.test', 'b@example.test', $mail), qr/^554 /, 'no proxy';
}

# ---- a large message -------------------------------------------------------------------------------

verdict('no action');
{
    my $e = $t->dialogue;
    $e->deliver('a@client.test', 'b@example.test', $mail);
    my $before = peak_memory($e->pid);
    $http->requests;
    my $large = $mail . ('x' x 75 . "\n") x int((25 << 20) / 76);
    like $e->deliver('a@client.test', 'b@example.test', $large), qr/^250 /, '25 MiB';
    my ($request) = $http->requests;
    ok $request->{received} > length $large, '... reach the server';
    my $grown = peak_memory($e->pid) - $before;
    SKIP: {
        skip 'sanitizers have their own idea of memory', 1 if sanitized();
        ok $grown < 2048, "... in constant memory ($grown KiB more)";
    }
}

$d->quit;
is $d->status, 0, 'after all of that the session ends well';

# ---- what is wrong is told at start ----------------------------------------------------------------

for my $case (
    ['server', qr/server/], ['server ftp://x', qr/no server/], ['server http://', qr/no server/],
    ['server http://x/?a', qr/no server/], ['server 127.0.0.1:99999', qr/no server/], ['timeout 0', qr/timeout/],
    ['timeout 1d', qr/timeout/], ['size_limit none', qr/size_limit/], ['on_error pass', qr/on_error/],
    ['relayclient no', qr/relayclient/], ['spam_header X:Y', qr/spam_header/], ['reject maybe', qr/reject/], ['color red', qr/color/],
) {
    my ($status, $said) = harness($case->[0])->check;
    isnt $status, 0, "'$case->[0]' refuses the start";
    like $said, qr/plugins:2.*$case->[1]/, '... with file and line';
}

done_testing;
