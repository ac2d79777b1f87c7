use strict;
use warnings;

use Test::More;

use Qpsmtpd::Test;

my $t = Qpsmtpd::Test->new(
    plugins => ['noop_counter 1'], config => {logging => 'logging/connection_id notice'});
my $d = $t->dialogue;
$d->say('NOOP');
$d->status;
my $log = $d->log;

like $log, qr/^(\w{11}) Connection from .*^\1 \(noop\) noop_counter: refused: /ms,
    'the lines of a connection begin with its id';
is_deeply [grep { !/^(?:\d+|\w{11}) ./ } split /\n/, $log], [], 'all lines have that form';
unlike $log, qr/running plugin/, 'lines above the level are not written';

my $s = $t->prefork;
$s->connect->quit;
$s->connect->quit;
$s->wait_log(qr/(?:Connection from .*){2}/s);
$s->stop;
my %ids = map { $_ => 1 } $s->log =~ /^(\w{11}) Connection from /mg;
is scalar(keys %ids), 2, 'two connections have two ids';

my ($status, $said) = Qpsmtpd::Test->new(plugins => [], config => {logging => 'logging/connection_id loud'})->check;
isnt $status, 0, 'a word that is no level refuses the start';
like $said, qr{config/logging:1: logging/connection_id: "loud" is no log level}, 'with file and line';

done_testing;
