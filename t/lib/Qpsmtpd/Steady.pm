package Qpsmtpd::Steady;

=head1 NAME

Qpsmtpd::Steady - many sessions leave the process that serves as it was

=head1 SYNOPSIS

    use Qpsmtpd::Steady;

    steady('failures', $t, 10000, {535 => 10000}, sub {
        my ($server, $n) = @_;
        ...                            # so many of them; gives what came of it
        return \%code;
    });

=head1 DESCRIPTION

steady(NAME, TEST, N, RESULT, CODE, ARGUMENT, ...) starts qpsmtpd-prefork with one child, and with these
arguments, has CODE done some hundred times first and N times then, and tests: RESULT comes of the second
time; the child is still the same process, with the descriptors and the memory that it had, and without
children; the server ends well.

=cut

use strict;
use warnings;

use Exporter qw(import);
use Test::More;
use Time::HiRes qw(time);
use Qpsmtpd::Test qw(sanitized slurp wait_for);

our @EXPORT = qw(steady);

sub steady {
    my ($name, $t, $n, $result, $code, @args) = @_;
    my $server = $t->prefork(qw(--children 1 --idle-children 1 --child-lifetime 0), @args);
    my ($child) = wait_for(sub { ($server->children)[0] }, 20, 'a child');
    my $descriptors = sub { return join ' ', map { readlink || () } sort glob "/proc/$child/fd/*" };
    my $memory = sub { return slurp("/proc/$child/status") =~ /^VmRSS:\s+(\d+)/m ? $1 : 0 };

    $server->connect->quit;
    # The listener counts its child when that is ready: it is idle then.
    my $open = wait_for(sub { my $o = $descriptors->(); select undef, undef, undef, 0.2; $o eq $descriptors->() && $o }, 20, 'rest');
    $code->($server, $n / 5 < 200 ? $n / 5 : 200);
    my ($before, $begin) = ($memory->(), time);
    is_deeply $code->($server, $n), $result, "$name: $n end as they should";
    note sprintf '%.1f ms for one', 1000 * (time - $begin) / $n;
    ok eval { wait_for(sub { $descriptors->() eq $open }, 20, 'the same descriptors'); 1 }, "$name: no descriptor stays"
        or diag "$open\n" . $descriptors->();
    is_deeply [$server->children], [$child], "$name: it is still the same process";
    SKIP: {
        skip 'sanitizers keep what was freed', 1 if sanitized();
        cmp_ok $memory->(), '<=', $before + 256, "$name: and has as much memory, in KiB (it had $before)";
    }
    is_deeply [map { /^Name:\s+(\S+)/m } map { slurp($_) || () } map { "/proc/$_/status" }
            Qpsmtpd::Test::Process::processes(sub { $_[0]{parent} == $child })], [], "$name: it has no children of its own";
    is $server->stop, 0, "$name: it ends well";
    unlike $server->log, qr/ERROR: \w+Sanitizer|runtime error:/, "$name: sanitizers find nothing";
}

1;
