# Functions that this project does without: no bound, hidden state, a shell, or the stack.
use strict;
use warnings;

use File::Find;
use Test::More;

my $banned = join '|', qw(strcpy strcat sprintf vsprintf gets strtok atoi atol atof alloca system popen);

# code - the text with comments, strings and characters blanked, line ends kept
sub code {
    my ($text) = @_;

    $text =~ s{(/\*.*?\*/|//[^\n]*|"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')}
              {(my $blank = $1) =~ s/[^\n]/ /g; $blank}gse;
    return $text;
}

# The checker first: it must see a call, and no word elsewhere.
is code(qq{a("strcpy(\\"", '"', 1); // gets(\n/* atoi(\n */b}) =~ tr/ \n//dr, "a(,,1);b", 'words in text are no calls';

my @found;
find({no_chdir => 1, wanted => sub {
    return unless /\.[ch]\z/;
    open my $fh, '<', $_ or die "$_: $!";
    local $/;
    my $n = 0;
    for my $line (split /\n/, code(scalar <$fh>)) {
        $n++;
        push @found, "$_:$n: $1" while $line =~ /(?<![\w.])(?<!->)($banned)\s*\(/g;
    }
}}, grep { -d } qw(src include plugins t));
is join("\n", sort @found), '', "no $banned";
done_testing;
