package Qpsmtpd::Milter;

=head1 NAME

Qpsmtpd::Milter - play a milter, and hear what the plugin tells it

=head1 SYNOPSIS

    use Qpsmtpd::Milter qw(field change);

    my $milter = Qpsmtpd::Milter->new("$dir/socket", R => "y550 5.1.1 no\0", E => [field('X-A', ' b'), 'c']);
    ... one session ...
    $milter->quits;                               # the plugin has said Q
    is_deeply [$milter->said('M')], ["<a\@b.test>\0SIZE=5\0"];

=head1 DESCRIPTION

The script gives the answers to each letter: a packet without its length, or a list of them. In a list

    \0.5         is a pause
    undef        closes the connection
    {raw => B}   are bytes as they are
    CODE         is called with the data of the packet and gives a list

Without a script a command is answered with C<c> when an answer is due, and the offer with version 6 and all
actions. Other keys: C<version>, C<actions>, C<steps> (bits of the offer), C<lists> (what follows them).

=cut

use strict;
use warnings;

use Exporter qw(import);
use Qpsmtpd::Daemon qw(bytes say_to heard);
use Qpsmtpd::Test qw(wait_for);

our @ISA = ('Qpsmtpd::Daemon');
our @EXPORT_OK = qw(packet field insert change steps);

my %quiet = (L => 0x80, C => 0x1000, H => 0x2000, M => 0x4000, R => 0x8000, T => 0x10000, U => 0x20000,
    N => 0x40000, B => 0x80000);
my %never = map { $_ => 1 } qw(D A Q K);
my %step = (no_connect => 0x1, no_helo => 0x2, no_mail => 0x4, no_rcpt => 0x8, no_body => 0x10, no_header => 0x20,
    no_eoh => 0x40, no_unknown => 0x100, no_data => 0x200, skip => 0x400, rcpt_rej => 0x800, leading => 0x100000,
    map { ("quiet_$_" => $quiet{$_}) } keys %quiet);

# steps - bits by name
sub steps {
    my $bits = 0;

    $bits |= defined $step{$_} ? $step{$_} : die "no step $_" for @_;
    return $bits;
}

sub packet { return pack 'N/a', $_[0] }
sub field { return "h$_[0]\0$_[1]\0" }
sub insert { return 'i' . pack('N', $_[0]) . "$_[1]\0$_[2]\0" }
sub change { return 'm' . pack('N', $_[0]) . "$_[1]\0$_[2]\0" }

sub answer {
    my ($c, $data, @answers) = @_;

    for my $answer (@answers) {
        if (!defined $answer) {
            close $c;
            return 0;
        }
        if (ref $answer eq 'CODE') {
            answer($c, $data, $answer->($data)) or return 0;
        } elsif (ref $answer eq 'SCALAR') {
            say_to($c, $answer);
        } else {
            say_to($c, ref $answer ? $answer->{raw} : packet($answer)) or return 0;
        }
    }
    return 1;
}

sub serve {
    my ($c, $script) = @_;
    my $steps = $script->{steps} || 0;

    while (length(my $length = bytes($c, 4)) == 4) {
        my $data = bytes($c, unpack 'N', $length);
        my $letter = substr $data, 0, 1, '';
        my $answers = $script->{$letter};

        heard($letter . $data);
        if (!defined $answers) {
            next if $never{$letter} || $steps & ($quiet{$letter} || 0);
            $answers = $letter eq 'O' ? pack('A N N N', 'O', defined $script->{version} ? $script->{version} : 6,
                defined $script->{actions} ? $script->{actions} : 0x1ff, $steps) . ($script->{lists} || '') : 'c';
        }
        answer($c, $data, ref $answers eq 'ARRAY' ? @$answers : $answers) or return;
    }
    heard('.');
}

sub new {
    my ($class, $path, %script) = @_;

    return bless Qpsmtpd::Daemon->new(sub { serve($_[0], \%script) }, path => $path), $class;
}

# told - all packets up to now, the letter first; "." is the end of a connection
sub told {
    my ($self) = @_;

    push @{$self->{told}}, $self->heard;
    return @{$self->{told}};
}

# said - the data of those with that letter
sub said {
    my ($self, $letter) = @_;

    return map { substr $_, 1 } grep { substr($_, 0, 1) eq $letter } $self->told;
}

# letters - the first letters of all, macros left out
sub letters {
    my ($self) = @_;

    return join '', grep { $_ ne 'D' } map { substr $_, 0, 1 } $self->told;
}

# macros - of a command, the last ones, as a hash
sub macros {
    my ($self, $letter) = @_;
    my @all = grep { substr($_, 0, 1) eq $letter } $self->said('D');

    return @all ? map({ s/\0\z//r } split /(?<=\0)/, substr $all[-1], 1) : ();
}

# ends - wait until a connection has ended; the letters
sub ends {
    my ($self, $n) = @_;

    wait_for(sub { $self->letters =~ tr/.// >= ($n || 1) }, 20, 'the end of the connection to the milter');
    return $self->letters;
}

1;
