package Qpsmtpd::Postfix;

=head1 NAME

Qpsmtpd::Postfix - the Postfix of Debian, for a test

=head1 SYNOPSIS

    my $postfix = Qpsmtpd::Postfix->new($t, main => "...", master => "...");   # undef: not here, see $why
    my ($message) = $postfix->arrived(1);       # {text => ..., 'Return-Path' => ..., received => ...}

=head1 DESCRIPTION

It is unpacked, not installed (F<.ci/unpack>), runs in namespaces of its own, where it finds its users, and
ends with the test. Mail for example.test is delivered by virtual(8) to one maildir. C<main> and C<master>
are added to its configuration, in which HERE is the directory of the test.

=cut

use strict;
use warnings;

use File::Path qw(make_path);
use Qpsmtpd::Test qw(slurp wait_for);

our $why;

my ($owner, $drop, $box_owner) = (65432, 65433, 65534);

sub new {
    my ($class, $t, %arg) = @_;

    $why = 'only root can give Postfix users and a mount of its own';
    return undef if $> != 0;
    my ($postfix) = split /\n/, `.ci/unpack postfix`;
    die ".ci/unpack postfix has failed\n" if $? || !defined $postfix;
    my $self = bless {dir => $t->dir, postfix => $postfix}, $class;
    my @unshare = qw(unshare --mount);
    my @inside = ('sh', '-c', 'mount --bind "$0/passwd" /etc/passwd && mount --bind "$0/group" /etc/group && exec "$@"',
        $t->dir, "$postfix/run");

    $self->configure($t, %arg);
    my ($status, $said) = $t->run(@unshare, @inside, 'true');
    $why = "no namespaces here: $said";
    return undef if $status != 0;
    open my $null, '+<', '/dev/null' or die "/dev/null: $!";
    $self->{process} = $t->spawn(command => ['/usr/bin/env', @unshare, qw(--pid --fork --kill-child), @inside,
            "$postfix/usr/lib/postfix/sbin/master", '-c', "$self->{dir}/etc", '-d'],
        env => $t->environment, in => $null, out => $null, err => $null);
    eval { wait_for(sub { -S "$self->{dir}/queue/public/cleanup" }, 20, 'Postfix'); 1 } or die $@ . substr $self->log, -2000;
    return $self;
}

sub configure {
    my ($self, $t, %arg) = @_;
    my ($dir, $postfix) = @$self{qw(dir postfix)};
    my $q = "$dir/queue";

    s/HERE/$dir/g for values %arg;
    $t->file('passwd', slurp('/etc/passwd') . "postfix:x:$owner:$owner\::/:/bin/false\n");
    $t->file('group', slurp('/etc/group') . "postfix:x:$owner:\npostdrop:x:$drop:\n");
    $t->file('etc/main.cf', <<"END");
compatibility_level = 3.6
queue_directory = $q
data_directory = $dir/lib
daemon_directory = $postfix/usr/lib/postfix/sbin
command_directory = $postfix/usr/sbin
shlib_directory = $postfix/usr/lib/postfix
meta_directory = $dir/etc
mail_owner = postfix
setgid_group = postdrop
myhostname = postfix.example.test
mydestination =
inet_interfaces = 127.0.0.1
import_environment = MAIL_CONFIG LD_LIBRARY_PATH
export_environment = MAIL_CONFIG LD_LIBRARY_PATH
alias_maps =
alias_database =
virtual_mailbox_domains = example.test
virtual_mailbox_base = $dir/box
virtual_mailbox_maps = static:all/
virtual_uid_maps = static:$box_owner
virtual_gid_maps = static:$box_owner
virtual_minimum_uid = 100
virtual_destination_recipient_limit = 1
allow_min_user = yes
local_header_rewrite_clients =
maillog_file = $dir/maillog
maillog_file_prefixes = $dir
$arg{main}
END
    $t->file('etc/master.cf', <<"END");
cleanup unix n - n - 0 cleanup
qmgr    unix n - n 1 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce  unix - - n - 0 discard
defer   unix - - n - 0 bounce
trace   unix - - n - 0 bounce
virtual unix - n n - - virtual
proxymap unix - - n - - proxymap
anvil   unix - - n - 1 anvil
tlsmgr  unix - - n 1000 1 tlsmgr
postlog unix-dgram n - n - 1 postlogd
$arg{master}
END
    make_path(map { "$q/$_" } qw(active bounce corrupt defer deferred flush hold incoming maildrop private public saved trace pid));
    make_path("$dir/lib", "$dir/box");
    chmod 0755, $dir;
    chmod 0700, glob "$q/*";
    chown $owner, 0, grep({ !m{/pid$} } glob "$q/*"), "$dir/lib";
    chown $owner, $drop, "$q/public", "$q/maildrop";
    chmod 0755, "$q/pid", $q;
    chmod 0710, "$q/public";
    chmod 0730, "$q/maildrop";
    chown $box_owner, $box_owner, "$dir/box";
}

sub log { return slurp("$_[0]{dir}/maillog") // '' }

# arrived - N messages in the box, in the order of their subjects, without what Postfix puts on top; they are
# taken out
sub arrived {
    my ($self, $n) = @_;
    my @files;

    eval { wait_for(sub { @files = glob "$self->{dir}/box/all/new/*"; @files >= $n }, 20, "$n messages"); 1 } or die $@ . substr $self->log, -2000;
    my @messages = map { slurp($_) } @files;
    unlink @files;
    return map { my %m = (text => $_);
        while ($m{text} =~ s/\A(Return-Path|X-Original-To|Delivered-To): (.*)\n//) { $m{$1} = $2 }
        $m{received} = $m{text} =~ s/\A((?:Received: .*\n(?:[ \t].*\n)+)+)// ? $1 : '';
        \%m } @messages;
}

1;
