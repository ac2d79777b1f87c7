package Qpsmtpd::DNS;

=head1 NAME

Qpsmtpd::DNS - a name server for tests, that can also misbehave

=head1 SYNOPSIS

    use Qpsmtpd::Test;
    use Qpsmtpd::DNS;

    my $dns = Qpsmtpd::DNS->new({
        'example.test'             => {A => '192.0.2.1', MX => ['10 mx.example.test', '20 mx2.example.test'],
                                       TXT => 'v=spf1 a -all'},
        'www.example.test'         => {CNAME => 'example.test'},
        '2.0.0.127.zen.test'       => {A => '127.0.0.2', TXT => 'listed', delay => 0.2},
        '*.wild.test'              => {A => '192.0.2.9'},
        'null.test'                => {MX => '0 .'},
        'void.test'                => {},                      # exists, has nothing: no data
        'broken.test'              => {rcode => 'SERVFAIL'},
        'silent.test'              => {drop => 1},
        'half.test'                => {A => '192.0.2.2', AAAA => {rcode => 'SERVFAIL'}},
    });
    my $t = Qpsmtpd::Test->new(config => {dns_servers => $dns->address}, plugins => [...]);
    ...
    is $dns->count('TXT example.test'), 1, 'asked once';

=head1 DESCRIPTION

Each object is a process of its own that answers over UDP and TCP on a free port of 127.0.0.1, from a
zone that is a Perl hash. It knows every name that is in the hash; a name with others below it exists
without records; anything else is NXDOMAIN. Answers that do not fit (512 bytes over UDP, or what EDNS0
offers) are truncated and come whole over TCP, as a real server does it. CNAMEs are followed inside of
the zone; one that leads out of it ends there.

The process goes away with the object, and with the test. Only Perl's core modules are used.

=head1 THE ZONE

    {name => {TYPE => VALUE, behaviour => VALUE, ...}, ...}

Names in any case, without the final dot. C<*.name> is for all names below C<name> that are not listed
themselves, C<*> for every name that nothing else matches.

B<Types> are in capitals; the value is one record or a list of them:

    A     '192.0.2.1'              AAAA  '2001:db8::1'
    MX    '10 mx.test', '0 .'      TXT   'any bytes', or ['several', 'strings'] inside of the list
    NS PTR CNAME   'name.test'     SOA   'ns.test root.test 1 3600 900 86400 300'

A TXT of more than 255 bytes is cut into strings of that length. C<< TXT => [['a', 'b'], 'c'] >> are two
records, the first of two strings.

B<Behaviours> are in small letters, of a name (for all types), or of one type, whose value then is a hash:
C<< A => {data => [...], delay => 1} >>.

    delay => S       answer after S seconds (others are served meanwhile)
    drop => 1        never answer
    drop => '2x'     say nothing to the first 2 questions for this name and type, then answer
    rcode => NAME    SERVFAIL REFUSED NXDOMAIN FORMERR NOTIMP, without records
    truncate => 1    over UDP always truncated; whole over TCP
    tcp => 'drop'    over TCP never answered; 'close': the connection is closed
    ttl => N         of the records, default 300
    many => N        N A or AAAA records (192.0.2.x, 2001:db8::x), or N of the type's first record
    fault => WHAT    a broken answer:
        wrong_id        another id                     wrong_question  an answer to another question
        no_question     no question section            short           cut in the middle of a record
        garbage         bytes that are no answer       rdlength        a record longer than the message
        self_pointer    a name that points to itself   forward_pointer one that points behind itself
        pointer_chain   names that point to each other in circles
        bad_a           an A of three bytes            bad_text        a TXT string longer than its record
        empty           12 bytes of header without anything
        query           the question itself (QR is 0)

A loop of CNAMEs is just written down: C<< 'a.test' => {CNAME => 'b.test'}, 'b.test' => {CNAME =>
'a.test'} >>.

=head1 METHODS

=over

=item new ZONE, NAME => VALUE, ...

    delay     seconds for every answer (a name's own delay wins)
    silent    1: nothing is ever answered
    address   where to listen, default 127.0.0.1; '::1' is possible
    ttl       of all records without their own, default 300
    no_edns   1: a server from before EDNS0: such questions are FORMERR

=item address

C<127.0.0.1:PORT>, as the file C<dns_servers> takes it.

=item port

=item zone ZONE

Replaces the whole zone from now on.

=item queries

What was asked so far, in order, as C<"TYPE name"> (name in lower case). A retry is a question again.

=item log

The same as hashes: C<type name proto> (udp, tcp) C<edns> (size, or 0) C<time> (seconds).

=item count QUESTION

How often this (C<"A example.test">, or a pattern) was asked.

=item clear

Forget what was asked.

=item stop

End now; the port is closed from then on.

=item Qpsmtpd::DNS::reverse ADDRESS, ZONE

C<"1.2.0.192.zone">, nibbles for IPv6. Without ZONE the name for PTR.

=back

=cut

use strict;
use warnings;

use Carp qw(croak);
use File::Temp ();
use IO::Handle;
use IO::Select;
use IO::Socket::IP;
use POSIX ();
use Socket qw(AF_UNIX SOCK_STREAM PF_UNSPEC AF_INET AF_INET6 inet_pton);
use Storable qw(freeze thaw);
use Time::HiRes qw(time);

my %TYPE = (A => 1, NS => 2, CNAME => 5, SOA => 6, PTR => 12, MX => 15, TXT => 16, AAAA => 28, SPF => 99, ANY => 255);
my %TYPE_NAME = reverse %TYPE;
my %RCODE = (NOERROR => 0, FORMERR => 1, SERVFAIL => 2, NXDOMAIN => 3, NOTIMP => 4, REFUSED => 5);
my $CHAIN_MAX = 20;

# ---- the test's side -------------------------------------------------------------------------------

sub new {
    my ($class, $zone, %arg) = @_;
    my $address = delete $arg{address} || '127.0.0.1';
    my %option = map { $_ => delete $arg{$_} } grep { exists $arg{$_} } qw(delay silent ttl no_edns);

    croak 'unknown: ' . join ' ', sort keys %arg if %arg;
    my ($udp, $tcp) = sockets($address);
    my $log = File::Temp->new(TEMPLATE => 'qpsmtpd-dns-XXXXXX', TMPDIR => 1);
    socketpair my $ours, my $theirs, AF_UNIX, SOCK_STREAM, PF_UNSPEC or croak "socketpair: $!";
    my $pid = fork;
    croak "fork: $!" unless defined $pid;
    if ($pid == 0) {
        close $ours;
        $SIG{$_} = 'DEFAULT' for qw(INT TERM);
        $SIG{PIPE} = 'IGNORE';
        eval { Qpsmtpd::DNS::Server->new($udp, $tcp, $theirs, "$log", $zone || {}, \%option)->run; 1 }
            or syswrite STDERR, "Qpsmtpd::DNS: $@";
        POSIX::_exit(0);
    }
    close $theirs;
    return bless {
        pid => $pid, owner => $$, control => $ours, log => $log, port => $tcp->sockport,
        address => $address =~ /:/ ? "[$address]" : $address,
    }, $class;
}

# sockets - UDP and TCP on the same free port
sub sockets {
    my ($address) = @_;

    for (1 .. 50) {
        my $tcp = IO::Socket::IP->new(LocalAddr => $address, LocalPort => 0, Listen => 64, Proto => 'tcp')
            or croak "no TCP socket on $address: $@";
        my $udp = IO::Socket::IP->new(LocalAddr => $address, LocalPort => $tcp->sockport, Proto => 'udp');
        return ($udp, $tcp) if $udp;
    }
    croak "no port of $address is free for UDP and TCP";
}

sub address {
    my ($self) = @_;

    return "$self->{address}:$self->{port}";
}

sub port {
    my ($self) = @_;

    return $self->{port};
}

# tell - one message to the server, and wait until it is obeyed
sub tell {
    my ($self, $message) = @_;
    my $frozen = freeze($message);
    my $ack;

    print {$self->{control}} pack('N', length $frozen), $frozen;
    $self->{control}->flush;
    sysread $self->{control}, $ack, 1 or croak 'the name server is gone';
}

sub zone {
    my ($self, $zone) = @_;

    $self->tell({zone => $zone});
}

sub clear {
    my ($self) = @_;

    $self->tell({clear => 1});
}

sub log {
    my ($self) = @_;

    # The reply to the client may be faster than the last question that it was found without.
    $self->tell({}) if $self->{pid} && $self->{owner} == $$;
    open my $fh, '<', "$self->{log}" or croak "$self->{log}: $!";
    return map {
        my %q;
        chomp;
        @q{qw(time proto edns type name)} = split / /, $_, 5;
        \%q;
    } <$fh>;
}

sub queries {
    my ($self) = @_;

    return map { "$_->{type} $_->{name}" } $self->log;
}

sub count {
    my ($self, $question) = @_;

    return scalar grep { ref $question ? $_ =~ $question : $_ eq $question } $self->queries;
}

sub stop {
    my ($self) = @_;
    my $pid = delete $self->{pid} or return;

    return if $self->{owner} != $$;
    local ($?, $!);
    kill KILL => $pid;
    waitpid $pid, 0;
    close $self->{control};
}

sub DESTROY {
    my ($self) = @_;

    $self->stop;
}

sub reverse {
    my ($address, $zone) = @_;
    my $v6 = $address =~ /:/;
    my $bytes = inet_pton($v6 ? AF_INET6 : AF_INET, $address);

    croak "$address is no address" unless defined $bytes;
    $zone = $v6 ? 'ip6.arpa' : 'in-addr.arpa' unless defined $zone;
    my @parts = $v6 ? split(//, unpack 'H*', $bytes) : unpack('C4', $bytes);
    return join '.', CORE::reverse(@parts), $zone;
}

# ---- the server's side -----------------------------------------------------------------------------

package Qpsmtpd::DNS::Server;

use Socket qw(AF_INET AF_INET6 MSG_DONTWAIT inet_pton);
use Storable qw(thaw);
use Time::HiRes qw(time);

sub new {
    my ($class, $udp, $tcp, $control, $log, $zone, $option) = @_;
    my $self = bless {
        udp => $udp, tcp => $tcp, control => $control, option => $option,
        later => [],   # [when, code], in order of time
        tcp_in => {},  # fd => [socket, bytes read so far]
    }, $class;

    open $self->{log}, '>>', $log or die "$log: $!\n";
    $self->{log_name} = $log;
    $self->zone($zone);
    return $self;
}

sub zone {
    my ($self, $zone) = @_;

    $self->{zone} = {map { (my $n = lc $_) =~ s/\.\z//; $n => $zone->{$_} } keys %$zone};
    $self->{dropped} = {};
    $self->{above} = {};
    for my $name (keys %{$self->{zone}}) {
        $self->{above}{$name} = 1 while $name =~ s/\A[^.]*\.//;
    }
}

sub run {
    my ($self) = @_;
    my $select = $self->{select} = IO::Select->new(@$self{qw(udp tcp control)});

    while (1) {
        my $wait = @{$self->{later}} ? $self->{later}[0][0] - time : undef;
        for my $fh ($select->can_read(defined $wait && $wait < 0 ? 0 : $wait)) {
            if ($fh == $self->{control}) {
                $self->obey or return;
            } elsif ($fh == $self->{udp}) {
                $self->read_udp;
            } elsif ($fh == $self->{tcp}) {
                my $client = $fh->accept or next;
                $self->{tcp_in}{fileno $client} = [$client, ''];
                $select->add($client);
            } else {
                $self->read_tcp($fh);
            }
        }
        while (@{$self->{later}} && $self->{later}[0][0] <= time) {
            (shift @{$self->{later}})->[1]->();
        }
    }
}

sub read_exactly {
    my ($fh, $n) = @_;
    my $got = '';

    while (length $got < $n) {
        sysread $fh, $got, $n - length $got, length $got or return undef;
    }
    return $got;
}

sub obey {
    my ($self) = @_;
    my $length = read_exactly($self->{control}, 4);
    return 0 unless defined $length;
    my $message = thaw(read_exactly($self->{control}, unpack 'N', $length));

    1 while $self->read_udp; # what was asked before we are told
    $self->zone($message->{zone}) if $message->{zone};
    truncate $self->{log}, 0 if $message->{clear};
    syswrite $self->{control}, "\n";
    return 1;
}

sub at {
    my ($self, $seconds, $code) = @_;

    return $code->() unless $seconds;
    my $when = time + $seconds;
    @{$self->{later}} = sort { $a->[0] <=> $b->[0] } @{$self->{later}}, [$when, $code];
}

sub read_udp {
    my ($self) = @_;
    my $from = recv $self->{udp}, my $query, 65535, MSG_DONTWAIT;

    return 0 unless defined $from;
    $self->serve($query, 'udp', sub { send $self->{udp}, $_[0], 0, $from });
    return 1;
}

sub read_tcp {
    my ($self, $fh) = @_;
    my $fd = fileno $fh;
    my $in = $self->{tcp_in}{$fd};
    my $close = sub {
        delete $self->{tcp_in}{$fd} or return;
        $self->{select}->remove($fh);
        close $fh;
    };

    return $close->() unless sysread $fh, $in->[1], 65535, length $in->[1];
    while (length $in->[1] >= 2 && length $in->[1] >= 2 + unpack('n', $in->[1])) {
        my $n = unpack 'n', $in->[1];
        my $query = substr $in->[1], 2, $n;
        substr $in->[1], 0, 2 + $n, '';
        $self->serve($query, 'tcp', sub {
            my $out = pack('n', length $_[0]) . $_[0];
            $fh->blocking(1);
            while (length $out) {
                my $written = syswrite $fh, $out or last;
                substr $out, 0, $written, '';
            }
        }, $close);
    }
}

# ---- one question ----------------------------------------------------------------------------------

# parse - {id, name, type, question (its bytes), edns (0 or size)}; undef: none
sub parse {
    my ($query) = @_;
    return undef if length $query < 17;
    my ($id, $flags, $qd, undef, undef, $ar) = unpack 'n6', $query;
    my ($at, @labels) = (12);

    return undef if $qd != 1 || $flags & 0x8000;
    while (1) {
        my $n = unpack 'C', substr $query, $at, 1;
        $at++;
        last if !$n;
        return undef if $n > 63 || $at + $n >= length $query;
        push @labels, substr $query, $at, $n;
        $at += $n;
    }
    my ($type, $class) = unpack 'n2', substr $query, $at, 4;
    my $edns = 0;
    if ($ar && length $query >= $at + 4 + 11) {
        my ($root, $opt, $size) = unpack 'C n n', substr $query, $at + 4, 5;
        $edns = $size if $root == 0 && $opt == 41;
    }
    return {
        id => $id, rd => $flags & 0x0100, name => lc join('.', @labels), edns => $edns, query => $query,
        type => $TYPE_NAME{$type} || "TYPE$type", question => substr($query, 12, $at + 4 - 12),
    };
}

# node - what the zone has for a name; undef: it does not exist
sub node {
    my ($self, $name) = @_;
    my $zone = $self->{zone};

    return $zone->{$name} if $zone->{$name};
    return {} if $self->{above}{$name};
    for (my $up = $name; $up =~ s/\A[^.]*\.//;) {
        return $zone->{"*.$up"} if $zone->{"*.$up"};
    }
    return $zone->{'*'};
}

# behaviour - of a name, overridden by that of the type
sub behaviour {
    my ($node, $type) = @_;
    my %b = map { $_ => $node->{$_} } grep { /^[a-z]/ } keys %$node;

    %b = (%b, %{$node->{$type}}) if ref $node->{$type} eq 'HASH';
    return \%b;
}

sub records {
    my ($node, $type) = @_;
    my $value = $node->{$type};

    $value = $value->{data} if ref $value eq 'HASH';
    return !defined $value ? () : ref $value ? @$value : $value;
}

sub name_bytes {
    my ($name) = @_;

    return join('', map { pack 'C/a*', $_ } grep { length } split /\./, $name) . "\0";
}

sub rdata {
    my ($type, $value) = @_;

    if ($type eq 'A' || $type eq 'AAAA') {
        my $bytes = inet_pton($type eq 'A' ? AF_INET : AF_INET6, $value);
        die "$value is no $type\n" unless defined $bytes;
        return $bytes;
    }
    if ($type eq 'MX') {
        my ($preference, $host) = split ' ', $value;
        return pack('n', $preference) . name_bytes($host);
    }
    if ($type eq 'TXT' || $type eq 'SPF') {
        my @strings = ref $value ? @$value : unpack '(a255)*', $value;
        return join '', map { pack 'C/a*', $_ } @strings ? @strings : '';
    }
    if ($type eq 'SOA') {
        my ($mname, $rname, @numbers) = split ' ', $value;
        return name_bytes($mname) . name_bytes($rname) . pack 'N5', @numbers;
    }
    return name_bytes($value);
}

sub record {
    my ($name, $type, $ttl, $rdata) = @_;

    return name_bytes($name) . pack('n n N n/a*', $TYPE{$type}, 1, $ttl, $rdata);
}

# many - so many records, made up from nothing or from the first one
sub many {
    my ($n, $type, @values) = @_;

    return map { sprintf '10.%d.%d.%d', $_ >> 16, $_ >> 8 & 255, $_ & 255 } 1 .. $n if $type eq 'A';
    return map { sprintf '2001:db8::%x', $_ } 1 .. $n if $type eq 'AAAA';
    return ($values[0]) x $n;
}

# answer - (rcode, records), CNAMEs followed
sub answer {
    my ($self, $q) = @_;
    my ($name, $type, @found, %seen) = ($q->{name}, $q->{type});

    while (1) {
        my $node = $self->node($name);
        return ('NXDOMAIN', @found) unless $node;
        my $b = behaviour($node, $type);
        return ($b->{rcode}, @found) if $b->{rcode};
        my $ttl = defined $b->{ttl} ? $b->{ttl} : defined $self->{option}{ttl} ? $self->{option}{ttl} : 300;
        my @values = records($node, $type);
        @values = many($b->{many}, $type, @values) if $b->{many};
        push @found, record($name, $type, $ttl, rdata($type, $_)) for @values;
        my ($alias) = records($node, 'CNAME');
        return ('NOERROR', @found) if @values || $type eq 'CNAME' || !defined $alias;
        push @found, record($name, 'CNAME', $ttl, rdata('CNAME', $alias));
        ($name = lc $alias) =~ s/\.\z//;
        return ('NOERROR', @found) if $seen{$name}++ || keys %seen > $CHAIN_MAX;
    }
}

sub message {
    my ($q, $rcode, $flags, @records) = @_;

    # QR, RD as it came, RA
    return pack('n n n n n n', $q->{id}, 0x8080 | $q->{rd} | $flags | $RCODE{$rcode}, 1, scalar @records, 0,
        $q->{edns} ? 1 : 0) . $q->{question} . join('', @records)
        . ($q->{edns} ? pack('C n n N n', 0, 41, 1232, 0, 0) : '');
}

my $A = pack('n n N n', 1, 1, 300, 4) . pack('C4', 192, 0, 2, 66);
my %fault = (
    wrong_id => sub { pack('n', $_[0]{id} ^ 0x5555) . substr $_[1], 2 },
    wrong_question => sub {
        my $other = name_bytes('other.test') . pack 'n n', $TYPE{$_[0]{type}}, 1;
        return pack('n6', $_[0]{id}, 0x8180, 1, 1, 0, 0) . $other . "\xc0\x0c$A";
    },
    no_question => sub { pack('n6', $_[0]{id}, 0x8180, 0, 1, 0, 0) . name_bytes($_[0]{name}) . $A },
    short => sub { pack('n6', $_[0]{id}, 0x8180, 1, 1, 0, 0) . $_[0]{question} . "\xc0\x0c" . substr $A, 0, 11 },
    garbage => sub { pack('n6', $_[0]{id}, 0x8180, 1, 3, 2, 9) . $_[0]{question} . "\xff\x07" x 40 },
    rdlength => sub {
        pack('n6', $_[0]{id}, 0x8180, 1, 1, 0, 0) . $_[0]{question} . "\xc0\x0c"
            . pack('n n N n', $TYPE{$_[0]{type}}, 1, 300, 60000) . 'abcd';
    },
    self_pointer => sub {
        my $at = 0xc000 | 12 + length $_[0]{question};
        return pack('n6', $_[0]{id}, 0x8180, 1, 1, 0, 0) . $_[0]{question} . pack('n', $at) . $A;
    },
    forward_pointer => sub {
        my $at = 0xc000 | 12 + 2 + length $_[0]{question};
        return pack('n6', $_[0]{id}, 0x8180, 1, 1, 0, 0) . $_[0]{question} . pack('n', $at) . $A;
    },
    pointer_chain => sub {
        my $at = 12 + length $_[0]{question};
        return pack('n6', $_[0]{id}, 0x8180, 1, 2, 0, 0) . $_[0]{question}
            . pack('C a n', 1, 'a', 0xc000 | $at + 4 + length $A) . $A
            . pack('C a n', 1, 'b', 0xc000 | $at) . $A;
    },
    bad_a => sub {
        pack('n6', $_[0]{id}, 0x8180, 1, 1, 0, 0) . $_[0]{question} . "\xc0\x0c"
            . pack('n n N n a3', $TYPE{$_[0]{type}}, 1, 300, 3, 'abc');
    },
    bad_text => sub {
        pack('n6', $_[0]{id}, 0x8180, 1, 1, 0, 0) . $_[0]{question} . "\xc0\x0c"
            . pack('n n N n C a4', $TYPE{$_[0]{type}}, 1, 300, 5, 200, 'abcd') . 'x' x 300;
    },
    empty => sub { pack 'n6', $_[0]{id}, 0x8180, 0, 0, 0, 0 },
    query => sub { $_[0]{query} },
);

sub is_dropped {
    my ($self, $q, $b) = @_;

    return 0 unless $b->{drop};
    return 1 unless $b->{drop} =~ /\A(\d+)x\z/;
    return $self->{dropped}{"$q->{type} $q->{name}"}++ < $1;
}

sub serve {
    my ($self, $query, $proto, $reply, $close) = @_;
    my $q = parse($query) or return;
    my $b = behaviour($self->node($q->{name}) || {}, $q->{type});
    my $delay = defined $b->{delay} ? $b->{delay} : $self->{option}{delay};

    syswrite $self->{log}, sprintf "%.3f %s %d %s %s\n", time, $proto, @$q{qw(edns type name)};
    return if $self->{option}{silent} || $self->is_dropped($q, $b);
    if ($proto eq 'tcp' && $b->{tcp}) {
        $close->() if $b->{tcp} eq 'close';
        return;
    }
    my ($rcode, @records) = $self->answer($q);
    ($rcode, @records) = ('FORMERR') if $self->{option}{no_edns} && $q->{edns};
    $q->{edns} = 0 if $self->{option}{no_edns};
    my $message = message($q, $rcode, 0, @records);
    my $room = $proto eq 'tcp' ? 65535 : $q->{edns} > 512 ? $q->{edns} : 512;
    $message = message($q, $rcode, 0x0200) if length $message > $room || $b->{truncate} && $proto eq 'udp';
    if ($b->{fault}) {
        my $make = $fault{$b->{fault}} or die "no such fault: $b->{fault}\n";
        $message = $make->($q, $message);
    }
    $self->at($delay, sub { $reply->($message) });
}

1;
