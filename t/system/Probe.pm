package Probe;

# Builds t/system/probe.c, a plugin that answers in every hook what the test wants.
#
#     use lib 't/system';
#     my $t = Qpsmtpd::Test->new(plugin_dirs => [Probe::dir('probe', 'probe_config')],
#         plugins => ['probe']);
#     my $d = $t->dialogue(env => {PROBE => 'mail=DENY:go away'});

use strict;
use warnings;

use Cwd qw(abs_path);
use File::Basename qw(dirname);
use File::Temp ();

my $here = dirname(abs_path(__FILE__));
my $tmp;

# dir - a directory with these variants, built: probe, or probe_NAME for one with -DPROBE_NAME
sub dir {
    my @variants = @_ ? @_ : 'probe';

    $tmp ||= File::Temp->newdir('qpsmtpd-probe-XXXXXX', TMPDIR => 1);
    for my $variant (@variants) {
        my $define = $variant =~ /^probe_(.+)/ ? '-DPROBE_' . uc $1 : '-DPROBE';
        build("$here/probe.c", "$tmp/$variant.so", $define);
    }
    return "$tmp";
}

# build - compile any source
sub build {
    my ($source, $object, @flags) = @_;
    my @command = ($ENV{CC} || 'cc', qw(-std=c17 -D_GNU_SOURCE -O1 -fPIC -shared -Wno-override-init),
        "-I$here/../../include", @flags, '-o', $object, $source);

    system(@command) == 0 or die "@command failed\n";
    return $object;
}

# events - what the plugin has logged, hook and argument, in order; the hooks of a pattern only
sub events {
    my ($d, $hooks) = @_;

    $hooks = qr/\S+/ unless $hooks;
    return map { s/\s+\z//r } $d->log =~ /^\d+ \S+ \S+ plugin: event ($hooks .*)$/mg;
}

# queued - the message that went to the file QUEUED of this object's directory, without our Received
sub queued {
    my ($t) = @_;
    my $message = Qpsmtpd::Test::slurp($t->dir . '/queued');

    unlink $t->dir . '/queued';
    $message =~ s/\AReceived: from [^\n]*\n    by [^\n]*\n// or return 'no Received' if defined $message;
    return $message;
}

# sync - wait until the server has read all that was sent, for a dialogue over a socket pair
sub sync {
    my ($d) = @_;
    my $unread = pack 'i', 1;

    while (ioctl($d->{out}, 0x5411, $unread) && unpack('i', $unread) > 0) { # TIOCOUTQ
        select undef, undef, undef, 0.0002;
    }
}

1;
