package Qpsmtpd::MMDB;

=head1 NAME

Qpsmtpd::MMDB - databases for ident/geoip, as MaxMind DB 2.0 describes them

=head1 SYNOPSIS

    use Qpsmtpd::MMDB qw(mmdb);

    $t->file('geo/GeoLite2-Country.mmdb', mmdb('GeoLite2-Country',
        '192.0.2.0/24'  => {country => {iso_code => 'DE'}},
        '2001:db8::/32' => {country => {iso_code => 'JP'}},
    ));

=head1 FUNCTIONS

Exported on request.

=over

=item mmdb TYPE, NETWORK => RECORD, ...

The bytes of a database: a tree of address bits, records, metadata. Networks must not overlap. In a record
a hash is a map, a list an array, a reference to a number a double, digits are a uint32, other text is
text; C<< [5 => BYTES] >> is a value of any other type, by its number.

=back

=cut

use strict;
use warnings;

use Exporter qw(import);
use Socket qw(AF_INET AF_INET6 inet_pton);

our @EXPORT_OK = qw(mmdb);

# value - {}: map; []: array; \N: double; digits: uint32; [TYPE => BYTES] of any other; else text
sub value {
    my ($v) = @_;
    my $head = sub {
        my ($type, $n) = @_;
        my ($first, $more) = $n < 29 ? ($n, '') : $n < 285 ? (29, chr($n - 29)) : (30, pack 'n', $n - 285);
        return $type < 8 ? chr($type << 5 | $first) . $more : chr($first) . chr($type - 7) . $more;
    };

    return $head->(7, scalar keys %$v) . join '', map { value($_) . value($v->{$_}) } sort keys %$v
        if ref $v eq 'HASH';
    return $head->($v->[0], length $v->[1]) . $v->[1] if ref $v eq 'ARRAY' && @$v == 2;
    return $head->(11, scalar @$v) . join '', map { value($_) } @$v if ref $v eq 'ARRAY';
    return $head->(3, 8) . pack 'd>', $$v if ref $v;
    return $head->(6, 4) . pack 'N', $v if $v =~ /\A\d+\z/;
    return $head->(2, length $v) . $v;
}

sub mmdb {
    my ($type, %network) = @_;
    my @tree = ([undef, undef]); # an index is a node, a text reference is a record
    my $data = '';

    for my $network (sort keys %network) {
        my ($ip, $bits) = split m{/}, $network;
        my $bytes = $ip =~ /:/ ? inet_pton(AF_INET6, $ip) : "\0" x 12 . inet_pton(AF_INET, $ip);
        my @way = split //, substr unpack('B*', $bytes), 0, $bits + ($ip =~ /:/ ? 0 : 96);
        my ($last, $node) = (pop @way, 0);
        for my $bit (@way) {
            if (!defined $tree[$node][$bit]) {
                push @tree, [undef, undef];
                $tree[$node][$bit] = $#tree;
            }
            $node = $tree[$node][$bit];
        }
        $tree[$node][$last] = \length $data;
        $data .= value($network{$network});
    }
    my $n = @tree;
    my $record = sub { substr pack('N', ref $_[0] ? $n + 16 + ${$_[0]} : defined $_[0] ? $_[0] : $n), 1 };
    return join('', map { $record->($_->[0]) . $record->($_->[1]) } @tree) . "\0" x 16 . $data
        . "\xab\xcd\xefMaxMind.com"
        . value({
            (map { $_->[0] => [5 => pack 'n', $_->[1]] } [record_size => 24], [ip_version => 6],
                [binary_format_major_version => 2], [binary_format_minor_version => 0]),
            node_count => $n, build_epoch => [9 => pack 'Q>', 1700000000],
            database_type => $type, languages => ['en'], description => {en => 'test'},
        });
}

1;
