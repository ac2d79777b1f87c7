# A plugin exports one symbol, the programs export the public API: nobody can come to depend on more.
use strict;
use warnings;

use File::Find;
use Test::More;

my $build = $ENV{QPSMTPD_BUILD} || '.';
# Sanitizers export names of their own.
plan skip_all => 'a build with sanitizers' if $ENV{QPSMTPD_SAN};

# exported - what others can link to; names with a version are copies of what a library exports
sub exported {
    my ($file) = @_;

    return grep { !/\@/ } map { (split ' ')[-1] } `nm -D --defined-only '$file'`;
}

for my $program (map { "$build/$_" } qw(qpsmtpd qpsmtpd-prefork)) {
    my @names = exported($program);
    ok scalar(grep({ $_ eq 'qp_log' } @names)), "$program exports the API";
    is join("\n", grep { !/^qp_/ } @names), '', "$program exports nothing else";
}

my %declared;
for my $header (glob 'include/qpsmtpd/*.h') {
    open my $fh, '<', $header or die "$header: $!";
    local $/;
    my $text = <$fh>;
    $declared{$1} = 1 while $text =~ /\b(qp_\w+)\s*\(/g;
}
is join("\n", grep { !$declared{$_} } exported("$build/qpsmtpd")), '',
    'what is exported stands in include/qpsmtpd';

my @plugins;
find({no_chdir => 1, wanted => sub { push @plugins, $1 if m{^plugins/(.*)\.c\z} && !m{\.(?:parts|late)/} }}, 'plugins');
for my $plugin (sort @plugins) {
    is_deeply [exported("$build/plugins/$plugin.so")], ['qp_plugin'], "$plugin exports qp_plugin";
}
done_testing;
