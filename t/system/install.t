# What `make install` puts somewhere is all that an outsider needs: a plugin is compiled with what
# pkg-config says, and tested with the installed harness against the installed programs. `make
# uninstall` leaves nothing.
use strict;
use warnings;

use Cwd qw(getcwd);
use File::Find;
use Test::More;

use Qpsmtpd::Test;

my $t = Qpsmtpd::Test->new;
my $stage = $t->dir . '/stage';
my $prefix = "$stage/usr/local";

# make - in this tree, with the variables of the make that runs us (SAN, CC), but not as its worker
my $flags = $ENV{MAKEFLAGS} || '';
$flags =~ s/(?:^|\s)-?-j\S*//g;
sub make {
    my @args = @_;
    return $t->run({env => {MAKEFLAGS => $flags}, limit => 300}, 'make', '-C', getcwd, @args);
}

# files - what stands below the stage
sub files {
    my %found;
    find(sub { $found{$File::Find::name =~ s{^\Q$stage\E}{}r} = 1 if -f }, $stage);
    return \%found;
}

my ($status, $said) = make('install', "DESTDIR=$stage");
is $status, 0, 'make install' or BAIL_OUT($said);
my $files = files();
ok $files->{"/usr/local/$_"}, "$_ is installed" for qw(
    sbin/qpsmtpd sbin/qpsmtpd-prefork sbin/qpsmtpd-table lib/qpsmtpd/plugins/rcpt_ok.so
    lib/qpsmtpd/plugins/queue/maildir.so include/qpsmtpd/plugin.h lib/pkgconfig/qpsmtpd.pc
    share/man/man8/qpsmtpd.8 share/man/man8/qpsmtpd-prefork.8 share/man/man8/qpsmtpd-table.8 share/man/man3/qpsmtpd-plugin.3
    share/man/man7/qpsmtpd-queue-maildir.7 share/qpsmtpd/config.sample/plugins
    share/qpsmtpd/t/lib/Qpsmtpd/Test.pm share/qpsmtpd/run share/qpsmtpd/log/run);
is -s "$prefix/sbin/qpsmtpd-prefork" ? (stat _)[2] & 0777 : 0, 0755, 'programs are executable';

($status, $said) = $t->run("$prefix/sbin/qpsmtpd", '--version');
like $said, qr/\b1\.\d+\.\d+\b/, 'the installed program runs';
for my $program (qw(qpsmtpd qpsmtpd-prefork)) {
    ($status, $said) = $t->run("$prefix/sbin/$program", '-C', "$prefix/share/qpsmtpd/config.sample",
        '-P', "$prefix/lib/qpsmtpd/plugins", '--check', $program eq 'qpsmtpd' ? () : ('-u', scalar getpwuid $<));
    is $status, 0, "$program --check: the installed sample is a good configuration" or diag $said;
}

# An outsider: a directory of his own, nothing of this tree. "pkg-config" would put the stage in front
# of the prefix by PKG_CONFIG_SYSROOT_DIR.
$t->file('mine/no_thursday.c', <<'END');
#include <qpsmtpd/plugin.h>

static enum qp_rc
on_mail(struct qp *q, const struct qp_address *sender)
{
    return qp_deny(q, "not on Thursdays, %s", sender->user);
}

QP_PLUGIN(.name = "no_thursday", .mail = on_mail);
END
$t->file('mine/no_thursday.t', <<'END');
use strict;
use warnings;
use Test::More;
use Qpsmtpd::Test;
my $d = Qpsmtpd::Test->new(plugins => ['no_thursday'])->dialogue;
$d->say('HELO x');
is $d->say('MAIL FROM:<joe@example.test>'), '550 not on Thursdays, joe', 'it refuses';
done_testing;
END
my %env = (
    PKG_CONFIG_PATH => "$prefix/lib/pkgconfig", PKG_CONFIG_SYSROOT_DIR => $stage,
    QPSMTPD_BUILD => undef, QPSMTPD_PLUGINS => '.', PERL5LIB => undef,
    ASAN_OPTIONS => ($ENV{ASAN_OPTIONS} || '') . ':verify_asan_link_order=0',
);
($status, $said) = $t->run({env => \%env}, 'sh', '-c',
    'cd mine && cc -Wall -Werror -shared -fPIC $(pkg-config --cflags qpsmtpd) -o no_thursday.so no_thursday.c');
is $status, 0, 'a plugin is compiled with what pkg-config says' or diag $said;
($status, $said) = $t->run({env => \%env}, 'sh', '-c', "cd mine && prove -I$prefix/share/qpsmtpd/t/lib no_thursday.t");
is $status, 0, 'and tested with the installed harness' or diag $said;

($status, $said) = make('uninstall', "DESTDIR=$stage");
is $status, 0, 'make uninstall' or diag $said;
is join("\n", sort keys %{files()}), '', 'and nothing is left';
done_testing;
