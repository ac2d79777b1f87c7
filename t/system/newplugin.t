# `make plugin NAME=x` writes a plugin, its manual page, its test and a line in config.sample, and all
# of it builds and passes at once. In a copy of the tree: this one is not touched.

use strict;
use warnings;

use Cwd qw(abs_path);
use File::Basename qw(dirname);
use Test::More;

use Qpsmtpd::Test qw(slurp sanitized);

my $root = abs_path(dirname(__FILE__) . '/../..');
my $t = Qpsmtpd::Test->new;
my $copy = $t->dir . '/tree';
my $build = abs_path($ENV{QPSMTPD_BUILD} || $root);

# What the target needs, without what was built: the engine is taken from here.
my ($status, $output) = $t->run('sh', '-c', 'mkdir "$2" && cd "$1" && cp -r Makefile include src config.sample "$2" &&'
    . ' mkdir -p "$2/t" "$2/plugins" && cp -r t/lib t/lint "$2/t" && cp .clang-format "$2"', 'sh', $root, $copy);
is $status, 0, 'a copy of the tree' or BAIL_OUT($output);

# make - in the copy, with the variables of the make that runs us, but not as its worker
(my $flags = $ENV{MAKEFLAGS} || '') =~ s/(?:^|\s)-?-j\S*//g;
my @san = $ENV{QPSMTPD_SAN} ? ("SAN=$ENV{QPSMTPD_SAN}") : ();

sub make {
    return $t->run({env => {MAKEFLAGS => $flags}, limit => 50}, 'make', '-C', $copy, @san, @_);
}

for my $name ('my_plugin', 'queue/my-plugin2') {
    (my $page = $name) =~ s{/}{-}g;
    ($status, $output) = make('plugin', "NAME=$name");
    is $status, 0, "$name: make plugin" or diag $output;
    ok -s "$copy/$_", "$name: $_" for "plugins/$name.c", "plugins/$name.7", "t/plugin/$name.t";
    like slurp("$copy/config.sample/plugins"), qr/^# .*\n#\Q$name\E$/m, "$name: a comment in config.sample/plugins";
    unlike join('', map { slurp("$copy/$_") } "plugins/$name.c", "plugins/$name.7", "t/plugin/$name.t"), qr/\@[A-Z]+\@/,
        "$name: nothing of the skeleton is left to fill in";

    my ($out) = $build =~ m{(build/\w+)\z} ? "$1/" : '';
    ($status, $output) = make("${out}plugins/$name.so");
    is $status, 0, "$name: it builds, with warnings as errors" or diag $output;
    my ($undone, $test) = $t->run({env => {
        QPSMTPD_BUILD => $build, QPSMTPD_PLUGINS => "$copy/${out}plugins", QPSMTPD_SAN => $ENV{QPSMTPD_SAN},
    }}, 'sh', '-c', 'cd "$1" && exec prove -It/lib "t/plugin/$2.t"', 'sh', $copy, $name);
    is $undone, 0, "$name: its test passes" or diag $test;
    ($status, $output) = $t->run('mandoc', '-T', 'lint', '-W', 'warning', "$copy/plugins/$name.7");
    is $status, 0, "$name: so does its manual page" or diag $output;
    ($status, $output) = $t->run('mandoc', "$copy/plugins/$name.7");
    like $output, qr/qpsmtpd-\Q$page\E/i, "$name: which is named as it will be installed";
    my ($format) = $t->run('sh', '-c', 'command -v clang-format');
  SKIP: {
        skip 'no clang-format here', 1 if $format != 0;
        ($status, $output) = $t->run('sh', '-c', 'cd "$1" && exec clang-format --dry-run -Werror "plugins/$2.c"', 'sh', $copy, $name);
        is $status, 0, "$name: and its layout" or diag $output;
    }

    my $was = slurp("$copy/plugins/$name.c");
    ($status, $output) = make('plugin', "NAME=$name");
    isnt $status, 0, "$name: a second time it is refused";
    like $output, qr{plugins/\Q$name\E\.c is there already}, "$name: with the reason";
    is slurp("$copy/plugins/$name.c"), $was, "$name: and nothing is lost";
}

for my $name ('', 'Big', '../x', 'a/b/c', 'x y', '1x', '/x', 'x/', "x'; touch $copy/oops; '") {
    ($status, $output) = make('plugin', "NAME=$name");
    isnt $status, 0, "'$name' is no name";
    like $output, qr/usage: make plugin NAME=x/, 'and it says so';
}
ok !-e "$copy/oops", 'no shell has seen it';

done_testing;
