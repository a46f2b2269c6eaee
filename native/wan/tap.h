#ifndef PLAIT_WAN_TAP_H
#define PLAIT_WAN_TAP_H

#include <stdbool.h>

// Creates the TAP device named by `where` ("NAMESPACE/DEVICE") inside that network namespace, with the MTU, up.
// The process stays in the namespace. Returns the descriptor, non-blocking; on a fault says why on stderr and exits 1.
int tap_open(const char *where, int mtu);
// Plugs the cable in or out.
bool tap_carrier(int fd, bool on);

#endif
