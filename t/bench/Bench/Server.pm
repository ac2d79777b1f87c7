package Bench::Server;

=head1 NAME

Bench::Server - a mail server under load: its processes, their time, their memory

=head1 SYNOPSIS

    my $s = Bench::Server->new(
        name     => 'sink',
        dir      => '/some/where',                 # empty; everything it writes goes there
        commands => {null => sub { my ($s) = @_; return ('sink', $s->port) }});
    $s->start('null');
    my $result = $s->load('-c', 20, '-t', 3);      # {sessions_s => ..., server_s => ..., others => ...}
    $s->stop;

=head1 DESCRIPTION

A server is the process that was started and all that descend from it. They run in a process group of
their own, and all of them are gone after C<stop>.

=cut

use strict;
use warnings;

use IO::Socket::INET;
use POSIX qw(:sys_wait_h);
use Time::HiRes qw(sleep time);

my $tick = POSIX::sysconf(POSIX::_SC_CLK_TCK());
my $others_max = 0.2;    # a sample is taken again when more of the machine went to somebody else

our $load_program = 'build/bench/load';

=head1 METHODS

=over

=item new NAME => VALUE, ...

C<name>, C<dir>; C<commands>: for each variant ("null", "durable") a function that writes configuration and
gives the command; optional C<load>: more arguments of the load program, C<without>: measures that do not
apply, by letter.

=cut

sub new {
    my ($class, %arg) = @_;
    my $socket = IO::Socket::INET->new(LocalAddr => '127.0.0.1', LocalPort => 0, Listen => 1) or die "no port: $@\n";

    return bless {load => [], without => '', results => {}, errors => [], %arg, port => $socket->sockport}, $class;
}

sub name { return $_[0]{name} }
sub port { return $_[0]{port} }
sub dir  { return $_[0]{dir} }
sub pid  { return $_[0]{pid} }
sub has  { return $_[0]{commands}{$_[1]} }

sub file {
    my ($self, $name, $content) = @_;
    my $path = "$self->{dir}/$name";

    open my $fh, '>', $path or die "$path: $!\n";
    print $fh $content;
    close $fh or die "$path: $!\n";
    return $path;
}

=item start VARIANT [, workers => N]

Runs it and waits for its greeting. False when it does not come; C<errors> has the reason.

=cut

sub start {
    my ($self, $variant, %option) = @_;

    $self->{workers} = $option{workers};
    my @command = eval { $self->{commands}{$variant}->($self) };
    return $self->fails("$variant: $@") unless @command;
    defined(my $pid = fork) or die "fork: $!\n";
    if ($pid == 0) {
        setpgrp;
        $SIG{INT} = 'DEFAULT';
        open STDIN, '<', '/dev/null';
        open STDOUT, '>', "$self->{dir}/log";
        open STDERR, '>&', \*STDOUT;
        exec 'sh', '-c', 'ulimit -n 20000 2>/dev/null; exec "$@"', 'sh', @command or POSIX::_exit(127);
    }
    setpgrp $pid, $pid;
    $self->{pid} = $pid;
    my $end = time + 30;
    while (time < $end && waitpid($pid, WNOHANG) == 0) {
        return 1 if $self->greets;
        sleep 0.1;
    }
    my $said = eval { open my $fh, '<', "$self->{dir}/log" or die; local $/; <$fh> } || '';
    $self->stop;
    return $self->fails("$variant: no greeting: " . substr $said, -500);
}

sub fails {
    my ($self, $why) = @_;

    chomp $why;
    push @{$self->{errors}}, $why;
    return 0;
}

sub greets {
    my ($self) = @_;
    my $s = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $self->{port}, Timeout => 5) or return 0;
    local $SIG{ALRM} = sub { die "timeout\n" };
    my $line = eval { alarm 5; my $l = <$s>; print $s "QUIT\r\n"; <$s>; alarm 0; $l };

    alarm 0;
    die $@ if $@ =~ /^interrupted/;
    return defined $line && $line =~ /^220/;
}

=item stop

Ends all its processes: SIGTERM, and SIGKILL for those that do not obey in time.

=cut

sub stop {
    my ($self) = @_;
    my $pid = delete $self->{pid} or return;
    my $begin = time;
    my %born;

    # Some leave the group, some lose their parent: what was ours once stays so. A number that was given to
    # somebody else since then has another birth.
    kill TERM => $pid;
    while (1) {
        waitpid $pid, WNOHANG;
        my @now = processes();
        $born{$_->{pid}} = $_->{born} for tree($pid, @now), grep { $_->{group} == $pid } @now;
        my @left = map { $_->{pid} } grep { ($born{$_->{pid}} || '') eq $_->{born} } @now;
        last unless @left;
        kill TERM => @left if time > $begin + 2;
        kill KILL => @left if time > $begin + 5;
        die "$self->{name}: processes stay: @left\n" if time > $begin + 15;
        sleep 0.05;
    }
    waitpid $pid, 0;
    return;
}

=item cpu, memory

Seconds of processor time, of its processes and of those that they have waited for; proportional set size
of all, in KB.

=cut

sub cpu {
    my ($self) = @_;
    my $ticks = 0;

    $ticks += $_->{ticks} for tree($self->{pid});
    return $ticks / $tick;
}

sub memory {
    my ($self) = @_;
    my $kb = 0;

    for my $p (tree($self->{pid})) {
        open my $fh, '<', "/proc/$p->{pid}/smaps_rollup" or next;
        while (<$fh>) {
            $kb += $1 if /^Pss:\s+(\d+)/;
        }
    }
    return $kb;
}

# processes - of the machine: id, parent, group, start, time used with that of the children it has waited for
sub processes {
    my @found;

    for my $stat (glob '/proc/[0-9]*/stat') {
        open my $fh, '<', $stat or next;
        my $text = <$fh>;
        next unless defined $text && $text =~ /^(\d+) \(.*\) (.*)/s;
        my ($pid, @field) = ($1, split ' ', $2);
        next if $field[0] =~ /[ZX]/;
        push @found, {pid => $pid, parent => $field[1], group => $field[2], born => $field[19],
            ticks => $field[11] + $field[12] + $field[13] + $field[14]};
    }
    return @found;
}

# tree - of all processes (default: those of now) this one, and those that descend from it
sub tree {
    my ($root, @all) = @_;
    my (%children, @found);

    for my $p (@all ? @all : processes()) {
        push @{$children{$p->{parent}}}, $p;
        push @found, $p if $p->{pid} == $root;
    }
    for (my $i = 0; $i < @found; $i++) {
        push @found, @{$children{$found[$i]{pid}} || []};
    }
    return @found;
}

=item load ARGUMENT, ...

One run of the load program: its figures, C<server_s> of processor time of the server for it, and C<others>,
the share of the machine that went to somebody else. With too much of that it is done again, once.

=cut

sub load {
    my ($self, @args) = @_;

    for my $try (1 .. 2) {
        my $before = $self->settle;
        my ($busy, $all) = machine();
        open my $pipe, '-|', $load_program, @{$self->{load}}, @args, '127.0.0.1', $self->{port} or die "$load_program: $!\n";
        my %r = map { /(.*)=(.*)/ ? ($1 => $2) : () } map { split } <$pipe>;
        close $pipe;
        my $status = $?;
        my ($busy_after, $all_after) = machine();
        $r{server_s} = $self->settle - $before;
        my $others = $busy_after - $busy - $r{server_s} - ($r{cpu_s} || 0);
        $r{others} = $others > 0 && $all_after > $all ? $others / ($all_after - $all) : 0;
        $self->fails("@args: " . ($r{errors} || 'no figures')) if $status;
        return \%r if $r{others} <= $others_max || $try == 2;
    }
}

# settle - until it has nothing to do any more; processor time so far
sub settle {
    my ($self) = @_;
    my $last = $self->cpu;

    for (1 .. 30) {
        sleep 0.15;
        my $now = $self->cpu;
        return $now if $now - $last < 0.015;
        $last = $now;
    }
    return $last;
}

# machine - seconds that its processors have worked, and have had in all
sub machine {
    open my $fh, '<', '/proc/stat' or die "/proc/stat: $!\n";
    my (undef, @field) = split ' ', scalar <$fh>;
    my $all = 0;

    $all += $_ for @field[0 .. 7];
    return map { $_ / $tick } $all - $field[3] - $field[4], $all;
}

=item idle N

So many connections that have said EHLO and wait; they end with what is returned. Undef: not all were let in.

=back

=cut

sub idle {
    my ($self, $n) = @_;
    my @open;

    local $SIG{ALRM} = sub { die "timeout\n" };
    eval {
        alarm 60;
        for (1 .. $n) {
            my $s = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $self->{port}) or die "connect: $@\n";
            push @open, $s;
            (my $greeting = <$s>) =~ /^220/ or die "no greeting\n";
            syswrite $s, "EHLO client.test\r\n";
            while (1) {
                defined(my $line = <$s>) or die "no answer to EHLO\n";
                last if $line =~ /^250 /;
            }
        }
        alarm 0;
        1;
    } or $self->fails("connection " . @open . " of $n: $@");
    alarm 0;
    die $@ if $@ =~ /^interrupted/;
    return @open == $n ? \@open : undef;
}

1;
