use strict;
use warnings;

use Test::More;

use Qpsmtpd::Test;

# The replies to these commands, with brackets required.
sub replies {
    my ($plugins, @commands) = @_;
    my $t = Qpsmtpd::Test->new(
        plugins => [@$plugins, 'rcpt_ok'],
        config => {require_angle_brackets => 1, rcpthosts => 'example.test'});
    my $d = $t->dialogue;

    $d->say('EHLO client.test');
    return map { $d->say($_) } @commands;
}

my @bare = ('MAIL FROM:a@b.test', 'MAIL FROM:<a@b.test>', 'RCPT TO:c@example.test', 'RCPT TO:<c@example.test>');

my ($mail, $mail_in, $rcpt, $rcpt_in) = replies([], @bare);
like $mail, qr/^501/, 'without it: a bare sender is refused';
like $rcpt, qr/^501/, 'and a bare recipient';
like $mail_in . $rcpt_in, qr/^250.*250/s, 'in brackets both are fine';

($mail, $mail_in, $rcpt, $rcpt_in) = replies(['dont_require_anglebrackets'], @bare);
like $mail, qr/^250 <a\@b\.test>/, 'with it: a bare sender is accepted';
like $rcpt, qr/^250 <c\@example\.test>/, 'and a bare recipient';
like $mail_in . $rcpt_in, qr/^250.*250/s, 'in brackets both are fine, still';

is_deeply [map { /^(\d+)/ } replies(['dont_require_anglebrackets'],
    'MAIL FROM:', 'MAIL FROM:a b@c.test', 'MAIL FROM:<a@b.test', 'MAIL FROM:a@b.test>', 'MAIL FROM:<>')],
    [501, 501, 501, 501, 250], 'what is no address does not become one';

my ($status, $said) = Qpsmtpd::Test->new(plugins => ['dont_require_anglebrackets x'])->check;
isnt $status, 0, 'an argument refuses the start';
like $said, qr{config/plugins:1: dont_require_anglebrackets: .*"x"}, 'with file and line';

done_testing;
