# auth/auth_ldap_bind against OpenLDAP's slapd, which is not installed: .ci/unpack.
# Packages: openssl
use strict;
use warnings;

use Digest::SHA qw(sha1);
use Test::More;
use Time::HiRes qw(time);
use Qpsmtpd::Auth;
use Qpsmtpd::Test qw(free_port slurp wait_for);

chomp(my $slapd = `.ci/unpack slapd`);
die ".ci/unpack slapd has failed\n" if $? || !-d $slapd;

my $t = Qpsmtpd::Test->new(loglevel => 6, plugins => ['auth/auth_ldap_bind', 'rcpt_ok'],
    config => {auth_failure_delay => 0, max_auth_failures => 0});
my $dir = $t->dir;

sub must {
    my ($status, $output) = $t->run(@_);

    die "@_[grep { !ref $_[$_] } 0 .. $#_]: status $status\n$output" if $status;
    return $output;
}

# ---- certificates ----------------------------------------------------------------------------------

for my $ca ('ca', 'other') {
    must(qw(openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj), "/CN=$ca", '-keyout', "$dir/$ca.key",
        '-out', "$dir/$ca.pem", '-addext', 'basicConstraints=critical,CA:TRUE');
}
must(qw(openssl req -newkey rsa:2048 -nodes -subj /CN=localhost -keyout), "$dir/server.key", '-out', "$dir/server.csr");
$t->file('server.ext', "subjectAltName=DNS:localhost,IP:127.0.0.1\n");
must(qw(openssl x509 -req -days 2 -CAcreateserial -in), "$dir/server.csr", '-CA', "$dir/ca.pem", '-CAkey', "$dir/ca.key",
    '-out', "$dir/server.pem", '-extfile', "$dir/server.ext");

# ---- the directory ---------------------------------------------------------------------------------

sub ssha { return '{SSHA}' . b64(sha1("$_[0]salt") . 'salt') }

my $people = 'ou=people,dc=example,dc=com';
my @entries = map { [split /\n/] } (
    "dc=example,dc=com\nobjectClass: dcObject\nobjectClass: organization\no: example",
    "$people\nobjectClass: organizationalUnit",
    "o=two.example,dc=example,dc=com\nobjectClass: organization",
    "ou=hidden,dc=example,dc=com\nobjectClass: organizationalUnit",
    "cn=searcher,dc=example,dc=com\nobjectClass: person\nsn: s\nuserPassword: " . ssha('let me look'),
    # the rest are people: uid, where, password, more
);
for my $person (
    ['joe',     $people, 'sesame', 'mail: joe@example.com'],
    ['plain',   $people, undef, 'userPassword: sesame'],
    ['none',    $people, undef],
    ['star*',   $people, 'sesame'],
    ["o'hara",  $people, 'sesame'],
    ['a,b+c=d', $people, 'sesame'],
    ['(x)\\',   $people, 'sesame'],
    ["caf\xc3\xa9", $people, 'sesame'],
    ['empty',   $people, undef, "userPassword: " . ssha('')],
    ['long' . 'x' x 180, $people, 'sesame'],
    ['joe',     'o=two.example,dc=example,dc=com', 'another'],
    ['twice',   $people, 'sesame'],
    ['hidden',  'ou=hidden,dc=example,dc=com', 'sesame'],
) {
    my ($uid, $where, $password, @more) = @$person;
    (my $name = $uid) =~ s/([^A-Za-z0-9])/sprintf '\\%02x', ord $1/ge;
    push @entries, ["uid=$name,$where", 'objectClass: inetOrgPerson', 'cn: x', 'sn: x', 'uid:: ' . b64($uid), @more,
        defined $password ? 'userPassword: ' . ssha($password) : ()];
}
push @entries, ["cn=again,$people", 'objectClass: inetOrgPerson', 'cn: again', 'sn: x', 'uid: twice', 'userPassword: ' . ssha('sesame')];

my $ldif = join "\n", map { my ($dn, @rest) = @$_; join "\n", 'dn:: ' . b64($dn), @rest, '' } @entries;
my ($port, $tls_port) = (free_port(), free_port());
$t->file('slapd.conf', <<"END");
include $slapd/etc/ldap/schema/core.schema
include $slapd/etc/ldap/schema/cosine.schema
include $slapd/etc/ldap/schema/inetorgperson.schema
modulepath $slapd/usr/lib/ldap
moduleload back_mdb
pidfile $dir/slapd.pid
argsfile $dir/slapd.args
sizelimit 10
TLSCACertificateFile $dir/ca.pem
TLSCertificateFile $dir/server.pem
TLSCertificateKeyFile $dir/server.key
database mdb
suffix "dc=example,dc=com"
rootdn "cn=admin,dc=example,dc=com"
directory $dir/db
access to attrs=userPassword by anonymous auth by * none
access to dn.subtree="ou=hidden,dc=example,dc=com" by dn.exact="cn=searcher,dc=example,dc=com" read by anonymous auth by * none
access to * by * read
END
mkdir "$dir/db";
must({stdin => $ldif}, "$slapd/run", 'slapd', '-T', 'add', '-f', "$dir/slapd.conf");

my ($server, $fixed);

sub start {
    $server = $t->serve(sub {
        $fixed ||= $_[0];
        return ("$slapd/run", 'slapd', '-d', 'stats', '-f', "$dir/slapd.conf", '-h',
            "ldap://127.0.0.1:$fixed ldaps://127.0.0.1:$tls_port ldapi://" . "$dir/ldapi" =~ s{/}{%2F}gr);
    });
    $server->wait_log(qr/slapd starting/);
}

# ---- the dialogue ----------------------------------------------------------------------------------

my $d;

sub fresh {
    my (%setting) = @_;

    chmod 0640, $t->config(ldap => [map { "$_ $setting{$_}" } sort keys %setting]) if %setting;
    $d = $t->dialogue;
    return $d->say('EHLO client.test');
}

sub passed { return "235 $_[0] authentication successful for $_[1] - authldap" }
sub failed { return "535 $_[0] authentication failed for $_[1] from 127.0.0.1 - authldap - wrong username or password" }
my $deferred = '454 Temporary authentication failure - authldap - temporary auth error';

start();
my %usual = (ldap_base => $people, ldap_port => $fixed, ldap_timeout => 2);
like fresh(%usual), qr/^250 AUTH PLAIN LOGIN$/m, 'what needs a secret is not announced';
for my $case (
    ['joe',             'sesame',  1],
    ['joe@example.com', 'sesame',  1],
    ['JOE',             'sesame',  1],
    ['joe',             'Sesame',  0],
    ['joe',             'sesame ', 0],
    ['joe',             'another', 0],
    ['joe',             'x' x 900, 0],
    ['plain',           'sesame',  1],
    ['none',            'sesame',  0],
    ['star*',           'sesame',  1],
    ["o'hara",          'sesame',  1],
    ['a,b+c=d',         'sesame',  1],
    ['(x)\\',           'sesame',  1],
    ["caf\xc3\xa9",     'sesame',  1],
    ['empty',           'x',       0],
    ['long' . 'x' x 180, 'sesame', 1],
    ['nobody',          'sesame',  0],
    # what would be a filter, or match somebody
    ['*',               'sesame',  0],
    ['jo*',             'sesame',  0],
    ['joe)(uid=*',      'sesame',  0],
    ['*)(objectClass=*))(&(x=y', 'sesame', 0],
    ['joe\\2a',         'sesame',  0],
    ['\\6aoe',          'sesame',  0],
    ["\xff\xfe",        'sesame',  0],
    ["caf\xe9",         'sesame',  0],
    ['x' x 255,         'sesame',  0],
    ['x' x 256,         'sesame',  0],
    ['x' x 700,         'sesame',  0],
    ['@example.com',    'sesame',  0],
    ['@',               'sesame',  0],
) {
    my ($user, $password, $right) = @$case;
    (my $shown = substr $user, 0, 64) =~ s/[^ -~]/?/g;
    for my $m ('PLAIN', 'LOGIN') {
        fresh() if $right || $d->reply =~ /^235/;
        is $method{$m}->($d, $user, $password), $right ? passed($m, $shown) : failed($m, $shown),
            "$m: $shown is " . ($right ? 'right' : 'wrong');
    }
}
fresh();
like plain($d, 'joe', ''), qr/^535 /, 'an empty password is nobody\'s';
like login($d, 'empty', ''), qr/^535 /, 'not even his who has one';
is plain($d, 'twice', 'sesame'), $deferred, 'a name that two have';
like $d->log, qr/cannot ask the directory uri=\S+ error="search: more than one entry is called so"/, 'and the log says so';
unlike $d->log . $server->log, qr/sesame/, 'no password in a log';
unlike $server->log, qr/BIND dn="[^"]+" method=128\n(?:.*\n)*?.*RESULT tag=97 err=0 .*anonymous/, 'no bind without a password';

# The same steps for somebody who does not exist.
my ($before) = scalar(() = $server->log =~ /method=128/g);
plain($d, 'joe', 'wrong');
my $known = scalar(() = $server->log =~ /method=128/g) - $before;
plain($d, 'nobody', 'wrong');
is scalar(() = $server->log =~ /method=128/g) - $before, 2 * $known, "as many binds for an unknown user ($known)";

# ---- other ways to find him ------------------------------------------------------------------------

for my $case (
    [{%usual, ldap_auth_filter_attr => 'cn'}, 'again', 'sesame', 1, 'another attribute'],
    [{%usual, ldap_auth_filter_attr => 'cn'}, 'joe', 'sesame', 0, 'but no other'],
    [{%usual, ldap_filter => '(&(objectClass=inetOrgPerson)(mail=%m))'}, 'joe@example.com', 'sesame', 1, 'a filter'],
    [{%usual, ldap_filter => '(&(objectClass=inetOrgPerson)(mail=%m))'}, 'joe@two.example', 'sesame', 0, 'another domain'],
    [{%usual, ldap_filter => '(mail=%u@%d)'}, 'joe@example.com', 'sesame', 1, 'both parts'],
    [{%usual, ldap_filter => '(mail=%u@%d)'}, 'joe', 'sesame', 0, 'without a domain'],
    [{%usual, ldap_base => 'dc=example,dc=com', ldap_filter => '(&(uid=%u)(o:dn:=%d))'}, 'joe@two.example', 'another', 1, 'the domain in the name'],
    [{ldap_port => $fixed, ldap_dn_template => "uid=%u,$people"}, 'joe', 'sesame', 1, 'a template'],
    [{ldap_port => $fixed, ldap_dn_template => "uid=%u,$people"}, 'a,b+c=d', 'sesame', 1, 'a name that has to be escaped'],
    [{ldap_port => $fixed, ldap_dn_template => "uid=%u,$people"}, 'joe', 'wrong', 0, 'a wrong password'],
    [{ldap_port => $fixed, ldap_dn_template => "uid=%u,$people"}, "joe,$people,x=", 'sesame', 0, 'a name in the name'],
    [{ldap_port => $fixed, ldap_dn_template => "uid=%u,$people"}, "\xff\xfe", 'sesame', 0, 'bytes that are no UTF-8'],
    [{ldap_port => $fixed, ldap_dn_template => "uid=%u,$people"}, 'nobody', 'sesame', 0, 'nobody'],
    [{ldap_port => $fixed, ldap_dn_template => 'uid=%u,o=%d,dc=example,dc=com'}, 'joe@two.example', 'another', 1, 'a domain'],
    [{ldap_port => $fixed, ldap_dn_template => 'uid=%u,o=%d,dc=example,dc=com'}, 'joe', 'another', 0, 'none'],
    [{%usual, ldap_base => 'dc=example,dc=com'}, 'hidden', 'sesame', 0, 'what nobody may see'],
    [{%usual, ldap_base => 'dc=example,dc=com', ldap_bind_dn => 'cn=searcher,dc=example,dc=com', ldap_bind_password => 'let me look'},
        'hidden', 'sesame', 1, 'who may look sees it'],
) {
    my ($settings, $user, $password, $right, $name) = @$case;
    fresh(%$settings);
    (my $shown = substr $user, 0, 64) =~ s/[^ -~]/?/g;
    is plain($d, $user, $password), $right ? passed('PLAIN', $shown) : failed('PLAIN', $shown), $name or diag $d->log;
}
my %look = (%usual, ldap_bind_dn => 'cn=searcher,dc=example,dc=com');
fresh(%look, ldap_bind_password => 'something else');
is plain($d, 'joe', 'sesame'), $deferred, 'a password of ours that is wrong';
like $d->log, qr/error="bind: Invalid credentials"/, 'the log says so';
fresh(%usual, ldap_base => 'dc=elsewhere');
is plain($d, 'joe', 'sesame'), $deferred, 'a base that does not exist';
like $d->log, qr/error="search: No such object"/, 'the log says so';

# ---- other ways to reach it ------------------------------------------------------------------------

my $local = 'ldapi://' . "$dir/ldapi" =~ s{/}{%2F}gr;
my @rest = (ldap_base => $people, ldap_timeout => 3);
for my $case (
    [{@rest, ldap_uri => $local}, 1, 'the local socket'],
    [{@rest, ldap_uri => "ldaps://127.0.0.1:$tls_port", ldap_ca_file => "$dir/ca.pem"}, 1, 'ldaps'],
    [{@rest, ldap_uri => "ldaps://127.0.0.1:$tls_port", ldap_ca_file => "$dir/other.pem"}, 0, 'ldaps with a certificate of somebody else'],
    [{@rest, ldap_uri => "ldaps://127.0.0.2:$tls_port", ldap_ca_file => "$dir/ca.pem"}, 0, 'ldaps where nobody listens'],
    [{@rest, ldap_uri => "ldap://127.0.0.1:$fixed", ldap_starttls => 1, ldap_ca_file => "$dir/ca.pem"}, 1, 'STARTTLS'],
    [{@rest, ldap_uri => "ldap://127.0.0.1:$fixed", ldap_starttls => 'yes', ldap_ca_file => "$dir/other.pem"}, 0, 'STARTTLS with a certificate of somebody else'],
    [{@rest, ldap_uri => 'ldap://127.0.0.1:' . free_port() . " ldap://127.0.0.1:$fixed"}, 1, 'the second of two'],
) {
    my ($settings, $right, $name) = @$case;
    fresh(%$settings);
    is plain($d, 'joe', 'sesame'), $right ? passed('PLAIN', 'joe') : $deferred, $name or diag $d->log;
}

# ---- one connection, until it dies -----------------------------------------------------------------

fresh(%usual);
my $connections = sub { scalar(() = $server->log =~ / ACCEPT from /g) };
plain($d, 'joe', 'wrong');
my $count = $connections->();
is plain($d, 'joe', 'wrong'), failed('PLAIN', 'joe'), 'again' for 1 .. 5;
is $connections->(), $count, 'the connection is kept';
is $server->stop, 0, 'slapd ends';
is plain($d, 'joe', 'sesame'), $deferred, 'without it nobody can tell';
like $d->log, qr/cannot ask the directory uri=\S+ error="bind: Can't contact LDAP server"/, 'the log says why';
start();
is plain($d, 'joe', 'wrong'), failed('PLAIN', 'joe'), 'it is back';
$server->signal('STOP');
wait_for(sub { slurp('/proc/' . $server->pid . '/stat') =~ /\) T / }, 5, 'slapd to stand still');
for my $what ('it hangs', 'nor is there a new connection') {
    my $began = time;
    is plain($d, 'joe', 'sesame'), $deferred, "$what: an answer all the same";
    my $took = time - $began;
    cmp_ok $took, '<', 4 * ($ENV{TEST_SLOW} || 1), "within the time limit: $took s";
}
$server->signal('CONT');
is plain($d, 'joe', 'sesame'), passed('PLAIN', 'joe'), 'it goes on, and so do we';
is $server->stop, 0, 'slapd ends well';

done_testing;
