/* A UDP socket's state, and the layout of base/datagram-batch.ts: its two journeys are udp-send.c and udp-receive.c. */
#ifndef PLAIT_UDP_H
#define PLAIT_UDP_H

#include "addon.h"

#include <netinet/in.h>
#include <sys/socket.h>

/* Absent from C libraries older than the kernels that know them. */
#ifndef SOL_UDP
#define SOL_UDP 17
#endif
#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif
#ifndef UDP_GRO
#define UDP_GRO 104
#endif

enum { ROW_OFFSET, ROW_LENGTH, ROW_ADDRESS, ROW_AGE, ROW_WORDS };
enum { ADDRESS_FAMILY_PORT = 0, ADDRESS_REMOTE = 1, ADDRESS_INTERFACE = 5, ADDRESS_LOCAL = 6, ADDRESS_WORDS = 10 };
enum { ECN_SHIFT = 24, ECN_MASK = 3, AGE_US_MAX = 1000000 };
enum { DATAGRAM_BYTES_MAX = 65535 };

/* For tests: the next `times` sends fail with `error` as if the kernel had refused them. */
typedef struct { int error; uint32_t times; bool gso_only; } SendFault;

typedef struct UdpScratch UdpScratch;

typedef struct {
  Handle handle;
  int fd;     /* -1: closed */
  int family; /* AF_INET6 takes both kinds of address */
  bool gso, gro;
  double sent_datagrams, sent_messages, received_datagrams, received_messages;
  double send_refused, receive_dropped, receive_overflow;
  uint32_t overflow_seen; /* the kernel's own count, modulo 2^32 */
  uint32_t receive_messages_max; /* of one call, by the size of those that the last one brought */
  int last_send_errno, gso_errno;
  SendFault fault;
  UdpScratch *scratch; /* message headers of a batch, taken once */
} Udp;

UdpScratch *udp_scratch_new(void);

/* An open socket, or NULL with an exception. */
Udp *arg_udp(napi_env env, napi_value value);
/* Writes `address` into an address record's remote (at ADDRESS_REMOTE, with family and port) and scope. */
void address_put(uint32_t *record, const struct sockaddr_storage *address);

napi_value udp_send(napi_env env, napi_callback_info info);
napi_value udp_fault(napi_env env, napi_callback_info info);
napi_value udp_receive(napi_env env, napi_callback_info info);
napi_value udp_error(napi_env env, napi_callback_info info);

#endif
