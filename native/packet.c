#include "packet.h"

#include <arpa/inet.h>

/* Walks the extension headers that may stand before TCP or UDP. 0: none of these, or cut short. */
static size_t ipv6_transport(const uint8_t *packet, size_t there, uint8_t *protocol) {
  enum { HOP_BY_HOP = 0, ROUTING = 43, DESTINATION = 60, EXTENSIONS_MAX = 8 };
  size_t at = IPV6_BYTES;
  uint8_t next = packet[6];
  for (int i = 0; i < EXTENSIONS_MAX; i++) {
    if (next != HOP_BY_HOP && next != ROUTING && next != DESTINATION) break;
    if (at + 8 > there) return 0;
    /* With segments left the pseudo-header has another destination than the IP header. */
    if (next == ROUTING && packet[at + 3] != 0) return 0;
    next = packet[at];
    at += 8 + 8 * (size_t)packet[at + 1];
  }
  *protocol = next;
  return at;
}

bool headers_parse(const uint8_t *packet, size_t there, size_t bytes, Headers *out) {
  size_t at, ip_length;
  if (there < IPV4_BYTES || there > bytes) return false;
  out->version = packet[0] >> 4;
  if (out->version == 4) {
    at = (size_t)(packet[0] & 15) * 4;
    if (at < IPV4_BYTES || (read16(packet + 6) & 0x3fff) != 0) return false;
    ip_length = read16(packet + 2);
    out->protocol = packet[9];
    out->plain = at == IPV4_BYTES;
  } else {
    if (out->version != 6 || there < IPV6_BYTES) return false;
    ip_length = IPV6_BYTES + (size_t)read16(packet + 4);
    if ((at = ipv6_transport(packet, there, &out->protocol)) == 0) return false;
    out->plain = at == IPV6_BYTES;
  }
  if (ip_length > bytes) return false;
  if (ip_length != bytes) out->plain = false;
  out->transport = (uint16_t)at;
  if (out->protocol == PROTOCOL_TCP) {
    if (at + TCP_BYTES > there) return false;
    size_t header = (size_t)(packet[at + TCP_DATA_OFFSET] >> 4) * 4;
    if (header < TCP_BYTES || at + header > there) return false;
    out->payload = (uint16_t)(at + header);
    out->checksum = (uint16_t)(at + TCP_CHECKSUM);
    return true;
  }
  if (out->protocol != PROTOCOL_UDP || at + UDP_BYTES > there) return false;
  if (read16(packet + at + UDP_LENGTH) != bytes - at) out->plain = false;
  out->payload = (uint16_t)(at + UDP_BYTES);
  out->checksum = (uint16_t)(at + UDP_CHECKSUM);
  return true;
}

uint64_t checksum_add(const uint8_t *data, size_t bytes, uint64_t sum) {
  /* The sum is the same in either byte order, so words are taken as they lie; four at a time keep the adders busy. */
  uint64_t a = sum, b = 0, c = 0, d = 0;
  uint32_t w[4];
  while (bytes >= sizeof w) {
    memcpy(w, data, sizeof w);
    a += w[0], b += w[1], c += w[2], d += w[3];
    data += sizeof w;
    bytes -= sizeof w;
  }
  a += b + c + d;
  while (bytes >= 2) {
    uint16_t half;
    memcpy(&half, data, 2);
    a += half;
    data += 2;
    bytes -= 2;
  }
  if (bytes != 0) {
    uint8_t last[2] = {*data, 0};
    uint16_t half;
    memcpy(&half, last, 2);
    a += half;
  }
  return a;
}

uint16_t checksum_fold(uint64_t sum) {
  sum = (sum & 0xffffffff) + (sum >> 32);
  sum = (sum & 0xffffffff) + (sum >> 32);
  sum = (sum & 0xffff) + (sum >> 16);
  sum = (sum & 0xffff) + (sum >> 16);
  return (uint16_t)sum;
}

uint64_t pseudo_sum(const uint8_t *packet, const Headers *headers, uint32_t bytes) {
  uint64_t sum = headers->version == 4 ? checksum_add(packet + 12, 8, 0) : checksum_add(packet + 8, 32, 0);
  return sum + htons(headers->protocol) + htons((uint16_t)bytes);
}

void ipv4_checksum_set(uint8_t *header, size_t bytes) {
  write16(header + 10, 0);
  checksum_store(header + 10, (uint16_t)~checksum_fold(checksum_add(header, bytes, 0)));
}

bool checksum_valid(const uint8_t *packet, size_t bytes, const Headers *headers, bool partial) {
  uint32_t transport_bytes = (uint32_t)(bytes - headers->transport);
  uint64_t pseudo = pseudo_sum(packet, headers, transport_bytes);
  if (!partial) return checksum_fold(checksum_add(packet + headers->transport, transport_bytes, pseudo)) == 0xffff;
  uint16_t field, sum = checksum_fold(pseudo);
  memcpy(&field, packet + headers->checksum, 2);
  /* 0 and 0xffff are the same number in one's complement. */
  return field == sum || (field == 0xffff && sum == 0);
}
