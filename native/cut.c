/* Superpacket → packets, as the kernel's own segmentation would make them (tcp_gso_segment, __udp_gso_segment). */
#include "offload.h"

#include <arpa/inet.h>

bool cut_begin(Cut *cut, const VnetHeader *vnet, const uint8_t *packet, size_t there, size_t bytes) {
  Headers *h = &cut->headers;
  if (vnet->segment_bytes == 0 || bytes > 65535 + IPV6_BYTES) return false;
  if (!headers_parse(packet, there, bytes, h) || h->payload > HEADERS_BYTES_MAX || h->payload >= bytes) return false;
  int type = vnet->gso_type & ~VNET_GSO_ECN;
  int fitting = h->protocol == PROTOCOL_UDP ? VNET_GSO_UDP : h->version == 4 ? VNET_GSO_TCP4 : VNET_GSO_TCP6;
  if (type != fitting) return false;
  size_t ip_bytes = h->version == 4 ? read16(packet + 2) : IPV6_BYTES + (size_t)read16(packet + 4);
  if (ip_bytes != bytes) return false;
  uint32_t transport_bytes = (uint32_t)(bytes - h->transport);
  if (vnet->flags & VNET_NEEDS_CHECKSUM) {
    if (vnet->checksum_start != h->transport || vnet->checksum_start + vnet->checksum_offset != h->checksum)
      return false;
    /* Taking the length out of the sum that is there, rather than summing anew, holds with routing headers too. */
    uint16_t field;
    memcpy(&field, packet + h->checksum, 2);
    cut->checksum = (uint64_t)field + (uint16_t)~htons((uint16_t)transport_bytes);
  } else {
    /* Complete and verified by the kernel: from here on it is carried as partial. */
    cut->checksum = pseudo_sum(packet, h, 0);
  }
  memcpy(cut->header, packet, h->payload);
  cut->segment_bytes = vnet->segment_bytes;
  cut->payload_bytes = (uint32_t)bytes - h->payload;
  cut->at = cut->index = 0;
  return true;
}

void cut_header(Cut *cut, uint8_t *out) {
  const Headers *h = &cut->headers;
  uint32_t payload = cut_payload(cut);
  uint32_t bytes = h->payload + payload, transport_bytes = bytes - h->transport;
  uint8_t *transport = out + h->transport;
  memcpy(out, cut->header, h->payload);
  if (h->version == 4) {
    write16(out + 2, bytes);
    write16(out + 4, read16(cut->header + 4) + cut->index);
    ipv4_checksum_set(out, h->transport);
  } else {
    write16(out + 4, bytes - IPV6_BYTES);
  }
  if (h->protocol == PROTOCOL_TCP) {
    write32(transport + TCP_SEQUENCE, read32(transport + TCP_SEQUENCE) + cut->at);
    if (cut->at + payload < cut->payload_bytes) transport[TCP_FLAGS] &= (uint8_t) ~(TCP_FIN | TCP_PSH);
    if (cut->index > 0) transport[TCP_FLAGS] &= (uint8_t)~TCP_CWR;
  } else {
    write16(transport + UDP_LENGTH, transport_bytes);
  }
  checksum_store(out + h->checksum, checksum_fold(cut->checksum + htons((uint16_t)transport_bytes)));
  cut->at += payload;
  cut->index++;
}

bool checksum_settle(const VnetHeader *vnet, uint8_t *packet, size_t bytes, bool *partial) {
  *partial = false;
  if (!(vnet->flags & VNET_NEEDS_CHECKSUM)) return true;
  size_t start = vnet->checksum_start, at = start + vnet->checksum_offset;
  Headers h;
  if (headers_parse(packet, bytes, bytes, &h) && h.transport == start && h.checksum == at) {
    *partial = true;
    return true;
  }
  if (start >= bytes || at + 2 > bytes) return false;
  /* A checksum of something else, as of a tunnel within. Over all that follows, as the kernel would do it. */
  uint16_t sum = (uint16_t)~checksum_fold(checksum_add(packet + start, bytes - start, 0));
  checksum_store(packet + at, sum != 0 ? sum : 0xffff);
  return true;
}
