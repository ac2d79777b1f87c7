use strict;
use warnings;

use Test::More;

use Qpsmtpd::Test qw(slurp wait_for);

sub test_with {
    my (@logging) = @_;

    return Qpsmtpd::Test->new(plugins => ['noop_counter 1'], config => {logging => \@logging});
}

# One connection with one refusal; what stands on standard error.
sub refusal {
    my ($t) = @_;
    my $d = $t->dialogue;

    $d->say('NOOP');
    $d->status;
    return $d->log;
}

my $LINE = qr/^\w{3} \w{3} \d\d \d\d:\d\d:\d\d \d{4} \S+\[\d+\]: \w{11} \(noop\) noop_counter: refused: /m;

{
    my $t = test_with('logging/file loglevel notice log/mail');
    my $file = $t->dir . '/log/mail';

    my ($status, $said) = $t->check;
    isnt $status, 0, 'a directory that does not exist refuses the start';
    like $said, qr{config/logging:1: logging/file: cannot create files in log: No such file}, 'and is named';
    $t->file('log/other', '');
    is(($t->check)[0], 0, 'with the directory it starts');
    ok !-e $file, 'checking creates no file';
    is refusal($t), '', 'nothing goes to standard error';
    my $log = slurp($file);
    like $log, $LINE, 'a line has time, host, process, session, hook, plugin, text';
    unlike $log, qr/running plugin/, 'lines above the level are not written';
    is sprintf('%o', (stat $file)[2] & 07777), '600', 'mode 0600';
    refusal($t);
    like slurp($file), qr/^\Q$log\E./s, 'the next connection appends';
}

{
    my $t = test_with('logging/file loglevel 5 tsformat @%Y mail.%Y.%i');
    refusal($t) for 1, 2;
    my $year = 1900 + (gmtime)[5];
    my @files = glob $t->dir . "/mail.$year.???????????";
    is scalar(@files), 2, 'the name may hold the time and the id of the connection';
    my ($id) = $files[0] =~ /(\w{11})$/;
    like slurp($files[0]), qr/^\@$year \S+\[\d+\]: $id \(noop\) /m, 'and the time is as asked for';
    my $parent = slurp($t->dir . "/mail.$year.parent") || '';
    unlike $parent, qr/\]: \w{11} /, 'the file "parent" has no line of a connection';
}

{
    my $t = test_with('logging/file loglevel notice reopen mail', 'logging/file:1 loglevel notice kept');
    my $s = $t->prefork('--children', 1, '--idle-children', 1);
    my $begin = sub { my $d = $s->connect; $d->say('NOOP'); $d->eof };
    my $lines = sub { scalar(() = (slurp($t->dir . "/$_[0]") || '') =~ /$LINE/g) };
    $begin->();
    is $lines->('mail') . $lines->('kept'), '11', 'two instances, two files';
    rename $t->dir . "/$_", $t->dir . "/$_.old" for qw(mail kept);
    $begin->();
    is $lines->('mail'), 1, 'with reopen the next connection begins a new file';
    is $lines->('kept.old'), 2, 'without it goes on in the renamed one';
    $s->hup;
    wait_for(sub { $begin->(); $lines->('kept') }, 20, 'a new file after SIGHUP');
    pass 'until SIGHUP';
    is $s->stop, 0, 'it ends well';
}

SKIP: {
    skip 'no /dev/full', 2 unless -c '/dev/full' && -w _;
    my $log = refusal(test_with('logging/file loglevel notice /dev/full'));
    like $log, qr{^\d+ - logging/file: cannot write, .*path=/dev/full error="No space left}m,
        'a full disk is told on standard error';
    like $log, $LINE, 'and the lines go there';
}

{
    my $t = test_with('logging/file loglevel notice %S/mail');
    mkdir sprintf '%s/%02d', $t->dir, $_ for 0 .. 59;
    is(($t->check)[0], 0, 'directories of a name with conversions exist now');
    my $d = $t->dialogue;
    system 'rm', '-r', map { sprintf '%s/%02d', $t->dir, $_ } 0 .. 59;
    sleep 1; # until the name changes
    $d->say('NOOP');
    $d->status;
    like $d->log, $LINE, 'a directory that vanishes loses no line';
}

# ---- a program ----

my $cat = '#!/bin/sh
echo "start $$ $*" >>starts
exec cat >>out.$$
';

sub program {
    my ($t, $name, $text) = @_;

    my $path = $t->file($name, $text);
    chmod 0755, $path;
    return $path;
}

sub outputs {
    my ($t) = @_;

    return join '', map { slurp($_) } glob $t->dir . '/out.*';
}

{
    my $t = test_with();
    my $path = program($t, 'cat', $cat);
    $t->config(logging => "logging/file loglevel notice |$path a|b \$HOME");
    is refusal($t), '', 'a program takes the lines';
    wait_for(sub { outputs($t) =~ $LINE }, 10, 'the line');
    pass 'all of them';
    like slurp($t->dir . '/starts'), qr/^start \d+ a\|b \$HOME$/m, 'its words see no shell';

    unlink $t->dir . '/starts', glob $t->dir . '/out.*';
    my $s = $t->prefork('--children', 1, '--idle-children', 1);
    my $talk = sub { my $d = $s->connect; $d->say('NOOP'); $d->eof };
    $talk->();
    wait_for(sub { outputs($t) =~ $LINE }, 10, 'a line');
    my @pids = slurp($t->dir . '/starts') =~ /^start (\d+)/mg;
    sleep 3; # dying younger counts as not working
    kill KILL => @pids;
    wait_for(sub { !grep { kill 0, $_ and slurp("/proc/$_/stat") !~ /\) Z / } @pids }, 10, 'its death');
    $talk->();
    wait_for(sub { slurp($t->dir . '/starts') =~ /(?:start \d+.*){2}/s }, 10, 'another start');
    wait_for(sub { 1 < grep { slurp($_) =~ $LINE } glob $t->dir . '/out.*' }, 10, 'lines in the new one');
    pass 'a program that was killed is started again';
    is $s->stop, 0, 'and it ends with the server';
}

{
    my $t = test_with();
    $t->config(logging => 'logging/file loglevel notice |' . program($t, 'false', "#!/bin/sh\nexec 0<&-\nexit 1\n"));
    my $s = $t->prefork('--children', 1, '--idle-children', 1);
    for (1 .. 4) {
        my $d = $s->connect;
        $d->say('NOOP');
        is $d->code, 500, "the server does not care (connection $_)";
        $d->eof;
        select undef, undef, undef, 0.2;
    }
    $s->wait_log(qr{logging/file: cannot write, .*/false error="Broken pipe"});
    like $s->log, $LINE, 'a program that ends at once: the lines go to standard error';
    $s->stop;
}

{
    my $t = test_with();
    my $path = program($t, 'sleeper', "#!/bin/sh\nexec sleep 600\n");
    $t->config(logging => "logging/file loglevel debug |$path");
    my $d = $t->dialogue;
    my $begin = time;
    $d->say('HELP ' . 'x' x 1000) for 1 .. 60;
    is $d->code, 214, 'a program that does not read does not stop the server';
    cmp_ok time - $begin, '<', 10 * ($ENV{TEST_SLOW} || 1), 'nor make it wait with each line';
    like $d->log, qr{logging/file: cannot write, .*error="Resource temporarily unavailable"},
        'it is told on standard error';
    $d->status;
}

for (
    ['', qr/needs the path of a file/],
    ['loglevel loud mail', qr/"loud" is no log level/],
    ['reopne mail/x', qr/cannot create files in reopne mail: /],
    ['/dev/null/x', qr{cannot append to /dev/null/x: Not a directory}],
    ['|', qr/absolute path/],
    ['|cat', qr/absolute path/],
    ['|/no/such/program', qr{cannot run /no/such/program: No such file}],
    ['reopen |/bin/cat', qr/reopen and nosplit are for files/],
    ['x' x 5000, qr/too long/],
) {
    my ($args, $reason) = @$_;
    my ($status, $said) = test_with("logging/file $args")->check;
    isnt $status, 0, substr("logging/file $args", 0, 40) . ': no start';
    like $said, qr{config/logging:1: logging/file: .*$reason}, 'with file, line and reason';
}

done_testing;
