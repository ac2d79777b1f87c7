package Qpsmtpd::Clamd;

=head1 NAME

Qpsmtpd::Clamd - a real clamd for tests in t/peers, with signatures of the test's own

=head1 SYNOPSIS

    use Qpsmtpd::Clamd qw(eicar);

    my $clamd = Qpsmtpd::Clamd->new($t, config => ["StreamMaxLength 1M"]);
    $clamd->socket;     # path of its unix socket
    $clamd->port;       # TCP port on 127.0.0.1
    like $d->deliver('a@example.test', 'b@example.test', "Subject: x\n\n" . eicar() . "\n"), qr/^554/;

=head1 DESCRIPTION

clamd is not installed: it is unpacked with F<.ci/unpack> to F<build/peers>, and no maintainer script runs,
so nothing has to be named in C<# Packages:>. It knows these names and nothing else:

    Eicar-Test-Signature.UNOFFICIAL    the text of eicar(), anywhere, and decoded attachments as well
    Test.Body.UNOFFICIAL               the text "qpsmtpd-test-virus"

=head1 FUNCTIONS

=over

=item eicar

The 68 bytes of the EICAR test file. It does not stand in this source: scanners would take it away.

=item database DIRECTORY, NAME => TEXT, ...

Writes the signature files into a directory (made if need be), for clamscan: C<-d DIRECTORY>. More
files as NAME => content.

=back

=head1 METHODS

=over

=item new T [, NAME => VALUE, ...]

Starts it in the directory of the L<Qpsmtpd::Test> object T, in the foreground, and waits until it listens.
Dies with its log when it does not. It goes when the test ends.

    config    more lines of clamd.conf, a list; an option given here replaces ours
    database  more signature files, {name => content}

=item socket, port

Where it listens.

=item pid, log, wait_log, stop

As those of a server of L<Qpsmtpd::Test>.

=back

=cut

use strict;
use warnings;

use Carp qw(croak);
use Exporter qw(import);
use File::Path qw(make_path);

our @EXPORT_OK = qw(eicar database);

sub eicar {
    return join '-', 'X5O!P%@AP[4\PZX54(P^)7CC)7}$EICAR', 'STANDARD', 'ANTIVIRUS', 'TEST', 'FILE!$H+H*';
}

sub database {
    my ($dir, %more) = @_;
    my %file = (
        'test.ndb' => sprintf("Eicar-Test-Signature:0:*:%s\nTest.Body:0:*:%s\n",
            map { unpack 'H*', $_ } eicar(), 'qpsmtpd-test-virus'),
        'test.hdb' => "44d88612fea8a8f36de82e1278abb02f:68:Eicar-Test-Signature\n",
        %more,
    );

    make_path($dir);
    for my $name (keys %file) {
        open my $fh, '>:raw', "$dir/$name" or croak "$dir/$name: $!";
        print $fh $file{$name};
        close $fh or croak "$dir/$name: $!";
    }
    return $dir;
}

sub new {
    my ($class, $t, %arg) = @_;
    my $dir = $t->dir . '/clamd';
    my ($unpacked) = split /\n/, `.ci/unpack clamav-daemon`;
    my $self = bless {socket => "$dir/clamd.sock"}, $class;

    croak '.ci/unpack clamav-daemon has failed' if $? || !defined $unpacked;
    database("$dir/db", %{$arg{database} || {}});
    my %own = map { /^(\S+)/ ? ($1 => 1) : () } my @more = @{$arg{config} || []};
    $self->{server} = $t->serve(sub {
        my ($port) = @_;
        my @ours = (
            'Foreground yes', "LocalSocket $self->{socket}", 'LocalSocketMode 600', 'FixStaleSocket yes',
            "TCPSocket $port", 'TCPAddr 127.0.0.1', "DatabaseDirectory $dir/db", "TemporaryDirectory $dir",
            'LogVerbose yes', 'MaxThreads 4', 'SelfCheck 0', 'ReadTimeout 30', 'CommandReadTimeout 30',
        );
        $t->file('clamd/clamd.conf',
            join '', map { "$_\n" } grep({ !$own{(split)[0]} } @ours), @more);
        return ("$unpacked/run", 'clamd', '--config-file', "$dir/clamd.conf");
    });
    Qpsmtpd::Test::wait_for(sub { -S $self->{socket} }, 20, "$self->{socket}");
    return $self;
}

sub socket { return $_[0]{socket} }
sub port   { return $_[0]{server}->port }
sub pid    { return $_[0]{server}->pid }
sub log    { return $_[0]{server}->log }
sub stop   { my $self = shift; return $self->{server}->stop(@_) }

sub wait_log {
    my ($self, @args) = @_;

    return $self->{server}->wait_log(@args);
}

1;
