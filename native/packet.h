/* Just enough of IP, TCP and UDP headers for segmentation offload: where they are, and their checksums. */
#ifndef PLAIT_PACKET_H
#define PLAIT_PACKET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum { PROTOCOL_TCP = 6, PROTOCOL_UDP = 17 };
enum { IPV4_BYTES = 20, IPV6_BYTES = 40, TCP_BYTES = 20, UDP_BYTES = 8 };
/* IPv4 with options and TCP with options; IPv6 with extension headers is not cut beyond this. */
enum { HEADERS_BYTES_MAX = 256 };
enum {
  TCP_FIN = 0x01, TCP_SYN = 0x02, TCP_RST = 0x04, TCP_PSH = 0x08, TCP_URG = 0x20, TCP_CWR = 0x80,
};
/* Offsets within the transport header. */
enum { TCP_SEQUENCE = 4, TCP_ACK = 8, TCP_DATA_OFFSET = 12, TCP_FLAGS = 13, TCP_CHECKSUM = 16, UDP_LENGTH = 4,
       UDP_CHECKSUM = 6 };

static inline uint16_t read16(const uint8_t *p) { return (uint16_t)(p[0] << 8 | p[1]); }
static inline uint32_t read32(const uint8_t *p) {
  return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}
static inline void write16(uint8_t *p, uint32_t v) { p[0] = (uint8_t)(v >> 8), p[1] = (uint8_t)v; }
static inline void write32(uint8_t *p, uint32_t v) { write16(p, v >> 16), write16(p + 2, v); }

typedef struct {
  uint8_t version;       /* 4 or 6 */
  uint8_t protocol;      /* PROTOCOL_TCP or PROTOCOL_UDP */
  bool plain;            /* no IPv4 options, no IPv6 extension headers, IP and UDP lengths equal to the packet's */
  uint16_t transport;    /* offset of the TCP or UDP header */
  uint16_t payload;      /* offset of what is behind it */
  uint16_t checksum;     /* offset of the transport checksum */
} Headers;

/*
 * False unless the packet is TCP or UDP over IPv4 or IPv6, no fragment, with all of its headers among the first
 * `there` of its `bytes`.
 */
bool headers_parse(const uint8_t *packet, size_t there, size_t bytes, Headers *out);

/* One's complement sum of `bytes`, added to `sum`, in the byte order of memory; fold it before use. */
uint64_t checksum_add(const uint8_t *data, size_t bytes, uint64_t sum);
uint16_t checksum_fold(uint64_t sum);
/* Sum of the pseudo-header for a transport part of `bytes`. */
uint64_t pseudo_sum(const uint8_t *packet, const Headers *headers, uint32_t bytes);
/* Stores a sum (already folded, in memory order) at `at`. */
static inline void checksum_store(uint8_t *at, uint16_t folded) { memcpy(at, &folded, 2); }
/* Sets the header checksum of an IPv4 header of `bytes`. */
void ipv4_checksum_set(uint8_t *header, size_t bytes);
/* Whether the transport checksum is right: the finished one, or as partial one the pseudo-header's sum. */
bool checksum_valid(const uint8_t *packet, size_t bytes, const Headers *headers, bool partial);

#endif
