use strict;
use warnings;

use Test::More;

use Qpsmtpd::Test;

sub harness {
    my ($arguments, %file) = @_;
    my $t = Qpsmtpd::Test->new(plugins => ["help $arguments"]);

    $t->file($_, $file{$_}) for keys %file;
    return $t;
}

my $t = harness('rset other/reset.txt vrfy verify', 'help/mail' => "MAIL FROM:<address>\n  begins a message\n\n", 'help/empty' => '',
    'help/.hidden' => 'x', 'help/not-a-word' => 'x', 'help/verify' => 'by name', 'help/rset' => 'not this one', 'other/reset.txt' => "RSET\r\n");
my $d = $t->dialogue;
for my $case (
    ['HELP', "214 Try 'HELP COMMAND' for getting help on COMMAND"],
    ['HELP mail', "214-MAIL FROM:<address>\n214   begins a message"],
    ['help MAIL', "214-MAIL FROM:<address>\n214   begins a message"],
    ['HELP rset', '214 RSET'],
    ['HELP vrfy', '214 by name'],
    ['HELP noop', '214 No help available for SMTP command: noop'],
    ['HELP empty', '214 No help available for SMTP command: empty'],
    ['HELP ../config/me', '502 Invalid command name'],
    ['HELP .hidden', '502 Invalid command name'],
    ['HELP not-a-word', '502 Invalid command name'],
    ['HELP mail from', '502 Invalid command name'],
    ['HELP ' . 'x' x 41, '502 Invalid command name'],
) {
    is $d->say($case->[0]), $case->[1], $case->[0];
}
is harness('not_implemented 1')->dialogue->say('HELP mail'), '502 Not implemented.', 'not_implemented 1';
is harness('not_implemented 0')->dialogue->say('HELP'), "214 Try 'HELP COMMAND' for getting help on COMMAND", 'no directory: no texts';
is harness('help_dir texts', 'texts/data' => 'DATA')->dialogue->say('HELP data'), '214 DATA', 'help_dir';
is harness('data data.txt help_dir texts', 'texts/data.txt' => 'DATA')->dialogue->say('HELP data'), '214 DATA', '... wherever it stands';

for my $case (
    ['mail', qr/value/], ['mail nowhere', qr/help\/nowhere/], ['ma-il x', qr/no command/], ['not_implemented maybe', qr/maybe/],
    ['mail big', qr/too large/i, 'help/big' => 'x' x 8001], ['help_dir config/me', qr/config\/me/], ['mail config/', qr/config\//],
) {
    my ($arguments, $said, %file) = @$case;
    my ($status, $text) = harness($arguments, %file)->check;

    isnt $status, 0, "'$arguments' refuses the start";
    like $text, qr/plugins:1.*$said/, '... with file and line';
}
done_testing;
