/* Message headers of one sendmmsg or recvmmsg call. One is taken per socket, so that no call allocates. */
#ifndef PLAIT_UDP_SCRATCH_H
#define PLAIT_UDP_SCRATCH_H

#include <stdint.h>
#include <sys/socket.h>
#include <sys/uio.h>

/* Vectors: a GSO message has up to 64 segments, each in its own place at worst. */
enum { SCRATCH_MESSAGES = 64, SCRATCH_VECTORS = 1024, SCRATCH_CONTROL_BYTES = 320 };

struct UdpScratch {
  struct mmsghdr messages[SCRATCH_MESSAGES];
  struct sockaddr_storage names[SCRATCH_MESSAGES];
  struct iovec vectors[SCRATCH_VECTORS];
  uint32_t rows[SCRATCH_MESSAGES]; /* sending: rows in each message */
  _Alignas(16) uint8_t control[SCRATCH_MESSAGES][SCRATCH_CONTROL_BYTES];
};

#endif
