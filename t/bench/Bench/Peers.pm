package Bench::Peers;

=head1 NAME

Bench::Peers - how to run the servers that are compared

=head1 DESCRIPTION

Ours, the sink, and those mail servers that this machine can have: unpacked from Debian's packages by
F<.ci/unpack>, never installed. They run in a mount namespace, where they find users and directories of
their own; only root can make one. Each has a variant "null", which throws messages away as early as it
can, and, if it keeps them, "durable". Nobody asks a name server; logs hold errors only, or go nowhere.

=cut

use strict;
use warnings;

use Cwd qw(getcwd);
use File::Copy qw(copy);
use File::Path qw(make_path remove_tree);

my $root = getcwd;
my $bin = "$root/build/bench";
my $me = getpwuid $<;
my $connections = 1200;    # that every server must be ready for

my %server = (
    'sink'               => {commands => {null => \&sink, durable => \&sink_durable}},
    'qpsmtpd-prefork'    => {commands => {null => \&prefork, durable => \&prefork_durable}},
    'qpsmtpd, notice'    => {commands => {null => \&prefork_notice}, without => 'bpdeh'},
    'OpenSMTPD'          => {package => 'opensmtpd', without => 'p',
        commands => {null => \&opensmtpd, durable => \&opensmtpd_durable}},
    'Postfix'            => {package => 'postfix', commands => {null => \&postfix, durable => \&postfix_durable}},
    # It waits 200 ms at QUIT for the client's end: the load shuts down its side. A thousand of
    # its processes keep the machine busy for longer than all other measures take.
    'Exim'               => {package => 'exim4-daemon-light', load => ['-q'], without => 'h',
        commands => {null => \&exim, durable => \&exim_durable}},
    'Perl qpsmtpd'       => {package => 'qpsmtpd', without => 'deh', commands => {null => \&perl_qpsmtpd}},
    'tcpserver sink'     => {tcpserver => 1, commands => {null => \&tcpserver_sink}},
    'tcpserver sink -q'  => {tcpserver => 1, commands => {null => \&tcpserver_sink_queue}},
    'tcpserver qpsmtpd'  => {tcpserver => 1, commands => {null => \&tcpserver_qpsmtpd}},
    'tcpserver, checks'  => {tcpserver => 1, commands => {null => \&tcpserver_checks}},
    'tcpserver --pool'   => {tcpserver => 1, commands => {null => \&tcpserver_pool}, option => '--pool'},
    'tcpserver qmail'    => {tcpserver => 1, commands => {null => \&tcpserver_qmail}, program => '/var/qmail/bin/qmail-smtpd'},
);

=head1 FUNCTIONS

=over

=item names

Of those that are known, in the order of the table.

=cut

sub names {
    return 'sink', 'qpsmtpd-prefork', 'qpsmtpd, notice', 'OpenSMTPD', 'Postfix', 'Exim', 'Perl qpsmtpd', 'tcpserver sink',
        'tcpserver sink -q', 'tcpserver qpsmtpd', 'tcpserver, checks', 'tcpserver --pool', 'tcpserver qmail';
}

=item describe NAME

What C<< Bench::Server->new >> wants, less C<name> and C<dir>; dies with the reason when it cannot run here.

=back

=cut

sub describe {
    my ($name) = @_;
    my $s = $server{$name} or die "unknown; known are: " . join(', ', map { "\"$_\"" } names()) . "\n";

    if ($s->{package}) {
        die "only root can give it users and a mount of its own\n" if $> != 0;
        ($s->{unpacked}) = split /\n/, `.ci/unpack '$s->{package}' 2>/dev/null`;
        die ".ci/unpack $s->{package} has failed\n" unless $s->{unpacked};
    }
    die "there is no tcpserver (package ucspi-tcp)\n" if $s->{tcpserver} && !grep { -x "$_/tcpserver" } split /:/, $ENV{PATH};
    die "$s->{program}: $!\n" if $s->{program} && !-x $s->{program};
    die "the programs have no $s->{option}\n" if $s->{option} && `./qpsmtpd --help` !~ / $s->{option}\b/;
    return %$s;
}

# fresh - an empty directory of the server
sub fresh {
    my ($s, $name, @below) = @_;
    my $path = $s->dir . "/$name";

    remove_tree($path);
    make_path($path, map { "$path/$_" } @below);
    return $path;
}

# ---- the sink --------------------------------------------------------------------------------------

sub sink {
    my ($s) = @_;

    return ("$bin/sink", '-w', $s->{workers} || 40, $s->port);
}

sub sink_durable {
    my ($s) = @_;

    return ("$bin/sink", '-w', $s->{workers} || 40, '-d', fresh($s, 'Maildir', qw(tmp new)), $s->port);
}

# ---- ours ------------------------------------------------------------------------------------------

# configure - config.sample, with another queue and nothing below errors in the log
sub configure {
    my ($s, $queue, %more) = @_;
    my $config = fresh($s, 'config');
    my $spool = fresh($s, 'spool');

    chmod 0700, $spool;
    copy($_, $config) or die "$_: $!\n" for grep { -f } glob "$root/config.sample/*";
    open my $fh, '<', "$root/config.sample/plugins" or die "config.sample/plugins: $!\n";
    my $plugins = do { local $/; <$fh> };
    $plugins =~ s{^queue/maildir .*}{$queue}m or die "config.sample/plugins has no queue/maildir\n";
    %more = (plugins => $plugins, loglevel => 3, spool_dir => $spool, me => 'mx.example.test', rcpthosts => 'example.test', %more);
    $s->file("config/$_", "$more{$_}\n") for keys %more;
    return ('-C', $config, '-P', "$root/plugins");
}

sub daemon {
    my ($s, @config) = @_;

    return ("$root/qpsmtpd-prefork", @config, '-H', '-l', '127.0.0.1', '-p', $s->port, '--user', $me,
        '--children', $connections, '--idle-children', 40, '--max-from-ip', 0, '--child-lifetime', 0);
}

sub prefork        { return daemon($_[0], configure($_[0], 'queue/discard')) }
sub prefork_notice { return daemon($_[0], configure($_[0], 'queue/discard', loglevel => 5)) }

sub prefork_durable {
    my ($s) = @_;

    return daemon($s, configure($s, 'queue/maildir ' . fresh($s, 'Maildir', qw(tmp new cur))));
}

# ---- under tcpserver -------------------------------------------------------------------------------

sub tcpserver {
    my ($s, @command) = @_;

    return ('tcpserver', qw(-H -R -P -D -l mx.example.test -c 2000 -b 1000 127.0.0.1), $s->port, @command);
}

sub tcpserver_sink { return tcpserver($_[0], "$bin/sink", '-i') }

sub tcpserver_sink_queue { return tcpserver($_[0], "$bin/sink", '-i', '-q', "$bin/qqdrop") }

sub tcpserver_qpsmtpd {
    my ($s) = @_;

    return ('env', "QMAILQUEUE=$bin/qqdrop", tcpserver($s, "$root/qpsmtpd", configure($s, 'queue/qmail-queue')));
}

# With what qmail-smtpd looks at, and nothing else: its own checks are those of these plugins.
sub tcpserver_checks {
    my ($s) = @_;
    my $config = fresh($s, 'config');

    $s->file("config/$_->[0]", "$_->[1]\n") for ['me', 'mx.example.test'], ['rcpthosts', 'example.test'], ['loglevel', 3],
        ['plugins', join "\n", qw(check_relay check_badmailfrom rcpt_ok queue/qmail-queue)];
    return ('env', "QMAILQUEUE=$bin/qqdrop", tcpserver($s, "$root/qpsmtpd", '-C', $config, '-P', "$root/plugins"));
}

# The daemon first: a session that finds no pool is served without.
sub tcpserver_pool {
    my ($s) = @_;
    my $socket = $s->dir . '/pool';
    my @config = configure($s, 'queue/discard');
    my @daemon = ("$root/qpsmtpd-prefork", @config, '--pool', $socket, '-H', '--user', $me, '--children', $connections,
        '--idle-children', 40, '--max-from-ip', 0, '--child-lifetime', 0);

    unlink $socket;
    return ('perl', '-e', 'my ($socket, $n) = splice @ARGV, 0, 2; my @daemon = splice @ARGV, 0, $n; '
            . 'fork || exec @daemon; select undef, undef, undef, 0.1 until -S $socket; exec @ARGV',
        $socket, scalar @daemon, @daemon, tcpserver($s, "$root/qpsmtpd", @config, '--pool', $socket));
}

sub tcpserver_qmail {
    my ($s) = @_;

    return ('env', 'RELAYCLIENT=', "QMAILQUEUE=$bin/qqdrop", tcpserver($s, '/var/qmail/bin/qmail-smtpd'));
}

# ---- Debian's --------------------------------------------------------------------------------------

# inside - the command in a mount namespace: files and directories of the server over those of the machine
sub inside {
    my ($s, $over, @command) = @_;
    my @mounts = map { ($s->dir . "/$over->{$_}", $_) } sort keys %$over;
    my $script = 'while [ "$1" != -- ]; do mount --bind "$1" "$2" || exit; shift 2; done; shift; exec "$@"';

    return ('unshare', '--mount', 'sh', '-c', $script, 'sh', @mounts, '--', @command);
}

# account - files passwd and group with more users
sub account {
    my ($s, %id) = @_;

    for my $file ('passwd', 'group') {
        open my $fh, '<', "/etc/$file" or die "/etc/$file: $!\n";
        my $text = do { local $/; <$fh> };
        $text .= $file eq 'passwd' ? "$_:x:$id{$_}:$id{$_}\::/:/bin/false\n" : "$_:x:$id{$_}:\n" for sort keys %id;
        chmod 0644, $s->file($file, $text);
    }
    chmod 0755, $s->dir;
    return ('/etc/passwd' => 'passwd', '/etc/group' => 'group');
}

sub opensmtpd_any {
    my ($s, $queue) = @_;
    my %over = (account($s, opensmtpd => 65432, opensmtpq => 65433), '/var/lib' => 'lib', '/var/spool' => 'spool', '/run' => 'run',
        '/etc/resolv.conf' => 'resolv.conf');

    fresh($s, 'lib', 'opensmtpd/empty');
    fresh($s, 'spool');
    fresh($s, 'run');
    chmod 0755, map { $s->dir . "/$_" } qw(lib lib/opensmtpd lib/opensmtpd/empty spool run);
    $s->file('resolv.conf', "lookup file\n");
    my $config = $s->file('smtpd.conf', <<"END");
smtp max-message-size "200M"
smtp limit max-mails 1000000
smtp limit max-rcpt 1000000
listen on 127.0.0.1 port @{[$s->port]} hostname mx.example.test
action "drop" relay
match from any for domain "example.test" action "drop"
END
    chmod 0644, $config;
    # Its programs start one another by this name.
    return inside($s, \%over, "$s->{unpacked}/run", 'env', "LD_PRELOAD=$bin/backlog.so", "$s->{unpacked}/usr/sbin/smtpd", '-d',
        '-f', $config, '-B', "queue=$queue", '-P', 'mta', '-P', 'mda');
}

sub opensmtpd         { return opensmtpd_any($_[0], 'null') }
sub opensmtpd_durable { return opensmtpd_any($_[0], 'fs') }

sub postfix_any {
    my ($s, $restriction) = @_;
    my ($owner, $drop) = (65432, 65433);
    my %over = account($s, postfix => $owner, postdrop => $drop);
    my $q = fresh($s, 'queue', qw(active bounce corrupt defer deferred flush hold incoming maildrop private public saved trace pid));
    my $lib = fresh($s, 'lib');
    my $etc = fresh($s, 'etc');

    chmod 0700, glob "$q/*";
    chown $owner, 0, grep({ !m{/pid$} } glob "$q/*"), $lib;
    chown $owner, $drop, "$q/public", "$q/maildrop";
    chmod 0755, $q, "$q/pid", $etc;
    chmod 0710, "$q/public";
    chmod 0730, "$q/maildrop";
    $s->file('etc/main.cf', <<"END");
compatibility_level = 3.6
queue_directory = $q
data_directory = $lib
daemon_directory = $s->{unpacked}/usr/lib/postfix/sbin
command_directory = $s->{unpacked}/usr/sbin
shlib_directory = $s->{unpacked}/usr/lib/postfix
meta_directory = $etc
mail_owner = postfix
setgid_group = postdrop
import_environment = MAIL_CONFIG LD_LIBRARY_PATH
export_environment = MAIL_CONFIG LD_LIBRARY_PATH
myhostname = mx.example.test
mydestination =
relay_domains = example.test
relay_transport = discard:
mynetworks = 127.0.0.0/8
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
smtpd_relay_restrictions =
smtpd_recipient_restrictions = $restriction reject_unauth_destination
smtpd_peername_lookup = no
smtputf8_enable = no
smtpd_tls_security_level = none
smtpd_client_connection_count_limit = 0
default_process_limit = $connections
in_flow_delay = 0
message_size_limit = 0
mailbox_size_limit = 0
alias_maps =
alias_database =
local_recipient_maps =
maillog_file =
END
    $s->file('etc/master.cf', "127.0.0.1:@{[$s->port]} inet n - n - - smtpd\n" . <<'END');
pickup    unix  n - n 60 1 pickup
cleanup   unix  n - n - 0 cleanup
qmgr      unix  n - n 300 1 qmgr
rewrite   unix  - - n - - trivial-rewrite
bounce    unix  - - n - 0 bounce
defer     unix  - - n - 0 bounce
trace     unix  - - n - 0 bounce
proxymap  unix  - - n - - proxymap
discard   unix  - - n - - discard
error     unix  - - n - - error
anvil     unix  - - n - 1 anvil
END
    return inside($s, \%over, "$s->{unpacked}/run", "$s->{unpacked}/usr/lib/postfix/sbin/master", '-c', $etc, '-d');
}

# The first one drops a message while it is read.
sub postfix         { return postfix_any($_[0], 'check_recipient_access static:discard,') }
sub postfix_durable { return postfix_any($_[0], '') }

sub exim_any {
    my ($s, $data) = @_;
    my $uid = 65432;
    my %over = account($s, 'Debian-exim' => $uid);
    my $spool = fresh($s, 'spool');
    my $logs = fresh($s, 'logs');

    chown $uid, $uid, $spool, $logs;
    my $config = $s->file('exim.conf', <<"END");
primary_hostname = mx.example.test
domainlist local_domains = example.test
local_interfaces = <; 127.0.0.1.@{[$s->port]}
spool_directory = $spool
log_file_path = $logs/%slog
pid_file_path = $logs/pid
tls_advertise_hosts =
rfc1413_hosts =
rfc1413_query_timeout = 0s
host_lookup =
smtp_accept_max = $connections
smtp_accept_max_per_connection = 0
smtp_accept_queue_per_connection = 0
smtp_connect_backlog = 1000
message_size_limit = 200M
queue_only = true
split_spool_directory = true
notifier_socket =
keep_environment =
acl_smtp_rcpt = rcpt
acl_smtp_data = data
begin acl
rcpt:
  accept domains = +local_domains
  deny
data:
  $data
begin routers
hold:
  driver = redirect
  data = :blackhole:
END
    chmod 0644, $config;
    return inside($s, \%over, "$s->{unpacked}/run", "$s->{unpacked}/usr/sbin/exim4", '-C', $config, '-bdf');
}

sub exim         { return exim_any($_[0], 'discard') }
sub exim_durable { return exim_any($_[0], 'accept') }

sub perl_qpsmtpd {
    my ($s) = @_;
    my $config = fresh($s, 'config');
    my $spool = fresh($s, 'spool');
    my $plugins = fresh($s, 'plugins');
    my ($nobody) = (getpwnam 'nobody')[2];
    my $share = "$s->{unpacked}/usr/share";
    my ($arch) = glob "$s->{unpacked}/usr/lib/*/perl5/*";

    $s->file('plugins/drop', "use Qpsmtpd::Constants;\nsub hook_queue { return (OK, 'dropped') }\n");
    my %file = (me => 'mx.example.test', rcpthosts => 'example.test', loglevel => 1, databytes => 0, spool_dir => $spool,
        plugin_dirs => "$plugins\n$share/qpsmtpd/plugins", plugins => "rcpt_ok\ndrop");
    $s->file("config/$_", "$file{$_}\n") for keys %file;
    chown $nobody, -1, $spool;
    chmod 0700, $spool;
    chmod 0755, $s->dir, $config, $plugins;
    # It asks for the client's name whatever it is told: without a name server it knows at once.
    return ("$s->{unpacked}/run", 'env', "QPSMTPD_CONFIG=$config", 'LC_ALL=C', "PERL5LIB=$share/perl5:" . ($arch || ''),
        'RES_NAMESERVERS=127.0.0.1', 'RES_OPTIONS=force_v6:1', 'perl', '-T', "-I$share/perl5", "-I" . ($arch || $share),
        "$s->{unpacked}/usr/bin/qpsmtpd-prefork", '--quiet', '--listen-address', '127.0.0.1', '--port', $s->port,
        '--user', 'nobody', '--max-from-ip', 0, '--children', $connections, '--idle-children', 40);
}

1;
