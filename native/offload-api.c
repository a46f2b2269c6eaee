/* Cutting and coalescing as functions over arrays, for the property tests. */
#include "addon.h"
#include "offload.h"

/*
 * offloadCut(vnet: Uint32Array(6), packet, out, lengths): writes the segments one behind the other and their
 * lengths; returns their number, or -1 for a malformed one. vnet: flags, gsoType, headerBytes, segmentBytes,
 * checksumStart, checksumOffset.
 */
static napi_value offload_cut(napi_env env, napi_callback_info info) {
  ARGS(4);
  Words vnet, lengths;
  Bytes packet, out;
  if (!arg_words(env, argv[0], "vnet", &vnet) || !arg_bytes(env, argv[1], "packet", &packet) ||
      !arg_bytes(env, argv[2], "out", &out) || !arg_words(env, argv[3], "lengths", &lengths))
    return NULL;
  if (vnet.length < 6) return throw_range(env, "vnet has six words");
  VnetHeader header = {(uint8_t)vnet.data[0],  (uint8_t)vnet.data[1],  (uint16_t)vnet.data[2],
                       (uint16_t)vnet.data[3], (uint16_t)vnet.data[4], (uint16_t)vnet.data[5]};
  Cut cut;
  if (!cut_begin(&cut, &header, packet.data, packet.length, packet.length)) return make_number(env, -1);
  const uint8_t *payload = packet.data + cut.headers.payload;
  size_t at = 0;
  uint32_t count = 0;
  while (!cut_done(&cut)) {
    uint32_t bytes = cut_payload(&cut);
    if (count >= lengths.length || at + cut.headers.payload + bytes > out.length)
      return throw_range(env, "no room for the segments");
    cut_header(&cut, out.data + at);
    memcpy(out.data + at + cut.headers.payload, payload, bytes);
    payload += bytes;
    lengths.data[count++] = cut.headers.payload + bytes;
    at += cut.headers.payload + bytes;
  }
  return make_number(env, count);
}

typedef struct {
  Bytes out;
  Words rows, order;
  size_t at, packets;
  uint32_t frames;
  bool overrun;
} Collected;

static bool collect(void *context, Group *group) {
  Collected *c = context;
  VnetHeader vnet;
  struct iovec single[2] = {{&vnet, sizeof vnet}, {(uint8_t *)group->packets[0], group->bytes}};
  const struct iovec *vectors = single;
  size_t count = 2, start = c->at;
  if (group->count > 1) {
    group_finish(group, &vnet);
    vectors = group->vectors;
    count = group->count + 2;
  } else if (!single_header(group->packets[0], group->bytes, group->partial, &vnet)) {
    memset(&vnet, 0xff, sizeof vnet);
  }
  c->overrun |= c->frames >= c->rows.length / 3 || c->packets + group->count > c->order.length;
  for (size_t i = 0; i < count && !c->overrun; i++) {
    if ((c->overrun = c->at + vectors[i].iov_len > c->out.length)) break;
    if (vectors[i].iov_len == 0) continue; /* maybe of an empty array, which lies nowhere */
    memcpy(c->out.data + c->at, vectors[i].iov_base, vectors[i].iov_len);
    c->at += vectors[i].iov_len;
  }
  if (c->overrun) return false;
  uint32_t *row = c->rows.data + (size_t)c->frames++ * 3;
  row[0] = (uint32_t)start;
  row[1] = (uint32_t)(c->at - start);
  row[2] = group->count;
  for (uint32_t i = 0; i < group->count; i++) c->order.data[c->packets++] = group->tags[i];
  return true;
}

/*
 * offloadCoalesce(slab, packets, udp, out, rows, order): packets has offset, length and flags (1: checksum partial)
 * of each. Frames, each with its header of 10 bytes, are written one behind the other; rows has offset, length and
 * count of packets of each; order the packets as they left. Returns the number of frames.
 */
static napi_value offload_coalesce(napi_env env, napi_callback_info info) {
  ARGS(6);
  Bytes slab;
  Words packets;
  bool udp;
  Collected collected = {0};
  if (!arg_bytes(env, argv[0], "slab", &slab) || !arg_words(env, argv[1], "packets", &packets) ||
      !arg_bool(env, argv[2], "udp", &udp) || !arg_bytes(env, argv[3], "out", &collected.out) ||
      !arg_words(env, argv[4], "rows", &collected.rows) || !arg_words(env, argv[5], "order", &collected.order))
    return NULL;
  for (size_t i = 0; i + 3 <= packets.length; i += 3)
    if ((uint64_t)packets.data[i] + packets.data[i + 1] > slab.length || packets.data[i + 1] > 65535)
      return throw_range(env, "packet %zu reaches outside the slab", i / 3);
  static _Thread_local Coalescer coalescer;
  coalescer_init(&coalescer, udp, collect, &collected);
  bool ok = true;
  for (size_t i = 0; ok && i + 3 <= packets.length; i += 3)
    ok = coalescer_add(&coalescer, slab.data + packets.data[i], packets.data[i + 1], (packets.data[i + 2] & 1) != 0,
                       (uint32_t)(i / 3));
  if (!ok || !coalescer_flush(&coalescer)) return throw_range(env, "no room for the frames");
  return make_number(env, collected.frames);
}

void offload_register(napi_env env, napi_value exports) {
  define(env, exports, "offloadCut", offload_cut);
  define(env, exports, "offloadCoalesce", offload_coalesce);
}
