# auth/auth_vpopmail_sql against MariaDB and PostgreSQL, each with a table of vpopmail's and a user who
# may read it. They are not installed (.ci/unpack), and run as an unprivileged user on 127.0.0.1.
# Packages: openssl
use strict;
use warnings;

use Test::More;
use Time::HiRes qw(time);
use Qpsmtpd::Auth;
use Qpsmtpd::Test qw(slurp wait_for);

my ($maria, $postgres) = split /\n/, `.ci/unpack mariadb-server-core postgresql-15`;
die ".ci/unpack mariadb-server-core postgresql-15 has failed\n" if $? || !defined $postgres;
my ($pg_bin) = glob "$postgres/usr/lib/postgresql/*/bin" or die "no programs in $postgres\n";
my $maria_share = "$maria/usr/share/mysql";

my $t = Qpsmtpd::Test->new(plugins => ['auth/auth_vpopmail_sql timeout 2', 'rcpt_ok'], loglevel => 6, config => {
    auth_failure_delay => 0, max_auth_failures => 0, vpopmail_mysql_user => 'mailer',
    auth_mechanisms => 'PLAIN LOGIN CRAM-MD5 SCRAM-SHA-1 SCRAM-SHA-256',
});
my $dir = $t->dir;
chmod 0640, $t->config(vpopmail_mysql_pass => 'between us;=\'"');

# Neither server runs for root.
my @unprivileged = $< ? () : qw(setpriv --reuid=nobody --regid=nogroup --clear-groups);
my $owner = $< ? $< : getpwnam 'nobody';
chmod 0711, $dir;

sub owned {
    my ($name, $mode) = @_;

    mkdir "$dir/$name";
    chown $owner, -1, "$dir/$name" or die "$name: $!";
    chmod $mode, "$dir/$name";
    return "$dir/$name";
}

# must - run a program to its good end
sub must {
    my ($status, $output) = $t->run(@_);

    die "@_[grep { !ref $_[$_] } 0 .. $#_]: status $status\n$output" if $status;
    return $output;
}

# ---- what is in the table --------------------------------------------------------------------------

my $hash = crypt 'sesame', '$6$rounds=5000$abcdefgh$';
my $slow = crypt 'sesame', '$6$rounds=60000$abcdefgh$';
my $many = 'm' x 250;
my @rows = (
    ['joe',     'example.com', $hash, undef],
    ['clear',   'example.com', undef, 'sesame'],
    ['both',    'example.com', $hash, 'sesame'],
    ['two',     'example.com', crypt('first', '$5$abcdefgh$'), 'second'],
    ['old',     'example.com', crypt('sesame', 'ab'), ''],
    ['none',    'example.com', undef, undef],
    ['empty',   'example.com', '', ''],
    ['star',    'example.com', '*', undef],
    ["o'hara",  'example.com', undef, 'sesame'],
    ['back\\',  'example.com', undef, 'sesame'],
    ['joe',     'two.example', undef, 'another'],
    ['cafe',    'example.com', undef, 'sesame'],
    ['long',    'example.com', undef, $many],
    ['longer',  'example.com', undef, $many x 2],
    ['eight',   'example.com', undef, "s\xc3\xa9same"],
);

sub quoted {
    my ($text, $mysql) = @_;

    return 'null' unless defined $text;
    $text =~ s/\\/\\\\/g if $mysql;
    $text =~ s/'/''/g;
    return "'$text'";
}

sub inserts {
    my ($mysql) = @_;

    return map { 'insert into vpopmail values (' . join(', ', map { quoted($_, $mysql) } @$_) . ');' } @rows;
}

# The columns are wider than vpopmail's own: hashes have grown.
my @columns = ('pw_name varchar(64)', 'pw_domain varchar(96)', 'pw_passwd varchar(512)', 'pw_clear_passwd varchar(512)');
my $table = 'create table vpopmail (' . join(', ', @columns, 'primary key (pw_name, pw_domain)') . ');';

# ---- certificates ----------------------------------------------------------------------------------

for my $ca ('ca', 'other') {
    must(qw(openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj), "/CN=$ca", '-keyout', "$dir/$ca.key",
        '-out', "$dir/$ca.pem", '-addext', 'basicConstraints=critical,CA:TRUE');
}
must(qw(openssl req -newkey rsa:2048 -nodes -subj /CN=localhost -keyout), "$dir/server.key", '-out', "$dir/server.csr");
$t->file('server.ext', "subjectAltName=DNS:localhost,IP:127.0.0.1\n");
must(qw(openssl x509 -req -days 2 -CAcreateserial -in), "$dir/server.csr", '-CA', "$dir/ca.pem", '-CAkey', "$dir/ca.key",
    '-out', "$dir/server.pem", '-extfile', "$dir/server.ext");
chmod 0600, "$dir/server.key";
chown $owner, -1, "$dir/server.key";

# ---- servers ---------------------------------------------------------------------------------------

my %password = (admin => 'root of all', mailer => 'between us;=\'"');

# start - in the foreground; the second time on the port that it had
sub start {
    my ($db) = @_;

    $db->{server} = $t->serve(sub {
        $db->{port} ||= $_[0];
        return (@unprivileged, $db->{command}->($db->{port}));
    });
    $db->{server}->wait_log($db->{ready});
}

my $maria_data = owned('maria', 0755);
my @maria_options = ('--no-defaults', "--datadir=$maria_data", "--lc-messages-dir=$maria_share", '--skip-innodb',
    '--default-storage-engine=Aria', '--enforce-storage-engine=');
my %mysql = (
    name => 'MariaDB',
    socket => "$maria_data/s",
    prepare => sub {
        my $sql = join "\n", 'create database mysql;', 'use mysql;', slurp("$maria_share/mysql_system_tables.sql"),
            slurp("$maria_share/mysql_system_tables_data.sql"), 'create database vpopmail;', 'use vpopmail;',
            $table, inserts(1), 'flush privileges;',
            map({ ("create user mailer\@$_ identified by " . quoted($password{mailer}) . ';',
                "grant select on vpopmail.* to mailer\@$_;") } "'127.0.0.1'", "'localhost'"), '';
        must({stdin => $sql}, @unprivileged, "$maria/run", 'mariadbd', @maria_options, '--bootstrap');
    },
    command => sub {
        return ("$maria/run", 'mariadbd', @maria_options, '--bind-address=127.0.0.1', "--port=$_[0]",
            "--socket=$maria_data/s", "--ssl-cert=$dir/server.pem", "--ssl-key=$dir/server.key",
            '--general-log', "--general-log-file=$maria_data/general.log");
    },
    dsn => sub { join ';', 'dbi:mysql:dbname=vpopmail', 'host=127.0.0.1', "port=$_[0]{port}", @_[1 .. $#_] },
    local => sub { "dbi:mysql:vpopmail;mysql_socket=$maria_data/s" },
    tls => ['mysql_ssl=1', 'mysql_ssl_ca_file'],
    tls_alone => 'mysql_ssl=1',
    connections => sub { scalar(() = slurp("$maria_data/general.log") =~ /Connect\s+mailer/g) },
    ready => qr{ready for connections},
    error => qr/error="Can't connect to server/,
);

my $pg_data = owned('pg', 0700);
my $pg_socket = owned('pgsocket', 0755);
my %pgsql = (
    name => 'PostgreSQL',
    prepare => sub {
        chown $owner, -1, $t->file('pg.pw', "$password{admin}\n");
        must(@unprivileged, "$postgres/run", "$pg_bin/initdb", '-D', $pg_data, '-U', 'admin', qw(-A scram-sha-256 -E UTF8),
            '--locale=C', '-N', "--pwfile=$dir/pg.pw");
        my @single = (@unprivileged, "$postgres/run", "$pg_bin/postgres", '--single', '-D', $pg_data);
        must({stdin => "create database vpopmail;\n"}, @single, 'postgres');
        must({stdin => join "\n", $table, inserts(0),
            'create user mailer password ' . quoted($password{mailer}) . ';', 'grant select on vpopmail to mailer;', ''},
            @single, 'vpopmail');
    },
    command => sub {
        return ("$postgres/run", "$pg_bin/postgres", '-D', $pg_data, '-c', 'listen_addresses=127.0.0.1', '-p', $_[0],
            '-k', $pg_socket, '-c', 'fsync=off', '-c', 'log_connections=on', '-c', 'ssl=on',
            '-c', "ssl_cert_file=$dir/server.pem", '-c', "ssl_key_file=$dir/server.key");
    },
    dsn => sub { join ';', 'dbi:Pg:dbname=vpopmail', 'host=127.0.0.1', "port=$_[0]{port}", @_[1 .. $#_] },
    local => sub { "DBI:pg:vpopmail;host=$pg_socket;port=$_[0]{port}" },
    tls => ['sslmode=verify-full', 'sslrootcert'],
    tls_alone => 'sslmode=require',
    connections => sub { scalar(() = $_[0]{server}->log =~ /connection authorized: user=mailer/g) },
    ready => qr{ready to accept connections},
    error => qr/error="connection to server at .* failed: Connection refused/,
);

# ---- the dialogue ----------------------------------------------------------------------------------

my $d;

sub fresh {
    my ($dsn) = @_;

    $t->config(vpopmail_mysql_dsn => $dsn) if $dsn;
    $d = $t->dialogue;
    return $d->say('EHLO client.test');
}

sub failed {
    my ($name, $user, $text) = @_;

    return "535 $name authentication failed for $user from 127.0.0.1" . ($text ? " - auth_vpopmail_sql - $text" : '');
}

my @verdicts = (
    ['joe',      'sesame',  1, 'hash'],
    ['joe',      'sesam',   0, 'hash'],
    ['JOE',      'sesame',  1, 'hash'],
    ['joe',      $hash,     0, 'hash'],
    ['clear',    'sesame',  1],
    ['clear',    'Sesame',  0],
    ['both',     'sesame',  1],
    ['both',     'wrong',   0],
    ['two',      'second',  1],
    ['two',      'wrong',   0],
    ['old',      'sesame',  1, 'hash'],
    ['star',     '*',       0, 'hash'],
    ["o'hara",   'sesame',  1],
    ['back\\',   'sesame',  1],
    ['cafe',     'sesame',  1],
    ['long',     $many,     1],
    ['eight',    "s\xc3\xa9same", 1],
    ['nobody',   'sesame',  0],
);

# What reads as SQL, and names that a collation may take for others: nobody is called so.
my @nobody = ("'or'1'='1", "joe'--", "joe'#", "joe';drop/**/table/**/vpopmail;--", 
    'joe"', 'j%', '_oe', '$1', '?', '\\', "\\'", 'joe ', "joe\t", "caf\xc3\xa9", "\xff\xfe", "joe\xe9", 'x' x 255,
    'x' x 256, 'x' x 700, '', 'joe@example.com');

sub verdicts {
    my ($db) = @_;

    for my $case (@verdicts) {
        my ($name, $password, $right, $hashed) = @$case;
        my $user = "$name\@example.com";
        my ($seen) = substr $user, 0, 64;
        for my $m ('PLAIN', 'LOGIN', $hashed ? () : ('CRAM-MD5', 'SCRAM-SHA-1', 'SCRAM-SHA-256')) {
            fresh();
            my $silent = $m =~ /^CRAM|^SCRAM/;
            is $method{$m}->($d, $user, $password), $right ? "235 $m authentication successful for $seen - auth_vpopmail_sql"
                : failed($m, $seen, $silent ? '' : 'wrong password'), "$db->{name}, $m: $user is " . ($right ? 'right' : 'wrong');
        }
    }
    fresh();
    is plain($d, 'joe', 'sesame'), failed('PLAIN', 'joe'), 'a user without a domain';
    is plain($d, 'joe@two.example', 'sesame'), failed('PLAIN', 'joe@two.example', 'wrong password'), 'the same name elsewhere';
    is plain($d, "$_\@example.com", 'x'), failed('PLAIN', "$_\@example.com", 'no such user'), "a row without password: $_"
        for 'none', 'empty';
    like cram($d, 'joe@example.com', 'sesame'), qr/^535 /, 'CRAM-MD5 with a hash cannot be';
    is plain($d, 'longer@example.com', $many x 2), '454 Temporary authentication failure', 'a password that was never meant to be one';
    like $d->log, qr/cannot ask the database driver=\w+ error="the password is too long"/, 'and the log says so';
    for my $name (@nobody) {
        (my $shown = $name) =~ s/[^ -~]/?/g;
        like plain($d, "$name\@example.com", 'sesame'), qr/^535 .*wrong password$/, "nobody: '" . substr($shown, 0, 60) . "'";
        like cram($d, "$name\@example.com", 'sesame'), qr/^535 |^501 /, '... nor with CRAM-MD5';
    }
    like plain($d, "x'/**/union/**/select/**/'guess','guess", 'guess'), qr/^535 /, 'nor one that brings a row of his own';
    like plain($d, "x\@x'/**/union/**/select/**/'guess','guess", 'guess'), qr/^535 .*wrong password$/, 'in neither part';
    like plain($d, 'joe@' . "example.com'--", 'sesame'), qr/^535 .*wrong password$/, 'nor is a domain called so';
    like plain($d, 'joe@example.com', 'sesame'), qr/^235 /, 'the table is still there';
    unlike $d->log, qr/sesame|\Q$hash\E|between us/, 'no password in the log';
}

# One connection for all of it; when it dies, there is another.
sub endurance {
    my ($db) = @_;

    fresh();
    plain($d, 'joe@example.com', 'wrong');
    my $before = $db->{connections}->($db);
    is plain($d, 'joe@example.com', 'wrong'), failed('PLAIN', 'joe@example.com', 'wrong password'), 'again' for 1 .. 5;
    is $db->{connections}->($db), $before, 'the connection is kept';

    $db->{server}->signal($db->{stop} || 'TERM');
    is $db->{server}{process}->wait, 0, "$db->{name} ends";
    is $_->($d, 'both@example.com', 'wrong'), '454 Temporary authentication failure', 'without it nobody can tell'
        for \&plain, \&login, \&cram, \&scram;
    like $d->log, qr/cannot reach the database driver=\w+ $db->{error}/, 'the log says why';
    start($db);
    is plain($d, 'joe@example.com', 'wrong'), failed('PLAIN', 'joe@example.com', 'wrong password'), "$db->{name} is back";

    my @all = ($db->{server}->pid, $db->{server}->children);
    kill STOP => @all;
    wait_for(sub { !grep { slurp("/proc/$_/stat") !~ /\) T / } @all }, 5, "$db->{name} to stand still");
    my $began = time;
    is plain($d, 'joe@example.com', 'sesame'), '454 Temporary authentication failure', 'it hangs: an answer all the same';
    my $took = time - $began;
    cmp_ok $took, '<', 4 * ($ENV{TEST_SLOW} || 1), "within the time limit: $took s";
    $began = time;
    is plain($d, 'joe@example.com', 'sesame'), '454 Temporary authentication failure', 'nor is there a new connection';
    $took = time - $began;
    cmp_ok $took, '<', 4 * ($ENV{TEST_SLOW} || 1), "within the time limit: $took s";
    kill CONT => reverse @all;
    is plain($d, 'joe@example.com', 'sesame'), '235 PLAIN authentication successful for joe@example.com - auth_vpopmail_sql',
        'it goes on, and so do we';
}

sub places {
    my ($db) = @_;
    my ($tls, $ca) = @{$db->{tls}};

    fresh($db->{local}->($db));
    like plain($d, 'joe@example.com', 'sesame'), qr/^235 /, "$db->{name} through its local socket";
    fresh($db->{dsn}->($db, $tls, "$ca=$dir/ca.pem"));
    like plain($d, 'joe@example.com', 'sesame'), qr/^235 /, 'with TLS';
    fresh($db->{dsn}->($db, $db->{tls_alone}));
    like plain($d, 'joe@example.com', 'sesame'), qr/^235 /, 'unverified';
    fresh($db->{dsn}->($db, $tls, "$ca=$dir/other.pem"));
    like plain($d, 'joe@example.com', 'sesame'), qr/^454 /, 'not with a certificate of somebody else';
    like $d->log, qr/cannot reach the database .*(?:certificate|SSL|TLS)/, 'and the log says so';
    fresh($db->{dsn}->($db) =~ s/vpopmail/nowhere/r);
    like plain($d, 'joe@example.com', 'sesame'), qr/^454 /, 'a database that does not exist';
    chmod 0640, $t->config(vpopmail_mysql_pass => 'wrong');
    fresh($db->{dsn}->($db));
    like plain($d, 'joe@example.com', 'sesame'), qr/^454 /, 'a password of ours that is wrong';
    chmod 0640, $t->config(vpopmail_mysql_pass => $password{mailer});
}

# An expensive hash: the time tells nobody who exists.
sub timing {
    my ($db) = @_;
    my %took;

    fresh($db->{dsn}->($db));
    plain($d, 'x@example.com', 'x');
    for my $user ('joe', 'clear', 'unknown') {
        my $began = time;
        plain($d, "$user\@example.com", 'wrong');
        $took{$user} = time - $began;
    }
    cmp_ok $took{$_}, '>', $took{joe} / 5, "a failure for the $_ user takes its time" for qw(clear unknown);
}

$rows[$_][2] = $slow for grep { ($rows[$_][2] || '') eq $hash && $rows[$_][0] eq 'joe' } 0 .. $#rows;
for my $db (\%mysql, \%pgsql) {
    $db->{stop} = 'INT' if $db == \%pgsql; # TERM waits for its clients
    $db->{prepare}->();
    start($db);
    fresh($db->{dsn}->($db));
    verdicts($db);
    endurance($db);
    places($db);
    timing($db);
    $db->{server}->signal($db->{stop} || 'TERM');
    $db->{server}{process}->wait;
}

done_testing;
