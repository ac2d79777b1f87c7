# Every plugin has a manual page without a fault, a test, and a place in README and the sample configuration.
use strict;
use warnings;

use File::Find;
use Test::More;

my @plugins;
find({no_chdir => 1, wanted => sub { push @plugins, $1 if m{^plugins/(.*)\.c\z} && !m{\.(?:parts|late)/} }}, 'plugins');

my $sample = '';
find({no_chdir => 1, wanted => sub {
    return unless -f && open my $fh, '<', $_;
    local $/;
    $sample .= "\n" . <$fh>;
}}, grep { -d } 'config.sample');

open my $fh, '<', 'README' or die "README: $!";
my $readme = do { local $/; <$fh> };

for my $plugin (sort @plugins) {
    # That one lets everybody in: it serves the tests.
    like $readme, qr{^    \Q$plugin\E {2,}\S}m, "README shows $plugin" if $plugin ne 'auth/authnull';
    ok -e "t/plugin/$plugin.t", "t/plugin/$plugin.t exists";
    like $sample, qr{(?<![\w/-])\Q$plugin\E(?![\w/-])}, "config.sample shows $plugin";
    ok -e "plugins/$plugin.7", "plugins/$plugin.7 exists" or next;
    my $said = `mandoc -T lint -W warning plugins/$plugin.7 2>&1`;
    is $said, '', "plugins/$plugin.7 is good mdoc";
    my $name = do { open my $fh, '<', "plugins/$plugin.7" or die; local $/; <$fh> };
    like $name, qr/^\.Nm \Q$plugin\E\b/m, 'and calls it by its name';
}

# Neither is left behind when a plugin goes.
my @orphans;
find({no_chdir => 1, wanted => sub {
    push @orphans, $_ if m{^plugins/(.*)\.7\z} && !-e "plugins/$1.c";
    push @orphans, $_ if m{^t/plugin/(.*)\.t\z} && !-e "plugins/$1.c";
}}, grep { -d } qw(plugins t/plugin));
is join("\n", sort @orphans), '', 'no page and no test without a plugin';
done_testing;
