# Every C file is laid out as .clang-format says: `make format` does it.
use strict;
use warnings;

use File::Find;
use Test::More;

# A package of `make lint`, not of `make test`; both run this file.
plan skip_all => 'clang-format is not installed (make deps)'
    unless grep { -x "$_/clang-format" } split /:/, $ENV{PATH};

my @files;
find({no_chdir => 1, wanted => sub { push @files, $_ if /\.[ch]\z/ && !m{^t/lib/skeleton/} }},
    grep { -d } qw(src include plugins t));

# One call for all: asked singly, starting the program would be most of the work.
my $said = `clang-format --dry-run @files 2>&1`;
my %bad;
$bad{$1}++ while $said =~ /^(\S+?):\d+:\d+: warning: code should be clang-formatted/mg;
is join("\n", sort keys %bad), '', scalar(@files) . ' files are formatted' or diag 'make format';
is $?, 0, 'clang-format itself works' or diag $said;
done_testing;
