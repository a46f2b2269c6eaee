/*
 * The TUN device. A read brings up to 64 KiB of one flow, cut here into slots; a write takes slots and joins them to
 * such superpackets again. Checksums are carried as a flag and not computed.
 */
#include "offload.h"
#include "addon.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#ifndef TUN_F_USO4
#define TUN_F_USO4 0x20
#define TUN_F_USO6 0x40
#endif

enum {
  FLAG_CHECKSUM_PARTIAL = 1,
  /* The largest IPv6 packet, and some more so that a larger one is noticed. */
  FRAME_BYTES = 65536 + 512,
  READ_VECTORS = 130,
};

typedef struct {
  Handle handle;
  int fd; /* -1: closed */
  bool offload, udp_offload;
  double read_packets, read_frames, written_packets, written_frames, refused, malformed, too_big;
  int last_errno;
  /* For tests: after so many writes, so many fail with this errno. */
  int fault_errno;
  uint32_t fault_after, fault_times;

  /* Reading. A frame is expected to look like the last superpacket, so that its segments land in their slots. */
  uint32_t guess_header, guess_segment; /* 0: no guess */
  Cut cut;
  const uint8_t *cut_payload; /* what is left of the superpacket being cut; NULL: none */
  uint8_t whole[FRAME_BYTES]; /* a frame in one piece */
  uint8_t rest[FRAME_BYTES];  /* of a frame read into slots, what went beyond them */

  Coalescer coalescer;
} Tun;

/* The packets of one call: slots of a slab. */
typedef struct {
  Bytes slab, flags;
  Words slots;
  Halves lengths;
  uint32_t slot_bytes, headroom, capacity;
} Slots;

static uint8_t *slot_packet(const Slots *s, uint32_t slot) {
  return s->slab.data + (size_t)slot * s->slot_bytes + s->headroom;
}

static void tun_finalize(napi_env env, void *data, void *hint) {
  (void)env, (void)hint;
  Tun *tun = data;
  if (tun->fd >= 0) close(tun->fd);
  free(tun);
}

static Tun *arg_tun(napi_env env, napi_value value) {
  Tun *tun = arg_handle(env, value, HANDLE_TUN, "tun");
  if (tun == NULL || tun->fd >= 0) return tun;
  throw_range(env, "the tun is closed");
  return NULL;
}

/* argv: slab, slotBytes, headroom, slots. */
static bool slots_get(napi_env env, napi_value *argv, napi_value lengths, napi_value flags, Slots *s) {
  if (!arg_bytes(env, argv[0], "slab", &s->slab) || !arg_uint32(env, argv[1], "slotBytes", &s->slot_bytes) ||
      !arg_uint32(env, argv[2], "headroom", &s->headroom) || !arg_words(env, argv[3], "slots", &s->slots) ||
      !arg_halves(env, lengths, "lengths", &s->lengths) || !arg_bytes(env, flags, "flags", &s->flags))
    return false;
  if (s->slot_bytes == 0 || s->slot_bytes > 65536 || s->headroom >= s->slot_bytes) {
    throw_range(env, "a slot of %u bytes with headroom %u", s->slot_bytes, s->headroom);
    return false;
  }
  s->capacity = s->slot_bytes - s->headroom;
  if (s->capacity > 65535) s->capacity = 65535;
  return true;
}

/* Each of slots[from..from + count) must exist; when writing, its length must fit too. */
static bool slots_check(napi_env env, const Slots *s, uint32_t from, uint32_t count, bool writing) {
  if ((uint64_t)from + count > s->slots.length) {
    throw_range(env, "slots %u to %llu of %zu", from, (unsigned long long)from + count, s->slots.length);
    return false;
  }
  size_t slot_count = s->slab.length / s->slot_bytes;
  if (slot_count > s->lengths.length) slot_count = s->lengths.length;
  if (slot_count > s->flags.length) slot_count = s->flags.length;
  for (uint32_t i = from; i < from + count; i++) {
    uint32_t slot = s->slots.data[i];
    if (slot >= slot_count || (writing && s->lengths.data[slot] > s->capacity)) {
      throw_range(env, "slot %u is outside the slab, or the packet in it is too long", slot);
      return false;
    }
  }
  return true;
}

/* ---- opening ---- */

static napi_value tun_open(napi_env env, napi_callback_info info) {
  ARGS(2);
  char name[IFNAMSIZ];
  bool offload;
  if (!arg_string(env, argv[0], "name", name, sizeof name) || !arg_bool(env, argv[1], "offload", &offload)) return NULL;
  int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
  if (fd < 0) return throw_errno(env, errno, "open", "/dev/net/tun");
  struct ifreq request = {.ifr_flags = IFF_TUN | IFF_NO_PI | IFF_VNET_HDR};
  memcpy(request.ifr_name, name, sizeof name);
  int header_bytes = sizeof(VnetHeader);
  const char *step = "TUNSETIFF";
  int error = ioctl(fd, TUNSETIFF, &request) < 0 ? errno : 0;
  if (error == 0 && (step = "TUNSETVNETHDRSZ", ioctl(fd, TUNSETVNETHDRSZ, &header_bytes) < 0)) error = errno;
  if (error != 0) {
    close(fd);
    return throw_errno(env, error, "ioctl", "%s on TUN device %s", step, name);
  }
  /* Each step down is a kernel that knows less; without any of it the device still works. */
  unsigned basic = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6;
  bool udp_offload = offload && ioctl(fd, TUNSETOFFLOAD, basic | TUN_F_USO4 | TUN_F_USO6) == 0;
  bool has_offload = udp_offload || (offload && ioctl(fd, TUNSETOFFLOAD, basic) == 0);
  if (!has_offload) ioctl(fd, TUNSETOFFLOAD, 0);

  Tun *tun = calloc(1, sizeof *tun);
  napi_value handle, result;
  if (tun == NULL) {
    close(fd);
    return throw_errno(env, ENOMEM, "open", "TUN device %s", name);
  }
  tun->handle.kind = HANDLE_TUN;
  tun->fd = fd;
  tun->offload = has_offload;
  tun->udp_offload = udp_offload;
  if (napi_create_external(env, tun, tun_finalize, NULL, &handle) != napi_ok) {
    tun_finalize(env, tun, NULL);
    return NULL;
  }
  if ((result = make_object(env)) == NULL) return NULL;
  set_value(env, result, "handle", handle);
  set_number(env, result, "fd", fd);
  set_string(env, result, "name", request.ifr_name);
  set_bool(env, result, "offload", has_offload);
  set_bool(env, result, "udpOffload", udp_offload);
  return result;
}

/* ---- reading ---- */

/* Cuts on into slots[filled..limit); returns the new count of filled ones. */
static uint32_t cut_on(Tun *tun, const Slots *s, uint32_t filled, uint32_t limit) {
  Cut *cut = &tun->cut;
  while (filled < limit && !cut_done(cut)) {
    uint32_t slot = s->slots.data[filled++], bytes = cut_payload(cut);
    uint8_t *packet = slot_packet(s, slot);
    cut_header(cut, packet);
    memcpy(packet + cut->headers.payload, tun->cut_payload, bytes);
    tun->cut_payload += bytes;
    s->lengths.data[slot] = (uint16_t)(cut->headers.payload + bytes);
    s->flags.data[slot] = FLAG_CHECKSUM_PARTIAL;
    tun->read_packets++;
  }
  if (cut_done(cut)) tun->cut_payload = NULL;
  return filled;
}

/* The segments of this superpacket lie in their slots already: only their headers are missing. */
static uint32_t cut_in_place(Tun *tun, const Slots *s, uint32_t filled, uint32_t limit, uint32_t pieces) {
  Cut *cut = &tun->cut;
  for (uint32_t i = 0; i < pieces && !cut_done(cut); i++) {
    uint32_t slot = s->slots.data[filled++], bytes = cut_payload(cut);
    cut_header(cut, slot_packet(s, slot));
    s->lengths.data[slot] = (uint16_t)(cut->headers.payload + bytes);
    s->flags.data[slot] = FLAG_CHECKSUM_PARTIAL;
    tun->read_packets++;
  }
  tun->cut_payload = tun->rest;
  return cut_on(tun, s, filled, limit);
}

/* A frame that is one packet, at `packet`; it is copied unless it lies in its slot. */
static uint32_t take_single(Tun *tun, const Slots *s, uint32_t filled, const VnetHeader *vnet, uint8_t *packet,
                            size_t bytes) {
  uint32_t slot = s->slots.data[filled];
  bool partial;
  if (bytes > s->capacity) {
    tun->too_big++;
    return filled;
  }
  if (!checksum_settle(vnet, packet, bytes, &partial)) {
    tun->malformed++;
    return filled;
  }
  if (packet != slot_packet(s, slot)) memcpy(slot_packet(s, slot), packet, bytes);
  s->lengths.data[slot] = (uint16_t)bytes;
  s->flags.data[slot] = partial ? FLAG_CHECKSUM_PARTIAL : 0;
  tun->read_packets++;
  return filled + 1;
}

static uint32_t take_superpacket(Tun *tun, const Slots *s, uint32_t filled, uint32_t limit, const VnetHeader *vnet,
                                 const uint8_t *packet, size_t bytes) {
  Cut *cut = &tun->cut;
  if (!cut_begin(cut, vnet, packet, bytes, bytes)) {
    tun->malformed++;
    return filled;
  }
  if (cut->headers.payload + cut_payload(cut) > s->capacity) {
    tun->too_big++;
    return filled;
  }
  tun->guess_header = cut->headers.payload;
  tun->guess_segment = cut->segment_bytes;
  tun->cut_payload = packet + cut->headers.payload;
  return cut_on(tun, s, filled, limit);
}

/* Puts a frame that was read in pieces together in `whole`. */
static void gather(Tun *tun, const struct iovec *vectors, size_t bytes) {
  uint8_t *to = tun->whole;
  for (; bytes > 0; vectors++) {
    size_t n = vectors->iov_len < bytes ? vectors->iov_len : bytes;
    memcpy(to, vectors->iov_base, n);
    to += n;
    bytes -= n;
  }
}

/* Where the next frame is to go: header, then the first slot, the payload places of the others, the rest. */
static uint32_t scatter(Tun *tun, const Slots *s, uint32_t filled, uint32_t limit, struct iovec *vectors) {
  uint32_t header = tun->guess_header, segment = tun->guess_segment, pieces = 0;
  if (segment == 0 || header + segment > s->capacity) return 0;
  uint32_t useful = (65535 - header) / segment + 1;
  while (pieces < useful && filled + pieces < limit && pieces < READ_VECTORS - 2) {
    uint8_t *packet = slot_packet(s, s->slots.data[filled + pieces]);
    pieces++;
    vectors[pieces] = (struct iovec){packet + header, segment};
  }
  vectors[1] = (struct iovec){(uint8_t *)vectors[1].iov_base - header, header + segment};
  vectors[pieces + 1] = (struct iovec){tun->rest, sizeof tun->rest};
  return pieces;
}

/* Reads one frame. Returns the new count of filled slots; *more is false when the device has no other. */
static uint32_t read_frame(Tun *tun, const Slots *s, uint32_t filled, uint32_t limit, bool *more) {
  VnetHeader vnet;
  struct iovec vectors[READ_VECTORS];
  vectors[0] = (struct iovec){&vnet, sizeof vnet};
  uint32_t pieces = scatter(tun, s, filled, limit, vectors);
  if (pieces == 0) vectors[1] = (struct iovec){tun->whole, sizeof tun->whole};
  ssize_t n = readv(tun->fd, vectors, (int)pieces + 2);
  if (n < 0) {
    if (errno != EINTR) *more = false;
    if (errno != EINTR && errno != EAGAIN) tun->last_errno = errno;
    return filled;
  }
  if ((size_t)n <= sizeof vnet) {
    tun->malformed++;
    return filled;
  }
  tun->read_frames++;
  size_t bytes = (size_t)n - sizeof vnet;
  bool super = vnet.gso_type != VNET_GSO_NONE;
  if (pieces > 0) {
    uint8_t *first = vectors[1].iov_base;
    size_t there = bytes < vectors[1].iov_len ? bytes : vectors[1].iov_len;
    if (!super && there == bytes) return take_single(tun, s, filled, &vnet, first, bytes);
    if (super && vnet.segment_bytes == tun->guess_segment && cut_begin(&tun->cut, &vnet, first, there, bytes) &&
        tun->cut.headers.payload == tun->guess_header)
      return cut_in_place(tun, s, filled, limit, pieces);
    gather(tun, vectors + 1, bytes);
  }
  if (!super) return take_single(tun, s, filled, &vnet, tun->whole, bytes);
  return take_superpacket(tun, s, filled, limit, &vnet, tun->whole, bytes);
}

static napi_value tun_read(napi_env env, napi_callback_info info) {
  ARGS(8);
  Slots s;
  uint32_t limit, filled = 0;
  Tun *tun = arg_tun(env, argv[0]);
  if (tun == NULL || !slots_get(env, argv + 1, argv[6], argv[7], &s) || !arg_uint32(env, argv[5], "limit", &limit) ||
      !slots_check(env, &s, 0, limit, false))
    return NULL;
  if (tun->cut_payload != NULL) {
    if (tun->cut.headers.payload + cut_payload(&tun->cut) > s.capacity)
      return throw_range(env, "slots have become smaller within a superpacket");
    filled = cut_on(tun, &s, 0, limit);
  }
  tun->last_errno = 0;
  for (bool more = true; more && filled < limit;) filled = read_frame(tun, &s, filled, limit, &more);
  if (filled == 0 && tun->last_errno != 0) return make_number(env, -tun->last_errno);
  return make_number(env, filled);
}

/* ---- writing ---- */

typedef enum { WRITTEN, REFUSED, FULL } WriteResult;

static WriteResult write_vectors(Tun *tun, const struct iovec *vectors, size_t count) {
  for (;;) {
    ssize_t n;
    if (tun->fault_times > 0 && tun->fault_after-- == 0) {
      tun->fault_times--;
      tun->fault_after = 0;
      errno = tun->fault_errno;
      n = -1;
    } else {
      n = writev(tun->fd, vectors, (int)count);
    }
    if (n >= 0) {
      tun->written_frames++;
      return WRITTEN;
    }
    if (errno == EINTR) continue;
    if (errno == EAGAIN) return FULL;
    tun->last_errno = errno;
    return REFUSED;
  }
}

static WriteResult write_single(Tun *tun, const uint8_t *packet, size_t bytes, bool partial) {
  VnetHeader vnet;
  if (bytes == 0 || !single_header(packet, bytes, partial, &vnet)) {
    tun->last_errno = EINVAL;
    return REFUSED;
  }
  struct iovec vectors[2] = {{&vnet, sizeof vnet}, {(uint8_t *)packet, bytes}};
  return write_vectors(tun, vectors, 2);
}

/* The coalescer's writer: one frame, or if the kernel will not have that, its packets one by one. */
static bool write_group(void *context, Group *group) {
  Tun *tun = context;
  if (group->count > 1 && group->done == 0) {
    VnetHeader vnet;
    group_finish(group, &vnet);
    WriteResult result = write_vectors(tun, group->vectors, group->count + 2);
    if (result == FULL) return false;
    if (result == WRITTEN) {
      tun->written_packets += group->count;
      group->done = group->count;
    }
  }
  for (; group->done < group->count; group->done++) {
    size_t bytes = group->count == 1 ? group->bytes
                                     : group->headers.payload + group->vectors[group->done + 2].iov_len;
    WriteResult result = write_single(tun, group->packets[group->done], bytes, group->partial);
    if (result == FULL) return false;
    if (result == WRITTEN) tun->written_packets++;
    else tun->refused++;
  }
  return true;
}

static int by_value(const void *a, const void *b) {
  uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
  return (x > y) - (x < y);
}

/*
 * The device was full while the packet at `at` was being taken, or at the end (`at` is `end`) some are to wait for
 * others: packets before it may still be in open groups.
 * Brings what was written to the front of slots[from..at] and keeps the order of the rest. Returns how many were.
 */
static uint32_t keep_unwritten(Tun *tun, Slots *s, uint32_t from, uint32_t at, uint32_t end) {
  enum { LEFT_MAX = COALESCE_GROUPS * COALESCE_SEGMENTS + 1 };
  uint32_t left[LEFT_MAX], slots[LEFT_MAX], count = 0;
  bool among = at == end;
  const Coalescer *c = &tun->coalescer;
  for (uint32_t i = 0; i < c->open; i++)
    for (uint32_t k = c->order[i]->done; k < c->order[i]->count; k++) {
      among |= c->order[i]->tags[k] == at;
      left[count++] = c->order[i]->tags[k];
    }
  /* In no group: it was to leave alone, or one before it stopped it. */
  if (!among) left[count++] = at;
  qsort(left, count, sizeof *left, by_value);
  uint32_t stop = at == end ? end : at + 1, to = from, next = 0;
  for (uint32_t i = from; i < stop; i++) {
    if (next < count && left[next] == i) slots[next++] = s->slots.data[i];
    else s->slots.data[to++] = s->slots.data[i];
  }
  memcpy(s->slots.data + to, slots, count * sizeof *slots);
  return to - from;
}

static napi_value tun_write(napi_env env, napi_callback_info info) {
  ARGS(10);
  Slots s;
  uint32_t from, count;
  bool more;
  Tun *tun = arg_tun(env, argv[0]);
  if (tun == NULL || !slots_get(env, argv + 1, argv[7], argv[8], &s) || !arg_uint32(env, argv[5], "from", &from) ||
      !arg_uint32(env, argv[6], "count", &count) || !arg_bool(env, argv[9], "more", &more) ||
      !slots_check(env, &s, from, count, true))
    return NULL;
  uint32_t end = from + count;
  Coalescer *coalescer = &tun->coalescer;
  coalescer_init(coalescer, tun->udp_offload, write_group, tun);
  for (uint32_t i = from; i < end; i++) {
    uint32_t slot = s.slots.data[i];
    const uint8_t *packet = slot_packet(&s, slot);
    size_t bytes = s.lengths.data[slot];
    bool partial = (s.flags.data[slot] & FLAG_CHECKSUM_PARTIAL) != 0;
    bool taken = true;
    if (tun->offload) {
      taken = coalescer_add(coalescer, packet, bytes, partial, i);
    } else {
      WriteResult result = write_single(tun, packet, bytes, partial);
      taken = result != FULL;
      if (result == WRITTEN) tun->written_packets++;
      if (result == REFUSED) tun->refused++;
    }
    if (!taken) return make_number(env, keep_unwritten(tun, &s, from, i, end));
  }
  bool flushed = more ? coalescer_flush_ended(coalescer) : coalescer_flush(coalescer);
  if (!flushed || coalescer->open > 0) return make_number(env, keep_unwritten(tun, &s, from, end, end));
  return make_number(env, count);
}

/* ---- figures, end ---- */

static napi_value tun_stats(napi_env env, napi_callback_info info) {
  ARGS(1);
  Tun *tun = arg_handle(env, argv[0], HANDLE_TUN, "tun");
  napi_value result;
  if (tun == NULL || (result = make_object(env)) == NULL) return NULL;
  set_number(env, result, "readPackets", tun->read_packets);
  set_number(env, result, "readFrames", tun->read_frames);
  set_number(env, result, "writtenPackets", tun->written_packets);
  set_number(env, result, "writtenFrames", tun->written_frames);
  set_number(env, result, "refused", tun->refused);
  set_number(env, result, "malformed", tun->malformed);
  set_number(env, result, "tooBig", tun->too_big);
  set_number(env, result, "lastErrno", tun->last_errno);
  return result;
}

/* For tests: tunFault(tun, errno, after, times). */
static napi_value tun_fault(napi_env env, napi_callback_info info) {
  ARGS(4);
  uint32_t error;
  Tun *tun = arg_tun(env, argv[0]);
  if (tun == NULL || !arg_uint32(env, argv[1], "errno", &error) ||
      !arg_uint32(env, argv[2], "after", &tun->fault_after) || !arg_uint32(env, argv[3], "times", &tun->fault_times))
    return NULL;
  tun->fault_errno = (int)error;
  return NULL;
}

static napi_value tun_close(napi_env env, napi_callback_info info) {
  ARGS(1);
  Tun *tun = arg_handle(env, argv[0], HANDLE_TUN, "tun");
  if (tun == NULL || tun->fd < 0) return NULL;
  close(tun->fd);
  tun->fd = -1;
  return NULL;
}

void tun_register(napi_env env, napi_value exports) {
  define(env, exports, "tunOpen", tun_open);
  define(env, exports, "tunRead", tun_read);
  define(env, exports, "tunWrite", tun_write);
  define(env, exports, "tunStats", tun_stats);
  define(env, exports, "tunFault", tun_fault);
  define(env, exports, "tunClose", tun_close);
}
