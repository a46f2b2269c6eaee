/*
 * Sending a batch: rows → messages (runs of equal size become one UDP_SEGMENT message) → sendmmsg.
 *
 * What the kernel may answer, and what is done:
 *   EAGAIN, ENOBUFS      the socket or the device's queue is full: return what was taken
 *   EIO on GSO           the device cannot segment: GSO off for this socket, these rows again singly
 *   EINVAL, EMSGSIZE on GSO   a segment does not fit the path: these rows again singly
 *   the rest, once       may be an ICMP error of an earlier datagram, handed to whoever sends next: once more
 *   the rest, twice      refused: counted and gone
 */
#include "udp.h"
#include "udp-scratch.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { GSO_SEGMENTS_MAX = 64, GSO_BYTES_MAX = 65507 };

UdpScratch *udp_scratch_new(void) { return calloc(1, sizeof(UdpScratch)); }

typedef struct {
  Udp *udp;
  const uint8_t *slab;
  const uint32_t *rows, *addresses;
  uint32_t next, end;     /* rows not yet in a message */
  uint32_t single_before; /* rows below this go without GSO */
} Sending;

static void cmsg_add(struct msghdr *message, int level, int type, const void *data, size_t size) {
  struct cmsghdr *c = (struct cmsghdr *)((uint8_t *)message->msg_control + message->msg_controllen);
  c->cmsg_level = level;
  c->cmsg_type = type;
  c->cmsg_len = CMSG_LEN(size);
  memcpy(CMSG_DATA(c), data, size);
  message->msg_controllen += CMSG_SPACE(size);
}

/* Destination, source and ECN of the row, from its address record. */
static void message_address(struct msghdr *message, struct sockaddr_storage *name, const uint32_t *address, int ecn) {
  static const uint32_t zero[4];
  const uint32_t *local = address + ADDRESS_LOCAL;
  memset(name, 0, sizeof(struct sockaddr_in6));
  message->msg_name = name;
  if ((address[ADDRESS_FAMILY_PORT] & 0xffff) == 4) {
    struct sockaddr_in *v4 = (struct sockaddr_in *)name;
    v4->sin_family = AF_INET;
    v4->sin_port = htons((uint16_t)(address[ADDRESS_FAMILY_PORT] >> 16));
    memcpy(&v4->sin_addr, address + ADDRESS_REMOTE, 4);
    message->msg_namelen = sizeof *v4;
    if (local[0] != 0) {
      struct in_pktinfo info = {0};
      memcpy(&info.ipi_spec_dst, local, 4);
      cmsg_add(message, IPPROTO_IP, IP_PKTINFO, &info, sizeof info);
    }
    if (ecn != 0) cmsg_add(message, IPPROTO_IP, IP_TOS, &ecn, sizeof ecn);
    return;
  }
  struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)name;
  v6->sin6_family = AF_INET6;
  v6->sin6_port = htons((uint16_t)(address[ADDRESS_FAMILY_PORT] >> 16));
  memcpy(&v6->sin6_addr, address + ADDRESS_REMOTE, 16);
  /* The interface chooses among link-local namesakes only; otherwise the routes decide. */
  if (IN6_IS_ADDR_LINKLOCAL(&v6->sin6_addr)) v6->sin6_scope_id = address[ADDRESS_INTERFACE];
  message->msg_namelen = sizeof *v6;
  if (memcmp(local, zero, 16) != 0) {
    struct in6_pktinfo info = {.ipi6_ifindex = v6->sin6_scope_id};
    memcpy(&info.ipi6_addr, local, 16);
    cmsg_add(message, IPPROTO_IPV6, IPV6_PKTINFO, &info, sizeof info);
  }
  if (ecn != 0) cmsg_add(message, IPPROTO_IPV6, IPV6_TCLASS, &ecn, sizeof ecn);
}

/* How many rows from `at` may form one message: equal address, ECN and size; the last may be shorter. */
static uint32_t run_length(const Sending *s, uint32_t at) {
  const uint32_t *first = s->rows + (size_t)at * ROW_WORDS;
  uint32_t size = first[ROW_LENGTH];
  if (!s->udp->gso || at < s->single_before || size == 0) return 1;
  uint32_t limit = GSO_BYTES_MAX / size;
  if (limit > GSO_SEGMENTS_MAX) limit = GSO_SEGMENTS_MAX;
  if (limit > s->end - at) limit = s->end - at;
  uint32_t n = 1;
  while (n < limit) {
    const uint32_t *row = first + (size_t)n * ROW_WORDS;
    if (row[ROW_ADDRESS] != first[ROW_ADDRESS] || ((row[ROW_AGE] ^ first[ROW_AGE]) >> ECN_SHIFT & ECN_MASK) != 0 ||
        row[ROW_LENGTH] > size || row[ROW_LENGTH] == 0)
      break;
    n++;
    if (row[ROW_LENGTH] < size) break;
  }
  return n;
}

/* Builds messages from row `at` on; returns how many. Neighbours in the slab share an iovec. */
static unsigned messages_build(const Sending *s, uint32_t at) {
  UdpScratch *x = s->udp->scratch;
  unsigned messages = 0, vectors = 0;
  while (at < s->end && messages < SCRATCH_MESSAGES && vectors + GSO_SEGMENTS_MAX <= SCRATCH_VECTORS) {
    const uint32_t *row = s->rows + (size_t)at * ROW_WORDS;
    uint32_t count = run_length(s, at);
    struct msghdr *message = &x->messages[messages].msg_hdr;
    memset(message, 0, sizeof *message);
    message->msg_control = x->control[messages];
    message->msg_iov = &x->vectors[vectors];
    message_address(message, &x->names[messages], s->addresses + (size_t)row[ROW_ADDRESS] * ADDRESS_WORDS,
                    (int)(row[ROW_AGE] >> ECN_SHIFT & ECN_MASK));
    if (count > 1) {
      uint16_t size = (uint16_t)row[ROW_LENGTH];
      cmsg_add(message, SOL_UDP, UDP_SEGMENT, &size, sizeof size);
    }
    for (uint32_t i = 0; i < count; i++, row += ROW_WORDS) {
      uint8_t *start = (uint8_t *)s->slab + row[ROW_OFFSET];
      struct iovec *last = i > 0 ? &x->vectors[vectors - 1] : NULL;
      if (last != NULL && (uint8_t *)last->iov_base + last->iov_len == start) {
        last->iov_len += row[ROW_LENGTH];
      } else {
        x->vectors[vectors++] = (struct iovec){start, row[ROW_LENGTH]};
        message->msg_iovlen++;
      }
    }
    if (message->msg_controllen == 0) message->msg_control = NULL;
    x->rows[messages++] = count;
    at += count;
  }
  return messages;
}

/* sendmmsg, unless a test asked for a refusal of the first message it concerns. */
static int send_messages(Udp *udp, unsigned first, unsigned count) {
  UdpScratch *x = udp->scratch;
  if (udp->fault.times > 0) {
    unsigned clear = 0;
    while (clear < count && udp->fault.gso_only && x->rows[first + clear] == 1) clear++;
    if (clear == 0) {
      udp->fault.times--;
      errno = udp->fault.error;
      return -1;
    }
    count = clear;
  }
  return sendmmsg(udp->fd, &x->messages[first], count, MSG_DONTWAIT);
}

/* Sends rows [from, end) and returns the row at which the socket was full, or `end`. */
static uint32_t send_rows(Sending *s) {
  Udp *udp = s->udp;
  UdpScratch *x = udp->scratch;
  uint32_t at = s->next, retried = UINT32_MAX;
  while (at < s->end) {
    unsigned count = messages_build(s, at), done = 0;
    while (done < count) {
      int sent = send_messages(udp, done, count - done);
      if (sent > 0) {
        for (int i = 0; i < sent; i++, done++) {
          at += x->rows[done];
          udp->sent_datagrams += x->rows[done];
          udp->sent_messages++;
        }
        continue;
      }
      int error = errno;
      bool gso = x->rows[done] > 1;
      if (error == EINTR) continue;
      if (error == EAGAIN || error == ENOBUFS) return at;
      if (gso && error == EIO) {
        udp->gso = false;
        udp->gso_errno = error;
        break;
      }
      if (retried != at && error != EINVAL) {
        retried = at;
        continue;
      }
      if (gso && (error == EINVAL || error == EMSGSIZE)) {
        s->single_before = at + x->rows[done];
        break;
      }
      udp->send_refused += x->rows[done];
      udp->last_send_errno = error;
      at += x->rows[done++];
    }
  }
  return at;
}

static bool rows_check(napi_env env, const Words *rows, uint32_t from, uint32_t count, const Bytes *slab,
                       const Words *addresses) {
  if ((uint64_t)from + count > rows->length / ROW_WORDS) {
    throw_range(env, "rows %u to %llu of %zu", from, (unsigned long long)from + count, rows->length / ROW_WORDS);
    return false;
  }
  for (uint32_t i = from; i < from + count; i++) {
    const uint32_t *row = rows->data + (size_t)i * ROW_WORDS;
    if (row[ROW_LENGTH] > DATAGRAM_BYTES_MAX || (uint64_t)row[ROW_OFFSET] + row[ROW_LENGTH] > slab->length) {
      throw_range(env, "row %u reaches outside the slab", i);
      return false;
    }
    uint32_t family = row[ROW_ADDRESS] < addresses->length / ADDRESS_WORDS
                          ? addresses->data[(size_t)row[ROW_ADDRESS] * ADDRESS_WORDS] & 0xffff
                          : 0;
    if (family != 4 && family != 6) {
      throw_range(env, "row %u has no address record of family 4 or 6", i);
      return false;
    }
  }
  return true;
}

napi_value udp_send(napi_env env, napi_callback_info info) {
  ARGS(6);
  Bytes slab;
  Words rows, addresses;
  uint32_t from, count;
  Udp *udp = arg_udp(env, argv[0]);
  if (udp == NULL || !arg_bytes(env, argv[1], "slab", &slab) || !arg_words(env, argv[2], "rows", &rows) ||
      !arg_uint32(env, argv[3], "from", &from) || !arg_uint32(env, argv[4], "count", &count) ||
      !arg_words(env, argv[5], "addresses", &addresses) || !rows_check(env, &rows, from, count, &slab, &addresses))
    return NULL;
  Sending sending = {.udp = udp,
                     .slab = slab.data,
                     .rows = rows.data,
                     .addresses = addresses.data,
                     .next = from,
                     .end = from + count};
  return make_number(env, send_rows(&sending) - from);
}

/* For tests: udpFault(socket, errno, times, gsoOnly). */
napi_value udp_fault(napi_env env, napi_callback_info info) {
  ARGS(4);
  uint32_t error, times;
  bool gso_only;
  Udp *udp = arg_udp(env, argv[0]);
  if (udp == NULL || !arg_uint32(env, argv[1], "errno", &error) || !arg_uint32(env, argv[2], "times", &times) ||
      !arg_bool(env, argv[3], "gsoOnly", &gso_only))
    return NULL;
  udp->fault = (SendFault){.error = (int)error, .times = times, .gso_only = gso_only};
  return NULL;
}
