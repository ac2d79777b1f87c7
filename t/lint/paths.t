# No file of the tree knows where somebody has built it.
use strict;
use warnings;

use Cwd qw(getcwd);
use File::Find;
use Test::More;

# Homes of people, and the two places that only this run knows. /home/smtpd is the documented account
# of the daemon, /home/%u a pattern.
my $home = quotemeta($ENV{HOME} || '/');
my $here = quotemeta getcwd();
my @places = (qr{/(?:home|Users)/(?!smtpd\b)[A-Za-z]}, qr{/root/},
    map { qr{(?<![\w.])$_(?:/|\b)} } grep { length > 2 && $_ ne '\/root' } $home, $here);

my (@found, $seen);
find({no_chdir => 1, wanted => sub {
    if (m{^\./(?:\.git|build|Maildir|spool)\z}) {
        $File::Find::prune = 1;
        return;
    }
    # What was built does name the place: in its debug information.
    return if $_ eq './t/lint/paths.t' || m{\.so\z|^\./qpsmtpd(?:-prefork|-table)?\z} || !-f || -l;
    open my $fh, '<:raw', $_ or return;
    my $file = $_;
    $seen++;
    while (my $line = <$fh>) {
        push @found, "$file:$.: $1" if grep { $line =~ /(.{0,20}$_.{0,20})/ } @places;
    }
}}, '.');
ok $seen, 'files were read';
is join("\n", sort @found), '', 'no absolute path of somebody\'s home or tree';
done_testing;
