/* Receiving a batch: recvmmsg → GRO messages split by their stride → rows and address records; queued errors. */
#include "udp.h"
#include "udp-scratch.h"

#include <errno.h>
#include <linux/errqueue.h>
#include <string.h>
#include <time.h>

enum {
  /* A GRO message has up to 64 KiB. Without GRO a datagram is one packet of the link: jumbo frames at most. */
  GRO_BUFFER_BYTES = 65536,
  PLAIN_BUFFER_BYTES = 16384,
  SLAB_BYTES_MIN = 65536,
  /* The kernel merges up to 64 datagrams. */
  GRO_SEGMENTS_MAX = 64,
  /* About so much is taken at once: what is opened and written to the TUN while the cache still has it. */
  RECEIVE_BYTES_WANTED = 131072,
  RECEIVE_MESSAGES_MIN = 2,
  /* Pending socket errors make a receive fail once each; the data behind them is still to be had. */
  ERRORS_SKIPPED_MAX = 64,
};

/* What came beside one message. */
typedef struct {
  uint32_t stride, ecn, age_us, interface;
  uint32_t local[4];
} Ancillary;

static uint32_t age_us(const struct timespec *now, const struct timespec *then) {
  int64_t us = (int64_t)(now->tv_sec - then->tv_sec) * 1000000 + (now->tv_nsec - then->tv_nsec) / 1000;
  return us < 0 ? 0 : us > AGE_US_MAX ? AGE_US_MAX : (uint32_t)us;
}

static void ancillary_read(Udp *udp, struct msghdr *message, const struct timespec *now, Ancillary *out) {
  memset(out, 0, sizeof *out);
  for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c != NULL; c = CMSG_NXTHDR(message, c)) {
    const uint8_t *data = CMSG_DATA(c);
    if (c->cmsg_level == SOL_UDP && c->cmsg_type == UDP_GRO) {
      int stride;
      memcpy(&stride, data, sizeof stride);
      if (stride > 0) out->stride = (uint32_t)stride;
    } else if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_TIMESTAMPNS) {
      struct timespec then;
      memcpy(&then, data, sizeof then);
      out->age_us = age_us(now, &then);
    } else if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SO_RXQ_OVFL) {
      uint32_t total;
      memcpy(&total, data, sizeof total);
      udp->receive_overflow += total - udp->overflow_seen;
      udp->overflow_seen = total;
    } else if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_TOS) {
      out->ecn = *data & ECN_MASK;
    } else if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_TCLASS) {
      int class;
      memcpy(&class, data, sizeof class);
      out->ecn = (uint32_t)class & ECN_MASK;
    } else if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
      struct in_pktinfo info;
      memcpy(&info, data, sizeof info);
      memset(out->local, 0, sizeof out->local);
      memcpy(out->local, &info.ipi_addr, 4);
      out->interface = (uint32_t)info.ipi_ifindex;
    } else if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO) {
      struct in6_pktinfo info;
      memcpy(&info, data, sizeof info);
      memset(out->local, 0, sizeof out->local);
      if (IN6_IS_ADDR_V4MAPPED(&info.ipi6_addr)) memcpy(out->local, info.ipi6_addr.s6_addr + 12, 4);
      else memcpy(out->local, &info.ipi6_addr, 16);
      out->interface = info.ipi6_ifindex;
    }
  }
}

/* recvmmsg past errors that are only news of earlier datagrams (they also wait in the error queue). */
static int receive_messages(Udp *udp, unsigned count) {
  for (int i = 0; i < ERRORS_SKIPPED_MAX; i++) {
    int received = recvmmsg(udp->fd, udp->scratch->messages, count, MSG_DONTWAIT, NULL);
    if (received >= 0) return received;
    if (errno == EAGAIN) return 0;
    if (errno == EBADF || errno == ENOTSOCK || errno == EFAULT || errno == ENOMEM) return -errno;
  }
  return 0;
}

napi_value udp_receive(napi_env env, napi_callback_info info) {
  ARGS(5);
  Bytes slab;
  Words rows, addresses, address_count;
  Udp *udp = arg_udp(env, argv[0]);
  if (udp == NULL || !arg_bytes(env, argv[1], "slab", &slab) || !arg_words(env, argv[2], "rows", &rows) ||
      !arg_words(env, argv[3], "addresses", &addresses) || !arg_words(env, argv[4], "addressCount", &address_count))
    return NULL;
  size_t row_capacity = rows.length / ROW_WORDS, record_capacity = addresses.length / ADDRESS_WORDS;
  if (slab.length < SLAB_BYTES_MIN) return throw_range(env, "a receive slab has at least %d bytes", SLAB_BYTES_MIN);
  if (row_capacity < GRO_SEGMENTS_MAX) return throw_range(env, "a receive batch has at least %d rows", GRO_SEGMENTS_MAX);
  if (record_capacity < 1 || address_count.length < 1) return throw_range(env, "no room for an address record");

  UdpScratch *x = udp->scratch;
  size_t buffer_bytes = udp->gro ? GRO_BUFFER_BYTES : PLAIN_BUFFER_BYTES;
  size_t count = slab.length / buffer_bytes;
  size_t row_share = udp->gro ? row_capacity / GRO_SEGMENTS_MAX : row_capacity;
  if (count > row_share) count = row_share;
  if (count > record_capacity) count = record_capacity;
  if (count > SCRATCH_MESSAGES) count = SCRATCH_MESSAGES;
  if (count > udp->receive_messages_max) count = udp->receive_messages_max;
  /* No row could say where a byte beyond 4 GiB is. */
  if (count > UINT32_MAX / buffer_bytes) count = UINT32_MAX / buffer_bytes;
  for (size_t i = 0; i < count; i++) {
    x->vectors[i] = (struct iovec){slab.data + i * buffer_bytes, buffer_bytes};
    x->messages[i].msg_hdr = (struct msghdr){.msg_name = &x->names[i],
                                             .msg_namelen = sizeof x->names[i],
                                             .msg_iov = &x->vectors[i],
                                             .msg_iovlen = 1,
                                             .msg_control = x->control[i],
                                             .msg_controllen = SCRATCH_CONTROL_BYTES};
  }
  int received = receive_messages(udp, (unsigned)count);
  address_count.data[0] = 0;
  if (address_count.length > 1) address_count.data[1] = received == (int)count;
  if (received <= 0) return make_number(env, received);

  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  uint32_t row_count = 0, record_count = 0;
  uint64_t byte_count = 0;
  uint32_t *last = NULL;
  for (int i = 0; i < received; i++) {
    struct msghdr *message = &x->messages[i].msg_hdr;
    uint32_t bytes = x->messages[i].msg_len;
    Ancillary ancillary;
    ancillary_read(udp, message, &now, &ancillary);
    udp->received_messages++;
    byte_count += bytes;
    if (message->msg_flags & MSG_TRUNC) {
      udp->receive_dropped++;
      continue;
    }
    uint32_t record[ADDRESS_WORDS];
    address_put(record, &x->names[i]);
    record[ADDRESS_INTERFACE] = ancillary.interface;
    memcpy(record + ADDRESS_LOCAL, ancillary.local, sizeof ancillary.local);
    if (last == NULL || memcmp(last, record, sizeof record) != 0) {
      last = addresses.data + (size_t)record_count++ * ADDRESS_WORDS;
      memcpy(last, record, sizeof record);
    }
    uint32_t stride = ancillary.stride != 0 ? ancillary.stride : bytes != 0 ? bytes : 1;
    uint32_t at = 0;
    do {
      uint32_t length = bytes - at < stride ? bytes - at : stride;
      if (row_count == row_capacity) {
        /* More segments than the kernel is known to merge. */
        udp->receive_dropped += (bytes - at + stride - 1) / stride;
        break;
      }
      uint32_t *row = rows.data + (size_t)row_count++ * ROW_WORDS;
      row[ROW_OFFSET] = (uint32_t)((size_t)i * buffer_bytes) + at;
      row[ROW_LENGTH] = length;
      row[ROW_ADDRESS] = record_count - 1;
      row[ROW_AGE] = ancillary.age_us | ancillary.ecn << ECN_SHIFT;
      at += length;
    } while (at < bytes);
  }
  udp->received_datagrams += row_count;
  uint64_t usual_bytes = byte_count / (unsigned)received + 1;
  uint64_t messages_max = RECEIVE_BYTES_WANTED / usual_bytes;
  udp->receive_messages_max = messages_max > SCRATCH_MESSAGES       ? SCRATCH_MESSAGES
                              : messages_max < RECEIVE_MESSAGES_MIN ? RECEIVE_MESSAGES_MIN
                                                                    : (uint32_t)messages_max;
  address_count.data[0] = record_count;
  return make_number(env, row_count);
}

napi_value udp_error(napi_env env, napi_callback_info info) {
  ARGS(2);
  Words address;
  Udp *udp = arg_udp(env, argv[0]);
  if (udp == NULL || !arg_words(env, argv[1], "address", &address)) return NULL;
  if (address.length < ADDRESS_WORDS) return throw_range(env, "an address record has %d words", ADDRESS_WORDS);
  struct sockaddr_storage name;
  _Alignas(16) uint8_t control[512];
  uint8_t rest[1];
  struct iovec vector = {rest, sizeof rest};
  for (;;) {
    memset(&name, 0, sizeof name);
    struct msghdr message = {.msg_name = &name, .msg_namelen = sizeof name, .msg_iov = &vector, .msg_iovlen = 1,
                             .msg_control = control, .msg_controllen = sizeof control};
    if (recvmsg(udp->fd, &message, MSG_ERRQUEUE | MSG_DONTWAIT) < 0) {
      if (errno == EINTR) continue;
      return NULL;
    }
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&message); c != NULL; c = CMSG_NXTHDR(&message, c)) {
      if (!(c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_RECVERR) &&
          !(c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_RECVERR))
        continue;
      struct sock_extended_err error;
      memcpy(&error, CMSG_DATA(c), sizeof error);
      memset(address.data, 0, ADDRESS_WORDS * sizeof *address.data);
      if (name.ss_family == AF_INET || name.ss_family == AF_INET6) address_put(address.data, &name);
      napi_value result = make_object(env);
      if (result == NULL) return NULL;
      set_number(env, result, "errno", error.ee_errno);
      set_number(env, result, "mtu", error.ee_errno == EMSGSIZE ? error.ee_info : 0);
      return result;
    }
  }
}
