package Qpsmtpd::NextHop;

=head1 NAME

Qpsmtpd::NextHop - an SMTP or LMTP server that does what a test wants

=head1 SYNOPSIS

    my $hop = Qpsmtpd::NextHop->new($t);
    # ... queue/smtp-forward 127.0.0.1:PORT, with $hop->port
    $hop->does(MAIL => '450 4.2.0 later', dot => {send => "250 o", then => 'die'});
    is_deeply [$hop->commands], [...];
    my @bytes = $hop->messages;

=head1 DESCRIPTION

Serves any number of connections, each in a process of its own, and answers every command with 250 and
its like. C<does> changes that, for all connections and from the next command on. It takes steps and
what happens in them:

    greeting EHLO LHLO HELO RSET MAIL RCPT DATA QUIT ...    the answer to that command
    "RCPT <a@b>"        the answer for that recipient
    message             while the message is read: after its first 1000 bytes
    dot                 after it; LMTP: "dot <a@b>" for that recipient

A step's value is the answer (lines joined by LF; CR LF is added), or a hash:

    send   bytes, sent as they are
    drip   seconds between two bytes of them
    then   'die' closes the connection, 'reset' so that the other side gets an RST, 'silent' does
           nothing any more until the other side hangs up, 'deaf' does not even read, 'go on' (default)
           waits for the next command

A message counts as taken (C<messages>) when at least one answer to its dot begins with 2.

=cut

use strict;
use warnings;

use Carp qw(croak);
use IO::Socket::INET;
use IO::Socket::UNIX;
use POSIX ();
use Socket qw(SOL_SOCKET SO_LINGER SO_RCVBUF SOCK_STREAM);
use Test::More ();
use Time::HiRes qw(sleep);

use Qpsmtpd::Test qw(slurp wait_for);

my %default = (
    greeting => '220 hop.test ESMTP',
    HELO => '250 hop.test',
    DATA => '354 go ahead',
    QUIT => '221 bye',
    AUTH => '235 2.7.0 welcome',
    dot => '250 2.0.0 Ok: queued as 4F1D',
);
my %default_then = (QUIT => 'die');
my ($count, @started) = (0);

=head1 METHODS

=over

=item new TEST, NAME => VALUE, ...

TEST is the L<Qpsmtpd::Test> that has the directory for its files.

    lmtp   1: it speaks LMTP
    path   a socket of this machine instead of a port
    offer  lines of EHLO's answer, default PIPELINING, 8BITMIME and SIZE
    port   instead of a free one; address: instead of 127.0.0.1
    tls    directory with the certificate of plugins/tls_cert: after a 220 to STARTTLS it speaks TLS

=cut

sub new {
    my ($class, $test, %arg) = @_;
    my $self = bless {lmtp => 0, offer => ['PIPELINING', '8BITMIME', 'SIZE 10000000'], %arg, test => $test, owner => $$}, $class;

    $self->{dir} = $test->dir . '/hop.' . ++$count;
    mkdir $self->{dir} or croak "$self->{dir}: $!";
    $self->does;
    $self->start;
    return $self;
}

=item start, stop

Listen, on the same port as before; or not any more, and all connections end.

=cut

sub start {
    my ($self) = @_;
    my $listen = $self->{path}
        ? IO::Socket::UNIX->new(Local => $self->{path}, Listen => 20, Type => SOCK_STREAM)
        : IO::Socket::INET->new(LocalAddr => $self->{address} || '127.0.0.1', LocalPort => $self->{port} || 0, Listen => 20,
            Proto => 'tcp', ReuseAddr => 1);

    croak "a next hop cannot listen: $!" unless $listen;
    # A message shall not disappear in buffers before anything has happened.
    setsockopt $listen, SOL_SOCKET, SO_RCVBUF, 8192;
    $self->{port} = $listen->sockport unless $self->{path};
    my $pid = fork;
    croak "fork: $!" unless defined $pid;
    if ($pid == 0) {
        $SIG{$_} = 'DEFAULT' for qw(TERM INT);
        $SIG{CHLD} = 'IGNORE';
        setpgrp;
        eval { $self->serve($listen); 1 } or print STDERR "# next hop: $@";
        POSIX::_exit(0);
    }
    setpgrp $pid, $pid;
    push @started, $pid;
    $self->{pid} = $pid;
}

sub stop {
    my ($self) = @_;

    return unless grep { $_ == $self->{pid} } @started;
    kill KILL => -$self->{pid};
    waitpid $self->{pid}, 0;
    unlink $self->{path} if $self->{path};
    @started = grep { $_ != $self->{pid} } @started;
}

sub DESTROY {
    my ($self) = @_;
    local ($?, $!, $@);

    $self->stop if $self->{owner} == $$;
}

END {
    local ($?, $!);
    kill KILL => -$_ for @started;
    waitpid $_, 0 for @started;
}

sub port { return $_[0]{port} }

=item does STEP => VALUE, ...

What it does from now on; all other steps are as at the beginning.

=item offers LINE, ...

What EHLO answers from now on.

=cut

sub does {
    my ($self, %does) = @_;
    my $text = "does\0";

    for my $step (sort keys %does) {
        my %v = ref $does{$step} ? %{$does{$step}} : (send => join "\r\n", split(/\n/, $does{$step}), '');
        $text .= join "\0", unpack('H*', $step), unpack('H*', defined $v{send} ? $v{send} : ''), $v{drip} || 0, $v{then} || '', '';
    }
    $self->put(does => $text);
}

sub offers {
    my ($self, @offer) = @_;

    $self->put(offer => join "\n", @offer);
}

# put - a file, whole or not at all
sub put {
    my ($self, $name, $text) = @_;
    my $path = "$self->{dir}/$name";

    open my $fh, '>:raw', "$path.$$" or die "$path.$$: $!";
    print $fh $text;
    close $fh or die "$path: $!";
    rename "$path.$$", $path or die "$path: $!";
}

=item commands

What it was told, each with the number of its connection: "1 EHLO mx.example.test". C<clear> forgets them.

=item messages

What it has taken, as it came over the wire, without the final dot. C<clear> forgets them, too.

=item tries

How many messages have been read to their dot.

=item connections

How many there were.

=back

=cut

sub commands { return split /\n/, slurp("$_[0]{dir}/log") // '' }
sub messages { return map { slurp($_) } sort { ($a =~ /(\d+)$/)[0] <=> ($b =~ /(\d+)$/)[0] } glob "$_[0]{dir}/message.*" }
sub tries { return length(slurp("$_[0]{dir}/tries") // '') }
sub connections { return length(slurp("$_[0]{dir}/connections") // '') }

sub clear {
    my ($self) = @_;

    unlink "$self->{dir}/log", "$self->{dir}/tries", "$self->{dir}/connections", glob "$self->{dir}/message.*";
}

=head1 FAULTS

C<test_faults> plays what can go wrong, for the plugin whose configuration line C<plugin> gives for a port, and
tests the reply that our client gets, how many copies the next hop has, and that the next message passes. With
`prove -v` it is a table: fault, reply, copies.

=cut

# The shortest time limit, on this machine.
our $second = int($ENV{TEST_SLOW} || 1) || 1;
our $limits = limits($second);

sub limits {
    my ($n) = @_;

    return join ' ', map({ "timeout_$_ ${n}s" } qw(connect greeting command data block end)), 'retry 0';
}

sub faults {
    my ($lmtp) = @_;
    my $many = join '', map { "250-$_\r\n" } 1 .. 1000;
    my $long = '250 ' . 'x' x 5000;
    my $hello = $lmtp ? 'LHLO' : 'EHLO';
    my $odd = 'that is no reply, or one without an end';
    my @broken = (
        ['dies', {then => 'die'}, 'connection closed'],
        ['resets the connection', {then => 'reset'}, '(?:Connection reset by peer|connection closed)'],
        ['says nothing', {then => 'silent'}, 'timeout'],
        ['answers garbage', {send => "\x00\xff\r\n"}, $odd],
        ['answers with something like a reply', {send => "25O ok\r\n"}, $odd],
        ['answers with two codes', {send => "250-a\r\n550 b\r\n"}, $odd],
        ['answers with an endless line', {send => $long, then => 'silent'}, $odd],
        ['answers with a thousand continuation lines', {send => $many, then => 'silent'}, $odd],
        ['answers without a newline', {send => '250 ok', then => 'silent'}, 'timeout'],
        ['answers without a newline and dies', {send => '250 ok', then => 'die'}, 'connection closed'],
        ['drips its answer', {send => '250 ' . 'x' x 100 . "\r\n", drip => 0.05 * $second}, 'timeout'],
    );
    my @faults;

    for my $step ('greeting', $hello, 'MAIL', 'RCPT', 'DATA', 'dot') {
        # Who resets at once may be faster than we see that we are connected.
        my $at = $step eq 'greeting' ? '(?:connect|greeting)' : $step;
        my $lost = $step eq 'dot' && $lmtp ? 'no answer of the next hop' : "Unable to queue message \\($at: ";
        for (@broken) {
            my ($name, $does, $why) = @$_;
            my %does = %$does;
            $does{send} =~ s/250/354/g if $step eq 'DATA' && defined $does{send};
            push @faults, ["$step: it $name", {$step => \%does},
                $step eq 'dot' && $lmtp ? qr/^451 $lost$/ : qr/^451 $lost$why\)$/,
                # It has said yes, if nobody could understand it: whoever tries again makes a duplicate.
                $step eq 'dot' && defined $does{send} && $does{send} =~ /^2/ ? 1 : 0];
        }
    }
    for my $step ('greeting', $hello, 'MAIL', 'RCPT', 'DATA') {
        push @faults, ["$step: 421", {$step => {send => "421 4.3.2 closing\r\n", then => 'die'}},
            qr/^451 Unable to queue message \($step: 421 closing\)$/, 0];
    }
    for my $step ('MAIL', 'RCPT', 'DATA', 'dot') {
        push @faults,
            ["$step: 4xx", {$step => '450 4.2.0 come again'}, qr/^450 come again$/, 0],
            ["$step: 5xx", {$step => '550 5.7.1 go away'}, qr/^550 go away$/, 0],
            ["$step: 521", {$step => '521 go away'}, qr/^554 go away$/, 0],
            ["$step: 530 speaks of us", {$step => '530 5.7.0 authentication required'},
                $step ne 'dot' ? qr/^451 Unable to queue message \($step: 530 authentication required\)$/
                : $lmtp ? qr/^451 no answer of the next hop$/
                : qr/^451 Unable to queue message \(dot: 530 authentication required\)$/, 0],
            ["$step: several lines", {$step => "450-4.2.0 one\n450-4.2.0  two\n450"}, qr/^450 one two$/, 0],
            ["$step: hostile text", {$step => {send => "550 a\rb\0c\x1b[1m\xe9\t%s%n\r\n"}}, qr/^550 a\?b\?c\?\[1m\?\?%s%n$/, 0],
            ["$step: long text", {$step => {send => '550 ' . 'x' x 900 . "\r\n"}}, qr/^550 x{400}$/, 0],
            ["$step: no text", {$step => '450'}, qr/^450 /, 0];
    }
    push @faults,
        ['greeting: 554', {greeting => '554 no'}, qr/^451 Unable to queue message \(greeting: 554 no\)$/, 0],
        ['MAIL: 354', {MAIL => '354 go'}, qr/^451 Unable to queue message \(MAIL: 354 go\)$/, 0],
        ['DATA: 250', {DATA => '250 ok'}, qr/^451 Unable to queue message \(DATA: 250 ok\)$/, 0],
        ['DATA: two answers at once', {DATA => {send => "354 go\r\n250 taken\r\n"}}, qr/^451 Unable to queue message \(DATA: 354 go\)$/, 0],
        ['message: 250 ahead of the dot', {message => {send => "250 taken\r\n"}},
            qr/^451 Unable to queue message \(message: 250 taken\)$/, 0],
        ['message: it dies', {message => {then => 'die'}}, qr/^451 Unable to queue message \(message: .*\)$/, 0],
        ['message: it resets', {message => {then => 'reset'}}, qr/^451 Unable to queue message \(message: .*\)$/, 0],
        ['message: it reads no more', {message => {then => 'deaf'}}, qr/^451 Unable to queue message \(message: timeout\)$/, 0],
        ['message: 552 and dies', {message => {send => "552 5.3.4 too big\r\n", then => 'die'}},
            qr/^(?:552 too big|451 Unable to queue message \(message: .*\))$/, 0],
        ['dot: 421', {dot => {send => "421 4.3.2 closing\r\n", then => 'die'}}, qr/^451 closing$/, 0],
        ['dot: slow, but in time', {dot => {send => "250 ok\r\n", drip => 0.02}}, qr/^250 Queued! ok$/, 1];
    return @faults;
}

my $small = "Subject: x\n\nbody\n";
my $large = "Subject: large\n\n" . ('x' x 70 . "\n") x 100_000;

# begin - a session that has sent its message, whose reply is not read yet
sub begin {
    my ($what, $does, $lmtp, $plugin, $config) = @_;
    my $t = Qpsmtpd::Test->new(config => $config);
    my $hop = Qpsmtpd::NextHop->new($t, lmtp => $lmtp);

    # A slow machine shall only fail where slowness is the fault that is played.
    my $slow = grep { ref && ($_->{drip} || ($_->{then} || '') =~ /silent|deaf/) } values %$does;
    $t->config(plugins => ['rcpt_ok', $plugin->($hop->port) . ' ' . limits($slow ? $second : 20 * $second)]);
    $hop->does(%$does);
    my $d = $t->dialogue;
    $d->say($_) for 'EHLO client.test', 'MAIL FROM:<a@client.test>', 'RCPT TO:<b@example.test>', 'DATA';
    $d->raw(($what =~ /^message/ ? $large : $small) =~ s/\n/\r\n/gr . ".\r\n");
    return ($t, $hop, $d);
}

sub test_faults {
    my ($lmtp, $plugin, $config) = @_;
    my @faults = faults($lmtp);

    # Many of them wait for a time limit: several at once.
    while (my @some = splice @faults, 0, 12) {
        my @sessions = map { [begin(@$_[0, 1], $lmtp, $plugin, $config)] } @some;
        for my $fault (@some) {
            my ($what, $does, $reply, $copies) = @$fault;
            my ($t, $hop, $d) = @{shift @sessions};

            Test::More::like($d->read_reply, $reply, $what);
            Test::More::note(sprintf '%-65s | %s | %d', $what, $d->reply =~ s/\n.*//sr, scalar $hop->messages);
            Test::More::is(scalar($hop->messages), $copies, "... copies at the next hop: $copies");
            $hop->does;
            $d->{said_hello} = 1;
            Test::More::like($d->deliver('a@client.test', 'b@example.test', $small), qr/^250 Queued! Ok/, '... the next message is not concerned');
            $hop->stop;
        }
    }
}

# ---- the server's processes ------------------------------------------------------------------------

sub append {
    my ($self, $name, $text) = @_;

    open my $fh, '>>:raw', "$self->{dir}/$name" or over(); # the test has ended
    syswrite $fh, $text;
}

sub serve {
    my ($self, $listen) = @_;

    for (my $n = 1; ; $n++) {
        my $c = $listen->accept or next;
        $self->append(connections => '.');
        next if fork;
        close $listen;
        $self->{c} = $c;
        $self->{n} = $n;
        $self->{buffer} = '';
        eval { $self->talk; 1 } or $@ =~ /^over/ or print STDERR "# next hop: $@";
        POSIX::_exit(0);
    }
}

# over - this connection ends here
sub over { die "over\n" }

sub do_step {
    my ($self, @names) = @_;
    my ($send, $drip, $then);
    my (undef, @all) = split /\0/, slurp("$self->{dir}/does"), -1;

    while (@all >= 4) {
        my ($name, @value) = splice @all, 0, 4;
        my ($at) = grep { $names[$_] eq pack 'H*', $name } 0 .. $#names;
        next unless defined $at;
        ($send, $drip, $then) = @value;
        $send = pack 'H*', $send;
        last if $at == 0;
    }
    return '' if !defined $send && $names[-1] eq 'message';
    $send = join "\r\n", split(/\n/, $default{$names[-1]} // '250 2.0.0 ok'), '' unless defined $send;
    $then = $default_then{$names[-1]} unless $then;
    for my $part ($drip ? split(//, $send) : $send) {
        local $SIG{PIPE} = 'IGNORE';
        my $done = 0;
        while ($done < length $part) {
            $done += syswrite($self->{c}, $part, 65536, $done) || over();
        }
        sleep $drip if $drip;
    }
    return $send unless $then && $then ne 'go on';
    if ($then eq 'silent') {
        1 while sysread $self->{c}, my $ignored, 65536;
    }
    sleep 600 if $then eq 'deaf';
    setsockopt $self->{c}, SOL_SOCKET, SO_LINGER, pack 'II', 1, 0 if $then eq 'reset';
    close $self->{c};
    over();
}

sub fill {
    my ($self) = @_;

    sysread $self->{c}, $self->{buffer}, 65536, length $self->{buffer} or over();
}

sub line {
    my ($self) = @_;

    $self->fill until $self->{buffer} =~ s/\A([^\n]*)\n//;
    my $line = $1;
    $line =~ s/\r\z// or $line .= ' (no CR)';
    return $line;
}

sub talk {
    my ($self) = @_;
    my @to;

    $self->do_step('greeting');
    while (1) {
        my $line = $self->line;
        my $verb = uc(($line =~ /^(\w+)/)[0] // '?');
        my $answer;

        $self->append(log => "$self->{n} $line\n");
        if ($verb eq 'EHLO' || $verb eq 'LHLO') {
            my $offer = slurp("$self->{dir}/offer");
            my @lines = ('hop.test', defined $offer ? split(/\n/, $offer) : @{$self->{offer}});
            $default{$verb} = join "\n", map({ "250-$_" } @lines[0 .. $#lines - 1]), "250 $lines[-1]";
        }
        $default{XCLIENT} = $default{greeting};
        my $to = $verb eq 'RCPT' && $line =~ /(<.*>)/ ? $1 : undef;
        $answer = $self->do_step(defined $to ? "RCPT $to" : (), $verb);
        $self->start_tls if $verb eq 'STARTTLS' && $answer =~ /^220/ && $self->{tls};
        push @to, $to if defined $to && $answer =~ /^2/;
        @to = () if $verb =~ /^(?:MAIL|RSET)$/;
        $self->message(@to) if $verb eq 'DATA' && $answer =~ /^354/;
    }
}

sub start_tls {
    my ($self) = @_;

    require IO::Socket::SSL;
    $self->{c} = IO::Socket::SSL->start_SSL($self->{c}, SSL_server => 1, SSL_cert_file => "$self->{tls}/qpsmtpd-server.crt",
        SSL_key_file => "$self->{tls}/qpsmtpd-server.key") or over();
    $self->append(log => "$self->{n} (TLS for " . ($self->{c}->get_servername // 'nobody') . ")\n");
}

# message - all of it up to the line with the dot, and the answers
sub message {
    my ($self, @to) = @_;
    my ($text, $told, $ok) = ('', 0, 0);

    until (substr($text, -70_000) =~ /(?:\A|\r\n)\.\r\n/) {
        $self->fill unless length $self->{buffer};
        if (!$told && length $text >= 1000) {
            $told = 1;
            $self->do_step('message');
        }
        $text .= substr $self->{buffer}, 0, 65536, '';
    }
    $text =~ s/\A((?:.*?\r\n)??)\.\r\n//s;
    my $message = $1;
    $self->{buffer} = $text . $self->{buffer};
    my $try = $self->append(tries => '.') && $self->tries;
    for my $to ($self->{lmtp} ? @to : '') {
        # Before the answer: whoever has it may look at once.
        my @names = ($to ne '' ? "dot $to" : (), 'dot');
        $ok ||= $self->peek(@names) =~ /^2/;
        $self->put("message.$try", $message) if $ok;
        $self->do_step(@names);
    }
}

# peek - what do_step() will send
sub peek {
    my ($self, @names) = @_;
    my (undef, @all) = split /\0/, slurp("$self->{dir}/does"), -1;
    my $found;

    while (@all >= 4) {
        my ($name, $send) = splice @all, 0, 4;
        my ($at) = grep { $names[$_] eq pack 'H*', $name } 0 .. $#names;
        $found = pack 'H*', $send if defined $at && ($at == 0 || !defined $found);
    }
    return defined $found ? $found : $default{$names[-1]};
}

1;
