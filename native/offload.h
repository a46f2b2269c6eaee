/*
 * Segmentation offload as pure functions over bytes: a superpacket is cut into packets, packets are coalesced into
 * superpackets. No descriptors and no system calls here, so it can be tested on its own.
 */
#ifndef PLAIT_OFFLOAD_H
#define PLAIT_OFFLOAD_H

#include "packet.h"

#include <sys/uio.h>

/* The header before each frame of a TUN device with IFF_VNET_HDR, in the machine's byte order (linux/virtio_net.h). */
typedef struct {
  uint8_t flags, gso_type;
  uint16_t header_bytes, segment_bytes, checksum_start, checksum_offset;
} VnetHeader;
_Static_assert(sizeof(VnetHeader) == 10, "the size announced by TUNSETVNETHDRSZ");
enum { VNET_NEEDS_CHECKSUM = 1 };
enum { VNET_GSO_NONE = 0, VNET_GSO_TCP4 = 1, VNET_GSO_TCP6 = 4, VNET_GSO_UDP = 5, VNET_GSO_ECN = 0x80 };

/* ---- cutting ---- */

/* A superpacket being cut: its headers, and how far it has got. The payload is the caller's to find. */
typedef struct {
  uint8_t header[HEADERS_BYTES_MAX];
  Headers headers;
  uint32_t segment_bytes; /* payload of each segment but the last */
  uint32_t payload_bytes; /* of all */
  uint32_t at;            /* payload already cut off */
  uint32_t index;         /* segments already cut off */
  uint64_t checksum;      /* pseudo-header sum without the length */
} Cut;

/* `bytes` is the length of the whole superpacket, of which at least the headers lie at `packet`. False: malformed. */
bool cut_begin(Cut *cut, const VnetHeader *vnet, const uint8_t *packet, size_t there, size_t bytes);
static inline bool cut_done(const Cut *cut) { return cut->at >= cut->payload_bytes; }
/* Payload of the next segment in bytes. */
static inline uint32_t cut_payload(const Cut *cut) {
  uint32_t rest = cut->payload_bytes - cut->at;
  return rest < cut->segment_bytes ? rest : cut->segment_bytes;
}
/* Writes the next segment's headers (cut->headers.payload bytes) and moves on. */
void cut_header(Cut *cut, uint8_t *out);

/*
 * For a frame that is one packet: true with *partial telling of its checksum. A partial checksum that a reader of
 * the packet alone could not find again is finished here. False: malformed.
 */
bool checksum_settle(const VnetHeader *vnet, uint8_t *packet, size_t bytes, bool *partial);

/* ---- coalescing ---- */

enum { COALESCE_GROUPS = 8, COALESCE_SEGMENTS = 128 };

/* Packets of one flow that can leave as one frame. */
typedef struct {
  uint32_t count;
  uint32_t done; /* members that the frame's writer has already dealt with */
  uint32_t tags[COALESCE_SEGMENTS];
  const uint8_t *packets[COALESCE_SEGMENTS];
  /* [0] is left for the frame's header, [1] is `header`, then each payload. */
  struct iovec vectors[COALESCE_SEGMENTS + 2];
  uint8_t header[IPV6_BYTES + 60];
  Headers headers;
  uint32_t bytes; /* of the whole frame without VnetHeader */
  uint32_t segment_bytes;
  uint32_t sequence; /* of the next TCP segment */
  bool partial;
  bool verified; /* the first packet's checksums were found right */
  bool id_fixed; /* all have the same IPv4 id */
} Group;

/* Writes a group's frame. False: it cannot be written now, `done` members were. */
typedef bool (*GroupWriter)(void *context, Group *group);

typedef struct {
  bool udp; /* UDP may be coalesced too */
  GroupWriter write;
  void *context;
  uint32_t open; /* groups in use */
  Group *order[COALESCE_GROUPS]; /* the first `open` are in use, oldest first */
  Group groups[COALESCE_GROUPS];
  Group alone; /* for a packet that leaves at once */
} Coalescer;

void coalescer_init(Coalescer *coalescer, bool udp, GroupWriter write, void *context);
/*
 * Takes one packet, known to the writer by `tag`. False: a frame could not be written now. Still to be written are
 * then the members from `done` on of the groups in use, and this packet if it is not among them. Only
 * coalescer_init may follow.
 */
bool coalescer_add(Coalescer *coalescer, const uint8_t *packet, size_t bytes, bool partial, uint32_t tag);
/* Writes what is still open, oldest first. False as above. */
bool coalescer_flush(Coalescer *coalescer);
/* Writes what is open but for runs of TCP segments, to which the next packets are likely to belong. False as above. */
bool coalescer_flush_ended(Coalescer *coalescer);
/* Fills in the headers of a group of two packets or more, and the header of its frame. */
void group_finish(Group *group, VnetHeader *vnet);
/* The header of a packet that leaves alone. False: it cannot be told where its partial checksum goes. */
bool single_header(const uint8_t *packet, size_t bytes, bool partial, VnetHeader *vnet);

#endif
