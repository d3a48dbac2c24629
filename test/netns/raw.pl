# What Node has no sockets for. raw.pl icmp ADDRESS: one echo. raw.pl packet IFACE MAC FROM TO: a UDP datagram to port 443 past the packet filter.
use strict; use warnings; use Socket qw(:all);
my ($what, @args) = @ARGV;
sub told { print shift; exit 0 }
if ($what eq 'icmp') {
  my $six = $args[0] =~ /:/;
  socket(my $s, $six ? PF_INET6 : PF_INET, SOCK_DGRAM, $six ? 58 : 1) or told("refused $!");
  my $to = $six ? pack_sockaddr_in6(0, inet_pton(AF_INET6, $args[0])) : pack_sockaddr_in(0, inet_aton($args[0]));
  connect($s, $to) or told("refused $!");
  my $answered = 0;
  for (1 .. 20) {
    defined send($s, pack('CCnnn', $six ? 128 : 8, 0, 0, 0, 1) . 'data', 0) or told("refused $!");
    my $bits = ''; vec($bits, fileno($s), 1) = 1;
    last if $answered = select($bits, undef, undef, 1);
  }
  $answered or told('silent');
  defined recv($s, my $back, 100, 0) or told("refused $!");
  told('reached');
}
my ($iface, $mac, $from, $to) = @args;
socket(my $s, 17, SOCK_DGRAM, unpack('n', pack('S', 0x0800))) or told("refused $!");
open(my $f, '<', "/sys/class/net/$iface/ifindex") or told("refused $!"); my $index = <$f>;
my $udp = pack('nnnn', 4433, 443, 14, 0) . 'packet';
my $head = pack('CCnnnCCna4a4', 0x45, 0, 20 + length $udp, 1, 0, 64, 17, 0, inet_aton($from), inet_aton($to));
my $sum = 0; $sum += $_ for unpack('n*', $head); $sum = ($sum & 0xffff) + ($sum >> 16) while $sum >> 16;
substr($head, 10, 2) = pack('n', ~$sum & 0xffff);
my $address = pack('SniSCC', 17, 0x0800, $index, 0, 0, 6) . pack('H12', $mac =~ s/://gr) . "\0\0";
defined send($s, $head . $udp, 0, $address) or told("refused $!");
told('sent');
