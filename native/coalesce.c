/*
 * Packets → superpackets, by the rules of the kernel's GRO (inet_gro_receive, ipv6_gro_receive, tcp_gro_receive,
 * udp_gro_receive): only what it would merge is merged, so that nobody behind us sees a stream he would not see on a
 * fast network card. Packets of one flow never overtake each other: whatever cannot join its flow's group sends the
 * group off first.
 */
#include "offload.h"

enum { FRAME_BYTES_MAX = 65535, UDP_SEGMENTS_MAX = 64, IPV4_DF = 0x40 };

void coalescer_init(Coalescer *coalescer, bool udp, GroupWriter write, void *context) {
  coalescer->udp = udp;
  coalescer->write = write;
  coalescer->context = context;
  coalescer->open = 0;
  for (int i = 0; i < COALESCE_GROUPS; i++) coalescer->order[i] = &coalescer->groups[i];
}

/* Writes the group at `place` of the order and frees it. */
static bool group_write(Coalescer *coalescer, uint32_t place) {
  Group *group = coalescer->order[place];
  if (!coalescer->write(coalescer->context, group)) return false;
  coalescer->open--;
  for (uint32_t i = place; i < coalescer->open; i++) coalescer->order[i] = coalescer->order[i + 1];
  coalescer->order[coalescer->open] = group;
  return true;
}

bool coalescer_flush(Coalescer *coalescer) {
  while (coalescer->open > 0)
    if (!group_write(coalescer, 0)) return false;
  return true;
}

bool coalescer_flush_ended(Coalescer *coalescer) {
  for (uint32_t place = 0; place < coalescer->open;) {
    const Group *group = coalescer->order[place];
    if (group->headers.protocol == PROTOCOL_TCP && group->count > 1) place++;
    else if (!group_write(coalescer, place)) return false;
  }
  return true;
}

static void group_begin(Group *group, const uint8_t *packet, size_t bytes, bool partial, uint32_t tag) {
  group->count = 1;
  group->done = 0;
  group->tags[0] = tag;
  group->packets[0] = packet;
  group->bytes = (uint32_t)bytes;
  group->partial = partial;
}

/* A group of one, written at once. */
static bool write_alone(Coalescer *coalescer, const uint8_t *packet, size_t bytes, bool partial, uint32_t tag) {
  group_begin(&coalescer->alone, packet, bytes, partial, tag);
  return coalescer->write(coalescer->context, &coalescer->alone);
}

/* Same protocol, addresses and ports. */
static bool same_flow(const Group *group, const uint8_t *packet, const Headers *h) {
  const uint8_t *first = group->packets[0];
  if (group->headers.version != h->version || group->headers.protocol != h->protocol) return false;
  if (memcmp(first + group->headers.transport, packet + h->transport, 4) != 0) return false;
  return h->version == 4 ? memcmp(first + 12, packet + 12, 8) == 0 : memcmp(first + 8, packet + 8, 32) == 0;
}

/* Whether the packet may be merged with anything at all. */
static bool candidate(const Coalescer *coalescer, const uint8_t *packet, size_t bytes, bool partial, const Headers *h) {
  if (!h->plain || h->payload >= bytes) return false;
  const uint8_t *transport = packet + h->transport;
  if (h->protocol == PROTOCOL_TCP) return (transport[TCP_FLAGS] & (TCP_SYN | TCP_RST | TCP_URG | TCP_CWR)) == 0;
  return coalescer->udp && (partial || read16(transport + UDP_CHECKSUM) != 0);
}

/* Nothing wrong may become right by being merged: our own sums replace those that are there. */
static bool checksums_valid(const uint8_t *packet, size_t bytes, bool partial, const Headers *h) {
  if (h->version == 4 && checksum_fold(checksum_add(packet, IPV4_BYTES, 0)) != 0xffff) return false;
  return checksum_valid(packet, bytes, h, partial);
}

/* The kernel takes ids that count up, or, where fragments are forbidden, one fixed id. */
static bool ipv4_joins(const Group *group, const uint8_t *packet, bool *id_fixed) {
  const uint8_t *first = group->packets[0];
  if (first[1] != packet[1] || first[8] != packet[8] || first[6] != packet[6]) return false;
  uint16_t id = read16(packet + 4), id_first = read16(first + 4);
  bool counts = id == (uint16_t)(id_first + group->count);
  bool fixed = (packet[6] & IPV4_DF) != 0 && id == id_first;
  if (group->count > 1) return group->id_fixed ? fixed : counts;
  *id_fixed = !counts && fixed;
  return counts || fixed;
}

static bool ipv6_joins(const Group *group, const uint8_t *packet) {
  const uint8_t *first = group->packets[0];
  return memcmp(first, packet, 4) == 0 && first[7] == packet[7];
}

static bool tcp_joins(const Group *group, const uint8_t *packet, const Headers *h) {
  const uint8_t *a = group->packets[0] + group->headers.transport, *b = packet + h->transport;
  const uint8_t ends = TCP_FIN | TCP_PSH;
  size_t header = (size_t)(h->payload - h->transport);
  return read32(b + TCP_SEQUENCE) == group->sequence && memcmp(a + TCP_ACK, b + TCP_ACK, 5) == 0 &&
         ((a[TCP_FLAGS] ^ b[TCP_FLAGS]) & ~ends) == 0 &&
         memcmp(a + 14, b + 14, 2) == 0 /* window */ && memcmp(a + 18, b + 18, header - 18) == 0 /* urgent, options */;
}

static bool joins(Group *group, const uint8_t *packet, size_t bytes, bool partial, const Headers *h) {
  uint32_t payload = (uint32_t)bytes - h->payload;
  uint32_t limit = h->protocol == PROTOCOL_UDP ? UDP_SEGMENTS_MAX : COALESCE_SEGMENTS;
  bool id_fixed = group->id_fixed;
  if (group->partial != partial || group->headers.payload != h->payload || payload > group->segment_bytes ||
      group->count == limit || group->bytes + payload > FRAME_BYTES_MAX)
    return false;
  if (h->version == 4 ? !ipv4_joins(group, packet, &id_fixed) : !ipv6_joins(group, packet)) return false;
  if (h->protocol == PROTOCOL_TCP && !tcp_joins(group, packet, h)) return false;
  if (!group->verified &&
      !checksums_valid(group->packets[0], group->headers.payload + (size_t)group->segment_bytes, partial, h))
    return false;
  group->verified = true;
  if (!checksums_valid(packet, bytes, partial, h)) return false;
  group->id_fixed = id_fixed;
  return true;
}

static void group_open(Coalescer *coalescer, const uint8_t *packet, size_t bytes, bool partial, const Headers *h,
                       uint32_t tag) {
  Group *group = coalescer->order[coalescer->open++];
  group_begin(group, packet, bytes, partial, tag);
  group->headers = *h;
  group->segment_bytes = (uint32_t)bytes - h->payload;
  group->verified = group->id_fixed = false;
  if (h->protocol == PROTOCOL_TCP) group->sequence = read32(packet + h->transport + TCP_SEQUENCE) + group->segment_bytes;
  group->vectors[2] = (struct iovec){(uint8_t *)packet + h->payload, group->segment_bytes};
}

bool coalescer_add(Coalescer *coalescer, const uint8_t *packet, size_t bytes, bool partial, uint32_t tag) {
  Headers h;
  if (!headers_parse(packet, bytes, bytes, &h)) {
    /* A fragment or an unknown protocol: it may belong to any flow. */
    return coalescer_flush(coalescer) && write_alone(coalescer, packet, bytes, partial, tag);
  }
  uint32_t place = 0;
  while (place < coalescer->open && !same_flow(coalescer->order[place], packet, &h)) place++;
  bool may_merge = candidate(coalescer, packet, bytes, partial, &h);
  bool ends = h.protocol == PROTOCOL_TCP && (packet[h.transport + TCP_FLAGS] & (TCP_FIN | TCP_PSH)) != 0;
  if (place < coalescer->open) {
    Group *group = coalescer->order[place];
    if (may_merge && joins(group, packet, bytes, partial, &h)) {
      uint32_t payload = (uint32_t)bytes - h.payload;
      group->tags[group->count] = tag;
      group->packets[group->count] = packet;
      group->vectors[group->count + 2] = (struct iovec){(uint8_t *)packet + h.payload, payload};
      group->count++;
      group->bytes += payload;
      group->sequence += payload;
      return ends || payload < group->segment_bytes ? group_write(coalescer, place) : true;
    }
    if (!group_write(coalescer, place)) return false;
  }
  if (!may_merge || ends) return write_alone(coalescer, packet, bytes, partial, tag);
  if (coalescer->open == COALESCE_GROUPS && !group_write(coalescer, 0)) return false;
  group_open(coalescer, packet, bytes, partial, &h, tag);
  return true;
}

void group_finish(Group *group, VnetHeader *vnet) {
  const Headers *h = &group->headers;
  const uint8_t *last = group->packets[group->count - 1];
  uint8_t *header = group->header, *transport = header + h->transport;
  memcpy(header, group->packets[0], h->payload);
  if (h->version == 4) {
    write16(header + 2, group->bytes);
    ipv4_checksum_set(header, IPV4_BYTES);
  } else {
    write16(header + 4, group->bytes - IPV6_BYTES);
  }
  if (h->protocol == PROTOCOL_TCP) transport[TCP_FLAGS] |= last[h->transport + TCP_FLAGS] & (TCP_FIN | TCP_PSH);
  else write16(transport + UDP_LENGTH, group->bytes - h->transport);
  checksum_store(header + h->checksum, checksum_fold(pseudo_sum(header, h, group->bytes - h->transport)));
  *vnet = (VnetHeader){
      .flags = VNET_NEEDS_CHECKSUM,
      .gso_type = h->protocol == PROTOCOL_UDP ? VNET_GSO_UDP : h->version == 4 ? VNET_GSO_TCP4 : VNET_GSO_TCP6,
      .header_bytes = h->payload,
      .segment_bytes = (uint16_t)group->segment_bytes,
      .checksum_start = h->transport,
      .checksum_offset = (uint16_t)(h->checksum - h->transport),
  };
  group->vectors[0] = (struct iovec){vnet, sizeof *vnet};
  group->vectors[1] = (struct iovec){header, h->payload};
}

bool single_header(const uint8_t *packet, size_t bytes, bool partial, VnetHeader *vnet) {
  memset(vnet, 0, sizeof *vnet);
  if (!partial) return true;
  Headers h;
  if (!headers_parse(packet, bytes, bytes, &h)) return false;
  vnet->flags = VNET_NEEDS_CHECKSUM;
  /* All of it: the kernel then takes one linear buffer, where the headers alone would cost it a page besides. */
  vnet->header_bytes = (uint16_t)bytes;
  vnet->checksum_start = h.transport;
  vnet->checksum_offset = (uint16_t)(h.checksum - h.transport);
  return true;
}
