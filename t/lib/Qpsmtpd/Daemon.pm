package Qpsmtpd::Daemon;

=head1 NAME

Qpsmtpd::Daemon - a daemon that a test plays, on TCP or on a unix socket

=head1 SYNOPSIS

    my $clamd = Qpsmtpd::Daemon->new(sub {
        my ($c, $n) = @_;              # the connection, and which one it is, from 1
        my $command = line($c, "\0");
        say_to($c, "PONG\0");
    }, path => $t->dir . '/socket');
    $clamd->port;                      # without path: the TCP port on 127.0.0.1
    $clamd->stop;

=head1 DESCRIPTION

It runs in a process of its own, which serves one connection after the other, closes each when the code
returns, and ends with the test, or after two minutes. C<sleep> in the code is a slow daemon; C<hang> one
that says nothing more.

=head1 FUNCTIONS

Exported on request.

=over

=item line HANDLE [, END]

What comes before END (default LF, which goes with a CR), without it; undef at the end of the connection.

=item bytes HANDLE, N

N bytes; fewer at the end of the connection.

=item rest HANDLE

All until the other side closes its direction.

=item say_to HANDLE, TEXT, ...

Sends. A number reference is a pause of so many seconds.

=item hang

Does nothing more, until the test ends the daemon.

=item reset_of HANDLE

Makes the close a TCP reset.

=back

=head1 METHODS

=over

=item new CODE [, path => PATH]

=item port, path, stop

=item heard

What the code has left with C<heard(TEXT)>, in order.

=back

=cut

use strict;
use warnings;

use Exporter qw(import);
use File::Temp ();
use IO::Socket::INET;
use IO::Socket::UNIX;
use POSIX ();
use Socket qw(SOCK_STREAM SOL_SOCKET SO_LINGER);

our @EXPORT_OK = qw(line bytes rest say_to hang reset_of heard);
my @running;
my $notebook;

sub bytes {
    my ($c, $n) = @_;
    my $got = '';

    while (length $got < $n) {
        sysread $c, $got, $n - length $got, length $got or last;
    }
    return $got;
}

sub line {
    my ($c, $end) = @_;
    my $got = '';

    $end = "\n" unless defined $end;
    while ((my $byte = bytes($c, 1)) ne $end) {
        return undef if $byte eq '';
        $got .= $byte;
    }
    $got =~ s/\r\z// if $end eq "\n";
    return $got;
}

sub rest {
    my ($c) = @_;
    my $got = '';

    1 while sysread $c, $got, 65536, length $got;
    return $got;
}

sub say_to {
    my ($c, @text) = @_;

    for my $text (@text) {
        if (ref $text) {
            select undef, undef, undef, $$text;
            next;
        }
        for (my $done = 0; $done < length $text;) {
            my $n = syswrite $c, $text, 65536, $done or return 0;
            $done += $n;
        }
    }
    return 1;
}

# As long as the daemon lives, which serves nobody else then.
sub hang {
    select undef, undef, undef, 200;
}

sub reset_of {
    my ($c) = @_;

    setsockopt $c, SOL_SOCKET, SO_LINGER, pack 'ii', 1, 0;
}

sub new {
    my ($class, $code, %arg) = @_;
    my $listener;
    my $self = bless {path => $arg{path}, heard => $arg{heard}}, $class;

    if ($arg{path}) {
        unlink $arg{path};
        $listener = IO::Socket::UNIX->new(Local => $arg{path}, Listen => 20, Type => SOCK_STREAM)
            or die "$arg{path}: $!\n";
    } else {
        $listener = IO::Socket::INET->new(LocalAddr => '127.0.0.1', LocalPort => 0, Listen => 20, Proto => 'tcp')
            or die "listen: $@\n";
        $self->{port} = $listener->sockport;
    }
    my $file = File::Temp->new;
    open my $notes, '<:raw', "$file" or die "$file: $!\n";
    open my $write, '>>:raw', "$file" or die "$file: $!\n";
    my $pid = fork;
    die "fork: $!\n" unless defined $pid;
    if ($pid == 0) {
        $SIG{$_} = 'DEFAULT' for qw(TERM INT HUP);
        $SIG{PIPE} = 'IGNORE';
        alarm 120; # whatever becomes of the test
        $notebook = $write;
        for (my $n = 1; my $c = $listener->accept; $n++) {
            eval { $code->($c, $n); 1 } or print STDERR "# daemon: $@";
            close $c;
        }
        POSIX::_exit(0);
    }
    close $write;
    @$self{qw(pid notes)} = ($pid, $notes);
    push @running, $self;
    return $self;
}

# heard - as a function, in the daemon: leave a text; as a method, in the test: those that were left
# since the last call
sub heard {
    my ($self) = @_;

    if (!ref $self) {
        syswrite $notebook, pack('N/a', $self);
        return;
    }
    my $text = do { local $/; readline($self->{notes}) };
    seek $self->{notes}, 0, 1; # what comes after this end can be read as well
    return unpack '(N/a)*', defined $text ? $text : '';
}

sub port { return $_[0]{port} }
sub path { return $_[0]{path} }

sub stop {
    my ($self) = @_;
    local $?;

    return unless $self->{pid};
    kill KILL => $self->{pid};
    waitpid delete $self->{pid}, 0;
}

END {
    local $?;
    $_->stop for @running;
}

1;
