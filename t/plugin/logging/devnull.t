use strict;
use warnings;

use Test::More;

use Qpsmtpd::Test;

sub log_of {
    my (@logging) = @_;
    my $t = Qpsmtpd::Test->new(plugins => ['noop_counter 1'], config => {logging => \@logging});
    my $d = $t->dialogue;

    $d->say('NOOP');
    $d->status;
    return $d->log;
}

is log_of('logging/devnull'), '', 'nothing is logged';
like log_of('logging/devnull', 'logging/warn notice'), qr/refused: /, 'another logger gets the lines';

my ($status, $said) = Qpsmtpd::Test->new(plugins => [], config => {logging => 'logging/devnull x'})->check;
isnt $status, 0, 'an argument refuses the start';
like $said, qr{config/logging:1: logging/devnull: .*"x"}, 'with file and line';

done_testing;
