package Qpsmtpd::Peer;

=head1 NAME

Qpsmtpd::Peer - play a daemon that a plugin asks

=head1 SYNOPSIS

    my $daemon = Qpsmtpd::Peer->new;                     # TCP on a free port of 127.0.0.1
    my $daemon = Qpsmtpd::Peer->new("$dir/socket");      # a local socket

    $daemon->plays("+OK hello\r\n", qr/^login .*\n/, "-ERR no\r\n");
    ... the plugin asks $daemon->port ...
    is $daemon->heard, "login joe secret\nquit\n", 'what it was told';
    $daemon->gone;                                       # now nobody listens

=head1 DESCRIPTION

Each connection runs through the same steps, one connection after the other:

    "text"     send it
    \"text"    send it byte by byte
    qr/.../    read until what has come since the last such step matches
    0.5        wait so many seconds
    undef      wait for the other side to close

and then closes. C<heard> is all that the last connection has said, once it is over.

=cut

use strict;
use warnings;

use Carp qw(croak);
use IO::Socket::INET;
use IO::Socket::UNIX;
use POSIX ();
use Qpsmtpd::Test qw(slurp wait_for);

my @started;

sub new {
    my ($class, $path) = @_;
    my $self = bless {path => $path}, $class;

    $self->{tmp} = File::Temp->newdir('qpsmtpd-peer-XXXXXX', TMPDIR => 1);
    $self->{file} = "$self->{tmp}/heard";
    $self->listen;
    return $self;
}

sub listen {
    my ($self) = @_;

    unlink $self->{path} if defined $self->{path};
    $self->{listener} = defined $self->{path}
        ? IO::Socket::UNIX->new(Local => $self->{path}, Listen => 5, Type => SOCK_STREAM)
        : IO::Socket::INET->new(LocalAddr => '127.0.0.1', LocalPort => $self->{port} || 0, Listen => 5, ReuseAddr => 1)
        or croak "cannot listen: $@";
    $self->{port} = $self->{listener}->sockport unless defined $self->{path};
}

sub port { return $_[0]{port} }

# play - the steps with one client; gives all that it has said
sub play {
    my ($c, @steps) = @_;
    my ($all, $since) = ('', '');
    my $read = sub {
        my $n = sysread $c, my $bytes, 65536;
        return 0 unless $n;
        $all .= $bytes;
        $since .= $bytes;
        return 1;
    };

    for my $step (@steps) {
        if (!defined $step) {
            1 while $read->();
        } elsif (ref $step eq 'Regexp') {
            while ($since !~ $step) {
                $read->() or return $all;
            }
            $since = '';
        } elsif (ref $step) {
            syswrite $c, $_ and select undef, undef, undef, 0.002 for split //, $$step;
        } elsif ($step =~ /\A[\d.]+\z/) {
            select undef, undef, undef, $step;
        } else {
            syswrite $c, $step;
        }
    }
    return $all;
}

sub plays {
    my ($self, @steps) = @_;

    $self->stop;
    $self->listen unless $self->{listener};
    unlink $self->{file};
    defined(my $pid = fork) or croak "fork: $!";
    if ($pid == 0) {
        $SIG{$_} = 'DEFAULT' for qw(TERM INT HUP);
        $SIG{PIPE} = 'IGNORE';
        alarm 300; # whatever becomes of the test
        while (my $c = $self->{listener}->accept) {
            my $heard = play($c, @steps);
            shutdown $c, 1; # what the client still says must not become a reset
            while (my $n = sysread $c, my $bytes, 65536) {
                $heard .= $bytes;
            }
            close $c;
            open my $file, '>', "$self->{file}.new" or POSIX::_exit(1);
            print $file $heard;
            close $file;
            rename "$self->{file}.new", $self->{file};
        }
        POSIX::_exit(0);
    }
    push @started, $self->{pid} = $pid;
}

sub heard {
    my ($self) = @_;

    return wait_for(sub { -e $self->{file} && \slurp($self->{file}) }, 20, 'the end of a connection')->$*;
}

# asked - has anybody come at all?
sub asked { return -e $_[0]{file} }

sub stop {
    my ($self) = @_;
    my $pid = delete $self->{pid} or return;

    kill KILL => $pid;
    waitpid $pid, 0;
    @started = grep { $_ != $pid } @started;
}

sub gone {
    my ($self) = @_;

    $self->stop;
    close delete $self->{listener} if $self->{listener};
}

END {
    local $?;
    kill KILL => @started;
    waitpid $_, 0 for @started;
}

1;
