package Qpsmtpd::Dovecot;

=head1 NAME

Qpsmtpd::Dovecot - the Dovecot of Debian, for a test

=head1 SYNOPSIS

    my $dovecot = Qpsmtpd::Dovecot->new($t, 'dovecot-imapd');      # undef: not here, see $why
    $dovecot->file(users => "joe:{PLAIN}secret::::::\n");
    $dovecot->start("protocols = imap\n...", sub { -S $dovecot->home . '/run/login' });
    $dovecot->stop;                                                # else it ends with the test

=head1 DESCRIPTION

It is unpacked, not installed (F<.ci/unpack>). Dovecot has paths in /usr compiled in: in a mount namespace of
its own its files lie over /usr. It runs without any privilege, as nobody where the test is root. In the
configuration HOME is its directory, PACKAGE where its package was unpacked, UID and GID whose processes these
are.

=cut

use strict;
use warnings;

use File::Temp ();
use Qpsmtpd::Test qw(slurp wait_for);

our $why;

sub new {
    my ($class, $t, $package) = @_;
    my ($unpacked) = split /\n/, `.ci/unpack $package`;
    die ".ci/unpack $package has failed\n" if $? || !defined $unpacked;
    my $self = bless {t => $t, package => $unpacked}, $class;

    @$self{qw(user uid gid)} = $< ? ((getpwuid $<)[0], $<, $( + 0) : (getpwnam 'nobody')[0, 2, 3];
    my $mount = "mount -t overlay overlay -o lowerdir='$unpacked/usr':/usr /usr";
    $self->{private} = $<
        ? [qw(unshare --map-root-user --mount sh -c),
            "$mount && exec unshare --user --map-user=$self->{uid} --map-group=$self->{gid} \"\$@\"", 'sh']
        : [qw(unshare --mount sh -c),
            "$mount && exec setpriv --reuid=$self->{uid} --regid=$self->{gid} --clear-groups \"\$@\"", 'sh'];
    my ($status, $said) = $t->run(@{$self->{private}}, qw(dovecot --version));
    $why = "Dovecot cannot have its own /usr here: $said";
    return undef if $status != 0;

    my $home = $self->{home} = File::Temp->newdir('qpsmtpd-dovecot-XXXXXX', TMPDIR => 1, CLEANUP => !$ENV{KEEP});
    mkdir "$home/$_" for qw(run state mail);
    chown @$self{qw(uid gid)}, "$home", map { "$home/$_" } qw(run state mail);
    chmod 0755, "$home", "$home/run";
    return $self;
}

sub home { return "$_[0]{home}" }
sub log  { return slurp("$_[0]{home}/log") // '' }

# file - one of his; gives its name
sub file {
    my ($self, $name, $content) = @_;

    $name = "$self->{home}/$name";
    open my $fh, '>', $name or die "$name: $!";
    print $fh $content;
    close $fh;
    chmod 0600, $name;
    chown @$self{qw(uid gid)}, $name;
    return $name;
}

# start - until ready gives something true; dies with the log when it does not
sub start {
    my ($self, $config, $ready) = @_;
    my %word = (HOME => $self->home, PACKAGE => $self->{package}, UID => $self->{uid}, GID => $self->{gid});
    my $group = getgrgid $self->{gid};

    $config =~ s/\b(HOME|PACKAGE|UID|GID)\b/$word{$1}/g;
    my $file = $self->file('dovecot.conf', <<"END");
base_dir = $word{HOME}/run
state_dir = $word{HOME}/state
log_path = $word{HOME}/log
default_internal_user = $self->{user}
default_internal_group = $group
default_login_user = $self->{user}
listen = 127.0.0.1
first_valid_uid = 1
service anvil {
  chroot =
}
service stats {
  chroot =
}
$config
END
    open my $null, '+<', '/dev/null' or die "/dev/null: $!";
    $self->{process} = $self->{t}->spawn(command => ['/usr/bin/env', @{$self->{private}}, qw(dovecot -F -c), $file],
        env => $self->{t}->environment, in => $null, out => $null, err => $null);
    eval { wait_for($ready, 20, 'Dovecot'); 1 } or die $@ . $self->log;
}

sub stop {
    my ($self) = @_;

    $self->{process}->kill_all;
}

1;
