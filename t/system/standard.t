# standard.so: a process for one client takes the usual plugins from there, and only those whose own object
# is the one that standard.so was made with. Which file a line of `plugins` means, it never changes.

use strict;
use warnings;

use File::Copy qw(copy);
use File::Path qw(make_path);
use Test::More;

use lib 't/system';
use Probe;
use Qpsmtpd::Test qw(slurp);

my $t = Qpsmtpd::Test->new(
    plugins => ['check_relay', 'rcpt_ok', 'rcpt_ok:2', 'queue/maildir Maildir'],
    config  => {rcpthosts => 'ours.test'},
);
my $built = $t->program('qpsmtpd') =~ s{[^/]*\z}{plugins}r;
plan skip_all => 'this build has no standard.so' unless -e "$built/standard.so";

my $plugins = $t->dir . '/copies';
make_path("$plugins/queue", $t->dir . '/Maildir');

# afresh - the directory as it was built, with its copies
sub afresh {
    for my $file (qw(standard check_relay rcpt_ok queue/maildir)) {
        unlink "$plugins/$file.so";
        copy("$built/$file.so", "$plugins/$file.so") or die "$file: $!";
    }
}

# objects - a session's answer to a recipient of ours, and the objects of the directory that it has loaded
sub objects {
    my ($dir) = @_;
    local $t->{plugin_dirs} = [$dir || $plugins];
    my $d = $t->dialogue;
    my $maps = slurp('/proc/' . $d->pid . '/maps');
    $d->say('EHLO client.test');
    $d->say('MAIL FROM:<a@b.test>');
    my $answer = $d->say('RCPT TO:<c@ours.test>');
    my $refused = $d->say('RCPT TO:<c@theirs.test>');
    $d->quit;
    my %seen;
    return "$answer / $refused", join ' ', grep { !$seen{$_}++ } $maps =~ m{ /.*/copies/(\S+)\n}g;
}

my $both = '250 <c@ours.test>, recipient ok / 550 relaying denied';

afresh();
is_deeply [objects()], [$both, 'standard.so'], 'four lines, one object';

unlink "$plugins/standard.so";
my ($answers, $loaded) = objects();
is $answers, $both, 'without standard.so';
is join(' ', sort split / /, $loaded), 'check_relay.so queue/maildir.so rcpt_ok.so', '... each is loaded';

afresh();
Probe::build('t/system/probe.c', "$plugins/rcpt_ok.so");
($answers, $loaded) = objects();
like $loaded, qr/\brcpt_ok\.so\b/, 'another rcpt_ok.so is loaded';
like $loaded, qr/\bstandard\.so\b/, '... beside the others';
like $answers, qr/^250/, '... and answers';

afresh();
copy("$plugins/check_relay.so", "$plugins/rcpt_ok.so");
($answers, $loaded) = objects();
like $answers, qr/^450|^451/, 'the file counts, not its name: nobody judges recipients, as check_relay is loaded twice';

afresh();
rename "$plugins/rcpt_ok.so", "$plugins/mine.so" or die $!;
$t->config(plugins => ['mine', 'queue/maildir Maildir']);
is_deeply [objects()], [$both, 'standard.so'], 'a copy under another name is the same plugin';

# Longer ones the dynamic linker maps, and crashes; and when the id is there, the file is not needed.
for my $bytes (0, 3, 63, 64, 200) {
    afresh();
    $t->config(plugins => ['rcpt_ok']);
    truncate "$plugins/rcpt_ok.so", $bytes;
    local $t->{plugin_dirs} = [$plugins];
    my $d = $t->dialogue;
    is $d->code, 421, "the first $bytes bytes of a plugin: no service";
    like $d->log, qr/plugin rcpt_ok cannot be loaded|is no plugin/, '... and the reason';
}

$t->config(plugins => ['rcpt_ok', 'queue/maildir Maildir']);
for my $case (['garbage', 'x' x 5000], ['an empty file', '']) {
    afresh();
    open my $fh, '>', "$plugins/standard.so" or die $!;
    print $fh $case->[1];
    close $fh;
    is((objects())[0], $both, "standard.so is $case->[0]: the plugins are loaded from their own");
}

is((objects($built))[0], $both, 'the tree itself');

done_testing;
