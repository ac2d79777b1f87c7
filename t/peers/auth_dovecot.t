# The plugins auth/dovecot and auth/auth_imap against Dovecot, auth/auth_checkpassword against checkpw.
# Nothing is installed (.ci/unpack).
use strict;
use warnings;

use MIME::Base64 qw(encode_base64);
use Test::More;
use Time::HiRes qw(time);
use Qpsmtpd::Dovecot;
use Qpsmtpd::Test qw(free_port slurp wait_for);

my ($checkpw) = split /\n/, `.ci/unpack checkpw`;
die ".ci/unpack checkpw has failed\n" if $? || !defined $checkpw;

my $t = Qpsmtpd::Test->new(config => {auth_failure_delay => 0, max_auth_failures => 0}, loglevel => 7);

# ---- Dovecot ---------------------------------------------------------------------------------------

my $dovecot = Qpsmtpd::Dovecot->new($t, 'dovecot-imapd') or plan skip_all => $Qpsmtpd::Dovecot::why;
my $port = free_port();
my $odd = "gr\xc3\xbcn \"\\{5} %09";

$dovecot->file('users-', <<"END");
joe:{PLAIN}good_pass::::::
odd:{PLAIN}${odd}::::::
near:{PLAIN}good_pass::::::allow_nets=192.0.2.0/24
locked:{PLAIN}good_pass::::::nologin
END
$dovecot->file('users-ours.test', "joe\@ours.test:{PLAIN}other_pass::::::\n");
chmod 0, $dovecot->file('users-broken.test', '');
my $socket = $dovecot->home . '/run/auth-client';
$dovecot->start(<<"END", sub { -S $socket && IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $port) });
protocols = imap
ssl = no
disable_plaintext_auth = no
auth_mechanisms = plain
auth_failure_delay = 1 secs
auth_debug = yes
mail_location = maildir:HOME/mail/%u
passdb {
  driver = passwd-file
  args = scheme=PLAIN HOME/users-%d
}
userdb {
  driver = static
  args = uid=UID gid=GID home=HOME/mail/%u
}
service imap-login {
  chroot =
  inet_listener imap {
    port = $port
  }
  inet_listener imaps {
    port = 0
  }
}
service auth {
  unix_listener auth-client {
    mode = 0666
  }
}
END

# ---- clients ---------------------------------------------------------------------------------------

sub b64 { return encode_base64($_[0], '') }

# reply - to an AUTH of that mechanism
sub reply {
    my ($plugin, $mechanism, $user, $password, %env) = @_;

    $t->config(plugins => $plugin);
    my $d = $t->dialogue(env => {%env});
    $d->say('EHLO client.test');
    return $d->say('AUTH PLAIN ' . b64("\0$user\0$password")) if $mechanism eq 'PLAIN';
    $d->say('AUTH LOGIN ' . b64($user));
    return $d->say(b64($password));
}

# log_tells - what Dovecot has logged since the last call
my $seen = 0;
sub log_tells {
    my ($pattern) = @_;

    return eval { wait_for(sub { substr($dovecot->log, $seen) =~ $pattern }, 5, $pattern) } ? $seen = length $dovecot->log : 0;
}

my %plugin = (
    "auth/dovecot $socket"            => ['dovecot',         'dovecot - wrong password'],
    "auth/auth_imap 127.0.0.1 $port"  => ['auth_imap/MECHANISM',    'auth_imap - invalid password'],
);
for my $plugin (sort keys %plugin) {
    my ($right, $wrong) = @{$plugin{$plugin}};
    for my $mechanism (qw(PLAIN LOGIN)) {
        for my $case (['joe', 'good_pass'], ['odd', $odd], ['joe@ours.test', 'other_pass']) {
            my ($user, $password) = @$case;
            is reply($plugin, $mechanism, $user, $password),
                "235 $mechanism authentication successful for $user - " . $right =~ s/MECHANISM/\L$mechanism/r,
                "$plugin, $mechanism: $user";
        }
        is reply($plugin, $mechanism, 'joe', 'bad_pass'),
            "535 $mechanism authentication failed for joe from 127.0.0.1 - $wrong", 'a wrong password';
    }
    like reply($plugin, 'PLAIN', 'nobody', 'good_pass'), qr/^535 .* - \Q$wrong\E$/, 'an unknown user';
    like reply($plugin, 'PLAIN', 'locked', 'good_pass'), qr/^535 .* - \Q$wrong\E$/, 'one who may not log in';
    my $start = time;
    is reply($plugin, 'PLAIN', 'joe@broken.test', 'x'), '454 Temporary authentication failure',
        'users that Dovecot cannot look up: nobody can tell';
    note sprintf '%.1f s', time - $start;
}

my $auth = "auth/dovecot $socket";
like reply($auth, 'PLAIN', 'near', 'good_pass', TCPREMOTEIP => '192.0.2.7'), qr/^235 /, 'Dovecot knows the client, who may';
ok log_tells(qr/passwd-file\(near,192\.0\.2\.7\): allow_nets: Matching/), 'as its log says' or diag $dovecot->log;
like reply($auth, 'PLAIN', 'near', 'good_pass', TCPREMOTEIP => '198.51.100.7'), qr/^535 /, 'or may not';
unlike $dovecot->log, qr/BUG|Error: .*(?:invalid|unknown) (?:command|param)/, 'Dovecot has nothing to complain of';

# Many in a row: each is a connection of its own.
$t->config(plugins => $auth);
my $server = $t->prefork('--children', 2);
my $passed = 0;
for (1 .. 100) {
    my $d = $server->connect;
    $d->say('EHLO client.test');
    $passed += $d->say('AUTH PLAIN ' . b64("\0joe\0good_pass")) =~ /^235/;
    $d->quit;
}
is $passed, 100, 'a hundred clients are let in';
is $server->stop, 0, 'the server ends well';

$dovecot->stop;
for my $plugin (sort keys %plugin) {
    is reply($plugin, 'PLAIN', 'joe', 'good_pass'), '454 Temporary authentication failure', "$plugin, and Dovecot has ended";
}

# ---- checkpw ---------------------------------------------------------------------------------------

SKIP: {
    # It becomes the user it lets in, and that needs root.
    skip 'checkpw needs root', 2 if $<;
    mkdir $t->dir . '/mail';
    chmod 0600, $t->file('mail/.password', 'good_pass');
    my $plugin = "auth/auth_checkpassword checkpw $checkpw/usr/bin/checkpw";
    for my $case (['good_pass', '235 PLAIN authentication successful for root - auth_checkpassword'],
        ['bad_pass', '535 PLAIN authentication failed for root from 127.0.0.1 - auth_checkpassword - wrong password']) {
        my ($password, $reply) = @$case;
        is reply($plugin, 'PLAIN', 'root', $password, MAILDIR => $t->dir . '/mail'), $reply, "checkpw: $password";
    }
}

my $log = join '', map { slurp($_) } glob $t->dir . '/log.*';
like $log, qr/auth passed/, 'our log tells who has come in';
unlike $log, qr/good_pass|bad_pass|other_pass|%09/, 'and no password';

done_testing;
