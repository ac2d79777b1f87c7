# The floors of src: each includes only its own and lower ones, and the public headers belong to the
# plugins. Every header stands alone, and every source proves that of its own by including it first.
use strict;
use warnings;

use File::Find;
use Test::More;

my @floors = qw(base net conf mail plugin smtp server); # from the ground up
my %height = map { $floors[$_] => $_ } 0 .. $#floors;

sub files {
    my ($pattern, @dirs) = @_;
    my @found;

    find({no_chdir => 1, wanted => sub { push @found, $_ if $_ =~ $pattern && -f }}, grep { -d } @dirs);
    return sort @found;
}

# includes - [line, '<' or '"', what] of each #include
sub includes {
    my ($file) = @_;
    my @found;

    open my $fh, '<', $file or die "$file: $!";
    while (<$fh>) {
        push @found, [$., $1, $2] if /^\s*#\s*include\s*([<"])([^>"]+)[>"]/;
    }
    return @found;
}

my (@floor, @public, @first, @plugin);
for my $file (files(qr/\.[ch]\z/, 'src')) {
    my ($floor) = $file =~ m{^src/([^/]+)/};
    my @includes = includes($file);

    for (@includes) {
        my ($line, $kind, $what) = @$_;
        if ($kind eq '"') {
            my ($below) = $what =~ m{^([^/]+)/};
            push @floor, "$file:$line: $what"
                unless defined $below && exists $height{$below} && $height{$below} <= $height{$floor};
        } elsif ($what =~ m{^qpsmtpd/}) {
            push @public, "$file:$line: $what" unless $what eq 'qpsmtpd/types.h' || $floor eq 'plugin';
        }
    }
    (my $own = $file) =~ s{^src/(.*)\.c\z}{$1.h};
    push @first, "$file: first is " . ($includes[0] ? $includes[0][2] : 'nothing')
        if $file =~ /\.c\z/ && -e "src/$own" && !(@includes && $includes[0][2] eq $own);
}
for my $file (files(qr/\.[ch]\z/, 'plugins')) {
    push @plugin, map { "$file:$_->[0]: $_->[2]" }
        grep { $_->[1] eq '"' && $_->[2] =~ m{/} && $_->[2] !~ m{^(?:\.\./)?[\w-]+\.(?:parts|late)/\w+\.h\z} } includes($file);
}
push @public, map { my $file = $_; map { "$file:$_->[0]: $_->[2]" } grep { $_->[1] eq '"' } includes($file) }
    files(qr/\.h\z/, 'include');

is join("\n", sort grep { !exists $height{$_} } map { m{^src/([^/]+)$} } glob 'src/*'), '',
    'every directory of src is a floor';
is join("\n", @floor), '', 'a floor includes only itself and lower ones, as "floor/module.h"';
is join("\n", @public), '', 'public headers: types.h anywhere, the others in src/plugin; they include no others';
is join("\n", @first), '', 'a source includes its own header first';
is join("\n", @plugin), '', 'a plugin includes no header of the engine';

my $cc = $ENV{CC} || 'cc';
my @alone;
for my $header (files(qr/\.h\z/, 'src', 'include')) {
    my $said = `$cc -std=c17 -D_GNU_SOURCE -Iinclude -Isrc -Wall -fsyntax-only -x c -include $header /dev/null 2>&1`;
    push @alone, "$header: $said" if $?;
}
is join("\n", @alone), '', 'every header stands alone';
done_testing;
