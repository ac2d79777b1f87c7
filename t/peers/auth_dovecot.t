# The plugins auth/dovecot and auth/auth_imap against Dovecot, auth/auth_checkpassword against checkpw.
# Nothing is installed (.ci/unpack). Dovecot has paths in /usr compiled in: in a mount namespace of its own its
# files lie over /usr. It runs without any privilege, as nobody where the test is root.
use strict;
use warnings;

use MIME::Base64 qw(encode_base64);
use POSIX ();
use Test::More;
use Time::HiRes qw(time);
use Qpsmtpd::Test qw(free_port slurp wait_for);

my ($dovecot, $checkpw) = split /\n/, `.ci/unpack dovecot-imapd checkpw`;
die ".ci/unpack dovecot-imapd checkpw has failed\n" if $? || !defined $checkpw;

my $t = Qpsmtpd::Test->new(config => {auth_failure_delay => 0, max_auth_failures => 0}, loglevel => 7);

# ---- Dovecot ---------------------------------------------------------------------------------------

my ($user, $uid, $gid) = $< ? ((getpwuid $<)[0], $<, $( + 0) : (getpwnam 'nobody')[0, 2, 3];
my $group = getgrgid $gid;
my $home = File::Temp->newdir("qpsmtpd-dovecot-XXXXXX", TMPDIR => 1, CLEANUP => !$ENV{KEEP});
my $port = free_port();
my $odd = "gr\xc3\xbcn \"\\{5} %09";

# write - a file of his
sub write_file {
    my ($name, $content) = @_;

    open my $fh, '>', "$home/$name" or die "$home/$name: $!";
    print $fh $content;
    close $fh;
    chmod 0600, "$home/$name";
    chown $uid, $gid, "$home/$name";
}

mkdir "$home/$_" for qw(run state mail);
chown $uid, $gid, "$home", map { "$home/$_" } qw(run state mail);
chmod 0755, "$home", "$home/run";
write_file('users-', <<"END");
joe:{PLAIN}good_pass::::::
odd:{PLAIN}${odd}::::::
near:{PLAIN}good_pass::::::allow_nets=192.0.2.0/24
locked:{PLAIN}good_pass::::::nologin
END
write_file('users-ours.test', "joe\@ours.test:{PLAIN}other_pass::::::\n");
write_file('users-broken.test', '');
chmod 0, "$home/users-broken.test";
write_file('dovecot.conf', <<"END");
base_dir = $home/run
state_dir = $home/state
log_path = $home/log
default_internal_user = $user
default_internal_group = $group
default_login_user = $user
listen = 127.0.0.1
protocols = imap
ssl = no
disable_plaintext_auth = no
auth_mechanisms = plain
auth_failure_delay = 1 secs
auth_debug = yes
mail_location = maildir:$home/mail/%u
first_valid_uid = 1
passdb {
  driver = passwd-file
  args = scheme=PLAIN $home/users-%d
}
userdb {
  driver = static
  args = uid=$uid gid=$gid home=$home/mail/%u
}
service anvil {
  chroot =
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
service stats {
  chroot =
}
service auth {
  unix_listener auth-client {
    mode = 0666
  }
}
END

# private - a command that runs the rest of its words there
my $mount = "mount -t overlay overlay -o lowerdir='$dovecot/usr':/usr /usr";
my @private = $< ? (qw(unshare --map-root-user --mount sh -c), "$mount && exec unshare --user --map-user=$uid --map-group=$gid \"\$@\"", 'sh')
    : (qw(unshare --mount sh -c), "$mount && exec setpriv --reuid=$uid --regid=$gid --clear-groups \"\$@\"", 'sh');
my ($possible, $why) = $t->run(@private, qw(dovecot --version));
plan skip_all => "Dovecot cannot have its own /usr here: $why" if $possible;

my $pid = fork;
die "fork: $!" unless defined $pid;
if ($pid == 0) {
    exec @private, qw(dovecot -F -c), "$home/dovecot.conf" or POSIX::_exit(127);
}
END {
    local $?;
    if ($pid) {
        kill TERM => $pid;
        waitpid $pid, 0;
    }
}
my $socket = "$home/run/auth-client";
ok eval { wait_for(sub { -S $socket && IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $port) }, 20, 'Dovecot'); 1 },
    'Dovecot runs' or BAIL_OUT(slurp("$home/log") // 'it has not even a log');

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

    return eval { wait_for(sub { substr(slurp("$home/log"), $seen) =~ $pattern }, 5, $pattern) } ? $seen = -s "$home/log" : 0;
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
ok log_tells(qr/passwd-file\(near,192\.0\.2\.7\): allow_nets: Matching/), 'as its log says' or diag slurp("$home/log");
like reply($auth, 'PLAIN', 'near', 'good_pass', TCPREMOTEIP => '198.51.100.7'), qr/^535 /, 'or may not';
unlike slurp("$home/log"), qr/BUG|Error: .*(?:invalid|unknown) (?:command|param)/, 'Dovecot has nothing to complain of';

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

kill TERM => $pid;
waitpid $pid, 0;
$pid = 0;
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
