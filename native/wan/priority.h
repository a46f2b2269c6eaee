#ifndef PLAIT_WAN_PRIORITY_H
#define PLAIT_WAN_PRIORITY_H

#include <stdbool.h>

// Lets this process run as soon as it wakes. False: refused, for want of privilege.
bool priority_raise(void);

#endif
