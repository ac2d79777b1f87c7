package Qpsmtpd::Cleanup;

# A cleanup(8) of Postfix that is played: listens on a socket, takes messages by its record protocol,
# and does what a test wants instead.
#
#     my $c = Qpsmtpd::Cleanup->new("$dir/cleanup");    # or a port of 127.0.0.1
#     $c->does('hello; message; status(0)');            # for each connection from now on; messages
#                                 # of before are forgotten
#     ... deliver ...
#     my ($m) = $c->messages;     # {flags, A => {name => value}, S, R => [], lines, types}
#
# What `does` is given is Perl; it may use
#
#     hello(NAME => VALUE ...)   sends attributes; without any, queue_id of this message
#     message                    reads a message to its record E and keeps it; forget: or not
#     part(N)                    reads N bytes
#     status(N, REASON)          says what came of it
#     say_raw(BYTES), $sock

use strict;
use warnings;

use IO::Socket::INET;
use IO::Socket::UNIX;
use POSIX ();
use Qpsmtpd::Test ();

our $sock;
my ($dir, $count, $connections) = ('', '', 0);

sub new {
    my ($class, $where) = @_;
    my $self = bless {
        dir => File::Temp->newdir('qpsmtpd-cleanup-XXXXXX', TMPDIR => 1), owner => $$,
        listen => $where =~ m{^/}
            ? IO::Socket::UNIX->new(Local => $where, Listen => 10)
            : IO::Socket::INET->new(LocalAddr => '127.0.0.1', LocalPort => $where, Listen => 10, ReuseAddr => 1),
    }, $class;

    die "$where: $!" unless $self->{listen};
    $self->{port} = $self->{listen}->sockport unless $where =~ m{^/};
    $self->does('hello; message; status(0)');
    $self->restart;
    return $self;
}

# restart - nobody is busy any more with what he was told before
sub restart {
    my ($self) = @_;

    $self->stop;
    $self->{pid} = fork // die "fork: $!";
    return if $self->{pid};
    $SIG{TERM} = 'DEFAULT';
    $dir = "$self->{dir}";
    while ($sock = $self->{listen}->accept) {
        my $do = Qpsmtpd::Test::slurp("$dir/do");
        $count = $$ . '.' . ++$connections;
        alarm 60; # a test that dies without us leaves nobody behind for long
        eval "$do; 1" or print STDERR "# cleanup: $@";
        alarm 0;
        close $sock;
    }
    POSIX::_exit(0);
}

sub does {
    my ($self, $do) = @_;

    open my $fh, '>', "$self->{dir}/do" or die "$self->{dir}/do: $!";
    print $fh $do;
    close $fh;
    unlink glob "$self->{dir}/m.*";
}

sub port { return $_[0]{port} }

# messages - those that were read whole
sub messages {
    my ($self) = @_;

    return map { parse(Qpsmtpd::Test::slurp($_)) } sort glob "$self->{dir}/m.*";
}

sub stop {
    my ($self) = @_;

    return unless $self->{pid} && $self->{owner} == $$;
    kill KILL => $self->{pid};
    waitpid delete $self->{pid}, 0;
}

sub DESTROY {
    my ($self) = @_;
    local ($?, $!, $@);

    $self->stop;
}

# ---- in the played server ----

sub say_raw { my ($bytes) = @_; local $SIG{PIPE} = 'IGNORE'; syswrite $sock, $bytes }
sub attributes { my @pairs = @_; say_raw(join('', map { "$_\0" } @pairs) . "\0") }
sub hello { attributes(@_ ? @_ : (queue_id => sprintf '%X%X', $$, $connections)) }
sub status { my ($n, $reason) = @_; attributes(status => $n, reason => defined $reason ? $reason : '') }
sub forget { unlink "$dir/m.$count" }
sub part { my ($n) = @_; my $got = ''; while (length $got < $n) { sysread $sock, $got, $n - length $got, length $got or last } $got }

# message - the bytes up to the record E, whose place the lengths of the others tell
sub message {
    my ($text, $at) = ('', undef);

    while (1) {
        if (!defined $at) {
            $at = $+[0] if $text =~ /\A(?:[^\0]+\0[^\0]*\0)+\0/;
        }
        while (defined $at && substr($text, $at) =~ /\A(.)([\x80-\xff]*[\0-\x7f])/s) {
            my ($type, $length, $n) = ($1, $2, 0);
            $n = $n << 7 | ord($_) & 0x7f for reverse split //, $length;
            last if length $text < $at + 1 + length($length) + $n;
            $at += 1 + length($length) + $n;
            next unless $type eq 'E';
            open my $fh, '>:raw', "$dir/tmp" or die;
            print $fh $text;
            close $fh;
            rename "$dir/tmp", "$dir/m.$count";
            return 1;
        }
        sysread $sock, $text, 65536, length $text or return 0;
    }
}

# ---- what was read ----

sub parse {
    my ($text) = @_;
    my %m = (A => {}, R => [], lines => '', types => '', longest => 0);

    $text =~ s/\A((?:[^\0]+\0[^\0]*\0)+)\0// or die 'no attributes';
    ($m{flags}) = $1 =~ /\Aflags\0(\d+)\0\z/;
    while (length $text) {
        $text =~ s/\A(.)([\x80-\xff]*[\0-\x7f])//s or die 'no record';
        my ($type, $n) = ($1, 0);
        $n = $n << 7 | ord($_) & 0x7f for reverse split //, $2;
        my $data = substr $text, 0, $n, '';
        $m{types} .= $type unless $m{types} =~ /\Q$type\E\z/;
        if ($type eq 'A') { my ($name, $value) = split /=/, $data, 2; $m{A}{$name} = $value }
        elsif ($type eq 'R') { push @{$m{R}}, $data }
        elsif ($type =~ /[NL]/) {
            $m{lines} .= $data . ($type eq 'N' ? "\n" : '');
            $m{longest} = $n if $n > $m{longest};
        } else { $m{$type} = $data }
    }
    return \%m;
}

1;
