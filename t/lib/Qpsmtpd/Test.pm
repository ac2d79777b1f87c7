package Qpsmtpd::Test;

=head1 NAME

Qpsmtpd::Test - talk SMTP to qpsmtpd in a test

=head1 SYNOPSIS

    use strict;
    use warnings;
    use Test::More;
    use Qpsmtpd::Test;

    my $t = Qpsmtpd::Test->new(
        plugins => ['check_badrcptto', 'rcpt_ok', 'queue/maildir Maildir'],
        config  => {badrcptto => "bad\@example.test\n", rcpthosts => 'example.test'},
    );
    my $d = $t->dialogue;
    like $d->greeting, qr/^220 /, 'it greets';
    like $d->say('EHLO client.test'), qr/^250/, 'EHLO';
    like $d->say('MAIL FROM:<a@client.test>'), qr/^250/, 'MAIL';
    like $d->say('RCPT TO:<bad@example.test>'), qr/^550 /, 'a recipient of the list is refused';
    like $d->say('RCPT TO:<good@example.test>'), qr/^250/, 'another is not';
    like $d->data("Subject: hi\n\nhello\n"), qr/^250/, 'the message is taken';
    like $d->quit, qr/^221/, 'QUIT';
    is $d->status, 0, 'it ends well';
    is scalar(my @m = $t->maildir_messages), 1, 'and the message has arrived';
    done_testing;

Run it with C<prove -It/lib t/plugin/NAME.t> from the root of the tree, or, for a plugin of your own
beside an installed qpsmtpd:

    QPSMTPD_PLUGINS=. prove -I"$(pkg-config --variable=testlibdir qpsmtpd)" my_plugin.t

=head1 DESCRIPTION

Each object has a temporary directory: F<config/>, F<spool/> and whatever the test puts there. It is
the working directory of everything that is started, so relative names in configuration files mean
places in it. It goes away at the end, and so does every process.

Nothing waits for ever: each wait has a limit (20 seconds, or as given, times C<TEST_SLOW>), after
which the test dies with a message that says what was awaited and shows the end of the log.

Only Perl's core modules are used.

=head1 ENVIRONMENT

=over

=item QPSMTPD_BUILD

The directory that has F<qpsmtpd>, F<qpsmtpd-prefork> and F<plugins/>. Default: the tree that this
module is part of; for an installed one, what was installed with it.

=item QPSMTPD_PLUGINS

More directories with plugins, separated by colons; they are searched first.

=item QPSMTPD_SAN

Set when the programs were built with sanitizers: limits on memory make no sense then. See C<sanitized>.

=item TEST_SLOW

A factor for every time limit, for slow machines and sanitizers. Default 1.

=item KEEP

When true, temporary directories stay and their names are printed.

=back

=cut

use strict;
use warnings;

use Carp qw(croak);
use Cwd qw(abs_path);
use Exporter qw(import);
use Fcntl qw(F_DUPFD);
use File::Basename qw(dirname);
use File::Path qw(make_path);
use File::Temp ();
use IO::Handle;
use IO::Socket::INET;
use POSIX ();
use Socket;
use Time::HiRes qw(time sleep);

our @CARP_NOT  = map { "Qpsmtpd::Test::$_" } qw(Process Logged Dialogue Server);
our @EXPORT_OK = qw(slurp change_byte wait_for free_port sanitized peak_memory);

# A peer that closes early is an answer, not the end of the test.
$SIG{PIPE} = 'IGNORE';

# A test that is interrupted runs its END blocks, too: what it started goes with it.
$SIG{$_} = sub { exit 1 } for grep { !defined $SIG{$_} || $SIG{$_} eq "DEFAULT" || $SIG{$_} eq "" } qw(HUP INT TERM);

=head1 FUNCTIONS

Exported on request.

=over

=item slurp FILE

The bytes of a file; C<undef> when it cannot be opened.

=cut

sub slurp {
    my ($file) = @_;

    open my $fh, '<:raw', $file or return undef;
    local $/;
    my $content = <$fh>;
    return defined $content ? $content : '';
}

=item change_byte FILE, POSITION

Damages a file: flips one bit of the byte there, from the end when POSITION is negative.

=cut

sub change_byte {
    my ($file, $at) = @_;

    open my $fh, '+<:raw', $file or croak "$file: $!";
    seek $fh, $at, $at < 0 ? 2 : 0 or croak "$file: $!";
    my $where = tell $fh;
    read $fh, my $byte, 1;
    seek $fh, $where, 0;
    print $fh chr(ord($byte) ^ 1);
    close $fh or croak "$file: $!";
}

# seconds - a time limit on this machine
sub seconds {
    my ($n) = @_;

    return (defined $n ? $n : 20) * ($ENV{TEST_SLOW} || 1);
}

=item wait_for CODE, SECONDS, WHAT

Calls CODE until it gives something true, which is returned; dies when that takes too long.

=cut

sub wait_for {
    my ($code, $limit, $what) = @_;
    my $end = time + seconds($limit);

    while (1) {
        my $got = $code->();
        return $got if $got;
        croak 'waited ' . seconds($limit) . ' s in vain for ' . ($what || 'a condition') if time > $end;
        sleep 0.02;
    }
}

=item free_port

A TCP port of 127.0.0.1 that nobody uses at this moment.

=cut

sub free_port {
    my $s = IO::Socket::INET->new(LocalAddr => '127.0.0.1', LocalPort => 0, Listen => 1, Proto => 'tcp')
        or croak "no free port: $@";
    return $s->sockport;
}

=item sanitized

Were the programs built with sanitizers?

=cut

sub sanitized {
    return $ENV{QPSMTPD_SAN} ? 1 : 0;
}

=item peak_memory PID

The largest resident size that this process has had, in KiB; 0 when it is gone.

=back

=cut

sub peak_memory {
    my ($pid) = @_;
    my $status = slurp("/proc/$pid/status");

    return defined $status && $status =~ /^VmHWM:\s+(\d+)/m ? $1 : 0;
}

=head1 METHODS

=over

=item new NAME => VALUE, ...

    plugins      lines of config/plugins; without it the file is not written
    config       {name => content}: files in config/; a list of lines is content as well, and so is a
                 text without a line end. A name may have directories ("dkim/example.test"). Written
                 unless given (undef: not at all): me, spool_dir
    env          {name => value}: environment of what is started; undef removes a variable
    loglevel     config/loglevel, default 7: the log says everything
    plugin_dirs  directories that are searched before the others

=cut

sub new {
    my ($class, %arg) = @_;
    my $self = bless {
        env         => delete $arg{env}         || {},
        plugin_dirs => delete $arg{plugin_dirs} || [],
    }, $class;
    my %config = (me => 'mx.example.test', %{delete $arg{config} || {}});
    my $plugins = delete $arg{plugins};
    my $loglevel = delete $arg{loglevel};

    croak 'unknown: ' . join ' ', sort keys %arg if %arg;
    $self->{tmp} = File::Temp->newdir('qpsmtpd-test-XXXXXX', TMPDIR => 1, CLEANUP => !$ENV{KEEP});
    $self->{dir} = abs_path("$self->{tmp}");
    print STDERR "# kept: $self->{dir}\n" if $ENV{KEEP};
    make_path("$self->{dir}/config");
    make_path("$self->{dir}/spool", {mode => 0700});
    $config{spool_dir} = "$self->{dir}/spool" unless exists $config{spool_dir};
    $config{loglevel} = defined $loglevel ? $loglevel : 7 unless exists $config{loglevel};
    $config{plugins} = $plugins if defined $plugins;
    $self->config($_ => $config{$_}) for grep { defined $config{$_} } sort keys %config;
    return $self;
}

=item dir

The temporary directory.

=item file NAME, CONTENT

Writes a file below it (with directories as needed), gives its absolute path.

=item config NAME, CONTENT

The same below F<config/>; CONTENT as in C<new>.

=cut

sub dir {
    my ($self) = @_;

    return $self->{dir};
}

sub file {
    my ($self, $name, $content) = @_;
    my $path = "$self->{dir}/$name";

    make_path(dirname($path));
    open my $fh, '>:raw', $path or croak "$path: $!";
    print $fh $content;
    close $fh or croak "$path: $!";
    return $path;
}

sub config {
    my ($self, $name, $content) = @_;

    $content = join "\n", @$content if ref $content;
    $content .= "\n" if length $content && $content !~ /\n\z/;
    return $self->file("config/$name", $content);
}

=item maildir_messages [MAILDIR]

The messages in F<MAILDIR/new>, each as its bytes, in the order of their names. Default: F<Maildir>.

=cut

sub maildir_messages {
    my ($self, $maildir) = @_;

    $maildir = 'Maildir' unless defined $maildir;
    $maildir = "$self->{dir}/$maildir" unless $maildir =~ m{^/};
    return map { slurp($_) } sort glob("\Q$maildir\E/new/*");
}

# ---- what is started -------------------------------------------------------------------------------

# root - the tree with programs and plugins, and where an installation has them instead
my $lib = dirname(abs_path(__FILE__));
my $tree = abs_path($ENV{QPSMTPD_BUILD} || "$lib/../../..");
my @program_dirs = ($tree, "$lib/../../../../../sbin");
my @plugin_dirs = grep { -d } "$tree/plugins", "$lib/../../../../../lib/qpsmtpd/plugins";

=item program NAME

The path of F<qpsmtpd> or F<qpsmtpd-prefork>.

=cut

sub program {
    my ($self, $name) = @_;

    for my $dir (@program_dirs) {
        return abs_path("$dir/$name") if -x "$dir/$name" && !-d _;
    }
    croak "$name is not in @program_dirs: run make, or set QPSMTPD_BUILD";
}

# options - where configuration and plugins are, as both programs take it
sub options {
    my ($self) = @_;
    my @dirs = (@{$self->{plugin_dirs}}, split(/:/, $ENV{QPSMTPD_PLUGINS} || ''));

    return ('-C', "$self->{dir}/config", map { ('-P', abs_path($_)) } @dirs, $plugin_dirs[0] || ());
}

# environment - ours without what a test must decide, and with what it has decided
sub environment {
    my ($self, %more) = @_;
    my %env = (%ENV, HOME => $self->{dir}, QMAIL => "$self->{dir}/qmail", TZ => 'UTC', LC_ALL => 'C');

    delete @env{grep { /^(?:TCP|QPSMTPD_)|^(?:PROTO|ENV|RELAYCLIENT|RBLSMTPD|DATABYTES|PERL5LIB)$/ } keys %env};
    %env = (%env, %{$self->{env}}, %more);
    delete @env{grep { !defined $env{$_} } keys %env};
    return \%env;
}

# spawn - start a program in our directory, in a process group of its own
#
# in, out, err: handles that become 0, 1, 2
sub spawn {
    my ($self, %arg) = @_;
    my $pid = fork;

    croak "fork: $!" unless defined $pid;
    if ($pid == 0) {
        eval {
            setpgrp;
            chdir $self->{dir} or die "$self->{dir}: $!\n";
            $SIG{PIPE} = 'DEFAULT';
            POSIX::dup2(fileno $arg{err}, 2);
            # Through high numbers: one of the handles may be 0 or 1 itself.
            my @high = map { fcntl $_, F_DUPFD, 100 } @arg{qw(in out)};
            POSIX::dup2($high[$_], $_) for 0, 1;
            POSIX::close($_) for @high;
            %ENV = %{$arg{env}};
            no warnings 'exec';
            exec {$arg{command}[0]} @{$arg{command}} or die "exec $arg{command}[0]: $!\n";
        };
        syswrite STDERR, $@;
        POSIX::_exit(127);
    }
    return Qpsmtpd::Test::Process->new($pid, $arg{command}[0]);
}

=item run COMMAND, ARGUMENT, ...

Runs a program to its end and gives its exit status (128 + N: killed by signal N) and what it wrote to
stdout and stderr. The first argument may be a hash: C<stdin> (text, default none), C<env>, C<limit>
(seconds, default 60).

=cut

sub run {
    my ($self, @command) = @_;
    my %opt = ref $command[0] ? %{shift @command} : ();
    my $out = File::Temp->new(TEMPLATE => 'out-XXXXXX', DIR => $self->{dir});
    my $in = File::Temp->new(TEMPLATE => 'in-XXXXXX', DIR => $self->{dir});

    print $in defined $opt{stdin} ? $opt{stdin} : '';
    $in->flush;
    sysseek $in, 0, 0;
    my $p = $self->spawn(command => \@command, env => $self->environment(%{$opt{env} || {}}),
        in => $in, out => $out, err => $out);
    my $status = $p->wait(defined $opt{limit} ? $opt{limit} : 60);
    return ($status, slurp("$out"));
}

=item check [ARGUMENT, ...]

What C<qpsmtpd --check> says of the configuration: exit status and output.

=cut

sub check {
    my ($self, @args) = @_;

    return $self->run($self->program('qpsmtpd'), $self->options, '--check', @args);
}

=item dialogue [NAME => VALUE, ...]

Starts F<qpsmtpd> with the tcp-environ(5) variables of a connection from 127.0.0.1 and reads its
greeting. Gives a L</DIALOGUE>.

    env        more variables of this connection; TCPREMOTEIP => undef: no such variable
    args       more arguments of the program
    pipe       1: fd 0 and 1 are two pipes; otherwise both are one socket
    greeting   0: the greeting is not waited for

=cut

my $dialogues = 0;

sub dialogue {
    my ($self, %arg) = @_;
    my $log = "$self->{dir}/log." . ++$dialogues;
    my ($ours_in, $ours_out, $theirs_in, $theirs_out);

    if ($arg{pipe}) {
        pipe $theirs_in, $ours_out or croak "pipe: $!";
        pipe $ours_in, $theirs_out or croak "pipe: $!";
    } else {
        socketpair $ours_in, $theirs_in, AF_UNIX, SOCK_STREAM, PF_UNSPEC or croak "socketpair: $!";
        ($ours_out, $theirs_out) = ($ours_in, $theirs_in);
    }
    open my $err, '>>', $log or croak "$log: $!";
    my $p = $self->spawn(
        command => [$self->program('qpsmtpd'), $self->options, @{$arg{args} || []}],
        env => $self->environment(
            PROTO => 'TCP',
            TCPREMOTEIP => '127.0.0.1', TCPREMOTEPORT => 40000, TCPREMOTEHOST => 'localhost',
            TCPLOCALIP => '127.0.0.1', TCPLOCALPORT => 25, TCPLOCALHOST => 'localhost',
            %{$self->{env}}, %{$arg{env} || {}}),
        in => $theirs_in, out => $theirs_out, err => $err);
    my $d = Qpsmtpd::Test::Dialogue->new(in => $ours_in, out => $ours_out, process => $p, log => $log);
    $d->read_greeting unless defined $arg{greeting} && !$arg{greeting};
    return $d;
}

=item prefork [ARGUMENT, ...]

Starts F<qpsmtpd-prefork> in the foreground, on a free port of 127.0.0.1 unless C<-l> is among the
arguments, as the present user unless C<-u> or C<--user> is; waits until it listens. Gives a L</SERVER>.

=cut

sub prefork {
    my ($self, @args) = @_;
    my @fixed = grep({ /^(?:-u|--user)/ } @args) ? () : ('--user', scalar getpwuid $<);

    return $self->serve(sub {
        my ($port) = @_;
        my @listen = grep({ /^(?:-l|--listen|--interface)/ } @args) ? () : ('-l', '127.0.0.1');
        return ($self->program('qpsmtpd-prefork'), $self->options, @listen, '-p', $port, @fixed, @args);
    });
}

=item tcpserver [NAME => VALUE, ...]

The same with F<qpsmtpd> under tcpserver(1).

    tcpserver  more arguments of tcpserver, default -R -H -l localhost: it asks nobody for names
    args       more arguments of qpsmtpd

=cut

sub tcpserver {
    my ($self, %arg) = @_;

    return $self->serve(sub {
        my ($port) = @_;
        return ('tcpserver', @{$arg{tcpserver} || []}, qw(-R -H -l localhost), '127.0.0.1', $port,
            $self->program('qpsmtpd'), $self->options, @{$arg{args} || []});
    });
}

# serve - start a server on a port that may have been taken since it was found free
sub serve {
    my ($self, $command) = @_;

    for my $try (1 .. 5) {
        my $port = free_port();
        my $log = "$self->{dir}/log." . ++$dialogues;
        my @command = $command->($port);
        open my $err, '>>', $log or croak "$log: $!";
        open my $null, '+<', '/dev/null' or croak "/dev/null: $!";
        my $p = $self->spawn(command => \@command, env => $self->environment,
            in => $null, out => $err, err => $err);
        my $s = Qpsmtpd::Test::Server->new(process => $p, port => $port, log => $log);
        wait_for(sub { $s->listens || !$p->alive }, 20, "@command to listen");
        return $s if $p->alive;
        next if $s->log =~ /address already in use|address already used/i;
        croak "@command ended with status " . $p->wait(1) . ":\n" . $s->log;
    }
    croak 'no port stays free';
}

=back

=cut

# ---- a process -------------------------------------------------------------------------------------

package Qpsmtpd::Test::Process;

use strict;
use warnings;

use Carp qw(croak);
use POSIX qw(:sys_wait_h);

our @CARP_NOT = qw(Qpsmtpd::Test Qpsmtpd::Test::Dialogue Qpsmtpd::Test::Server);
my @started;

sub new {
    my ($class, $pid, $name) = @_;

    # Here as well as in the child: whoever is first, the group exists when this returns.
    setpgrp $pid, $pid;
    push @started, my $self = bless {pid => $pid, name => $name, owner => $$}, $class;
    return $self;
}

# alive - not ended yet; when it has, its status is remembered
sub alive {
    my ($self) = @_;
    local ($?, $!);

    return 0 if defined $self->{status};
    return 1 unless waitpid($self->{pid}, WNOHANG) == $self->{pid};
    $self->{status} = WIFEXITED($?) ? WEXITSTATUS($?) : 128 + WTERMSIG($?);
    return 0;
}

# wait - its exit status; a process that does not end in time is killed, and the test dies
sub wait {
    my ($self, $limit) = @_;

    eval { Qpsmtpd::Test::wait_for(sub { !$self->alive }, $limit, "the end of $self->{name}"); 1 } or do {
        my $why = $@;
        $self->kill_all;
        croak $why;
    };
    return $self->{status};
}

# processes - the ids of those that /proc knows and the test accepts, without zombies
sub processes {
    my ($accept) = @_;
    my @found;

    for my $stat (glob '/proc/[0-9]*/stat') {
        my $text = Qpsmtpd::Test::slurp($stat);
        # The name, in parentheses, may hold anything; what follows it does not.
        next unless defined $text && $text =~ /^(\d+) \(.*\) (\S) (\d+) (\d+) (\d+) /s;
        my %p = (pid => $1, state => $2, parent => $3, group => $4, session => $5);
        push @found, $p{pid} if $p{state} !~ /[ZX]/ && $accept->(\%p);
    }
    @found = sort { $a <=> $b } @found;
    return @found;
}

# group - the processes of its group that still run. Those of our own session only: should the number
# have come to somebody else since, it is not ours to touch.
sub group {
    my ($self) = @_;
    my ($session) = Qpsmtpd::Test::slurp("/proc/$$/stat") =~ /.*\) \S \d+ \d+ (\d+) /s;

    return processes(sub { $_[0]{group} == $self->{pid} && $_[0]{session} == $session });
}

sub kill_all {
    my ($self) = @_;

    kill KILL => $self->{pid} if $self->alive;
    kill KILL => $self->group;
    Qpsmtpd::Test::wait_for(sub { !$self->alive }, 5, "the end of $self->{name} after SIGKILL");
}

END {
    # What is done here must not decide how the test ends.
    local ($@, $!, $?);
    eval { $_->kill_all } for grep { $_->{owner} == $$ } @started;
}

# ---- what has a process and a log ------------------------------------------------------------------

package Qpsmtpd::Test::Logged;

use strict;
use warnings;

use Carp qw(croak);

our @CARP_NOT = qw(Qpsmtpd::Test Qpsmtpd::Test::Process Qpsmtpd::Test::Dialogue Qpsmtpd::Test::Server);

sub pid {
    my ($self) = @_;

    return $self->{process} ? $self->{process}{pid} : 0;
}

sub log {
    my ($self) = @_;
    my $log = Qpsmtpd::Test::slurp($self->{log});

    return defined $log ? $log : '';
}

sub wait_log {
    my ($self, $pattern, $limit) = @_;
    my $got;

    eval {
        Qpsmtpd::Test::wait_for(sub { $self->log =~ $pattern and $got = defined $1 ? $1 : $&; defined $got },
            $limit, "$pattern in the log"); 1;
    } or croak $@ . $self->log;
    return $got;
}

=head1 DIALOGUE

One SMTP connection, seen from the client. Replies are texts: lines joined by C<\n>, without CR and
without the last line end; C<''> when the server has closed the connection.

=over

=cut

package Qpsmtpd::Test::Dialogue;

use strict;
use warnings;

use Carp qw(croak);
use Socket qw(SHUT_WR);
use Time::HiRes qw(time);

our @ISA = ('Qpsmtpd::Test::Logged');
our @CARP_NOT = qw(Qpsmtpd::Test Qpsmtpd::Test::Process Qpsmtpd::Test::Logged Qpsmtpd::Test::Server);

sub new {
    my ($class, %arg) = @_;
    my $self = bless {%arg, buffer => '', reply => '', greeting => ''}, $class;

    for my $handle (@$self{qw(in out)}) {
        binmode $handle;
        $handle->blocking(0); # or a server that does not read could hold us for ever
    }
    return $self;
}

=item greeting

What the server said first.

=item read_greeting

Reads it, for a dialogue that was begun with C<< greeting => 0 >>.

=cut

sub greeting {
    my ($self) = @_;

    return $self->{greeting};
}

sub read_greeting {
    my ($self, $limit) = @_;

    return $self->{greeting} = $self->read_reply($limit);
}

=item say LINE

Sends LINE and CRLF, gives the reply.

=item code

The code of the last reply, 0 when there was none.

=item reply

The last reply itself.

=item raw BYTES

Sends bytes as they are, and reads nothing. False when the server does not take them any more.

=item read_reply [SECONDS]

The next reply, for what was sent with C<raw>.

=cut

sub say {
    my ($self, $line) = @_;

    $self->raw("$line\r\n");
    return $self->read_reply;
}

sub code {
    my ($self) = @_;

    return $self->{reply} =~ /^(\d{3})/ ? $1 : 0;
}

sub reply {
    my ($self) = @_;

    return $self->{reply};
}

sub raw {
    my ($self, $bytes, $limit) = @_;
    my $end = time + Qpsmtpd::Test::seconds($limit);
    my $done = 0;

    return 0 unless $self->{out};
    while ($done < length $bytes) {
        my $w = '';
        vec($w, fileno $self->{out}, 1) = 1;
        my $left = $end - time;
        $self->give_up('the server to read') if $left <= 0;
        next unless select(undef, $w, undef, $left) > 0;
        my $n = syswrite $self->{out}, $bytes, 65536, $done;
        return 0 unless defined $n || $!{EINTR} || $!{EAGAIN};
        $done += $n || 0;
    }
    return 1;
}

sub read_reply {
    my ($self, $limit) = @_;
    my @lines;

    while (1) {
        my $line = $self->read_line($limit);
        last unless defined $line;
        $line =~ s/\r\n\z// or croak "a reply that does not end in CRLF: '$line'";
        push @lines, $line;
        last unless $line =~ /^\d{3}-/;
    }
    return $self->{reply} = join "\n", @lines;
}

# read_line - with its line end; undef at the end of the connection
sub read_line {
    my ($self, $limit) = @_;
    my $end = time + Qpsmtpd::Test::seconds($limit);

    while ($self->{buffer} !~ /\n/) {
        my $left = $end - time;
        $self->give_up('a reply') if $left <= 0;
        my $n = $self->fill($left);
        next unless defined $n;
        last if $n == 0;
    }
    # Without a line end it is what stood there when the connection ended.
    return $self->{buffer} =~ s/\A(.*?\n|.+)//s ? $1 : undef;
}

# fill - what has arrived goes to the buffer; undef: nothing yet, 0: the end
sub fill {
    my ($self, $wait) = @_;
    my $r = '';

    return 0 if $self->{eof} || !$self->{in};
    vec($r, fileno $self->{in}, 1) = 1;
    return undef unless select($r, undef, undef, $wait) > 0;
    my $n = sysread $self->{in}, $self->{buffer}, 65536, length $self->{buffer};
    return undef if !defined $n && ($!{EINTR} || $!{EAGAIN});
    $self->{eof} = 1 unless $n; # a reset is an end as well
    return $n || 0;
}

sub give_up {
    my ($self, $what) = @_;
    my $log = $self->log;

    $log = '... ' . substr $log, -2000 if length $log > 2000;
    croak "waited in vain for $what; unread: '$self->{buffer}', log:\n$log";
}

=item data MESSAGE

Sends DATA and, after a 354, the message: line ends become CRLF, dots are stuffed, the final dot
follows. Gives the last reply.

=item bdat BYTES [, 'LAST']

One BDAT command with its bytes; gives the reply.

=item deliver FROM, TO, MESSAGE

EHLO (once in a connection), MAIL, RCPT and DATA; TO may be a list reference. Gives the first reply
that refuses, else the last one.

=cut

sub data {
    my ($self, $message) = @_;
    my $reply = $self->say('DATA');

    return $reply unless $self->code == 354;
    $message =~ s/\r?\n/\r\n/g;
    $message =~ s/^\./../mg;
    $message .= "\r\n" if length $message && $message !~ /\r\n\z/;
    $self->raw("$message.\r\n");
    return $self->read_reply;
}

sub bdat {
    my ($self, $bytes, $last) = @_;

    $self->raw(sprintf "BDAT %d%s\r\n%s", length $bytes, $last ? " $last" : '', $bytes);
    return $self->read_reply;
}

sub deliver {
    my ($self, $from, $to, $message) = @_;
    my @commands = ("MAIL FROM:<$from>", map { "RCPT TO:<$_>" } ref $to ? @$to : $to);

    unshift @commands, 'EHLO client.example.test' unless $self->{said_hello}++;
    for my $command (@commands) {
        my $reply = $self->say($command);
        return $reply unless $reply =~ /^2/;
    }
    return $self->data($message);
}

=item eof [SECONDS]

Does the server close the connection, without another word, within that time (default 20)? It is
false, at once, when there is something to read first, and when nothing happens in time.

=item quit

QUIT; gives the reply.

=item hangup

Closes the connection without a word. With C<hangup('write')> only our direction.

=cut

sub eof {
    my ($self, $limit) = @_;
    my $end = time + Qpsmtpd::Test::seconds($limit);

    while (!length $self->{buffer}) {
        my $left = $end - time;
        return 0 if $left <= 0;
        my $n = $self->fill($left);
        return 1 if defined $n && $n == 0;
    }
    return 0;
}

sub quit {
    my ($self) = @_;

    return $self->say('QUIT');
}

sub hangup {
    my ($self, $what) = @_;

    if ($what) {
        shutdown $self->{out}, SHUT_WR or close $self->{out};
        delete $self->{out};
        return;
    }
    # Both names may be one handle.
    close $self->{$_} for grep { $self->{$_} && defined fileno $self->{$_} } qw(out in);
    delete @$self{qw(in out)};
}

=item status [SECONDS]

Waits for the end of the process that C<dialogue> started; its exit status, or 128 + the signal's number.
A dialogue that still has the connection open hangs up first, unless the server has closed it.

=item pid

Its process id; 0 for a connection to a server.

=item log

What the server has logged up to now.

=item wait_log PATTERN [, SECONDS]

Waits until the log matches; gives the match's first group, or the match.

=back

=cut

sub status {
    my ($self, $limit) = @_;

    croak 'only a dialogue with a process of its own has a status' unless $self->{process};
    $self->hangup;
    return $self->{process}->wait($limit);
}

=head1 SERVER

A daemon that listens.

=over

=item port

=item pid

=item connect [NAME => VALUE, ...]

A connection, as a L</DIALOGUE> whose greeting was read. C<< greeting => 0 >>: it was not;
C<host>: 127.0.0.1 unless given; C<port>; C<from>: the address to come from, 127.0.0.2 for example.

=item log, wait_log

As those of a dialogue.

=item children

The ids of its child processes (in scalar context their number); those that have ended and were not yet
collected are left out.

=item hup

Sends SIGHUP.

=item signal NAME

Sends another one to the listener alone.

=item stop [SECONDS]

Sends SIGTERM, waits for the end of the listener and of all its children, gives the exit status. Dies
when one of them stays.

=item alive

Is the listener still there?

=back

=cut

package Qpsmtpd::Test::Server;

use strict;
use warnings;

use Carp qw(croak);
use IO::Socket::IP;
our @ISA = ('Qpsmtpd::Test::Logged');
our @CARP_NOT = qw(Qpsmtpd::Test Qpsmtpd::Test::Process Qpsmtpd::Test::Dialogue);

sub new {
    my ($class, %arg) = @_;

    return bless {%arg}, $class;
}

sub port {
    my ($self) = @_;

    return $self->{port};
}

sub connect {
    my ($self, %arg) = @_;
    my $host = $arg{host} || '127.0.0.1';
    my $port = $arg{port} || $self->{port};
    my $socket = IO::Socket::IP->new(PeerHost => $host, PeerPort => $port, Type => Socket::SOCK_STREAM(),
        Timeout => Qpsmtpd::Test::seconds(), $arg{from} ? (LocalHost => $arg{from}) : ())
        or croak "no connection to $host port $port: $@; log:\n" . $self->log;
    my $d = Qpsmtpd::Test::Dialogue->new(in => $socket, out => $socket, log => $self->{log});

    $d->read_greeting unless defined $arg{greeting} && !$arg{greeting};
    return $d;
}

sub children {
    my ($self) = @_;
    my $pid = $self->pid;

    return Qpsmtpd::Test::Process::processes(sub { $_[0]{parent} == $pid });
}

# listens - has the process, not somebody else, a listening socket? Asked of /proc, because a
# connection to find out would be one more client in the test.
sub listens {
    my ($self) = @_;
    my $pid = $self->pid;
    my %ours = map { (readlink($_) || '') =~ /^socket:\[(\d+)\]/ ? ($1 => 1) : () } glob "/proc/$pid/fd/*";

    for my $table ('/proc/net/tcp', '/proc/net/tcp6') {
        for my $line (split /\n/, Qpsmtpd::Test::slurp($table) || '') {
            my (undef, undef, undef, $state, @rest) = split ' ', $line;
            return 1 if defined $state && $state eq '0A' && $ours{$rest[5] || ''};
        }
    }
    return 0;
}

sub alive {
    my ($self) = @_;

    return $self->{process}->alive;
}

sub signal {
    my ($self, $name) = @_;

    return kill $name => $self->pid;
}

sub hup {
    my ($self) = @_;

    return $self->signal('HUP');
}

sub stop {
    my ($self, $limit) = @_;

    $self->signal('TERM') if $self->alive;
    my $status = $self->{process}->wait($limit);
    eval { Qpsmtpd::Test::wait_for(sub { !$self->{process}->group }, 5, 'the children to end'); 1 } or do {
        my @left = $self->{process}->group;
        kill KILL => @left;
        croak "the listener has ended, and left behind: @left; log:\n" . $self->log;
    };
    return $status;
}

1;
