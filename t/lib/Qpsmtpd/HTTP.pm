package Qpsmtpd::HTTP;

=head1 NAME

Qpsmtpd::HTTP - a web server for tests, that can also misbehave

=head1 SYNOPSIS

    my $http = Qpsmtpd::HTTP->new;
    $http->answer('/x/rcpthosts' => "example.test\n");
    $http->answer('*' => {status => '404 Not Found'});
    ... $http->url ...
    my ($request) = $http->requests;        # {line, path, header => {lower-case name => [values]}, body}

=head1 DESCRIPTION

A process of its own on a free port of 127.0.0.1, or at a unix socket (C<< socket => PATH >>). Each
connection is served by one more process, gets one answer and is closed. It goes away with the object.

An answer is a text (the body of a 200), or a hash:

    body => TEXT          type => 'text/plain'    status => '200 OK'    header => ['Name: value', ...]
    chunked => 1          in chunks of 7 bytes
    length => N           Content-Length: N, whatever the body has; undef: none
    raw => BYTES          these bytes and nothing else
    early => 1            answer without reading the request's body
    after => N            send N bytes of the answer, then close (cut)
    hang => 'read'        read nothing and say nothing, until the client has gone
    hang => 'answer'      read the request, then say nothing
    hang => N             send N bytes of the answer, then nothing
    drip => SECONDS       a byte each SECONDS
    endless => 1          a body that never ends
    close => 1            close the connection at once

=cut

use strict;
use warnings;

use Carp qw(croak);
use File::Temp ();
use IO::Socket::INET;
use IO::Socket::UNIX;
use POSIX ();
use Scalar::Util qw(weaken);
use Socket qw(MSG_NOSIGNAL SHUT_WR);
use Storable qw(lock_store lock_retrieve);
use Time::HiRes qw(sleep);

my @all;

sub new {
    my ($class, %arg) = @_;
    my $dir = File::Temp->newdir('qpsmtpd-http-XXXXXX', TMPDIR => 1);
    my $self = bless {dir => $dir, owner => $$, socket => $arg{socket}, answers => {'*' => ''}}, $class;

    $self->store;
    $self->start;
    push @all, $self;
    weaken($all[-1]);
    return $self;
}

# start - also again, after stop, at the same place
sub start {
    my ($self) = @_;
    my $listener = $self->{socket}
        ? do { unlink $self->{socket}; IO::Socket::UNIX->new(Local => $self->{socket}, Listen => 50) }
        : IO::Socket::INET->new(LocalAddr => '127.0.0.1', LocalPort => $self->{port} || 0, Listen => 50,
            Proto => 'tcp', ReuseAddr => 1);

    croak "cannot listen: $!" unless $listener;
    $self->{port} = $listener->sockport unless $self->{socket};
    my $pid = fork;
    croak "fork: $!" unless defined $pid;
    if ($pid == 0) {
        setpgrp;
        $SIG{$_} = 'DEFAULT' for qw(TERM INT HUP);
        $SIG{PIPE} = 'IGNORE';
        eval { $self->accept_all($listener); 1 } or print STDERR $@;
        POSIX::_exit(0);
    }
    setpgrp $pid, $pid;
    $self->{pid} = $pid;
}

sub stop {
    my ($self) = @_;
    my $pid = delete $self->{pid} or return;

    return unless $self->{owner} == $$;
    kill KILL => -$pid;
    local $?;
    waitpid $pid, 0;
}

sub DESTROY { $_[0]->stop }
END { local $?; Qpsmtpd::HTTP::stop($_) for grep { $_ && $_->{pid} } @all }

sub port { $_[0]{port} }
sub url  { "http://127.0.0.1:$_[0]{port}" }

# answer PATH => ANSWER - from now on; '*' for all that have none of their own
sub answer {
    my ($self, $path, $answer) = @_;

    $self->{answers}{$path} = $answer;
    $self->store;
}

sub store {
    my ($self) = @_;

    lock_store($self->{answers}, "$self->{dir}/answers");
}

# requests - what was asked since the last call, in order
sub requests {
    my ($self) = @_;
    my @files = sort glob "$self->{dir}/request.*";
    my @got = map { lock_retrieve($_) } @files;

    unlink @files;
    return @got;
}

# ---- the server's process --------------------------------------------------------------------------

sub accept_all {
    my ($self, $listener) = @_;
    my $n = 0;

    $SIG{CHLD} = 'IGNORE';
    while (1) {
        my $c = $listener->accept or next;
        my $file = sprintf '%s/request.%06d', $self->{dir}, ++$n;
        my $pid = fork;
        next if !defined $pid || $pid;
        close $listener;
        eval { $self->serve($c, $file); 1 } or print STDERR $@;
        POSIX::_exit(0);
    }
}

sub put { my ($c, $bytes) = @_; while (length $bytes) { my $n = send $c, $bytes, MSG_NOSIGNAL; return 0 unless $n; substr $bytes, 0, $n, '' } 1 }

# until_gone - the client closes, and not before
sub until_gone { my ($c) = @_; 1 while sysread $c, my $unused, 65536 }

sub serve {
    my ($self, $c, $file) = @_;
    my ($head, $request) = ('');

    while ($head !~ /\r\n\r\n/) {
        sysread $c, $head, 65536, length $head or return;
    }
    ($head, my $body) = $head =~ /\A(.*?\r\n)\r\n(.*)\z/s;
    my ($line, @header) = split /\r\n/, $head;
    $request = {line => $line, path => (split ' ', $line)[1], header => {}};
    for (@header) {
        my ($name, $value) = /^([^:]*):\s*(.*)/;
        push @{$request->{header}{lc $name}}, $value;
    }
    my $answers = lock_retrieve("$self->{dir}/answers");
    my $a = exists $answers->{$request->{path}} ? $answers->{$request->{path}} : $answers->{'*'};
    $a = {body => $a} unless ref $a;
    return if $a->{close};
    if (($a->{hang} || '') eq 'read') {
        sleep 3600;
    }
    my $length = ($request->{header}{'content-length'} || [0])->[0];
    unless ($a->{early}) {
        # Large bodies are counted, not kept.
        my $read = length $body;
        while ($read < $length) {
            my $n = sysread $c, my $more, 65536 or last;
            $read += $n;
            $body .= $more if length $body < 1_000_000;
        }
        $request->{received} = $read;
    }
    $request->{body} = $body;
    lock_store($request, "$file.new");
    rename "$file.new", $file;
    reply($c, $a);
    if ($a->{early}) { # what is unread would make a reset of the close
        shutdown $c, SHUT_WR;
        until_gone($c);
    }
    close $c;
}

sub reply {
    my ($c, $a) = @_;
    my $body = defined $a->{body} ? $a->{body} : '';
    my $length = exists $a->{length} ? $a->{length} : length $body;
    my @header = @{$a->{header} || []};

    push @header, 'Content-Type: ' . (defined $a->{type} ? $a->{type} : 'text/plain');
    push @header, "Content-Length: $length" if defined $length && !$a->{chunked} && !$a->{endless};
    push @header, 'Transfer-Encoding: chunked' if $a->{chunked};
    $body = join('', map { sprintf "%x\r\n%s\r\n", length $_, $_ } $body =~ /(.{1,7})/gs) . "0\r\n\r\n" if $a->{chunked};
    my $bytes = join("\r\n", 'HTTP/1.1 ' . ($a->{status} || '200 OK'), @header, '', $body);
    $bytes = $a->{raw} if defined $a->{raw};
    if (defined $a->{hang}) {
        $bytes = $a->{hang} =~ /^\d+$/ ? substr $bytes, 0, $a->{hang} : '';
        put($c, $bytes);
        return until_gone($c);
    }
    $bytes = substr $bytes, 0, $a->{after} if defined $a->{after};
    if ($a->{drip}) {
        for my $byte (split //, $bytes) {
            put($c, $byte) or return;
            sleep $a->{drip};
        }
        return;
    }
    put($c, $bytes);
    if ($a->{endless}) {
        1 while put($c, 'x' x 65536);
    }
}

1;
