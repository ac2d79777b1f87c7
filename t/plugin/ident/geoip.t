use strict;
use warnings;

use Test::More;

use Qpsmtpd::MMDB qw(mmdb);
use Qpsmtpd::Test qw(slurp wait_for);

# ---- databases ----------------------------------------------------------------------------------------

sub names {
    return {names => {en => $_[0], de => 'nicht dies'}};
}

my %city = (
    '24.24.24.0/24' => {
        country => {iso_code => 'US', %{names('United States')}}, continent => {code => 'NA'},
        city => names('Syracuse'), location => {latitude => \43.0514, longitude => \-76.1495},
    },
    '192.0.2.0/24' => { # ours
        country => {iso_code => 'DE'}, location => {latitude => \52.52, longitude => \13.405},
    },
    '198.51.100.0/25' => {city => names("Z\xc3\xbcrich = B")},
    '198.51.100.128/25' => { # what no database should have
        country => {iso_code => "X\r\nY"}, city => names('long ' . 'x' x 400), continent => {code => 7},
        location => {latitude => 'north', longitude => \1.0},
    },
    '203.0.113.0/24' => {country => 'none', location => {latitude => \1.0}},
    '2001:db8::/32' => {country => {iso_code => 'JP'}, location => {latitude => \-90.0, longitude => \0.0}},
);
my %asn = (
    '24.24.24.0/24' => {autonomous_system_number => 64500, autonomous_system_organization => 'Test'},
    '2001:db8::/32' => {autonomous_system_number => 4200000000},
    '203.0.113.0/24' => {autonomous_system_number => 'x'},
);

# ---- what is found ---------------------------------------------------------------------------------

my $t = Qpsmtpd::Test->new(
    plugins => ['ident/geoip db_dir geo distance 192.0.2.1 too_far 6000', 'rcpt_ok', 'queue/maildir Maildir'],
    config => {rcpthosts => 'example.test'},
);
$t->file('geo/GeoLite2-City.mmdb', mmdb('GeoLite2-City', %city));
$t->file('geo/GeoLite2-ASN.mmdb', mmdb('GeoLite2-ASN', %asn));

# look_up - the notes of a client, as the log shows them, and the log itself
sub look_up {
    my ($t, $ip) = @_;
    my $d = $t->dialogue(env => {TCPREMOTEIP => $ip, TCPREMOTEHOST => undef});

    like $d->greeting, qr/^220 /, ($ip || 'a client without an address') . ' is served';
    $d->quit;
    is $d->status, 0, 'to the end';
    my $log = $d->log;
    return ({$log =~ /geoip_(\w+)=(.*?)\s*$/mg}, $log);
}

my ($note, $log) = look_up($t, '24.24.24.24');
is_deeply $note, {country => 'US', country_name => 'United States', continent => 'NA', city => 'Syracuse',
    distance => 6341, asn => 64500}, 'everything is known' or diag $log;
like $log, qr/GeoIP Country: US/, 'the country is logged';
like $log, qr/too far away distance=6341 max=6000/, 'and that it is too far away';

($note, $log) = look_up($t, '192.0.2.200');
is_deeply $note, {country => 'DE', distance => 0}, 'a client from here';
unlike $log, qr/too far/, 'is not too far away';
($note) = look_up($t, '2001:db8:1::1');
is_deeply $note, {country => 'JP', distance => 15865, asn => 4200000000}, 'IPv6, and the way to the South Pole';

for my $case (
    ['192.0.3.1',      {}, 'an address that is not listed'],
    ['2001:db9::1',    {}, 'nor is this one'],
    ['127.0.0.1',      {}, 'the loopback'],
    ['::1',            {}, 'the loopback'],
    [undef,            {}, 'no address'],
    ['198.51.100.1',   {city => "Z\xc3\xbcrich = B"}, 'a city alone'],
    ['198.51.100.200', {country => 'X??Y', city => 'long ' . 'x' x 195}, 'strange texts'],
    ['203.0.113.1',    {}, 'values of the wrong type'],
) {
    my ($ip, $expect, $name) = @$case;
    ($note, $log) = look_up($t, $ip);
    s/\\x([0-9a-f]{2})/chr hex $1/gei for values %$note;
    is_deeply $note, $expect, "$name: " . join ' ', %$expect or diag $log;
}

# ---- fields of the message -------------------------------------------------------------------------

sub fields {
    my ($t, $ip) = @_;
    my $d = $t->dialogue(env => {TCPREMOTEIP => $ip, TCPREMOTEHOST => undef});

    unlink glob $t->dir . '/Maildir/new/*';
    mkdir $t->dir . "/$_" for qw(Maildir Maildir/new Maildir/cur Maildir/tmp);
    like $d->deliver('a@client.test', 'b@example.test',
        "X-GeoIP-Country: forged\nx-geoip-asn: 1\nX-GeoIP-ASN: 2\nSubject: x\n\nhello\n"), qr/^250/, "mail from $ip";
    $d->quit;
    $d->status;
    my ($message) = $t->maildir_messages;
    $message =~ s/\n\n.*//s;
    return [sort grep { /^X-GeoIP/i } split /\n/, $message];
}

is_deeply fields($t, '24.24.24.24'),
    ['X-GeoIP-ASN: 64500', 'X-GeoIP-City: Syracuse', 'X-GeoIP-Continent: NA', 'X-GeoIP-Country: US'],
    'the fields are ours';
is_deeply fields($t, '198.51.100.1'), ['X-GeoIP-City: =?UTF-8?Q?Z=C3=BCrich_=3D_B?='], 'encoded where needed';
is_deeply fields($t, '192.0.3.1'), [], 'and gone where nothing is known';
is_deeply fields($t, '127.0.0.1'), ['X-GeoIP-ASN: 2', 'X-GeoIP-Country: forged', 'x-geoip-asn: 1'],
    'those from the loopback stay';

$t->config(plugins => ['ident/geoip db_dir geo add_headers false', 'rcpt_ok', 'queue/maildir Maildir']);
is_deeply fields($t, '24.24.24.24'), ['X-GeoIP-ASN: 2', 'X-GeoIP-Country: forged', 'x-geoip-asn: 1'],
    'add_headers false touches nothing';
($note) = look_up($t, '24.24.24.24');
ok !exists $note->{distance}, 'no distance unless asked for';

# ---- other databases -------------------------------------------------------------------------------

sub with {
    my ($line, %file) = @_;
    my $t = Qpsmtpd::Test->new(plugins => [$line]);

    $t->file("geo/GeoLite2-$_.mmdb", $file{$_}) for keys %file;
    return $t;
}

($note) = look_up(with('ident/geoip db_dir geo', Country => mmdb('GeoLite2-Country', %city)), '192.0.2.1');
is_deeply $note, {country => 'DE'}, 'Country instead of City';
($note) = look_up(with('ident/geoip db_dir geo', Country => mmdb('x', %asn), City => mmdb('x', %city)), '192.0.2.1');
is_deeply $note, {country => 'DE'}, 'City before Country';
($note) = look_up(with('ident/geoip db_dir geo', ASN => mmdb('GeoLite2-ASN', %asn)), '24.24.24.24');
is_deeply $note, {asn => 64500}, 'ASN alone';

my $daemon = with('ident/geoip db_dir geo', City => mmdb('GeoLite2-City', %city));
my $server = $daemon->prefork;
wait_for(sub { scalar $server->children }, 20, 'a child');
like slurp("/proc/$_/maps"), qr{ r--s .*/GeoLite2-City\.mmdb$}m, 'the daemon maps it, and a child shares that'
    for $server->pid, ($server->children)[0];
is $server->stop, 0, 'it ends well';

# Damage that is found only when an address is looked up: what the tree points to is not there.
my $broken = mmdb('x', %city);
substr $broken, 0, 3, "\xff\xff\xff";
($note, $log) = look_up(with('ident/geoip db_dir geo', City => $broken), '24.24.24.24');
is_deeply $note, {}, 'a tree that leads nowhere';
like $log, qr/lookup failed database=geo\S*City\.mmdb error=/, 'is logged';

# ---- refused at start ------------------------------------------------------------------------------

my $good = mmdb('GeoLite2-City', %city);
for my $case (
    ['db_dir nowhere', {}, qr/no GeoLite2-City\.mmdb, .* in nowhere/, 'no database'],
    ['db_dir geo', {City => ''}, qr/City\.mmdb: /, 'an empty one'],
    ['db_dir geo', {City => 'x' x 5000}, qr/City\.mmdb: .*metadata/, 'no database at all'],
    ['db_dir geo', {City => substr $good, 0, 200}, qr/City\.mmdb: /, 'half of one'],
    ['db_dir geo', {City => $good, ASN => 'x'}, qr/ASN\.mmdb: /, 'one good, one not'],
    ['db_dir geo too_far 10', {City => $good}, qr/too_far: .*distance/, 'too far from where?'],
    ['db_dir geo distance 192.0.2.1 too_far 0', {City => $good}, qr/too_far/, 'too_far below 1'],
    ['db_dir geo distance 10.0.0.1', {City => $good}, qr/distance: 10\.0\.0\.1 has no place/, 'nobody knows it'],
    ['db_dir geo distance here', {City => $good}, qr/distance: here has no place/, 'no address'],
    ['db_dir geo distance 192.0.2.1', {ASN => $good}, qr/distance: .*City/, 'distance without City'],
    ['db_dir geo add_headers perhaps', {City => $good}, qr/add_headers/, 'no truth value'],
    ['colour blue', {}, qr/colour/, 'an unknown option'],
) {
    my ($args, $files, $expect, $name) = @$case;
    my ($status, $said) = with("ident/geoip $args", %$files)->check;
    isnt $status, 0, "$name refuses the start";
    like $said, qr/plugins:1: .*$expect/, 'and says where and why';
}

done_testing;
