# The resolver, asked by a plugin through the public API, against the tests' own name server: each
# status, deadlines and budgets, answers while the client talks, and nothing that outlives a session.
use strict;
use warnings;
use lib 't/system';

use Test::More;
use Time::HiRes qw(time sleep);
use Qpsmtpd::Test qw(sanitized free_port slurp wait_for);
use Qpsmtpd::DNS;
use Probe;

my $slow = $ENV{TEST_SLOW} || 1;
my $plugins = File::Temp->newdir('qpsmtpd-dns-XXXXXX', TMPDIR => 1);
Probe::build('t/system/dns_probe.c', "$plugins/dns_probe.so", qw(-Wall -Wextra -Werror));

# with - a server configuration that asks these name servers
sub with {
    my ($servers, %config) = @_;
    my @servers = map { ref ? $_->address : $_ } ref $servers eq 'ARRAY' ? @$servers : $servers;

    return Qpsmtpd::Test->new(plugin_dirs => ["$plugins"], plugins => ['dns_probe'], loglevel => 6,
        config => {dns_servers => \@servers, dns_timeout => 0.3 * $slow, %config});
}

# timed - the reply without its code, and the seconds that it took
sub timed {
    my ($d, $line) = @_;
    my $begin = time;
    my $reply = $d->say("NOOP $line");

    $reply =~ s/^250[- ]//mg;
    return ($reply, time - $begin);
}

sub ask {
    return (timed(@_))[0];
}

my $dns = Qpsmtpd::DNS->new({
    'a.test' => {A => ['192.0.2.1', '192.0.2.2'], AAAA => '2001:DB8::1', NS => 'NS.a.test', ttl => 60,
        SOA => 'ns.a.test root.a.test 1 3600 900 86400 300', TXT => [['one ', 'two'], "t\x01b\xff"],
        MX => ['20 second.a.test', '10 First.A.test', '10 other.a.test']},
    'null.test' => {MX => '0 .'},
    'alias.test' => {CNAME => 'Alias2.test', ttl => 30},
    'alias2.test' => {CNAME => 'a.test', ttl => 500},
    'dangling.test' => {CNAME => 'nowhere.test'},
    'loop.test' => {CNAME => 'loop2.test'}, 'loop2.test' => {CNAME => 'loop.test'},
    'self.test' => {CNAME => 'self.test'},
    (map { ("c$_.chain.test" => {CNAME => 'c' . ($_ + 1) . '.chain.test'}) } 1 .. 17),
    'c18.chain.test' => {A => '192.0.2.18'},
    'void.test' => {}, 'fail.test' => {rcode => 'SERVFAIL'}, 'refused.test' => {rcode => 'REFUSED'},
    'silent.test' => {drop => 1}, 'second-try.test' => {A => '192.0.2.3', drop => '1x'},
    'late.test' => {A => '192.0.2.4', delay => 0.45 * $slow},
    'truncated.test' => {A => '192.0.2.5', truncate => 1},
    'thousand.test' => {many => 1000}, 'long.test' => {TXT => 'x' x 10000},
    'middle.test' => {TXT => 'x' x 900},
    'no-tcp.test' => {A => '192.0.2.5', truncate => 1, tcp => 'drop'},
    'closed-tcp.test' => {A => '192.0.2.5', truncate => 1, tcp => 'close'},
    (map { ("$_.slow.test" => {A => '192.0.2.7', delay => 0.2 * $slow}) } 1 .. 9),
    (map { ("$_.bad.test" => {fault => $_}) } qw(wrong_id wrong_question no_question short garbage rdlength
        self_pointer forward_pointer pointer_chain bad_a bad_text empty query)),
    Qpsmtpd::DNS::reverse('127.0.0.9') => {PTR => 'nine.test'},
    Qpsmtpd::DNS::reverse('127.0.0.1') => {PTR => 'never.asked.test'},
    'odd\\name.test' => {A => '192.0.2.8'}, 'two words.test' => {A => '192.0.2.9'},
    '*.many.test' => {A => '192.0.2.10'},
});

subtest 'each status is told apart' => sub {
    my $d = with($dns)->dialogue;
    my @cases = (
        ['A a.test', 'OK a.test n=2 ttl=60 192.0.2.1|192.0.2.2'],
        ['A A.Test.', 'OK a.test n=2 ttl=60 192.0.2.1|192.0.2.2'],
        ['AAAA a.test', 'OK a.test n=1 ttl=60 2001:db8::1'],
        ['NS a.test', 'OK a.test n=1 ttl=60 ns.a.test'],
        ['SOA a.test', 'OK a.test n=1 ttl=60 ns.a.test'],
        ['MX a.test', 'OK a.test n=3 ttl=60 10 first.a.test|10 other.a.test|20 second.a.test'],
        ['TXT a.test', 'OK a.test n=2 ttl=60 one two|t?b?'],
        ['MX null.test', 'OK null.test n=1 ttl=300 0'],
        ['PTR 9.0.0.127.in-addr.arpa', 'OK 9.0.0.127.in-addr.arpa n=1 ttl=300 nine.test'],
        ['A alias.test', 'OK a.test n=2 ttl=30 192.0.2.1|192.0.2.2'],
        ['PTR alias.test', 'NODATA a.test n=0'],
        ['A dangling.test', 'NXDOMAIN nowhere.test n=0'],
        ['A c2.chain.test', 'OK c18.chain.test n=1 ttl=300 192.0.2.18'],
        ['A c1.chain.test', 'MALFORMED c1.chain.test n=0'],
        ['A loop.test', 'MALFORMED loop.test n=0'], ['A self.test', 'MALFORMED self.test n=0'],
        ['A void.test', 'NODATA void.test n=0'], ['A test', 'NODATA test n=0'],
        ['A nx.test', 'NXDOMAIN nx.test n=0'], ['A x.onion', 'NXDOMAIN x.onion n=0'],
        ['A fail.test', 'SERVFAIL fail.test n=0'], ['A refused.test', 'REFUSED refused.test n=0'],
        ['A silent.test', 'TIMEOUT silent.test n=0'],
        ['A second-try.test', 'OK second-try.test n=1 ttl=300 192.0.2.3'],
        ['A late.test', 'OK late.test n=1 ttl=300 192.0.2.4'],
        ['A truncated.test', 'OK truncated.test n=1 ttl=300 192.0.2.5'],
        ['A no-tcp.test', 'TIMEOUT no-tcp.test n=0'], ['A closed-tcp.test', 'TIMEOUT closed-tcp.test n=0'],
        ['A thousand.test', 'OK thousand.test n=100 ttl=300 10.0.0.1|10.0.0.2|10.0.0.3|10.0.0.4'],
        ['TXT long.test', 'OK long.test n=1 ttl=300 8192 bytes'],
        ['TXT middle.test', 'OK middle.test n=1 ttl=300 900 bytes'],
        ['A odd\\name.test', 'OK odd\\name.test n=1 ttl=300 192.0.2.8'],
        ['A wrong_id.bad.test', 'TIMEOUT wrong_id.bad.test n=0'],
        ['A wrong_question.bad.test', 'TIMEOUT wrong_question.bad.test n=0'],
        ['A no_question.bad.test', 'TIMEOUT no_question.bad.test n=0'],
        ['A empty.bad.test', 'TIMEOUT empty.bad.test n=0'],
        (map { ["A $_.bad.test", "MALFORMED $_.bad.test n=0"] }
            qw(short garbage rdlength self_pointer forward_pointer pointer_chain bad_a query)),
        ['TXT bad_text.bad.test', 'MALFORMED bad_text.bad.test n=0'],
        ['A a..test', 'BAD_NAME  n=0'], ['A ' . 'x' x 64 . '.test', 'BAD_NAME  n=0'],
        ['A ' . 'abc.' x 64, 'BAD_NAME  n=0'], ['CNAME a.test', 'BAD_NAME  n=0'],
    );
    is ask($d, "get $_->[0]"), $_->[1], $_->[0] for @cases;
    is $d->quit =~ /^221/ && $d->status, 0, 'and it ends well';
};

subtest 'the same question is one query, and each session asks anew' => sub {
    $dns->clear;
    my $t = with($dns);
    my $d = $t->dialogue(env => {DNS_AT_CONNECT => 'A.test'});
    ask($d, 'get A a.test A a.TEST A a.test. MX a.test');
    ask($d, 'get A fail.test A fail.test');
    $d->quit;
    is $dns->count('A a.test'), 1, 'A asked once';
    is $dns->count('MX a.test'), 1, 'another type is another question';
    cmp_ok $dns->count('A fail.test'), '<=', 2, 'a failure is kept too (twice: with EDNS0 and without)';
    $t->dialogue->quit;
    is $dns->count('A a.test'), 1, 'a session that asks nothing, asks nothing';
    $d = $t->dialogue;
    ask($d, 'get A a.test');
    is $dns->count('A a.test'), 2, 'the next session does not know the answer';
    is scalar(grep { !/ (?:a|fail)\.test$/ } $dns->queries), 0, 'nothing else was asked';
    $dns->clear;
    $d = $t->dialogue(env => {LOCALDOMAIN => 'a.test', RES_OPTIONS => 'ndots:5'});
    is ask($d, 'get A www A www.a'), "NXDOMAIN www n=0\nNXDOMAIN www.a n=0", 'no search list';
    is_deeply [$dns->queries], ['A www', 'A www.a'], 'one query each';
    is scalar(grep { $_->{edns} != 1232 } $dns->log), 0, 'EDNS0 is offered';
};

subtest 'TCP only where it is needed' => sub {
    $dns->clear;
    my $d = with($dns)->dialogue;
    ask($d, 'get TXT middle.test A truncated.test TXT long.test');
    is_deeply [map { "$_->{proto} $_->{name}" } $dns->log],
        ['udp middle.test', 'udp truncated.test', 'tcp truncated.test', 'udp long.test', 'tcp long.test'],
        '900 bytes fit with EDNS0';
    my $old = Qpsmtpd::DNS->new({'a.test' => {A => '192.0.2.1', TXT => 'x' x 900}, 'b.test' => {A => '192.0.2.2'}},
        no_edns => 1);
    $d = with($old)->dialogue;
    ask($d, 'start A b.test TXT a.test A a.test');
    is ask($d, 'get A b.test A a.test TXT a.test'),
        "OK b.test n=1 ttl=300 192.0.2.2\nOK a.test n=1 ttl=300 192.0.2.1\nOK a.test n=1 ttl=300 900 bytes",
        'a server from before EDNS0 is asked without';
};

subtest 'answers arrive while the client talks' => sub {
    my $d = with($dns, dns_timeout => 2)->dialogue;
    my ($reply, $took) = timed($d, 'start A 1.slow.test A 2.slow.test A 3.slow.test');
    cmp_ok $took, '<', 0.15 * $slow, 'a start waits for nothing';
    is ask($d, 'peek A 1.slow.test'), 'open', 'not there yet';
    is ask($d, 'peek A 9.slow.test'), 'open', 'peek asks nothing';
    $d->raw("NOOP pe");
    sleep 0.4 * $slow; # the line is not whole: the server waits for the client
    $d->raw("ek A 1.slow.test\r\n");
    like $d->read_reply, qr/^250 OK 1\.slow\.test/, 'there while it waited for a line';
    is $dns->count('A 9.slow.test'), 0, 'peek asked nothing';
    ($reply, $took) = timed($d, 'get A 2.slow.test A 3.slow.test');
    like $reply, qr/^OK 2.*\nOK 3/, 'the others too';
    cmp_ok $took, '<', 0.15 * $slow, 'without waiting';
    ask($d, 'start ' . join ' ', map { "A $_.slow.test" } 4 .. 9);
    ask($d, 'sleep ' . 500 * $slow);
    ($reply, $took) = timed($d, join ' ', 'get', map { "A $_.slow.test" } 4 .. 9);
    is scalar(() = $reply =~ /^OK/mg), 6, 'a plugin that is busy loses no answer';
    $d = with($dns, dns_timeout => 2)->dialogue;
    ($reply, $took) = timed($d, join ' ', 'start', map { "A $_.slow.test" } 1 .. 9);
    ($reply, $took) = timed($d, join ' ', 'get', map { "A $_.slow.test" } 1 .. 9);
    is scalar(() = $reply =~ /^OK/mg), 9, 'nine questions at once';
    cmp_ok $took, '<', 0.5 * $slow, sprintf 'take one round: %.2f s', $took;
};

subtest 'dead servers cost what is configured, and no more' => sub {
    my $dead = Qpsmtpd::DNS->new({}, silent => 1);
    my $t = with($dead, dns_timeout => 5, dns_hook_timeout => 0.5);
    my $d = $t->dialogue;
    my ($reply, $took) = timed($d, 'get A 1.test A 2.test A 3.test A 4.test');
    is $reply, join("\n", map { "TIMEOUT $_.test n=0" } 1 .. 4), 'nobody answered';
    cmp_ok $took, '>', 0.45, 'the budget of the hook was used up';
    cmp_ok $took, '<', 0.5 + 0.3 * $slow, sprintf 'and not exceeded: %.2f s', $took;
    ($reply, $took) = timed($d, 'get A 5.test');
    cmp_ok $took, '>', 0.45, 'the next hook has its own';
    ($reply, $took) = timed($d, 'wait 100 A 6.test');
    is $reply, 'TIMEOUT 6.test n=0', 'a bound of its own';
    cmp_ok $took, '<', 0.1 + 0.3 * $slow, sprintf 'is kept: %.2f s', $took;
    my $begin = time;
    like $d->quit, qr/^221/, 'QUIT with open questions';
    is $d->status, 0, 'ends well';
    cmp_ok time - $begin, '<', 1 * $slow, 'at once';

    $d = with($dead, dns_timeout => 0.2, dns_tries => 2)->dialogue;
    ($reply, $took) = timed($d, 'get A 1.test');
    is $reply, 'TIMEOUT 1.test n=0', 'a question ends by itself';
    cmp_ok $took, '>', 0.35, 'after two tries';
    cmp_ok $took, '<', 0.4 + 0.3 * $slow, sprintf 'of 0.2 s each: %.2f s', $took;
    ok $dead->count('A 1.test') >= 2, 'asked twice';

    my $closed = '127.0.0.1:' . free_port;
    ($reply, $took) = timed(with($closed, dns_timeout => 5)->dialogue, 'get A 1.test');
    is $reply, 'TIMEOUT 1.test n=0', 'a closed port answers nothing';
    cmp_ok $took, '<', 0.5 * $slow, 'which is known at once';
};

subtest 'several servers' => sub {
    my $dead = Qpsmtpd::DNS->new({}, silent => 1);
    my $sick = Qpsmtpd::DNS->new({'*' => {rcode => 'SERVFAIL'}});
    my $rude = Qpsmtpd::DNS->new({'*' => {rcode => 'REFUSED'}});
    my $liar = Qpsmtpd::DNS->new({'*' => {fault => 'short'}});
    my $good = Qpsmtpd::DNS->new({'a.test' => {A => '192.0.2.1'}, 'b.test' => {A => '192.0.2.1'}});
    my $closed = '127.0.0.1:' . free_port;
    for ([dead => $dead], [SERVFAIL => $sick], [REFUSED => $rude], [malformed => $liar], [closed => $closed]) {
        my ($what, $first) = @$_;
        my $d = with([$first, $good], dns_timeout => 0.3)->dialogue;
        my ($reply, $took) = timed($d, 'get A a.test');
        is $reply, 'OK a.test n=1 ttl=300 192.0.2.1', "$what: the second one is asked";
        cmp_ok $took, '<', ($what eq 'dead' ? 0.3 : 0) + 0.2 * $slow, sprintf '%.2f s', $took;
        ($reply, $took) = timed($d, 'get A b.test');
        cmp_ok $took, '<', 0.2 * $slow, "$what: and first from then on";
    }
    is ask(with([$dead, $sick], dns_timeout => 0.3)->dialogue, 'get A a.test'), 'SERVFAIL a.test n=0', 'an answer beats silence';
    is ask(with([$rude, $sick])->dialogue, 'get A a.test'), 'REFUSED a.test n=0', 'the first one counts';
    is ask(with([$sick, $good])->dialogue, 'get A x.test'), 'NXDOMAIN x.test n=0', 'NXDOMAIN is an answer';
};

subtest 'the budget of a session' => sub {
    my $d = with($dns, dns_queries_max => 5)->dialogue;
    is ask($d, 'get A 1.many.test A 1.many.test A 2.many.test A 3.many.test A 4.many.test A 5.many.test A 6.many.test')
        =~ s/ .*//mgr, join("\n", ('OK') x 6, 'BUDGET'), 'five different questions';
    is ask($d, 'get A 3.many.test') =~ s/ .*//r, 'OK', 'what was asked before is known';
    is ask($d, 'get MX 3.many.test'), 'BUDGET  n=0', 'nothing new';
    $d = with($dns)->dialogue;
    ask($d, 'many 300 many.test');
    like ask($d, 'get A 200.many.test'), qr/^OK/, 'two hundred by default,';
    like ask($d, 'get A 201.many.test'), qr/^BUDGET/, 'no more';
};

subtest 'names under which addresses are listed' => sub {
    my $d = with($dns)->dialogue;
    is ask($d, 'reverse 192.0.2.1 zen.test'), '1.2.0.192.zen.test', 'IPv4';
    is ask($d, 'reverse 192.0.2.1'), '1.2.0.192.in-addr.arpa', 'for PTR';
    is ask($d, 'reverse 2001:db8::1 zen.test'), Qpsmtpd::DNS::reverse('2001:db8::1', 'zen.test'), 'IPv6: nibbles';
    is ask($d, 'reverse 2001:db8::1'), Qpsmtpd::DNS::reverse('2001:db8::1'), 'for PTR';
    is ask($d, 'reverse unknown zen.test'), 'none', 'no address';
};

subtest 'wrong configuration is told at start' => sub {
    my @cases = (
        [dns_servers => "127.0.0.1\nns.example.org", qr{config/dns_servers:2: "ns\.example\.org" is not a name server}],
        [dns_servers => '127.0.0.1:0', qr{config/dns_servers:1:}], [dns_servers => '127.0.0.1:70000', qr{dns_servers:1:}],
        [dns_servers => '[::1', qr{dns_servers:1:}], [dns_servers => '[::1]53', qr{dns_servers:1:}],
        [dns_servers => '127.0.0.1,127.0.0.2', qr{dns_servers:1:}],
        [dns_servers => "# many\n" . "127.0.0.1\n" x 9, qr{dns_servers:10: more than 8 name servers}],
        [dns_timeout => '0', qr{dns_timeout:1: "0" is not a time in seconds}], [dns_timeout => '31', qr{dns_timeout:1:}],
        [dns_timeout => '3s', qr{dns_timeout:1:}], [dns_timeout => '1.2345', qr{dns_timeout:1:}],
        [dns_tries => '0', qr{dns_tries:1: "0" is not a number from 1 to 10}], [dns_tries => 'two', qr{dns_tries:1:}],
        [dns_hook_timeout => '301', qr{dns_hook_timeout:1:}], [dns_queries_max => '0', qr{dns_queries_max:1:}],
    );
    for (@cases) {
        my ($file, $content, $says) = @$_;
        my ($status, $out) = Qpsmtpd::Test->new(config => {$file => $content})->check;
        is $status, 1, "$file " . $content =~ s/\n.*//sr;
        like $out, $says, 'says where';
    }
    my ($status, $out) = Qpsmtpd::Test->new(config => {dns_servers => "127.0.0.1\n::1\n[::1]:53\n192.0.2.1:5353",
        dns_timeout => '2.5', dns_tries => 3, dns_hook_timeout => 20, dns_queries_max => 100})->check;
    is $status, 0, 'right ones are right' or diag $out;
};

subtest 'the name of the client' => sub {
    my $t = with($dns);
    my $s = $t->prefork('--children', 1);
    $dns->clear;
    for (['127.0.0.9' => 'nine.test'], ['127.0.0.8' => 'Unknown'], ['127.0.0.1' => 'localhost']) {
        my ($ip, $name) = @$_;
        my $d = $s->connect(from => $ip);
        is ask($d, "get PTR " . Qpsmtpd::DNS::reverse($ip)) =~ s/ .*//r,
            {'nine.test' => 'OK', Unknown => 'NXDOMAIN', localhost => 'OK'}->{$name}, "PTR of $ip";
        $d->quit;
        $s->wait_log(qr/from \Q$ip\E \/ \Q$name\E/);
        is $dns->count('PTR ' . Qpsmtpd::DNS::reverse($ip)), 1, 'what the server has asked, plugins get';
    }
    $s->stop;
};

# fds - how many descriptors a process has
sub fds {
    my ($pid) = @_;
    opendir my $dir, "/proc/$pid/fd" or return -1;
    return scalar grep { /^\d/ } readdir $dir;
}

sub rss {
    my ($pid) = @_;
    return slurp("/proc/$pid/status") =~ /^VmRSS:\s+(\d+)/m ? $1 : 0;
}

subtest 'one child, many sessions: nothing grows' => sub {
    my $sessions = $ENV{DNS_SESSIONS} || 2000;
    my $quick = Qpsmtpd::DNS->new({'a.test' => {A => '192.0.2.1', TXT => 'x' x 3000},
        'silent.test' => {drop => 1}, 'fail.test' => {rcode => 'SERVFAIL'}, '*' => {A => '192.0.2.1'}});
    my $t = with([$quick], loglevel => 3, dns_timeout => 30);
    my $s = $t->prefork('--children', 1, '--idle-children', 1, '--max-requests', 0, '--no-rdns');
    my $child;
    my $one = sub {
        my ($i) = @_;
        my $d = $s->connect;
        # Answered, failed, still open, over TCP; every third client is gone without a word.
        $d->raw("NOOP start A silent.test A a.test A $i.test A fail.test\r\n");
        $d->raw($i % 10 ? "NOOP get A a.test\r\n" : "NOOP get TXT a.test\r\n");
        $d->read_reply for 1, 2;
        $d->quit if $i % 3;
        $d->hangup;
    };
    my (@fds, @rss);
    for my $i (1 .. $sessions) {
        $one->($i);
        next if $i % ($sessions / 4) && $i != 200;
        ($child) = $s->children;
        my @idle = wait_for(sub { my $n = fds($child); sleep 0.1; $n == fds($child) && $n }, 10, 'a quiet child');
        push @fds, $idle[0];
        push @rss, rss($child);
    }
    note "fds @fds, RSS @rss kB";
    is $fds[-1], $fds[0], "descriptors after $sessions sessions: $fds[-1]";
    SKIP: {
        skip 'sanitizers keep what was freed', 1 if sanitized;
        cmp_ok $rss[-1] - $rss[0], '<', 300, "memory: $rss[0] kB, then $rss[-1] kB";
    }
    $s->stop;
};

done_testing;
