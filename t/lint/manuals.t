# The manual pages of programs and API: there, and without a fault. Those of plugins: plugins.t.
use strict;
use warnings;

use File::Find;
use Test::More;

my %page;
find({no_chdir => 1, wanted => sub { $page{$1} = $_ if m{([^/]+\.[1-9])\z} && -f }},
    grep { -d } qw(src include));

ok exists $page{$_}, "$_ exists" for qw(qpsmtpd.8 qpsmtpd-prefork.8 qpsmtpd-table.8 qpsmtpd-plugin.3);
for my $page (sort values %page) {
    is `mandoc -T lint -W warning $page 2>&1`, '', "$page is good mdoc";
}

# text - a page as a reader sees it, without bold and underline
sub text {
    my ($page) = @_;
    my $text = defined $page ? `mandoc -T ascii $page` : '';

    $text =~ s/.\x08//g;
    return $text;
}

# What --help offers, the page explains.
my $build = $ENV{QPSMTPD_BUILD} || '.';
for my $program (qw(qpsmtpd qpsmtpd-prefork qpsmtpd-table)) {
    my $page = text($page{"$program.8"});
    my %option = map { $_ => 1 } `$build/$program --help 2>&1` =~ /(?<![\w-])(--[a-z][a-z-]+)/g;
    ok scalar(keys %option), "$program --help shows options";
    is join("\n", grep { $page !~ /(?<![\w-])\Q$_\E(?![\w-])/ } sort keys %option), '',
        "$program.8 tells all of them";
}

# Every function of the public headers is in the page for authors.
my $author = text($page{'qpsmtpd-plugin.3'});
my %function;
for my $header (glob 'include/qpsmtpd/*.h') {
    open my $fh, '<', $header or die "$header: $!";
    local $/;
    (my $code = <$fh>) =~ s{/\*.*?\*/}{}gs;
    $function{$1} = 1 while $code =~ /^[a-z][^\n;{}#]*?\b(qp_[a-z0-9_]+)\(/mg;
}
is join("\n", grep { $author !~ /\b\Q$_\E\b/ } sort keys %function), '',
    'qpsmtpd-plugin.3 names every function of the API';
done_testing;
