package Suite;

# Reads the test suite of openspf.org, and gives its zones as Qpsmtpd::DNS takes them.
#
#     for my $scenario (Suite::scenarios('t/plugin/spf/rfc7208-tests.yml')) {
#         Suite::zone($scenario->{zonedata});
#         $scenario->{tests}{$name}{mailfrom}, {helo}, {host}, {result}, {explanation}
#
# It knows so much of YAML as the suite uses: mappings and lists by indentation, plain and quoted
# scalars, block scalars, and lists in brackets.

use strict;
use warnings;

my %escape = (0 => "\0", a => "\a", n => "\n", r => "\r", t => "\t");

sub scenarios {
    my ($file) = @_;

    open my $fh, '<:raw', $file or die "$file: $!\n";
    local $/;
    my (undef, @documents) = split /^---\n/m, <$fh>;
    return map {
        my @lines = grep { !/^\s*(?:#.*)?$/ } split /\n/;
        my $document = block(\@lines);
        die "$file: not understood: $lines[0]\n" if @lines;
        $document;
    } @documents;
}

sub indent {
    my ($lines) = @_;

    return -1 if !@$lines;
    my ($blanks) = $lines->[0] =~ /^( *)/;
    return length $blanks;
}

# block - the mapping or list that begins here; the lines it takes are gone then
sub block {
    my ($lines) = @_;
    my $indent = indent($lines);
    my (%map, @list);

    while (indent($lines) == $indent) {
        (my $line = shift @$lines) =~ s/^ +//;
        if ($line =~ /^- +(.*)/) {
            my $item = $1;
            push @list, $item =~ /^(\w+): *(.*)/ ? {$1 => scalar_value($2)} : scalar_value($item);
        } elsif ($line =~ /^(?:"([^"]*)"|(.+?)):(?:\s+(.*))?$/) {
            my ($key, $text) = (defined $1 ? $1 : $2, defined $3 ? $3 : '');
            $map{$key} = value($text, $indent, $lines);
        } else {
            die "not understood: $line\n";
        }
    }
    return @list ? \@list : \%map;
}

# value - of a key; what is indented deeper belongs to it
sub value {
    my ($text, $indent, $lines) = @_;

    return indent($lines) > $indent ? block($lines) : '' if $text eq '';
    my @more;
    while (indent($lines) > $indent) {
        (my $line = shift @$lines) =~ s/^ +//;
        push @more, $line;
    }
    return join $text =~ /^>/ ? ' ' : "\n", @more if $text =~ /^[|>]-?$/;
    return scalar_value(join ' ', $text, @more);
}

sub scalar_value {
    my ($text) = @_;

    if ($text =~ /^"(.*)"$/) {
        my $inside = $1;
        $inside =~ s/\\(?:x([0-9a-fA-F]{2})|(.))/defined $1 ? chr hex $1 : exists $escape{$2} ? $escape{$2} : $2/ge;
        return $inside;
    }
    return $1 =~ s/''/'/gr if $text =~ /^'(.*)'$/;
    return [map { scalar_value($_) } $1 =~ /("[^"]*"|'[^']*'|[^\s,"']+)/g] if $text =~ /^\[(.*)\]$/;
    return $text;
}

# zone - {name => {TYPE => ...}}. What the suite calls SPF is published as TXT, unless the name has TXT
# of its own ("NONE": none at all); behind TIMEOUT, what is not listed is never answered.
sub zone {
    my ($data) = @_;
    my %zone;

    for my $name (keys %$data) {
        my (%type, $silent);
        for my $record (@{$data->{$name}}) {
            if (!ref $record) {
                $silent = 1;
                next;
            }
            my ($type, $value) = %$record;
            $value = "$value->[0] " . ($value->[1] || '.') if $type eq 'MX';
            push @{$type{$type}}, $value;
        }
        $type{TXT} = $type{SPF} if $type{SPF} && !$type{TXT};
        $type{TXT} = [] if $type{TXT} && grep { !ref && $_ eq 'NONE' } @{$type{TXT}};
        delete $type{SPF};
        $zone{$name} = {map { $_ => {data => $type{$_}, drop => 0} } grep { @{$type{$_}} } keys %type};
        $zone{$name}{drop} = 1 if $silent;
    }
    return \%zone;
}

1;
