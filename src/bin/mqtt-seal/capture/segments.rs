//! The TCP segments of a capture file, pcap or pcapng, in its order. Knows no stream.

use core::fmt;
use core::net::{IpAddr, SocketAddr};
use std::io::Cursor;

use etherparse::{EtherType, LaxNetSlice, LaxSlicedPacket, TransportSlice};
use pcap_parser::pcapng::Block;
use pcap_parser::{Linktype, PcapBlockOwned, PcapError, create_reader};

use crate::fault::Fault;

/// Bytes that the reader holds, and so the longest block: twice the 256 KiB that libpcap takes of a
/// packet at most (`MAXIMUM_SNAPLEN`).
const READER_BYTES: usize = 512 << 10;

/// The first four bytes of a capture file: pcap in both byte orders, with micro- or nanoseconds,
/// and pcapng.
const MAGIC: [[u8; 4]; 5] = [
    [0xA1, 0xB2, 0xC3, 0xD4],
    [0xD4, 0xC3, 0xB2, 0xA1],
    [0xA1, 0xB2, 0x3C, 0x4D],
    [0x4D, 0x3C, 0xB2, 0xA1],
    [0x0A, 0x0D, 0x0D, 0x0A],
];

/// Whether `bytes` begin as a capture file does. No sealed payload does.
pub(crate) fn is_capture(bytes: &[u8]) -> bool {
    bytes.first_chunk().is_some_and(|magic| MAGIC.contains(magic))
}

/// One direction of a TCP connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Direction {
    pub(super) from: SocketAddr,
    pub(super) to: SocketAddr,
}

impl Direction {
    pub(super) const fn back(self) -> Self {
        Self { from: self.to, to: self.from }
    }
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} -> {}", self.from, self.to)
    }
}

/// A TCP segment, as far as a stream needs it.
#[derive(Debug)]
pub(super) struct Segment<'a> {
    pub(super) direction: Direction,
    pub(super) number: u32,
    /// Whether a connection begins here: its first byte has the number after this one.
    pub(super) syn: bool,
    pub(super) data: &'a [u8],
}

/// Gives each TCP segment to `take`.
pub(super) fn each(
    capture: &[u8],
    mut take: impl FnMut(&Segment<'_>) -> Result<(), Fault>,
) -> Result<(), Fault> {
    let mut reader = create_reader(READER_BYTES, Cursor::new(capture)).map_err(|_| broken())?;
    let mut interfaces = Vec::new();
    loop {
        match reader.next() {
            Ok((len, block)) => {
                if let Some((link, packet)) = packet(&block, &mut interfaces)
                    && let Some(segment) = segment(link, packet)
                {
                    take(&segment)?;
                }
                reader.consume(len);
                continue;
            }
            Err(PcapError::Eof) => return Ok(()),
            Err(PcapError::Incomplete(_)) => {}
            Err(_) => return Err(broken()),
        }
        if reader.reader_exhausted() {
            return Err(broken());
        }
        reader.refill().map_err(|_| broken())?;
    }
}

fn broken() -> Fault {
    Fault::new("the capture is cut short or damaged", "capture it again, with dumpcap or tcpdump")
}

/// The packet of a block, and the link layer of what captured it.
fn packet<'a>(
    block: &PcapBlockOwned<'a>,
    interfaces: &mut Vec<Linktype>,
) -> Option<(Linktype, &'a [u8])> {
    match block {
        PcapBlockOwned::LegacyHeader(header) => *interfaces = vec![header.network],
        PcapBlockOwned::Legacy(packet) => return Some((*interfaces.first()?, packet.data)),
        PcapBlockOwned::NG(Block::SectionHeader(_)) => interfaces.clear(),
        PcapBlockOwned::NG(Block::InterfaceDescription(interface)) => {
            interfaces.push(interface.linktype);
        }
        PcapBlockOwned::NG(Block::EnhancedPacket(packet)) => {
            let link = interfaces.get(usize::try_from(packet.if_id).ok()?)?;
            // the rest is padding
            return Some((*link, packet.data.get(..usize::try_from(packet.caplen).ok()?)?));
        }
        PcapBlockOwned::NG(Block::SimplePacket(packet)) => {
            return Some((*interfaces.first()?, packet.data));
        }
        PcapBlockOwned::NG(_) => {}
    }
    None
}

fn segment(link: Linktype, packet: &[u8]) -> Option<Segment<'_>> {
    let sliced = match link {
        Linktype::ETHERNET => LaxSlicedPacket::from_ethernet(packet).ok()?,
        Linktype::RAW | Linktype::IPV4 | Linktype::IPV6 => LaxSlicedPacket::from_ip(packet).ok()?,
        // four bytes name the address family
        Linktype::NULL | Linktype::LOOP => LaxSlicedPacket::from_ip(packet.get(4..)?).ok()?,
        // the protocol stands at the end of the header of 16 bytes, or at the start of that of 20
        Linktype::LINUX_SLL => by_ether_type(packet, 14, 16)?,
        Linktype::LINUX_SLL2 => by_ether_type(packet, 0, 20)?,
        _ => return None,
    };
    let (from, to, fragment) = match sliced.net? {
        LaxNetSlice::Ipv4(ip) => {
            let (header, fragment) = (ip.header(), ip.is_payload_fragmented());
            (IpAddr::V4(header.source_addr()), IpAddr::V4(header.destination_addr()), fragment)
        }
        LaxNetSlice::Ipv6(ip) => {
            let (header, fragment) = (ip.header(), ip.is_payload_fragmented());
            (IpAddr::V6(header.source_addr()), IpAddr::V6(header.destination_addr()), fragment)
        }
        LaxNetSlice::Arp(_) => return None,
    };
    let Some(TransportSlice::Tcp(tcp)) = sliced.transport.filter(|_| !fragment) else {
        return None;
    };
    let from = SocketAddr::new(from, tcp.source_port());
    let to = SocketAddr::new(to, tcp.destination_port());
    Some(Segment {
        direction: Direction { from, to },
        number: tcp.sequence_number(),
        syn: tcp.syn(),
        data: tcp.payload(),
    })
}

fn by_ether_type(packet: &[u8], at: usize, header: usize) -> Option<LaxSlicedPacket<'_>> {
    let (ether_type, _) = packet.get(at..)?.split_first_chunk()?;
    let ether_type = EtherType(u16::from_be_bytes(*ether_type));
    Some(LaxSlicedPacket::from_ether_type(ether_type, packet.get(header..)?))
}
